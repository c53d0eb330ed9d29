"The displays see what happens, stop what is asked to stop, leave static HTML, and let no foreign text become markup; in a real kernel too."
import contextvars
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from processes import PACE, environment, result, wait_until
from real_browser import open_browser

import beit3_colab
from beit3_colab import UserError, compare, evaluate, open_run
from beit3_colab.evaluation.background import BackgroundRun
from beit3_colab.machine.distributed import Workers
from beit3_colab.progress.bars import LogLines, NotebookBar, TextBar
from beit3_colab.progress.choosing import current_display, make_display, showing
from beit3_colab.progress.display import Display, Stopped
from beit3_colab.progress.snapshot import Rank, Snapshot, TypeAccuracy
from beit3_colab.progress.status_file import StatusFile
from beit3_colab.progress.widget import WidgetDisplay, head_html, detail_html, summary_html
from beit3_colab.run.answered import part_of

ROOT = Path(__file__).parent.parent
RUN = dict(device="cpu", batch_size=2, limit=150) # small batches: a run that takes long enough to be stopped
BAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&.jpg"
WIDGET = "application/vnd.jupyter.widget-view+json"
HALF = Snapshot(100, 50, 10, 8., 71.2, (68.1, 74.3), (BAD,), (TypeAccuracy(BAD, 80.), TypeAccuracy("number", 60., (50., 70.))), 10**9, 2*10**9, (Rank(0, 20, 50, 2.5), Rank(1, 20, 40, 2.5, 60.)), (4., 5., 6.))


class Recorder(Display):
    "Keeps all that it is told."
    interval = 0.
    def __init__(self, stop_at=None):
        super().__init__()
        self.snapshots, self.warned, self.closed, self.stop_at = [], [], 0, stop_at
    def draw(self, snapshot, final):
        self.snapshots.append(snapshot)
        if self.stop_at is not None and snapshot.done >= self.stop_at: self.stop_asked.set()
    def warn(self, text): self.warned.append(text)
    def close(self): self.closed += 1

class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(html)
    def handle_starttag(self, tag, attributes): self.found.append((tag, dict(attributes)))
    def handle_data(self, data): self.text += data

def count_answers(folder): return sum(p.read_bytes().count(b'"question_id"') for p in Path(folder).glob("answers-*.jsonl"))

@pytest.fixture
def paced(monkeypatch):
    "Kernels and processes started now answer slowly enough to be met at work."
    for name, value in environment(BEIT3_PACE=PACE).items(): monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(Path(__file__).with_name("paced")) # workers import as this process does

@pytest.fixture
def slow(vqa, monkeypatch):
    "The same for the model loaded here."
    logits = vqa.logits
    def paced(*args, **kwargs):
        time.sleep(PACE)
        return logits(*args, **kwargs)
    monkeypatch.setattr(vqa, "logits", paced)
    return vqa

@pytest.fixture(scope="module")
def expected(vqa, tmp_path_factory):
    "The submission of an undisturbed run."
    folder = tmp_path_factory.mktemp("expected")
    evaluate(vqa, output_dir=folder, progress=False, batch_size=2, limit=150)
    return result(folder)


# What is drawn

def test_live_html_shows_the_figures_and_escapes_text():
    html = head_html(HALF, BAD) + detail_html(HALF)
    tags = Tags(html)
    for figure in ("50 of 100 questions, 50 %", "5.0 questions/s", "0:10 left", "71.2 % accuracy so far, 95 % interval 68.1–74.3", "60.0 % (50.0–70.0)", "device 2.0 GB, host 1.0 GB", "20 of 50, 2.5/s", "20 of 40, 2.5/s, silent for 1:00"):
        assert figure in tags.text, figure
    assert tags.text.count(BAD) == 3 # label, answer type, warning
    assert not {"script", "style", "iframe", "img"} & {tag for tag, _ in tags.found}
    assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on")]
    assert {a["role"] for _, a in tags.found if "role" in a} == {"progressbar", "meter", "img", "list", "listitem"}
    assert all(a["aria-label"] for _, a in tags.found if a.get("role") in ("progressbar", "meter", "img", "list"))

