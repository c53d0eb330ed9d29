"Tags and notes: kept line by line beside the answers, read strictly, and never at another's cost."
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from beit3_colab.evaluation import evaluate
from beit3_colab.look.run import open_results, open_run
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run.remarks import Remarks, TAGS

WHEN = "2026-01-31T12:00:00"


@pytest.fixture(scope="module")
def finished(tmp_path_factory): return evaluate(limit=40, device="cpu", output_dir=tmp_path_factory.mktemp("run"), progress=False)

@pytest.fixture
def run(finished):
    yield finished
    (finished.folder/"notes.jsonl").unlink(missing_ok=True)
    finished.__dict__.pop("remarks", None)


def line(run, **fields): return (json.dumps(dict(time=WHEN, question_ids=[run.questions[0].question_id]) | fields) + "\n").encode()

def test_what_is_written_is_there_when_the_run_is_opened_again(run):
    rows = run.answers.head(3)
    run.remarks.tag(rows, "counting", "hard").untag(rows.tail(1), "hard").note(rows.iloc[0], "two birds,\none hidden")
    again = open_run(run.folder)
    ids = rows["question_id"].tolist()
    assert again.remarks.tags == {ids[0]: ("counting", "hard"), ids[1]: ("counting", "hard"), ids[2]: ("counting",)}
    assert again.remarks.notes == {ids[0]: "two birds,\none hidden"} and again.remarks.ids("hard") == ids[:2]
    assert again.remarks.table["tags"].tolist() == [["counting", "hard"], ["counting", "hard"], ["counting"]]
    assert "counting (3)" in repr(again.remarks) and "Notes: 1" in again.remarks._repr_html_()
    again.remarks.note(ids[0], None)
    assert run.remarks.notes == {} # this one looks again

def test_no_line_is_lost_where_several_write_at_once(run):
    code = ("import sys; from beit3_colab.look.run import open_run\n"
            "run = open_run(sys.argv[1])\n"
            "for q in run.questions: run.remarks.tag(q, 't' + sys.argv[2])")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(run.folder), str(i)]) for i in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert run.remarks.counts == dict.fromkeys(sorted(run.remarks.counts), len(run.questions)) and len(run.remarks.counts) == 3

def test_a_torn_line_does_not_count_and_is_closed_by_the_next(run):
    run.remarks.tag(run.questions[0], "a")
    path = run.remarks.path
    with open(path, "ab") as file: file.write(line(run, add=["b"])[:30])
    assert run.remarks.counts == {"a": 1}
    run.remarks.tag(run.questions[0], "c")
    assert Remarks(run).counts == {"a": 1, "c": 1}
    with open(path, "ab") as file: file.write(b"\n" + line(run, add=["d"]))
    with pytest.raises(UserError, match="line 4 is empty"): Remarks(run).tags

HOSTILE = {
    "no JSON": (b"{nonsense\n", "line 1"),
    "a list": (b"[1, 2]\n", "must hold a JSON object"),
    "deep": (b"["*100_000 + b"]"*100_000 + b"\n", "nested too deep"),
    "huge number": (b'{"time": ' + b"9"*5000 + b"}\n", "thousands of digits|time must be"),
    "no time": (b'{"question_ids": []}\n', "has no time"),
    "bad time": (b'{"time": "<b>", "question_ids": []}\n', "time must be a time"),
    "ids of lists": (b'{"time": "' + WHEN.encode() + b'", "question_ids": [[1]]}\n', "a list of numbers and texts"),
    "true": (b'{"time": "' + WHEN.encode() + b'", "question_ids": [true]}\n', "a list of numbers and texts"),
    "strange id": (b'{"time": "' + WHEN.encode() + b'", "question_ids": ["../x"]}\n', "is not in this run"),
    "not UTF-8": (b'{"time": "\xff\xfe"}\n', "not text in UTF-8|line 1"),
    "empty": (b"\n\n\n", "line 1 is empty"),
}

@pytest.mark.parametrize("name", HOSTILE)
def test_strange_lines_are_refused_by_name(run, name):
    content, message = HOSTILE[name]
    (run.folder/"notes.jsonl").write_bytes(content)
    for look in (lambda: open_run(run.folder).remarks.tags, lambda: open_run(run.folder).browse(), lambda: open_run(run.folder).to_pandas()):
        with pytest.raises(UserError, match="notes.jsonl") as caught: look()
        assert len(str(caught.value)) < 1000
    with pytest.raises(UserError, match=message): open_run(run.folder).remarks.tags

