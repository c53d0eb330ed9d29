"The same table gives the same figures whatever brought it: answers, ids and names of columns in every form that tables have."
import csv
import datetime
import json
import logging
import random
import re
from collections import Counter
from decimal import Decimal
from enum import Enum
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from beit3_colab.data.human_answers import read_answers, read_human_answers, settle_answers
from beit3_colab.data.own import open_questions
from beit3_colab.data.values import is_missing, plain_value, read_image_id, read_question_id, write_number
from beit3_colab.data.vqa_files import load_annotations
from beit3_colab.machine.messages import UserError
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scoring.score import score


class Weather(Enum):
    SNOW = 1

class PlainText(str, Enum):
    SNOW = "snowy"

class Scalar:
    "As pyarrow's."
    def __init__(self, value): self.value = value
    def as_py(self): return self.value

class Series:
    "As polars'."
    def __init__(self, *values): self.values = values
    def to_list(self): return list(self.values)

class Array:
    "As pyarrow's."
    def __init__(self, *values): self.values = values
    def to_pylist(self): return list(self.values)

RECORDS = [dict(answer=a, answer_confidence="maybe", answer_id=i) for i, a in enumerate(["rain", "it's wet", 'a "storm"'], 1)]
TEXTS = ("rain", "it's wet", 'a "storm"')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(tmp_path)
    draw_scene(make_scene(5)).save(tmp_path/"a.png")
    return tmp_path

def write_csv(folder, header, *rows):
    with open(folder/"q.csv", "w", newline="") as f: csv.writer(f).writerows([header, *rows])
    return folder/"q.csv"

def opened(values, column="answers", **more):
    "Questions whose answers are these, from a list."
    return open_questions([{"image": "a.png", "question": f"What is {i}?", column: value, **more} for i, value in enumerate(values)])

def people(data): return [data.annotations[q.question_id].answers if q.question_id in (data.annotations or {}) else () for q in data.questions]

def refusal(function, *args, **kwargs):
    with pytest.raises(UserError) as caught: function(*args, **kwargs)
    assert len(str(caught.value)) < 1500
    return str(caught.value)


@pytest.mark.parametrize("value", [
    list(TEXTS), TEXTS, np.array(TEXTS), np.array(TEXTS, dtype=object), pd.Series(TEXTS), pd.Categorical(TEXTS), pd.array(TEXTS, dtype="string"), Series(*TEXTS), Array(*TEXTS), Scalar(list(TEXTS)), [Scalar(t) for t in TEXTS],
    RECORDS, tuple(RECORDS), np.array(RECORDS, dtype=object), Scalar(RECORDS), {"answer": list(TEXTS), "answer_id": [1, 2, 3]}, dict.fromkeys(TEXTS, 1), Counter(TEXTS), dict.fromkeys(TEXTS, 1).keys() and {t: np.int64(1) for t in TEXTS},
    json.dumps(TEXTS), json.dumps(RECORDS), json.dumps(RECORDS, indent=1), str(list(TEXTS)), str(TEXTS), str(RECORDS), str(np.array(TEXTS)), str(np.array(RECORDS, dtype=object)), repr(np.array(TEXTS)), repr(np.array(TEXTS, dtype=object)),
    str([np.str_(t) for t in TEXTS]), str(dict.fromkeys(TEXTS, 1)), str(Counter(TEXTS)), "rain|it's wet|a \"storm\"", " rain | it's wet | a \"storm\" | ",
    np.array2string(np.array(TEXTS), max_line_width=10), "[\n  'rain',\n  \"it's wet\",\n  'a \"storm\"',\n]", "['rain', 'it''s wet', 'a \"storm\"']",
    'c("rain", "it\'s wet", "a \\"storm\\"")', f"dict_keys({list(TEXTS)})", f"dict_values({list(TEXTS)})", f"tensor({list(TEXTS)})", f"Index({list(TEXTS)}, dtype='object')", f"Index({list(TEXTS)}, dtype='object', name='answers')", f"array({list(TEXTS)}, dtype=object)", f"array({list(TEXTS)}, dtype='<U9')", f"pd.Series({list(TEXTS)}, name='a')",
    json.dumps(json.dumps(TEXTS)), f"ARRAY{list(TEXTS)}", f"defaultdict(<class 'int'>, {dict.fromkeys(TEXTS, 1)})", f"'{json.dumps(TEXTS)}'".replace("it's", "it''s")])