@pytest.mark.parametrize("state, says", [("finished", "Finished"), ("stopped", "continues"), ("failed", "continues")])
def test_summary_is_static_and_complete(vqa, tmp_path, state, says):
    folder = tmp_path/"a folder <b> 'x'"
    run = evaluate(vqa, output_dir=folder, progress=False, limit=30)
    tags = Tags(summary_html(replace(HALF, state=state, error=BAD if state == "failed" else ""), run))
    assert not {"script", "style", "iframe", "img", "svg", "b'x'"} & {tag for tag, _ in tags.found} and "var(" not in str(tags.found)
    assert not [name for _, attributes in tags.found for name in attributes if name.startswith("on") or name == "class"]
    for text in (says, BAD, str(folder), f"{run.accuracy.overall:.2f}", "yes/no", "95 % interval", "peak memory", "questions/s", "50 of 100 questions answered", "BEiT-3 sample model · built-in sample"): assert text in tags.text, text
    if state == "finished": assert "processes" in tags.text and "waiting for data" in tags.text
    else: assert repr(str(folder)) in tags.text

def test_at_most_ten_updates_a_second(monkeypatch):
    display, changes = WidgetDisplay(), []
    now = [100.]
    monkeypatch.setattr("beit3_colab.progress.display.time.monotonic", lambda: now[0])
    display.show(HALF)
    display.head.observe(lambda change: changes.append(now[0]), "value")
    for i in range(5000):
        now[0] = 100 + i/1000
        display.show(replace(HALF, total=10000, done=i))
    assert 20 <= len(changes) <= 50
    assert min(b - a for a, b in zip(changes, changes[1:])) >= 0.1
    display.end("finished")
    display.close()

def test_a_log_gets_a_line_a_minute(monkeypatch):
    now, out = [100.], io.StringIO()
    monkeypatch.setattr("beit3_colab.progress.display.time.monotonic", lambda: now[0])
    display = LogLines(out)
    for i in range(6000):
        now[0] = 100 + i/10
        display.show(replace(HALF, done=i, total=6000))
    assert len(out.getvalue().splitlines()) == 10
    display.end("finished")
    assert len(out.getvalue().splitlines()) == 11

def test_stop_button_only_sets_the_event_and_controls_have_labels():
    display = WidgetDisplay()
    display.show(HALF)
    assert display.button.description == "Stop" and display.button.tooltip
    before = display.head.value
    display.button.click()
    assert display.stop_asked.is_set() and display.head.value == before and display.button.description == "Stop"
    display.end("stopped")
    display.close()
    display.close() # twice does no harm

def test_the_display_is_set_once_for_this_thread():
    display, elsewhere = Recorder(), []
    with showing(display):
        with showing(True): assert current_display() is display # load_model inside a run
        with showing(False): assert type(current_display()) is Display
        thread = threading.Thread(target=lambda: elsewhere.append(current_display()))
        thread.start(); thread.join()
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: elsewhere.append(context.run(current_display)))
        thread.start(); thread.join()
        assert current_display() is display
    assert elsewhere[0] is not display and elsewhere[1] is display and current_display() is not display

def test_each_display_draws_downloads_in_its_way(tmp_path):
    kinds = {Display(): Display, Recorder(): Display, StatusFile(tmp_path/"0.json"): Display, LogLines(): LogLines, TextBar(): TextBar, NotebookBar(): NotebookBar,
             WidgetDisplay(): NotebookBar}
    for display, kind in kinds.items(): assert type(display.for_download()) is kind and display.for_download() is not display

@pytest.mark.parametrize("make", [TextBar, LogLines])
def test_a_download_that_breaks_off_is_drawn_to_the_last_byte(make):
    out = io.StringIO()
    with pytest.raises(OSError), make(out).downloading("weights.pth") as bar:
        for done in range(0, 1000, 10): bar.update(done, 2000)
        raise OSError("disk full")
    assert "weights.pth" in out.getvalue() and ("990/2.00k" in out.getvalue() or "990 B of 2.0 kB (50 %)" in out.getvalue())


# What an evaluation tells

def test_display_is_told_everything_of_a_single_process(vqa, tmp_path):
    display = Recorder()
    run = evaluate(vqa, output_dir=tmp_path, progress=display, batch_size=2, limit=60)
    last = display.snapshots[-1]
    assert (last.state, last.done, last.total) == ("finished", len(run.questions), len(run.questions)) and display.closed and display.run is run
    assert last.accuracy == run.accuracy.overall and {t.name: t.accuracy for t in last.types} == run.accuracy.per_answer_type
    assert last.host_bytes > 10**7 and last.device_bytes is None and last.ranks == ()
    assert [s.done for s in display.snapshots] == sorted(s.done for s in display.snapshots) and len(display.snapshots) > 10

