"Three runs and more: every figure against one worked out in another way, what is left out, files, browser, page and command line."
import itertools
import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.evaluation import evaluate
from beit3_colab.look.comparison_page import draw_groups, draw_questions, plot_agreement, plot_labels, plot_standings
from beit3_colab.look.comparison_browser import short_names
from beit3_colab.look.run import Comparison, compare, ManyComparison
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.comparison import flip_signs
from beit3_colab.run.other_results import OtherResults
from beit3_colab.run.many import column_heads, count_different, holm, JointComparison, name_right, sort_by_right
from beit3_colab.scoring.result_rows import ResultTable
from beit3_colab.scoring.rules import normalize_answer, vqa_accuracy
from hostile import every_html, make_secret_run, SECRETS
from real_browser import CONTRAST, open_browser, take_picture

WORDS = ["yes", "no", "2", "two", "a cat", "cat", "Dog"]


class Answered(AnsweredQuestions):
    "Answers of nobody in particular: what any tool's results are to a comparison."
    label = "made up"
    def __init__(self, place, questions, annotations, answers, confident=True):
        super().__init__(questions, annotations)
        self.where = Path(place)
        self.__dict__["records"] = {i: dict(question_id=i, answers=[a], confidences=[.5]*confident) for i, a in answers.items()}

    @property
    def place(self): return self.where


def ask(n=60, pictures=12, seed=0):
    "Questions, what people answered, and a maker of runs."
    rng = np.random.default_rng(seed)
    questions = [Question(i, int(rng.integers(pictures)), f"What is {i}?", f"{i}.jpg") for i in range(n)]
    people = {q.question_id: Annotation(q.question_id, q.image_id, "what is", str(rng.choice(["yes/no", "number", "other"])), "yes",
              tuple(rng.choice(WORDS, 10).tolist())) for q in questions}
    def run(seed, questions=questions, people=people, **options):
        answers = np.random.default_rng(seed).choice(WORDS, 10*n)
        return Answered(f"/runs/{seed}", questions, people, {q.question_id: str(answers[q.question_id]) for q in questions}, **options)
    return questions, people, run

@pytest.fixture(scope="module")
def asked(): return ask()

@pytest.fixture(scope="module")
def many(asked):
    run = asked[2]
    return compare(*(run(seed) for seed in (1, 2, 3, 4)))


@pytest.mark.parametrize("given, corrected", [
    ([.01, .04, .03, .005], [.03, .06, .06, .02]), # 4·.005, 3·.01, 2·.03, 1·.04 raised to the one before
    ([.05], [.05]), ([.5, .6, .7], [1, 1, 1]), ([.02, .02], [.04, .04]), ([0, 1], [0, 1]), ([.001, .02, .04, .049], [.004, .06, .08, .08]), ([], []),
])
def test_holm_by_hand(given, corrected):
    assert holm(given) == pytest.approx(corrected)
    turned = [holm(list(order)) for order in itertools.islice(itertools.permutations(given), 24)]
    assert all(sorted(one) == pytest.approx(sorted(corrected)) for one in turned)

