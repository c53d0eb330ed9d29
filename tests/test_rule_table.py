"""The same answers by every rule, against the scores that the reference programs gave; and what no answer of a list can reach, against trying every answer.

The cases are those of `golden/rules/rules/all_rules.json` and `all_gqa.json`."""
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from beit3_colab.data.dataset import Annotation, Dataset, Question
from beit3_colab.evaluation import evaluate
from beit3_colab.look.run import open_results, open_run, RuleTable
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.ceiling import Ceiling, find_ceiling
from beit3_colab.run.rule_table import score_pairs, shared_intervals
from beit3_colab.scoring.intervals import bootstrap_intervals
from beit3_colab.scoring.rules import find_rule, RULES
from beit3_colab.scoring.score import score
from hostile import every_html

GOLDEN = Path(__file__).parent/"golden"/"rules"
ALL, GQA = (json.loads((GOLDEN/"rules"/f"{name}.json").read_text()) for name in ("all_rules", "all_gqa"))
TEN = [i for i, case in enumerate(ALL["cases"]) if len(case["answers"]) == 10] # by which all rules can score


class Told(AnsweredQuestions):
    "Answers that somebody told us."
    label, place = "somebody", Path("notes.txt")
    def __init__(self, data, answers):
        super().__init__(data.questions, data.annotations, data)
        self.told = {i: dict(question_id=i, answers=[answer], confidences=[]) for i, answer in answers.items()}
    records = property(lambda self: self.told)

def make_told(cases, name, metric="", pictures=7):
    "Answers of nobody in particular: (prediction, what people answered) of each question."
    kind = type("Made", (Dataset,), dict(name=name, rule=metric))
    questions = [Question(i, i % pictures, f"What is {i}?", f"{i % pictures}.jpg") for i in range(len(cases))]
    people = {i: Annotation(i, i % pictures, "what", "other", said[0], tuple(said)) for i, (_, said) in enumerate(cases)}
    return Told(kind("val", questions, people, Path(".")), {i: prediction for i, (prediction, _) in enumerate(cases)})

@pytest.fixture(scope="module")
def judged(): return RuleTable.of(make_told([(ALL["cases"][i]["prediction"], ALL["cases"][i]["answers"]) for i in TEN], "vqav2"))


def test_every_rule_gives_what_its_program_gave(judged):
    compared = 0
    for name, values in judged.scores.items():
        expected = ALL["expected"].get("official_vqa" if name == "official" else name)
        if expected is None: continue
        assert values/100 == pytest.approx(np.array([expected[i] for i in TEN], float), abs=1e-9), name
        compared += 1
    assert compared >= 9 and len(judged.scores) == len(judged.rows) > compared

def test_rows_are_what_score_says_of_each_rule(judged):
    run = judged.run
    answers = {i: r["answers"][0] for i, r in run.records.items()}
    for row in judged.rows:
        alone = score(run.annotations, answers, metric=row.rule.name)
        assert (row.percent, row.interval, row.questions) == (alone.overall, alone.interval, alone.num_questions), row.rule.name
    own = judged.scores["official"]
    for row in judged.rows:
        change = judged.scores[row.rule.name] - own
        assert (row.higher, row.lower, row.differing) == ((change > .005).sum(), (change < -.005).sum(), (abs(change) > .005).sum())

def test_differences_are_the_rows_that_differ(judged):
    table = judged.table
    names = list(judged.scores)
    by_hand = [row["question_id"] for _, row in table.iterrows() if max(row[n] for n in names) - min(row[n] for n in names) > .005]
    assert judged.differences["question_id"].tolist() == by_hand and 0 < len(by_hand) < len(table)
    assert list(table)[:4] == ["question_id", "question", "answer", "people"] and table["people"][3] == list(ALL["cases"][TEN[3]]["answers"])

