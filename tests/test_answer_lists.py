"An answer list in every form that says which class is which is read; every other form is refused by name."
import io
import json
import pickle
import random
from collections import OrderedDict, UserDict, deque
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from beit3_colab import load_model
from beit3_colab.data.answer_list import build_answer_list, check_answer_list, read_answer_list
from beit3_colab.data.vqa_files import load_annotations
from beit3_colab.machine.messages import UserError

WORDS = ["net", "", "yes", "2", "black and white", "no", "0", "twelve o'clock", "été", "10", "red", "left"]
PAIRS = [(answer, label) for label, answer in enumerate(WORDS)]
random.Random(1).shuffle(PAIRS) # the order of a file says nothing
RECORDS = [dict(answer=a, label=i) for a, i in PAIRS]
TABLE = pd.DataFrame(RECORDS)


class Polars: # a polars DataFrame, as far as it is asked
    def __init__(self, rows): self.rows = rows
    @property
    def columns(self): return list(self.rows[0])
    def select(self, names): return Polars([{n: row[n] for n in names} for row in self.rows])
    def iter_rows(self, *, named=False): return iter(self.rows if named else [tuple(row.values()) for row in self.rows])

class PolarsLazy:
    def __init__(self, rows): self.rows = rows
    def lazy(self): return self
    def collect_schema(self): return SimpleNamespace(names=lambda: list(self.rows[0]))
    def select(self, names): return PolarsLazy([{n: row[n] for n in names} for row in self.rows])
    def collect(self): return Polars(self.rows)

class PolarsColumn:
    def __init__(self, values): self.values = values
    def to_list(self): return list(self.values)

class ArrowBatch:
    def __init__(self, rows): self.rows, self.num_rows = rows, len(rows)
    schema = property(lambda self: SimpleNamespace(names=list(self.rows[0])))
    def select(self, names): return ArrowBatch([{n: row[n] for n in names} for row in self.rows])
    def slice(self, start, length): return ArrowBatch(self.rows[start:start + length])
    def to_pylist(self): return list(self.rows)

class Arrow(ArrowBatch): # a pyarrow Table
    columns = property(lambda self: [[1], [2]]) # of values, not of names
    column_names = property(lambda self: list(self.rows[0]))
    def to_batches(self): return [ArrowBatch(self.rows[:2]), ArrowBatch(self.rows[2:])]

class HuggingFace: # a datasets.Dataset, whose pictures must not be read
    def __init__(self, rows, picture=True): self.rows, self.picture = rows, picture
    @property
    def column_names(self): return [*self.rows[0], *["picture"]*self.picture]
    def with_format(self, type=None, columns=None): return self
    def select_columns(self, names):
        assert "picture" not in names
        return HuggingFace([{n: row[n] for n in names} for row in self.rows], False)
    def __iter__(self):
        assert not self.picture
        yield from self.rows

FORMS = {
    "list": WORDS,
    "tuple": tuple(WORDS),
    "answer → label": dict(PAIRS),
    "answer → label, OrderedDict": OrderedDict(PAIRS),
    "answer → label, other mappings": MappingProxyType(UserDict(PAIRS).data),
    "answer → label, whole floats": {a: float(i) for a, i in PAIRS},
    "answer → label, NumPy": {np.str_(a): np.int64(i) for a, i in PAIRS},
    "answer → label as texts": {a: str(i) for a, i in PAIRS},
    "label → answer": {i: a for a, i in PAIRS},
    "label → answer, NumPy": {np.int32(i): np.str_(a) for a, i in PAIRS},
    "label → answer, texts": {str(i): a for a, i in PAIRS},
    "records": RECORDS,
    "records, labels as texts, more keys": [dict(r, label=str(r["label"]), count=9) for r in RECORDS],
    "both lists of a config.json": {"model_type": "beit3", "id2label": {str(i): a for a, i in PAIRS}, "label2id": dict(PAIRS)},
    "columns": {"answer": [a for a, _ in PAIRS], "label": np.array([i for _, i in PAIRS])},
    "NumPy": np.array(WORDS),
    "NumPy objects": np.array(WORDS, object),
    "Series": pd.Series(WORDS),
    "Series with other rows' numbers": pd.Series(WORDS, index=range(100, 100 + len(WORDS))),
    "Series answer → label": pd.Series(dict(PAIRS)),
    "Series '0' → answer": pd.Series({str(i): a for a, i in PAIRS}),
    "Index": pd.Index(WORDS),
    "Categorical": pd.Categorical(WORDS),
    "DataFrame": TABLE,
    "DataFrame, labels with .0": TABLE.astype({"label": float})[["label", "answer"]],
    "DataFrame of one column": pd.DataFrame({"answer": WORDS}),
    "polars": Polars(RECORDS),
    "polars column": PolarsColumn(WORDS),
    "polars, lazy": PolarsLazy(RECORDS),
    "pyarrow": Arrow(RECORDS),
    "datasets": HuggingFace(RECORDS),
}

