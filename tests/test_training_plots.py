"The figure of a training: what is drawn of which log, saved in each format, readable in grey, and the same in words."
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from beit3_colab.look.training_plots import describe_training, plot_training, smooth_loss
from beit3_colab.machine.messages import UserError
from beit3_colab.training.log import TrainingLog

NASTY = r"--><script>a()</script><img src=x onerror=alert(1)> costs $5 \frac{$x^2$}{_} & \$ ${"

def log_of(steps=40, epoch_of=10, validated=True, interval=True, metric="official", first=0):
    found = [dict(kind="step", step=n, epoch=n/epoch_of, loss=8./n**.3, learning_rate=3e-5*min(1, n/10)*(1 - n/steps/2)) for n in range(1, steps + 1)]
    if validated:
        found += [dict(kind="epoch", step=e*epoch_of, epoch=e, accuracy=40. + 10*e - 2*e*e, interval=(35. + 10*e - 2*e*e, 44. + 10*e - 2*e*e) if interval else None, metric=metric) for e in range(first, steps//epoch_of + 1)]
    return sorted(found, key=lambda row: row["step"])

def texts(figure):
    from matplotlib.text import Text
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]

def lines_of(axes): return {line.get_label(): line for line in axes.get_lines()}


def test_every_axis_has_a_name_with_its_unit():
    loss, rate, accuracy = plot_training(log_of()).axes
    assert (loss.get_ylabel(), rate.get_ylabel(), rate.get_xlabel()) == ("loss (sum over answers)", "learning rate", "optimizer steps")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epochs", "validation\nVQA accuracy, %")

def test_the_lines_are_the_logs_figures():
    rows = log_of()
    loss, rate, accuracy = plot_training(rows).axes
    steps = [row for row in rows if row["kind"] == "step"]
    raw, smooth = lines_of(loss)["as logged"], lines_of(loss)["mean of the last 2 steps"]
    assert raw.get_ydata().tolist() == [row["loss"] for row in steps] and rate.get_lines()[0].get_ydata().tolist() == [row["learning_rate"] for row in steps]
    np.testing.assert_allclose(smooth.get_ydata()[1:], [(a["loss"] + b["loss"])/2 for a, b in zip(steps, steps[1:])], rtol=1e-12)
    dots = lines_of(accuracy)
    assert list(zip(*dots["after the epoch"].get_data())) == [(1, 48.), (2, 52.), (3, 52.), (4, 48.)] and dots["before the training"].get_ydata().tolist() == [40.]
    assert list(zip(*dots["best: 52.0 %"].get_data())) == [(3, 52.)] # the last of equals
    ends = accuracy.collections[0].get_segments()
    assert [tuple(s[:, 1]) for s in ends] == [row["interval"] for row in rows if row["kind"] == "epoch"]

def test_it_can_be_read_in_grey():
    "No color has a hue, and what stands for another thing has another form."
    from matplotlib.colors import to_rgb
    figure = plot_training(log_of())
    for line in (line for axes in figure.axes for line in axes.get_lines()): assert np.ptp(to_rgb(line.get_color())) < .02
    forms = [(line.get_marker(), line.get_markerfacecolor(), line.get_markersize()) for name, line in lines_of(figure.axes[2]).items() if not name.startswith("_")]
    assert len(forms) == len(set(forms)) == 3

@pytest.mark.parametrize("rows, panels, says", [
    (log_of(validated=False), 2, ""), (log_of(interval=False), 3, "after the epoch"), (log_of(first=1), 3, "after the epoch"), (log_of(5), 3, "before the training"), (log_of(1, 1), 3, "after the epoch"),
    (log_of(metric="exact"), 3, "validation\nexact match, %"), (log_of(metric="soft"), 3, "validation\nsoft score, %"), (log_of(3000, 1000), 3, "lowest to highest")])
def test_logs_of_every_kind_are_drawn(rows, panels, says):
    figure = plot_training(rows)
    figure.savefig("/dev/null", format="png")
    assert len(figure.axes) == panels and (not says or says in texts(figure)) and ("95 % interval" in texts(figure)) == any(row.get("interval") for row in rows)

def test_a_new_heads_losses_get_a_logarithmic_axis():
    rows = log_of()
    assert plot_training(rows).axes[0].get_yscale() == "linear"
    rows[1]["loss"] = 2000.
    assert plot_training(rows).axes[0].get_yscale() == "log"

@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_leaves_a_gap_and_is_told(loss):
    rows = [dict(row, loss=loss) if row["step"] == 7 and row["kind"] == "step" else row for row in log_of()]
    figure = plot_training(rows)
    assert len(lines_of(figure.axes[0])["as logged"].get_ydata()) == 39 and "; 1 row had none that was finite" in figure.alt

@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_saved_and_the_same_twice(tmp_path, suffix):
    for name in "ab": plot_training(log_of(), NASTY, tmp_path/f"{name}.{suffix}")
    first, second = ((tmp_path/f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]) and (suffix == "svg" or first == second)
    if suffix == "svg": assert "script" not in {e.tag.rpartition("}")[2] for e in ElementTree.fromstring(first).iter()}

@pytest.mark.parametrize("path, says", [("x.gif", "must end in .png, .svg or .pdf"), ("nowhere/x.png", "does not exist")])
def test_a_bad_path_is_refused_before_anything_is_read(tmp_path, path, says):
    with pytest.raises(UserError, match=says): plot_training(tmp_path/"nowhere", path=tmp_path/path)

def test_a_folder_is_read_as_its_rows_are(tmp_path):
    rows = log_of()
    with TrainingLog(tmp_path) as log:
        for row in rows: log.write(row)
    assert plot_training(tmp_path, "a").alt == plot_training(str(tmp_path), "a").alt == describe_training(rows, "a")

def test_nothing_to_draw_and_two_rules_are_refused(tmp_path):
    for empty in (tmp_path, [], [row for row in log_of() if row["kind"] == "epoch"]):
        for use in (plot_training, describe_training):
            with pytest.raises(UserError, match="no step of the training is logged yet"): use(empty)
    with pytest.raises(UserError, match="different rules .exact, official."): plot_training([*log_of(), dict(kind="epoch", step=99, epoch=9, accuracy=1., metric="exact")])

def test_in_words():
    assert describe_training(log_of(), NASTY) == (
        f"Training of {NASTY}: the loss went from 8 at step 1 to 2.655 at step 40 (mean of the last 2 steps); the learning rate was highest, 2.6e-05, at step 10; "
        "VQA accuracy on the validation set was 40.0 % (95 % interval 35.0–44.0) before the training, 48.0 % (95 % interval 43.0–52.0) after epoch 4; the best was 52.0 % (95 % interval 47.0–56.0) after epoch 3.")
    assert "soft score on the validation set" in describe_training(log_of(metric="soft"))

@pytest.mark.parametrize("every", [1, 3, 10])
def test_the_smooth_line_is_a_mean_over_steps_not_rows(every):
    "Rows that stand for several steps count as many times."
    draws, losses = np.random.default_rng(0), []
    whole = draws.uniform(1, 5, 300)
    steps = np.arange(every, 301, every)
    losses = [whole[s - every:s].mean() for s in steps]
    found = smooth_loss(steps, losses, 30)
    for s, value in zip(steps, found): np.testing.assert_allclose(value, whole[max(0, s - 30):s].mean(), rtol=1e-12)