def test_a_list_is_a_list_in_every_form(value): assert read_human_answers(value) == TEXTS

@pytest.mark.parametrize("value, expected", [
    (2, "2"), (2., "2"), (np.float64(2), "2"), (np.float32(.1), "0.1"), (np.int8(2), "2"), (Decimal("2.0"), "2"), (Decimal("2.50"), "2.5"), (Fraction(4, 2), "2"), (2.5, "2.5"), (-3., "-3"), (1e15, "1" + "0"*15), (np.str_("two"), "two"),
    (PlainText.SNOW, "snowy"), (Scalar("two"), "two"), (Scalar(2.), "2"), (np.array("two"), "two"), ("yes, it is", "yes, it is"), ("and/or", "and/or"), ("none", "none"), ("None", "None"), ("N/A", "N/A"), ("nan", "nan"), ("null", "null"),
    ("[unclear]", "[unclear]"), ("[two dogs]", "[two dogs]"), ("{so}", "{so}"), ("(two) dogs", "(two) dogs"), ("f(x)", "f(x)"), ("print('hello')", "print('hello')"), ("sum([1, 2])", "sum([1, 2])"), ("vitamin c (daily)", "vitamin c (daily)"), ("it's", "it's"), ('"quoted"', '"quoted"'), ("[sic] dog", "[sic] dog"), ("2.0", "2.0"), (" two ", "two"), ("3|", "3")])
def test_one_answer_stays_one(value, expected): assert read_human_answers(value) == (expected,)

@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("nan"), np.ma.masked, Scalar(None), "", "  \n", "<NA>", [], (), {}, "[]", "()", "{}", np.array([]), Series(), "|", " | "])
def test_nothing_is_nothing(value): assert read_human_answers(value) == ()

@pytest.mark.parametrize("value, says", [
    ({"rain", "snow"}, "a set, which keeps each value once"), (frozenset(["rain"]), "a set"), ("{'rain', 'snow'}", "a set"), ("frozenset({'rain'})", "a set"), (str({"rain"}), "a set"), ({"rain": .6}, "whole numbers"), ({"yes": 0.3, "no": 1}, "whole numbers"), ({"a": "b"}, "whole numbers"),
    (True, "TRUE or FALSE"), (np.bool_(False), "TRUE or FALSE"), ([True, "x"], "TRUE or FALSE"), (datetime.date(2024, 3, 5), "a date"), (datetime.datetime(2024, 3, 5), "a date"), (pd.Timestamp("2024-03-05"), "a date"), (np.datetime64("2024-03-05"), "a date"), (np.datetime64("2024-03-05", "ns"), "a date"),
    (pd.Timedelta("1h"), "a date or time"), ([pd.Timestamp("2024-03-05")], "a date"), (b"rain", "decode"), ([b"rain"], "decode"), (np.array([b"rain"]), "decode"), (Weather.SNOW, "an Enum"), (1j, "complex"), (object(), "object"), ([["rain"], ["snow"]], r"\['rain'\] \(list\)"), ([{"text": "rain"}], "'text': 'rain'"),
    (float("inf"), "inf is no number"), ("['rain', 'sno", "begin like a list and cannot be read"), ('["rain", "sno', "begin like a list"), ("[rain, snow]", "begin like a list"), ("{rain,snow}", "begin like a list"), ("[rain; snow]", "begin like a list"), ("('rain', 'sno", "begin like a list"), ("{'rain': 3, 'sno", "begin like a list"),
    ("['rain' ... 'snow']", "left out the middle"), (str(np.array(["rain"]*1001)), "left out the middle"), (str(np.array(["rain"]*1001)).replace("...", "…"), "left out the middle"), ("[[[" * 5000, "begin like a list"), ("[" + "'rain', "*10_000, "begin like a list"), ("[foo('rain')]", "begin like a list")])
