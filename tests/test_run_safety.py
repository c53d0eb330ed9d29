"A run folder that was sent, damaged or changed: nothing outside it is read, written or asked for, and what is wrong in it is named."
import json
import os
import resource
import shutil
import stat
import subprocess
import sys

import pytest
from file_server import FileServer
from PIL import Image

from beit3_colab import UserError, compare, evaluate, open_run
from beit3_colab.commands.cli import main
from beit3_colab.data.known import is_remembered, remember
from beit3_colab.data.own import open_questions
from beit3_colab.machine.files import private_cache
from beit3_colab.pictures.reading import picture_file, pictures_folder
from beit3_colab.run.journal import Journal, JournalFollower, read_journals
from beit3_colab.run.run_file import Identity
from beit3_colab.scenes import write_scenes
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene

ONE = {"question_id": 1, "answers": ["yes", "no"], "confidences": [0.75, 0.0001]}
DEAR = "alias ll='ls -l'\nno end of line"


as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs files of other users, which root alone can make")

@pytest.fixture(scope="module")
def made(vqa, tmp_path_factory):
    "A finished run about two files, a picture given in memory, and what people answered; its folder."
    place = tmp_path_factory.mktemp("made")
    for i in (1, 2): draw_scene(make_scene(i)).save(place/f"{i}.png")
    rows = [dict(image=str(place/"1.png"), question="Is it night?", answers="no"), dict(image=str(place/"2.png"), question="Where is it?"),
            dict(image=draw_scene(make_scene(3)), question="What is the weather like?", answers="sunny|cloudy")]
    return evaluate(vqa, questions=rows, output_dir=place/"run", progress=False).folder

@pytest.fixture
def cache(tmp_path, monkeypatch):
    "The cache of somebody else."
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

@pytest.fixture
def mine(made, tmp_path): return shutil.copytree(made, tmp_path/"mine")

@pytest.fixture
def sent(mine, cache):
    "The folder as somebody has it who got it sent."
    return mine

def change(path, work):
    "Read a JSON file, let `work` change what it holds, and write it again."
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(work(content) or content), encoding="utf-8")

def forge(folder, work):
    "Change the questions as somebody does who knows how: run.json says nothing that could be compared."
    change(folder/"own_questions.json", work)
    change(folder/"run.json", lambda info: [info.pop(name, None) for name in ("own_questions_sha256", "pictures_sha256")] and info)

def image(number, name): return lambda content: content["questions"][number].update(image=name)

def shown(run):
    "What is seen of each picture: RGB, or why it is not there."
    def look(q):
        try: return run.data.read_image(q).mode
        except UserError as error: return str(error)
    return [look(q) for q in run.questions]


# Files of the folder, and of nobody else

@pytest.mark.parametrize("there", [True, False])
def test_a_linked_journal_leads_nowhere(there, vqa, tmp_path):
    "Neither cut, nor written to, nor made."
    dear, folder = tmp_path/"bashrc", tmp_path/"run"
    folder.mkdir()
    if there: dear.write_text(DEAR)
    (folder/"answers-0.jsonl").symlink_to(dear)
    rows = [dict(image=Image.new("RGB", (40, 40)), question="Is it night?")]
    with pytest.raises(UserError, match="answers-0.jsonl is a link, and is not followed"): evaluate(vqa, questions=rows, output_dir=folder, progress=False)
    assert dear.read_text() == DEAR if there else not dear.exists()

@pytest.mark.parametrize("content, says", [
    (DEAR, "line 1 is damaged"), ('{"run":"ffffffffffffffff"}\n{"question_id":1,"ans', "belongs to another run"), ("[]\n1", "line 1 is damaged"),
    ('{"answers":["yes"]}\n{"que', "line 1 is damaged"), ('{"run":7}\ntorn', "line 1 is damaged"), ("\0"*40, "line 1 is damaged")])
def test_nothing_is_cut_before_it_is_known_whose_it_is(content, says, tmp_path):
    path = tmp_path/"answers-0.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=says): Journal(path, "0f3a2b19c4d5e6f7", patience=0)
    assert path.read_text() == content

@pytest.mark.parametrize("torn", ["", "{", '{"run":"0f3a2b19', '{"run":"0f3a2b19c4d5e6f7"}', '{"run":"0f3a2b19c4d5e6f7"}\n{"question_id":1'])
def test_a_journal_of_ours_that_a_crash_tore_goes_on(torn, tmp_path):
    path = tmp_path/"answers-0.jsonl"
    path.write_text(torn)
    journal = Journal(path, "0f3a2b19c4d5e6f7")
    journal.write([ONE])
    journal.close()
    assert path.read_text().splitlines() == ['{"run":"0f3a2b19c4d5e6f7"}', json.dumps(ONE, separators=(",", ":"))]

def test_a_long_torn_line_is_cut_where_it_begins(tmp_path):
    path = tmp_path/"answers-0.jsonl"
    whole = '{"run":"abc"}\n' + json.dumps(ONE) + "\n"
    path.write_text(whole + "x"*300_000)
    Journal(path, "abc").close()
    assert path.read_text() == whole

@pytest.mark.parametrize("make, says", [(os.mkfifo, "answers-1.jsonl is a pipe, not a file"), (os.mkdir, "answers-1.jsonl is a folder"),
                                        (lambda path: os.symlink("/dev/zero", path), "answers-1.jsonl is a link")])