@pytest.mark.parametrize("fields, message", [
    (dict(add=[" a "]), "a list of tags"), (dict(add=["x"*61]), "a list of tags"), (dict(add=["a,b"]), "a list of tags"), (dict(add="a"), "a list of tags"),
    (dict(note="x"*4001), "4,000 characters"), (dict(note=7), "4,000 characters"), (dict(command="rm"), "does not know"),
    (dict(add=[f"t{i}" for i in range(TAGS + 1)]), "more than 50 tags")])
def test_fields_are_what_they_should_be(run, fields, message):
    (run.folder/"notes.jsonl").write_bytes(line(run, **fields))
    with pytest.raises(UserError, match=message): run.remarks.tags

def test_no_link_is_followed_and_nothing_waits(run, tmp_path):
    path, other = run.folder/"notes.jsonl", tmp_path/"other"
    other.write_bytes(b"mine\n")
    path.symlink_to(other)
    for do in (lambda: run.remarks.tags, lambda: Remarks(run).tag(run.questions[0], "a")):
        with pytest.raises(UserError, match="link"): do()
    assert other.read_bytes() == b"mine\n"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="pipe"): Remarks(run).tags
    path.unlink()
    path.mkdir()
    try:
        with pytest.raises(UserError, match="folder"): Remarks(run).tags
    finally: path.rmdir()

def test_a_file_does_not_grow_without_end(run, monkeypatch):
    run.remarks.tag(run.questions, "a")
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "remarks_bytes=100")
    with pytest.raises(UserError, match="remarks_bytes"): Remarks(run).tags
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", f"remarks_bytes={run.remarks.path.stat().st_size + 10}")
    with pytest.raises(UserError, match="grow too long"): Remarks(run).tag(run.questions, "b")

def test_what_cannot_be_meant_is_refused_with_its_value(run):
    remarks, first = run.remarks, run.questions[0].question_id
    for do, message in [
        (lambda: remarks.tag("nobody", "a"), "'nobody' is not in this run"), (lambda: remarks.tag(first), "name the tags"), (lambda: remarks.tag(first, 7), "a tag is a text, not 7"),
        (lambda: remarks.tag(first, "\u200b"), "needs a letter"), (lambda: remarks.note([first, run.questions[1]], "x"), "belongs to one question"),
        (lambda: remarks.note(first, "x"*5000), "5,000"), (lambda: remarks.ids("a"), "there are none yet"), (lambda: remarks.tag(first, *(f"t{i}" for i in range(51))), "more than 50")]:
        with pytest.raises(UserError, match=message): do()
    assert not remarks.path.exists()

@pytest.mark.skipif(os.name == "nt", reason="modes of folders")
def test_a_place_that_is_read_only_says_so_at_the_first_tag(run, monkeypatch):
    def refuse(*given, **more): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match="copy the answers to where it may"): run.remarks.tag(run.questions[0], "a")
    monkeypatch.undo()
    assert run.remarks.tags == {}

def test_tables_have_them_and_read_back_equal(run, tmp_path):
    assert "tags" not in run.to_pandas()
    old = run.to_csv(tmp_path/"old.csv")
    run.remarks.tag(run.questions[0], "a", "=1+1").note(run.questions[1], 'says "no"\nand, <b>')
    table = run.to_pandas()
    assert table["tags"].tolist()[:2] == [["a", "=1+1"], []] and table["note"].tolist()[1] == 'says "no"\nand, <b>'
    assert read_csv(run.to_csv(tmp_path/"new.csv")).equals(table)
    assert "tags" not in read_csv(old)

def test_answers_of_other_tools_have_them_beside_their_file(run, tmp_path):
    path = tmp_path/"theirs.json"
    path.write_text(json.dumps([dict(question_id=i, answer="no") for i in run.answers["question_id"].tolist()]))
    theirs = open_results(path, dataset="sample")
    theirs.remarks.tag(theirs.answers.head(2), "odd")
    assert (tmp_path/"theirs.json.notes.jsonl").is_file()
    assert open_results(path, dataset="sample").remarks.counts == {"odd": 2}

def test_ids_may_be_texts(run, tmp_path):
    questions = [replace(q, question_id=f"q/{q.question_id}") for q in run.questions]
    class Named:
        place, data, label = tmp_path, None, "texts"
    Named.questions = questions
    remarks = Remarks(Named())
    remarks.tag(questions[:2], "a")
    assert Remarks(Named()).ids("a") == [q.question_id for q in questions[:2]]
    assert Path(tmp_path/"notes.jsonl").read_text().count("\n") == 1