@pytest.mark.parametrize("make", [TextBar, LogLines])
def test_in_a_script_the_last_lines_say_where_the_answers_are_and_what_is_next(vqa, tmp_path, make):
    out, folder = io.StringIO(), tmp_path/"first run"
    evaluate(vqa, output_dir=folder, progress=make(out), limit=10)
    *_, where, what = out.getvalue().splitlines()
    assert where == f"answers: {folder}" and what == (f"next: open_run({str(folder)!r}).browse() shows them in a notebook; "
                                                      f"beit3-colab report '{folder}' --html report.html makes a page")
    evaluate(vqa, output_dir=folder, progress=make(again := io.StringIO()), limit=10) # nothing is left to be asked
    assert again.getvalue().splitlines()[-2:] == [where, what]
    stopped = make(short := io.StringIO())
    stopped.draw = lambda snapshot, final, draw=stopped.draw: (draw(snapshot, final), stopped.stop_asked.set())
    evaluate(vqa, output_dir=tmp_path/"stopped", progress=stopped, limit=40, batch_size=1)
    assert "next: " not in short.getvalue() # the message of a stopped run says how it goes on

@pytest.mark.parametrize("looks", ["at once", "late", "after the end"])
def test_display_is_told_of_every_rank_of_a_group(vqa, expected, tmp_path, monkeypatch, looks):
    "However late this process looks what the others do; all but the first case continue a run."
    display, kept = Recorder(), 0
    if looks != "at once":
        evaluate(vqa, output_dir=tmp_path, progress=Recorder(stop_at=20), batch_size=2, limit=150)
        kept = count_answers(tmp_path)
    class LateWorkers(Workers):
        def running(self):
            if looks != "at once": wait_until(lambda: looks == "late" and count_answers(tmp_path) > kept + 20 or all(p.poll() is not None for p in self.processes))
            return super().running()
    monkeypatch.setattr("beit3_colab.evaluation.processes.Workers", LateWorkers)
    evaluate(output_dir=tmp_path, progress=display, processes=2, **RUN)
    assert result(tmp_path) == expected
    last = display.snapshots[-1]
    assert (last.state, last.done, last.resumed) == ("finished", last.total, kept) and [r.rank for r in last.ranks] == [0, 1]
    assert sum(r.done for r in last.ranks) == last.total - kept and all(r.done == r.share for r in last.ranks)
    assert last.host_bytes > 2*10**8 # of two processes
    assert looks != "at once" or any(r.rate > 0 for s in display.snapshots for r in s.ranks)

def test_warnings_of_started_processes_are_shown(tmp_path):
    from types import SimpleNamespace
    from beit3_colab.progress.status_file import StatusReader
    from beit3_colab.run.tally import GroupView, Tally
    status = StatusFile(tmp_path/"1.json")
    status.show(replace(HALF, warnings=("halved",)), final=True)
    display = Recorder()
    nothing = SimpleNamespace(questions=[], annotations=None, metric="official")
    tally = Tally(nothing, {}, display, GroupView(statuses=tuple(StatusReader(tmp_path/f"{rank}.json") for rank in range(2))))
    tally.show(final=True)
    stamp = (tmp_path/"1.json").stat()
    status.show(replace(HALF, warnings=("halved", BAD)), final=True)
    os.utime(tmp_path/"1.json", ns=(stamp.st_atime_ns, stamp.st_mtime_ns)) # within the same tick of a coarse clock
    tally.show(final=True)
    assert display.warned == ["rank 1: halved", f"rank 1: {BAD}"] == list(display.snapshot.warnings)

