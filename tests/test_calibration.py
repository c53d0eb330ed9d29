"""What a confidence is worth: fits against other programs and plain computations, folds without leaks, intervals, hostile files."""
import json
from dataclasses import replace

import numpy as np
import pytest

from beit3_colab import evaluate
from beit3_colab.look.export import to_dataset
from beit3_colab.look.tables import full_table, read_csv, write_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.confidence import confidence_of
from beit3_colab.run.folder import RunFolder
from beit3_colab.scoring.calibration import as_shares, Calibration, calibration_errors, cross_fitted, deal_pictures
from beit3_colab.scoring.calibration import fit_isotonic, fit_temperature, Isotonic, log_loss, mass_bins, reliability_table, risk_bounds
from beit3_colab.scoring.calibration import Temperature, to_logit, width_bins
from beit3_colab.scoring.figures import draw_weights


def golden():
    "97 answers by a formula, all of another confidence; other programs were given the same."
    i = np.arange(97)
    c = np.round(.30 + .69*((37*i + 11) % 97)/97 + .0001*((5*i) % 7), 5)
    a = np.where(c > .85, (13*i) % 9 < 8, (i*i + 3*i) % 11 < 8).astype(float)
    return c, a, i.tolist()

def made_up(images=300, each=4, temperature=2., seed=0, shape=None):
    draw = np.random.default_rng(seed)
    pictures = np.repeat(np.arange(images), each)
    z = draw.normal(1, 1.5, len(pictures))
    p = 1/(1 + np.exp(-z)) if shape is None else shape(z)
    return np.round(1/(1 + np.exp(-temperature*z)), 5), (draw.random(len(z)) < p).astype(float), pictures.tolist()


def test_figures_are_those_of_other_programs():
    "scikit-learn 1.9.1 (Brier, log loss, temperature, isotonic) and torchmetrics 1.9.0 (ECE, in single precision)."
    c, a, pictures = golden()
    assert len(set(c)) == 97
    by_name = {f.name: f.value for f in calibration_errors(c, a, pictures)}
    assert by_name["Brier score"] == pytest.approx(0.23443439304329897, abs=1e-12)
    assert by_name["log loss"] == pytest.approx(0.658966004881787, abs=1e-12)
    assert by_name["calibration error, bins of equal width"] == pytest.approx(100*0.150259793814433, abs=1e-5)
    assert fit_temperature(c, a).temperature == pytest.approx(3.5787839530217576/2, rel=1e-6) # there the logits are (−x, x)
    theirs = [0.6428571428571429, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 0.6842105263157895, 0.8181818181818182]
    ours = fit_isotonic(c, a)
    assert ours(np.array([.3, .45, .5, .62, .71, .8, .88])) == pytest.approx(theirs, abs=1e-12)
    assert ours(np.array([.99])) == pytest.approx(1 - .5/9) and a[c > .933].sum() == 8 # they say 1, of eight right answers

@pytest.mark.parametrize("temperature", [.5, 1., 2., 4.])
@pytest.mark.parametrize("soft", [False, True])
def test_the_temperature_that_was_put_in_is_found(temperature, soft):
    draw = np.random.default_rng(5)
    z = draw.normal(1, 1.5, 40_000)
    p = 1/(1 + np.exp(-z))
    accuracy = draw.binomial(3, p)/3 if soft else draw.random(len(p)) < p
    assert fit_temperature(1/(1 + np.exp(-temperature*z)), accuracy).temperature == pytest.approx(temperature, rel=.04)

def test_rounded_confidences_have_finite_logits_and_losses():
    assert np.isfinite(to_logit([0., 1.])).all() and np.isfinite(log_loss(np.array([0., 1.]), np.array([1., 0.]))).all()
    assert to_logit([1.])[0] == pytest.approx(-to_logit([0.])[0]) and to_logit([1.])[0] > to_logit([.99999])[0]
    assert 0 < Temperature(.05)([.6])[0] < 1

