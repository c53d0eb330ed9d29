"What lies in a folder of runs: listed without fail, found by name, compared, and deleted only where nothing else would go."
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from beit3_colab import UserError, evaluate, runs
from beit3_colab.commands.cli import main
from beit3_colab.run.journal import Journal
from beit3_colab.run.run_list import count_notes, delete_run, is_locked, journals_of, list_run, read_runs
from hostile import NASTY
from trainings import learn, some_rows

OLD = Path(__file__).parent/"golden"/"old_runs"


@pytest.fixture(scope="module")
def first(vqa, tmp_path_factory):
    place = tmp_path_factory.mktemp("listed")/"beit3_runs"
    evaluate(vqa, limit=20, name="baseline", output_dir=place/"one", progress=False)
    evaluate(limit=20, image_size=96, name="small", output_dir=place/"two", progress=False)
    return place

@pytest.fixture
def place(first, tmp_path): return shutil.copytree(first, tmp_path/"beit3_runs")

def change(folder, **fields):
    path = folder/"run.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def test_a_list_says_what_the_runs_say(place):
    table = runs(place)
    one, two = table["baseline"], table["small"]
    assert (one.model, one.data, one.answered, one.asked, one.state) == ("BEiT-3 sample model, 192 px", "built-in sample", 23, 23, "finished")
    opened = table.open("baseline").accuracy
    assert (one.accuracy, one.interval, one.metric) == (opened.overall, opened.interval, "official")
    assert two.model.endswith(", 96 px") and table[two.number] is two and table[two.folder] is two and table["two"] is two
    frame = table.table
    assert frame["name"].tolist() == [run.name for run in table] and frame["accuracy"].tolist() == [run.accuracy for run in table]
    for text in (str(table), table._repr_html_()): assert all(part in text for part in ("baseline", "192 px", "finished", f"{one.accuracy:.2f}"))

def test_the_newest_is_the_first(place):
    change(place/"one", finished="2031-01-01T00:00:00")
    assert [run.name for run in runs(place)] == ["baseline", "small"] and runs(place)[1].name == "baseline"
    change(place/"one", finished="2011-01-01T00:00:00")
    assert [run.name for run in runs(place)] == ["small", "baseline"]
    change(place/"one", finished="yesterday", started=None)
    assert {run.name for run in runs(place)} == {"baseline", "small"} and runs(place)["baseline"].when == ""

def test_one_level_below_is_looked_at_and_no_more(place):
    (place/"tuesday").mkdir()
    shutil.move(place/"one", place/"tuesday"/"one")
    (place/"a"/"b").mkdir(parents=True)
    shutil.copytree(place/"two", place/"a"/"b"/"two")
    assert {run.folder.relative_to(place).as_posix() for run in runs(place)} == {"tuesday/one", "two"}
    assert [run.folder for run in runs(place/"two")] == [place/"two"] # a run folder itself

def test_old_runs_are_listed_and_scored_when_asked(tmp_path):
    place = shutil.copytree(OLD, tmp_path/"old")
    table = runs(place)
    assert {run.folder.name: run.state for run in table} == dict(sample="finished", stopped="unfinished", own="finished", vqav2="finished", two_processes="finished")
    assert (table["stopped"].answered, table["stopped"].asked) == (16, 33) and table["two_processes"].answered == 61
    assert all(run.accuracy is None for run in table) and "runs(score=True)" in str(table) and "–" in str(table)
    before = {p: p.read_bytes() for p in place.rglob("run.json")}
    scored = runs(place, score=True)
    figures = {run.folder.name: run.accuracy for run in scored}
    assert (figures["sample"], figures["two_processes"], figures["own"]) == (93.94, 74.59, 100.) and figures["stopped"] is not None
    assert figures["vqav2"] is None # its data is elsewhere
    assert before == {p: p.read_bytes() for p in place.rglob("run.json")} # looking changes nothing
    assert "exact match" in str(scored)

def test_trainings_and_damaged_folders_are_counted_and_told(place, tmp_path):
    learn(place/"learnt", some_rows(8), epochs=1, validation=0)
    for name, content in (("torn", "{"), ("empty", ""), ("list", "[]"), ("deep", "["*100_000), ("late", '{"schema_version": 99}'), ("nan", '{"identity": NaN}')):
        (place/name).mkdir()
        (place/name/"run.json").write_text(content)
    (place/"folder"/"run.json").mkdir(parents=True)
    (place/"linked").symlink_to(place/"one")
    (place/"inside").mkdir()
    (place/"inside"/"run.json").symlink_to(place/"one"/"run.json")
    (place/"piped").mkdir()
    os.mkfifo(place/"piped"/"run.json")
    (place/"notes.txt").write_text("a file among them")
    (place/"nothing").mkdir()
    table = runs(place)
    assert {run.name for run in table} == {"baseline", "small"} and [p.name for p in table.listed.trainings] == ["learnt"]
    why = {folder.name: text for folder, text in table.listed.damaged}
    assert set(why) == {"torn", "empty", "list", "deep", "late", "nan", "folder", "linked", "inside", "piped"}
    assert "link" in why["linked"] and "link" in why["inside"] and "later release" in why["late"] and all(why.values())
    assert "2 runs, 1 training, 10 that cannot be listed" in str(table) and "learnt" in str(table) and "And 7 more" in str(table)