def test_an_unreadable_picture_is_told_as_text(vqa, tmp_path):
    from beit3_colab.scenes.sample import open_sample
    sample = open_sample()
    questions = [dict(question_id=q.question_id, image_id=q.image_id, question=q.question) for q in sample.questions[:20]]
    for sub in ("vqa", "test2015"): (tmp_path/BAD.replace("/", "")/sub).mkdir(parents=True)
    data = tmp_path/BAD.replace("/", "")
    (data/"vqa"/"v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps({"questions": questions}))
    (data/"vqa"/"answer2label.txt").write_text("\n".join(json.dumps(dict(answer=a, label=i)) for i, a in enumerate(vqa.answers)))
    for q in sample.questions[:20]: (data/"test2015"/f"COCO_test2015_{q.image_id:012d}.jpg").write_bytes(b"no picture")
    display = WidgetDisplay()
    run = evaluate(vqa, "test", data, output_dir=tmp_path/"run", progress=display, bad_images="blank")
    tags = Tags(summary_html(display.snapshot, run))
    assert BAD.replace("/", "") in tags.text and "warning" in tags.text and not {"script", "img"} & {tag for tag, _ in tags.found}


# Stopping

def test_stop_button_in_the_foreground_ends_with_a_run_that_can_be_continued(vqa, expected, tmp_path):
    display = Recorder(stop_at=20)
    run = evaluate(vqa, output_dir=tmp_path, progress=display, batch_size=2, limit=150)
    assert 20 <= len(run.records) < len(run.questions) and run.submission is None and display.snapshots[-1].state == "stopped"
    assert display.snapshots[-1].done == len(run.records) and run.accuracy.num_questions == len(run.records)
    evaluate(vqa, output_dir=tmp_path, progress=False, batch_size=2, limit=150)
    assert result(tmp_path) == expected

def test_background_run_returns_stops_and_continues(vqa, expected, slow, tmp_path):
    run = evaluate(vqa, output_dir=tmp_path, progress=False, batch_size=2, limit=150, background=True)
    wait_until(lambda: count_answers(tmp_path) > 10 or not run.running)
    assert run.running and run.state == "running"
    with pytest.raises(UserError, match="answering for another run"): evaluate(vqa, output_dir=tmp_path/"other", progress=False, background=True)
    with pytest.raises(UserError, match="answering for another run"): evaluate(vqa, output_dir=tmp_path/"other", progress=False)
    with pytest.raises(TimeoutError, match="still goes on"): run.wait(0.001)
    first = len(run.records)
    wait_until(lambda: count_answers(tmp_path) > first or not run.running)
    run.refresh()
    assert len(run.records) > first and run.accuracy.num_questions == len(run.records)
    run.stop()
    assert run.wait() is run and run.state == "stopped" and not run.running and run.error is None and "stopped" in repr(run)
    again = evaluate(vqa, output_dir=tmp_path, progress=False, batch_size=2, limit=150, background=True).wait() # the model is free again
    assert again.state == "finished" and result(tmp_path) == expected and again.report().questions < len(again.questions)
    assert len(open_run(tmp_path).records) == len(again.records)

def test_a_part_of_a_run_that_goes_on_is_what_there_is_now(vqa, slow, tmp_path):
    "It told the count and the state of the whole run, and stopped that."
    done = evaluate(vqa, output_dir=tmp_path/"done", progress=False, limit=20)
    run = evaluate(vqa, output_dir=tmp_path/"going", progress=False, batch_size=2, limit=150, background=True)
    wait_until(lambda: run.begun and count_answers(tmp_path/"going") > 10 or not run.running)
    run.refresh()
    ids = list(run.records)[:5]
    part = part_of(run, ids)
    assert run.running and not part.running and len(part.questions) == 5 and part.accuracy.num_questions == 5 and set(part.answers["question_id"]) == set(ids)
    assert "answered, in" not in repr(part) and "going on" not in part.browse().title.value and not hasattr(part, "stop")
    shared = [q.question_id for q in done.questions if q.question_id in run.records]
    if shared: assert len(compare(done, run, questions=shared[:3]).table) == len(shared[:3])
    assert run.running and run.state == "running"
    run.stop()
    run.wait()
    assert len(part.records) >= 5 and "finished" in repr(part) # all of its questions

def test_background_group_stops_and_continues(expected, paced, tmp_path):
    display = Recorder()
    run = evaluate(output_dir=tmp_path, progress=display, processes=2, background=True, **RUN)
    wait_until(lambda: count_answers(tmp_path) > 10 or not run.running)
    run.stop()
    run.wait()
    assert run.state == "stopped" and display.snapshots[-1].state == "stopped" and display.snapshots[-1].done == len(run.records) < len(run.questions)
    evaluate(output_dir=tmp_path, progress=False, **RUN)
    assert result(tmp_path) == expected

def test_help_names_parameters_of_a_background_run_too():
    beit3_colab.evaluate # what it gives is made complete with it
    assert "timeout: seconds" in BackgroundRun.wait.__doc__

def test_background_run_whose_folder_has_gone_ends_with_an_error(slow, tmp_path):
    run = evaluate(slow, output_dir=tmp_path/"run", progress=False, background=True, **RUN)
    wait_until(lambda: count_answers(tmp_path/"run") > 4)
    shutil.rmtree(tmp_path/"run")
    with pytest.raises(UserError): run.wait(120)
    assert run.state == "failed" and not run.running

def test_a_run_whose_folder_was_renamed_meanwhile_says_so(slow, tmp_path):
    run = evaluate(slow, output_dir=tmp_path/"run", progress=False, background=True, **RUN)
    wait_until(lambda: count_answers(tmp_path/"run") > 4)
    (tmp_path/"run").rename(tmp_path/"moved")
    with pytest.raises(UserError, match="moved, renamed or deleted while the run went on.* same call with that folder"): run.wait(120)
    assert run.state == "failed" and [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert count_answers(tmp_path/"moved") == len(beit3_colab.open_run(tmp_path/"moved").questions) # nothing is lost

@pytest.mark.parametrize("more", [dict(), dict(processes=2)])
def test_a_run_goes_on_in_its_folder_when_the_working_folder_changes(slow, tmp_path, monkeypatch, more):
    (tmp_path/"elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = evaluate(*([] if more else [slow]), output_dir="run", progress=False, background=True, **RUN | more)
    wait_until(lambda: count_answers(tmp_path/"run") > 4)
    monkeypatch.chdir("elsewhere")
    assert run.wait(120).state == "finished" and len(run.records) == len(run.questions) and run.submission.parent == tmp_path/"run"
    assert list(Path().iterdir()) == []

def test_stopped_before_anything_was_answered(tmp_path):
    run = evaluate(output_dir=tmp_path/"run", progress=False, processes=2, background=True, **RUN)
    run.stop()
    assert run.wait().state == "stopped" and run.error is None

def test_error_of_a_background_run_is_shown_and_raised(tmp_path):
    display = WidgetDisplay()
    run = evaluate(str(tmp_path/BAD.replace("/", "")), progress=display, background=True)
    with pytest.raises(UserError, match="onerror"): run.wait()
    assert run.state == "failed" and display.snapshot.state == "failed"
    tags = Tags(summary_html(display.snapshot))
    assert BAD.replace("/", "") in tags.text and not {"script", "img"} & {tag for tag, _ in tags.found}
    with pytest.raises(UserError, match="failed before it had a folder"): run.records

def test_background_is_not_for_launched_processes(monkeypatch):
    for name, value in dict(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0").items(): monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="belongs in a notebook"): evaluate(background=True)

def test_interrupt_in_the_foreground_says_what_is_kept(vqa, expected, tmp_path):
    class Interrupter(Recorder):
        def draw(self, snapshot, final):
            super().draw(snapshot, final)
            if snapshot.done >= 20 and not final: raise KeyboardInterrupt
    display = Interrupter()
    with pytest.raises(KeyboardInterrupt, match="questions are answered and kept; the same call") as caught: evaluate(vqa, output_dir=tmp_path, progress=display, batch_size=2, limit=150)
    assert isinstance(caught.value, Stopped) and len(caught.value._render_traceback_()) == 1 and display.snapshots[-1].state == "stopped"
    evaluate(vqa, output_dir=tmp_path, progress=False, batch_size=2, limit=150)
    assert result(tmp_path) == expected

@pytest.mark.parametrize("processes", [1, 2])
def test_python_exits_while_a_run_goes_on(expected, paced, tmp_path, processes):
    script = (f"import time\nfrom beit3_colab import evaluate\nrun = evaluate(output_dir={str(tmp_path)!r}, progress=False, background=True, processes={processes}, **{RUN!r})\n"
              "while run.state == 'preparing' or run.running and not run.records: time.sleep(0.01); run.state == 'preparing' or run.refresh()\nprint(run.state)")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "running\n", "")
    assert 0 < count_answers(tmp_path) < 150
    evaluate(output_dir=tmp_path, progress=False, **RUN)
    assert result(tmp_path) == expected


# In a real kernel

def run_cells(folder, *cells, errors=False):
    "Run cells with a kernel; gives the outputs of each."
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(book, timeout=300, kernel_name="python3", allow_errors=errors, store_widget_state=False, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(book, folder/"saved.ipynb")
    return [c["outputs"] for c in nbformat.read(folder/"saved.ipynb", 4).cells]

def html_of(outputs): return "".join("".join(o.get("data", {}).get("text/html", "")) for o in outputs)
def has_widget(outputs): return any(WIDGET in o.get("data", {}) for o in outputs)
def printed(outputs, name="stdout"): return "".join(o["text"] for o in outputs if o["output_type"] == "stream" and o["name"] == name)

def test_widget_gives_way_to_a_summary_in_the_saved_notebook(expected, paced, tmp_path):
    one, start, stop, go_on, wait = run_cells(tmp_path,
        f"from beit3_colab import evaluate\nshown = evaluate(output_dir='one', **{RUN!r})",
        f"import time\nbegan = time.monotonic()\nrun = evaluate(output_dir='two', background=True, **{RUN!r})\nreturned = run.running",
        "while run.running and (run.state == 'preparing' or not run.records): time.sleep(0.01); run.state == 'preparing' or run.refresh()\nrun.stop(); run.wait(); print(returned, run.state, 0 < len(run.records) < 150)",
        f"run = evaluate(output_dir='two', background=True, **{RUN!r})",
        "print((await run).state)")
    for outputs, title in (one, "Finished"), (start, "Stopped"), (go_on, "Finished"): # in the cell that started it, though the end came while another ran
        assert not has_widget(outputs) and title in html_of(outputs), (title, outputs)
    assert not html_of(stop) and not html_of(wait)
    assert printed(stop) == "True stopped True\n" and printed(wait) == "finished\n"
    assert "overall" in html_of(one) and "peak memory" in html_of(one) and "continues" in html_of(start)
    assert result(tmp_path/"one") == result(tmp_path/"two") == expected
    assert not nbformat.read(tmp_path/"saved.ipynb", 4).metadata.get("widgets")

def test_summary_of_a_long_folder_fits_a_telephone(tmp_path):
    "In the page of a saved notebook, where nothing can be scrolled and text has 14 px; fonts may be wide."
    run = evaluate(output_dir=tmp_path/"beit3_large_indomain_patch16_480_vqa_val_limit_2000_seed_0", progress=False, limit=5, device="cpu")
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=320, height=900))
        for state in ("finished", "stopped"):
            page.set_content(f"<!DOCTYPE html><body style='margin:0;overflow:hidden;font-size:14px'>{summary_html(Snapshot(5, 5, seconds=1., state=state), run)}</body>")
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, state

@pytest.mark.parametrize("processes", [1, 2])
def test_interrupted_cell_shows_a_summary_and_one_line(expected, paced, tmp_path, processes):
    begin = ("import os, signal, threading, time\nfrom pathlib import Path\nfrom beit3_colab import evaluate\n"
             "def interrupt():\n    while sum(p.read_bytes().count(b'question_id') for p in Path('run').glob('answers-*')) < 10: time.sleep(0.01)\n"
             "    os.killpg(os.getpgid(0), signal.SIGINT) # as a notebook's interrupt: the kernel and its children\n"
             f"threading.Thread(target=interrupt, daemon=True).start()\nevaluate(output_dir='run', processes={processes}, **{RUN!r})")
    cell, after = run_cells(tmp_path, begin, f"print(evaluate(output_dir='run', progress=False, **{RUN!r}).submission.name)\nevaluate(limit=0, progress=False)", errors=True)
    wrong, = [o for o in after if o["output_type"] == "error"]
    assert wrong["traceback"][0].startswith("line 2: evaluate(limit=0") and wrong["traceback"][1:] == ["UserError: limit must be a whole number of 1 or more, not 0"] # bad input: no frames of ours
    error, = [o for o in cell if o["output_type"] == "error"]
    assert error["ename"] == "Stopped" and len(error["traceback"]) == 1 and "answered and kept" in error["traceback"][0]
    assert not has_widget(cell) and "Stopped" in html_of(cell) and "continues" in html_of(cell)
    assert printed(after).startswith("partial_vqav2_sample") and result(tmp_path/"run") == expected

def test_kernel_without_ipywidgets_has_a_bar_and_one_hint(expected, tmp_path):
    first, second = run_cells(tmp_path, f"import sys\nsys.modules['ipywidgets'] = None\nfrom beit3_colab import evaluate\nevaluate(output_dir='one', **{RUN!r})",
                              f"run = evaluate(output_dir='two', background=True, **{RUN!r}); run.wait(); print(run.state)")
    assert printed(first, "stderr").count("pip install ipywidgets") == 1 and "100 %" in printed(first, "stderr")
    assert printed(second) == "finished\n" and "pip install ipywidgets" not in printed(second, "stderr")
    assert not [o for o in first + second if o["output_type"] == "display_data"] and not html_of(second)
    assert html_of(first).startswith("<p><b>BEiT-3 sample model") # the value of the cell, which is the run
    assert result(tmp_path/"one") == result(tmp_path/"two") == expected

def test_no_widget_outside_a_kernel():
    assert not isinstance(make_display(True), WidgetDisplay)
    assert isinstance(make_display("bar"), TextBar) and isinstance(make_display("widget"), WidgetDisplay)
