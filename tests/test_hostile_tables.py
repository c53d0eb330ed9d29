"Tables of questions, results and annotations that mean harm: nothing waits, memory and time stay small, and each is named with what to do."
import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from beit3_colab.data.human_answers import read_answers
from beit3_colab.data.own import open_questions
from beit3_colab.data.rows import read_rows
from beit3_colab.data.values import read_id, read_image_id
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.contents import recognise_file
from beit3_colab.machine.limits import limit
from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.results import check_submission
from beit3_colab.scoring.score import score

ROOT = Path(__file__).parent.parent
DEEP, DIGITS = "["*100_000, "9"*5000


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    "A folder with a picture, which is the working folder."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    Image.new("RGB", (8, 8)).save(tmp_path/"a.png")
    return tmp_path

def refused(call, *arguments):
    "Why something is refused; a message that people can read."
    began = time.monotonic()
    with pytest.raises(UserError) as caught: call(*arguments)
    assert time.monotonic() - began < 10 and len(str(caught.value)) < 700
    return str(caught.value)

def short(value): return type(value).__name__ + (value[:20] if isinstance(value, str) else "")

def row(**fields): return [dict(image="a.png", question="Why?") | fields]

def people():
    "Annotations of three questions, as VQAv2 has them."
    return dict(annotations=[dict(question_id=i, image_id=i, question_type="is", answer_type="yes/no", multiple_choice_answer="yes", answers=[dict(answer="yes", answer_id=n + 1) for n in range(10)]) for i in range(3)])


SPECIAL = {"pipe": os.mkfifo, "zeros": lambda name: os.symlink("/dev/zero", name), "endless": lambda name: os.symlink("/dev/urandom", name)}

