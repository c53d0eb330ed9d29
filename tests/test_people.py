"People as the measure: one of the ten against the others by hand, the best answer by trying all, intervals, and the browser's filter and sorts."
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hostile import SCRIPT, check, make_run

from beit3_colab import evaluate, open_results
from beit3_colab.data.dataset import Annotation, Dataset, Question
from beit3_colab.look.browser import browse
from beit3_colab.look.search import PEOPLE, AnswerIndex, PeopleSource
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.comparison import paired_intervals
from beit3_colab.run.people import MEASURES, people_of
from beit3_colab.scoring import people as module
from beit3_colab.scoring.intervals import bootstrap_intervals
from beit3_colab.scoring.normalisers import evalai_text, lavis_human_text, lmms_text, official_text, vizwiz_text, vlmeval_text
from beit3_colab.scoring.people import best_score, judge_people, person_scores, why_no_person
from beit3_colab.scoring.rules import RULES, normalize_answer

WORDS = ["two", "2", "Two.", "a dog", "dog", "its", "it's", "10:30", "1,000", "1000", "U.S.", "us", "yes!", "yes", "no", "the cat", "cats", ""]

def same(text): return text
SIDES = { # rule → what it makes of a model's answer and of a person's
    "official": (official_text, official_text), "lmms_vqav2": (lmms_text, lmms_text), "lmms_vqav2_v040": (lmms_text, lmms_text),
    "lmms_vqav2_v030": (evalai_text, lmms_text), "lmms_ok_vqa": (evalai_text, evalai_text), "lmms_vizwiz": (evalai_text, evalai_text),
    "lmms_textvqa": (evalai_text, evalai_text), "mmf_textvqa": (evalai_text, evalai_text), "lavis_vqa": (official_text, lavis_human_text),
    "vizwiz_official": (vizwiz_text, same), "vlmeval_vqa_score": (vlmeval_text, vlmeval_text)}
OF_TEN = [name for name, rule in RULES.items() if "ten" in rule.needs and name != "official_vqa"]

def tens(count, seed=0):
    "Ten answers of several people, never all the same."
    draw = random.Random(seed)
    while count:
        ten = draw.choices(draw.sample(WORDS, draw.randint(2, 7)), k=10)
        if len({a.strip() for a in ten}) > 1: yield ten; count -= 1


# --- one against the others

def test_every_rule_of_ten_is_tried(): assert set(OF_TEN) == set(SIDES)

@pytest.mark.parametrize("name", OF_TEN)
def test_a_person_is_judged_by_the_nine_others(name):
    model, people = SIDES[name]
    for ten in tens(80):
        by_hand = [min(1, sum(model(a) == people(b) for j, b in enumerate(ten) if j != i)/3) for i, a in enumerate(ten)]
        assert person_scores(ten, name) == pytest.approx(by_hand), ten

@pytest.mark.parametrize("name", ["official", "lmms_vqav2", "lavis_vqa"])
def test_the_models_figure_is_the_mean_over_the_same_nines(name):
    "So the two can be compared: a model that says what a person says is that person, ten times left out."
    model, people = SIDES[name]
    for ten in tens(40, 1):
        for said in set(ten):
            nines = [min(1, sum(model(said) == people(b) for j, b in enumerate(ten) if j != i)/3) for i in range(10)]
            assert RULES[name](said, ten) == pytest.approx(sum(nines)/10)

def test_thirds_and_exact_match_by_hand():
    for ten in tens(60, 2):
        assert person_scores(ten, "aokvqa_da") == pytest.approx([min(1, (ten.count(a) - 1)/3) for a in ten])
        said = [a for a in ten if a.strip()]
        forms = [normalize_answer(a) for a in said]
        assert person_scores(ten, "exact") == [float(form in forms[:i] + forms[i + 1:]) for i, form in enumerate(forms)]

@pytest.mark.parametrize("name", [n for n in RULES if n not in SIDES])
def test_a_rule_says_why_where_one_person_means_nothing(name):
    if RULES[name].name in ("official", "exact", "aokvqa_da", "lavis_aokvqa", "vlmeval_accuracy"): assert why_no_person(name) == ""
    else:
        with pytest.raises(UserError, match="cannot be told: .+"): person_scores(["yes"]*10, name)
        assert judge_people(["yes"]*10, name).person is None

@pytest.mark.parametrize("answers, metric", [([], "official"), (["yes"]*9, "official"), (["yes"]*11, "mmf_textvqa"), (["a", "b"], "aokvqa_da"), (["yes"], "exact"), (["yes", " "], "exact"), ([], "exact")])
def test_too_few_answers_give_none(answers, metric):
    assert person_scores(answers, metric) is None and judge_people(answers, metric).person is None

