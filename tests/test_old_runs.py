"Run folders that an earlier version wrote (`golden/old_runs`) are opened, looked at, compared and continued."
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from beit3_colab import UserError, compare, evaluate, open_run
from beit3_colab.commands.cli import main
from beit3_colab.scenes import write_scenes
from beit3_colab.tables import read_csv

OLD = Path(__file__).parent/"golden"/"old_runs"
NOW = { # as they were printed then → as a person would write it
    "sample on sample": "BEiT-3 sample model on the built-in sample",
    "sample on own_pictures": "BEiT-3 sample model on own pictures",
    "sample on val": "BEiT-3 sample model on VQAv2 val",
}

def as_now(text):
    "What was printed then, with the labels of now."
    for then, now in NOW.items(): text = text.replace(then, now)
    return text

FIGURES = json.loads(as_now((OLD/"figures.json").read_text(encoding="utf-8")))
CHOICE = dict(limit=30, seed=21) # of `sample` and `stopped`
WIDER = ("50.00 – 50.00", "17.12 – 82.88") # 0.1.0 gave an interval of no width where two pictures were half right each
FINISHED = ("sample", "own", "vqav2", "two_processes")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    "The data folder of `vqav2`, somewhere else than when it was answered; one picture is still missing."
    folder = write_scenes(tmp_path_factory.mktemp("data"), range(301, 305), "val")
    (folder/"val2014"/"COCO_val2014_000000000304.jpg").unlink()
    return folder

@pytest.fixture
def old(tmp_path):
    "Gives a copy of an old folder, by its name."
    return lambda name: shutil.copytree(OLD/name, tmp_path/name)

@pytest.fixture
def again(old, data):
    "Opens a copy of an old folder, by its name."
    return lambda name: open_run(old(name), data_path=data if name == "vqav2" else None)

def call(name, folder, vqa, data):
    "The arguments that `evaluate` was called with, or what a person would call to continue."
    given = dict(checkpoint=vqa, output_dir=folder, progress=False)
    if name == "own": return given | dict(questions=folder/"own_questions.json")
    if name == "vqav2": return given | dict(split="val", data_path=data, bad_images="blank")
    if name == "two_processes":
        return given | dict(checkpoint="sample", device="cpu", image_size=128, limit=60, seed=21)
    return given | CHOICE

