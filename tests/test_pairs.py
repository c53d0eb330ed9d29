"Complementary pairs: the official list read, fetched and refused; pair accuracy against counting by hand; intervals against the pigeonhole bootstrap written out."
import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from file_server import PROXIES, FileServer
from hostile import NASTY, SHOWN, check, every_html, make_run
from official_standin import QUESTIONS, mirror, official_json, pairs_json, serve_json

from beit3_colab import evaluate, open_results
from beit3_colab.data import vqav2_online
from beit3_colab.data.dataset import Dataset, Question
from beit3_colab.data.pairs import QuestionPairs, pair_questions, read_pairs
from beit3_colab.data.vqav2 import open_official, open_vqav2
from beit3_colab.look.report_evidence import evidence_sections
from beit3_colab.scoring.figures import format_figure_count
from beit3_colab.look.pair_browser import OUTCOMES, PairTable, outcomes
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.pairs import MEASURES, pair_intervals, pairs_of
from beit3_colab.scenes.sample import open_sample
from beit3_colab.scoring.rules import normalize_answer, vqa_accuracy

NAME = "v2_mscoco_val2014_complementary_pairs.json"
ZIP = f"{QUESTIONS}/v2_Complementary_Pairs_Val_mscoco.zip"


@pytest.fixture(scope="module")
def sample(): return open_sample()

@pytest.fixture(scope="module")
def run(vqa, tmp_path_factory):
    return evaluate(vqa, split="sample", limit=400, output_dir=tmp_path_factory.mktemp("run"), progress=False)

class Told(AnsweredQuestions):
    "Answers that are given."
    def __init__(self, data, said):
        super().__init__(data.questions, data.annotations, data)
        self.told = {i: dict(answers=[answer], confidences=[.5]) for i, answer in said.items()}
    place = label = property(lambda self: "somebody")
    records = property(lambda self: self.told)


# --- the sample's own

def test_pairs_of_the_sample_are_pairs(sample):
    pairs, asked = sample.complementary_pairs(), {q.question_id: q for q in sample.questions}
    assert len(pairs) == 218 and len({i for pair in pairs for i in pair}) == 436 and pairs.notes == ()
    for a, b in pairs:
        assert asked[a].question == asked[b].question and asked[a].image != asked[b].image
        assert sample.annotations[a].multiple_choice_answer != sample.annotations[b].multiple_choice_answer
    assert pairs == open_sample().complementary_pairs() # the same each time