def test_printed_it_names_each_rule_and_whose_it_is(judged):
    for shown in (str(judged), repr(judged), judged._repr_html_()):
        assert all(row.rule.name in shown and f"{row.percent:.2f}" in shown for row in judged.rows) and "nan" not in shown
        assert "GT-Vision-Lab/VQA" in shown and "lmms-eval" in shown and "LAVIS" in shown and "the data set's own rule" in shown.replace("&#x27;", "'")
    head, *rows = str(judged).splitlines()
    assert head.split()[:2] == ["rule", "percent"] and rows[0].startswith("official") and all(len(line) == len(head) for line in rows[1:len(judged.rows)])

def test_a_table_by_rules_is_read_back_equal(judged, tmp_path):
    pd.testing.assert_frame_equal(read_csv(judged.to_csv(tmp_path/"a.csv")), judged.table, check_dtype=False)
    assert judged.to_csv(tmp_path/"b.csv", spreadsheet=True).read_bytes()[:3] == b"\xef\xbb\xbf"

def test_the_browser_shows_those_that_differ_with_their_scores():
    found = open_results(GOLDEN/"results/lmms_eval/current/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl", data_path=GOLDEN/"hf/vqav2").rules()
    browser = found.browse(sort="worst", per_page=2)
    ids = browser.index.table["question_id"].iloc[browser.rows].tolist()
    assert set(ids) == set(found.differences["question_id"]) and len(browser.grid.cards.children) == 2
    card = "".join(every_html(browser.grid.cards.children[0]))
    for name, values in found.scores.items(): assert name in card and f"<b>{values[found.places[ids[0]]]:.0f} %</b>" in card
    assert "beit3-rules" in browser.saved_view()
    browser.open(ids[0])
    assert "beit3-rules" in browser.detail.heading.value and browser.status.value == ""
    said = f"{len(ids)} of 24 answers, where rules differ"
    assert browser.count_text() == said and said in browser.saved_view() and said in repr(browser)
    assert "by official <b>" in browser.result.value and f", by official {browser.index.summary(browser.rows)[0]:.1f} %:" in browser.saved_view()
    browser.controls["correctness"].value = "wrong"
    assert browser.count_text() == f"{len(browser.rows)} of these {said}" and len(browser.rows) < len(ids)

def test_where_all_rules_agree_there_is_nothing_to_browse():
    found = RuleTable.of(make_told([("yes", ["yes"]*10), ("dog", ["cat"]*10)], "vqav2"))
    assert len(found.differences) == 0 and found.rows[0].percent == 50 and "0 questions of 2 have another score" in str(found)
    with pytest.raises(UserError, match="each answer has the same score by every rule"): found.browse()

def test_four_gqa_accuracies_of_the_same_answers():
    found = RuleTable.of(make_told([(c["prediction"], [c["gold"]]) for c in GQA["cases"]], "gqa", "gqa_official"))
    for name, expected in GQA["expected"].items():
        if name in found.scores: assert found.scores[name]/100 == pytest.approx(np.array(expected, float), abs=1e-9), name
    assert [row.rule.name for row in found.rows][0] == "gqa_official" and {"lmms_gqa", "lavis_gqa", "vlmeval_gqa"} <= set(found.scores)

def test_lavis_counts_the_difficult_questions_of_aokvqa():
    found = open_results(GOLDEN/"results/official/aokvqa_predictions.json", "aokvqa", data_path=GOLDEN/"data/aokvqa").rules()
    own, theirs = found.rows[0], found.find("lavis_aokvqa")
    assert (own.rule.name, own.questions, theirs.questions) == ("aokvqa_da", 18, 24) and round(theirs.percent, 2) == 30.56
    left_out = np.isnan(found.scores["aokvqa_da"])
    assert left_out.sum() == 6 and found.table["aokvqa_da"].isna().sum() == 6 and found.uncounted.tolist() == left_out.tolist()
    assert not set(found.differences["question_id"]) & set(np.array(found.ids)[left_out]) # there is nothing that they differ from
    assert "18" in str(found) and "nan" not in str(found)
    for text in (str(found), found._repr_html_()):
        assert "13 questions of 24 have another score" in text and "6 questions are not counted by aokvqa_da, but by lavis_aokvqa." in text
    assert len(found.differences) == 13 >= max(row.differing for row in found.rows) and theirs.differing == 0
    note = found.note_html(np.array(found.ids)[left_out][0].item())
    assert "lavis_aokvqa" in note and re.search("not counted by aokvqa_da, official, ", note)
    browser = found.browse()
    assert len(browser.rows) == 13 and "not counted" not in browser.result.value