def test_hostile_run_files_are_harmless(place):
    change(place/"one", name=NASTY*20, finished=NASTY, started=NASTY, submission="../two/run.json", dataset=NASTY, process=NASTY)
    run, = (run for run in runs(place) if run.folder.name == "one")
    assert run.state == "unfinished" and run.answered == 23 and len(run.name) <= 100 and "\x1b" not in str(runs(place))
    change(place/"two", score=dict(metric=NASTY, overall=50., interval=None, questions=1))
    assert "50.00" in str(runs(place)) and "\x1b" not in str(runs(place)) and len(str(runs(place)).splitlines()[2]) < 400
    change(place/"two", score=dict(metric="official", overall=101, interval=None, questions=1))
    assert [folder.name for folder, _ in read_runs(place).damaged] == ["two"]

def test_names_that_several_have_are_refused_with_the_choices(place):
    change(place/"two", name="baseline")
    with pytest.raises(UserError, match=r"2 runs are called 'baseline': give the number or the folder of one \(1: .*two.*; 2: .*one"): runs(place).open("baseline")
    with pytest.raises(UserError, match="did you mean 'baseline'"): runs(place).open("basline")
    with pytest.raises(UserError, match="no run number 0"): runs(place)[0]
    with pytest.raises(UserError, match="not by None"): runs(place)[None]
    assert runs(place).open("one").folder == place/"one" and runs(place).compare(1, 2, seed=3).overall.a >= 0

def test_comparing_from_the_table(place):
    found = runs(place).compare("baseline", "small")
    assert found.run_a.name == "baseline" and "A  baseline: BEiT-3 sample model" in str(found)

def test_no_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no folder beit3_runs here, so there are no runs"): runs()
    (tmp_path/"beit3_runs").mkdir()
    assert len(runs()) == 0 and runs()._repr_html_() == "<p>beit3_runs: 0 runs.</p>" and len(runs().table) == 0
    (tmp_path/"file").write_text("")
    with pytest.raises(UserError, match="file is no folder"): runs("file")
    with pytest.raises(UserError, match="a path, not 7"): runs(7)

def test_remarks_are_counted(place):
    a, b = json.loads((place/"one"/"run.json").read_text(encoding="utf-8"))["question_ids"][:2]
    lines = [dict(question_ids=[a, b], add=["glare", "odd"]), dict(question_ids=[a], remove=["glare", "odd"], note="?"), dict(question_ids=[b], note=""), [], {"question_ids": [[a]]}]
    (place/"one"/"notes.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{torn\n" + "["*50_000)
    assert count_notes(place/"one") == (1, 1) and "1 tag, 1 note" in str(runs(place)) and "remarks" in runs(place)._repr_html_()
    (place/"one"/"notes.jsonl").write_bytes(json.dumps(dict(question_ids=[a], note="whole")).encode() + b"\x18\n" + json.dumps(dict(question_ids=[-1], add=["x"])).encode())
    assert count_notes(place/"one") == (1, 1) and count_notes(place/"one", [a, b]) == (0, 1) == (runs(place)["baseline"].tags, runs(place)["baseline"].notes)

def test_a_hundred_runs_are_there_at_once(place):
    for i in range(100): shutil.copytree(place/"one", place/f"copy-{i}")
    begun = time.monotonic()
    assert len(runs(place)) == 102
    assert time.monotonic() - begun < 2


# --- deleting

def test_deleting_says_what_it_deleted(place, capsys):
    table = runs(place)
    kept = table["small"].number
    table.delete("baseline")
    assert f"deleted the run “baseline” with 23 answers: {place/'one'}" in capsys.readouterr().out
    assert not (place/"one").exists() and len(table) == 1 and table[kept].name == "small"
    with pytest.raises(UserError, match="no run in"): table.open("baseline")
    table.refresh()
    assert table[1].name == "small"

def kept(folder): return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