def test_there_are_as_many_as_can_be(sample):
    by_text = {}
    for q in sample.questions: by_text.setdefault(q.question, []).append(sample.annotations[q.question_id].multiple_choice_answer)
    assert sum(min(len(a)//2, len(a) - max(Counter(a).values())) for a in by_text.values()) == 218

def test_a_text_asked_twice_about_one_picture_is_no_pair():
    asked = [Question(1, 7, "Is it?"), Question(2, 7, "Is it?"), Question(3, 8, "Is it?")]
    assert pair_questions(asked, {1: "yes", 2: "no", 3: "no"}) == [(1, 3)]
    assert pair_questions(asked[:2], {1: "yes", 2: "no"}) == []


# --- by hand

def by_hand(run, pairs):
    "The figures by loops and the official rule of one answer."
    worth = {i: vqa_accuracy(r["answers"][0], run.annotations[i].answers) for i, r in run.records.items()}
    whole = [(a, b) for a, b in pairs if a in worth and b in worth]
    said = {i: normalize_answer(r["answers"][0]) for i, r in run.records.items()}
    mean = lambda values: sum(values)/len(values)
    return len(whole), {
        "both right": 100*mean([worth[a] == worth[b] == 100 for a, b in whole]),
        "the lesser of the two": mean([min(worth[a], worth[b]) for a, b in whole]),
        "each on its own": mean([(worth[a] + worth[b])/2 for a, b in whole]),
        "the same answer to both": 100*mean([said[a] == said[b] for a, b in whole])}

def test_figures_of_a_run_are_those_counted_by_hand(run, sample):
    found = pairs_of(run)
    count, figures = by_hand(run, sample.complementary_pairs())
    assert len(found) == count == found.counts["whole"] and sum(found.counts.values()) == 218
    for name, value in figures.items():
        figure = found.find(name)
        assert figure.value == pytest.approx(value, abs=.004) and figure.questions == count
        assert figure.interval[0] <= figure.value <= figure.interval[1]
    assert f"{count} of 218 pairs are whole in this run" in found.notes[0] and "few whole pairs" in found.notes[0]

def test_types_are_parts_of_all(run):
    found = pairs_of(run)
    types = [f for f in found.figures if f.group.startswith("answer type") and f.name == "both right"]
    assert sum(f.questions for f in types) == len(found)
    assert sum(f.questions*f.value for f in types)/len(found) == pytest.approx(found.find("both right").value)

def test_the_same_file_opened_as_somebodys_results_gives_the_same(run, tmp_path):
    path = tmp_path/"theirs.json"
    path.write_text(json.dumps([{"question_id": i, "answer": r["answers"][0]} for i, r in run.records.items()]))
    theirs, ours = pairs_of(open_results(path, dataset="sample")), pairs_of(run)
    assert [(f.name, f.group, f.value, f.interval) for f in theirs.figures] == [(f.name, f.group, f.value, f.interval) for f in ours.figures]
    assert "sort" in PairTable.of(theirs.run).browse().controls # nobody told a confidence
    with pytest.raises(UserError, match="use one of order, worst"): PairTable.of(theirs.run).browse(sort="surest")

def test_who_says_the_same_to_everything_is_right_on_no_pair(sample):
    said = {q.question_id: "yes" for q in sample.questions}
    found = pairs_of(Told(sample, said))
    assert (found.find("both right").value, found.find("the same answer to both").value) == (0, 100)
    assert found.find("each on its own", "answer type yes/no").value >= 50

def test_a_perfect_model_is_right_on_all(sample):
    found = pairs_of(Told(sample, {i: a.multiple_choice_answer for i, a in sample.annotations.items()}))
    assert [found.find(name).value for name in MEASURES.values()] == [100, 100, 100, 0]
    low, high = found.find("both right").interval
    assert 95 < low < high == 100 # never certain

def test_what_people_answer_alike_is_counted_and_left_out_of_one_figure(sample):
    (a, b), *_ = sample.complementary_pairs()
    note = replace(sample.annotations[b], answers=sample.annotations[a].answers, multiple_choice_answer=sample.annotations[a].multiple_choice_answer)
    data = replace(sample, annotations=sample.annotations | {b: note})
    run = Told(data, {i: n.multiple_choice_answer for i, n in data.annotations.items()})
    listed = sample.complementary_pairs()
    class Kept(type(data)):
        def complementary_pairs(self): return listed
    run.data = Kept(data.split, data.questions, data.annotations, data.image_root)
    found = pairs_of(run)
    assert (found.find("both right").value, found.find("the same answer to both").questions, len(found)) == (100, 217, 218)
    assert found.find("the same answer to both").value == 0 and "the same in 1 pair" in found.notes[0]

def test_questions_that_the_rule_leaves_out_are_not_scored(sample):
    a = sample.complementary_pairs().pairs[0][0]
    notes = sample.annotations | {a: replace(sample.annotations[a], counted=False)}
    run = Told(sample, {i: n.multiple_choice_answer for i, n in notes.items()})
    run.annotations = notes
    assert pairs_of(run).counts == {"whole": 217, "one answered": 0, "none answered": 0, "not scored": 1}

def test_what_cannot_be_judged_is_refused(sample, tmp_path):
    with pytest.raises(UserError, match="218 pairs .*1 of 1,093 questions is answered: give the answers to the others, too"): pairs_of(Told(sample, {sample.questions[0].question_id: "yes"}))
    own = Dataset("val", sample.questions, sample.annotations, tmp_path)
    with pytest.raises(UserError, match="has no complementary pairs"): pairs_of(Told(own, {q.question_id: "yes" for q in sample.questions}))
    hidden = Told(sample, {q.question_id: "yes" for q in sample.questions})
    hidden.annotations = None
    with pytest.raises(UserError, match="people's answers are not known"): pairs_of(hidden)
    for name, value in (("resamples", 10), ("resamples", 1.5), ("seed", -1)):
        with pytest.raises(UserError, match=name): pairs_of(hidden, **{name: value})


# --- intervals

def test_intervals_are_those_of_the_pigeonhole_bootstrap_written_out():
    rng = np.random.default_rng(3)
    pairs = [tuple(rng.choice(30, 2, replace=False)) for _ in range(60)]
    first, second = zip(*pairs)
    values, codes = rng.random(60), rng.integers(2, size=60)
    found = pair_intervals(list(first), list(second), dict(x=values), codes, 300, 5)["x"]
    pictures = list(dict.fromkeys([*first, *second]))
    draws, means = np.random.default_rng(5), ([], [])
    for _ in range(300):
        drawn = Counter(draws.integers(len(pictures), size=len(pictures), dtype=np.int32).tolist())
        for g in range(2):
            weighted = [(drawn[pictures.index(a)]*drawn[pictures.index(b)], v) for a, b, v, c in zip(first, second, values, codes) if c == g]
            means[g].append(sum(w*v for w, v in weighted)/sum(w for w, _ in weighted))
    for g in range(2): assert found[g] == pytest.approx(tuple(100*np.percentile(means[g], [2.5, 97.5])), abs=.006)

def test_values_that_are_not_there_weigh_nothing():
    first, second, values = list("abcdef"), list("ghijkl"), np.array([1., 0, np.nan, 1, np.nan, 0])
    some = pair_intervals(first, second, dict(x=values), np.zeros(6, int), 200)["x"]
    assert some[0] is not None and not np.isnan(some[0]).any()
    assert pair_intervals(first, second, dict(x=np.full(6, np.nan)), np.zeros(6, int), 100)["x"] == [None]
    assert pair_intervals(list("aaa"), list("abc"), dict(x=np.ones(3)), np.zeros(3, int), 100)["x"] == [None] # three pictures

def test_it_covers_at_least_what_it_says():
    "Pairs of pictures with an effect of their own: the truth lies in 95 % of the intervals or more."
    covered = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        effect, first = rng.normal(size=80), rng.integers(80, size=120)
        second = (first + rng.integers(1, 80, size=120)) % 80
        hits = (effect[first] + effect[second] + rng.normal(size=120)*2 > 0).astype(float) # half of them, in truth
        low, high = pair_intervals(first.tolist(), second.tolist(), dict(x=hits), np.zeros(120, int), 200, trial)["x"][0]
        covered += low <= 50 <= high
    assert covered >= 57


# --- the official list

@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in PROXIES: monkeypatch.delenv(name, raising=False)
    with FileServer(serve_json(official_json(pictures=40))) as s:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(s))
        monkeypatch.setattr(vqav2_online, "fetch", partial(vqav2_online.fetch, backoff=.001))
        yield s

def asked_for(server): return [r.path for r in server.requests if r.path == ZIP]

def test_the_list_is_fetched_by_name_when_it_is_asked_for_and_once(server):
    data = open_official("val")
    assert not asked_for(server)
    found = data.complementary_pairs()
    assert [list(pair) for pair in found] == pairs_json(40) and len(found) > 5
    assert open_official("val").complementary_pairs() == found and len(asked_for(server)) == 1

def test_nothing_is_fetched_unasked(server):
    data = replace(open_official("val"), fetches=False)
    with pytest.raises(UserError, match=r"nothing is fetched unasked.*fetch_pictures=True \(--fetch-pictures\)"): data.complementary_pairs()
    assert not asked_for(server)
    open_official("val").complementary_pairs()
    assert len(data.complementary_pairs()) > 5 # it is in the cache now

def test_splits_without_public_answers_have_none(server):
    with pytest.raises(UserError, match="pairs of test are not public"): open_official("test").complementary_pairs()

@pytest.mark.parametrize("content, says", [([[1, 2], [3, 4]], "other question_ids"), ({"pairs": []}, "no list of pairs"), ([[1000, "2"]], "entry 0")])
def test_a_list_of_another_kind_is_fetched_again_the_next_time(server, content, says):
    good = server.files[ZIP]
    data = open_official("val")
    server.files.update(serve_json({NAME: content}))
    with pytest.raises(UserError, match=says): data.complementary_pairs()
    server.files[ZIP] = good
    assert len(data.complementary_pairs()) > 5 and len(asked_for(server)) == 2

def test_in_a_folder_it_is_read_where_it_lies(sample):
    data = open_vqav2(sample.image_root, "val")
    with pytest.raises(UserError, match=rf"has no vqa/{NAME}.*v2_Complementary_Pairs_Val_mscoco\.zip into"): data.complementary_pairs()

def test_what_looks_like_it_is_named(sample, tmp_path):
    (tmp_path/"vqa").mkdir()
    for path in (sample.image_root/"vqa").iterdir(): (tmp_path/"vqa"/path.name).write_bytes(path.read_bytes())
    (tmp_path/"vqa"/"v2_Complementary_Pairs_Val_mscoco.zip").write_bytes(b"")
    data = open_vqav2(tmp_path, "val")
    with pytest.raises(UserError, match="is there: unpack it into"): data.complementary_pairs()
    (tmp_path/"vqa"/NAME).write_text(json.dumps(pairs_json()))
    assert len(data.complementary_pairs()) == 218

@pytest.mark.parametrize("text", ["", "[", "[[1, 2]", '[[1, 2], "x"]', "[[1, 2, 3]]", "[[1, 2.0]]", "[[null, 2]]", "[[1, [2]]]", "[" * 100_000, "[[1, " + "9"*5000 + "]]",
                                  '{"1": 2}', "7", "[]", "null", "[[-1, 2]]", "[[true, 2]]", "\x00", "PK\x03\x04"])
def test_hostile_lists_are_refused_by_name(sample, tmp_path, text):
    (tmp_path/NAME).write_text(text)
    with pytest.raises(UserError, match="pairs file") as told: read_pairs(tmp_path/NAME, sample.questions)
    assert len(str(told.value)) < 800

def test_left_out_entries_are_counted(sample, tmp_path):
    (a, b), (c, d), *_ = sample.complementary_pairs()
    other = next(q.question_id for q in sample.questions if q.image_id == a//1000 and q.question_id != a)
    (tmp_path/NAME).write_text(json.dumps([[a, b], [b, a], [a, a], [c, d], [c, 5], [a, other], [a, d]]))
    found = read_pairs(tmp_path/NAME, sample.questions)
    assert found.pairs == ((a, b), (c, d), (a, d))
    for part in ("1 (the same pair again)", "1 (a question with itself)", "1 (questions that are not in this split)", "1 (two questions about one picture)"): assert part in found.notes[0]
    assert "2 questions in more than one pair" in found.notes[1] and "1 pair of two different texts" in found.notes[2]
    run = Told(sample, {q.question_id: "yes" for q in sample.questions})
    class Listed(type(sample)):
        def complementary_pairs(self): return found
    run.data = Listed(sample.split, sample.questions, sample.annotations, sample.image_root)
    assert set(found.notes) <= set(pairs_of(run).notes) # they stand beside the figures


# --- looked at

def test_the_browser_shows_what_the_table_says(run):
    found = PairTable.of(run)
    kinds, table = outcomes(found.table), found.table
    for kind in OUTCOMES:
        right = {"both right": 2, "one right": 1, "neither right": 0}[kind]
        counted = ((table["accuracy_a"] >= 100).astype(int) + (table["accuracy_b"] >= 100) == right).sum()
        assert len(found.browse(outcome=kind).rows) == counted == (kinds == kind).sum()
    shown = found.browse(sort="worst")
    assert table["lesser"].iloc[shown.rows].is_monotonic_increasing
    shown.open(int(shown.rows[0]))
    row = table.iloc[shown.rows[0]]
    assert ["<img" in one.frame.value for one in shown.detail.two.pictures] == [True, True] and str(row["question_id_a"]) in shown.detail.parts.value and str(row["question_id_b"]) in shown.detail.parts.value
    shown.close()

def test_a_picture_that_cannot_be_read_leaves_the_other(sample):
    class Blind(type(sample)):
        def read_image(self, question):
            if question.image_id % 2: raise OSError("gone")
            return super().read_image(question)
    run = Told(Blind(sample.split, sample.questions, sample.annotations, sample.image_root), {q.question_id: "yes" for q in sample.questions})
    shown = PairTable.of(run).browse(per_page=48)
    cards = "".join(card.children[0].value for card in shown.grid.cards.children)
    assert cards.count("<img") + cards.count("no picture") == 96 and "gone" in cards and shown.status.value == ""
    assert "no picture" in shown.saved_view()
    shown.close()

def test_hostile_text_stays_text(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    a, b = next((p, q) for p in run.questions for q in run.questions if p.image != q.image)
    monkeypatch.setattr(type(run.data), "complementary_pairs", lambda self: QuestionPairs(((a.question_id, b.question_id),), NASTY, (NASTY,)))
    found = PairTable.of(run)
    shown = found.browse()
    made = [found._repr_html_(), *every_html(shown.widget), shown.saved_view()]
    shown.grid.cards.children[0].children[1].click()
    made += every_html(shown.widget)
    text = "".join(check(content.partition("</style>")[2] if content.lstrip().startswith("<style>") else content).text for content in made)
    for part in SHOWN: assert part in text, part
    assert NASTY.split()[0][:3] in str(found) and "\x1b" not in str(found)


# --- what a list may hold, and where it may lie

def test_both_texts_of_a_pair_are_shown(sample, monkeypatch):
    asked = {q.question_id: q for q in sample.questions}
    (a, b), *_ = sample.complementary_pairs()
    c = next(q.question_id for q in sample.questions if q.question not in asked[a].question and q.image != asked[a].image)
    monkeypatch.setattr(type(sample), "complementary_pairs", lambda self: QuestionPairs(((a, c), (a, b)), "a list"))
    found = PairTable.of(Told(sample, {q.question_id: "yes" for q in sample.questions}))
    both = f"{asked[a].question} / {asked[c].question}"
    assert found.table["question"].tolist() == [both, asked[a].question]
    shown = found.browse()
    card = shown.grid.cards.children[0]
    assert any(both == getattr(part, "description", "") for part in card.children) and both in check(shown.saved_view()).text
    shown.open(0)
    assert both in check(shown.detail.heading.value).text
    shown.controls["words"].value = asked[c].question
    assert 0 in shown.rows # what is asked of the second picture is found, too
    shown.close()

def test_notes_name_a_list_without_its_place_and_errors_with_it(sample, tmp_path):
    (a, b), *_ = sample.complementary_pairs()
    (tmp_path/NAME).write_text(json.dumps([[a, b], [b, a], [a, a]]))
    found = read_pairs(tmp_path/NAME, sample.questions)
    assert found.notes and all(NAME in note and str(tmp_path) not in note for note in (*found.notes, found.source))
    (tmp_path/NAME).write_text(json.dumps([[1, 2]]))
    with pytest.raises(UserError) as told: read_pairs(tmp_path/NAME, sample.questions)
    assert str(tmp_path/NAME) in str(told.value)

def test_a_report_fetches_no_list_and_takes_one_that_is_there(server, tmp_path):
    data = open_official("val")
    run = Told(data, {i: note.multiple_choice_answer for i, note in data.annotations.items()})
    assert data.fetches
    with pytest.raises(UserError, match=r"run\.pairs\(\) fetches it after a run"): pairs_of(run, fetch=False)
    class Placed(Told): place = tmp_path
    placed = Placed(data, {i: r["answers"][0] for i, r in run.records.items()})
    told = evidence_sections(placed)
    assert "Not in this report: pairs" in told["more", ""] and "run.pairs() fetches it" in told["more", ""] and not asked_for(server)
    found = pairs_of(run)
    assert len(asked_for(server)) == 1 and found.find("both right").value == pairs_of(run, fetch=False).find("both right").value

@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_under_the_lists_name_is_called_that(sample, tmp_path, make):
    (tmp_path/"vqa").mkdir()
    for path in (sample.image_root/"vqa").iterdir(): (tmp_path/"vqa"/path.name).write_bytes(path.read_bytes())
    make(tmp_path/"vqa"/NAME)
    with pytest.raises(UserError, match=rf"{NAME} is there, but it is no file: put the file in its place$"): open_vqav2(tmp_path, "val").complementary_pairs()

def test_without_peoples_answers_the_sample_has_no_pairs_and_says_why(sample, tmp_path):
    path = tmp_path/"theirs.json"
    path.write_text(json.dumps([{"question_id": q.question_id, "answer": "yes"} for q in sample.questions]))
    run = open_results(path, dataset=replace(sample, annotations=None))
    assert run.evidence().part("pairs").missing.endswith("people's answers are not known, so no pair can be judged")

def test_figures_of_pairs_say_so(run):
    found = pairs_of(run)
    figure = found.find("both right")
    assert str(figure).endswith(f"{len(found)} pairs") and format_figure_count(figure) == f"{len(found)} pairs"
    assert {f.what for f in found.figures} == {"pair"}

def test_pairs_are_ticked_tagged_and_come_out_as_a_table_and_as_code(run, tmp_path):
    pairs = run.pairs()
    browser, remarks = pairs.browse(), run.remarks
    try:
        browser.grid._cards[1].tick.value = True
        row, = browser.selected.to_dict("records")
        assert row["question_id_a"] == pairs.table["question_id_a"].iloc[browser.rows[1]] and browser.chosen_ids() == [row["question_id_a"], row["question_id_b"]]
        browser.controls["pick-tag"].value = "hard pair"
        browser.controls["tag-add"].click()
        assert set(remarks.ids("hard pair")) == set(browser.chosen_ids()) and browser.status.value == ""
        assert browser.selected["tags"].tolist() == [["hard pair"]] and "hard pair" in browser.grid._cards[1].facts.value and "1 picked" in repr(browser)
        browser.open(browser.rows[1])
        assert browser.controls["tag-field"].value == "hard pair" and browser.controls["picked"].value
        browser.controls["back"].click()
        for values in ({}, dict(outcome="one right", words="is"), dict(same="different", sort="order", answer_type="number"), dict(words="it's")):
            browser.controls["reset"].click()
            for name, value in values.items(): browser.controls[name].value = value
            same = eval(browser.code(), {"pairs": pairs})
            assert same.rows.tolist() == browser.rows.tolist() and same.code() == browser.code()
        new = evaluate("sample", questions=browser, device="cpu", output_dir=tmp_path/"new", progress=False)
        assert set(new.answers["question_id"]) == set(browser.chosen_ids())
        browser.controls["size"].value = "large"
        assert "340px" in browser.grid.cards.layout.grid_template_columns
    finally: remarks.path.unlink(missing_ok=True)