def test_what_is_no_journal_is_named_and_not_waited_for(make, says, mine, tmp_path, capsys):
    make(mine/"answers-1.jsonl")
    assert main(["report", str(mine)]) == 2 and says in capsys.readouterr().err
    with pytest.raises(UserError, match=says): read_journals(mine)
    with pytest.raises(UserError, match=says): Journal(mine/"answers-1.jsonl", "abc", patience=0)
    if make is not os.mkdir:
        with pytest.raises(UserError, match=says): JournalFollower(mine, "abc").new_records()

@pytest.mark.parametrize("name", ["run.json", "own_questions.json", "pictures"])
def test_no_link_is_followed(name, mine, tmp_path, capsys):
    (mine/name).rename(tmp_path/name)
    (mine/name).symlink_to(tmp_path/name)
    assert main(["report", str(mine)]) == 2 and f"{name} is a link, and is not followed" in capsys.readouterr().err

def test_a_picture_of_the_folder_that_is_a_link_is_not_shown(mine, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path/"passport.png")
    picture, = (mine/"pictures").iterdir()
    picture.unlink()
    picture.symlink_to(tmp_path/"passport.png")
    with pytest.raises(UserError, match="is a link, and is not followed"): open_run(mine)

def test_pictures_are_not_written_through_a_link(vqa, tmp_path):
    (tmp_path/"elsewhere").mkdir()
    (tmp_path/"run").mkdir()
    (tmp_path/"run"/"pictures").symlink_to(tmp_path/"elsewhere")
    rows = [dict(image=draw_scene(make_scene(4)), question="Is it night?")]
    with pytest.raises(UserError, match="pictures is a link"): evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    assert not list((tmp_path/"elsewhere").iterdir())

def test_a_run_folder_that_is_itself_a_link_works(mine, tmp_path):
    (tmp_path/"drive").symlink_to(mine)
    assert len(open_run(tmp_path/"drive").records) == 3


# Journals

@pytest.mark.parametrize("line", [1, [], None, "x", {"a": 1}, {**ONE, "question_id": [1]}, {**ONE, "question_id": True}, {**ONE, "question_id": 1.0}, {**ONE, "answers": []},
                                  {**ONE, "answers": "12"}, {**ONE, "answers": ["yes", None]}, {**ONE, "confidences": [1]}, {**ONE, "confidences": "12"}, {**ONE, "confidences": [0.5, "1"]},
                                  {**ONE, "confidences": [0.5, True]}, {**ONE, "confidences": [float("nan"), 0]}, {**ONE, "confidences": [float("inf"), 0]}, {**ONE, "confidences": [1e30, 0]},
                                  {**ONE, "confidences": [0.5, -3.5]}, {**ONE, "confidences": [1.001, 0]}, {**ONE, "confidences": [10**400, 0]}, {**ONE, "image_error": None}, {"run": "abc"}])
def test_a_line_that_is_no_answer_is_named_with_its_number(line, tmp_path):
    good = [{**ONE, "question_id": i} for i in range(2, 7)]
    (tmp_path/"answers-0.jsonl").write_text("\n".join(map(json.dumps, [{"run": "abc"}, *good[:3], line, *good[3:]])) + "\n")
    for read in (lambda: read_journals(tmp_path, "abc"), JournalFollower(tmp_path, "abc").new_records):
        with pytest.raises(UserError, match="answers-0.jsonl, line 5 is damaged.*delete that line") as error: read()
        assert len(str(error.value)) < 500 + len(str(tmp_path))

@pytest.mark.parametrize("line", [b"["*100_000, b'{"question_id":' + b"1"*5000 + b"}", b"\xff\xfe", b'{"question_id":1},{"question_id":2}', b""])
def test_a_line_that_is_no_json_is_named_with_its_number(line, tmp_path):
    (tmp_path/"answers-0.jsonl").write_bytes(b'{"run":"abc"}\n' + json.dumps(ONE).encode() + b"\n" + line + b"\n")
    with pytest.raises(UserError, match="answers-0.jsonl, line 3 is damaged.*delete that line"): read_journals(tmp_path)

@pytest.mark.parametrize("line", [2, 2000, 2001, 2002, 4001, 4100])
def test_the_line_that_is_damaged_is_named_in_a_long_journal(tmp_path, line):
    "Lines are checked some thousands at a time."
    lines = [json.dumps({"run": "a"}), *(json.dumps(ONE | {"question_id": i}) for i in range(2, 4101))]
    for wrong in ('{"question_id": 7, "answers": ["yes"]', json.dumps(ONE | {"confidences": [2, 0]}), json.dumps(ONE | {"question_id": 9999})):
        (tmp_path/"answers-0.jsonl").write_text("\n".join([*lines[:line - 1], wrong, *lines[line:], ""]))
        with pytest.raises(UserError, match=f"answers-0.jsonl, line {line} "): read_journals(tmp_path, "a", range(1, 4101))
    (tmp_path/"answers-0.jsonl").write_text("\n".join([*lines, json.dumps(ONE | {"question_id": 2, "answers": ["late", "no"]}), ""]))
    found = read_journals(tmp_path, "a", range(1, 4101))
    assert list(found) == [*range(2, 4101)] and found[2]["answers"] == ["yes", "no"] # the first answer counts