@pytest.mark.parametrize("strange", ["thesis.txt", "pictures/me.png", "probes/seed-0/blank/mine.txt", "probes/notes", "sub/answers-0.jsonl", "run.json.bak", "answers-x.jsonl"])
def test_a_folder_with_something_else_is_left(strange, place):
    (place/"one"/strange).parent.mkdir(parents=True, exist_ok=True)
    (place/"one"/strange).write_text("dear")
    before = kept(place)
    with pytest.raises(UserError, match="is left as it is: .* is no part of a run"): runs(place).delete("baseline")
    assert kept(place) == before

@pytest.mark.parametrize("name", ["answers-1.jsonl", "pictures", "probes", "notes.jsonl"])
def test_links_are_not_followed(name, place, tmp_path):
    dear = tmp_path/"dear"
    dear.mkdir()
    (dear/"file").write_text("dear")
    (place/"one"/name).symlink_to(dear)
    with pytest.raises(UserError, match="no part of a run"): runs(place).delete("baseline")
    assert (dear/"file").read_text() == "dear" and (place/"one"/"run.json").exists()
    (place/"other").symlink_to(place/"two")
    with pytest.raises(UserError, match="is a link"): delete_run(place/"other")
    assert (place/"two"/"run.json").exists()

def test_a_run_in_use_is_left(place):
    run = list_run(place/"one")
    journal = Journal(place/"one"/"answers-0.jsonl", json.loads((place/"one"/"answers-0.jsonl").read_text().splitlines()[0])["run"])
    try:
        assert [is_locked(path) for path in journals_of(place/"one")] == [True]
        with pytest.raises(UserError, match="is in use"): delete_run(place/"one")
        (place/"one"/json.loads((place/"one"/"run.json").read_text())["submission"]).unlink()
        assert run.state == "finished" and list_run(place/"one").state == "running"
    finally: journal.close()
    assert list_run(place/"one").state == "unfinished" and "deleted" in delete_run(place/"one")

def test_all_that_a_run_leaves_can_be_deleted(vqa, tmp_path):
    from beit3_colab.scenes.description import make_scene
    from beit3_colab.scenes.drawing import draw_scene
    run = evaluate(vqa, questions=[dict(image=draw_scene(make_scene(i)), question="Is it night?", answers="no") for i in range(3)], output_dir=tmp_path/"own", progress=False)
    assert (run.folder/"pictures").is_dir()
    assert "with 3 answers" in delete_run(run.folder)
    run = evaluate(vqa, limit=5, output_dir=tmp_path/"probed", progress=False)
    run.probe(["blank", "typo"], limit=2, vqa=vqa, progress=False)
    (run.folder/"notes.jsonl").write_text("")
    assert any((run.folder/"probes").rglob("answers-0.jsonl")) and "deleted" in delete_run(run.folder)
    assert list(tmp_path.iterdir()) == []

def test_what_is_no_run_is_not_deleted(place, tmp_path):
    (tmp_path/"dear").mkdir()
    for folder in (tmp_path/"dear", tmp_path/"nowhere"):
        with pytest.raises(UserError): delete_run(folder)
    assert (tmp_path/"dear").exists()


# --- the command

