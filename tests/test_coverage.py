"""The risk–coverage curve: against another program, against every order of equal confidences, and its intervals drawn by hand."""
import itertools

import numpy as np
import pytest

from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.coverage import risk_coverage
from beit3_colab.scoring.figures import draw_weights
from test_calibration import golden


def values(found): return [f.value for f in found.figures if f.name != "area beyond that of the best order"]

def copies(confidence, accuracy, weights):
    "The same answers, each as often as it was drawn."
    return np.repeat(confidence, weights), np.repeat(accuracy, weights)

def expected(c, a, coverages=(.8, .9, .95), risks=(.01, .05, .1)):
    "From the mean risk of each number of answers, computed one by one; equal confidences by their mean loss."
    order = np.argsort(-c, kind="stable")
    c, loss = c[order], 1 - a[order]
    for v in set(c): loss[c == v] = loss[c == v].mean() # what one of them adds, on average over all orders
    risk = np.cumsum(loss)/np.arange(1, len(c) + 1)
    ends = np.append(c[1:] != c[:-1], True)
    at = [1 - risk[int(np.ceil(v*len(c) - 1e-9)) - 1] for v in coverages]
    most = [max((k + 1 for k in range(len(c)) if ends[k] and risk[k] <= r + 1e-12), default=0)/len(c) for r in risks]
    return [100*v for v in (risk.mean(), *at, *most)]


def test_figures_are_those_of_torch_uncertainty():
    """torch-uncertainty 0.13.0 on the same 97 answers: the mean of its error rates (its own area is a trapezoid from the
    first answer on), RiskAtxCov at 80, 90 and 95 %, CovAtxRisk at 1, 5 and 10 %."""
    c, a, pictures = golden()
    found = values(risk_coverage(c, a, pictures, 100))
    assert found[0] == pytest.approx(100*0.22377248792295643, abs=1e-10)
    assert found[1:4] == pytest.approx([100*(1 - risk) for risk in (0.28205128205128205, 0.29545454545454547, 0.3010752688172043)], abs=1e-10)
    assert found[4:] == pytest.approx([8.24742242693901, 8.24742242693901, 11.340206116437912], abs=1e-6) # in single precision

@pytest.mark.parametrize("seed", range(12))
def test_equal_confidences_are_told_by_the_mean_of_all_orders(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 8))
    c, a = draw.integers(0, 3, n)/3, draw.integers(0, 4, n)/3
    orders = [o for o in itertools.permutations(range(n)) if all(c[i] >= c[j] for i, j in zip(o, o[1:]))]
    risks = np.array([np.cumsum(1 - a[list(o)])/np.arange(1, n + 1) for o in orders])
    got = values(risk_coverage(c, a, list(range(n)), 100))
    assert got[0] == pytest.approx(100*risks.mean(), abs=1e-9)
    assert got[1:4] == pytest.approx([100*(1 - risks[:, int(np.ceil(v*n)) - 1].mean()) for v in (.8, .9, .95)], abs=1e-9)

@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [3, 20, 10**5])
def test_figures_are_those_of_a_plain_computation(seed, steps):
    draw = np.random.default_rng(seed)
    c = draw.integers(0, steps + 1, 300)/steps
    a = np.where(draw.random(300) < .5 + .5*c, draw.choice([.3, .6, .9, 1], 300), 0)
    assert values(risk_coverage(c, a, list(range(300)), 100)) == pytest.approx(expected(c, a), abs=1e-8)

def test_intervals_are_those_of_drawing_pictures_one_by_one():
    draw = np.random.default_rng(4)
    pictures = np.repeat(np.arange(50), 4).tolist()
    c = draw.integers(0, 40, 200)/40
    a = (draw.random(200) < .4 + .6*c).astype(float)
    found = risk_coverage(c, a, pictures, 150, seed=6)
    drawn = [expected(*copies(c, a, w)) for w in draw_weights(pictures, 150, 6)]
    best = [expected(*copies(a, a, w))[0] for w in draw_weights(pictures, 150, 6)]
    drawn = np.array([[area, area - least, *rest] for (area, *rest), least in zip(drawn, best)])
    for i, figure in enumerate(found.figures):
        low, high = np.percentile(drawn[:, i], [2.5, 97.5])
        if high > low: assert figure.interval == pytest.approx((low, high), abs=1e-8), figure.name
        else: assert figure.interval is None and "At least 95 of 100 resamples" in figure.note
    assert sum(f.interval is not None for f in found.figures) >= 5
    risks = []
    for w in draw_weights(pictures, 150, 6):
        with np.errstate(invalid="ignore"): risks.append([(w*(1 - a))[c >= level].sum()/w[c >= level].sum() for level in found.curve["confidence"]])
    low, high = np.nanpercentile(risks, [2.5, 97.5], axis=0)
    told = (high - low) > 1e-9
    assert found.curve["low"][told].to_numpy() == pytest.approx(low[told], abs=1e-9) and found.curve["high"][told].to_numpy() == pytest.approx(high[told], abs=1e-9)

