"A training in every display: the figures that one waits for, in words that claim no answers, and no foreign text as markup."
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_progress import Tags

from beit3_colab.machine.messages import UserError
from beit3_colab.progress.bars import LogLines, TextBar, fit_clauses, notebook_bar_html
from beit3_colab.progress.display import Display, ending, Stopped
from beit3_colab.progress.snapshot import clauses, describe, describe_rate, Snapshot
from beit3_colab.progress.status_file import StatusFile, StatusReader
from beit3_colab.progress.widget import WidgetDisplay, detail_html, head_html, summary_html, what_is_run

BAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&.jpg"
MOMENT = Snapshot(50_000, 12_800, 1_280, 365., 71.24, (68.1, 74.3), (BAD,), host_bytes=1_870_000_000, device_bytes=10_900_000_000, rates=(30., 31.5, 35.), unit="sample", notes=("60 answers, the checkpoint's",),
                  accuracy_name="validation accuracy", details=(("loss", "3.142"), ("learning rate", "2.1e-05"), ("epoch", "3 of 10")))
FIGURES = ["31.6", "19:39", "3.142", "2.1e-05", "3 of 10", "10.9 GB", "1.9 GB", "71.2"]


def in_log(snapshot):
    out = io.StringIO()
    LogLines(out).show(snapshot, final=True)
    return out.getvalue()

def in_bar(snapshot, columns=300):
    out, environment = io.StringIO(), pytest.MonkeyPatch()
    environment.setenv("COLUMNS", str(columns))
    bar = TextBar(out)
    bar.show(snapshot, final=True)
    bar.end("stopped" if snapshot.state == "running" else snapshot.state)
    bar.close()
    environment.undo()
    return out.getvalue()

def in_widget(snapshot): return Tags(head_html(snapshot, "base on my.csv") + detail_html(snapshot)).text

def through_status(snapshot, folder):
    StatusFile(folder/"0.json").show(snapshot, final=True)
    return describe(StatusReader(folder/"0.json").snapshot())


@pytest.mark.parametrize("shown", ["log", "bar", "widget", "status file"])
def test_every_display_tells_the_figures_of_a_training(shown, tmp_path):
    text = {"log": in_log, "bar": in_bar, "widget": in_widget, "status file": lambda s: through_status(s, tmp_path)}[shown](MOMENT)
    for figure in FIGURES: assert figure in text, (figure, text)
    assert "validation accuracy" in text and ("68.1–74.3" in text or "± 3.1" in text) # with its interval
    assert "sample" in text or shown == "bar"

@pytest.mark.parametrize("state", ["running", "preparing", "finished", "stopped", "failed"])
def test_no_display_says_of_a_training_that_it_answers(state, tmp_path):
    s = replace(MOMENT, state=state, error="no disk" if state == "failed" else "", warnings=(), notes=())
    run = SimpleNamespace(folder=tmp_path, label="base on my.csv, 8 samples")
    texts = [describe(s), in_log(s), in_bar(s), in_widget(s), summary_html(s, run), summary_html(s), notebook_bar_html(s)[1], in_widget(replace(s, done=0, total=0)), describe(replace(s, done=50_000, resumed=50_000))]
    for text in texts: assert "answer" not in text.lower() and "question" not in text.lower(), text
    assert "all done before" in texts[-1]

def test_an_evaluation_keeps_its_words():
    half = Snapshot(100, 50, 10, 8., 71.2, (68.1, 74.3), host_bytes=10**9)
    assert describe(half) == "50 of 100 questions (50 %), 5.0/s, 0:10 left, accuracy 71.2 ± 3.1 %" and describe_rate(Snapshot(5, 5, resumed=5)) == ", all answered before"
    assert "accuracy so far" in head_html(half) and "50 of 100 questions answered" in head_html(half) and "Every answer so far is kept" in summary_html(replace(half, state="stopped"), RUN)

RUN = SimpleNamespace(folder="runs/a", records=[], submission=None, title="sample on val", accuracy=None)

@pytest.mark.parametrize("columns, shown, hidden", [(300, "host 1.9 GB", ""), (110, "loss 3.142", "host"), (60, "19:39 left", "loss"), (20, "", "left")])
def test_a_narrow_terminal_loses_whole_clauses_from_the_end(columns, shown, hidden):
    text = fit_clauses(clauses(MOMENT), columns)
    assert shown in text and (not hidden or hidden not in text) and len(text) <= max(0, columns - 34)
    assert "".join(clauses(MOMENT)).removeprefix(", ").startswith(text)

def test_what_is_foreign_stays_text(tmp_path):
    s = replace(MOMENT, details=((BAD, BAD),), name=BAD, accuracy_name=BAD)
    run = SimpleNamespace(folder=tmp_path/"x<b>", label=BAD, results=[f"{BAD}: {BAD}"])
    for html in (head_html(s, BAD) + detail_html(s), summary_html(replace(s, state="failed", error=BAD), run)):
        tags = Tags(html)
        assert not {"script", "style", "iframe", "img"} & {tag for tag, _ in tags.found} and tags.text.count(BAD) >= 4
        assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
    line = describe(replace(MOMENT, details=(("lo\nss\x1b[2J", "\u202e3"),)))
    assert line.count("\n") == 0 and "\x1b" not in line and "\u202e" not in line