def test_false_alarms_are_kept_below_five_percent():
    "Three runs that do not differ, 120 times: any significant pair in 5 % of them, give or take three standard errors."
    alarms = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        hard = rng.random(25).repeat(3) # a picture's questions go together
        right = rng.random((75, 3)) < hard[:, None]
        questions = [Question(i, i//3, "", "") for i in range(75)]
        people = {i: Annotation(i, i//3, "", "other", "yes", ("yes",)*10) for i in range(75)}
        runs = [Answered("/x", questions, people, {i: "yes" if r else "no" for i, r in enumerate(column)}) for column in right.T]
        with pytest.MonkeyPatch.context() as quick:
            quick.setattr("beit3_colab.run.many.flip_signs", lambda sums, seed: flip_signs(sums, 400, seed))
            quick.setattr("beit3_colab.run.many.resample_images", lambda sums, counts, resamples, seed: np.zeros((2, sums.shape[1])))
            alarms += min(compare(*runs).pairs["p_holm"]) <= .05
    assert alarms/120 <= .05 + 3*math.sqrt(.05*.95/120)


@pytest.mark.parametrize("seed", [0, 7])
def test_pairs_are_those_of_two_runs(asked, seed):
    run = asked[2]
    runs = {"one": run(1), "two": run(2), "three": run(3)}
    found = compare(runs, seed=seed)
    for result in found.results:
        two = compare(runs[result.a], runs[result.b], seed=seed)
        row = next(r for r in two.rows if r.name == result.group)
        assert (result.difference, result.interval, result.questions) == (row.difference, row.interval, row.questions)
        if result.group == "overall": assert result.p == row.p
        assert found.agreement[result.a][result.b] == two.agreement
    assert found.pairs["p_holm"].tolist() == holm(found.pairs["p"].tolist())
    assert type(two) is Comparison and type(found) is ManyComparison

def test_everything_is_counted_as_by_hand(asked, many):
    questions, people, _ = asked
    kinds, same, rows = Counter(), Counter(), many.table.to_dict("records")
    assert [row["question_id"] for row in rows] == [q.question_id for q in questions]
    for row in rows:
        given = {name: row[f"answer_{name}"] for name in "ABCD"}
        worth = {name: vqa_accuracy(answer, people[row["question_id"]].answers) for name, answer in given.items()}
        assert worth == {name: row[f"accuracy_{name}"] for name in "ABCD"}
        right = [name for name in "ABCD" if worth[name] == 100]
        assert row["right_by"] == ", ".join(right)
        kinds.update({"all right": len(right) == 4, "none right": not right, "all wrong": not any(worth.values())})
        if 0 < len(right) < 4: kinds[f"exactly {len(right)} right"] += 1
        if len(right) == 1: kinds[f"only {right[0]} right"] += 1
        different = len({normalize_answer(answer) for answer in given.values()})
        assert row["different_answers"] == different
        same["all the same" if different == 1 else "all different" if different == 4 else "some the same"] += 1
    assert many.right.to_dict() == {kind: kinds[kind] for kind in many.right.index}
    assert many.same.to_dict() == {kind: same[kind] for kind in many.same.index}
    assert many.alone.to_dict() == {name: kinds[f"only {name} right"] for name in "ABCD"}
    for name in "ABCD":
        assert many.overall.set_index("run")["accuracy"][name] == round(many.table[f"accuracy_{name}"].mean(), 2) == many.runs[name].accuracy.overall
    for kind in many.right.index: assert len(many.select(right=kind)) == kinds[kind]

def test_order_changes_no_figure(asked):
    run = asked[2]
    runs = {"a": run(1), "b": run(2, questions=asked[0][::-1]), "c": run(3)} # one has its questions the other way round
    def figures(found):
        pairs = {frozenset((r.a, r.b, r.group)): (abs(r.difference), frozenset(map(abs, r.interval)), r.p, r.p_holm) for r in found.results}
        return pairs, {s[:2]: s[2:] for s in found.standings}, found.alone.to_dict(), found.right["all right"], found.same.to_dict()
    first, *others = [figures(compare(dict(order))) for order in itertools.permutations(runs.items())]
    assert all({**other[2]} == {**first[2]} and other[:2] == first[:2] and other[3:] == first[3:] for other in others)

def test_reference(asked, many):
    run = asked[2]
    found = compare(*(run(seed) for seed in (1, 2, 3, 4)), reference="B")
    assert [(r.a, r.b) for r in found.results if r.group == "overall"] == [("B", "A"), ("B", "C"), ("B", "D")]
    every = {(r.a, r.b): r for r in many.results if r.group == "overall"}
    for r in found.results[:3]:
        other = every.get((r.a, r.b)) or every[r.b, r.a]
        assert (abs(r.difference), r.p) == (abs(other.difference), other.p) and r.p_holm <= other.p_holm
    assert compare(run(1), run(2), reference="A").results[0].difference == compare(run(1), run(2)).overall.difference
    with pytest.raises(UserError, match=r"reference \(--reference\) 'E' is none of the runs"): compare(run(1), run(2), reference="E")

def test_what_is_not_shared_is_told(asked):
    questions, _, run = asked
    found = compare(run(1, questions=questions[:40]), run(2, questions=questions[20:]), run(3, questions=questions[30:45]))
    assert found.coverage == [("A", 40, 30, 20), ("B", 40, 30, 15), ("C", 15, 5, 0)] and len(found.table) == 10
    assert "left out: 30 questions of A (20 answered by it alone), 30 questions of B (15 answered by it alone), 5 questions of C." in str(found)
    assert found.overall["own_accuracy"].tolist() == [run.accuracy.overall for run in found.runs.values()]
    assert found.overall["own_questions"].tolist() == [40, 40, 15] and "on all of its own" in str(found)
    with pytest.raises(UserError, match="no question is answered in all of"): compare(run(1, questions=questions[:9]), run(2, questions=questions[5:20]), run(3, questions=questions[10:]))

def test_other_data_are_refused(asked):
    questions, _, run = asked
    other = [replace(questions[0], question="Is it?"), *questions[1:]]
    with pytest.raises(UserError, match="in A and .* in C: the runs are of different data"): compare(run(1), run(2), run(3, questions=other))
    unknown = [replace(q, question="") for q in questions] # token ids alone: the texts come from who knows them
    assert compare(run(1, questions=unknown), run(2), run(3)).table["question"].tolist() == [q.question for q in questions]
    with pytest.raises(UserError, match="in A and .* in C: the runs are of different data"): compare(run(1, questions=unknown), run(2), run(3, questions=other))

def test_questions_that_are_not_counted(asked):
    questions, people, run = asked
    some = {i: replace(a, counted=i % 3 > 0) for i, a in people.items()}
    del some[1] # nobody answered
    found = compare(*(run(seed, people=some) for seed in (1, 2, 3)))
    kept = [q for q in questions if q.question_id in some and some[q.question_id].counted]
    whole = compare(*(run(seed, questions=kept) for seed in (1, 2, 3)))
    assert (found.left_out, found.standings[0].questions) == (20, 39) == (20, len(kept))
    assert [s.accuracy for s in found.standings] == [s.accuracy for s in whole.standings]
    assert [r.p_holm for r in found.results] == [r.p_holm for r in whole.results] and found.right.to_dict() == whole.right.to_dict()
    left = found.table[found.table["question_id"] % 3 == 0]
    assert left["accuracy_A"].isna().all() and (left["right_by"] == "").all()
    assert found.same.sum() == 40 and "20 questions of these are not counted by the data set's own rule" in str(found) and "1 question without human answers" in str(found)
    assert "nan" not in str(found) + found._repr_html_() and compare(run(1, people=some), run(2, people=some)).left_out == 20
    nothing = compare(*(run(seed, people={i: replace(a, counted=False) for i, a in people.items()}) for seed in (1, 2, 3)))
    assert not nothing.scored and "None of these questions is counted" in str(nothing) and nothing.same.sum() == len(questions)

def test_the_first_human_answers_judge_all(asked):
    questions, people, run = asked
    found = compare(run(1, people=None), run(2), run(3, people=None))
    assert found.judge is found.runs["B"] and found.overall["accuracy"].tolist() == compare(run(1), run(2), run(3)).overall["accuracy"].tolist()
    alone = compare(*(run(seed, people=None) for seed in (1, 2, 3)))
    assert not alone.scored and alone.pairs.empty and alone.overall.empty and alone.alone.empty
    assert "The human answers are not public" in str(alone) and "accuracy_A" not in alone.table
    with pytest.raises(UserError, match="right 'all' cannot be asked for: no human answers to these questions are known"): alone.select(right="all")

def test_fewer_answers_than_ten(asked):
    questions, people, run = asked
    few = {i: replace(a, answers=a.answers[:3]) for i, a in people.items()}
    found = compare(*(run(seed, people=few) for seed in (1, 2, 3)))
    assert found.metric == "exact" and "Exact match" in str(found) and "fewer than ten" in str(found)
    assert set(np.unique(found.table[["accuracy_A", "accuracy_B", "accuracy_C"]])) == {0, 100}

def test_a_run_beside_itself(asked):
    one = asked[2](1)
    found = compare(one, one, one)
    assert found.pairs["difference"].tolist() == [0]*3 and found.pairs["p_holm"].tolist() == [1]*3 and found.alone.tolist() == [0]*3
    assert (found.agreement == 100).all(axis=None) and found.same["all the same"] == len(found.table)
    assert all(low < 0 < high for low, high in zip(found.pairs["low"], found.pairs["high"])) # no certainty

def test_one_picture_has_no_interval():
    _, _, run = ask(n=5, pictures=1)
    found = compare(run(1), run(2), run(3))
    assert {s.interval for s in found.standings} == {r.interval for r in found.results} == {None}
    assert "none" in str(found) and "nan" not in str(found) and found.pairs["low"].isna().all()
    json.dumps(found.figures(), allow_nan=False)


@pytest.mark.parametrize("given, message", [
    (lambda run: (run(1),), "compare takes from 2 to 26 runs, not 1"),
    (lambda run: (), "compare takes from 2 to 26 runs, not 0"),
    (lambda run: ([run(1), run(2)],), r"one by one, as in compare\(a, b, c\)"),
    (lambda run: ({"x, y": run(1), "z": run(2)},), "cannot be the name of a run"),
    (lambda run: ({"": run(1), "z": run(2)},), "cannot be the name of a run"),
    (lambda run: ({1: run(1), "z": run(2)},), "the name of a run is a text, not 1"),
    (lambda run: ({"type": run(1), "z": run(2)},), "'type' cannot be the name of a run"),
    (lambda run: (run(1), __file__), r"is a file of results: open it with open_results\(path, dataset=…\) first"),
    (lambda run: (run(1), "/nowhere"), "run folder /nowhere does not exist"),
    (lambda run: (run(1), None), "a run folder is a path, not None"),
    (lambda run: tuple(run(1) for _ in range(27)), "from 2 to 26 runs, not 27"),
])
def test_what_is_refused(asked, given, message):
    with pytest.raises(UserError, match=message): compare(*given(asked[2]))

@pytest.mark.parametrize("asked_for, message", [
    (dict(right="only E"), "right 'only E' is not known; use one of 'all right', 'only A right'"), (dict(right=True), "right True is not known"),
    (dict(right=7), "right 7 is not known"), (dict(same="x"), "same 'x' is not known; use one of 'all the same', 'some the same', 'all different'"),
])
def test_kinds_that_there_are_not(many, asked_for, message):
    with pytest.raises(UserError, match=message): many.select(**asked_for)
    with pytest.raises(UserError, match=message): many.browse(**asked_for)

@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_seeds(asked, seed):
    for count in (2, 3):
        with pytest.raises(UserError, match="seed must be a whole number of 0 or more"): compare(*(asked[2](i) for i in range(count)), seed=seed)

def test_many_names_and_patterns():
    rng = np.random.default_rng(0)
    accuracy, names = rng.choice([0., 30, 100, np.nan], (200, 12)), [f"run {i}" for i in range(12)]
    accuracy[np.isnan(accuracy).any(axis=1)] = np.where(rng.random() < .5, np.nan, 100.)
    texts, masks = name_right(names, accuracy), sort_by_right(names, accuracy)
    for i, row in enumerate(accuracy):
        right = [name for name, value in zip(names, row) if value >= 100]
        assert texts[i] == ", ".join(right)
        assert masks["all right"][i] == (len(right) == 12) and masks["none right"][i] == (not right and not np.isnan(row[0]))
    codes = rng.integers(0, 5, (100, 6))
    assert count_different(codes).tolist() == [len(set(row)) for row in codes.tolist()]


def test_files(many, tmp_path):
    table = pd.read_csv(many.to_csv(tmp_path/"a.csv"))
    assert len(table) == len(many.table) and table["accuracy_C"].tolist() == many.table["accuracy_C"].tolist()
    assert many.to_csv(tmp_path/"b.csv", spreadsheet=True).read_bytes()[:3] == b"\xef\xbb\xbf"
    told = json.loads(json.dumps(many.figures(), allow_nan=False))
    assert len(told["pairs"]) == 6*4 and told["right"] == many.right.to_dict() and told["coverage"][0]["answered"] == 60

def test_browser(asked, many):
    browser = many.browse(right="exactly 2", sort="disagreement", per_page=8)
    assert len(browser.rows) == many.right["exactly 2 right"] and repr(browser) == f"ComparisonBrowser({len(browser.rows)} of 60 questions)"
    browser.controls["same"].value, browser.controls["words"].value = "all different", "dog"
    fits = many.mask("exactly 2", "all different") & np.array([" dog" in " " + " ".join(row).lower() for row in many.table[["question", *(f"answer_{n}" for n in "ABCD")]].values])
    assert sorted(browser.rows) == np.flatnonzero(fits).tolist() and browser.status.value == ""
    browser.controls["reset"].click()
    browser.grid.cards.children[0].children[1].click()
    shown = "".join(every_html(browser.widget))
    assert shown.count("Top answers and their confidence") == 4 and "nan" not in shown

NASTY = '"><script>a()</script><img src=x onerror=alert(1)>'

def test_hostile_names_and_answers(asked, tmp_path):
    questions, people, run = asked
    bad = [replace(q, question=NASTY, image_id=NASTY) for q in questions]
    notes = {i: replace(a, image_id=NASTY, answer_type=NASTY, multiple_choice_answer=NASTY, answers=(NASTY,)*10) for i, a in people.items()}
    made = [Answered(tmp_path, bad, notes, {q.question_id: NASTY for q in bad}, confident=False) for _ in range(3)]
    found = compare({"<b>x": made[0], "$y$ _": made[1], "ولد": made[2]})
    browser = found.browse()
    browser.grid.cards.children[0].children[1].click()
    page = found.to_html(tmp_path/"a.html", n=4).read_text()
    for shown in ("".join(every_html(browser.widget)), browser.saved_view(), found._repr_html_(), page.replace("<script>\n//", "")):
        assert "<script>a" not in shown and "<img src=x" not in shown and "<b>x" not in shown and ">nan" not in shown

def test_draw(many):
    groups = draw_groups(many)
    assert np.array_equal(sum(fits.astype(int) for fits in groups.values()), np.ones(60))
    rows = draw_questions(many, 20, seed=3)
    assert len(set(rows.tolist())) == 20 and rows.tolist() == draw_questions(many, 20, seed=3).tolist() != draw_questions(many, 20, seed=4).tolist()
    counts = [fits[rows].sum() for fits in groups.values() if fits.any()]
    assert min(counts) >= min(2, min(fits.sum() for fits in groups.values() if fits.any())) # each kind is there
    assert len(draw_questions(many, 0)) == 0 and len(draw_questions(many, 1000)) == 60

@pytest.mark.parametrize("count", [2, 3])
def test_page(asked, tmp_path, count):
    found = compare(*(asked[2](seed, confident=seed > 1) for seed in range(1, 1 + count)))
    page = found.to_html(tmp_path/"page.html", n=12).read_text()
    assert page.count("<article") == 12 and page.count("class='said'") == 12*count and "script-src 'sha256-" in page
    assert not re.search(r"(src|href)=(?!['\"]?(data:|#))", page) and "/runs/" not in page and ">nan" not in page
    with pytest.raises(UserError, match="must end in .html"): found.to_html(tmp_path/"page.txt")
    with pytest.raises(UserError, match="n must be a whole number of 0 or more, not 'x'"): found.to_html(tmp_path/"page.html", n="x")

def test_joint_comparison_of_two(asked):
    run = asked[2]
    found, two = JointComparison.of([run(1), run(2)]), compare(run(1), run(2))
    assert found.results[0].interval == two.overall.interval and found.right["only B right"] == (two.table["accuracy_b"].ge(100) & two.table["accuracy_a"].lt(100)).sum()
    assert "some the same" not in str(found) and "answered by both" in str(found)

def test_secrets_of_addresses_are_nowhere(tmp_path):
    runs = [make_secret_run(tmp_path, name) for name in ("one", "two", "three")]
    for found in (compare(*runs), compare(*runs[:2])):
        browser = found.browse()
        browser.grid.cards.children[0].children[1].click()
        page = found.to_html(tmp_path/"page.html").read_text()
        for text in (found.table.to_string(), found.to_csv(tmp_path/"a.csv").read_text(), str(found), found._repr_html_(), page, "".join(every_html(browser.widget)), browser.saved_view()):
            assert not [word for word in SECRETS if word in text]
        assert str(tmp_path) not in page

@pytest.mark.parametrize("count", [2, 4])
def test_page_in_a_browser(tmp_path, count):
    "Filters fit the table, nothing is fetched, nothing goes wrong; it can be read, in both themes and at the width of a phone."
    run = ask()[2]
    found = compare(*(run(seed) for seed in range(1, 1 + count)))
    path, said = found.to_html(tmp_path/"page.html", n=1000), []
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=1100, height=900))
        page.on("request", lambda request: said.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri(), wait_until="load")
        take_picture(page, f"comparison-of-{count}")
        def shown(): return page.evaluate("[...document.querySelectorAll('article')].filter(e => e.checkVisibility()).length")
        menu, kinds = ("#right", found.right) if count > 2 else ("#change", found.changes)
        options = page.eval_on_selector_all(f"{menu} option", "options => options.slice(1).map(o => [o.value, o.textContent])")
        assert [text for _, text in options] == [f"{kind} ({n})" for kind, n in kinds.items() if n]
        for value, text in options:
            page.select_option(menu, value)
            assert f"({shown()})" == text.rpartition(" ")[2]
        page.select_option("#type", index=1)
        kind, first = options[-1][1].rpartition(" ")[0], found.table["answer_type"].value_counts().index[0]
        fits = found.mask(kind) if count > 2 else found.table["change"] == kind
        assert shown() == (fits & (found.table["answer_type"] == first)).sum()
        page.click("text=Clear filters")
        page.locator("#count", has_text="60 questions").wait_for()
        page.fill("#words", "dog")
        assert shown() == found.table[[c for c in found.table if c.startswith("answer_") and c != "answer_type"]].eq("Dog").any(axis=1).sum()
        page.select_option("#order", "different")
        different = page.eval_on_selector_all("article", "cards => cards.map(c => Number(c.dataset.different))")
        assert different == sorted(different, reverse=True) and len(different) == 60
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert not [text for text in page.evaluate(f"({CONTRAST})(document.body)") if text[0] < 4.5]
        page.set_viewport_size(dict(width=400, height=900))
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert said == [path.as_uri()]

def test_a_run_of_ours_beside_a_file_of_somebody_else(tmp_path):
    run = evaluate("sample", device="cpu", output_dir=tmp_path/"run", limit=40, progress=False)
    def theirs(name, answer):
        records = {q.question_id: dict(question_id=q.question_id, answers=[answer], confidences=[], raw=f"I think it is {answer}.") for q in run.data.questions}
        joined, table = SimpleNamespace(records=records, notes=("2 lines were left out.",), counts=dict(rows=len(records), joined=len(records))), ResultTable("lmms-eval", "samples", [], "", (), {})
        return OtherResults(tmp_path/"files"/name, table, run.data, joined)
    first, second = theirs("first.jsonl", "yes"), theirs("second.jsonl", "no")
    many, two = compare({"ours": run, "yes": first, "no": second}), compare(run, first)
    assert len(many.table) == len(two.table) == len(run.records) and many.coverage[1].left_out == len(first.records) - len(run.records)
    assert many.overall["accuracy"][0] == two.overall.a == run.accuracy.overall and many.overall["own_accuracy"][1] == first.accuracy.overall
    assert dict(many.legend())["yes"] == f"{first.label} ({first.place})" and "yes and no: 2 lines were left out." in str(many)
    for found in (many, two):
        browser = found.browse(sort="surest")
        browser.grid.cards.children[0].children[1].click()
        shown, page = "".join(every_html(browser.widget)), found.to_html(tmp_path/"page.html", n=5).read_text()
        assert "I think it is yes." in shown and "how sure it was is not known" in shown and browser.status.value == ""
        assert "nan" not in re.sub("base64,[^'\"]*", "", shown + browser.saved_view())
        assert "(first.jsonl)" in page and str(tmp_path) not in page
    with pytest.raises(UserError, match="is a file of results: open it with open_results"):
        (tmp_path/"second.jsonl").write_text("{}\n")
        compare(run, tmp_path/"second.jsonl")


# Names as real models have them

REAL = ["LLaVA-OneVision-7B", "LLaVA-OneVision-72B", "Qwen2.5-VL-7B-Instruct", "InternVL2_5-8B-MPO-and-more-words-here", "PaliGemma2-10B-pt-448-finetuned-on-VQAv2"]

@pytest.fixture(scope="module")
def real(asked): return compare({name: asked[2](i, confident=i == 4) for i, name in enumerate(REAL)})

def test_plots_name_every_run_in_full(real):
    map_, standings = plot_agreement(real), plot_standings(real)
    axes = map_.axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels(), standings.axes[0].get_legend().get_texts()):
        assert [label.get_text() for label in labels] == REAL
    for figure in (map_, standings):
        FigureCanvasAgg(figure).draw()
        edges = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text() in REAL]
        assert all(e.x0 >= -1 and e.y0 >= -1 and e.x1 <= figure.bbox.width + 1 and e.y1 <= figure.bbox.height + 1 for e in edges)
        assert figure.axes[0].get_window_extent().width > 150 # room is left for what is drawn
    assert len(set(plot_labels([f"{'x'*50}{i}" for i in range(12)]))) == 12 and plot_labels(["a", "b"]) == ["a", "b"]

