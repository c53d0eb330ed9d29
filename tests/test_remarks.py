"Tags and notes: kept line by line beside the answers, read strictly, and never at another's cost."
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from beit3_colab.evaluation import evaluate
from beit3_colab.look.run import compare, open_results, open_run
from beit3_colab.look.search import TAGGED
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run import remarks as remarks_module
from beit3_colab.run.answered import part_of
from beit3_colab.run.remarks import Remarks, TAGS
from beit3_colab.run.run_list import count_notes

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
    assert path.read_bytes().count(b"\x18") == 1

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
    "zeros": (b"\0"*99 + b"\n", "line 1"),
}

@pytest.mark.parametrize("name", HOSTILE)
def test_strange_lines_are_refused_by_name(run, name):
    content, message = HOSTILE[name]
    (run.folder/"notes.jsonl").write_bytes(content)
    for look in (lambda: open_run(run.folder).remarks.tags, lambda: open_run(run.folder).to_pandas()):
        with pytest.raises(UserError, match="notes.jsonl") as caught: look()
        assert len(str(caught.value)) < 1000
    with pytest.raises(UserError, match=message): open_run(run.folder).remarks.tags

@pytest.mark.parametrize("fields, message", [
    (dict(add=[" a "]), "a list of tags"), (dict(add=["x"*61]), "a list of tags"), (dict(add=["a,b"]), "a list of tags"), (dict(add="a"), "a list of tags"),
    (dict(note="x"*4001), "4,000 characters"), (dict(note=7), "4,000 characters"), (dict(command="rm"), "does not know")])
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
    def refuse(path, flags, *given, opened=os.open, **more):
        if flags & os.O_CREAT: raise PermissionError(13, "Permission denied")
        return opened(path, flags, *given, **more)
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

def test_remarks_go_with_a_copied_run(run):
    run.remarks.tag(run.questions[0], "a")
    again = pickle.loads(pickle.dumps(run.remarks))
    assert again.counts == {"a": 1} and again.tag(run.questions[1], "a").counts == run.remarks.counts == {"a": 2}

def test_ids_may_be_texts(run, tmp_path):
    questions = [replace(q, question_id=f"q/{q.question_id}") for q in run.questions]
    class Named:
        place, data, label = tmp_path, None, "texts"
    Named.questions = questions
    remarks = Remarks(Named())
    remarks.tag(questions[:2], "a")
    assert Remarks(Named()).ids("a") == [q.question_id for q in questions[:2]]
    assert Path(tmp_path/"notes.jsonl").read_text().count("\n") == 1


# --- files that people and other programs have touched

def test_a_last_line_without_its_end_counts_and_gets_one(run):
    first, second, third = (q.question_id for q in run.questions[:3])
    run.remarks.tag(first, "good")
    path = run.remarks.path
    for end in (b"", b"\r"): # as editors leave it
        path.write_bytes(path.read_bytes() + line(run, question_ids=[second], add=["last"]).removesuffix(b"\n") + end)
        assert Remarks(run).tags == {first: ("good",), second: ("last",)} and Remarks(run).warning == ""
        Remarks(run).untag(second, "last")
        assert Remarks(run).tags == {first: ("good",)} and b"\x18" not in path.read_bytes()
    run.remarks.tag(third, "new")
    assert open_run(run.folder).remarks.counts == {"good": 1, "new": 1}

def test_a_whole_line_that_was_once_closed_as_torn_counts_again(run):
    first = run.questions[0].question_id
    (run.folder/"notes.jsonl").write_bytes(line(run, add=["mine"]).removesuffix(b"\n") + b"\x18\n")
    assert run.remarks.tags == {first: ("mine",)} and run.remarks.warning == ""

def test_torn_lines_are_told(run):
    run.remarks.tag(run.questions[0], "a")
    with open(run.remarks.path, "ab") as file: file.write(line(run, add=["b"])[:30])
    for remarks in (run.remarks, Remarks(run)): # read on, and read anew
        assert "Torn in writing, and not counted: line 2 of" in remarks.warning and remarks.warning in repr(remarks)
    run.remarks.tag(run.questions[0], "c")
    assert "line 2 of" in run.remarks.warning and run.remarks.counts == {"a": 1, "c": 1}

def test_blank_lines_are_no_damage(run):
    run.remarks.tag(run.questions[0], "a")
    with open(run.remarks.path, "ab") as file: file.write(b"\n\r\n  \n")
    run.remarks.tag(run.questions[0], "b")
    assert Remarks(run).counts == {"a": 1, "b": 1} and Remarks(run).warning == ""

def test_a_change_to_what_was_read_is_seen_also_where_the_file_has_grown(run):
    first = run.questions[0].question_id
    run.remarks.tag(first, "a").tag(first, "b")
    assert run.remarks.tags == {first: ("a", "b")}
    path = run.remarks.path
    content = path.read_bytes().replace(b'"a"', b'"z"') + line(run, add=["c"])
    with open(path, "r+b") as file: file.write(content) # the same file
    assert run.remarks.tags == {first: ("z", "b", "c")}