def test_what_cannot_be_meant_is_refused(value, says): assert re.search(says, refusal(read_answers, value))

def test_a_refusal_tells_how_several_answers_are_written():
    told = refusal(read_answers, "['rain', 'sno" + "w"*90_000)
    assert "['rain', 'snowww" in told and "snowy|cold" in told and '["snowy", "cold"]' in told and len(told) < 300

def test_odd_texts_come_back_from_every_kind_of_list():
    words = ["yes", "it's", 'say "no"', "a, b", "a|b", "[x]", "{y}", "...", "…", "nan", "None", "2.0", "é 😀", "a\\n", "a\nb", "'", '"', "''", "np.str_('a')", "true", ", dtype=object)", "array(['a'])", "a' 'b", "(", "]"]
    dice = random.Random(7)
    for _ in range(300):
        said = dice.choices(words, k=dice.randrange(1, 6))
        records, array = [dict(answer=a, answer_id=1) for a in said], np.array(said)
        for form in (said, str(said), repr(tuple(said)), json.dumps(said), str(array), repr(array), str(array.astype(object)), str(list(array)), str(records), str(np.array(records, dtype=object))):
            assert read_human_answers(form) == tuple(said), form

def test_python_does_not_join_what_numpy_wrote_side_by_side():
    assert read_human_answers("['yes' 'no'\n 'yes, it is']") == ("yes", "no", "yes, it is")
    assert read_human_answers(str(np.array([1., 2.5, np.nan]))) == ("1", "2.5", "")


@pytest.mark.parametrize("values, expected", [
    (["2.0", "1.0", "10.0"], ["2", "1", "10"]), (["2.0", "", "1.0"], ["2", "", "1"]), (["2.0", "yes"], ["2", "yes"]), (["2.0", "2.5"], ["2", "2.5"]), (["2.0", "3"], ["2", "3"]), (["2.5", "3", "1.0"], ["2.5", "3", "1"]), (["2.00", "3.0"], ["2.00", "3.0"]), (["1.0|2.0", "3.0"], ["1|2", "3"]), (["-1.0"], ["-1"]), (["iOS 2.0"], ["iOS 2.0"]), (['["2.0"]', "1.0"], ["2.0", "1"])])
def test_numbers_of_pandas_in_text_are_whole(folder, values, expected):
    rows = [["a.png", f"How many {i}?", value] for i, value in enumerate(values)]
    frame = pd.read_csv(write_csv(folder, ["image", "question", "answers"], *rows), dtype=str)
    for source in (folder/"q.csv", frame): assert ["|".join(a) for a in people(open_questions(source))] == expected

def test_csv_and_table_agree_about_numbers_with_a_gap(folder):
    table = pd.DataFrame(dict(image=["a.png"]*3, question=["How many?", "How many cats?", "How many dogs?"], answers=[3, None, 12], question_id=[5, 6, None], image_id=[7, None, 7]))
    table.to_csv(folder/"q.csv", index=False)
    table.to_json(folder/"q.jsonl", orient="records", lines=True)
    found = [open_questions(source) for source in (table, folder/"q.csv", folder/"q.jsonl", table.convert_dtypes(), table.to_dict("records"))]
    assert people(found[0]) == [("3",), (), ("12",)] and [(q.question_id, q.image_id) for q in found[0].questions] == [(5, 7), (6, "a.png"), (3, 7)]
    assert all((data.questions, people(data)) == (found[0].questions, people(found[0])) for data in found)

@pytest.mark.parametrize("values", [["TRUE", "FALSE"], ["true", "false"], ["True", "True"], ["FALSE", ""], [True, False], [np.bool_(True), None], ["WAHR", "FALSCH"], ["VRAI", "FAUX"],
    ["TRUE"]*7 + ["red"], [True]*7 + ["red"], ["red", "blue", "TRUE", "grey"], ["TRUE|FALSE", "red"], ["True", "False", "red"], *[[word, "red"] for word in "VRAI FALSCH VERDADERO VERO ONWAAR SANT SAND PRAWDA FAŁSZ ИСТИНА ЛОЖЬ".split()]])
