"Questions about pictures of one's own, from a list, a file or a folder, through a whole run and back."
import base64
import csv
import errno
import io
import json
import os
import re
import shutil
import unicodedata
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from file_server import FileServer

from beit3_colab import compare, evaluate, open_run
from beit3_colab.commands.cli import main
from beit3_colab.data import picture_names
from beit3_colab.data.own import open_questions, open_saved
from beit3_colab.data.rows import Row
from beit3_colab.machine.messages import UserError
from beit3_colab.look.plots import plot_accuracy, show_answers
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene
from beit3_colab.look.tables import read_csv, write_csv


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

def png(seed):
    content = io.BytesIO()
    draw_scene(make_scene(seed)).save(content, "PNG")
    return content.getvalue()

HALF = "\ud83d" # of an emoji

def own_rows(folder):
    "Seven questions about five pictures of every kind; people answered some."
    draw_scene(make_scene(1)).save(folder/"path.png")
    array = np.asarray(draw_scene(make_scene(2)))
    return [dict(image=folder/"path.png", question="Is it day or night?"), dict(image=str(folder/"path.png"), question="Where was this drawn?"),
            dict(image=array, question="Where was this drawn?", answers="Beach."), dict(image=array, question="What is the weather like?", answers=["rainy", "it is raining"]),
            dict(image=draw_scene(make_scene(3)), question="Where was this drawn?", question_id=70),
            dict(image=png(4), question="Where was this drawn?", answers=["nowhere"], image_id="the last one"), dict(image=png(5), question="Is it day or night?")]


def test_a_run_and_everything_after_it(vqa, tmp_path, cache):
    rows, folder = own_rows(tmp_path), tmp_path/"run"
    run = evaluate(vqa, questions=rows, output_dir=folder, progress=False)
    expected = [vqa.ask(r["image"], r["question"], 1)[0] for r in rows]
    assert list(run.answers["answer"]) == [a.answer for a in expected]
    assert list(run.answers["question_id"]) == [1, 2, 3, 4, 70, 6, 7] and run.answers["image_id"].nunique() == 5
    assert json.loads(run.submission.read_text())[4] == {"question_id": 70, "answer": expected[4].answer}
    assert run.submission.name == "answers_own_pictures.json" and not list(folder.glob("*vqav2*"))
    # what people said was scored, and not under the official name
    right = [expected[2].answer == "beach", expected[3].answer in ("rainy", "it is raining"), False]
    assert run.accuracy.num_questions == 3 and run.accuracy.overall == pytest.approx(100*sum(right)/3, abs=.01) and run.soft_score is None
    assert run.accuracy.metric == "exact" and "not official VQA accuracy" in str(run.accuracy) and "exact match" in run.accuracy._repr_html_()
    assert list(run.answers["accuracy"].notna()) == [False, False, True, True, False, True, False]
    assert show_answers(run).axes and plot_accuracy(run).axes[1].get_xlabel() == "exact match, %"
    browser = run.browse()
    assert "7 answers" in repr(browser) and "exact match" in browser.saved_view() and browser.saved_view().count("<img") == 7
    # written as a table and read back; compared with another run
    assert read_csv(run.to_csv(tmp_path/"answers.csv"))["human_answers"].tolist()[:4] == [[], [], ["Beach."], ["rainy", "it is raining"]]
    same = compare(run, run)
    assert same.agreement == 100. and same.overall.questions == 3 and "not official VQA accuracy" in str(same) # of those that people answered
    # opened again elsewhere: what was given in memory was kept with the run
    shutil.rmtree(cache)
    shutil.move(folder, tmp_path/"moved")
    assert open_run(tmp_path/"moved").annotations == run.annotations # who made it is known no longer: only what the folder holds is read
    again = open_run(tmp_path/"moved", data_path=tmp_path)
    assert again.answers.drop(columns="top5").equals(run.answers.drop(columns="top5")) and str(again.accuracy) == str(run.accuracy)
    assert [np.asarray(again.data.read_image(q)).tobytes() for q in again.questions][4] == np.asarray(draw_scene(make_scene(3))).tobytes()