def test_tables_fit_a_terminal_and_tell_which_letter_is_which(real):
    lines = str(real).split("\n\n")[1:-1] # without what each run is, and without the notes
    assert max(len(line) for part in lines for line in part.splitlines()) <= 100
    tables = {table.caption.partition(",")[0]: table for table in real.tables()}
    assert tables["Same answer"].head == ("", *"ABCDE") and tables["By answer type"].head == ("", *"ABCDE", "questions")
    rows = [f"{letter}: {name}" for letter, name in zip("ABCDE", REAL)]
    assert [row[0] for row in tables["Same answer"].rows] == rows == [row[0] for row in tables["Accuracy on the questions that all have answered"].rows]
    assert [row[0] for row in tables["Every pair"].rows][:2] == ["B − A", "C − A"]

@pytest.mark.parametrize("names, heads", [(["A", "B"], ["A", "B"]), ([chr(65 + i) for i in range(26)], [chr(65 + i) for i in range(26)]), (["base", "large"], ["base", "large"]),
                                          (["x"*40, "y"*40], ["A", "B"]), (["B", "x"*40, "y"*40], ["1", "2", "3"])], ids=["AB", "A-Z", "short", "long", "letter"])
def test_heads_of_columns(names, heads): assert list(column_heads(names).values()) == heads