@pytest.mark.parametrize("form", FORMS)
def test_forms_in_memory(form):
    found = read_answer_list(FORMS[form])
    assert found == WORDS and all(type(a) is str for a in found)

def lines(values): return "".join(json.dumps(v) + "\n" for v in values)

FILES = {
    "answers.json": json.dumps(WORDS),
    "pretty.json": json.dumps(WORDS, indent=2, ensure_ascii=False),
    "trainval_ans2label.json": json.dumps(dict(PAIRS)),
    "trainval_label2ans.json": json.dumps({i: a for a, i in PAIRS}),
    "config.json": json.dumps({"id2label": {i: a for a, i in PAIRS}, "hidden_size": 8}),
    "records.json": json.dumps(RECORDS),
    "columns.json": TABLE.to_json(orient="columns"),
    "table.json": json.dumps(TABLE.to_dict("list")),
    "answer2label.txt": lines(RECORDS),
    "windows.txt": "\ufeff" + lines(RECORDS).replace("\n", "\r\n"),
    "blank lines.jsonl": lines(RECORDS).replace("\n", "\n\n"),
    "plain.txt": "\n".join(WORDS) + "\n",
    "no end.txt": "\n".join(WORDS),
    "quoted.txt": lines(WORDS),
}

@pytest.mark.parametrize("name", FILES)
def test_forms_of_files(name, tmp_path):
    (tmp_path/name).write_text(FILES[name], encoding="utf-8")
    assert read_answer_list(tmp_path/name) == WORDS == read_answer_list(str(tmp_path/name))