def test_continued_unless_it_is_another_run(vqa, tmp_path, cache):
    rows, folder = own_rows(tmp_path), tmp_path/"run"
    def again(rows, **more): return evaluate(vqa, questions=rows, output_dir=folder, progress=False, **more)
    before = again(rows)
    journal = folder/"answers-0.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]) + b'{"quest') # killed after three answers
    (folder/before.submission.name).unlink()
    assert again(rows).records == before.records and again(rows).report().questions == 4
    rows[2]["answers"] = ["beach"]*10 # what people said may be added later
    assert again(rows).accuracy.num_questions == 3
    draw_scene(make_scene(6)).save(tmp_path/"path.png")
    with pytest.raises(UserError, match=r"holds another run \(a picture or a question has changed, or their order\)"): again(rows)
    with pytest.raises(UserError, match=r"holds another run \(other questions \(7 there, 5 now\)\)"): again(rows[:5])

def test_ten_answers_make_the_official_accuracy(vqa, tmp_path, cache):
    rows = [dict(image=png(2), question="Where was this drawn?", answers=["beach"]*2 + ["sea"]*8), dict(image=png(3), question="Where was this drawn?")]
    run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    assert run.accuracy.metric == "official" and run.accuracy.num_questions == 1 and str(run.accuracy).count("Official VQA accuracy") == 1
    unknown = evaluate(vqa, questions=[{k: v for k, v in row.items() if k != "answers"} for row in rows], output_dir=tmp_path/"unknown", progress=False)
    for pair in ((unknown, run), (run, unknown)): assert "Official VQA accuracy" in str(compare(*pair)) # whichever brings the answers
    said = run.answers["answer"][0]
    assert run.accuracy.overall == {"beach": 60., "sea": 100.}.get(said, 0.) and run.soft_score.num_questions == 1

def test_a_comparison_tells_of_other_pictures_and_other_people(vqa, tmp_path, cache):
    def run(name, seed, answers):
        draw_scene(make_scene(seed)).save(tmp_path/"a.png")
        return evaluate(vqa, questions=[dict(image=tmp_path/"a.png", question="Where was this drawn?", answers=answers)], output_dir=tmp_path/name, progress=False)
    first, other = run("first", 2, ["beach"]), run("other", 3, ["beach"])
    assert "the pictures' contents are not" in str(compare(first, other)) and "judged by" not in str(compare(first, other))
    again = run("again", 2, ["sea"])
    assert "pictures' contents" not in str(compare(first, again)) and "both are judged by those of A" in str(compare(first, again))
    assert "not." not in str(compare(first, first)).partition("Same answer")[2].partition("Exact")[0]

def test_processes_give_the_same(tmp_path, cache):
    rows = own_rows(tmp_path)
    for i in range(3): rows[i] |= dict(question_id=f"q{i}", question=f"Where was this {HALF} drawn?") # ids that are texts, half an emoji
    one = evaluate("sample", questions=rows, output_dir=tmp_path/"one", device="cpu", progress=False, limit=5)
    two = evaluate("sample", questions=rows, output_dir=tmp_path/"two", device="cpu", progress=False, limit=5, processes=2)
    assert one.submission.name == f"answers_own_pictures_part_{len(one.questions)}.json"
    assert two.submission.read_bytes() == one.submission.read_bytes() and two.identity == one.identity
    assert (tmp_path/"two"/"pictures").is_dir() and str(open_run(tmp_path/"two").accuracy) == str(one.accuracy)