@pytest.mark.parametrize("lines", [[ONE], [ONE, {"run": "abc"}], [[], ONE], [{"run": 7}, ONE]])
def test_the_first_line_says_whose_journal_it_is(lines, tmp_path):
    (tmp_path/"answers-0.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    for read in (lambda: read_journals(tmp_path), JournalFollower(tmp_path, "abc").new_records):
        with pytest.raises(UserError, match="answers-0.jsonl, line 1 is damaged: it must say of which run it is"): read()

def test_answers_to_questions_of_no_run_are_refused(vqa, mine, made):
    with open(mine/"answers-0.jsonl", "a") as f: f.write(json.dumps({**ONE, "question_id": 77}) + "\n")
    with pytest.raises(UserError, match="answers-0.jsonl, line 5 answers question_id 77, which is none of this run"): open_run(mine).accuracy
    with pytest.raises(UserError, match="line 5 answers question_id 77"):
        evaluate(vqa, questions=mine/"own_questions.json", output_dir=mine, progress=False)

def test_what_runs_write_is_whole(tmp_path):
    "Carriage returns, other processes, answers given twice, half characters, further fields: none of it is damage."
    other = {**ONE, "question_id": "\ud800", "confidences": [1, 0], "image_error": "no picture", "later": {}}
    (tmp_path/"answers-0.jsonl").write_bytes(b'{"run":"abc"}\r\n' + json.dumps(ONE).encode() + b"\r\n")
    (tmp_path/"answers-1.jsonl").write_bytes("\n".join(map(json.dumps, [{"run": "abc"}, {**ONE, "answers": ["no", "yes"]}, other])).encode() + b'\n{"quest')
    (tmp_path/"answers-2.jsonl").touch()
    assert read_journals(tmp_path, "abc", {1, "\ud800"}) == {1: ONE, "\ud800": other}


# run.json

CHANGES = {
    "run.json must hold a JSON object, not ": lambda i: [1],
    "run.json has no identity, which must be an object": lambda i: i.pop("identity") and i,
    "identity must be an object, not None": lambda i: i.update(identity=None),
    "identity has no dtype": lambda i: i["identity"].pop("dtype") and i,
    "identity has a field 'colour'": lambda i: i["identity"].update(colour="red"),
    "num_questions must be a whole number, 0 or more, not '3'": lambda i: i["identity"].update(num_questions="3"),
    "split must be text": lambda i: i["identity"].update(split=[]),
    "report must hold a JSON object, not None": lambda i: i.update(report=None),
    "seconds has no total": lambda i: i["report"].update(seconds={}),
    "answering must be a number of seconds, not 'x'": lambda i: i["report"]["seconds"].update(answering="x"),
    "total must be a number of seconds": lambda i: i["report"]["seconds"].update(total=1e308),
    "host_bytes must be a whole number": lambda i: i["report"].update(host_bytes="x"),
    "warnings must be a list of texts": lambda i: i["report"].update(warnings=[1]),
    "limit must be a whole number": lambda i: i.update(limit="x"),
    "seed must be a whole number": lambda i: i.update(seed=True),
    "submission must be text": lambda i: i.update(submission=5),
    "data_path must be text": lambda i: i.update(data_path=5),
    "question_ids must be a list of numbers and texts": lambda i: i.update(question_ids=[[1]]),
    "own_questions_sha256 must be a SHA-256": lambda i: i.update(own_questions_sha256="x"),
    "converted_from must be text": lambda i: i.update(converted_from={}),
    "was written by a later release": lambda i: i.update(schema_version=2)}

@pytest.mark.parametrize("says", CHANGES)
def test_a_field_of_run_json_is_named(says, vqa, mine, made, capsys):
    change(mine/"run.json", CHANGES[says])
    before = {p.name: p.read_bytes() for p in mine.iterdir() if p.is_file()}
    for call in (lambda: open_run(mine), lambda: compare(made, mine), lambda: evaluate(vqa, questions=mine/"own_questions.json", output_dir=mine, progress=False)):
        with pytest.raises(UserError, match="run.json") as error: call()
        assert says in str(error.value)
    assert main(["report", str(mine)]) == 2 and says in capsys.readouterr().err
    assert (mine/"run.json").read_bytes() == before["run.json"] and (mine/"answers-0.jsonl").read_bytes() == before["answers-0.jsonl"]

def test_fields_of_later_releases_are_passed_over(mine):
    change(mine/"run.json", lambda i: i.update(weather="fine") or i["report"].update(joules=7) or i["report"]["setup"].update(fans=2.5))
    assert "fans" in str(open_run(mine).report())

@pytest.mark.parametrize("name", ["../../../../../../../etc/passwd", "/etc/passwd", "run.json", "answers_other.json", "", "a\0b"])
def test_run_json_does_not_say_where_the_results_are(name, vqa, mine):
    "The run counts as unfinished, and its results are written under their name."
    before = (mine/"answers_own_pictures.json").read_bytes()
    (mine/"answers_own_pictures.json").unlink()
    change(mine/"run.json", lambda info: info.update(submission=name))
    assert open_run(mine).submission is None
    run = evaluate(vqa, questions=mine/"own_questions.json", output_dir=mine, progress=False)
    assert run.submission == mine/"answers_own_pictures.json" and run.submission.read_bytes() == before

def test_results_that_are_a_link_are_written_anew(vqa, mine, tmp_path):
    before = (mine/"answers_own_pictures.json").read_bytes()
    (tmp_path/"dear.json").write_text(DEAR)
    (mine/"answers_own_pictures.json").unlink()
    (mine/"answers_own_pictures.json").symlink_to(tmp_path/"dear.json")
    assert open_run(mine).submission is None
    evaluate(vqa, questions=mine/"own_questions.json", output_dir=mine, progress=False)
    assert (tmp_path/"dear.json").read_text() == DEAR and not (mine/"answers_own_pictures.json").is_symlink()
    assert (mine/"answers_own_pictures.json").read_bytes() == before


# Questions that were changed

@pytest.mark.parametrize("work", [lambda q: q.update(question="Is it a trap?"), lambda q: q.update(image="../x.png"), lambda q: q.update(answers=["yes"]), lambda q: q.update(image_id="x")])
def test_changed_questions_are_not_those_that_were_asked(work, mine):
    change(mine/"own_questions.json", lambda content: work(content["questions"][0]))
    with pytest.raises(UserError, match="own_questions.json was changed since the run was written"): open_run(mine)

def test_texts_are_compared_with_the_identity_as_well(sent):
    forge(sent, lambda content: content["questions"].pop() and content)
    with pytest.raises(UserError, match="are not those that were asked"): open_run(sent)

@pytest.mark.parametrize("answers", [["yes"], []])
def test_who_made_a_run_is_shown_no_other_figures(answers, mine):
    "Also where the digest was taken out of run.json."
    forge(mine, lambda content: content["questions"][0].update(answers=answers))
    with pytest.raises(UserError, match="own_questions.json was changed since the run was written"): open_run(mine)

def test_people_may_answer_anew(vqa, tmp_path):
    "The same questions, and other answers of people: the folder is the same run, and opens with what is known now."
    draw_scene(make_scene(5)).save(tmp_path/"5.png")
    for said in ("yes", "no"):
        rows = [dict(image=str(tmp_path/"5.png"), question="Is it night?", answers=said)]
        run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
        assert open_run(tmp_path/"run").annotations[1].answers == (said,)
    assert open_run(tmp_path/"run").accuracy.overall == run.accuracy.overall

def test_vqav2_that_was_changed_is_another(vqa, tmp_path):
    data = write_scenes(tmp_path/"data", range(321, 323), "val")
    evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"run", progress=False)
    assert len(open_run(tmp_path/"run").questions) == len(open_run(tmp_path/"run").records)
    change(data/"vqa"/"v2_OpenEnded_mscoco_val2014_questions.json", lambda content: content["questions"][3].update(question="Is it a trap?"))
    with pytest.raises(UserError, match="the questions in .*data are not those that were asked in .*run: .*data_path="): open_run(tmp_path/"run")