def test_the_command_lists(place, capsys, monkeypatch):
    assert main(["runs", str(place)]) == 0
    assert "baseline" in capsys.readouterr().out
    (place/"torn").mkdir()
    (place/"torn"/"run.json").write_text("{")
    assert main(["runs", str(place), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {run["name"] for run in found["runs"]} == {"baseline", "small"} and "cut short" in found["damaged"][0]["reason"]
    monkeypatch.chdir(place.parent)
    assert main(["runs"]) == 0 and "small" in capsys.readouterr().out
    assert main(["runs", "nowhere"]) == 2 and "no folder nowhere" in capsys.readouterr().err

def test_the_command_finds_names(place, capsys, monkeypatch):
    monkeypatch.chdir(place.parent)
    assert main(["compare", "baseline", "small"]) == 0 and "A  baseline" in capsys.readouterr().out
    change(place/"two", name="baseline")
    assert main(["report", "baseline"]) == 2 and "2 runs are called 'baseline'" in capsys.readouterr().err

def test_the_command_takes_the_number_that_a_message_names(place, capsys, monkeypatch):
    monkeypatch.chdir(place.parent)
    change(place/"two", name="baseline")
    assert main(["compare", "baseline", "1"]) == 2 and "give the number or the folder of one (1: " in capsys.readouterr().err
    names = {}
    for number in ("1", "2"):
        assert main(["report", number]) == 0
        names[number] = capsys.readouterr().out
    assert names["1"] != names["2"] and main(["compare", "1", "2"]) == 0 and "A  " in capsys.readouterr().out
    assert main(["report", "3"]) == 2 and "there is no run number 3" in capsys.readouterr().err
    change(place/"two", name="1") # what is called so comes first
    assert main(["report", "1"]) == 0 and capsys.readouterr().out.startswith("Run(1: ")
    assert main(["report", "none"]) == 2 and "(`beit3-colab runs`)" in capsys.readouterr().err

@pytest.mark.parametrize("arguments", [["report", "baseline", "--csv", "-"], ["report", "baseline", "--html", "-"], ["open", "x.json", "--answers-file", "-"]])
def test_no_file_is_named_with_a_dash_alone(arguments, place, capsys, monkeypatch):
    monkeypatch.chdir(place.parent)
    with pytest.raises(SystemExit) as stop: main(arguments)
    assert stop.value.code == 2 and "writes a file" in capsys.readouterr().err and not Path("-").exists()

@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    for word in ("evaluate", "name", "epochs", "probes", "runs", "bfloat16", "published"): assert word in out, word
    assert {"bash": "_shtab_compgen_files", "zsh": ":_files", "fish": "__fish_complete_path"}[shell] in out

def complete_in_bash(script, place, line):
    "What Tab offers at the end of a command line."
    words = line.split(" ")
    code = f'source "{script}"; COMP_WORDS=({" ".join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _shtab_beit3_colab; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return set(subprocess.run(["bash", "-c", code], cwd=place, capture_output=True, text=True, check=True).stdout.split())

@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_file_names_and_values_are_completed(tmp_path, capsys):
    "A script that knew only options would take file names away."
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script, place = tmp_path/"script", tmp_path/"place"
    script.write_text(capsys.readouterr().out)
    (place/"runs").mkdir(parents=True)
    for name in ("own.csv", "oval"): (place/name).write_text("")
    for line, offered in [
        ("beit3-colab report r", {"runs"}), ("beit3-colab compare runs o", {"own.csv", "oval"}), ("beit3-colab evaluate --questions ow", {"own.csv"}),
        ("beit3-colab evaluate --output-dir ", {"runs"}), ("beit3-colab ask o", {"own.csv", "oval"}), ("beit3-colab runs ", {"runs", "own.csv", "oval"}),
        ("beit3-colab evaluate --dtype fl", {"float32", "float16", "float8", "float8+float16"}), ("beit3-colab finetune --recipe ", {"published", "small"}),
        ("beit3-colab evaluate --dataset ok", {"okvqa"}), ("beit3-colab evaluate --split te", {"test", "test-dev"}), ("beit3-colab evaluate --checkpoint s", {"sample"}),
        ("beit3-colab evaluate --checkpoint r", {"runs"}), ("beit3-colab probe runs --probes cap", {"capitals"}), ("beit3-colab evaluate --images z", {"zip"}),
        ("beit3-colab finetune --answers bo", {"both"}), ("beit3-colab score --metric ex", {"exact"}), ("beit3-colab evaluate --name o", set()),
        ("beit3-colab re", {"report"}), ("beit3-colab report --ht", {"--html"}),
    ]: assert complete_in_bash(script, place, line) == offered, line

def test_completion_without_shtab(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert main(["completion", "bash"]) == 2 and "pip install shtab" in capsys.readouterr().err

def test_only_of_the_usual_folder_it_is_said_that_evaluate_makes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="evaluate\\(\\) makes it"): runs()
    with pytest.raises(UserError, match="no runs: give the folder that your runs are in"): runs("/nonexistent")
    with pytest.raises(UserError, match="no runs: give the folder"): runs(tmp_path/"other")

def test_of_one_picture_it_is_said_why_there_is_no_interval(place, vqa):
    question = (run := runs(place).open("baseline")).questions[0]
    run.data.read_image(question).save(place/"a.png")
    evaluate(vqa, questions=[dict(image=str(place/"a.png"), question=text, answers=["yes"]) for text in ("Is it red?", "Is it a cat?")], output_dir=place/"three", progress=False)
    table = runs(place)
    assert table["three"].interval is None and table["three"].accuracy is not None
    for text in (str(table), table._repr_html_()): assert text.count("none (one picture)") == 2 and "does not tell how much pictures differ" in text
    shutil.rmtree(place/"three")
    assert "one picture" not in str(runs(place))

def test_the_text_ends_with_the_folder_and_what_is_next(place, capsys):
    *_, folder, what = str(runs(place)).splitlines()
    assert str(place) in folder and "2 runs" in folder and what.startswith(".open(1) opens a run")
    assert main(["runs", str(place)]) == 0
    *_, folder, what = capsys.readouterr().out.splitlines()
    assert "2 runs" in folder and what.startswith("beit3-colab report FOLDER") and ".open(" not in what
    shutil.rmtree(place/"one"), shutil.rmtree(place/"two")
    assert str(runs(place)) == f"{place}: 0 runs."

# --- which run is meant

def test_a_name_that_is_the_folder_of_another_run_is_refused(place):
    change(place/"two", name="one") # the folder of the other
    table = runs(place)
    for do in (table.open, table.delete, lambda key: table[key]):
        with pytest.raises(UserError, match="2 runs are called 'one': give the number or the folder"): do("one")
    assert (place/"one"/"run.json").exists() and (place/"two"/"run.json").exists()
    for key in (place/"one", str(place/"one"), Path("one")): assert table[key].folder == place/"one"
    assert table["two"].folder == place/"two" and table["baseline"].folder == place/"one"

def test_another_run_in_the_folder_is_not_deleted(place):
    table = runs(place)
    number = table["baseline"].number
    shutil.rmtree(place/"one")
    shutil.copytree(place/"two", place/"one")
    with pytest.raises(UserError, match="one holds another run than when it was listed: refresh"): table.delete(number)
    assert (place/"one"/"run.json").exists()
    shutil.rmtree(place/"one")
    for do in (table.open, table.delete, lambda key: table.compare(key, "small")):
        with pytest.raises(UserError, match=r"one is no longer there.*\.refresh\(\) looks again"): do(number)
    table.refresh()
    table.open("small").rename("renamed since")
    table.delete("small")
    assert not (place/"two").exists()

def test_a_table_stays_where_it_was_when_the_working_folder_changes(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = runs("beit3_runs")
    shutil.copytree(place, tmp_path/"elsewhere"/"beit3_runs")
    monkeypatch.chdir(tmp_path/"elsewhere")
    assert table.open("baseline").folder == place/"one" and table[place/"one"].name == "baseline"
    table.delete("baseline")
    assert not (place/"one").exists() and (tmp_path/"elsewhere"/"beit3_runs"/"one"/"run.json").exists()
    table.refresh()
    assert [run.name for run in table] == ["small"] and table.listed.place == place

def test_deleting_says_that_tags_and_notes_went_too(place, capsys):
    run = runs(place).open("baseline")
    run.remarks.tag(run.questions[:2], "a", "b").note(run.questions[0], "x")
    table = runs(place)
    table.delete("baseline")
    assert "with 23 answers, 2 questions with tags, 1 question with notes: " in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"no run number 9 in .*: there is {table['small'].number}$"): table[9]
    for name in ("three", "four"): shutil.copytree(place/"two", place/name)
    table.refresh()
    with pytest.raises(UserError, match="there are 1 to 3$"): table[9]
    table.delete(2)
    with pytest.raises(UserError, match="there are 1, 3$"): table[2]
def cut(folder, answers):
    "A copy that was interrupted in the middle of the answer after these."
    journal = folder/"answers-0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:answers + 1]) + lines[answers + 1][:40])

@pytest.mark.parametrize("finished", [True, False])
def test_an_accuracy_is_that_of_the_answers_there_are(place, finished):
    cut(place/"two", 11)
    if not finished: change(place/"two", submission=None)
    row, opened = runs(place)["small"], runs(place).open("small")
    assert len(opened.records) == row.answered == 11 and (row.accuracy, row.interval, row.state) == (None, None, "unfinished")
    kept = json.loads((place/"two/run.json").read_text(encoding="utf-8"))["score"]
    own = opened.answers["accuracy"]
    scored = runs(place, score=True)["small"]
    assert scored.accuracy == round(own.mean(), 2) != kept["overall"] and len(own) == 11
    assert runs(place)["baseline"].accuracy is not None # a whole one keeps its own

def test_a_long_journal_is_not_read(place, monkeypatch):
    from beit3_colab.run import run_list
    monkeypatch.setattr(run_list, "_COUNTED", 0)
    monkeypatch.setattr(run_list, "count_answers", lambda folder: pytest.fail("read"))
    assert runs(place)["small"].accuracy is not None

def test_without_people_no_way_to_an_accuracy_is_promised(place, vqa):
    question = (run := runs(place).open("baseline")).questions[0]
    run.data.read_image(question).save(place/"a.png")
    evaluate(vqa, questions=[dict(image=str(place/"a.png"), question="Is it red?")], name="own", output_dir=place/"three", progress=False)
    assert "works it out where people's answers are known" in str(runs(place))
    scored = runs(place, score=True)
    assert scored["own"].accuracy is None and "works it out" not in str(scored) + scored._repr_html_()