def test_a_column_of_truth_values_is_refused_in_the_same_words(folder, values):
    told = refusal(opened, values)
    assert "answers must be texts, not TRUE or FALSE" in told and "makes of yes and no" in told and told.count("makes of") == 1

@pytest.mark.parametrize("values", [["true", "red", "false"], [["true"], ["false"]], [["TRUE"], "red"], ['["TRUE", "FALSE"]', "red"], ["SAND", "WATER", "SKY"], ["Sand", "sky"], ["True", "red", "blue"], ["vrai", "red"], ['["true"]', '["false"]']])
def test_true_may_be_an_answer(folder, values): assert people(opened(values)) == [read_human_answers(v) for v in values]

@pytest.mark.parametrize("values, word", [
    (["a, b, a", "c,d"], "comma"), (["a,a,b"], "comma"), (["a, b, c", "c, d, e", "e, f, g"], "comma"), (["a, b", "c, c, d", "e"], "comma"), (["a;b", "c; d"], "semicolon"), (["a; a; b"], "semicolon"), (["a\nb", "c\nd\ne"], "line break"), (["red/blue/red", "grey"], "slash"), (["red/blue", "blue/red", "red"], "slash"), (["yes, no", "no, yes", "yes"], "comma"), (["2,1,2", "3,3,1"], "comma"), (["yes<br>no", "no<BR/>no"], "<br>"), (["yes\\nno", "no\\nno"], "\\n"),
    (["yes|no", "yes;yes;no", "c;c"], "semicolon"), ([["yes", "no"], "yes, yes, no", "red"], "comma"), (['["yes", "no"]', "a\nb", "c\nd"], "line break"), (["snowy, cold, snow", "cloudy,cloudy,grey"], "comma"), (["snowy;cold;snow", "cloudy;grey"], "semicolon"), (["a, b, a", "b, b, c", "c, c, a", *"defghijklm"], "comma"), (["雪、雪、雨"], "、")])
def test_answers_in_one_cell_are_refused_before_anything_is_answered(folder, values, word):
    told = refusal(opened, values)
    assert f"hold a {word}" in told and "snowy|cold" in told and "nothing was answered yet" in told

@pytest.mark.parametrize("values", [
    ["yes, it is", "no", "red"], ["yes, it is"], ["no, no", "red"], ["yes, it is", "no, it is not"], ["1,000", "2,500", "12,000"], ["n/a", "w/o", "1/2"], ["red|blue", "so, so, la", "a", "b"], ["San Jose, California"]*3, ["San Jose, California", "San Diego, California", "Austin, Texas", "Texas"], ["Yes, it is red.", "No, it is blue.", "Yes, it is green."], ["$1,000", "$2,500", "$12,000,000"], ["1,00,000", "2,50,000", "12,00,000"], ["Jan 5, 2020", "Feb 6, 2021", "Mar 7, 2022"], ["black/white"]*3, ["2,5", "1,5", "3,5"], ["red, white, and blue"]*3, ["no, no, no", *"abcdefgh"], ["yes, it is", "yes", "yes, it is"], ["It is a very old dog, I think, as far as I can tell from here"]*5, ['["a, b"]', '["c, d"]', '["e, f"]'], [["a, b"], ["c, d"], ["e, f"]], ["a, b, c", "d", "e", "f"]])
def test_an_answer_may_hold_a_comma(folder, values): assert [a for a in people(opened(values))] == [read_human_answers(v) for v in values]

def test_a_doubtful_separator_is_said(folder):
    assert any("1 answer of people with a semicolon taken whole, such as 'a;b'" in note for note in opened(["a;b", "c", "d"]).notes)
    assert any("2 answers of people with a comma taken whole" in note for note in opened(["a, b", "c, d"]).notes)