# A folder that was sent

def test_who_made_a_run_opens_it_as_ever(made, tmp_path, caplog):
    assert shown(open_run(made)) == ["RGB"]*3 and not caplog.text
    assert shown(open_run(shutil.copytree(made, tmp_path/"moved"))) == ["RGB"]*3

def test_who_was_sent_it_sees_what_the_folder_holds(made, sent, caplog):
    run = open_run(sent)
    assert run.annotations and len(run.records) == 3 and run.accuracy.num_questions == 2
    one, two, three = shown(run)
    assert "data_path=" in one and "data_path=" in two and three == "RGB"
    assert caplog.text.count("was not written here") == 1 and 'data_path="…") (--data-path)' in caplog.text
    assert shown(open_run(sent, data_path=made.parent)) == ["RGB"]*3

@pytest.mark.parametrize("name", ["passport", "../home/passport", "{home}/passport"])
@pytest.mark.parametrize("root", ["{home}", "/", "."])
def test_a_report_of_it_holds_no_picture_of_mine(name, root, sent, tmp_path, capsys):
    home = tmp_path/"home"
    home.mkdir()
    Image.new("RGB", (64, 48), (12, 200, 77)).save(home/"passport.png")
    forge(sent, image(0, name.format(home=home) + ".png"))
    forge(sent, lambda content: content.update(root=root.format(home=home)))
    change(sent/"run.json", lambda info: info.update(data_path=str(home), images=str(home)))
    assert [look == "RGB" for look in shown(open_run(sent))] == [False, False, True] # the one that the folder holds
    if (name, root) != ("passport", "{home}"): return # one page is like the other
    assert main(["report", str(sent), "--html", str(tmp_path/"r.html")]) == 0
    assert (tmp_path/"r.html").read_text(encoding="utf-8").count("data:image/jpeg") == 1

def test_a_link_in_it_is_not_followed(sent, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path/"passport.png")
    forge(sent, image(0, "in/side.png"))
    (sent/"in").mkdir()
    (sent/"in"/"side.png").symlink_to(tmp_path/"passport.png")
    with pytest.raises(UserError, match="side.png is a link out of a folder that was not written here"): open_run(sent)

@pytest.mark.parametrize("pictures", ["/etc", "../home", "..", "a/../.."])
def test_its_folder_of_pictures_is_its_own(pictures, sent):
    forge(sent, lambda content: content.update(pictures=pictures))
    with pytest.raises(UserError, match="own_questions.json"): shown(open_run(sent))
    with pytest.raises(UserError, match="own_questions.json"): open_questions(sent/"own_questions.json", bad_images="blank")