REFUSED = {
    "set": ({"yes", "no"}, "is set: a set has no order"),
    "frozenset": (frozenset("ab"), "is frozenset: a set has no order"),
    "keys": ({"yes": 0}.keys(), "is dict_keys: pass the dictionary itself"),
    "items": ({"yes": 0}.items(), "is dict_items: pass the dictionary itself"),
    "values": ({0: "yes"}.values(), "is dict_values: pass the dictionary itself"),
    "generator": ((a for a in "ab"), r"is generator: pass list\(…\)"),
    "map": (map(str, [1]), r"is map: pass list\(…\)"),
    "open file": (io.StringIO("yes\nno"), r"is StringIO"),
    "bytes": (b"yes\nno", "is bytes: pass the path"),
    "None": (None, "is NoneType: pass a list of texts in the order of the classes"),
    "number": (3129, "is int: pass a list"),
    "text": ("yes\nno", "answer list yes no does not exist"),
    "address": ("https://example.org/answers.json", "is an address: fetch the file"),
    "empty": ([], "is empty"),
    "empty mapping": ({}, "is empty"),
    "numbers": (["yes", 2], 'holds 2, which is not text; write it in quotes, "2"'),
    "range": (range(3), "holds 0, which is not text"),
    "YAML's yes": (["net", True], "holds True, which is not text .YAML"),
    "pandas' missing": (["net", float("nan")], "holds nan, which is not text .pandas reads an empty text"),
    "pandas' NA": (pd.Series(["net", None], dtype="string"), "holds <NA>, which is not text .pandas"),
    "None inside": (["net", None], "holds None, which is not text .pandas"),
    "bytes inside": (np.array([b"yes"]), "holds b'yes', which is not text; decode it"),
    "pairs": ([("yes", 0), ("no", 1)], r"holds \('yes', 0\), which is not text; a list of pairs becomes a mapping by dict"),
    "zip": (zip("ab", [0, 1]), "is zip: pass list"),
    "twice": (["yes", "no", "yes"], r"holds 'yes' twice \(classes 0 and 2\)"),
    "two empty": (["", "no", ""], "empty line too many"),
    "two dimensions": (np.array([["yes"], ["no"]]), "ndarray with 2 dimensions"),
    "a saved dictionary": (np.array({"yes": 0}), r"0 dimensions; .*array.item\(\)"),
    "transformers' own": ({0: "LABEL_0", 1: "LABEL_1"}, "transformers writes where it knows no answers"),
    "gap": ({"yes": 0, "no": 1, "net": 3}, "has 3 answers, whose labels must run from 0 without gaps; they run from 0 to 3, and 2 is missing"),
    "from one": ({"yes": 1, "no": 2}, "they run from 1 to 2, and 0 is missing"),
    "gap in texts": ({"0": "yes", "2": "no"}, "they run from 0 to 2, and 1 is missing"),
    "label twice": ({"yes": 0, "no": 0}, "gives the label 0 to 'yes' and 'no'"),
    "label in two spellings": ({0: "yes", np.float64(1): "no", 1.5: "net"}, "maps 1.5 to 'net'"),
    "answer twice": ({0: "yes", 1: "yes"}, "holds 'yes' twice"),
    "negative": ({"yes": 0, "no": -1}, "gives 'no' the label -1: labels run from 0"),
    "half": ({"yes": 0, "no": .5}, "maps 'no' to 0.5"),
    "bool": ({"yes": False, "no": True}, "maps 'yes' to False"),
    "None as label": ({"yes": 0, "no": None}, "maps 'no' to None"),
    "counts without end": ({"yes": float("inf")}, "maps 'yes' to inf"),
    "numbers to numbers": ({0: 2, 1: 3}, "maps 0 to 2"),
    "both ways": ({"0": "yes", "no": 1}, "maps 'no' to 1"),
    "translations": ({"yes": "oui", "no": "non"}, "maps 'yes' to 'oui', and neither its keys nor its values are labels from 0 to 1"),
    "lists of people": ({"yes": ["yes"]}, "maps 'yes' to .'yes'."),
    "digits both ways": ({"0": "1", "1": "2", "2": "0"}, "can be read in two ways: by label → answer class 0 says '1', by answer → label '2'"),
    "zeros in front": ({"00": "yes", "01": "no"}, "neither its keys nor its values are labels"),
    "record without label": ([{"answer": "yes", "label": 0}, {"answer": "no"}], "entry 1 of answer list is {'answer': 'no'}"),
    "record among texts": (["yes", {"answer": "no", "label": 1}], "entry 0 of answer list is 'yes'"),
    "records with odd labels": ([{"answer": "yes", "label": "first"}], "has the label 'first'"),
    "records from one": ([{"answer": "yes", "label": 1}], "run from 1 to 1, and 0 is missing"),
    "columns of two lengths": ({"answer": ["yes", "no"], "label": [0]}, "there are 2 answers and 1 label; each row needs both"),
    "sorted Series": (pd.Series(["no", "yes"], index=[1, 0]), "Series whose index reorders 0 to 1: pass series.tolist()"),
    "sorted column": (pd.DataFrame({"answer": ["no", "yes"]}, index=[1, 0]), "index reorders 0 to 1"),
    "other columns": (pd.DataFrame({"ans": ["yes"], "n": [9]}), "has the columns 'ans', 'n'; it needs answer and label"),
    "other columns, datasets": (HuggingFace([dict(answer="yes", n=9)]), "has the columns 'answer', 'n', 'picture'; it needs answer and label"),
    "two lists that differ": ({"id2label": {"0": "yes"}, "label2id": {"no": 0}}, "id2label in answer list and label2id in answer list differ"),
    "a label of thousands of digits": ({10**6000: "yes"}, "has 1 answer, whose labels must run from 0 without gaps; they run from int to int, and 0 is missing"),
    "tensor's numbers": (np.arange(3), "holds 0, which is not text"),
}

@pytest.mark.parametrize("form", REFUSED)
def test_refused_in_memory(form):
    source, says = REFUSED[form]
    with pytest.raises(UserError, match=says) as error: read_answer_list(source)
    assert len(str(error.value)) < 400

@pytest.mark.parametrize("mapping, expected", [
    ({"0": 0, "1": 2, "2": 1}, ["0", "2", "1"]), # answers that are digits: the numbers are labels
    ({0: "0", 1: "2", 2: "1"}, ["0", "2", "1"]),
    ({"0": "0", "1": "1"}, ["0", "1"]), # the same either way
    ({"0": "5", "1": "3"}, ["5", "3"]), # only one side counts from 0
    ({"5": "0", "3": "1"}, ["5", "3"]),
    ({"answer": 1, "label": 0}, ["label", "answer"]), # two answers
    ({"answers": 1, "id2label": 0}, ["id2label", "answers"])])