@pytest.mark.parametrize("value, expected", [
    (7, 7), ("7", 7), (" 7 ", 7), (7., 7), ("7.0", 7), ("7.", 7), (np.int64(7), 7), (np.float32(7), 7), (np.uint8(7), 7), (Decimal(7), 7), (Scalar(7), 7), ("262,148,000", 262148000), (262148000001., 262148000001), ("007", 7), (None, 9), (float("nan"), 9), (pd.NA, 9), ("", 9),
    ("22MexNkBPpdZGX6sxbxVBH", "22MexNkBPpdZGX6sxbxVBH"), (" q7 ", "q7"), (np.str_("q7"), "q7"), ("1e3", "1e3"), ("5e7a", "5e7a"), ("q-1", "q-1"), ("número 1", "número 1"), ("1_000", "1_000"), ("1,23", "1,23"), ("true", "true")])
def test_ids(value, expected):
    found = read_question_id(value, 9)
    assert (found, type(found)) == (expected, type(expected))

@pytest.mark.parametrize("value, says", [
    ("2.62148E+11", "rounded by a spreadsheet"), ("2,62148E+11", "rounded by a spreadsheet"), ("2.62148e+11", "rounded"), ("3E+8", "rounded"), (1e17, "rounded"), (np.float32(2**60), "rounded"), (1.5, "not 1.5"), (-1, "not -1"), ("-7", "0 or more"), (True, "TRUE|true or false"), (np.bool_(True), "true or false"),
    (pd.Timestamp("2024-03-05"), "a date"), (datetime.date(2024, 3, 5), "a date"), (np.datetime64("2024-03-05", "ns"), "a date"), (b"q7", "bytes"), ([7], r"not \[7\]"), (float("inf"), "not inf"), (Weather.SNOW, "Enum"), ({"a": 1}, "not {'a': 1}"), ("q\udc00", "half a character"), ("q"*131_000, "131,000 characters, and no id is that long")])
def test_ids_that_are_none(value, says):
    assert re.search(says, refusal(read_question_id, value, 9)) and "leave it out" in refusal(read_question_id, value, 9)
    if value not in ("-7", "q\udc00", "q"*131_000): assert re.search(says, refusal(read_image_id, value))

def test_picture_names_are_ids_too(): assert [read_image_id(v) for v in ("42", 42., "42.0", np.int64(42), "000042", "COCO_1", Decimal(42))] == [42, 42, 42, 42, "000042", "COCO_1", 42]

def test_plain_values():
    assert [plain_value(v) for v in (np.float32(.1), np.datetime64("2024-03-05", "ns"), np.timedelta64(1, "s"), Series(1, 2), Array("a"), np.array([[1, 2]]))] == [.1, datetime.datetime(2024, 3, 5), datetime.timedelta(seconds=1), [1, 2], ["a"], [[1, 2]]]
    assert write_number(np.float64(3).item()) == "3" and not is_missing(np.zeros((4, 4, 3), np.uint8)) and not is_missing(np.array([np.nan]))


def test_what_is_left_out_is_counted_and_said_once(folder, caplog):
    with caplog.at_level(logging.WARNING, "beit3_colab.data"): data = opened([["rain"]*9 + [""], ["rain"]*9 + [None], "", None, float("nan"), ["", None]])
    assert data.notes == tuple(r.getMessage() for r in caplog.records) and len(data.notes) == 2
    assert data.notes[0].startswith("2 empty answers of people, of 2 questions (question_id 1, 2), kept as what nothing matches") and data.notes[1] == "4 of 6 questions have no answers of people and are not scored"
    assert people(data) == [("rain",)*9 + ("",)]*2 + [()]*4 and data.metric == "official"
    assert opened([["rain"]*10, ["snow"]*10]).notes == () == opened([None, None]).notes == opened(["rain", "yes, it is"]).notes # nothing to say
    assert any(note.startswith("2 answers of people nan") for note in opened(["nan", "nan", "rain"]).notes)