def written(folder):
    """The files that tell what was answered. Questions of your own are not among them: they are written down anew at each
    start, with the folder that they come from now."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "own_questions.json"}

def without_every_third(journal):
    "A journal that has lost every third answer, and how many those are; answers to grey pictures stay, they are chance."
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = [line for i, line in enumerate(lines) if i % 3 != 2 or b"image_error" in line]
    return b"".join(kept), len(lines) - len(kept)

def without_gaps(table):
    "A table where no error is the empty text: pandas 3 makes NaN of None in a column that holds texts as well."
    return table.assign(image_error=[error if isinstance(error, str) else "" for error in table["image_error"]])

def figure(run):
    "The accuracy as it was printed then: without the sentences that stand below it by now."
    return str(replace(run.accuracy, notes=()))

def pretend_killed(folder):
    "As if the run had been killed before its end: some answers were never given, nothing was submitted."
    journal = folder/"answers-0.jsonl"
    content, lost = without_every_third(journal)
    journal.write_bytes(content)
    info = json.loads((folder/"run.json").read_text())
    (folder/info["submission"]).unlink()
    del info["finished"], info["report"]
    (folder/"run.json").write_text(json.dumps(info | dict(submission=None), indent=1))
    return content, lost


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_then(name, again):
    run, figures = again(name), FIGURES[name]
    assert run.label == figures["label"]
    assert figure(run) == figures["accuracy"].replace(*WIDER)
    assert str(run.soft_score) == figures["soft_score"]
    assert run.evalai == figures["evalai"]
    few = ("2 of 2 questions have fewer than ten answers, so all are scored by exact match.",)
    assert run.accuracy.notes == (few if name == "own" else ())
    told = re.fullmatch(re.escape(figures["state"]) + r", (?:accuracy|exact match) (\d+\.\d\d) %, in " + re.escape(f"{run.folder})"), repr(run))
    assert float(told[1]) == run.accuracy.overall
    if name in FINISHED: assert str(run.report()) == figures["report"]
    else: pytest.raises(UserError, run.report).match("is not finished; start the same command again")

def columns(content):
    "A CSV file by columns: name → its cells as they are written, quotes and all."
    fields = re.findall(rb'("(?:[^"]|"")*"|[^,\n]*)([,\n])', content)
    width = next(i for i, (_, end) in enumerate(fields) if end == b"\n") + 1
    assert len(fields) % width == 0 and all((end == b"\n") == (i % width == width - 1) for i, (_, end) in enumerate(fields))
    cells = [field for field, _ in fields]
    return {cells[i]: cells[width + i::width] for i in range(width)}

@pytest.mark.parametrize("name", FIGURES)
def test_answers_are_those_of_then(name, again, tmp_path):
    run = again(name)
    table = run.to_csv(tmp_path/"answers.csv")
    now, then = columns(table.read_bytes()), columns((OLD/f"{name}.csv").read_bytes())
    assert now.pop(b'"calibrated"') and list(now)[-1] == b'"top5"' # a column that came later, and one that went to the end
    assert now == then and [c for c in now if c != b'"top5"'] == [c for c in then if c != b'"top5"']
    pd.testing.assert_frame_equal(*map(without_gaps, (read_csv(table), run.to_pandas())))
    if name in FINISHED:
        submitted = json.loads(run.submission.read_text(encoding="utf-8"))
        assert submitted == run.answers[["question_id", "answer"]].to_dict("records")
    else: assert run.submission is None

@pytest.mark.parametrize("name", FIGURES)
def test_looking_at_them(name, again, tmp_path):
    run = again(name)
    browser = run.browse()
    assert run.label in repr(browser) and "data:image/jpeg" in browser.saved_view() and browser.status.value == ""
    page = run.to_html(tmp_path/"report.html").read_text(encoding="utf-8")
    assert run.label in page and "data:image/jpeg" in page

def test_comparing_them(old, data):
    compared = compare(old("two_processes"), old("sample"))
    assert (len(compared.table), compared.only_a, compared.only_b) == (33, 28, 0)
    assert (compared.overall.a, compared.overall.b, compared.overall.difference) == (74.55, 93.94, 19.39)
    assert compared.changes.to_dict()["wrong → right"] == len(compared.gained) > 0
    assert compared.browse(change="wrong → right").saved_view()
    assert compare(old("stopped"), open_run(OLD/"sample")).agreement == 100
    assert compare(old("vqav2"), OLD/"vqav2", data_path=data).overall.difference == 0
    assert compare(old("own"), OLD/"own").overall.difference == 0


@pytest.mark.parametrize("name", FINISHED)
def test_finished_ones_are_left_as_they_are(name, old, vqa, data):
    folder = old(name)
    run = evaluate(**call(name, folder, vqa, data))
    assert written(folder) == written(OLD/name)
    assert figure(run) == FIGURES[name]["accuracy"] and str(run.report()) == FIGURES[name]["report"]

def test_stopped_one_answers_what_is_missing(old, vqa, tmp_path):
    folder = old("stopped")
    whole, torn = (folder/"answers-0.jsonl").read_bytes().rsplit(b"\n", 1)
    assert torn and whole.count(b"\n") == 16 # and the line with the fingerprint
    run = evaluate(**call("stopped", folder, vqa, None))
    fresh = evaluate(vqa, output_dir=tmp_path/"fresh", progress=False, **CHOICE)
    journal = (folder/"answers-0.jsonl").read_bytes()
    assert journal.startswith(whole + b"\n") and journal.count(b"\n") == 34 and run.report().questions == 17
    expected = (OLD/"sample"/fresh.submission.name).read_bytes()
    assert run.submission.read_bytes() == fresh.submission.read_bytes() == expected
    assert figure(run) == figure(fresh) == FIGURES["sample"]["accuracy"]

@pytest.mark.parametrize("name", ["sample", "own", "vqav2"])
def test_lost_answers_are_given_again(name, old, vqa, data):
    folder = old(name)
    content, lost = pretend_killed(folder)
    run = evaluate(**call(name, folder, vqa, data))
    assert (folder/"answers-0.jsonl").read_bytes().startswith(content) and run.report().questions == lost > 0
    assert run.submission.read_bytes() == (OLD/name/run.submission.name).read_bytes()
    assert figure(run) == FIGURES[name]["accuracy"]

def test_the_command_continues_them(old, command):
    choice = [f"--{name}={value}" for name, value in CHOICE.items()]
    folder = old("stopped")
    done = command("python", "-m", "beit3_colab", "evaluate", "--device", "cpu", "--output-dir", folder, *choice)
    assert done.returncode == 0, done.stderr
    assert FIGURES["sample"]["accuracy"].splitlines()[1] in done.stdout # overall
    name = "partial_vqav2_sample_33.json"
    assert (folder/name).read_bytes() == (OLD/"sample"/name).read_bytes()

@pytest.mark.parametrize("name", ["own", "vqav2"])
def test_the_command_leaves_finished_ones(name, old, data, capsys):
    folder = old(name)
    choice = dict(own=["--questions", folder/"own_questions.json"],
                  vqav2=["--split", "val", "--data-path", data, "--bad-images", "blank"])
    assert main(["evaluate", "--device", "cpu", "--output-dir", str(folder), *map(str, choice[name])]) == 0
    assert FIGURES[name]["accuracy"].splitlines()[1] in capsys.readouterr().out
    assert written(folder) == written(OLD/name)

def test_pictures_given_again_are_the_same_run(old, vqa):
    "Who runs the cell again gives the pictures anew, and not the file that the folder keeps."
    folder = old("own")
    rows = json.loads((folder/"own_questions.json").read_text(encoding="utf-8"))["questions"]
    for row in rows: row["image"] = (folder/"pictures"/row["image"].removeprefix("memory:")).read_bytes()
    run = evaluate(vqa, questions=rows, output_dir=folder, progress=False)
    assert written(folder) == written(OLD/"own") and figure(run) == FIGURES["own"]["accuracy"]


def test_another_run_is_refused(old, vqa):
    with pytest.raises(UserError, match=r"holds another run \(limit 30 there, .*\); choose another output_dir"):
        evaluate(vqa, output_dir=old("sample"), progress=False)

def test_they_name_no_machine():
    for path in OLD.rglob("*.json*"):
        assert not re.findall(r'"/(?!data/)[^"]*"', path.read_text(encoding="utf-8")), path # absolute paths
    assert {json.loads(path.read_text())["process"] for path in OLD.glob("*/run.json")} == {"process 1234 on colab"}
    assert sum(p.stat().st_size for p in OLD.rglob("*") if p.is_file()) < 300_000