def test_a_file_with_addresses_from_the_shell(tmp_path, cache, capsys, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "127.0.0.1") # where the server of this test is
    with FileServer({"/a.png": png(1)}) as server:
        draw_scene(make_scene(2)).save(tmp_path/"b.png")
        with open(tmp_path/"holiday.csv", "w", newline="") as f:
            csv.writer(f).writerows([["image", "question", "answers"], [f"{server.url}/a.png", "Is it day or night?", "day | night"], ["b.png", "Where was this drawn?", ""]])
        arguments = ["evaluate", "--questions", tmp_path/"holiday.csv", "--output-dir", tmp_path/"run", "--device", "cpu", "--quiet"]
        for _ in range(2): assert main(list(map(str, arguments))) == 0
        out = capsys.readouterr().out
        assert "Exact match" in out and "answers: " in out and "submission" not in out
        assert [r.status for r in server.requests].count(200) == 1 # fetched once for both; the second run may ask whether it is the same
        with open(tmp_path/"holiday.csv", "a") as f: f.write(f"{server.url}/gone.png,Is it?,\nnone.png,Is it?,\n")
        assert main(list(map(str, arguments))) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "2 of the questions cannot be asked: line 4: " in told and "404" in told and "line 5: picture none.png does not exist" in told
        arguments[4] = tmp_path/"blank"
        assert main([*map(str, arguments), "--bad-images", "blank"]) == 0
        assert open_run(tmp_path/"blank").answers["image_error"].notna().tolist() == [False, False, True, True]

def test_a_folder_and_one_question(vqa, tmp_path, cache):
    for seed in (1, 2): draw_scene(make_scene(seed)).save(tmp_path/f"{seed}.png")
    run = evaluate(vqa, questions=tmp_path, question=["Is it day or night?", "Where was this drawn?"], output_dir=tmp_path/"run", progress=False)
    assert list(run.answers["image_id"]) == ["1.png"]*2 + ["2.png"]*2 and run.accuracy is None
    for wrong, says in [(dict(split="val"), "leave them out"), (dict(question="Why?", questions=None), "pass questions="), (dict(bad_images="skip"), "'stop' or 'blank'")]:
        with pytest.raises(UserError, match=says): evaluate(vqa, **{"questions": tmp_path, "question": "Why?", **wrong})

def test_in_the_background(vqa, tmp_path, cache):
    run = evaluate(vqa, questions=own_rows(tmp_path), output_dir=tmp_path/"run", background=True, progress=False).wait()
    assert run.state == "finished" and len(run.answers) == 7 and run.metric == "exact"

def test_no_picture_is_taken_from_outside_the_run(vqa, tmp_path, cache):
    draw_scene(make_scene(1)).save(tmp_path/"outside.png")
    with pytest.raises(UserError, match="row 1: image memory:.* stands for pictures that are no files"): evaluate(vqa, questions=[dict(image=f"memory:{tmp_path}/outside.png", question="Why?")])
    folder = evaluate(vqa, questions=[dict(image=png(1), question="Is it night?")], output_dir=tmp_path/"run", progress=False).folder
    kept = json.loads((folder/"own_questions.json").read_text())
    for field, value in (("image", "memory:../outside.png"), ("image", f"memory:{tmp_path}/outside.png"), ("question_id", 1.5), ("question", None)): # in a folder that somebody sent
        (folder/"own_questions.json").write_text(json.dumps({**kept, "questions": [{**kept["questions"][0], field: value}]}))
        with pytest.raises(UserError, match="is damaged"): open_run(folder)

def test_images_are_vqav2s(vqa, tmp_path, cache):
    for own in (dict(questions=own_rows(tmp_path)), dict(split="sample")):
        with pytest.raises(UserError, match="is about VQAv2's pictures; leave it out for (your own|sample)"): evaluate(vqa, images=tmp_path/"gone.zip", **own)

@pytest.mark.parametrize("place", ["beit3_colab.data.own.atomic_write", "beit3_colab.data.own.save_questions"])
def test_a_full_disk_is_told(vqa, tmp_path, cache, monkeypatch, place):
    def fail(*args, **kwargs): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(place, fail)
    with pytest.raises(UserError, match="full.*free some space"): evaluate(vqa, questions=[dict(image=png(5), question="Why?")], output_dir=tmp_path/"run", progress=False)

def test_the_rule_is_found_once():
    "It looks at every annotation, and each answer of a run asks for it."
    class Counting(dict):
        looks = 0
        def values(self):
            Counting.looks += 1
            return super().values()
    scenes = [draw_scene(make_scene(seed)) for seed in (7, 11)]
    data = open_questions([dict(image=scene, question="Where was this drawn?", answers=["lake"]*10) for scene in scenes])
    data = replace(data, annotations=Counting(data.annotations))
    assert {data.metric for _ in range(5)} == {"official"} and Counting.looks == 1
    assert replace(data, annotations={1: replace(data.annotations[1], answers=("lake",))}).metric == "exact"


