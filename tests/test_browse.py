"The browser without a front end: values are set and buttons clicked as a person would."
import inspect
from dataclasses import fields, replace

import numpy as np
import pytest

from beit3_colab.data.dataset import Annotation
from beit3_colab.evaluation import evaluate
from beit3_colab.look.cards import people_html
from beit3_colab.look.compared import ComparedFilter
from beit3_colab.look.run import Comparison, ManyComparison, Run, compare, open_run
from beit3_colab.look.search import Filter
from beit3_colab.look.widgets import STYLE
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.scoring.rules import MARKS
from hostile import every_html

NASTY = '"><script>a()</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def run(tmp_path_factory): return evaluate(limit=60, device="cpu", output_dir=tmp_path_factory.mktemp("run"), progress=False)


def luminance(color):
    channels = [int(color[i:i + 2], 16)/255 for i in (1, 3, 5)]
    return np.dot([.2126, .7152, .0722], [c/12.92 if c <= .03928 else ((c + .055)/1.055)**2.4 for c in channels])

def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + .05)/(low + .05)


@pytest.mark.parametrize("given, says", [
    (dict(min_confidence=.9, max_confidence=.1), "from min_confidence=0.9 to max_confidence=0.1: swap the two"), (dict(image="x"), "no answer is about image 'x'.*are such as"),
    (dict(words="(("), "nothing in \\(\\( can be searched"), (dict(words="-"), "can be searched"), (dict(words="|"), "can be searched")])
def test_what_can_fit_nothing_is_refused_in_code(run, given, says):
    with pytest.raises(UserError, match=says): run.browse(**given)
    with pytest.raises(UserError, match=says): compare(run, run).browse(**given)
    run.browse(min_confidence=.5, max_confidence=.5), run.browse(image=str(run.questions[0].image_id)), run.browse(image=run.questions[0].image_id)

def test_help_names_every_filter_and_each_is_spelled_out_in_one_place():
    for kind, filters in ((Run, Filter), (Comparison, ComparedFilter), (ManyComparison, ComparedFilter)):
        named = inspect.signature(kind.browse).parameters
        assert {field.name for field in fields(filters)} | {"sort", "per_page", "vqa"} <= set(named)
        assert all(f"\n    {name}: " in inspect.getdoc(kind.browse) for name in named if name not in ("self", "others"))
    assert Comparison.browse is ManyComparison.browse

@pytest.mark.parametrize("given, says", [
    (dict(answer=["yes"]), r"answer must be one text, not \['yes'\]"), (dict(words=("red",)), "words must be one text"), (dict(image=3.5), "image must be one text, not 3.5"),
    (dict(correct_answer=True), "correct_answer must be one text, not True"), (dict(tag=["a"]), "tag must be one text"), (dict(question_type=["how many"]), "question_type must be one text"),
    (dict(people=7), "people must be one text"), (dict(answer=float("nan")), "answer must be one text"), (dict(foo=1), "'foo' is no filter; use .*words"), (dict(wrds="a"), "did you mean 'words'")])
def test_filters_of_a_wrong_kind_are_refused(run, given, says):
    for browsed in (run, compare(run, run), compare({"a": run, "b": run, "c": run})):
        with pytest.raises(UserError, match=says): browsed.browse(**given)

def test_none_asks_for_nothing_and_a_number_is_its_text(run):
    whole, image = len(run.answers), run.questions[0].image_id
    nothing = dict.fromkeys(("words", "answer", "correct_answer", "image", "answer_type", "question_type", "people", "tag"))
    for browsed in (run, compare(run, run)):
        assert len(browsed.browse(**nothing).rows) == whole
        one = [browsed.browse(image=value).rows.tolist() for value in (image, float(image), str(image), np.int64(image))]
        assert 0 < len(one[0]) < whole and one.count(one[0]) == 4
    assert len(run.browse(unreadable=None, min_confidence=None, max_confidence=None, correctness=None).rows) == whole
    assert len(run.browse(unreadable=np.True_).rows) == 0
    for value in ("yes", 1, []):
        with pytest.raises(UserError, match="unreadable must be True or False"): run.browse(unreadable=value)

def test_questions_of_a_comparison_are_given_where_it_is_made(run):
    ids = [q.question_id for q in run.questions[:5]]
    with pytest.raises(UserError, match=r"compare\(…, questions=…\).browse\(\)"): compare(run, run).browse(questions=ids)
    assert len(compare(run, run, questions=ids).browse().rows) == 5