def test_cards_keep_the_answer_and_tell_the_names_apart(real):
    browser = real.browse(sort="order")
    card, shown = browser.grid._cards[0].facts.value, short_names(REAL)
    assert len(set(shown.values())) == 5 and max(map(len, shown.values())) == 16
    assert card.count("class='beit3-who'") == 5 and all(f"title='{name}'" in card for name in REAL)
    row = browser.index.table.iloc[0]
    assert re.findall(r"<div class='beit3-said beit3-run'><b><bdi>(.*?)</bdi></b>", card) == [row[f"answer_{i}"] for i in range(5)] # alone on their lines
    alike = [f"{'x'*16}{i:02}{'y'*16}" for i in range(12)]
    assert len(set(short_names(alike).values())) == 12

def test_the_csv_of_many_is_read_back_equal(asked, many, real, tmp_path):
    odd = compare({"type_": asked[2](1), "raw": asked[2](2), "1e5": asked[2](3, confident=False)})
    without = compare(*(asked[2](i, people=None) for i in range(3)))
    for found in (many, real, odd, without):
        again = read_csv(found.to_csv(tmp_path/"a.csv"))
        pd.testing.assert_frame_equal(again, found.table, check_dtype=False)
        names = [name for name in again if pd.api.types.is_numeric_dtype(again[name]) and not name.endswith("_id")]
        assert names == [name for name in found.table if pd.api.types.is_numeric_dtype(found.table[name]) and not name.endswith("_id")] and "different_answers" in names

