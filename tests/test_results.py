"Results in the forms that programs write them: the same figure, or a sentence; nothing is matched by guessing."
import json
import logging
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from beit3_colab import check_submission, score, soft_score
from beit3_colab.data.dataset import Annotation
from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.results import read_results

IDS, ANSWERS = (11, 12, 21), ("cat", "2", "no")


def notes(ids=IDS): return [Annotation(i, k//2, "what", "other", said[0], said) for k, (i, said) in enumerate(zip(ids, SAID))]
def records(ids=IDS, **more): return [dict(question_id=i, answer=a, **more) for i, a in zip(ids, ANSWERS)]
def questions(ids=IDS): return [dict(question_id=i, image_id=1, question="What is it?") for i in ids]

SAID = [10*("cat",), 10*("2",), ("no",) + 9*("yes",)]
WORTH = {11: 100, 12: 100, 21: 30}
TABLE = pd.DataFrame(records(confidence=.5, image="a.jpg"))

FORMS = {
    "records": records(),
    "records with more keys": [dict(r, score=.5, top5=["a"], image="a.jpg", question="What?") for r in records()],
    "tuple": tuple(records()),
    "other mappings": [MappingProxyType(r) for r in records()],
    "id → answer": dict(zip(IDS, ANSWERS)),
    "id → answer from JSON": {str(i): a for i, a in zip(IDS, ANSWERS)},
    "NumPy": {np.int64(i): np.str_(a) for i, a in zip(IDS, ANSWERS)},
    "NumPy records": [dict(question_id=np.int32(i), answer=np.str_(a)) for i, a in zip(IDS, ANSWERS)],
    "arrays": {"question_id": np.array(IDS), "answer": np.array(ANSWERS)},
    "array and list": {"question_id": np.array(IDS), "answer": list(ANSWERS)},
    "columns with more": TABLE.to_dict("list"),
    "columns as pandas writes them": json.loads(TABLE.to_json()),
    "Series beside Series": {"question_id": TABLE.question_id, "answer": TABLE.answer},
    "DataFrame": TABLE,
    "DataFrame, another index": TABLE.set_index("image"),
    "Series by question_id": TABLE.set_index("question_id").answer,
    "texts of digits": records(map(str, IDS)),
}

@pytest.mark.parametrize("form", FORMS)
def test_the_figure_is_the_same_in_every_form(form):
    found = score(notes(), FORMS[form])
    assert found.per_question == WORTH and found.num_images == 2
    assert soft_score(notes(), FORMS[form]) == soft_score(notes(), records())
    assert all((type(i), type(a)) == (int, str) for i, a in read_results(FORMS[form], WORTH).items())

@pytest.mark.parametrize("text", [
    json.dumps(records()), json.dumps(records(), indent=1), "".join(json.dumps(r) + "\n" for r in records(score=1)), "\ufeff" + json.dumps(dict(zip(IDS, ANSWERS))),
    "".join(json.dumps(r) + "\r\n\r\n" for r in records()), TABLE.to_json(), TABLE.to_json(orient="records"), TABLE.to_json(orient="records", lines=True)])
def test_the_figure_is_the_same_from_every_file(text, tmp_path):
    (tmp_path/"r.json").write_text(text, encoding="utf-8")
    assert score(notes(), tmp_path/"r.json").per_question == WORTH

def test_one_record_alone(tmp_path):
    (tmp_path/"r.jsonl").write_text('{"question_id": 11, "answer": "cat"}\n')
    for one in ({"question_id": 11, "answer": "cat"}, tmp_path/"r.jsonl"): assert score(notes()[:1], one).per_question == {11: 100}

@pytest.mark.parametrize("text, says", [
    (str(records()), "is the text of a Python value, not JSON: write it with json.dump"), (" \n\n ", "is empty; fetch it again"), ('[{"question_id": 11, "answer": "it\'s"},\n]', "is not valid JSON: a comma stands before the ] at line 2, column 1; delete it"), ('{"question_id": 11, "answer": "a"},\n{"question_id": 12, "answer": "b"}', "more follows at line 1, column 35; put . and . around the whole of a list"),
    ('{"11": "red", "12": "red", "11": "blue"}', "has 1 key more than once in the same object .'11'.: keep one of each"), ('[{"question_id": 11, "answer": "a", "answer": "b"}]', "1 key more than once .*'answer'"), ('{"question_id": 11, "answer": "a"}\n{"question_id": 11, "question_id": 12, "answer": "a"}', "1 key more than once .*'question_id'"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer, not JSON: .*git lfs pull"), ("<!DOCTYPE html>", "is a web page"),
    ('[{"question_id": 11', "cut short"), ("[" * 10**5, "nested too deep"), ("", "is empty")])
@pytest.mark.parametrize("read", [lambda path: score(notes(), path), lambda path: check_submission(path, questions())])
def test_files_are_called_what_they_are(text, says, read, tmp_path):
    (tmp_path/"r.json").write_text(text)
    with pytest.raises(UserError, match=f"results file .*r.json.* {says}") as error: read(tmp_path/"r.json")
    assert "damaged" not in str(error.value)

@pytest.mark.parametrize("kind", ["json", "jsonl", "txt"])
def test_other_letters_than_utf8(kind, tmp_path):
    path = tmp_path/f"r.{kind}"
    path.write_bytes("\n".join(json.dumps(r | {"note": "café"}, ensure_ascii=False) for r in records()[:3 if kind == "jsonl" else 1]).encode("latin-1"))
    with pytest.raises(UserError, match="is not text in UTF-8, as JSON must be: save it so"): score(notes(), path)

FRAMED = {"rows": records(), "results": {"11": "cat", "12": "2", "21": "no"}, "predictions": records(), "answers": {"question_id": list(IDS), "answer": list(ANSWERS)}, "data": records()}

@pytest.mark.parametrize("frame", FRAMED)
def test_a_frame_around_the_results(frame, tmp_path):
    (tmp_path/"r.json").write_text(json.dumps({"model": "x", "settings": {"seed": 1}, frame: FRAMED[frame]}))
    assert score(notes(), tmp_path/"r.json").per_question == WORTH
    assert "dict instead of a list" in check_submission(tmp_path/"r.json", questions()).problems[0]

@pytest.mark.parametrize("suffix", ["jsonl", "jsonlines", "ndjson", "json"])
def test_json_lines_by_any_name(suffix, tmp_path):
    (tmp_path/f"r.{suffix}").write_text("\n".join(map(json.dumps, records())))
    assert score(notes(), tmp_path/f"r.{suffix}").per_question == WORTH

@pytest.mark.parametrize("ids", [map(float, IDS), np.float64(IDS), [f"{i}.0" for i in IDS], pd.Series([*IDS, None])[:3]])
def test_whole_floats_are_ids(ids, caplog): assert read_results(records(ids), WORTH) == dict(zip(IDS, ANSWERS))

@pytest.mark.parametrize("two", [2, 2., np.int64(2), np.float32(2)])
def test_numbers_are_answers_and_it_is_said(two, caplog):
    with caplog.at_level(logging.WARNING, "beit3_colab.scoring"): assert score(notes(), {11: "cat", 12: two, 21: "no"}).per_question == WORTH
    assert [r.message for r in caplog.records] == ["1 answer of the results: numbers, taken as texts (such as '2'); are they answers, and not a model's classes?"]

@pytest.mark.parametrize("text", [TABLE.to_csv(index=False), TABLE.to_csv(), TABLE.to_csv(index=False, sep="\t"), TABLE.to_csv(sep=";"), "\ufeff" + TABLE.to_csv(index=False, lineterminator="\r\n"),
    TABLE.astype({"question_id": float}).to_csv(index=False), 'question_id, answer\n11,cat\n\n12,"2"\n21,no\n,\n', "answer,question_id,\ncat,11,\n2,12,\nno,21,\n"])
@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.txt"])
def test_csv_is_read(text, name, tmp_path):
    (tmp_path/name).write_text(text, encoding="utf-8", newline="")
    assert score(notes(), tmp_path/name).per_question == WORTH
    with pytest.raises(UserError, match="is a table of text .CSV., not JSON: EvalAI takes a JSON list"): check_submission(tmp_path/name, questions())

def test_csv_keeps_what_pandas_takes_for_nothing(tmp_path, caplog):
    (tmp_path/"r.csv").write_text('question_id,answer\n11,None\n12,NA\n21,"red, and\nwhite"\n')
    assert read_results(tmp_path/"r.csv", WORTH) == {11: "None", 12: "NA", 21: "red, and\nwhite"} and not caplog.records
    (tmp_path/"r.csv").write_text("sep=;\nquestion_id;answer\n11;cat\n") # as Excel writes it
    assert read_results(tmp_path/"r.csv", WORTH) == {11: "cat"}
    (tmp_path/"r.csv").write_text("question_id,answer\n007,cat\n")
    assert read_results(tmp_path/"r.csv", ["007", "008"]) == {"007": "cat"}

@pytest.mark.parametrize("text, says", [
    ("question_id,answer\n11,red, white\n", "the row of question_id '11' has more fields than the header; put a text that holds ',' in double quotes"), ("question_id,answer\n11\n", "1 result has no answer .question_id 11."),
    ("question_id,text\n11,cat\n", "must have one column answer, and has 'question_id', 'text'"), ("question_id,answer,answer\n11,a,b\n", "one column answer"), ('question_id,answer\n11,"cat\n12,2\n', "row 1: unexpected end of data"),
    ("question_id,answer\n", "results are empty"), ("question_id,answer\n11,cat\n11,dog\n", "answer 1 question more than once .11."), ("question_id,answer\n11,caf\u00e9\n", "line 2 holds the byte 0xe9"), ("question_id,answer\n,cat\n", "question_id '' is str")])
def test_csv_with_a_fault(text, says, tmp_path):
    (tmp_path/"r.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=says): score(notes(), tmp_path/"r.csv", partial=True)

@pytest.mark.parametrize("name, content, says", [("r.parquet", b"PAR1" + bytes(9), "a Parquet table, not JSON: read it with pandas.read_parquet"), ("r.xlsx", b"PK\x03\x04" + bytes(9), "an Excel workbook, not JSON: read it with pandas.read_excel"), ("r.zip", b"PK\x03\x04" + bytes(9), "zip archive")])
def test_other_tables_are_named_with_their_reader(name, content, says, tmp_path):
    (tmp_path/name).write_bytes(content)
    with pytest.raises(UserError, match=says): score(notes(), tmp_path/name)

@pytest.mark.parametrize("ids, given", [((11, 12, 21), ("11", "12", "21")), (("11", "12", "21"), (11, 12, 21)), (("11", "n12", "21"), (11, "n12", np.int64(21))), ((11, "n12", 21), ("11", "n12", 21))])
def test_ids_of_the_other_type_are_matched_and_it_is_said(ids, given, caplog):
    with caplog.at_level(logging.WARNING, "beit3_colab.scoring"): found = score(notes(ids), records(given))
    assert found.per_question == dict(zip(ids, WORTH.values()))
    assert len(caplog.records) == 1 and "matched by their digits" in caplog.text

@pytest.mark.parametrize("ids, results, says", [
    (("011", "n12"), [dict(question_id=11, answer="cat")], "question_id 11 is int, not a text, as the annotations have: '011', 'n12'"),
    ((11, 12), [dict(question_id="011", answer="cat")], "question_id '011' is str, not an integer, as the annotations have: 11, 12"),
    ((11, 12), [dict(question_id="11.5", answer="cat")], "question_id '11.5' is str, not an integer"),
    ((11, 12), [dict(question_id="٣", answer="cat")], "is str, not an integer"),
    ((11, 12), [dict(question_id=11.5, answer="cat")], "question_id 11.5 is float, not an integer"),
    ((11, 12), [dict(question_id="11", answer="cat"), dict(question_id=11, answer="cat")], r"1 question more than once \(11\)"),
    ((11, 12), [dict(question_id="99", answer="cat")], "not annotated: 99"),
    ((11, 12), records((11, None, 21)), "question_id None is NoneType"),
    ((11, 12), [dict(question_id=11, text="cat")], "result 0 is {'question_id': 11, 'text': 'cat'}: each needs a question_id and an answer"),
    ((11, 12), [dict(image="a.jpg", answer="cat")], "question_id 'a.jpg' is str, not an integer"),
    ((11, 12), [(11, "cat")], r"result 0 is \(11, 'cat'\)"),
    ((11, 12), ["cat", "2"], "result 0 is 'cat'"),
    ((11, 12), np.array(["cat", "2"]), "not ndarray: answers alone do not say which question each belongs to; pass dict"),
    ((11, 12), pd.Series(["cat", "2"]), "not Series: answers alone do not say which question"),
    ((11, 12), iter(records()), "must be a list of {question_id, answer}, not list_iterator"),
    ((11, 12), {"cat", "2"}, "not set"),
    ((11, 12), {"question_id": [11, 12], "answer": ["cat"]}, "there are 2 question_ids and 1 answer; each row needs both"),
    ((11, 12), {"question_id": np.array([11, 12]), "answer": "cat"}, "is ndarray, not an integer"),
    ((11, 12), {"info": {}, "outputs": records()}, "a dictionary with 'info', 'outputs': give the list of {question_id, answer} in it"),
    ((11, 12), {"data": records(), "results": records()}, "a dictionary with 'data', 'results': give the list"),
    ((11, 12), {"results": []}, "results are empty"),
    ((11, 12), [dict(question_id=2.**53, answer="cat")], "is float, not an integer"),
    ((11, 12), {"question_id": np.float32([11]), "answer": ["cat"]}, "question_ids are float32, which rounds numbers of more than 7 digits: read them as whole numbers"),
    ((11, 12), pd.DataFrame(records()).astype({"question_id": "float32"}), "question_ids are float32"),
    ((11, 12), {11: 2.5}, "the answer to question 11 is 2.5, not a text"), ((11, 12), {11: True}, "the answer to question 11 is True, not a text"), ((11, 12), {11: np.bool_(True)}, "True.*not a text"),
    ((11, 12), {11: float("inf")}, "is inf, not a text"), ((11, 12), {11: 10**30}, "not a text"), ((11, 12), {11: None, 12: 2}, "1 result has no answer .question_id 11.: give each a text, or leave it out"),
    ((11, 12), pd.DataFrame({"question_id": [11, 12], "answer": ["cat", pd.NA]}), "1 result has no answer .question_id 12."),
    ((11, 12), {11: ["cat"]}, "the answer to question 11 is .'cat'., not a text"),
    ((11, 12), pd.DataFrame({"question_id": [11], "answer": [float("nan")]}), "1 result has no answer .question_id 11."),
    ((11, 12), pd.DataFrame({"question_id": [11, float("nan")], "answer": ["cat", "2"]}), "question_id nan is float"),
    ((11, 12), pd.DataFrame({"id": [11], "answer": ["cat"]}), "result 0 is {'answer': 'cat', 'id': 11}|result 0 is {'id': 11, 'answer': 'cat'}"),
    ((11, 12), [dict(question_id="x"*10**6, answer="cat")], "is str, not an integer")])
def test_what_cannot_be_meant_is_refused(ids, results, says):
    with pytest.raises(UserError, match=says) as error: score(notes(ids), results, partial=True)
    assert len(str(error.value)) < 300

class Dataset: # of Hugging Face's
    def __init__(self, rows): self.rows, self.column_names, self.features = rows, list(rows[0]), {}
    def with_format(self, type=None, columns=None): return self
    def select_columns(self, names): return Dataset([{name: row[name] for name in names} for row in self.rows])
    def __iter__(self):
        for row in self.rows:
            assert not isinstance(row.get("image"), bytes) # pictures are read only where they are the ids
            yield row

def test_a_column_image_is_read_where_it_names_the_questions():
    named = [dict(image=f"{i}.jpg", answer=r["answer"], score=.5) for i, r in enumerate(records())]
    for table in (named, pd.DataFrame(named), Dataset(named)): assert list(score(notes([r["image"] for r in named]), table).per_question) == [r["image"] for r in named]
    assert score(notes(), Dataset([dict(r, image=b"large") for r in records()])).per_question == score(notes(), records()).per_question

def test_ids_are_found_at_once():
    many = range(100_000)
    assert len(read_results([dict(question_id=str(i), answer="yes") for i in many], list(many))) == len(many)


# check_submission: what the official loader takes and what it does not

def test_keys_that_the_loader_ignores_are_a_warning():
    check = check_submission([dict(r, score=.5, model="x") for r in records()], questions())
    assert check.ok and check.raise_if_bad() is check
    assert check.warnings == ["3 entries with a key other than question_id and answer: 'model', 'score'; the official loader ignores these."]

def test_json_lines_are_told_and_looked_at(tmp_path):
    (tmp_path/"r.json").write_text("".join(json.dumps(r) + "\n" for r in records()[:2]))
    check = check_submission(tmp_path/"r.json", questions())
    assert check.problems == ["The file is JSON Lines (a value on each line), and EvalAI takes a single list: json.dump([…], file).", "1 question of 3 without an answer: 21."]
    (tmp_path/"r.json").write_text(json.dumps(records()))
    assert check_submission(tmp_path/"r.json", questions()).ok

def test_ids_are_compared_strictly_there():
    assert check_submission(records(map(str, IDS)), questions()).problems[0] == "3 entries with a question_id that is str instead of int: '11', '12', '21'."
    assert check_submission([dict(r, question_id=np.int64(r["question_id"])) for r in records()], questions()).problems[0].startswith("3 entries with a question_id that is int64 instead of int")
    assert check_submission(records()*2, questions()).problems == ["3 question_ids more than once: 11, 12, 21."]

@pytest.mark.parametrize("results", [TABLE, FORMS["arrays"], dict(zip(IDS, ANSWERS))])
def test_only_a_list_can_be_submitted(results): assert "instead of a list: write" in check_submission(results, questions()).problems[0]