def test_nothing_but_pictures_is_copied_into_a_new_run(vqa, sent, tmp_path):
    (sent/"pictures"/"credentials.txt").write_text("password=hunter2")
    change(sent/"own_questions.json", image(0, "memory:credentials.txt"))
    change(sent/"own_questions.json", image(1, "../secret.png"))
    draw_scene(make_scene(2)).save(tmp_path/"secret.png")
    run = evaluate(vqa, questions=sent/"own_questions.json", bad_images="blank", output_dir=tmp_path/"new", progress=False)
    assert [p.suffix for p in (tmp_path/"new"/"pictures").iterdir()] == [".png"]
    assert [s == "RGB" for s in shown(open_run(run.folder))] == [False, False, True] # nor is it seen later on

def test_its_questions_are_asked_again_where_the_pictures_are(vqa, made, sent, tmp_path):
    with pytest.raises(UserError, match="was not written here .*pass data_path=… .--data-path"): evaluate(vqa, questions=sent/"own_questions.json", output_dir=tmp_path/"new", progress=False)
    run = evaluate(vqa, questions=sent/"own_questions.json", data_path=made.parent, output_dir=tmp_path/"new", progress=False)
    assert shown(open_run(run.folder)) == ["RGB"]*3 and run.submission.read_bytes() == (made/run.submission.name).read_bytes()

def test_no_server_is_asked_unasked(sent, tmp_path, monkeypatch, capsys, caplog):
    with FileServer({"/a.png": b"", "/b.png": b""}) as server:
        for i, name in enumerate("ab"): forge(sent, image(i, f"{server.url}/{name}.png"))
        for more in ([], ["--csv", str(tmp_path/"r.csv")]): assert main(["report", str(sent), "--html", str(tmp_path/"r.html"), *more]) == 0
        compare(sent, sent).browse().saved_view()
        assert open_run(sent).browse() and not server.requests
        assert "no server is asked" in caplog.text and "fetch_pictures=True) (--fetch-pictures)" in caplog.text
        assert "BEIT3_COLAB_PRIVATE_HOSTS" in shown(open_run(sent, fetch_pictures=True))[0] and not server.requests
        monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "127.0.0.1")
        shown(open_run(sent, fetch_pictures=True))
        assert server.requests

def test_vqav2_of_somebody_else(vqa, tmp_path, cache, monkeypatch):
    "Its files are looked for where the reader says, and nothing is fetched."
    data = write_scenes(tmp_path/"data", range(331, 333), "val")
    evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"run", progress=False)
    assert shown(open_run(tmp_path/"run"))[0] == "RGB"
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"other"))
    with pytest.raises(UserError, match="was not written here .*data_path=… .--data-path.*fetch_pictures=True"): open_run(tmp_path/"run")
    assert shown(open_run(tmp_path/"run", data))[0] == "RGB"
    change(tmp_path/"run"/"run.json", lambda info: info.update(data_path=None))
    with pytest.raises(UserError, match="the official questions of val are not in the cache, and nothing is fetched unasked"): open_run(tmp_path/"run")

def test_a_folder_that_was_sent_is_not_trusted_for_being_continued(vqa, made, sent, tmp_path, monkeypatch):
    "Who continues a run notes the places of the call, and not those that its run.json names."
    data = write_scenes(tmp_path/"data", range(341, 343), "val")
    evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"run", progress=False)
    change(tmp_path/"run"/"run.json", lambda info: info.update(data_path=str(shutil.copytree(data, tmp_path/"private"))))
    with pytest.raises(UserError, match="was not written here"): open_run(tmp_path/"run")
    evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"run", progress=False)
    assert open_run(tmp_path/"run").data.image_root == data # as the call says

def test_a_finished_run_is_known_where_its_data_was_moved(vqa, tmp_path, cache):
    data = write_scenes(tmp_path/"data", range(351, 352), "val")
    evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"run", progress=False)
    data.rename(tmp_path/"moved")
    evaluate(vqa, split="val", data_path=tmp_path/"moved", output_dir=tmp_path/"run", progress=False)
    assert shown(open_run(tmp_path/"run"))[0] == "RGB"

@pytest.fixture(scope="module")
def alone(vqa, tmp_path_factory):
    "What somebody else's file leads to when it is asked again: the folder of its questions, and a run of them."
    place = tmp_path_factory.mktemp("alone")
    (place/"sent").mkdir()
    Image.new("RGB", (64, 48), (12, 200, 77)).save(place/"secret.png")
    Image.new("RGB", (64, 48), (1, 2, 3)).save(place/"sent"/"in.png")
    return place