def test_the_curve_is_what_each_least_confidence_gives():
    draw = np.random.default_rng(1)
    c, a = draw.integers(0, 60, 500)/60, draw.integers(0, 4, 500)/3
    curve = risk_coverage(c, a, list(range(500)), 100).curve
    assert list(curve) == ["coverage", "confidence", "answers", "risk", "low", "high", "perfect"]
    best = np.sort(1 - a)
    for row in curve.itertuples():
        taken = c >= row.confidence
        assert (row.answers, row.coverage) == (taken.sum(), taken.mean())
        assert row.risk == pytest.approx((1 - a[taken]).mean()) and row.perfect == pytest.approx(best[:taken.sum()].mean())
        assert row.low - 1e-9 <= row.risk <= row.high + 1e-9
    assert (np.diff(curve["coverage"]) > 0).all() and curve["coverage"].iloc[-1] == 1 and len(curve) <= 200

def test_a_long_curve_is_thinned_and_ends_with_all_answers():
    c = np.arange(5000)/5000
    curve = risk_coverage(c, c, list(range(5000)), 100).curve
    assert 150 <= len(curve) <= 201 and curve["answers"].iloc[-1] == 5000 and np.diff(curve["coverage"]).max() < .011

@pytest.mark.parametrize("worth, area", [(1., 0.), (0., 100.)])
def test_all_right_and_all_wrong(worth, area):
    found = risk_coverage([.9]*30 + [.5]*30, [worth]*60, list(range(60)), 100)
    assert values(found) == pytest.approx([area] + [100*worth]*6)
    low, high = found.figures[0].interval
    assert high - low > 3 and (low == 0) == (area == 0) # what pictures that were not seen may change
    assert (found.curve["high"] > found.curve["low"]).all() and found.figures[-1].interval is None

def test_confidences_that_say_nothing_give_the_same_risk_everywhere():
    a = np.random.default_rng(0).random(400)
    found = risk_coverage([.7]*400, a, list(range(400)), 100)
    assert found.figures[0].value == pytest.approx(100*(1 - a.mean())) and len(found.curve) == 1
    assert all(f.value == pytest.approx(100*a.mean()) for f in found.figures[2:5])

def test_the_best_order_has_nothing_beyond_it():
    a = np.random.default_rng(0).integers(0, 4, 300)/3
    best, worst = (risk_coverage(c, a, list(range(300)), 100).figures for c in (a, 1 - a))
    assert best[1].value == pytest.approx(0, abs=1e-9) and worst[1].value == pytest.approx(worst[0].value - best[0].value)
    assert worst[1].interval[0] > 0

def test_one_picture_has_no_interval_and_no_answer_is_refused():
    found = risk_coverage([.9, .8], [1, 0], [7, 7])
    assert values(found)[0] == pytest.approx(25) and {f.interval for f in found.figures} == {None} and found.curve["low"].isna().all()
    with pytest.raises(UserError, match="there is no answer"): risk_coverage([], [], [])
    with pytest.raises(UserError, match="resamples must be a whole number of 100 or more"): risk_coverage([.9], [1], [1], resamples=5)

@pytest.mark.parametrize("images", [30, 200])
def test_what_is_beyond_the_best_order_is_never_more_than_the_whole(images):
    "The surest are right and the last one is wrong: nothing is beyond, in no resample; the whole area is small, and so is what may be beyond."
    a = np.ones(images)
    a[-1] = .5
    area, beyond = risk_coverage(np.linspace(.9, .1, images), a, list(range(images))).figures[:2]
    assert beyond.value == pytest.approx(0, abs=1e-9) and area.value > 0
    assert 0 <= beyond.interval[0] <= beyond.value + 1e-9 and beyond.value <= beyond.interval[1] <= area.interval[1] < 1

@pytest.mark.parametrize("seed", range(10))
def test_both_areas_agree(seed):
    draw = np.random.default_rng(seed)
    c = draw.integers(0, 6, 60)/6
    a = np.where(draw.random(60) < .9, 1, draw.integers(0, 3, 60)/3)
    area, beyond = risk_coverage(c, a, draw.integers(0, 25, 60).tolist(), 100, seed).figures[:2]
    assert beyond.value <= area.value and beyond.interval[1] <= max(area.interval[1], beyond.value) and beyond.interval[0] <= area.interval[0] + 1e-9

@pytest.mark.parametrize("seed", [-1, "x", None, 1.5, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(UserError, match="seed must be a whole number of 0 or more"): risk_coverage([.9, .8], [1, 0], [1, 2], seed=seed)