def test_no_rule_without_answers_of_people(judged):
    with pytest.raises(UserError, match="the human answers are not public for this split"): RuleTable.of(Told(replace(judged.run.data, annotations=None), {1: "x"}))
    with pytest.raises(UserError, match="results are empty: there is nothing to score"): RuleTable.of(Told(judged.run.data, {}))

def test_draws_are_shared_and_the_same_as_alone():
    draw = np.random.default_rng(0)
    images, columns = draw.integers(9, size=50).tolist(), [100*draw.random(50), 100*(draw.random(50) < .5), np.full(50, 100.), np.zeros(50)]
    alone = [bootstrap_intervals(images, list(c/100), {None: list(range(50))})[None] for c in columns]
    assert shared_intervals(images, columns) == alone
    assert shared_intervals([1]*50, columns) == [None]*4

def test_equal_pairs_are_scored_once():
    calls = []
    rule = replace(find_rule("official"), fraction=lambda a, people: calls.append(a) or .5)
    assert score_pairs(rule, [("a", ("b",)*10)]*1000 + [("b", ("b",)*10)]).tolist() == [50.]*1001 and calls == ["a", "b"]


# What no answer of a list can reach

EQUAL = [name for name in RULES if not any(part in name for part in ("anls", "relaxed", "_mc"))]

@pytest.mark.parametrize("name", EQUAL)
def test_a_ceiling_is_what_trying_every_answer_finds(name):
    cases = [c["answers"] for c in ALL["cases"]] if find_rule(name).needs != "one answer" else [[c["gold"]] for c in GQA["cases"]]
    cases = [c for c in cases if c and find_rule(name).applies(Annotation(0, 0, "", "", "", tuple(c)))][:60]
    people = {i: Annotation(i, i, "what", "other", said[0], tuple(said)) for i, said in enumerate(cases)}
    words = sorted({text for said in cases for text in said} | {"yes", "no", "Two.", "the dog", ""})
    classes = random.Random(0).sample(words, len(words)//2)
    best = [max(RULES[name](answer, tuple(said)) for answer in classes) for said in cases]
    found = find_ceiling(people, classes, name)
    assert found == Ceiling(find_rule(name).name, min(round(100*sum(best)/len(best), 2), 99.99) if min(best) < 1 else 100., len(best), best.count(0))
    assert 0 < found.hopeless < len(best)

@pytest.mark.parametrize("name", ["vlmeval_anls", "vlmeval_relaxed"])
def test_rules_that_take_near_answers_have_no_ceiling(name): assert find_ceiling({1: Annotation(1, 1, "", "", "", ("red",))}, ["red"], name) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory): return evaluate(limit=60, device="cpu", output_dir=tmp_path_factory.mktemp("run"), progress=False)

def change(run, folder, **fields):
    "The same run with another run.json."
    import shutil
    shutil.copytree(run.folder, folder)
    info = json.loads((folder/"run.json").read_text()) | fields
    (folder/"run.json").write_text(json.dumps({name: value for name, value in info.items() if value != "nothing"}))
    return folder

def test_a_run_counts_its_ceiling(run):
    told = json.loads((run.folder/"run.json").read_text())["ceiling"]
    assert told == find_ceiling(run.annotations, run.vqa.answers, "official").info() == run.ceiling.info() and told["questions"] == len(run.questions)
    assert any("list of answers" in note for note in run.accuracy.notes) == (told["percent"] < 100)