def test_in_the_page_marks_alone_are_told_and_what_is_shown_stays(run):
    for browser in (run.browse(words="is"), compare(run, run).browse(words="is")):
        before = browser.rows.tolist()
        browser.controls["words"].value = "(("
        assert "nothing in (( can be searched" in browser.status.value + getattr(getattr(browser.filters, "hint", None), "value", "")
        assert browser.rows.tolist() == before

def test_a_picture_whose_answers_are_still_to_come_can_be_asked_for(run):
    from beit3_colab.run.answered import part_of
    part = part_of(run, [q.question_id for q in run.questions])
    part.__dict__["records"] = {q.question_id: run.records[q.question_id] for q in run.questions[:4]}
    last = run.questions[-1].image_id
    assert last != run.questions[0].image_id and len(part.browse(image=last).rows) == 0
    with pytest.raises(UserError, match="no answer is about image"): part.browse(image=last, questions=[q.question_id for q in run.questions[:4]])

def test_filters_agree_with_the_table(run):
    browser, a = run.browse(), run.answers
    for name, value, expected in (("correctness", "wrong", a["accuracy"] == 0), ("answer_type", "number", a["answer_type"] == "number"), ("answer", "YES", a["answer"] == "yes"),
                                  ("min_confidence", .9, a["confidence"] >= .9), ("image", "2", a["image_id"] == 2), ("question_type", a["question_type"][0], a["question_type"] == a["question_type"][0])):
        browser.controls["reset"].click()
        browser.controls[name].value = value
        assert browser.index.table["question_id"].iloc[np.sort(browser.rows)].tolist() == a[expected]["question_id"].tolist(), name
        assert browser.status.value == ""
    browser.controls["reset"].click()
    for name in ("answer_type", "question_type", "correctness"): assert browser.controls[name].label == "all" # a menu without a choice would look broken

def test_reopened_run_has_no_model(run):
    browser = open_run(run.folder).browse(correctness="right")
    browser.grid.cards.children[0].children[1].click()
    assert "load_model" in "".join(every_html(browser.widget)) and "ask-text" not in browser.controls and browser.status.value == ""

def test_hostile_text_and_missing_pictures(run):
    answers = run.answers.assign(question=NASTY, answer=NASTY, correct_answer=NASTY, accuracy=30., answer_type=NASTY, image_error=NASTY)
    odd = Run(run.folder, run.questions, run.annotations, None)
    odd.__dict__["short_answers"] = answers.drop(columns=["calibrated", "top5"])
    odd.__dict__["records"] = {i: dict(record, answers=[NASTY], confidences=[.5]) for i, record in run.records.items()}
    browser = odd.browse()
    browser.grid.cards.children[0].children[1].click()
    shown = "".join(every_html(browser.widget)) + browser.saved_view()
    assert "&lt;script&gt;" in shown and "<script" not in shown and "<img src=x" not in shown and "no picture" in shown

def test_without_human_answers(run):
    odd = Run(run.folder, run.questions, None, run.data)
    browser = odd.browse()
    assert browser.controls["correctness"].layout.display == "none" and "accuracy" not in browser.result.value
    browser.grid.cards.children[0].children[1].click()
    assert browser.detail.people.value == "" and browser.status.value == ""

def test_refresh_shows_new_answers_and_keeps_the_rest(run):
    growing = Run(run.folder, run.questions, run.annotations, run.data)
    records = growing.records
    growing.__dict__["records"] = dict(list(records.items())[:20])
    growing.refresh = lambda: AnsweredQuestions.refresh(growing)
    browser = growing.browse()
    browser.controls["next"].click()
    assert len(browser.rows) == 20 and browser.controls["refresh"].layout.display is None
    browser.controls["refresh"].click()
    assert len(browser.rows) == len(run.questions) and browser.grid.page == 2 and browser.controls["refresh"].layout.display == "none"