@pytest.mark.parametrize("processes", [None, 2])
def test_its_questions_lead_nowhere_in_whichever_process(processes, alone, tmp_path):
    "Neither to a file beside the folder nor to a server of this machine; and what is made of them is not known as ours."
    with FileServer({"/a.csv": b"name,salary"}) as server:
        rows = [dict(question_id=i, image_id=str(i), question="Is it night?", image=name, answers=[]) for i, name in enumerate(["../secret.png", "in.png", f"{server.url}/a.csv"])]
        content = dict(schema_version=1, root="/", pictures=None, of_file=False, confined=False, named_from=str(alone/"sent"), questions=rows)
        (alone/"sent"/"own_questions.json").write_text(json.dumps(content))
        run = evaluate("sample", device="cpu", questions=alone/"sent"/"own_questions.json", bad_images="blank", output_dir=tmp_path/"new", progress=False, processes=processes)
        errors = [run.records[i].get("image_error") or "" for i in range(3)]
        assert "lies outside of" in errors[0] and not errors[1] and "BEIT3_COLAB_PRIVATE_HOSTS" in errors[2] and not server.requests
        assert "RGB" not in shown(open_run(tmp_path/"new")) and not server.requests

def test_an_address_of_a_table_stays_one(vqa, tmp_path, monkeypatch):
    "A run of a table that was sent is ours, and asks no server of this machine later on."
    draw_scene(make_scene(6)).save(tmp_path/"6.png")
    with FileServer({"/6.png": (tmp_path/"6.png").read_bytes()}) as server:
        (tmp_path/"q.csv").write_text(f"image,question\n{server.url}/6.png,Is it night?\n6.png,Where?\n")
        evaluate(vqa, questions=tmp_path/"q.csv", bad_images="blank", output_dir=tmp_path/"run", progress=False)
        for change_it in (lambda c: c, lambda c: c.pop("of_file") and c):
            change(tmp_path/"run"/"own_questions.json", change_it)
            web, file = shown(open_run(tmp_path/"run", tmp_path, fetch_pictures=True))
            assert "BEIT3_COLAB_PRIVATE_HOSTS" in web and file == "RGB" and not server.requests

def test_pictures_of_the_web_that_are_kept_are_not_shown_unasked(vqa, sent, tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "127.0.0.1")
    draw_scene(make_scene(6)).save(tmp_path/"6.png")
    with FileServer({"/6.png": (tmp_path/"6.png").read_bytes()}) as server:
        evaluate(vqa, questions=[dict(image=server.url + "/6.png", question="Is it night?")], output_dir=tmp_path/"own", progress=False)
        forge(sent, image(0, server.url + "/6.png"))
    assert shown(open_run(tmp_path/"own")) == ["RGB"]
    assert "neither its server nor the cache is looked at" in shown(open_run(sent))[0]
    assert shown(open_run(sent, fetch_pictures=True))[0] == "RGB"
    monkeypatch.delenv("BEIT3_COLAB_PRIVATE_HOSTS")
    assert "BEIT3_COLAB_PRIVATE_HOSTS" in shown(open_run(sent, fetch_pictures=True))[0] and shown(open_run(tmp_path/"own")) == ["RGB"]

def test_a_link_above_its_pictures_is_not_followed(sent, tmp_path):
    (tmp_path/"home"/"photos").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path/"home"/"photos"/"passport.png")
    (sent/"in").symlink_to(tmp_path/"home")
    forge(sent, image(0, "in/photos/passport.png"))
    for data_path in (None, sent): # whoever names the folder itself did not put the link there
        with pytest.raises(UserError, match="passport.png is a link out of a folder"): open_run(sent, data_path)
    forge(sent, image(0, "memory:passport.png"))
    forge(sent, lambda content: content.update(pictures="in/photos"))
    with pytest.raises(UserError, match="pictures must be 'pictures', the folder beside it, not 'in/photos'"): open_run(sent)

@pytest.mark.parametrize("name", ["http://\ud800/x", "http://[::1", "https://a:99999999/x"])
def test_a_name_that_no_picture_has_is_named(name, sent):
    forge(sent, image(0, name))
    with pytest.raises(UserError, match="own_questions.json, question 1: image must be the name of a picture"): open_run(sent)

@pytest.mark.parametrize("name", ["\ud800.png", "\udcff.png", "a\0b.png", "a/"*5000 + ".png", "x"*5000, "", "."])
def test_a_name_that_no_disk_takes_is_a_picture_that_is_not_there(name, sent):
    forge(sent, image(0, name))
    assert shown(open_run(sent))[0] != "RGB"


# Pictures elsewhere

@pytest.fixture(scope="module")
def elsewhere(vqa, tmp_path_factory):
    "Runs of names that lead out of the table's folder: through a link, and through the folder above."
    place = tmp_path_factory.mktemp("elsewhere")
    (place/"disk"/"pics").mkdir(parents=True)
    (place/"tables").mkdir()
    (place/"data").symlink_to(place/"disk")
    draw_scene(make_scene(1)).save(place/"disk"/"pics"/"1.png")
    (place/"tables"/"above.csv").write_text("image,question\n../disk/pics/1.png,Is it night?\n")
    (place/"tables"/"link.csv").write_text(f"image,question\n{place}/data/pics/1.png,Is it night?\n")
    for name in ("above", "link"): evaluate(vqa, questions=place/"tables"/f"{name}.csv", output_dir=place/name, progress=False)
    shutil.copytree(place/"disk"/"pics", place/"moved")
    return place