def test_more_than_ten_answers():
    twelve = ["a"]*2 + ["b"]*10
    assert person_scores(twelve) == pytest.approx([1/3]*2 + [1]*10) and judge_people(twelve).people == 12

def test_no_answer_stands_for_nobody():
    "What stands in a person's place is no answer that any rule takes for another."
    forms = [f(module._NOBODY) for f in (official_text, lavis_human_text, lmms_text, evalai_text, vizwiz_text, vlmeval_text, same)]
    assert not {official_text(w) for w in WORDS} & set(forms) and all(forms)


# --- the best

@pytest.mark.parametrize("name", [n for n in RULES if n not in ("aokvqa_mc", "gqa_official", "lmms_gqa", "lavis_gqa", "vlmeval_gqa")])
def test_no_answer_exceeds_the_best(name):
    for ten in tens(40, 3):
        forms = {f(w) for w in WORDS for f in (official_text, lavis_human_text, lmms_text, evalai_text, vizwiz_text, vlmeval_text, same, str.upper)}
        assert best_score(ten, name) == max(RULES[name].fraction(w, tuple(ten)) for w in forms), ten

@pytest.mark.parametrize("most, best", [(1, .3), (2, .6), (3, .9), (4, 1), (10, 1)])
def test_the_best_by_the_official_rule(most, best):
    ten = ["same"]*most + [f"other {i//most}" for i in range(10 - most)]
    assert best_score(ten) == pytest.approx(best)

def test_the_best_of_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="it needs ten answers"): best_score(["yes"])
    with pytest.raises(UserError, match="choices are not told"): best_score(["yes"], "aokvqa_mc")
    assert best_score(["yes"], "gqa_official") == 1 and judge_people(["yes"], "gqa_official").best == 1

def test_ten_times_two_is_worth_nothing_by_lavis():
    assert (best_score(["two"]*10, "lavis_vqa"), judge_people(["two"]*10, "lavis_vqa").person, judge_people(["two"]*10).best) == (0, 0, 1)

@pytest.mark.parametrize("ten, agreement, wrong", [(["yes"]*10, 1, 0), (["Two"]*5 + ["2"]*5, 1, 0), (["a b"]*5 + ["c"]*5, .5, 0), ([str(n) for n in range(10, 20)], .1, 10), (["x"]*9 + ["y"], .9, 1)])
def test_agreement(ten, agreement, wrong):
    found = judge_people(ten)
    assert (found.agreement, found.wrong, found.unanimous) == (agreement, wrong, agreement == 1)
    assert judge_people(random.Random(0).sample(ten, 10)) == found # whoever said what


# --- a run