def refusal(source, **more):
    with pytest.raises(UserError) as caught: open_questions(source, **more)
    assert len(str(caught.value)) < 4000
    return str(caught.value)

def with_pictures(run, table):
    "A table of a run, its pictures with the folder they lie in."
    return table.assign(image=[str(run.data.image_path(q)) for q in run.questions])

def test_a_table_of_ours_knows_whose_answers_are_whose(vqa, tmp_path):
    first = evaluate(vqa, limit=40, output_dir=tmp_path/"first", progress=False)
    table = with_pictures(first, first.to_pandas())
    sources = [table, write_csv(table, tmp_path/"a.csv"), write_csv(table, tmp_path/"b.csv", spreadsheet=True), table.to_dict("records")]
    for data in map(open_questions, sources):
        assert {i: a.answers for i, a in data.annotations.items()} == {i: a.answers for i, a in first.annotations.items()} and data.notes == ()
    again = evaluate(vqa, questions=sources[1], output_dir=tmp_path/"again", progress=False)
    assert 0 < first.accuracy.overall < 100 and (again.accuracy.metric, again.accuracy.overall, again.accuracy.num_questions) == ("official", first.accuracy.overall, first.accuracy.num_questions)
    bare = evaluate(vqa, questions=with_pictures(first, first.answers), output_dir=tmp_path/"bare", progress=False)
    assert bare.accuracy is None and "no answers of people, and nothing is scored: answer stands beside 'confidence', " in bare.data.notes[0]
    assert open_questions(bare.answers).annotations is None # without correct_answer and accuracy
    both = open_questions(with_pictures(first, compare(first, first).table))
    assert both.annotations is None and "'answer_a', 'answer_b' are two models'" in both.notes[0]

def test_answers_of_people_come_back_from_csv_as_they_were(vqa, tmp_path, cache):
    said = ['yes, it is', 'a|b', '["x"]', "it's", 'say "no"', "[so]", "=1+1", "2.0"]
    run = evaluate(vqa, questions=[dict(image=png(77), question="Is it day or night?", answers=said), dict(image=png(77), question="Where was this drawn?")], output_dir=tmp_path/"run", progress=False)
    for source in (run.to_csv(tmp_path/"a.csv"), run.to_pandas()): # the picture was given in memory, and is still there
        again = open_questions(source)
        assert list(again.annotations[1].answers) == said and 2 not in again.annotations and again.questions == run.questions
    shutil.rmtree(cache) # the run has its copy
    assert open_questions(run.to_pandas()).questions == run.questions
    table = run.to_pandas()
    shutil.rmtree(run.folder/"pictures")
    assert "give own_questions.json of the run that had it" in refusal(table)

TEXT_IDS = ["22MexNkBPpdZGX6sxbxVBH", "22jbM6gDxdaMaunuzgrsBB", "ünï", "q-4", 5, "a,b\"c"]

