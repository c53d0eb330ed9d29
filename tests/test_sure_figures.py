"How sure figures are where all pictures agree; figures of a run that goes on; what is told of which data set."
import itertools
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from beit3_colab.data.dataset import Annotation, Dataset, Question
from beit3_colab.pictures.sources import FolderPictures
from beit3_colab.run.ceiling import find_ceiling
from beit3_colab.run.comparison import paired_intervals
from beit3_colab.run.many import rate_runs
from beit3_colab.run.rule_table import distinct_pairs, score_pairs, shared_intervals
from beit3_colab.run.tally import Tally
from beit3_colab.run.task import DATASETS
from beit3_colab.scoring.answerability import vizwiz_figures
from beit3_colab.scoring.gqa import gqa_figures
from beit3_colab.scoring.intervals import bootstrap_intervals, mean_interval, resample_groups, unanimous_interval, unseen_share
from beit3_colab.scoring.rules import RULES
from beit3_colab.scoring.score import RunningScore, score

TWENTY = list(range(20))


# intervals

@pytest.mark.parametrize("images", [2, 3, 7, 20, 100, 40_504])
def test_nought_and_one_are_wilsons(images):
    reach = round(100*unseen_share(images), 2)
    assert unanimous_interval(0., images) == (0., reach) and unanimous_interval(1., images) == pytest.approx((100 - reach, 100.), abs=1e-9)

@pytest.mark.parametrize("mean, interval", [(.6, (50.33, 66.45)), (0., (0., 16.11)), (1., (83.89, 100.))])
def test_an_interval_has_a_width(mean, interval):
    "20 pictures that are all worth the same, everywhere an interval is made."
    values = [mean]*20
    assert bootstrap_intervals(TWENTY, values, {"all": TWENTY})["all"] == interval
    assert shared_intervals(TWENTY, [100*np.array(values), 100*np.array(values)]) == [interval]*2
    running = RunningScore("official")
    for image in TWENTY: running.add(image, "other", 100*mean)
    assert running.interval == running.intervals["other"] == interval
    standings, _ = rate_runs(["a", "b"], [(0, 1)], TWENTY, np.array([values]*2).T, {"overall": np.array(TWENTY)})
    assert [s.interval for s in standings] == [interval]*2

def test_of_few_pictures_there_is_none_and_of_different_ones_it_is_what_was_drawn():
    assert mean_interval(1, .6, .6, .6) is None and mean_interval(9, .6, .41234, .7) == (41.23, 70.)

@pytest.mark.parametrize("value", [.1, .3, 1/3, .9])
def test_alike_but_for_rounding(value):
    "Sums of thirds and tenths are not exact; pictures with one, two or three questions."
    images = [i for i in range(30) for _ in range(1 + i % 3)]
    values = [value]*len(images)
    expected = unanimous_interval(value, 30)
    assert bootstrap_intervals(images, values, {0: list(range(len(images)))})[0] == expected
    running = RunningScore()
    for image in images: running.count(image, "other", value)
    assert running.interval == expected

def test_one_picture_of_many_is_not_alike():
    values = [1.]*999 + [.9]
    running = RunningScore()
    for i, value in enumerate(values): running.count(i, "other", value)
    low, high = running.interval
    assert .01 < high - low < .1 or (low, high) == (99.97, 100.)

def test_a_paired_interval_has_a_width():
    low, high = paired_intervals(list(range(9)), np.array([.1 + .2]*9), {"all": list(range(9))})["all"]
    assert low < -25 and high > 25

