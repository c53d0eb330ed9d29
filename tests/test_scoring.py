"Official VQA accuracy equal to the official evaluator's, honest intervals, and a submission check that survives any content."
import gzip
import json
import math
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.score import RunningScore, score, soft_score
from beit3_colab.scoring.results import check_submission
from beit3_colab.scoring.rules import find_rule, METRICS, normalize_answer, RULES, vqa_accuracy
from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.data.vqa_files import load_annotations

GOLDEN = json.loads(gzip.decompress((Path(__file__).parent/"golden"/"vqa_scoring.json.gz").read_bytes()))
EXPECTED = GOLDEN["expected"]
ANNOTATIONS, RESULTS = load_annotations(GOLDEN["annotations"]), GOLDEN["results"]
PREDICTED = {r["question_id"]: r["answer"] for r in RESULTS}


@pytest.fixture(scope="module")
def golden(): return score(ANNOTATIONS, RESULTS)

def annotation(question_id, answers=10*("cat",), image_id=None, answer_type="other"):
    return Annotation(question_id, question_id if image_id is None else image_id, "what", answer_type, "cat", tuple(answers))

def questions(*ids): return [{"question_id": i, "image_id": 1, "question": "What is it?"} for i in ids]


# official accuracy

def test_every_question_equal_to_official(golden):
    assert golden.per_question == {int(q): a for q, a in EXPECTED["per_question"].items()} and len(golden.per_question) == 600

def test_totals_equal_to_official(golden):
    assert golden.overall == EXPECTED["accuracy"]["overall"]
    assert golden.per_answer_type == EXPECTED["accuracy"]["perAnswerType"]
    assert golden.per_question_type == EXPECTED["accuracy"]["perQuestionType"]

def test_single_answers_equal_to_official():
    for q, a in ANNOTATIONS.items(): assert vqa_accuracy(PREDICTED[q], a.answers) == EXPECTED["per_question"][str(q)]

@pytest.mark.parametrize("form", ["path", "parsed", "list", "objects", "reversed", "mapping", "json mapping"])
def test_any_form_and_order(golden, form, tmp_path):
    annotations, results = GOLDEN["annotations"], RESULTS
    if form == "path":
        for name, content in [("annotations", {"annotations": annotations}), ("results", results)]: (tmp_path/name).write_text(json.dumps(content))
        annotations, results = tmp_path/"annotations", str(tmp_path/"results")
    elif form == "parsed": annotations = {"annotations": annotations}
    elif form == "objects": annotations = list(ANNOTATIONS.values())
    elif form == "reversed": annotations, results = annotations[::-1], results[::-1]
    elif form == "mapping": results = PREDICTED
    elif form == "json mapping": results = json.loads(json.dumps(PREDICTED))
    again = score(annotations, results)
    assert (again.overall, again.per_answer_type, again.per_question_type, again.per_question) == (
        golden.overall, golden.per_answer_type, golden.per_question_type, golden.per_question)

def test_order_of_people_does_not_matter():
    rng = random.Random(0)
    for q, a in list(ANNOTATIONS.items())[:200]:
        assert vqa_accuracy(PREDICTED[q], rng.sample(a.answers, 10)) == vqa_accuracy(PREDICTED[q], a.answers)

@pytest.mark.parametrize("matches,percent", list(enumerate([0, 30, 60, 90] + 7*[100])))
def test_leave_one_out(matches, percent): assert vqa_accuracy("cat", matches*["cat"] + (10 - matches)*["dog"]) == percent

@pytest.mark.parametrize("text,normalised", [
    ("Two Dogs.", "2 dogs"), ("dont", "don't"), ("couldn'tve", "couldn't've"), ("somebody'd", "somebodyd"), ("yall'd've", "y'all'd've"), ("shed", "shed"),
    ("lets", "lets"), ("10,000", "10000"), ("3.5", "3.5"), ("3.", "3"), (".5", ".5"), ("x" + 40*"." + "y", "x" + 8*"." + "y"),
    ("a-b", "b"), ("c-d", "c d"), ("c-d -e", "cd e"), ("c-d e-f", "c d e f"), ("1,2 c-d", "12 cd"), ("the", ""), ("", ""), (" \t\n ", ""),
    ("\nred-ish", "red ish"), ("I'm", "i'm"), ("im", "im"), ("None", "0"), ("ten", "10"), ("eleven", "eleven"), ("É?", "é")])