def slow_isotonic(values, weights):
    "Pool adjacent violators, by hand."
    blocks = []
    for v, w in zip(values, weights):
        blocks.append([v, w, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (v1, w1, n1), (v2, w2, n2) = blocks[-2:]
            blocks[-2:] = [[(v1*w1 + v2*w2)/(w1 + w2), w1 + w2, n1 + n2]]
    return blocks

@pytest.mark.parametrize("seed", range(8))
def test_isotonic_steps_are_those_of_pooling_by_hand(seed):
    draw = np.random.default_rng(seed)
    c, a = draw.integers(0, 25, 60)/25, draw.integers(0, 4, 60)/3
    values = np.unique(c)
    blocks = slow_isotonic([a[c == v].mean() for v in values], [(c == v).sum() for v in values])
    low, high = .5/(blocks[0][1] + 1), 1 - .5/(blocks[-1][1] + 1)
    want = np.concatenate([[np.clip(v, low, high)]*n for v, _, n in blocks])
    assert fit_isotonic(c, a)(values) == pytest.approx(want, abs=1e-9)
    assert 0 < want.min() and want.max() < 1

def test_a_question_has_no_part_in_its_own_figure():
    c, a, pictures = made_up()
    before = cross_fitted(c, a, pictures, method="isotonic")
    other = a.copy()
    other[:4] = 1 - other[:4]
    after = cross_fitted(c, other, pictures, method="isotonic")
    own = before.folds == before.folds[0]
    assert (after.calibrated[own] == before.calibrated[own]).all() and (after.calibrated[~own] != before.calibrated[~own]).any()

@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_the_same_in_any_order_and_even(seed):
    c, a, pictures = made_up()
    found, order = cross_fitted(c, a, pictures, seed=seed), np.random.default_rng(9).permutation(len(c))
    again = cross_fitted(c[order], a[order], [pictures[i] for i in order], seed=seed)
    assert (again.folds == found.folds[order]).all() and again.calibrated == pytest.approx(found.calibrated[order], abs=1e-12)
    assert np.bincount(found.folds).tolist() == [240]*5
    assert (deal_pictures(pictures, seed=7) != deal_pictures(pictures, seed=8)).any()

def test_unscored_answers_are_calibrated_by_other_pictures_too():
    c, a, pictures = made_up()
    a[[0, 1, 4, 5, 6, 7]] = np.nan
    c[100] = np.nan
    found = cross_fitted(c, a, pictures)
    assert np.isnan(found.calibrated).nonzero()[0].tolist() == [100]
    assert found.folds[0] == found.folds[3] >= 0 and set(found.folds[4:8]) == {-1}
    assert found.calibrated[0] == found.fits[found.folds[0]](c[:1])[0] and found.calibrated[4] == found.whole(c[4:5])[0]

@pytest.mark.parametrize("images, shape, method", [
    (1000, None, "temperature"), # one temperature is right
    (1000, lambda z: .25 + .6/(1 + np.exp(1.2 - 1.2*z)), "isotonic"), # none is
    (200, lambda z: .25 + .6/(1 + np.exp(1.2 - 1.2*z)), "temperature"), # 800 answers are not enough
])
def test_isotonic_regression_has_to_show_its_worth(images, shape, method):
    found = cross_fitted(*made_up(images, 4, shape=shape))
    assert found.method == method and ("isotonic" in found.losses) == (images == 1000)
    assert found.losses[method] == min(found.losses.values())

@pytest.mark.parametrize("images, each, why", [(99, 1, "99 answers about 99 pictures"), (19, 40, "760 answers about 19 pictures"), (1, 1, "is 1 answer about 1 picture")])
def test_where_there_is_too_little_it_says_so(images, each, why):
    found = cross_fitted(*made_up(images, each))
    assert why in found.why and "100 scored answers about 20 pictures" in found.why and np.isnan(found.calibrated).all() and found.whole is None

def test_after_calibration_the_known_truth_is_met():
    c, a, pictures = made_up(2000, 4, 3.)
    truth = Temperature(3.)(c)
    found = cross_fitted(c, a, pictures)
    assert np.abs(c - truth).mean() > .1 and np.abs(found.calibrated - truth).mean() < .01

def test_intervals_are_those_of_drawing_pictures_one_by_one():
    c, a, pictures = made_up(60, 4)
    after = cross_fitted(c, a, pictures).calibrated
    errors = calibration_errors(c, a, pictures, after, resamples=200, seed=3)
    def ece(p, w): # of bins that were dealt once
        return sum(abs((w*(p - a))[width_bins(p) == b].sum()) for b in range(10))/w.sum()*100
    def mass(p, w): return sum(abs((w*(p - a))[mass_bins(p) == b].sum()) for b in range(10))/w.sum()*100
    plain = [ece, mass, lambda p, w: (w*(p - a)**2).sum()/w.sum(), lambda p, w: (w*log_loss(p, a)).sum()/w.sum()]
    weights = list(draw_weights(pictures, 200, 3))
    for i, statistic in enumerate(plain):
        drawn = np.array([[statistic(p, w) for p in (c, after)] for w in weights])
        value = np.array([statistic(p, np.ones(len(c))) for p in (c, after)])
        if i < 2: drawn += value - drawn.mean(0)
        for group, column, center in ((0, drawn[:, 0], value[0]), (4, drawn[:, 1], value[1]), (8, drawn[:, 1] - drawn[:, 0], value[1] - value[0])):
            figure, (low, high) = errors[group + i], np.percentile(column, [2.5, 97.5])
            assert figure.value == pytest.approx(center, abs=1e-9)
            assert figure.interval == pytest.approx((low if group == 8 else max(low, 0), high), abs=1e-9)

def test_a_bin_has_equal_confidences_together():
    draw = np.random.default_rng(2)
    c = draw.integers(0, 30, 500)/30
    where = mass_bins(c)
    assert all(len(set(where[c == v])) == 1 for v in set(c)) and (np.diff(where[np.argsort(c)]) >= 0).all()
    table = reliability_table(c, (c > .5).astype(float), list(range(500)), "numbers")
    assert table["answers"].sum() == 500 and (table["low"] <= table["confidence"]).all() and (table["confidence"] <= table["high"]).all()

@pytest.mark.parametrize("call", [cross_fitted, calibration_errors, reliability_table, risk_bounds])
@pytest.mark.parametrize("confidence, accuracy, pictures, says", [
    ([.5, 98.], [1, 1], [1, 2], "confidence must be from 0 to 1, and number 2 is 98"),
    ([.5, .5], [1, -1], [1, 2], "accuracy must be from 0 to 1"),
    ([.5, .5], [1, 1], [1], "2 values for 1 answer"),
    (["x", .5], [1, 1], [1, 2], "confidence must be numbers from 0 to 1"),
    ([[.5], [.5]], [1, 1], [1, 2], "not an array of shape"),
])
def test_what_is_no_confidence_is_refused(call, confidence, accuracy, pictures, says):
    with pytest.raises(UserError, match=says): call(confidence, accuracy, pictures)

def test_an_unknown_confidence_is_not_taken_for_a_number():
    assert np.isnan(as_shares([np.nan, .5], "confidence", unknown=True)[0])
    with pytest.raises(UserError, match="number 1 is nan"): as_shares([np.nan, .5], "confidence")


KEPT = Calibration(Temperature(1.5), [.9, .5], [.01, .2], "0"*64, "1"*64, 480, "sample on sample", 1093, 200, ("A note.",))
STEPS = replace(KEPT, fit=Isotonic((.1, .5, .9), (.2, .2, .8)))

@pytest.mark.parametrize("kept", [KEPT, STEPS], ids=["temperature", "isotonic"])
def test_a_calibration_comes_back_from_json(kept):
    again = Calibration.from_dict(json.loads(json.dumps(kept.to_dict())))
    assert again == kept and (again([.1, .7]) == kept([.1, .7])).all() and isinstance(again(.7), float)

@pytest.mark.parametrize("bad", [None, [], "x", 7, *({**KEPT.to_dict(), **change} for change in (
    {"method": "platt"}, {"method": ["temperature"]}, {"method": None}, {"parameters": []}, {"parameters": {}}, {"parameters": {"temperature": 1e-9}},
    {"parameters": {"temperature": float("nan")}}, {"parameters": {"temperature": True}}, {"parameters": {"temperature": 10**400}}, {"levels": [.5, .9]}, {"levels": [.9, .9]},
    {"levels": [.9, "x"]}, {"levels": []}, {"levels": [.9]*2_000_000}, {"bounds": [.1]}, {"bounds": [.1, float("inf")]}, {"bounds": {"a": 1}}, {"weights_sha256": 7},
    {"image_size": -1}, {"image_size": 1.5}, {"data": None}, {"questions": True}, {"pictures": "many"}, {"notes": "text"}, {"notes": [1]}, {"notes": ["x"]*21}, {"notes": ["x"*3000]})),
    *({**STEPS.to_dict(), "parameters": p} for p in ({"confidence": [.1, .5], "accuracy": [.1]}, {"confidence": [.5, .1], "accuracy": [.1, .2]},
      {"confidence": [.1, .5], "accuracy": [.2, .1]}, {"confidence": [.1, 2.], "accuracy": [.1, .2]}, {"temperature": 1.}))], ids=range(36))
def test_a_calibration_that_was_changed_is_named(bad):
    with pytest.raises(UserError) as caught: Calibration.from_dict(bad, "calibration.json")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("image_ids", [[7, "7"]*60, ["ملف \ud800", "<b>", "", "\0"]*30, [-1, 2**80]*60], ids=["number and text", "odd texts", "odd numbers"])
def test_any_ids_are_pictures(image_ids):
    folds = deal_pictures(image_ids, 2)
    assert len(set(folds)) == 2 and folds.tolist() == deal_pictures(image_ids, 2).tolist()
    assert len({(type(i), i, f) for i, f in zip(image_ids, folds.tolist())}) == len({(type(i), i) for i in image_ids})

@pytest.fixture(scope="module")
def run(tmp_path_factory, vqa):
    return evaluate(vqa, output_dir=tmp_path_factory.mktemp("run"), limit=240, progress=False)

def test_answers_have_a_calibrated_column_that_a_csv_file_keeps(run, tmp_path):
    table = run.answers
    assert list(table)[4:6] == ["confidence", "calibrated"] and table["calibrated"].between(0, 1).all()
    by_hand = cross_fitted(table["confidence"], table["accuracy"]/100, table["image_id"].tolist())
    assert table["calibrated"].tolist() == by_hand.calibrated.round(5).tolist() and by_hand.method == "temperature"
    back = read_csv(write_csv(full_table(run), tmp_path/"a.csv"))
    assert back["calibrated"].tolist() == table["calibrated"].tolist()

def test_a_part_of_a_run_says_why_it_is_not_calibrated(run, tmp_path):
    part = RunFolder(run.folder, run.questions[:50], run.annotations, run.data)
    part.__dict__["records"] = {q.question_id: run.records[q.question_id] for q in part.questions}
    assert part.answers["calibrated"].isna().all() and "are 50 answers about" in part.cross_fit.why
    back = read_csv(write_csv(full_table(part), tmp_path/"a.csv"))
    assert back["calibrated"].isna().all()
    assert str(to_dataset(part, pictures=False).features["calibrated"].dtype) == "float64" # as that of a whole run
    hidden = RunFolder(run.folder, run.questions, None, run.data)
    assert hidden.answers["calibrated"].isna().all() and hidden.cross_fit.why == "nobody's answers to these questions are known"
    with pytest.raises(UserError, match="nobody's answers to these questions are known"): confidence_of(hidden)

def test_what_was_calibrated_is_looked_at_again_after_refresh(run):
    again = RunFolder(run.folder, run.questions, run.annotations, run.data)
    first = again.cross_fit
    assert again.cross_fit is first
    again.refresh()
    assert again.cross_fit is not first and again.cross_fit.calibrated.tolist() == first.calibrated.tolist()

def test_confidence_of_a_run(run):
    found = confidence_of(run, resamples=200)
    assert (found.questions, found.pictures) == (len(run.records), run.answers["image_id"].nunique())
    assert found.calibrated == dict(zip(run.answers["question_id"], run.cross_fit.calibrated.tolist()))
    assert [f.name for f in found.before] == [f.name for f in found.after] == [f.name for f in found.difference]
    for before, after, difference in zip(found.before, found.after, found.difference): assert difference.value == after.value - before.value
    assert list(found.table)[:2] == ["which", "equal"] and found.table.groupby(["which", "equal"])["answers"].sum().tolist() == [len(run.records)]*4
    assert found.curve["risk"].iloc[-1] == pytest.approx(1 - run.accuracy.overall/100, abs=1e-4) and found.curve["coverage"].iloc[-1] == 1
    for shown in (str(found), found._repr_html_()): assert "its own picture had no part" in shown and "need not add up to one" in shown
    kept = found.calibration(200)
    assert (kept.weights_sha256, kept.answers_sha256, kept.image_size) == (run.identity.weights_sha256, run.identity.answers_sha256, 192)
    assert kept.questions == len(run.records) and kept.data == run.label and kept(run.answers["confidence"].iloc[0]) == pytest.approx(kept.fit(run.answers["confidence"][:1])[0])
    other = confidence_of(run, seed=1, resamples=200)
    assert other.found.whole == found.found.whole and other.calibrated != found.calibrated

def test_notes_of_a_run_stand_beside_its_figures(run, monkeypatch):
    monkeypatch.setattr(RunFolder, "notes", ("The checkpoint has seen these pictures.",))
    again = RunFolder(run.folder, run.questions, run.annotations, run.data)
    found = confidence_of(again, resamples=100)
    assert "The checkpoint has seen these pictures." in found.notes and found.calibration(100).notes == ("The checkpoint has seen these pictures.",)
    assert "has seen these pictures" in str(found) and "has seen these pictures" in found._repr_html_()

class Told(AnsweredQuestions):
    "Answers of another tool."
    place, label = "file", "<script>alert(1)</script> \x1b[31m"

    def __init__(self, run, confidence): super().__init__(run.questions, run.annotations, run.data); self.run, self.confidence = run, confidence

    @property
    def records(self): return {i: r | {"confidences": r["confidences"] if self.confidence else []} for i, r in self.run.records.items()}

def test_other_tools_answers(run):
    with pytest.raises(UserError, match="nobody has told how sure the model was"): confidence_of(Told(run, False))
    found = confidence_of(Told(run, True), resamples=100)
    assert "<script" not in found._repr_html_() and "\x1b" not in str(found)
    assert "sigmoids" not in str(found) # nobody knows what they are
    with pytest.raises(UserError, match="no model of ours gave these answers"): found.calibration()

# pictures that could not be read

def greyed(run, ids, confidence=1.):
    "The same answers, some of which were given on a grey picture: sure, and wrong."
    found = RunFolder(run.folder, run.questions, run.annotations, run.data)
    found.__dict__["records"] = {i: r | ({"image_error": "cannot be read", "answers": ["a duck", *r["answers"][1:]], "confidences": [confidence, *r["confidences"][1:]]} if i in ids else {})
                                 for i, r in run.records.items()}
    return found

def test_answers_to_a_grey_picture_have_no_part_in_what_confidence_is_worth(run):
    asked = [q.question_id for q in run.questions if q.question_id in run.records]
    blank = set(asked[::15])
    grey, rest = greyed(run, blank), RunFolder(run.folder, [q for q in run.questions if q.question_id not in blank], run.annotations, run.data)
    rest.__dict__["records"] = {i: r for i, r in run.records.items() if i not in blank}
    found, expected = confidence_of(grey, resamples=100), confidence_of(rest, resamples=100)
    assert (found.questions, found.pictures) == (len(asked) - len(blank), expected.pictures) and found.found.whole == expected.found.whole
    for name in ("before", "after", "difference", "figures"): assert [*getattr(found, name)] == [*getattr(expected, name)]
    assert found.calibrated == expected.calibrated and found.calibration(100) == replace(expected.calibration(100), data=grey.label)
    said = f"{len(blank)} answers without a confidence, an accuracy or a readable picture take no part."
    for shown in (found.notes, str(found), found._repr_html_()): assert said in shown
    assert said not in expected.notes
    table = grey.answers.set_index("question_id")
    assert table["calibrated"].isna().tolist() == [i in blank for i in asked] and (table.loc[list(blank), "confidence"] == 1).all()

def test_a_run_without_a_readable_picture_says_so(run):
    grey = greyed(run, {*run.records})
    assert grey.cross_fit.why == "no answer is about a picture that could be read" and grey.answers["calibrated"].isna().all()
    with pytest.raises(UserError, match=rf"of a picture that could be read \({len(run.records)} answers about a grey one\)"): confidence_of(grey)


# what cannot be meant

@pytest.mark.parametrize("seed", [-1, "x", None, 1.5, True, [1]])
@pytest.mark.parametrize("call", [cross_fitted, calibration_errors, risk_bounds])
def test_a_seed_is_a_whole_number(call, seed):
    with pytest.raises(UserError, match="seed must be a whole number of 0 or more"): call([.5, .6], [1, 1], [1, 2], seed=seed)

@pytest.mark.parametrize("options, says", [(dict(seed=-1), "seed must be"), (dict(seed="x"), "seed must be"), (dict(seed=None), "seed must be"), (dict(seed=False), "seed must be"),
                                           (dict(folds=5.), "folds must be"), (dict(folds=1), "folds must be")], ids=str)
def test_a_runs_confidence_refuses_what_is_no_seed(run, options, says):
    with pytest.raises(UserError, match=says): confidence_of(run, **options)

@pytest.mark.parametrize("bad", ["x", "0.5", b"0.5", None, object(), [[.5], [.6, .7]], [[.5]], ["0.5"], 1.5, -.1], ids=range(10))
@pytest.mark.parametrize("kept", [KEPT, STEPS], ids=["temperature", "isotonic"])
def test_what_is_no_confidence_is_not_calibrated(kept, bad):
    with pytest.raises(UserError, match="confidence must be"): kept(bad)

@pytest.mark.parametrize("one", [.7, np.float64(.7), np.float32(.7), np.array(.7)], ids=lambda v: type(v).__name__)
def test_one_confidence_gives_one_number_whatever_its_type(one):
    assert type(KEPT(one)) is float and KEPT(one) == pytest.approx(KEPT([.7])[0], abs=1e-7)
    assert np.isnan(KEPT(float("nan"))) and KEPT([]).shape == (0,)

@pytest.mark.parametrize("risk", [np.float64(.05), np.float32(.05), np.float16(.05)], ids=lambda v: type(v).__name__)
def test_a_risk_may_be_numpys(risk):
    assert KEPT.least_confidence(risk) == KEPT.least_confidence(.05) == .9

@pytest.mark.parametrize("risk", [np.float64("nan"), np.float64(1), np.bool_(True), np.int64(0), 1, True, "0.05", None], ids=repr)
def test_what_is_no_risk_is_refused(risk):
    with pytest.raises(UserError, match="at_risk must be a number between 0 and 1"): KEPT.least_confidence(risk)

@pytest.mark.parametrize("pictures, says", [(range(50), "All resamples of the pictures have the same"), ([7]*50, "All answers are about one picture")], ids=["alike", "alone"])
def test_an_error_without_an_interval_says_why(pictures, says):
    for calibrated in (None, [.9]*50):
        for f in calibration_errors([.8]*50, [1.]*50, list(pictures), calibrated): assert f.interval is None and f.note.startswith(says)
    c, a, many = made_up(60)
    assert all(f.interval and not f.note for f in calibration_errors(c, a, many))

def test_at_a_risk_chosen_before_looking_few_answers_keep_it_too():
    "100 runs of 60 answers, right by a known chance: at each risk by itself hardly any run breaks it; the docstring promises no more."
    broken = dict.fromkeys((.05, .1, .2), 0)
    z = np.linspace(-5, 11, 2001)
    density, truth = np.exp(-(z - 3)**2/8), 1/(1 + np.exp(-z/1.5))
    for seed in range(100):
        draw = np.random.default_rng(seed)
        own = draw.normal(3, 2, 60)
        levels, bounds = risk_bounds(np.round(1/(1 + np.exp(-own)), 5), (draw.random(60) < 1/(1 + np.exp(-own/1.5))).astype(float), list(range(60)), 100, seed)
        for risk in broken:
            least = [level for level, bound in zip(levels, bounds) if bound <= risk]
            taken = 1/(1 + np.exp(-z)) >= least[-1] if least else z > 99
            broken[risk] += bool(least) and np.average(1 - truth[taken], weights=density[taken]) > risk
    assert max(broken.values()) <= 5, broken
    assert "any one risk" in risk_bounds.__doc__ and "together" not in risk_bounds.__doc__