def test_a_summary_lists_the_epochs_and_is_static(tmp_path):
    best = "epoch 2: 71.24 % (68.10 – 74.30)"
    run = SimpleNamespace(folder=tmp_path, label="base on my.csv", results=["before training: 41.20 %", *(f"epoch {n}: {60 + n/10:.2f} %" if n != 2 else best for n in range(1, 41))], best=best)
    tags = Tags(summary_html(replace(MOMENT, done=50_000, state="finished"), run))
    assert not {"svg", "script", "style"} & {tag for tag, _ in tags.found} and "var(" not in str(tags.found)
    for text in ("Finished: base on my.csv, 50,000 of 50,000 samples done.", "before training", "epoch 2", "71.24 % (68.10 – 74.30), the best: kept", "epoch 40", "peak memory", "training folder", str(tmp_path)): assert text in tags.text, text
    assert "epoch 17" not in tags.text # the first, the best and the last of forty

@pytest.mark.parametrize("state, says", [("finished", "loads what was learnt"), ("stopped", "a model will be there after the first epoch")])
def test_the_widget_of_a_training(tmp_path, state, says):
    display, said = WidgetDisplay(), []
    display._say = said.append
    display.prepare("sample")
    assert "Training: getting ready" in display.head.value and display.button.tooltip.startswith("Stop after this step; the state is saved")
    display.begin(SimpleNamespace(folder=tmp_path, label="base on my.csv", refresh=lambda: None))
    display.show(MOMENT, final=True)
    assert "base on my.csv" in display.head.value and "3.142" in display.head.value and "10.9 GB" in display.detail.value
    display.end(state)
    display.close()
    assert "States, the log and the result go to" in said[0] and says in said[-1] and "open_run" not in "".join(said)

def test_the_best_epoch_of_a_stopped_training_can_be_loaded(tmp_path):
    display = WidgetDisplay()
    display.run = SimpleNamespace(folder=tmp_path, best="epoch 1: 50.00 %")
    display.snapshot = MOMENT
    assert "loads the best epoch so far" in display._last_words(replace(MOMENT, state="stopped"))

@pytest.mark.parametrize("make", [LogLines, TextBar])
def test_notes_are_told_as_notes(make):
    out = io.StringIO()
    display = make(out)
    display.note("60 answers\x1b[2J")
    display.warn("halved the micro-batch")
    assert out.getvalue().splitlines() == ["note: 60 answers[2J", "warning: halved the micro-batch"]

def test_a_note_has_no_sign_and_is_folded_away_at_the_end():
    live, over = detail_html(replace(MOMENT, warnings=(), notes=(BAD, "60 answers"))), summary_html(replace(MOMENT, state="finished", warnings=(), notes=(BAD,)*30))
    assert "⚠" not in live + over and "2 notes" in live and "<details" not in live and "<details><summary>30 notes" in over and "and 10 more" in over
    assert not {"script", "img"} & {tag for tag, _ in Tags(live + over).found} and Tags(live).text.count(BAD) == 1

def test_begun_before_anything_was_shown_it_is_a_training(tmp_path):
    display = WidgetDisplay()
    display.begin(SimpleNamespace(folder=tmp_path, label="base on my.csv"))
    assert display.unit == "sample" and display.button.tooltip.startswith("Stop after this step")
    display.close()

def test_what_is_run_is_told_of_both():
    assert what_is_run(RUN) == "sample on val" and what_is_run(SimpleNamespace(label="base on my.csv", identity=SimpleNamespace(checkpoint="base"))) == "base on my.csv"

def test_an_interrupt_promises_the_last_state_and_no_more(tmp_path):
    display = Display()
    with pytest.raises(Stopped, match="12,800 of 50,000 samples are done; the last state that was saved is kept; the same call with output_dir=.* continues"), ending(display):
        display.begin(SimpleNamespace(folder=tmp_path))
        display.show(MOMENT)
        raise KeyboardInterrupt


# The status file

def test_a_training_comes_through_the_status_file_whole(tmp_path):
    StatusFile(tmp_path/"0.json").show(MOMENT, final=True)
    assert StatusReader(tmp_path/"0.json").snapshot() == MOMENT

def test_an_evaluation_leaves_no_snapshot_there(tmp_path):
    StatusFile(tmp_path/"0.json").show(replace(MOMENT, unit="question"), final=True)
    assert StatusReader(tmp_path/"0.json").snapshot() is None and "snapshot" not in json.loads((tmp_path/"0.json").read_text())
    assert StatusReader(tmp_path/"1.json").snapshot() is None

@pytest.mark.parametrize("name, wrong", [("total", -1), ("done", 1.5), ("done", True), ("seconds", "1"), ("seconds", None), ("accuracy", "high"), ("interval", [1.]), ("interval", [1., "2"]), ("rates", 3), ("rates", ["1"]), ("state", None), ("error", 1),
                                         ("unit", ["sample"]), ("details", {"loss": "1"}), ("details", [["loss", 1]]), ("details", [["loss"]]), ("details", "loss"), ("notes", "60 answers"), ("notes", [60])])
def test_a_status_file_that_was_changed_is_refused(tmp_path, name, wrong):
    StatusFile(tmp_path/"0.json").show(MOMENT, final=True)
    content = json.loads((tmp_path/"0.json").read_text())
    content["snapshot"][name] = wrong
    (tmp_path/"0.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"0.json: snapshot: {name} must be"): StatusReader(tmp_path/"0.json").snapshot()

def test_a_status_file_without_a_field_is_refused(tmp_path):
    StatusFile(tmp_path/"0.json").show(MOMENT, final=True)
    content = json.loads((tmp_path/"0.json").read_text())
    del content["snapshot"]["details"]
    (tmp_path/"0.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="has no details"): StatusReader(tmp_path/"0.json").snapshot()

def test_a_display_that_was_prepared_for_answers_turns_to_a_training(tmp_path):
    display, said = WidgetDisplay(), []
    display._say = said.append
    display.prepare()
    display.begin(SimpleNamespace(folder=tmp_path, label="base on my.csv"))
    assert display.unit == "sample" and "States, the log and the result go to" in said[-1] and "Evaluation" not in display.head.value
    display.close()