@pytest.mark.parametrize("name", ["above", "link"])
@pytest.mark.parametrize("data_path", [".", "disk", "disk/pics", "data/pics", "moved"])
def test_each_folder_above_the_pictures_will_do(name, data_path, vqa, elsewhere, cache, tmp_path):
    folder = shutil.copytree(elsewhere/name, tmp_path/"run")
    look, = shown(open_run(folder))
    assert "lies outside of" in look and "data_path=… (--data-path), a folder above this picture" in look and "--questions" in look
    assert shown(open_run(folder, elsewhere/data_path)) == ["RGB"]
    if data_path not in ("disk", "moved"): return
    run = evaluate(vqa, questions=folder/"own_questions.json", data_path=elsewhere/data_path, output_dir=tmp_path/"new", progress=False)
    assert shown(open_run(run.folder)) == ["RGB"] # from now on it is known

def test_a_folder_without_the_pictures_will_not(elsewhere, cache):
    for name in ("above", "link"): assert "lies outside of" in shown(open_run(elsewhere/name, elsewhere/"tables"))[0]

def test_the_original_table_will_do(vqa, elsewhere, cache, tmp_path):
    folder = shutil.copytree(elsewhere/"above", tmp_path/"run")
    evaluate(vqa, questions=elsewhere/"tables"/"above.csv", output_dir=folder, progress=False)
    assert shown(open_run(folder)) == ["RGB"]


# Pictures that were given in memory

def test_a_kept_picture_is_the_one_that_was_given(vqa, made, mine, tmp_path):
    "Another one in its file is not shown, and not asked about."
    picture, = (mine/"pictures").iterdir()
    draw_scene(make_scene(9)).save(picture)
    assert f"{picture.name} was changed" in shown(open_run(mine))[2]
    with pytest.raises(UserError, match="was changed"): evaluate(vqa, questions=mine/"own_questions.json", output_dir=tmp_path/"a", progress=False)
    table = open_run(made).answers[["image", "question"]][2:] # of the run that is whole, opened after the other
    again = evaluate(vqa, questions=table, output_dir=tmp_path/"b", progress=False)
    assert (tmp_path/"b"/"pictures"/picture.name).read_bytes() == (made/"pictures"/picture.name).read_bytes() and len(again.records) == 1

def test_another_picture_in_the_new_folder_is_replaced(vqa, made, tmp_path):
    rows = [dict(image=draw_scene(make_scene(3)), question="What is the weather like?")]
    name = next((made/"pictures").iterdir()).name
    (tmp_path/"run"/"pictures").mkdir(parents=True)
    draw_scene(make_scene(9)).save(tmp_path/"run"/"pictures"/name)
    run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    assert (run.folder/"pictures"/name).read_bytes() == (made/"pictures"/name).read_bytes()
    assert [r["answers"][0] for r in run.records.values()] == [open_run(made).records[3]["answers"][0]]

@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_text("x")])
def test_pictures_that_is_no_folder_is_named(make, vqa, tmp_path):
    (tmp_path/"run").mkdir()
    make(tmp_path/"run"/"pictures")
    with pytest.raises(UserError, match="run/pictures is no folder"):
        evaluate(vqa, questions=[dict(image=draw_scene(make_scene(3)), question="Where?")], output_dir=tmp_path/"run", progress=False)


# Caches and folders that several share

def test_a_note_of_somebody_else_is_none(made, cache, monkeypatch):
    remember("x")
    note, = (cache/"known_runs").iterdir()
    assert is_remembered("x")
    for path, mode in ((note, 0o622), (note, 0o602), (cache/"known_runs", 0o777), (cache/"known_runs", 0o720)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        assert not is_remembered("x")
        path.chmod(before)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: 4321)
        assert not is_remembered("x")
    note.rename(cache/"kept")
    note.symlink_to(cache/"kept")
    assert not is_remembered("x")

@as_root
def test_in_a_cache_of_somebody_else_each_has_a_folder(tmp_path, cache):
    cache.mkdir()
    os.chown(cache, 2001, 2001)
    own = private_cache()
    remember("x")
    assert own == cache/f"user-{os.getuid()}" and stat.S_IMODE(own.stat().st_mode) == 0o700 and is_remembered("x") and (own/"known_runs").is_dir()
    assert pictures_folder() == own/"pictures" and picture_file("https://example.org/a.png").parent == own/"pictures"
    os.chown(own, 2001, 2001) # made by somebody in our name
    assert not is_remembered("x") and private_cache().parent != cache

@pytest.mark.parametrize("place", ["/proc/nope", "/content/drive/MyDrive/cache", "{tmp}/file/cache"])
def test_a_run_is_looked_at_without_a_cache(place, made, tmp_path, monkeypatch):
    (tmp_path/"file").touch()
    monkeypatch.setenv("BEIT3_COLAB_CACHE", place.format(tmp=tmp_path))
    run = open_run(made, made.parent)
    assert shown(run) == ["RGB"]*3 and len(run.answers) == 3 and repr(compare(run, run))

def test_who_may_read_the_questions_stays_so(vqa, tmp_path):
    "Whoever shares a run does not have to do it again at each start; what is as it was is not written again."
    draw_scene(make_scene(5)).save(tmp_path/"5.png")
    path, rows = tmp_path/"run"/"own_questions.json", dict(image=str(tmp_path/"5.png"), question="Is it night?")
    def ask(said): evaluate(vqa, questions=[rows | dict(answers=said)], output_dir=tmp_path/"run", progress=False)
    ask("no")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    before = path.stat().st_ino
    ask("no")
    assert path.stat().st_ino == before
    ask("yes")
    assert path.stat().st_ino != before and stat.S_IMODE(path.stat().st_mode) == 0o640