@pytest.mark.parametrize("column", ["ground_truth", "gt_answer", "GT", "label", "labels", "answer_text", "multiple_choice_answer", "direct_answers", "correct_answer", "Expected Answer"])
def test_a_column_that_looks_like_peoples_answers_is_told_of(folder, column):
    data = opened(["rain", "snow"], column)
    assert data.annotations is None and data.notes == (f"not read: column {column}; if it holds what people answered, call it answers to have it scored",)
    assert opened([None, float("nan")], column).notes == () # as test splits have it
    assert opened(["rain"], column, answers="snow").notes == ()

@pytest.mark.parametrize("columns", [["answer1", "answer2", "answer3"], ["answers.0", "answers.1", "answers.2"], ["answer_0", "answer_1", "answer_2"], ["Answer 1", "Answer 2", "Answer 3"], ["answers[0]", "answers[1]", "answers[2]"], ["answer", "answer.1", "answer.2"], ["answers/0", "answers/1", "answers/2"]])
def test_a_column_for_each_answer(folder, columns):
    path = write_csv(folder, ["image", "question", *columns], ["a.png", "Why?", "rain", "snow, ice", ""], ["a.png", "What?", "2.0", "3.0", "2.0"])
    for source in (path, pd.read_csv(path), pd.read_csv(path).to_dict("records")):
        data = open_questions(source)
        assert people(data) == [("rain", "snow, ice", ""), ("2", "3", "2")] and f"3 columns {columns[0]} … {columns[-1]}".lower() in data.notes[0].lower()

def test_ten_columns_stand_in_the_order_of_their_numbers(folder):
    names = [f"answer{i}" for i in (10, *range(1, 10))]
    assert people(open_questions([dict(image="a.png", question="Why?", **{name: name for name in names})])) == [tuple(f"answer{i}" for i in range(1, 11))]
    assert open_questions([dict(image="a.png", question="Why?", **{name: name for name in names})]).metric == "official"

@pytest.mark.parametrize("more", [dict(answer="B"), dict(correct_answer="rain"), dict(label=2)])
def test_choices_are_not_taken_for_people(folder, more):
    assert "may be choices or answers of people" in refusal(open_questions, [dict(image="a.png", question="Why?", answer1="rain", answer2="snow", **more)])

@pytest.mark.parametrize("row", [dict(Image="a.png", Question="Why?", ANSWERS="rain"), {" image ": "a.png", "QUESTION": "Why?", "Answer": "rain"}, {"image": "a.png", "question": "Why?", "human_answers": '["rain"]', "answer": "snow"}, {"image": "a.png", "question": "Why?", "questionId": 1, "imageID": "a.png", "answers": "rain"}])
def test_names_of_columns_in_other_spellings(folder, row):
    data = open_questions([row])
    assert people(data) == [("rain",)] and data.questions[0].image == "a.png" and data.notes == ()

@pytest.mark.parametrize("row, says", [
    (dict(image="a.png", question="Why?", anwsers="no"), "unknown field 'anwsers'; did you mean 'answers'"), (dict(imgae="a.png", question="Why?"), "did you mean 'image'"), (dict(image="a.png", questoin="Why?"), "did you mean 'question'"), (dict(img_id="COCO_val2014_000000000042", sent="Why?"), "rename 'sent' to question"),
    (dict(img_id="COCO_val2014_000000000042", question="Why?"), "rename 'img_id' to image if it is a file's name, else add a column image"), (dict(image_id=42, question="Why?", question_id=1), "split and data_path"), (dict(file_name="a.png", question="Why?"), "rename 'file_name' to image"), (dict(image="a.png", prompt="Why?"), "rename 'prompt' to question"),
    (dict(colour=1, question="Why?"), "there is no image; the columns are 'colour', 'question'")])
def test_columns_that_are_missing(folder, row, says):
    told = refusal(open_questions, [row]*1000)
    assert says in told and told.count(says) == 1 and "1,000 of the questions" in told and "and 998 more" in told # the cause once