def test_normalisation(text, normalised): assert normalize_answer(text) == normalised

@pytest.mark.parametrize("prediction,percent", [("Red", 0), ("red.", 0), (" red\n", 100), ("red", 100)])
def test_unanimous_answers_are_compared_to_the_letter(prediction, percent): assert vqa_accuracy(prediction, 10*["red"]) == percent

def test_answers_differing_only_in_blanks_are_unanimous(): assert vqa_accuracy("Red", 9*["red"] + ["red "]) == 0

@pytest.mark.parametrize("n,percent", [(1, 0), (2, 33.33), (3, 66.67), (4, 100)])
def test_fewer_than_ten_people(n, percent): assert vqa_accuracy("cat", n*["cat"]) == percent


# bad input of score

@pytest.mark.parametrize("results,says", [
    ([], "results are empty"), ({}, "results are empty"), (None, "NoneType"), (5, "int"), (["cat"], "result 0 is 'cat'"), ([{"answer": "cat"}], "result 0"),
    ([{"question_id": 1}], "result 0"), ([{"question_id": "one", "answer": "cat"}], "'one' is str, not an integer, as the annotations have: 1, 2"), ([{"question_id": True, "answer": "cat"}], "is bool"),
    ([{"question_id": 1.5, "answer": "cat"}], "is float"), ([{"question_id": None, "answer": "cat"}], "is NoneType"),
    ([{"question_id": [1], "answer": "cat"}], "is list"), ([{"question_id": 1, "answer": 3.5}], "question 1 is 3.5, not a text"),
    ([{"question_id": 1, "answer": float("nan")}], "1 result has no answer"), ({1: None}, "1 result has no answer"), ({"x": "cat"}, "'x' is str"),
    ({"9"*5000: "cat"}, "is str"), ([{"question_id": 1, "answer": "cat"}]*2, r"1 question more than once \(1\)"), ({"1": "cat", 1: "cat"}, "more than once"),
    ({1: "cat"}, "1 of 2 questions have no answer: 2"), ({7: "cat", 8: "", 9: "", 10: "", 1: ""}, "1 of 5 results have annotations; not annotated: 7, 8, 9, …")])
def test_bad_results(results, says):
    with pytest.raises(UserError, match=says): score([annotation(1), annotation(2)], results)

@pytest.mark.parametrize("annotations,says", [([], "0 annotations"), ({}, "annotations"), ([annotation(1, [])], "question 1 has no answers"),
                                              ([annotation(1), annotation(1)], "repeats question_id 1"), (RESULTS, "results"), ([None], "NoneType")])
def test_bad_annotations(annotations, says):
    with pytest.raises(UserError, match=says): score(annotations, {1: "cat"})

@pytest.mark.parametrize("content", ["", "<html>", '[{"question_id": 1', "["*100_000, "[" + "9"*5000 + "]"])
def test_results_file_that_is_not_json(content, tmp_path):
    (tmp_path/"r.json").write_text(content)
    for read in (lambda path: score([annotation(1)], path), lambda path: check_submission(path, questions(1))):
        with pytest.raises(UserError, match="r.json"): read(tmp_path/"r.json")

def test_missing_results_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"): score([annotation(1)], tmp_path/"none.json")

def test_partial_scores_the_answered_only(golden):
    some = RESULTS[:100]
    part = score(ANNOTATIONS, some, partial=True)
    assert part.per_question == {r["question_id"]: golden.per_question[r["question_id"]] for r in some}
    assert part.overall == pytest.approx(sum(part.per_question.values())/100, abs=0.005)
    with pytest.raises(UserError, match="500 of 600 questions have no answer"): score(ANNOTATIONS, some)
    with pytest.raises(UserError, match="0 of 1 result have annotations"): score(ANNOTATIONS, {-1: "cat"}, partial=True)