def test_what_is_not_known_is_not_offered(asked):
    run = asked[2]
    for count in (2, 3):
        silent = compare(*(run(i, people=None, confident=False) for i in range(count))).browse()
        assert "surest" not in dict(map(reversed, silent.controls["sort"].options)) and "<summary>Keys</summary>" in "".join(every_html(silent.widget))
        assert "surest" in dict(map(reversed, compare(*(run(i, confident=i == 1) for i in range(count))).browse().controls["sort"].options))
        silent.controls["words"].value = "nothing at all"
        assert "No question fits." in silent.grid.empty.value
    with pytest.raises(UserError, match="sort 'surest' is not known; use one of order, disagreement"): silent.comparison.browse(sort="surest")
    with pytest.raises(UserError, match="right 'only A' cannot be asked for: no human answers"): silent.comparison.browse(right="only A")
    with pytest.raises(UserError, match="answer_type 'other' cannot be asked for"): silent.comparison.browse(answer_type="other")

@pytest.mark.parametrize("count", [2, 3])
def test_texts_of_a_tool_keep_their_lines_and_say_what_is_cut(asked, count):
    runs = [asked[2](i) for i in range(count)]
    first = runs[0].questions[0].question_id
    runs[0].records[first].update(raw="one\ntwo " + "x"*5000, thinking="<b>\nhm")
    browser = compare(*runs).browse()
    browser.open(first)
    shown = "".join(every_html(browser.detail.widget))
    assert "<summary>The whole text</summary>" in shown and "<summary>What it thought</summary>" in shown and "one</bdi><br><bdi>two" in shown
    assert "&lt;b&gt;</bdi><br><bdi>hm" in shown and "… 1,008 more characters" in shown