def test_the_line_is_right_also_where_only_what_is_new_was_read(run):
    for tag in "abc": run.remarks.tag(run.questions[0], tag)
    with open(run.remarks.path, "ab") as file: file.write(b"{bad\n")
    with pytest.raises(UserError, match="notes.jsonl, line 4 is not valid JSON"): run.remarks.tags

@pytest.mark.parametrize("content", [b"{bad\n{}\n", b'{"time": "2026-01-31T12:00:00", "question_ids": ["other data"]}\n', b'{"time": "2026-01-31T12:00:00", "question_ids": [], "colour": 7}\n'])
def test_damaged_notes_shut_neither_browser_nor_report(run, tmp_path, content):
    path = run.folder/"notes.jsonl"
    run.remarks.tag(run.questions[0], "mine")
    whole = path.read_bytes() + content
    path.write_bytes(whole)
    opened = open_run(run.folder)
    browser = opened.browse()
    assert len(browser.rows) == len(run.questions) and "Tags and notes are not shown" in browser.pick_bar.warning.value
    browser.picks.add([run.questions[1].question_id])
    browser.controls["pick-tag"].value = "new"
    browser.controls["tag-add"].click()
    assert "notes.jsonl, line 2" in browser.guard.status.value and path.read_bytes() == whole # refused
    page = opened.to_html(tmp_path/"report.html", n=3).read_text(encoding="utf-8")
    assert "Tags and notes are not shown: notes notes.jsonl, line 2" in page and str(run.folder) not in page
    assert "not shown" in repr(opened.remarks) and "line 2" in opened.remarks.problem
    with pytest.raises(UserError, match="line 2"): opened.to_csv(tmp_path/"a.csv") # a table could not say that something is missing
    path.write_bytes(line(run, add=["mended"]))
    browser.search()
    assert browser.pick_bar.warning.value == "" and "mended" in browser._tags_html(run.questions[0].question_id)

def test_a_comparison_opens_with_damaged_notes(run, tmp_path):
    (run.folder/"notes.jsonl").write_bytes(b"{bad\n")
    other = evaluate(limit=40, image_size=96, device="cpu", output_dir=tmp_path/"other", progress=False)
    browser = compare(open_run(run.folder), other).browse()
    assert "are not shown" in browser.pick_bar.warning.value

def test_the_remedy_of_a_damaged_line_is_to_mend_it(run):
    for content in (b"[\n{}\n", b'{"time": "2026\n{}\n'):
        (run.folder/"notes.jsonl").write_bytes(content)
        with pytest.raises(UserError, match="mend or delete the line") as caught: Remarks(run).tags
        assert "fetch" not in str(caught.value)

def test_times_with_and_without_an_offset_make_a_table(run):
    ids = [q.question_id for q in run.questions[:3]]
    times = ("2026-01-31T12:00:00+02:00", WHEN, "2026-01-31")
    (run.folder/"notes.jsonl").write_bytes(b"".join(line(run, time=when, question_ids=[i], note="x") for i, when in zip(ids, times)))
    found = run.remarks.table["when"]
    assert found.dtype.kind == "M" and found.tolist()[1].isoformat() == WHEN
    (run.folder/"notes.jsonl").write_bytes(line(run, time="0001-01-01T00:00:00", note="x"))
    with pytest.raises(UserError, match="time must be a time"): Remarks(run).table

def test_questions_that_were_not_asked_are_told_and_not_counted(run):
    asked = {q.question_id for q in run.questions}
    other = next(q.question_id for q in run.data.questions if q.question_id not in asked)
    (run.folder/"notes.jsonl").write_bytes(line(run, add=["x"]) + line(run, question_ids=[other], add=["x", "y"], note="?"))
    remarks = run.remarks
    assert remarks.counts == {"x": 1} and len(remarks.tags) == len(remarks.table) == 1 and remarks.notes == {}
    with pytest.raises(UserError, match="no question has the tag 'y'"): remarks.ids("y")
    assert "speaks of 1 question that this run was not asked" in remarks.warning
    assert count_notes(run.folder, asked) == (1, 0)
    part = part_of(run, [run.questions[1].question_id]) # of a part that is no wonder
    assert part.remarks.tags == {} and part.remarks.warning == "" and run.remarks is remarks


# --- places

def test_a_run_whose_folder_is_gone_takes_no_tags(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path/"run")
    opened, untouched = open_run(folder), open_run(folder)
    first, second = (q.question_id for q in run.questions[:2])
    opened.remarks.tag(first, "before")
    browser = opened.browse()
    folder.rename(tmp_path/"renamed")
    for do in (lambda: opened.remarks.tag(second, "x"), lambda: opened.remarks.note(second, "x"), lambda: untouched.remarks.tags, lambda: untouched.remarks.tag(second, "x")):
        with pytest.raises(UserError, match="run is no longer there.* Open it where it is now"): do()
    assert opened.remarks.tags == {first: ("before",)} # what was read is still shown
    browser.search()
    assert "cannot be kept" in browser.pick_bar.warning.value and "before" in browser._tags_html(first)
    assert [path.name for path in tmp_path.iterdir()] == ["renamed"]
    (tmp_path/"renamed").rename(folder)
    assert opened.remarks.tag(second, "x").counts == {"before": 1, "x": 1} and untouched.remarks.warning == ""