def test_an_open_answer_stays_while_new_ones_come(run):
    growing = Run(run.folder, run.questions, run.annotations, run.data)
    growing.__dict__["records"] = dict(list(run.records.items())[:20])
    growing.refresh = lambda: AnsweredQuestions.refresh(growing)
    browser = growing.browse(sort="order")
    shown = growing.answers["question_id"].tolist()[5]
    browser.open(shown)
    before = browser.detail.heading.value
    browser.refresh()
    place = run.answers["question_id"].tolist().index(shown) + 1
    assert browser.question_id == shown and browser.detail.heading.value == before
    assert f">{place} of {len(run.questions)}<" in browser.detail.navigation.position.value
    browser.filters.controls["words"].value = "no such word"
    browser.controls["next-answer"].click() # nothing follows where nothing fits
    assert browser.question_id == shown and browser.status.value == ""

def with_text_ids(run):
    "The same run, as A-OKVQA and GQA would name its questions and pictures."
    questions = [replace(q, question_id=f"q/{q.question_id}", image_id=f"n{q.image_id}") for q in run.questions]
    annotations = {f"q/{i}": replace(a, question_id=f"q/{i}", image_id=f"n{a.image_id}") for i, a in run.annotations.items()}
    named = Run(run.folder, questions, annotations, run.data)
    named.__dict__["records"] = {f"q/{i}": dict(r, question_id=f"q/{i}") for i, r in run.records.items()}
    return named

def test_ids_may_be_texts(run):
    named = with_text_ids(run)
    ids = named.answers["question_id"].tolist()
    browser = named.browse(questions=ids[:40], image=named.questions[0].image_id)
    assert browser.index.table["image_id"].iloc[browser.rows].unique().tolist() == [named.questions[0].image_id]
    browser.controls["reset"].click()
    for sort in ("confident", "mistakes", "answer"):
        browser.controls["sort"].value = sort
        wanted = browser.index.table["question_id"].iloc[browser.rows].tolist()
        browser.grid.cards.children[0].children[1].click()
        browser.controls["next-answer"].click()
        assert browser.question_id == wanted[1] and f"question <bdi>{wanted[1]}</bdi>" in browser.detail.heading.value
        browser.controls["back"].click()
        assert browser.question_id is None and browser.status.value == ""
    other = browser.detail.others.list
    browser.open(ids[0])
    if other.children:
        other.children[0].click()
        assert browser.question_id in ids and browser.question_id != ids[0]

def test_a_comparison_with_ids_that_are_texts(run):
    named = with_text_ids(run)
    browser = compare(named, named).browse(sort="surest")
    browser.grid.cards.children[0].children[1].click()
    browser.controls["next-answer"].click()
    assert browser.question_id == browser.index.table["question_id"].iloc[browser.rows[1]] and browser.status.value == ""
    assert "2 of" in browser.detail.navigation.position.value
    shown = "".join(every_html(browser.detail.widget))
    for letter in "AB": assert f"<b><bdi>{letter}" in shown
    assert shown.count("Top answers and their confidence") == 2

def test_a_question_that_is_not_there_is_named(run):
    browser = run.browse()
    browser.guard(browser.open)("nothing")
    assert "question &#x27;nothing&#x27; is not among these answers" in browser.status.value

def test_an_error_in_a_callback_is_shown(run, monkeypatch):
    browser = run.browse()
    monkeypatch.setattr(browser.run, "refresh", lambda: 1/0)
    browser.controls["refresh"].click()
    assert "ZeroDivisionError" in browser.status.value and "role='alert'" in browser.status.value

def test_own_colors_have_contrast():
    for _, color in MARKS.values(): assert contrast(color, "#ffffff") >= 4.5
    assert contrast("#1b5f9e", "#ffffff") >= 4.5 and "#1b5f9e" in STYLE
    for color in ("#1f2328", "#59636e"): assert color in STYLE and contrast(color, "#ffffff") >= 4.5

def test_one_person_is_no_people():
    one, two = (people_html(Annotation(1, 1, "", "", "", ("yes",)*n), "no") for n in (1, 2))
    assert "What one person answered" in one and "What 2 people answered" in two

def test_a_filter_may_be_set_before_the_first_answer(run):
    empty = Run(run.folder, run.questions, run.annotations, run.data)
    empty.__dict__["records"] = {}
    browser = empty.browse(correctness="wrong", answer_type="number")
    assert len(browser.rows) == 0 and browser.controls["correctness"].value == "wrong"
    browser.refresh()
    assert len(browser.rows) == len(run.browse(correctness="wrong", answer_type="number").rows) and browser.controls["correctness"].value == "wrong"