@pytest.mark.parametrize("name", ["q.csv", "q.json", "q.jsonl", "q.parquet", "q", "q.csv.gz", "q.xlsx"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_table_that_is_no_file_is_named_at_once(place, kind, name):
    SPECIAL[kind](place/name)
    assert re.search("is a (pipe|device), not a file; give a file", refused(open_questions, place/name))

@pytest.mark.parametrize("kind", SPECIAL)
def test_results_and_annotations_that_are_no_files(place, kind):
    SPECIAL[kind](place/"x")
    (place/"people.json").write_text(json.dumps(people()))
    good = [dict(question_id=i, answer="yes") for i in range(3)]
    for call in (lambda: score("people.json", "x"), lambda: score("x", good), lambda: check_submission("x", [dict(question_id=0, image_id=0, question="q")]), lambda: check_submission(good, "x"), lambda: read_csv("x")):
        assert re.search("is a (pipe|device), not a file", refused(call))

def test_special_files_in_a_folder_are_said_and_left(place):
    for name in ("p.png", "none", "d.jpg"): os.mkfifo(place/name)
    data = open_questions(place, "Why?")
    assert [q.image for q in data.questions] == ["a.png"] and any("3 entries that cannot be opened" in note for note in data.notes)

def test_nothing_is_read_of_a_pipe_to_find_out_what_it_is(place):
    os.mkfifo(place/"p")
    assert recognise_file(place/"p") is None
    there, end = os.pipe()
    os.write(end, b"[1, 2]")
    os.close(end)
    assert recognise_file(f"/dev/fd/{there}") is None and os.read(there, 100) == b"[1, 2]"
    os.close(there)

def test_results_come_through_a_pipe_of_the_shell(place):
    "`score <(zcat results.json.gz)`: of a pipe each byte is read once."
    count = 6000 # more than a pipe holds, and more than is looked at to tell what a file is
    (place/"people.json").write_text(json.dumps(dict(annotations=[dict(people()["annotations"][0], question_id=i, image_id=i) for i in range(count)])))
    (place/"r.json.gz").write_bytes(gzip.compress(json.dumps([dict(question_id=i, answer="yes") for i in range(count)]).encode()))
    command = f"{sys.executable} -m beit3_colab score <(zcat r.json.gz) --annotations people.json --json"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert json.loads(done.stdout)["overall"] == 100, done.stderr


LARGE = """
import resource, sys
from beit3_colab.machine.device import peak_memory
resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, 6_000_000_000))
from beit3_colab.data.own import open_questions
from beit3_colab.machine.messages import UserError
before = peak_memory().host
try: open_questions(sys.argv[1])
except UserError as error: print(error)
print((peak_memory().host - before)//1_000_000)
"""

def test_a_small_archive_does_not_fill_the_memory(place):
    "300 MB of zeros are 300 kB; and so are 300 GB, where whoever made them takes the time."
    with gzip.open(place/"q.csv.gz", "wb", 6) as f:
        f.write(b"image,question\n")
        for _ in range(300): f.write(b"0"*1_000_000)
    done = subprocess.run([sys.executable, "-c", LARGE, "q.csv.gz"], capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    told, megabytes = done.stdout.strip().split("\n")
    assert re.search(r"q.csv.gz has \d+ kB and unpacks to more than 200 times that", told), done.stderr
    assert int(megabytes) < 150

def test_an_archive_of_an_honest_table_is_read(place):
    "The same question about the same picture again and again packs well."
    (place/"q.csv.gz").write_bytes(gzip.compress(b"image,question\n" + b"a.png,What is it?\n"*200_000))
    assert sum(1 for _ in read_rows(place/"q.csv.gz")[1]) == 200_000

def test_a_table_of_more_bytes_than_are_read_is_not_read(place, monkeypatch):
    with open(place/"q.csv", "wb") as f: f.truncate(limit("file_bytes") + 1) # takes no room on the disk
    assert "BEIT3_COLAB_LIMITS=file_bytes=" in refused(open_questions, place/"q.csv")
    (place/"r.csv").write_text("image,question\na.png,Why?\n")
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "file_bytes=20")
    assert "the limit is 20 bytes" in refused(open_questions, place/"r.csv")


@pytest.mark.parametrize("name, content, says", [
    ("q.json", DEEP, "is nested too deep"), ("q.json", f"[{DIGITS}]", "thousands of digits"), ("q.json", '{"questions": ' + DEEP, "nested too deep"), ("q.json", '[{"image": "a.png", "question": "q", "question_id": ' + DIGITS + "}]", "thousands of digits"),
    ("q.jsonl", '{"image": "a.png", "question": "q"}\n' + DEEP, "line 2 is not JSON .*nested too deep"), ("q.jsonl", '{"image": "a.png", "question": "q"}\n{"image": ' + DIGITS + "}", "line 2 is not JSON .*thousands of digits"),
    ("q.jsonl", DEEP, "nested too deep"), ("q.jsonl", '{"a": ' + DIGITS + "}", "thousands of digits"),
], ids=lambda value: value[:20])
def test_deep_and_long_json_is_named(place, name, content, says):
    (place/name).write_text(content)
    assert re.search(f"{name}.*{says}", refused(open_questions, place/name))

@pytest.mark.parametrize("header, says", [
    ("image,question," + ",".join(f"c{i}" for i in range(1_000_000)), "has 1,000,002 columns; the limit is 10,000"), (",".join(f"imagf{i},quest{i}" for i in range(4_000)), "has no column image and no column question"), ("i"*1_000_000, "no column image"),
    ("image,question\n\"" + "a.png,Why?\n"*300_000, "line 2: a quote"), ("image,question\n" + "\""*1_000_001, "quote|no question|characters"), ("image,question\na.png," + "y"*10_000_000, "question has 10,000,000 characters; the limit is 100,000"),
], ids=lambda value: value[:20])
def test_bombs_in_a_csv_file(place, header, says):
    (place/"q.csv").write_text(header + "\na.png,Why?\n")
    assert re.search(says, refused(open_questions, place/"q.csv"))

def test_many_columns_in_json_and_memory():
    wide = row(**{f"c{i}": 1 for i in range(20_000)})
    assert "row 1 has 20,002 columns; the limit is 10,000" in refused(open_questions, wide)
    assert "has 20,002 columns" in refused(open_questions, pd.DataFrame(wide))


@pytest.mark.parametrize("value, says", [
    ("y"*10_000_000, "one text of 10,000,000 characters"), (["y"]*200_000, "a list of 200,000"), (DEEP[:90_000], "begin like a list"), ([[[["a"]]]], "must be texts"), ({"y": 10**5000}, "list of texts"), ({"y": 1e308}, "list of texts"), ([10**5000], "thousands of digits"), (10**5000, "thousands of digits"),
    (["a", {"b": 1}], "must be texts"), (np.array([["a"], ["b"]]), "must be texts"), ("['" + "', '"*20_000, "begin like a list"), ("{" + "'a': "*20_000, "begin like a list"),
], ids=short)
def test_answers_of_people_that_nobody_gave(value, says):
    assert says in refused(read_answers, value)

@pytest.mark.parametrize("text", ["shape: (2,)\nSeries: '' [" + "Series: '' ["*7_000, "shape: " + "Series: '' [] "*7_000, "'a' , "*16_000, "''"*49_000, "(np.a("*16_000, "1,11,"*19_000, "c("*40_000, "\"[" + "\\\""*40_000 + "]\"", "b'" + "'"*90_000, "a|"*50_000, "<pyarrow.x: " + "["*80_000], ids=lambda text: text[:20])
def test_no_text_of_answers_takes_long(text):
    "Patterns that look for lists go over a text once, whatever it holds."
    began = time.monotonic()
    try: open_questions(row(answers=text))
    except UserError: pass
    assert time.monotonic() - began < 3

@pytest.mark.parametrize("value", [np.arange(3), np.array([3]), np.array(["a", "b"]), [1], {"a": 1}, 10**5000, -10**5000, pd.Series([1]), b"7", object(), float("nan") + 1j], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("field", ["question_id", "image_id"])
def test_ids_that_are_none(field, value):
    assert f"row 1: {field} " in refused(open_questions, row(**{field: value}))

@pytest.mark.parametrize("value, meant", [(np.array(3), 3), (pd.NA, 1), (np.datetime64("NaT"), 1), (2**64 - 1, 2**64 - 1), (np.uint64(2**64 - 1), 2**64 - 1), ("0"*200 + "7", 7)], ids=repr)
def test_ids_that_are_unusual_and_whole(value, meant):
    assert [q.question_id for q in open_questions(row(question_id=value)).questions] == [meant]

def test_long_numbers_for_ids_are_named_in_few_words():
    for read in (read_id, read_image_id):
        for value in (10**5000, "-" + "9"*250, "9"*300): assert len(refused(read, value)) < 250

@pytest.mark.parametrize("fields", [dict(image=pd.NA), dict(question=pd.NA), dict(image=None), dict(image="a\0.png"), dict(image=Image.new("RGB", (0, 0))), dict(image="a"*5000), dict(image=np.array(["a.png"])), dict(question=np.array(["q"])), dict(question=b"q"), dict(question=["q"]), dict(image=["a.png"])], ids=lambda fields: repr(fields)[:30])
def test_fields_that_are_none(fields): assert "row 1" in refused(open_questions, row(**fields))

def test_what_is_missing_everywhere_is_missing():
    for nothing in (pd.NA, None, float("nan"), pd.NaT, ""):
        data = open_questions(row(question_id=nothing, image_id=nothing, answers=nothing))
        assert (data.questions[0].question_id, data.questions[0].image_id, data.annotations) == (1, "a.png", None)


@pytest.mark.parametrize("content, says", [(DEEP, "nested too deep"), (f'[{{"question_id": {DIGITS}, "answer": "y"}}]', "thousands of digits"), ('[{"question_id": NaN, "answer": "y"}]', "question_id nan is float"), ('[{"question_id": 1e999, "answer": "y"}]', "question_id inf is float"),
                                           ('[{"question_id": 0, "answer": NaN}]', "has no answer"), ('[{"question_id": 0, "answer": ' + "["*900 + "]"*900 + "}]", "not a text"), ('[{"question_id": "' + "9"*10**6 + '", "answer": "y"}]', "is str, not an integer"), ("[" + "1,"*10**6 + "1]", "needs a question_id")], ids=lambda value: value[:20])
def test_results_that_mean_harm(place, content, says):
    (place/"r.json").write_text(content)
    assert says in refused(score, people(), "r.json")
    try: assert not check_submission("r.json", [dict(question_id=0, image_id=0, question="q")]).ok
    except UserError as error: assert says in str(error)

def test_a_long_answer_in_results_is_an_answer(place):
    "Python's limit of a field in CSV, 131,072 characters, is nobody's rule."
    (place/"r.csv").write_text("question_id,answer\n0,yes\n1,\"" + "y"*200_000 + "\"\n2,yes\n")
    assert score(people(), place/"r.csv").num_questions == 3

@pytest.mark.parametrize("cell", [DEEP, f"[{DIGITS}]", "{}", "7", "[", ""], ids=lambda cell: cell[:10])
def test_a_list_in_a_table_of_ours_that_is_none(place, cell):
    (place/"t.csv").write_text(f"question_id,top5\n1,{cell}\n")
    assert "is not a CSV file of ours, or was changed" in refused(read_csv, "t.csv")

def test_rows_that_have_nothing_in_common(place, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "columns=50")
    rows = [dict(image="a.png", question="Why?") | {f"k{i}": 1} for i in range(60)]
    assert "row 51: no two rows have the same fields; the limit is 50" in refused(open_questions, rows)
    (place/"q.json").write_text(json.dumps(rows))
    assert "row 51: no two rows have the same fields" in refused(open_questions, place/"q.json")
    assert len(open_questions(rows[:50]).questions) == 50