def test_answer_types_of_ones_own_and_text_image_ids():
    s = score([annotation(1, image_id="a.png", answer_type="material"), annotation(2, image_id=7)], {1: "cat", 2: "dog"})
    assert s.per_answer_type == {"material": 100, "other": 0} and s.num_images == 2
    assert [line.split()[0] for line in str(s).splitlines()[1:4]] == ["overall", "other", "material"]


# intervals

def test_interval_is_reproducible_and_around_the_figure(golden):
    assert score(ANNOTATIONS, RESULTS).interval == golden.interval != score(ANNOTATIONS, RESULTS, seed=1).interval
    for value, (low, high) in [(golden.overall, golden.interval), *((golden.per_answer_type[t], golden.intervals[t]) for t in golden.intervals)]:
        assert 0 <= low < value < high <= 100 and high - low < 25
    assert sum(golden.counts.values()) == golden.num_questions == 600 and golden.num_images == 97

def test_too_few_resamples():
    with pytest.raises(UserError, match="resamples=10"): score(ANNOTATIONS, RESULTS, resamples=10)

def test_one_image_has_no_interval():
    s = score([annotation(1, image_id=5), annotation(2, image_id=5)], {1: "cat", 2: "dog"})
    assert s.overall == 50 and s.interval is None and s.intervals == {"other": None} and "no interval" in str(s)

@pytest.mark.parametrize("answer,interval", [("cat", (88.65, 100.0)), ("dog", (0.0, 11.35))])
def test_unanimous_images_get_wilsons_bound(answer, interval):
    s = score([annotation(i) for i in range(30)], dict.fromkeys(range(30), answer))
    assert s.interval == s.intervals["other"] == interval