LOW = dict(metric="official", percent=61.7, questions=60, hopeless=20)
SENTENCE = "The model's list of answers reaches 61.70 % at most: to 20 of 60 questions no answer in it is worth anything."

def test_the_ceiling_stands_beside_the_figure(run, tmp_path):
    low = open_run(change(run, tmp_path/"low", ceiling=LOW))
    shown = SENTENCE.replace("'", "&#x27;")
    assert low.accuracy.notes[0] == SENTENCE and SENTENCE in str(low.accuracy) and low.accuracy.overall == run.accuracy.overall
    assert shown in low.accuracy._repr_html_() and shown in low.browse().result.value and shown in low.browse().saved_view()
    assert shown in low.to_html(tmp_path/"page.html", n=3).read_text(encoding="utf-8")

@pytest.mark.parametrize("ceiling", ["nothing", None, LOW | {"metric": "exact"}, LOW | {"percent": 100., "hopeless": 0}], ids=["older", "null", "other-rule", "all"])
def test_without_a_ceiling_nothing_is_said(run, tmp_path, ceiling):
    found = open_run(change(run, tmp_path/"run", ceiling=ceiling))
    assert not any("list of answers" in note for note in found.accuracy.notes) and found.accuracy.overall == run.accuracy.overall

@pytest.mark.parametrize("wrong", [dict(percent="61"), dict(percent=101), dict(percent=float("nan")), dict(hopeless=-1), dict(metric=7), dict(questions=1.5)], ids=str)
def test_a_damaged_ceiling_is_named(run, tmp_path, wrong):
    place = change(run, tmp_path/"run", ceiling=LOW | wrong)
    with pytest.raises(UserError, match="run.json"): open_run(place)
    with pytest.raises(UserError, match="ceiling"): open_run(change(run, tmp_path/"list", ceiling=[1]))

def test_a_split_without_answers_has_no_ceiling(run):
    from beit3_colab.look.run import Run
    assert Run(run.folder, run.questions, None, replace(run.data, annotations=None)).accuracy is None

@pytest.mark.parametrize("name", ["okvqa", "aokvqa"])
def test_a_run_of_another_data_set_has_the_ceiling_of_its_own_rule(name, vqa, tmp_path):
    found = evaluate(vqa, dataset=name, split="val", data_path=GOLDEN/"data"/name, output_dir=tmp_path/"run", progress=False, bad_images="blank")
    counted = [a for a in found.annotations.values() if a.counted]
    best = [max(RULES[found.data.rule](answer, a.answers) for answer in vqa.answers) for a in counted]
    again = open_run(tmp_path/"run")
    assert again.ceiling == Ceiling(found.metric, round(100*sum(best)/len(best), 2), len(counted), best.count(0)) and 0 < again.ceiling.hopeless
    assert again.accuracy.notes[0].startswith(f"The model's list of answers reaches {again.ceiling.percent:.2f} % at most") and again.accuracy == found.accuracy
    assert again.rules().rows[0].percent == again.accuracy.overall <= again.ceiling.percent
    assert open_results(again.submission, name, "val", GOLDEN/"data"/name).accuracy.per_question == again.accuracy.per_question

def test_own_questions_without_answers_are_told_so(tmp_path):
    "Nothing of them is kept on a server."
    from PIL import Image
    from beit3_colab.plots import plot_accuracy
    Image.new("RGB", (32, 32), "red").save(tmp_path/"a.png")
    run = evaluate("sample", questions=[dict(image=str(tmp_path/"a.png"), question="Is it red?")], device="cpu", output_dir=tmp_path/"run", progress=False)
    for ask in (run.rules, lambda: plot_accuracy(run)):
        with pytest.raises(UserError, match="your own have no answers of people") as error: ask()
        assert "not public" not in str(error.value) and "val" not in str(error.value)