@pytest.mark.parametrize("row, says", [
    (dict(Image="a.png", image="a.png", question="Why?"), "more than one column image; keep the one that is meant, of 'Image', 'image'"), (dict(image="a.png", question="Why?", answers="a", human_answers="b"), "more than one column answers"), ({"image": "a.png", "question": "Why?", "answer": "a", " Answer": "b"}, "more than one column answer;")])
def test_columns_that_are_doubled(folder, row, says):
    assert f"questions, row 2 has {says}" in refusal(open_questions, [dict(image="a.png", question="Why?"), *[row]*1000])

def test_human_answers_that_stand_in_several_columns_are_all_read(folder):
    assert people(open_questions([{"image": "a.png", "question": "Why?", "human_answers": "rain", "human_answers.1": "snow", "human_answers.2": "rain"}])) == [("rain", "snow", "rain")]

def test_values_that_hold_themselves_are_refused(folder):
    endless = []
    endless.append(endless)
    assert isinstance(plain_value(endless), list) and "answers must be texts, and there is [[" in refusal(open_questions, [dict(image="a.png", question="Why?", answers=endless)])
    assert plain_value({"a": np.array(["x"]), "b": (np.int64(3), [np.float32(.1)])}) == {"a": ["x"], "b": (3, [.1])}


# what a column shows

BLANKS = [["rain"]*9 + [""], ["rain"]*9 + [None], ["rain"]*9 + [float("nan")], json.dumps(["rain"]*9 + [""]), json.dumps(["rain"]*9 + [None]), str(["rain"]*9 + [float("nan")]), [dict(answer=a) for a in ["rain"]*9 + [""]], [dict(answer=a) for a in ["rain"]*9 + [None]]]

@pytest.mark.parametrize("value", BLANKS)
def test_a_blank_in_a_list_is_one_of_ten(value):
    assert read_answers(value) == read_answers(["rain"]*9 + [""]) and read_human_answers(value) == ("rain",)*9 + ("",) and read_answers(value).empty == 1

@pytest.mark.parametrize("value", [["", None], '["", ""]', [dict(answer="")]*10, [float("nan")]*10, "||", {"yes": None, "no": 0}])
def test_blanks_alone_are_no_answers(value): assert read_answers(value).texts == () and read_answers(value).empty == 0

def test_a_blank_scores_alike_through_every_door(folder):
    said = {i: ["rain"]*2 + ["snow"]*8 for i in range(1, 9)} | {8: ["rain"]*2 + ["snow"]*7 + [""]}
    records = [dict(question_id=i, image_id=i, question_type="what", answer_type="other", multiple_choice_answer="snow", answers=[dict(answer=a, answer_id=n) for n, a in enumerate(texts, 1)]) for i, texts in said.items()]
    results = [dict(question_id=i, answer="rain") for i in said]
    figures = [score(load_annotations(records), results)]
    columns = [{"image": "a.png", "question": "Why?", "question_id": i, **{f"answer{n}": a for n, a in enumerate(texts, 1)}} for i, texts in said.items()]
    pd.DataFrame(columns).to_csv("wide.csv", index=False)
    for source in ([dict(image="a.png", question="Why?", question_id=i, answers=texts) for i, texts in said.items()], columns, "wide.csv"):
        data = open_questions(source)
        assert data.metric == "official"
        figures.append(score(data.annotations, results))
    assert {(f.overall, f.metric) for f in figures} == {(figures[0].overall, "official")} and figures[0].overall == 60

@pytest.mark.parametrize("value, expected", [({"yes": 8, "no": None}, ("yes",)*8), ({"yes": 2., "no": float("nan"), "red": 1}, ("yes", "yes", "red")), (str({"yes": 2, "no": None}), ("yes", "yes")), ('{"yes": 1, "no": null}', ("yes",))])
def test_counts_that_a_table_filled_up(value, expected): assert read_human_answers(value) == expected