def test_text_ids_go_through_a_whole_run(vqa, tmp_path, cache):
    rows = [dict(image=png(1 + i//2), question=f"Where was this drawn{'?'*i} \ud83d", question_id=number, answers=["beach"] if i < 4 else None) for i, number in enumerate(TEXT_IDS)]
    one = evaluate(vqa, questions=rows, output_dir=tmp_path/"one", progress=False)
    assert list(one.answers["question_id"]) == TEXT_IDS and json.loads(one.submission.read_text())[0]["question_id"] == TEXT_IDS[0]
    again = open_run(tmp_path/"one")
    assert again.questions == one.questions and str(again.accuracy) == str(one.accuracy) and compare(one, tmp_path/"one").agreement == 100.
    assert read_csv(one.to_csv(tmp_path/"a.csv"))["question_id"].tolist() == TEXT_IDS and [q.question_id for q in open_questions(tmp_path/"a.csv").questions] == TEXT_IDS
    assert "ünï" in one.browse().saved_view() or one.to_html(tmp_path/"a.html").exists()
    part = evaluate(vqa, questions=rows, output_dir=tmp_path/"part", progress=False, limit=2)
    assert [q.question_id for q in open_run(tmp_path/"part").questions] == [q.question_id for q in part.questions] != TEXT_IDS
    journal = tmp_path/"one"/"answers-0.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    (tmp_path/"one"/one.submission.name).unlink()
    assert evaluate(vqa, questions=rows, output_dir=tmp_path/"one", progress=False).records == one.records # continued


NAMES = [ # there → asked for
    ("sub/a.png", "sub\\a.png"), ("a.png", " a.png"), ("a.png", "a.png\t"), ("a.png", '"a.png"'), ("sub/a.png", ".\\sub\\a.png"), ("sub\\a.png", "sub/a.png"),
    (unicodedata.normalize("NFD", "café/été.png"), unicodedata.normalize("NFC", "café/été.png")), (unicodedata.normalize("NFC", "が.png"), unicodedata.normalize("NFD", "が.png")), (unicodedata.normalize("NFD", "é/a.png"), unicodedata.normalize("NFC", "é\\a.png"))]

@pytest.mark.parametrize("there, asked", NAMES)
def test_another_spelling_of_the_same_name_is_read(tmp_path, cache, there, asked):
    (tmp_path/there).parent.mkdir(exist_ok=True)
    (tmp_path/there).write_bytes(png(1))
    (tmp_path/"q.jsonl").write_text(json.dumps(dict(image=asked, question="Why?")))
    data = open_questions(tmp_path/"q.jsonl")
    assert data.questions[0].image == there and data.read_image(data.questions[0]).size == (280, 280)
    (tmp_path/"q.jsonl").write_text(json.dumps(dict(image=str(tmp_path/"x")[:-1] + asked.strip(' "\t'), question="Why?")))
    assert open_questions(tmp_path/"q.jsonl").read_image(data.questions[0]).size == (280, 280)

@pytest.mark.parametrize("asked, says", [
    ("photo.jpg", "there is Photo.JPG"), ("PHOTO", "there is Photo.JPG"), ("Photo.png", "there is Photo.JPG"), ("COCO_val2014_000000000042", "there is COCO_val2014_000000000042.jpg"), ("42", "there is COCO_val2014_000000000042.jpg"), ("000000000042.jpg", "there is COCO_val2014_000000000042.jpg"), ("Poto.JPG", "there is Photo.JPG"),
    ("pictures/Photo.JPG", "there is Photo.JPG"), ("subs/a.png", "there is no folder subs in "), ("sub/b.png", "there is sub/a.png"), ("C:\\Users\\me\\Photo.JPG", "a path of a Windows computer; Photo.JPG is there"), ("D:\\x\\y.png", "a path of a Windows computer; give its path on this computer"), ("x"*300, "no file can have this name|File name too long|does not exist"), ("a\0b.png", "no file can have this name")])
def test_the_nearest_file_is_named(tmp_path, cache, asked, says):
    (tmp_path/"sub").mkdir()
    for name in ("Photo.JPG", "COCO_val2014_000000000042.jpg", "sub/a.png"): (tmp_path/name).write_bytes(png(1))
    (tmp_path/"q.json").write_text(json.dumps([dict(image=asked, question="Why?")]))
    assert re.search(says, refusal(tmp_path/"q.json"))

def test_a_folder_is_listed_once(tmp_path, cache, monkeypatch):
    (tmp_path/"0.png").write_bytes(png(1))
    listed, real = [], picture_names.list_folder
    monkeypatch.setattr(picture_names, "list_folder", lambda folder: listed.append(folder) or real(folder))
    open_questions([dict(image=tmp_path/"0.png", question="Why?")]*50)
    assert listed == []
    told = refusal([dict(image=str(tmp_path/f"gone{i}.gif"), question="Why?") for i in range(500)])
    assert listed.count(tmp_path) <= 2 and told.count("gone") <= 30 and "500 of the questions" in told and "more" in told

def test_a_picture_as_text_is_read_or_refused_in_few_words(tmp_path, cache):
    text = base64.b64encode(png(1)).decode()
    with open(tmp_path/"q.tsv", "w") as f: f.write(f"index\timage\tquestion\tanswer\n1\t{text}\tWhy?\tno\n2\tdata:image/png;base64,{text}\tWhat?\tyes\n")
    data = open_questions(tmp_path/"q.tsv")
    assert len({q.image for q in data.questions}) == 1 and np.array_equal(np.asarray(data.read_image(data.questions[0])), np.asarray(draw_scene(make_scene(1))))
    for wrong, says in (("A"*131_000, "neither a path nor a picture in base64"), (text[:2000], "given as bytes"), ("data:text/html;base64,PGh0bWw+", "web page"), (text + "!", "does not exist|neither a path nor"), ("é"*5000, "neither a path")):
        assert re.search(says, told := refusal([dict(image=wrong, question="Why?")])) and len(told) < 900

UNREADABLE = [b"nothing", b"", png(1)[:500], np.zeros((5, 7, 9)), {"bytes": b"nothing", "path": "a.png"}, "data:image/png;base64,AAAA"]

def test_pictures_in_memory_that_cannot_be_read_are_answered_blank(vqa, tmp_path, cache):
    rows = [dict(image=image, question=f"Why {i}?") for i, image in enumerate([*UNREADABLE, png(2)])]
    assert f"{len(UNREADABLE)} of the questions cannot be asked" in (told := refusal(rows)) and "bad_images='blank'" in told
    run = evaluate(vqa, questions=rows, bad_images="blank", output_dir=tmp_path/"run", progress=False)
    assert run.answers["image_error"].notna().tolist() == [True]*len(UNREADABLE) + [False]
    shutil.rmtree(cache)
    assert open_run(tmp_path/"run").answers["image_error"].tolist() == run.answers["image_error"].tolist()
    assert "there is no image" in refusal([dict(image=None, question="Why?")], bad_images="blank")

def test_rows_are_let_go_one_by_one(tmp_path, cache, monkeypatch):
    made, most = [], 0
    def rows():
        nonlocal most
        for i in range(40):
            picture = np.full((8, 8), i, np.uint8)
            made.append(weakref.ref(picture))
            most = max(most, sum(ref() is not None for ref in made))
            yield Row(f"row {i}", dict(image=picture, question=f"Why {i}?"))
            del picture
    monkeypatch.setattr("beit3_colab.data.own.read_rows", lambda source, question, say: (tmp_path, source))
    assert len({q.image for q in open_questions(rows()).questions}) == 40 and most < 15

NAME = os.fsdecode(b"caf\xe9.png")

def test_half_an_emoji_goes_through_a_run(vqa, tmp_path, cache):
    (tmp_path/NAME).write_bytes(png(3))
    rows = [dict(image=png(1), question=f"Is it {HALF} night?", answers=["no" + HALF, "yes"], image_id="x" + HALF), dict(image=str(tmp_path/NAME), question="Is it \ud83d\ude00?"), dict(image=str(tmp_path/f"{HALF}.png"), question="Why?")]
    assert "3" not in refusal(rows)[:2] and "does not exist" in refusal(rows) + "does not exist"
    run = evaluate(vqa, questions=rows, bad_images="blank", output_dir=tmp_path/"run", progress=False)
    assert list(run.answers["question"]) == ["Is it ? night?", "Is it 😀?", "Why?"] and run.annotations[1].answers == ("no?", "yes")
    assert run.answers["image_error"].notna().tolist() == [False, False, True] and "with half a character" in run.data.notes[0]
    for name in ("question_id", "image_id", "question", "answer"): "".join(map(str, run.answers[name])).encode() # can be printed
    again = open_run(tmp_path/"run")
    assert again.questions == run.questions and again.annotations == run.annotations and again.data.notes == run.data.notes
    assert open_questions(tmp_path/"run"/"own_questions.json", bad_images="blank").questions == run.questions
    run.to_csv(tmp_path/"a.csv"), run.to_html(tmp_path/"a.html"), run.browse().saved_view()

def test_what_is_said_is_kept_and_said_once(vqa, tmp_path, cache, caplog):
    rows = [dict(image=png(1), question="Is it night?", answers="no"), dict(image=png(2), question="Is it night?")]
    run = evaluate(vqa, questions=rows, output_dir=tmp_path/"run", progress=False)
    said = ["1 of 2 questions has no answers of people and is not scored"]
    assert [r.getMessage() for r in caplog.records if r.name == "beit3_colab.data"] == said == list(open_run(tmp_path/"run").data.notes)
    evaluate(vqa, questions=[{**rows[0]}], output_dir=tmp_path/"other", progress=False)
    assert "notes" not in json.loads((tmp_path/"other"/"own_questions.json").read_text())

@pytest.mark.parametrize("damage", [dict(question_id=True), dict(question_id=None), dict(image_id=[1]), dict(answers=[1]), dict(answers="abc", question=1), dict(image=3)])
def test_a_damaged_questions_file_is_said_to_be(tmp_path, cache, damage):
    row = dict(question_id="q1", image_id="a", question="Why?", image="a.png", answers=["no"])
    path = tmp_path/"own_questions.json"
    path.write_text(json.dumps(dict(schema_version=1, root=str(tmp_path), pictures=None, questions=[row])))
    assert open_saved(path).questions[0].question_id == "q1"
    path.write_text(json.dumps(dict(schema_version=1, root=str(tmp_path), pictures=None, questions=[{**row, **damage}])))
    with pytest.raises(UserError, match="is damaged"): open_saved(path)

def test_a_buffer_that_is_filled_again_is_another_picture(cache):
    "Cameras and videos give the same array, picture or file for every frame."
    from beit3_colab.pictures.reading import open_picture
    frames = [np.asarray(draw_scene(make_scene(seed)).resize((64, 48))) for seed in (3, 7, 11)]
    def arrays():
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            for question in ("Why?", "Where?"): yield dict(image=buffer, question=question)
    def pictures():
        picture = Image.new("RGB", frames[0].shape[1::-1])
        for frame in frames:
            picture.paste(Image.fromarray(frame))
            yield dict(image=picture, question="Why?")
    def files():
        file = io.BytesIO()
        for frame in frames:
            file.seek(0)
            file.truncate()
            Image.fromarray(frame).save(file, "PNG")
            yield dict(image=file, question="Why?")
    for source, each in ((arrays, 2), (pictures, 1), (files, 1)):
        data = open_questions(source())
        assert [np.asarray(data.read_image(q)).tobytes() for q in data.questions] == [frame.tobytes() for frame in frames for _ in range(each)]

@pytest.mark.parametrize("answers, read", [(["yes\u200b"]*10, "yes"), (["\ufeffno"]*3, "no"), ("co\u00adoperate", "cooperate")])
def test_characters_that_nobody_sees_do_not_count(cache, answers, read):
    found = open_questions([dict(image=Image.new("RGB", (8, 8)), question="Is it?", answers=answers)])
    assert set(found.annotations[1].answers) == {read}

@pytest.mark.parametrize("answers, notes", [(["Rainy"]*10, 1), (["a boat."]*12, 1), (["rainy"]*10, 0), (["Rainy"]*9, 0), (["Rainy"]*9 + ["rain"], 0)])
def test_ten_equal_answers_that_only_their_spelling_matches(cache, answers, notes):
    "The official rule compares letter by letter where all agree."
    found = open_questions([dict(image=Image.new("RGB", (8, 8)), question="Is it?", answers=answers)]).notes
    assert len([note for note in found if "letter by letter" in note]) == notes

def test_y_and_n_and_annotations_beside_questions_are_refused(cache):
    rows = [dict(image=Image.new("RGB", (8, 8)), question="Is it?", answers=a) for a in ("Y", "n", "y")]
    with pytest.raises(UserError, match="y and n; write yes and no"): open_questions(rows)
    with pytest.raises(UserError, match="into each question, as answers"): open_questions({"questions": [dict(image="a.jpg", question="Is it?", question_id=1)], "annotations": [dict(question_id=1, answers=["no"])]})