def test_tags_of_a_run_do_not_go_to_the_one_that_took_its_folder(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path/"run")
    opened = open_run(folder)
    shutil.rmtree(folder)
    evaluate(limit=40, image_size=96, device="cpu", output_dir=folder, progress=False)
    with pytest.raises(UserError, match="run holds another run than when it was opened: open it again"): opened.remarks.tag(run.questions[0], "x")
    assert not (folder/"notes.jsonl").exists() and open_run(folder).remarks.tag(run.questions[0], "x").counts == {"x": 1}

def test_a_run_stays_where_it_was_when_the_working_folder_changes(run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path/"one"/"run")
    (tmp_path/"two").mkdir()
    monkeypatch.chdir(tmp_path/"one")
    opened, made = open_run("run"), evaluate(limit=5, device="cpu", output_dir="made", progress=False)
    assert opened.folder == opened.place == Path("run") and repr(opened).endswith("in run)")
    first = run.questions[0].question_id
    opened.remarks.tag(first, "before")
    monkeypatch.chdir(tmp_path/"two")
    assert opened.remarks.tags == {first: ("before",)}
    for each in (opened, made):
        each.remarks.tag(each.questions[0], "after")
        each.refresh()
        assert len(each.records) == len(each.questions) and each.submission.is_file() and each.rename("new name").name == "new name"
    assert list((tmp_path/"two").iterdir()) == []
    monkeypatch.chdir(tmp_path/"one")
    assert open_run("run").remarks.tags == {first: ("before", "after")} and open_run("made").remarks.counts == {"after": 1}
    assert opened.folder == Path("run") # shown as it was given

def test_results_of_other_tools_stay_where_they_were(run, tmp_path, monkeypatch):
    (tmp_path/"two").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("theirs.json").write_text(json.dumps([dict(question_id=i, answer="no") for i in run.answers["question_id"].tolist()]))
    theirs = open_results("theirs.json", dataset="sample")
    monkeypatch.chdir("two")
    theirs.remarks.tag(theirs.answers.head(2), "odd")
    assert (tmp_path/"theirs.json.notes.jsonl").is_file() and list(Path().iterdir()) == []
    (tmp_path/"theirs.json").rename(tmp_path/"moved.json")
    with pytest.raises(UserError, match="theirs.json is no longer there"): theirs.remarks.tag(theirs.answers.head(3), "odd")


# --- many changes, and several who write

def test_a_tag_reads_no_line_twice(run, monkeypatch):
    read, whole = [], remarks_module.read_change
    monkeypatch.setattr(remarks_module, "read_change", lambda line, where: read.append(where) or whole(line, where))
    for number in range(50): run.remarks.tag(run.questions[number % 5], f"t{number}")
    assert len(read) <= 50 and len(run.remarks.counts) == 50

def test_two_who_write_at_once_keep_to_the_limit_of_tags(run, monkeypatch):
    one, other, first = Remarks(run), Remarks(run), run.questions[0].question_id
    one.tag(first, *(f"t{i}" for i in range(TAGS - 1)))
    append = remarks_module.append_lines
    def late(path, make): # another has written after this one looked
        monkeypatch.setattr(remarks_module, "append_lines", append)
        other.tag(first, "theirs")
        append(path, make)
    monkeypatch.setattr(remarks_module, "append_lines", late)
    with pytest.raises(UserError, match="more than 50 tags"): one.tag(first, "mine")
    assert len(Remarks(run).tags[first]) == TAGS and "theirs" in Remarks(run).counts and Remarks(run).warning == ""

def test_words_of_the_filter_are_no_tags(run):
    for word in TAGGED:
        with pytest.raises(UserError, match=f"'{word}' has a meaning of its own in filters"): run.remarks.tag(run.questions[0], "a", word)
    (run.folder/"notes.jsonl").write_bytes(line(run, add=["no tag"])) # as an earlier release let it in
    assert run.remarks.untag(run.questions[0], "no tag").tags == {}

def test_more_tags_than_there_may_be_are_told_and_shut_nothing(run):
    (run.folder/"notes.jsonl").write_bytes(b"".join(line(run, add=[f"{name}{i}" for i in range(30)]) for name in "ab"))
    first = run.questions[0].question_id
    assert len(run.remarks.tags[first]) == TAGS and "1 question got more than 50 tags: the first 50 are shown" in run.remarks.warning
    assert run.remarks.untag(first, "a0").tags[first][0] == "a1"