def test_answers_that_look_like_labels(mapping, expected): assert read_answer_list(mapping) == expected == read_answer_list(MappingProxyType(mapping))

BAD_FILES = {
    "pointer.json": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer, not an answer list: .*git lfs pull"),
    "page.txt": (b"<!doctype html><title>404</title>", "is a web page, not an answer list"),
    "label2ans.pkl": (pickle.dumps(["yes"]), "is a Python pickle, not an answer list: it is not opened.*json.dump"),
    "old.pickle": (pickle.dumps(["yes"], 0), "is a Python pickle"),
    "answers.npy": (b"\x93NUMPY\x01\0", "is a NumPy array, not an answer list"),
    "answers.zip": (b"PK\x03\x04", "is a zip archive"),
    "utf16.txt": ("yes\nno".encode("utf-16"), "is not text in UTF-8"),
    "python.txt": (b"['yes', 'no']", "the text of a Python value, not JSON: write it with json.dump"),
    "cut.json": (b'["yes", "n', "is cut short"),
    "cut.jsonl": (b'{"answer": "yes", "label": 0}\n{"answer": "no", "la', "line 2 is cut short"),
    "twice.json": (b'{"yes": 0, "no": 1, "yes": 2}', "more than once in the same object .'yes'"),
    "ids twice.json": (b'{"0": "yes", "1": "no", "1": "net"}', "more than once in the same object .'1'"),
    "deep.json": (b"[" * 100_000, "nested too deep"),
    "huge.json": (b"[" + b"9" * 5000 + b"]", "a number of thousands of digits"),
    "number.json": (b'{"yes": 0, "no": [1]}', r"maps 'no' to \[1\]"),
    "table.csv": (b"answer,label\nyes,0\nno,1\n", "is a table, with a comma in each line such as 'answer,label'"),
    "table.tsv": (b"0\tyes\n1\tno\n", "is a table, with a tab in each line"),
    "semicolons.csv": (b"yes;0\nno;1\n", "is a table, with a semicolon"),
    "numbered.txt": (b"0 yes\n1 no\n2 black and white\n", "numbered lines such as '0 yes'"),
    "numbered from one.txt": (b"1. yes\n2. no\n", "numbered lines such as '1. yes'"),
    "numbered behind.txt": (b"yes: 0\nblack and white: 1\n", "numbered lines"),
    "vocabulary.txt": (b"yes 812\nno 700\nblack and white 30\n", "lines that end in a number, as a vocabulary with counts has it, such as 'yes 812'"),
    "shares.txt": (b"yes 0.3\nno 0.2\n", "lines that end in a number"),
    "brackets.txt": (b"yes (812)\nno (700)\n", "lines that end in a number"),
    "counted.txt": (b"  812 yes\n  700 black and white\n", "lines that begin with a number, .* such as '812 yes'"),
    "list.yaml": (b"- yes\n- no\n", "lines that begin with a dash or the like, as YAML and Markdown write lists, such as '- yes'; write the answers alone"),
    "headed.yaml": (b"answers:\n  - yes\n  - no\n", "lines that begin with a dash"),
    "document.yaml": (b"---\n- yes\n- no\n", "lines that begin with a dash"),
    "stars.md": (b"* yes\n* no\n", "lines that begin with a dash or the like"),
    "from five.txt": (b"5. yes\n6. no\n", "numbered lines such as '5. yes'"),
    "spaced.txt": (b"1. yes\n\n2. no\n", "numbered lines"),
    "close.txt": (b"1.yes\n2.no\n", "numbered lines"),
    "round.txt": (b"(1) yes\n(2) no\n", "numbered lines"),
    "empty.txt": (b"", "is empty"),
    "blank.txt": (b"\n \n", "is empty"),
    "text.json": (b'{"model": "beit3"}', "maps 'model' to 'beit3'"),
}

@pytest.mark.parametrize("name", BAD_FILES)
def test_refused_files(name, tmp_path):
    content, says = BAD_FILES[name]
    (tmp_path/name).write_bytes(content)
    with pytest.raises(UserError, match=says) as error: read_answer_list(tmp_path/name)
    assert name in str(error.value) and "damaged" not in str(error.value)