def survey(rng, images=120, per_image=6):
    "Annotations and answers where an image decides most of its questions' outcome; 60 % are right in the long run."
    chance = rng.beta(0.9, 0.6, size=images).repeat(per_image)
    right = rng.random(images*per_image) < chance
    return [annotation(i, image_id=i//per_image) for i in range(len(right))], {i: "cat" if r else "dog" for i, r in enumerate(right)}

def test_coverage():
    rng, hits, running_hits, naive_hits = np.random.default_rng(0), 0, 0, 0
    for _ in range(200):
        annotations, answers = survey(rng)
        s, running = score(annotations, answers, resamples=400), RunningScore()
        for a in annotations: running.add(a.image_id, a.answer_type, s.per_question[a.question_id])
        reach = 1.96*math.sqrt(s.overall*(100 - s.overall)/s.num_questions)
        hits += s.interval[0] <= 60 <= s.interval[1]
        running_hits += running.interval[0] <= 60 <= running.interval[1]
        naive_hits += abs(s.overall - 60) <= reach
    assert 180 <= hits <= 199 and 180 <= running_hits <= 199 # 95 % of 200 is 190
    assert naive_hits < 160


# running score

def test_running_score_equals_score(golden):
    running = RunningScore()
    assert math.isnan(running.overall) and running.interval is None and str(running) == "accuracy: no answer yet"
    for q, a in ANNOTATIONS.items(): running.add(a.image_id, a.answer_type, golden.per_question[q])
    assert (running.overall, running.per_answer_type) == (golden.overall, golden.per_answer_type)
    assert (running.num_questions, running.num_images) == (600, 97)
    assert running.interval == pytest.approx(golden.interval, abs=1)
    for t, interval in running.intervals.items(): assert interval == pytest.approx(golden.intervals[t], abs=1.5)

def test_running_interval_equals_the_formula(golden):
    running, images = RunningScore(), defaultdict(list)
    for q, a in random.Random(1).sample(list(ANNOTATIONS.items()), 250): # an image's questions come far apart
        running.add(a.image_id, a.answer_type, golden.per_question[q])
        images[a.image_id].append(golden.per_question[q])
    mean = sum(map(sum, images.values()))/250
    variance = sum((sum(v) - mean*len(v))**2 for v in images.values())*len(images)/(len(images) - 1)/250**2
    assert running.interval == pytest.approx((mean - 1.96*variance**.5, mean + 1.96*variance**.5), abs=0.006)

def test_running_score_of_unanimous_answers():
    running = RunningScore()
    for image in range(30):
        assert running.interval is None or running.interval[0] < 100
        running.add(image, "other", 100.0)
    assert running.interval == (88.65, 100.0)


# BEiT-3 soft score

@pytest.mark.parametrize("matches,percent", list(enumerate([0, 30, 60, 90, 100, 100])))
def test_soft_score(matches, percent):
    s = soft_score([annotation(1, matches*["cat"] + (10 - matches)*["dog"])], {1: "cat"})
    assert s.soft_score == percent and str(s).startswith("BEiT-3 soft score") and "accuracy" not in str(s).replace("not VQA accuracy", "")

def test_soft_score_is_another_figure_than_accuracy():
    a = [annotation(1, ["Cat."] + 3*["cat"] + 6*["dog"])]
    assert (soft_score(a, {1: "cat"}).soft_score, score(a, {1: "cat"}).overall) == (90, 100)
    with pytest.raises(UserError, match="no answer"): soft_score(a + [annotation(2)], {1: "cat"})


# check_submission

GOOD = [{"question_id": i, "answer": "yes"} for i in (1, 2, 3)]

@pytest.mark.parametrize("results,problems", [
    (GOOD, []),
    (GOOD[::-1], []),
    (GOOD[:2], ["1 question of 3 without an answer: 3"]),
    (GOOD + [{"question_id": 9, "answer": "no"}], ["1 question_id that was not asked: 9"]),
    (GOOD + GOOD[1:], ["2 question_ids more than once: 2, 3"]),
    ([*GOOD[:2], {"question_id": "3", "answer": "no"}], ["question_id that is str instead of int: '3'", "without an answer: 3"]),
    ([*GOOD[1:], {"question_id": True, "answer": "no"}], ["question_id that is bool instead of int: True", "without an answer: 1"]),
    ([*GOOD[1:], {"question_id": 1.0, "answer": "no"}], ["question_id that is float instead of int: 1.0", "without an answer: 1"]),
    ([*GOOD[1:], {"question_id": 1, "answer": 4}], ["answer that is int instead of str: 4"]),
    ([*GOOD[1:], {"question_id": 1, "answer": float("nan")}], ["answer that is float instead of str: nan"]),
    ([*GOOD[1:], {"question_id": 1, "answer": None}], ["answer that is NoneType instead of str: None"]),
    ([*GOOD[1:], {"question_id": 1}], ["1 entry with no answer"]),
    ([*GOOD, {"answer": "no"}], ["1 entry with no question_id"]),
    ([*GOOD, None, [1, "no"]], ["2 entries are not an object with question_id and answer: None, [1, 'no']"]),
    ({1: "yes", 2: "no", 3: "2"}, ["dict instead of a list", "3 questions of 3 without an answer: 1, 2, 3"]),
    ([], ["3 questions of 3 without an answer"]),
    ([{"question_id": 77, "answer": "yes"}], ["3 questions of 3", "questions of another split?"])])
def test_submission_problems(results, problems):
    check = check_submission(results, questions(1, 2, 3))
    assert len(check.problems) == len(problems) and check.ok == (not problems)
    for found, expected in zip(check.problems, problems): assert expected in found and found in str(check)
    if problems:
        with pytest.raises(UserError): check.raise_if_bad()
    else: assert check.raise_if_bad() is check

def test_submission_ids():
    check = check_submission(GOOD[1:] + GOOD[2:] + [{"question_id": 8, "answer": ""}], questions(5, 1, 2, 3))
    assert (check.missing, check.extra, check.duplicates) == ((5, 1), (8,), (3,))
    assert (check.num_results, check.num_questions) == (4, 4)

@pytest.mark.parametrize("answer", ["", " \n"])
def test_empty_answer_is_a_warning(answer): # one of BEiT-3's labels is empty
    check = check_submission([{"question_id": 1, "answer": answer}, *GOOD[1:]], questions(1, 2, 3))
    assert check.ok and check.warnings == ["1 answer is empty (question_id 1)."] and check.warnings[0] in str(check) and check.warnings[0] in check._repr_html_()

def test_other_keys_are_a_warning(): # the official loader ignores them
    check = check_submission([*GOOD[1:], {"question_id": 1, "answer": "no", "score": 0.5}], questions(1, 2, 3))
    assert check.ok and check.warnings == ["1 entry with a key other than question_id and answer: 'score'; the official loader ignores these."]

LOOP = []; LOOP.append(LOOP)

@pytest.mark.parametrize("results", [None, 0, True, float("nan"), b"[]", {}, set(), object(), [object()], [[]], [[[[[[[[[1]]]]]]]]], LOOP, [LOOP, {"question_id": LOOP, "answer": LOOP}],
    [{}], [{None: None, 3: 4, "question_id": {}, "answer": []}], [{"question_id": 10**6000, "answer": "x"}], [{"question_id": -1, "answer": "\ud800<b>"}],
    [{"question_id": 1, "answer": 10**6000}], [float("inf")], ["x"*10**6], [{"x"*10**6: 1}]], ids=range(21))
def test_any_content_is_described(results):
    check = check_submission(results, questions(1, 2))
    assert not check.ok and len(str(check)) < 1000 and "<b>1" not in check._repr_html_()
    (str(check) + check._repr_html_()).encode() # can be printed

def test_submission_from_files(tmp_path):
    (tmp_path/"r.json").write_text(json.dumps(GOOD).replace('"yes"', "NaN", 1))
    (tmp_path/"q.json").write_text(json.dumps({"questions": questions(1, 2, 3)}))
    assert check_submission(tmp_path/"r.json", tmp_path/"q.json").problems == ["1 entry with an answer that is float instead of str: nan."]
    with pytest.raises(UserError, match="0 questions"): check_submission(GOOD, [])

@pytest.mark.parametrize("num,says", [(447_793, "test-dev and test-standard phases"), (107_394, "all 447,793"), (1000, "")])
def test_evalai_phase(num, says):
    check = check_submission([{"question_id": i, "answer": "yes"} for i in range(num)], questions(*range(num)))
    assert check.ok and says in check.note and bool(check.note) == bool(says)

def test_tables_are_html_safe():
    s = score([annotation(1, answer_type="<script>"), annotation(2)], {1: "cat", 2: "cat"})
    assert "<script>" not in s._repr_html_() and "&lt;script&gt;" in s._repr_html_()
    assert "<script>" not in check_submission([{"question_id": 1, "answer": "x", "<script>": 1}], questions(1))._repr_html_()


# ids that are texts, as A-OKVQA's and GQA's

NAMES = {q: f"{q:08}" if q % 2 else f"n{q}x" for q in ANNOTATIONS} # some consist of digits, with zeros before them
NAMED = [replace(a, question_id=NAMES[q], image_id=f"photo {a.image_id}") for q, a in ANNOTATIONS.items()]
NAMED_ANSWERS = {NAMES[q]: answer for q, answer in PREDICTED.items()}

@pytest.mark.parametrize("form", ["mapping", "json mapping", "list", "path"])
def test_text_ids_give_the_same_figures(golden, form, tmp_path):
    as_list = [dict(question_id=q, answer=a) for q, a in NAMED_ANSWERS.items()]
    (tmp_path/"r.json").write_text(json.dumps(as_list))
    results = {"mapping": NAMED_ANSWERS, "json mapping": json.loads(json.dumps(NAMED_ANSWERS)), "list": as_list, "path": tmp_path/"r.json"}[form]
    named = score(NAMED, results)
    assert named.per_question == {NAMES[q]: a for q, a in golden.per_question.items()}
    assert replace(named, per_question={}) == replace(golden, per_question={})
    assert soft_score(NAMED, results) == soft_score(ANNOTATIONS, RESULTS)

def test_running_score_of_text_ids(golden):
    by_number, by_name = RunningScore(), RunningScore()
    for a, n in zip(ANNOTATIONS.values(), NAMED):
        by_number.add(a.image_id, a.answer_type, golden.per_question[a.question_id])
        by_name.add(n.image_id, n.answer_type, golden.per_question[a.question_id])
    assert str(by_name) == str(by_number) and by_name.num_images == 97

@pytest.mark.parametrize("results,says", [
    ({1: "cat"}, "question_id 1 is int, not a text"), ([{"question_id": True, "answer": "cat"}], "True is bool, not a text"),
    ([{"question_id": 1.0, "answer": "cat"}], "1.0 is float, not a text"), ([{"question_id": None, "answer": "cat"}], "None is NoneType, not a text"),
    ({"01": 3.5}, "'01' is 3.5, not a text"), ([{"question_id": "01", "answer": "cat"}]*2, r"more than once \('01'\)"),
    ({"01": "cat"}, "1 of 2 questions have no answer: 'n2'"), ({"1": "cat", "01": "cat", "n2": "cat"}, "not annotated: '1'")])
def test_bad_results_where_ids_are_texts(results, says):
    with pytest.raises(UserError, match=says): score([annotation("01"), annotation("n2")], results)

def test_ids_of_both_kinds():
    annotations = [annotation(1), annotation("01"), annotation("n2")]
    s = score(annotations, {"1": "cat", "01": "dog", "n2": "cat"}) # as JSON gives it
    assert s.per_question == {1: 100, "01": 0, "n2": 100}
    with pytest.raises(UserError, match="True is bool, not an integer or a text"): score(annotations, [{"question_id": True, "answer": "cat"}])

@pytest.mark.parametrize("results,problems", [
    ([{"question_id": i, "answer": "yes"} for i in ("01", "n2")], []),
    ([{"question_id": 1, "answer": "yes"}, {"question_id": "n2", "answer": "yes"}], ["question_id that is int instead of str: 1", "without an answer: '01'"]),
    ([{"question_id": i, "answer": "yes"} for i in ("01", "n2", "n2", "n3")], ["more than once: 'n2'", "was not asked: 'n3'"])])
def test_submission_of_text_ids(results, problems):
    check = check_submission(results, [Question("01", "a.png", "What is it?"), Question("n2", "a.png", "What is it?")])
    assert len(check.problems) == len(problems)
    for found, expected in zip(check.problems, problems): assert expected in found

# rules

def test_every_rule_has_its_words_in_one_table():
    assert {name: (rule.title, rule.short_name) for name, rule in ((n, RULES[n]) for n in METRICS)} == {
        "official": ("Official VQA accuracy", "accuracy"),
        "exact": ("Exact match with one of the answers given (not official VQA accuracy)", "exact match")}
    assert METRICS == {name: rule.title for name, rule in ((n, RULES[n]) for n in METRICS)} and all(find_rule(name) is RULES[name] for name in METRICS)

@pytest.mark.parametrize("metric", ["bleu", "", "Official VQA accuracy"])
def test_unknown_rule(metric):
    with pytest.raises(UserError, match=f"metric must be 'official' or 'exact', not {metric!r}"): score([annotation(1)], {1: "cat"}, metric=metric)


def test_intervals_are_found_when_they_are_first_asked_for(monkeypatch):
    import copy, dataclasses, pickle
    import beit3_colab.scoring.score as module
    calls, whole = [], module.bootstrap_intervals
    monkeypatch.setattr(module, "bootstrap_intervals", lambda *given: calls.append(given) or whole(*given))
    notes = {i: module.Annotation(i, i, "is", "yes/no", "yes", ("yes",)*10) for i in range(4)}
    said = {0: "yes", 1: "no", 2: "yes", 3: "yes"}
    first = module.score(notes, said)
    named = first.told(label="a label")
    assert first.overall == named["overall"] == 75 and not calls
    assert named.interval == first.interval and named.intervals.keys() == {"yes/no"} and None not in first.intervals
    read = len(calls)
    again = module.score(notes, said)
    for other in (again, copy.copy(again), copy.deepcopy(again), pickle.loads(pickle.dumps(module.score(notes, said)))):
        assert other == first and repr(other) == repr(first) and dataclasses.asdict(other) == dataclasses.asdict(first)
    assert dataclasses.replace(module.score(notes, said), label="a label") == named != first
    assert read and not hasattr(first, "no_such_field")