@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#BEZUG!", "#NV", "#¡VALOR!"])
def test_errors_of_spreadsheets(folder, error):
    for values in ([error, "red", "blue"], [f"red|{error}"]): assert f"the answer '{error}' is an error of a spreadsheet" in refusal(opened, values)
    assert people(opened([[error], "#1", "#winning!" + " yes"])) == [(error,), ("#1",), ("#winning! yes",)]

@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "\\N", "N/A", "null"])
def test_words_of_programs_are_said_once(folder, word):
    note, = opened([word, "red", word]).notes
    assert note.startswith(f"2 answers of people {word}, which programs write") and people(opened([word]))[0] == (word,)

def test_numbers_are_the_same_from_file_and_table(folder):
    frame = pd.DataFrame(dict(image="a.png", question=["How many?", "And now?", "Why?"], answers=[2., 3, "so"]))
    frame.to_csv("q.csv", index=False)
    assert people(open_questions(frame)) == people(open_questions("q.csv")) == [("2",), ("3",), ("so",)]

@pytest.mark.parametrize("values, expected", [(["'yes'", "'no'"], ["yes", "no"]), (["'it''s'", "'no'"], ["it's", "no"]), (["“yes”", "“no”"], ["yes", "no"]), (["'yes'", "no"], ["'yes'", "no"]), (["it's", "'twas"], ["it's", "'twas"])])
def test_quotes_around_every_answer(folder, values, expected): assert [a for a, in people(opened(values))] == expected

@pytest.mark.parametrize("values, says", [(["[red blue]", "[red red]"], "lists whose quotes are lost"), (["b'yes'", "no"], "text made of bytes"), (['b"yes"'], "decode"), (["{red,blue}", "{red}"], "begin like a list"), (["dict_keys(['a'"], "begin like a list"), (["[b'yes', b'no']"], "bytes")])
def test_lists_that_lost_something(folder, values, says): assert says in refusal(opened, values)

@pytest.mark.parametrize("values, says", [(["[two dogs]", "cat", "cow"], "in brackets, such as '[two dogs]'"), (["'yes'", "no"], "with quotes around, such as 'yes'"), (["2,5", "3,5", "red"], "write 2.5"), (["yes<br>no", "red", "blue"], "with a <br> taken whole"), (["no, no, no", *"abcdef"], "1 answer of people with a comma"), (["San Jose, California"]*3, "3 answers of people with a comma"), (["a|b", "c;d", "e"], "1 answer of people with a semicolon"), (["red, white", "red, blue", "red", "white", "blue"], "2 answers of people with a comma")])
def test_doubtful_ones_are_said(folder, values, says): assert any(says in note for note in opened(values).notes), opened(values).notes

def test_official_decimal_points_need_no_note(folder): assert opened(["2.5", "2,5", "red"]).notes == () == opened(["1,000", "red"]).notes

@pytest.mark.parametrize("cell, expected", [("'yes', 'no'", ("yes", "no")), ('"yes","no, so"', ("yes", "no, so")), ("['it''s', 'b']", ("it's", "b")), ('["say ""no""", "b"]', ('say "no"', "b")), ("c(1, 2)", ("1", "2")), ("'yes' or 'no'", ("'yes' or 'no'",))])
def test_lists_as_other_languages_write_them(cell, expected): assert read_human_answers(cell) == expected

def test_a_large_column_is_looked_at_quickly_and_whole(folder):
    values = [f"word{i}, word{i + 1}" for i in range(3000)] + [f"word{i}" for i in range(3001)]
    found = settle_answers({i: read_answers(value) for i, value in enumerate(values)})
    assert len(found[0]) == 6001 and not found[1] and "3,000 answers of people with a comma" in found[2][0]

@pytest.mark.parametrize("value, says", [("TRUE", "TRUE or FALSE"), ("#REF!", "an error of a spreadsheet")])
def test_a_column_for_each_answer_is_looked_at_too(folder, value, says):
    path = write_csv(folder, ["image", "question", "answer1", "answer2"], ["a.png", "Why?", "rain", value], ["a.png", "What?", "snow", "snow"])
    for source in (path, pd.read_csv(path)): assert says in refusal(open_questions, source)