def test_several_names_stand_with_commas(asked):
    class Noted(Answered): notes = ("Told once.",)
    questions, people, _ = asked
    runs = {name: Noted("/runs", questions, people, {q.question_id: "yes" for q in questions}) for name in ("a", "b", "c")}
    assert "a, b and c: Told once." in compare(runs).notes and "A and B: Told once." in compare(runs["a"], runs["b"]).notes

def test_page_with_long_names_fits_a_phone_and_a_sheet(real, tmp_path):
    path = real.to_html(tmp_path/"page.html")
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=400, height=900))
        page.goto(path.as_uri(), wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.evaluate("[...document.querySelectorAll('select')].every(s => s.getBoundingClientRect().right <= 400)")
        page.set_viewport_size(dict(width=700, height=900)) # a sheet of A4 within its margins
        page.emulate_media(media="print")
        wide = page.evaluate("[...document.querySelectorAll('.figures .wide')].map(e => e.scrollWidth - e.clientWidth)")
        assert max(wide) <= 0, wide

@pytest.mark.parametrize("count", [2, 3])
def test_questions_that_are_not_counted_are_marked(asked, tmp_path, count):
    questions, people, run = asked
    some = {i: replace(a, counted=i != 3) for i, a in people.items()}
    found = compare(*(run(seed, people=some) for seed in range(count)))
    browser = found.browse(per_page=60, sort="order")
    marked = [card.question_id for card in browser.grid._cards if "not counted by the rule" in card.facts.value]
    browser.open(3)
    assert marked == [3] and "not counted by the rule" in browser.detail.heading.value and "not counted by the rule" in browser.saved_view()
    browser.open(4)
    assert "not counted" not in browser.detail.heading.value
    page = found.to_html(tmp_path/"page.html").read_text()
    assert (page.count("<article"), page.count("not counted by the rule")) == ((60, 1) if count == 2 else (59, 0)) # of many, what is of no kind is not drawn