@as_root
def test_who_must_share_is_named(made, tmp_path):
    "Of a file and of a folder that only their owner may read."
    tmp_path.chmod(0o755)
    code = ("import os, pwd, sys, beit3_colab.data.own\nfrom beit3_colab.look.run import open_run\nopen_run(sys.argv.pop(1)).records\nos.setgid(2002); os.setuid(2002)\n"
            "for f in sys.argv[1:]:\n  try: open_run(f)\n  except ValueError as error: print(error)")
    folders = [shutil.copytree(made, tmp_path/name) for name in ("file", "folder")]
    for path in (*folders, *folders[0].iterdir()): path.chmod(path.stat().st_mode | 0o055)
    (folders[0]/"own_questions.json").chmod(0o600)
    folders[1].chmod(0o700)
    tops = [p for p in tmp_path.parents if p.stat().st_mode & 0o1 == 0]
    for top in tops: top.chmod(top.stat().st_mode | 0o001)
    try: done = subprocess.run([sys.executable, "-c", code, *map(str, (made, *folders))], capture_output=True, text=True, timeout=120, cwd="/", env=os.environ | dict(BEIT3_COLAB_CACHE=str(tmp_path/"none")))
    finally:
        for top in tops: top.chmod(top.stat().st_mode & ~0o001)
    assert "is private to its owner, root: to share the run have root run `chmod g+r`" in done.stdout and "may not be read by you: have root run `chmod -R g+rX`" in done.stdout, done.stderr

def test_large_files_of_a_folder_take_no_memory(made, tmp_path):
    "A journal of line ends, and a run.json and questions that no run has."
    journal, notes, questions = [shutil.copytree(made, tmp_path/name) for name in "abc"]
    for path, size in ((journal/"answers-1.jsonl", 150 << 20), (notes/"run.json", 30 << 20), (questions/"own_questions.json", 600 << 20)):
        with open(path, "wb") as file:
            if path.suffix == ".jsonl": file.write(b"\n" * size)
            else: file.truncate(size)
    code = "import sys\nfrom beit3_colab import open_run\nfor f in sys.argv[1:]:\n  try: open_run(f).records\n  except ValueError as error: print(error)"
    def limit(): resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    done = subprocess.run([sys.executable, "-c", code, *map(str, (journal, notes, questions))], capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert [clause in line for clause, line in zip(("answers-1.jsonl, line 1 is damaged: it is empty", "run_file_bytes=", "questions_bytes="), done.stdout.splitlines())] == [True]*3, done.stdout + done.stderr

def test_a_device_takes_no_memory(sent, tmp_path):
    forge(sent, image(0, "zero.png"))
    (sent/"zero.png").symlink_to("/dev/zero")
    code = f"from beit3_colab import open_run; run = open_run({str(sent)!r})\ntry: run.data.read_image(run.questions[0])\nexcept ValueError as error: print(error)"
    def limit(): resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert "MemoryError" not in done.stderr and "zero.png" in done.stdout + done.stderr, done.stderr


# Secrets of addresses

def test_no_password_is_written_down(vqa, tmp_path, cache, monkeypatch, capsys):
    monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "127.0.0.1")
    draw_scene(make_scene(6)).save(tmp_path/"6.png")
    with FileServer({"/6.png": (tmp_path/"6.png").read_bytes()}) as server:
        secret = server.url.replace("://", "://bob:HUNTER2@") + "/6.png?token=TOKEN77"
        rows = [dict(image=secret, question="Is it night?", answers="no")]
        run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
        run.to_csv(tmp_path/"run"/"answers.csv")
        compare(run, run).to_csv(tmp_path/"run"/"compared.csv")
        told = run.data.worker_arguments(tmp_path)["questions"] # processes that are started fetch with it
        assert open_questions(told).questions[0].image == secret and open_questions(told).pictures_sha256 == run.data.pictures_sha256
        assert [stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("own_questions.json")] == [0o600]
    seen = "".join(p.read_text(encoding="utf-8") for p in (tmp_path/"run").iterdir() if p.is_file())
    seen += run.answers.to_html() + str(run.answers.to_dict()) + open_run(run.folder).answers.to_html() + "".join(capsys.readouterr())
    assert "HUNTER2" not in seen and "TOKEN77" not in seen and "sealed-" in seen
    assert stat.S_IMODE((tmp_path/"run"/"own_questions.json").stat().st_mode) == 0o600

def test_notes_of_what_was_made_here_are_private(vqa, tmp_path, cache):
    evaluate(vqa, questions=[dict(image=Image.new("RGB", (40, 40)), question="Is it night?")], output_dir=tmp_path/"run", progress=False)
    notes = list((cache/"known_runs").iterdir())
    assert notes and all((p.stat().st_size, stat.S_IMODE(p.stat().st_mode)) == (0, 0o600) for p in notes)
    assert stat.S_IMODE((cache/"known_runs").stat().st_mode) == 0o700

def test_a_fingerprint_stays_what_it_is():
    assert Identity("sample", "w", "a", "t", "sample", "q", 20, 192, "float32").fingerprint() == "aa8045054f2f9cf0"