@pytest.mark.parametrize("path, says", [("nowhere.json", "does not exist"), (".", "is a folder; give the file"), ("a\0b", "cannot be read"), ("x" * 5000, r"cannot be read.*|…")])
def test_paths_that_are_none(path, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as error: read_answer_list(path)
    assert len(str(error.value)) < 500

def test_answers_with_commas_and_numbers_are_no_table(tmp_path):
    answers = ["yes", "black, white", "2 dogs", "route 66", "1.5", "- so", "3. street", "(1)", "1", "0", "red; blue", '"quoted"', "12:00"]
    (tmp_path/"a.txt").write_text("\n".join(answers))
    assert read_answer_list(tmp_path/"a.txt") == answers

def test_a_long_list_is_read_at_once():
    many = [f"answer {i}" for i in range(200_000)]
    assert read_answer_list(dict(zip(reversed(many), reversed(range(len(many)))))) == many
    with pytest.raises(UserError, match=r"holds 'answer 199999' twice \(classes 199999 and 200000\)"): read_answer_list([*many, many[-1]])

def test_long_answers_are_not_quoted_whole():
    with pytest.raises(UserError) as error: read_answer_list(["x" * 10**6] * 2)
    assert len(str(error.value)) < 200

@pytest.mark.parametrize("answers, says", [
    (["answer", "yes", "no"], "has 3 answers, but the head has 2: its first, 'answer', is a header: delete it"),
    (["yes", "no", ""], "has 3 answers, but the head has 2: its last is empty: delete the empty line at the end"),
    (["yes"], "has 1 answers, but the head has 2: it is not the list this model was trained with")])
def test_a_list_of_another_length_names_both(answers, says):
    with pytest.raises(UserError, match=says): check_answer_list(answers, 2)

def test_another_form_is_read_before_it_is_counted():
    for form in (dict(PAIRS), RECORDS, TABLE): assert check_answer_list(form, len(WORDS)) == WORDS
    with pytest.raises(UserError, match="a set has no order"): check_answer_list(set(WORDS), len(WORDS))

def test_a_model_answers_alike_with_every_form():
    usual = load_model("sample").answers
    pairs = [(a, i) for i, a in enumerate(usual)]
    random.Random(2).shuffle(pairs)
    for form in (dict(pairs), {str(i): a for a, i in pairs}, pd.DataFrame(pairs, columns=["answer", "label"])): assert load_model("sample", answers=form).answers == usual
    with pytest.raises(UserError, match="a set has no order"): load_model("sample", answers=set(usual))
    with pytest.raises(UserError, match=f"has {len(usual) - 1} answers, but the head has {len(usual)}"): load_model("sample", answers={a: i for a, i in pairs if i < len(usual) - 1})

def test_a_list_cannot_be_built_without_the_most_common_answers():
    okvqa = load_annotations([dict(question_id=1, image_id=2, question_type="one", answer_type="other", answers=10*[dict(answer="surf", raw_answer="surfing")])])
    with pytest.raises(UserError, match="lack multiple_choice_answer"): build_answer_list(okvqa.values())
    with pytest.raises(UserError, match="lack multiple_choice_answer"): build_answer_list([{"answers": ["yes"]}])

def test_quotes_of_python_around_every_line(tmp_path):
    (tmp_path/"a.txt").write_text("'yes'\n'black, white'\n")
    assert read_answer_list(tmp_path/"a.txt") == ["yes", "black, white"]
    (tmp_path/"a.txt").write_text("'yes'\nit's\n")
    assert read_answer_list(tmp_path/"a.txt") == ["'yes'", "it's"]

@pytest.mark.parametrize("answers", [["1", "2"], ["1.5", "2.5"], ["9:30", "10:15"], ["iphone6", "ps4"], ["$5", "50%"], ["-1", "-2"]])
def test_numbers_may_be_answers(answers, tmp_path):
    (tmp_path/"a.txt").write_text("\n".join(answers))
    assert read_answer_list(tmp_path/"a.txt") == answers

def test_the_models_own_list_in_another_order_is_told(caplog):
    "Each class gets another's answer."
    own = load_model("sample", device="cpu").answers
    for given in (own, [f"class {i}" for i in range(len(own))]): # its own, or one's own for the same head
        found = load_model("sample", device="cpu", answers=given)
        assert found.answers == given and found.notes == ()
    found = load_model("sample", device="cpu", answers=sorted(own, key=len))
    assert "in another order: each class says what another says there" in found.notes[0] and found.notes[0] in caplog.text