class Told(AnsweredQuestions):
    "Answers that are given."
    label = place = "somebody"
    def __init__(self, answers, said, metric=None, images=None, **more):
        questions = [Question(i, images[i] if images else i//2, f"What is {i}?") for i in answers]
        notes = {q.question_id: Annotation(q.question_id, q.image_id, ("what is", "is it")[q.question_id % 2], ("other", "yes/no")[q.question_id % 2], a[0] if a else "", tuple(a), **more) for q, a in zip(questions, answers.values())}
        super().__init__(questions, notes)
        self.told, self.chosen = {i: dict(answers=[a], confidences=[.5 + .01*i]) for i, a in said.items()}, metric
    records = property(lambda self: self.told)
    metric = property(lambda self: self.chosen or super().metric)

@pytest.fixture
def many():
    answers = dict(enumerate(tens(120, 5)))
    draw = random.Random(1)
    return Told(answers, {i: draw.choice(a) for i, a in answers.items()})

def test_figures_are_means_of_the_table_with_intervals_by_pictures(many):
    found, images = people_of(many), [q.image_id for q in many.questions]
    table, groups = found.table, {"all": np.arange(120), "other": np.arange(0, 120, 2)}
    for column, name in MEASURES.items():
        values = table[column].to_numpy(float)
        points = column in ("over_person", "below_best")
        intervals = paired_intervals(images, values, groups) if points else bootstrap_intervals(images, values/100, groups)
        for group, key in (("all", ""), ("other", "answer type other")):
            figure = found.find(name, key)
            assert figure.value == pytest.approx(values[groups[group]].mean()) and figure.interval == intervals[group] and figure.questions == len(groups[group])
    assert found.find("the model").value == pytest.approx(many.accuracy.overall, abs=.005)
    assert found.find("the model").interval == many.accuracy.interval

def test_rows_are_those_counted_by_hand(many):
    table = people_of(many).table
    for row in table.itertuples():
        ten = [official_text(a) for a in many.annotations[row.question_id].answers]
        each = [min(1, (ten.count(a) - 1)/3) for a in ten]
        assert row.person == pytest.approx(10*sum(each)) and row.people_wrong == sum(one == 0 for one in each)
        assert row.best == pytest.approx({1: 30, 2: 60, 3: 90}.get(max(map(ten.count, ten)), 100))
        assert row.agreement == pytest.approx(10*max(map(ten.count, ten))) and row.accuracy <= row.best + 1e-9
        assert row.over_person == pytest.approx(row.accuracy - row.person) and row.below_best == pytest.approx(row.accuracy - row.best)

def test_who_answers_as_the_first_person_loses_nothing_to_a_person_but_the_own_vote():
    "The first of the ten, judged by all ten: worth more than by the nine others, never less."
    answers = dict(enumerate(tens(60, 7)))
    assert (people_of(Told(answers, {i: a[0] for i, a in answers.items()})).find("model − person").value) > 0

def test_by_exact_match_the_model_is_judged_by_the_same_others():
    run = Told({0: ["dog", "cat", "hare"], 1: ["cat", "cat"]}, {0: "dog", 1: "dog"}, images={0: 1, 1: 2})
    found = people_of(run)
    assert found.find("the model").value == 50 and found.table["person"].tolist() == [0, 100]
    assert found.table["over_person"].tolist() == pytest.approx([200/3, -100]) and "compared with the others, too" in found.notes[-1]

@pytest.mark.parametrize("said, value", [("dog", 0.), ("no such thing", -100.), ("cat", -40.)])
def test_no_interval_says_that_an_answer_exceeds_the_best(said, value):
    ten = ["dog"]*8 + ["cat"]*2
    run = Told({i: ten for i in range(40)}, {i: said for i in range(40)})
    figure = people_of(run).find("model − best answer")
    low, high = figure.interval
    assert figure.value == pytest.approx(value) and -100 <= low <= value <= high <= 0 and low < high
    assert "+" not in figure.text() or figure.value == 0

def test_what_is_left_out_is_counted():
    run = Told({0: ["dog", "cat"], 1: ["cat"], 2: ["cat", " "], 3: ["a", "b"]}, {0: "dog", 1: "cat", 2: "cat"})
    found = people_of(run)
    assert len(found.table) == 1 and found.notes[0].startswith("2 questions with too few")

def test_the_same_answers_opened_as_somebodys_results_give_the_same(vqa, tmp_path):
    run = evaluate(vqa, split="sample", limit=60, output_dir=tmp_path/"run", progress=False)
    path = tmp_path/"theirs.json"
    path.write_text(json.dumps([{"question_id": i, "answer": r["answers"][0]} for i, r in run.records.items()]))
    ours, theirs = people_of(run), people_of(open_results(path, dataset="sample"))
    assert [(f.name, f.group, f.value, f.interval) for f in ours.figures] == [(f.name, f.group, f.value, f.interval) for f in theirs.figures]
    assert ours.find("the model").value == pytest.approx(run.accuracy.overall, abs=.005) and 90 < ours.find("a person").value < 100

@pytest.mark.parametrize("change, says", [
    (lambda run: setattr(run, "annotations", None), "people's answers are not known"),
    (lambda run: run.told.clear(), "no question that people answered is answered yet"),
    (lambda run: setattr(run, "chosen", "vlmeval_anls"), "all that count as right"),
    (lambda run: setattr(run, "chosen", "gqa_official"), "knows one answer to a question"),
])
def test_what_means_nothing_is_refused_with_its_reason(many, change, says):
    change(many)
    with pytest.raises(UserError, match=says): people_of(many)

@pytest.mark.parametrize("option", [dict(resamples=99), dict(resamples=True), dict(seed=-1), dict(seed=.5)])
def test_options_are_checked(many, option):
    with pytest.raises(UserError, match=next(iter(option))): people_of(many, **option)

def test_notes_of_the_run_stand_beside_the_figures(many):
    many.__class__ = type("Seen", (Told,), dict(notes=property(lambda self: ("All of it was training data.",))))
    found = people_of(many)
    for text in (str(found), found._repr_html_()): assert "All of it was training data." in text

def test_hostile_names_stay_text(tmp_path):
    run = make_run(tmp_path)
    found = people_of(run)
    assert SCRIPT in check(found._repr_html_()).text and "\x1b" not in str(found)


# --- the browser

@pytest.fixture
def camps(tmp_path):
    "Five questions of which all is known."
    answers = {0: ["cat"]*10, 1: ["cat"]*4 + list("abcdef"), 2: ["cat"]*5 + ["dog"]*5, 3: ["cat"]*6 + ["dog"]*4, 4: ["hen"]*10}
    run = Told(answers, {0: "dog", 1: "dog", 2: "dog", 3: "dog", 4: "hen"})
    run.data = Dataset("val", run.questions, run.annotations, tmp_path)
    return run

FOUND = {"all agree": [0, 4], "most agree": [3], "people disagree": [1, 2], "wrong, and all agree": [0], "wrong, and so are half of the people": [1]}

@pytest.mark.parametrize("choice", PEOPLE)
def test_the_filter_finds_what_is_known(camps, choice):
    shown = browse(camps, people=choice)
    assert shown.index.table["question_id"].iloc[shown.rows].tolist() == FOUND[choice]
    assert shown.controls["people"].value == choice and shown.controls["people"].layout.display is None
    assert shown.count_text() == f"{len(FOUND[choice])} of 5 answers" and f"{len(FOUND[choice])} of 5 answers" in shown._saved_head()
    shown.controls["reset"].click()
    assert len(shown.rows) == 5 and shown.controls["people"].value == ""
    shown.close()

@pytest.mark.parametrize("sort, order", [("disagreement", [1, 2, 3, 4, 0]), ("wrong_with_people", [1, 0, 4, 3, 2])])
def test_the_sorts(camps, sort, order): # of equal ones the surest first
    shown = browse(camps, sort=sort)
    assert shown.index.table["question_id"].iloc[shown.rows].tolist() == order
    shown.close()

def test_people_are_looked_at_when_they_are_asked_for(camps, monkeypatch):
    looked = []
    read = PeopleSource.read
    monkeypatch.setattr(PeopleSource, "read", lambda self, ids: looked.append(len(ids)) or read(self, ids))
    shown = browse(camps)
    shown.controls["words"].value = "what"
    assert looked == []
    shown.controls["people"].value = "all agree"
    shown.controls["sort"].value = "disagreement"
    assert looked == [5] and shown.status.value == ""
    shown.close()

@pytest.mark.parametrize("answers", [{0: ["cat"], 1: ["dog"]}, {0: [], 1: []}])
def test_without_several_people_nothing_is_offered(answers, tmp_path):
    run = Told(answers, {0: "cat", 1: "dog"}, metric="exact")
    if not answers[0]: run.annotations = None
    run.data = Dataset("val", run.questions, run.annotations, tmp_path)
    shown = browse(run)
    assert shown.controls["people"].layout.display == "none" and not {"disagreement", "wrong_with_people"} & {name for _, name in shown.controls["sort"].options}
    for options, says in ((dict(people="all agree"), "people cannot be asked for"), (dict(sort="disagreement"), "goes by what people say"), (dict(people="some"), "people must be one of all agree; most agree")):
        with pytest.raises(UserError, match=says): browse(run, **options)
    shown.close()

def test_a_rule_without_persons_still_tells_whether_people_agree(camps):
    camps.chosen = "vlmeval_anls"
    object.__setattr__(camps, "data", None)
    index = AnswerIndex(camps.answers, PeopleSource(camps.annotations, "vlmeval_anls"))
    assert index.people_choices == PEOPLE[:4] and np.isnan(index.people.wrong).all() and index.people.agreement.tolist() == pytest.approx([1, .4, .5, .6, 1])

def test_questions_without_people_fit_no_choice(camps):
    camps.annotations = {i: note for i, note in camps.annotations.items() if i < 2} | {2: replace(camps.annotations[2], answers=("cat",)*10)}
    shown = browse(camps)
    found = {choice: shown.index.mask(replace(shown.filters.filter, people=choice)).nonzero()[0].tolist() for choice in PEOPLE}
    assert found == {"all agree": [0, 2], "most agree": [], "people disagree": [1], "wrong, and all agree": [0, 2], "wrong, and so are half of the people": [1]}
    shown.close()

@pytest.mark.parametrize("question, told", [
    (0, "All 10 people say the same."),
    (1, "4 of 10 people say the same; by the others one of them scores 40 %."),
])
def test_below_what_people_answered_stands_whether_they_agree(camps, question, told):
    shown = browse(camps)
    shown.open(question)
    assert check(shown.detail.people.value).text.rstrip().endswith(told)
    shown.close()