def test_groups_together_are_as_each_alone():
    draw = np.random.default_rng(0)
    images, values = (np.arange(600)//3).tolist(), draw.integers(0, 11, 600)/10
    groups = {name: np.flatnonzero(draw.random(600) < share).tolist() for name, share in (("most", .9), ("some", .1), ("few", .006))}
    together = list(resample_groups(images, values, groups, 300, 0))
    alone = [next(resample_groups(images, values, {name: groups[name]}, 300, 0)) for name in groups]
    for one, other in zip(together, alone):
        assert one[:2] == other[:2] and one[2:] == pytest.approx(other[2:], abs=1e-12)

@pytest.mark.parametrize("sure", [1., 0.])
def test_perfect_ranking_is_not_certain(sure):
    notes = {i: Annotation(i, i, "", "other", "", ("red",)*10, facts={"answerable": int(i % 4 > 0)}) for i in range(40)}
    said = {i: {"answers": ["red"], "answerable": float(i % 4 > 0) if sure else 1.} for i in notes}
    by_name = {f.name: f for f in vizwiz_figures(notes, said, 100)}
    f1 = by_name["not answerable, F1"]
    assert (f1.value, f1.interval) == (100*sure, unanimous_interval(sure, 10)) # ten pictures are of what is looked for
    if sure: assert by_name["not answerable, average precision"].interval == unanimous_interval(1., 10)
    assert by_name["other"].interval == unanimous_interval(1., 40)

def test_gqa_where_all_is_alike():
    ids = [f"{i:03}" for i in range(60)]
    facts = lambda i: {"structural": "query", "semantic": "rel", "group": "g", "entailed": (ids[i//3*3 + 1], ids[i//3*3 + 2]), "valid": ("red",), "plausible": ("red",), "steps": 1, "words": 3}
    notes = {q: Annotation(q, str(i//3), "", "", "red", ("red",), counted=i % 3 == 0, facts=facts(i)) for i, q in enumerate(ids)}
    said = {q: {"answers": ["blue" if i % 3 == 1 else "red"]} for i, q in enumerate(ids)} # one of two entailed is right
    found = {f.name: f for f in gqa_figures(notes, said, 100) if not f.group}
    assert (found["consistency"].value, found["consistency"].interval) == (50., unanimous_interval(.5, 20))
    assert found["accuracy"].interval == found["validity"].interval == unanimous_interval(1., 20)
    assert found["distribution"].value == 0 and found["distribution"].interval is None and "no interval" in found["distribution"].note


# a run that goes on

WORDS = ["red", "blue", "2", "two", "a cat", "cat"]

def made_up(count, seed, people):
    draw = random.Random(seed)
    notes = {i: Annotation(i, i//3, "what", draw.choice(["number", "other"]), "red", tuple(draw.choices(WORDS[:4], k=draw.choice(people))), counted=i % 7 != 3) for i in range(count)}
    return notes, {i: draw.choice(WORDS) for i in range(count)}

@pytest.mark.parametrize("rule", ["official", "exact", "aokvqa_da", "vizwiz_official", "lmms_vqav2", "vlmeval_anls"])
def test_the_running_figure_ends_as_the_final_one(rule):
    for count, seed in itertools.product((1, 2, 3, 8, 23, 59), range(8)):
        notes, said = made_up(count, seed, (10,) if rule in ("mmf_textvqa",) else (1, 3, 5, 10))
        final = score(notes, said, metric=rule, resamples=100)
        run = SimpleNamespace(questions=[Question(i, i//3, "", "") for i in notes], annotations=notes, metric=rule, notes=())
        tally = Tally(run, {}, SimpleNamespace(warn=print))
        for i, answer in said.items(): tally.count([dict(question_id=i, answers=[answer])])
        assert (tally.running.overall, tally.running.per_answer_type) == (final.overall, {t: final.per_answer_type[t] for t in tally.running.per_answer_type})
        assert tally.running.num_questions == final.num_questions # those that do not count are in neither

def test_rules_share_what_they_score():
    notes, said = made_up(200, 1, (10,))
    pairs = [(said[i], note.answers) for i, note in notes.items()]*2
    different, which = distinct_pairs(pairs)
    assert len(different) <= 200 and [different[i] for i in which] == pairs
    for name in ("official", "aokvqa_da"):
        expected = [100*RULES[name](*pair) for pair in pairs]
        assert score_pairs(RULES[name], pairs).tolist() == score_pairs(RULES[name], different)[which].tolist() == expected


# a search

def test_words_are_found_whatever_was_looked_for_before():
    from pandas import DataFrame

    from beit3_colab.look.search import AnswerIndex, Filter
    draw = random.Random(0)
    texts = [" ".join(draw.choices(["red", "blue", "table", "left", "tea"], k=3)) for _ in range(400)]
    answers = [draw.choice(["red", "tea", "no"]) for _ in texts]
    index = AnswerIndex(DataFrame(dict(question_id=range(400), image_id=range(400), question=texts, answer=answers, confidence=.5)))
    assert index.columns["answer"].values == list(dict.fromkeys(answers)) and index.columns["question"].values == list(dict.fromkeys(texts))
    begins = lambda word, i: any(part.startswith(word) for part in f"{texts[i]} {answers[i]}".split())
    for words in ("red table", "table red", "ta te", "t", "red red table", "red zebra", "zebra red", "red tea left", "tea"):
        expected = [i for i in range(400) if all(begins(word, i) for word in words.split())]
        assert index.select(Filter(words=words)).tolist() == expected
        no = [i for i in expected if answers[i] == "no"]
        assert index.select(Filter(words=words, answer="no")).tolist() == no


# what is told of which data set

@pytest.mark.parametrize("name", DATASETS)
def test_the_soft_score_is_vqav2s(name):
    from importlib import import_module
    module, kind = DATASETS[name].split(":")
    assert getattr(import_module(module), kind).soft_scored == (name in ("vqav2", "sample", "own"))

def test_its_tables_are_vqav2_too():
    from beit3_colab.data.vqav2 import TableVQAv2
    assert TableVQAv2.soft_scored and Dataset.soft_scored

@pytest.mark.parametrize("listed, said", [("3:00", "300"), ("300", "3:00"), ("u.s.", "US"), ("t-shirt", "t shirt"), ("1,000", "1000")])
def test_a_ceiling_finds_what_a_rule_takes_for_the_same(listed, said):
    notes = {1: Annotation(1, 1, "", "", said, (said,))}
    best = RULES["lmms_gqa"](listed, (said,))
    assert find_ceiling(notes, [listed, "else"], "lmms_gqa").percent == 100*best


# a folder of pictures

def test_what_is_missing_in_a_folder(tmp_path):
    for name in ("val2014/a.jpg", "b.jpg", "deep/er/c.jpg"):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).touch()
    names = ["val2014/a.jpg", "b.jpg", "./b.jpg", "val2014//a.jpg", "deep/er/c.jpg", str(tmp_path/"b.jpg"), "deep/er/", "val2014/b.jpg", "none/a.jpg", "c.jpg", "c.jpg"]
    assert FolderPictures(tmp_path).missing(names) == ["val2014/b.jpg", "none/a.jpg", "c.jpg"]

def test_a_folder_with_places_of_its_own(tmp_path):
    class Flat(FolderPictures):
        def path(self, name): return self.folder/name.rpartition("/")[2]
    (tmp_path/"a.jpg").touch()
    assert Flat(tmp_path).missing(["x/a.jpg", "x/b.jpg"]) == ["x/b.jpg"]
