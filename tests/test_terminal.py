"No order to a terminal comes out of any command, from any text that others wrote: what is printed, logged or raised can be shown."
import io
import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from beit3_colab import load_model
from beit3_colab.commands.cli import guarded, main
from beit3_colab.data.dataset import Annotation
from beit3_colab.machine.distributed import GroupError, WorkerError
from beit3_colab.machine.messages import get_log, UserError
from beit3_colab.machine.streams import SafeStream
from beit3_colab.model.checkpoint import convert
from beit3_colab.progress.bars import LogLines, TextBar
from beit3_colab.progress.display import Stopped
from beit3_colab.progress.snapshot import Snapshot
from beit3_colab.run_beit3_finetuning import main as drop_in
from beit3_colab.scoring.results import check_submission
from beit3_colab.scoring.score import score, soft_score

ROOT = Path(__file__).parent.parent
ORDERS = "\x1b]0;title\x07\x1b[31mred\x9b2A\b\b\r\u202egnp\u2066\u200f\x7f" # title, colour, cursor, back, over, direction
NAME = f"x{ORDERS}" # also as the name of a file
EVIL = ORDERS + "\x00"


def orders(text):
    "The characters of a text that a terminal obeys, or that turn its direction."
    return {c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t" or unicodedata.category(c) == "Cf"}

def test_the_check_can_fail(): assert len(orders(EVIL)) == 10 and not orders("a\tb\nç 天")


@pytest.fixture
def said(capsys):
    "Call a command; its status, and all that it printed and logged, which must be clean and name what it is about."
    def call(*arguments, command=main, shows="title"):
        heard = logging.StreamHandler(io.StringIO())
        logging.getLogger().addHandler(heard)
        try: status = command([str(a) for a in arguments])
        except SystemExit as ended: status = ended.code
        finally: logging.getLogger().removeHandler(heard)
        out, err = capsys.readouterr()
        text = out + err + heard.stream.getvalue()
        assert not orders(text), ascii(text)
        assert shows in text, text
        return status, text
    return call

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    "A checkpoint folder of a hostile name, whose answers are hostile."
    folder = tmp_path_factory.mktemp("model")/NAME
    answers = folder.with_name("answers.json")
    answers.write_text(json.dumps([f"{ORDERS}\n0.99 {answer}" for answer in load_model("sample", device="cpu").answers]))
    convert("sample", folder, answers=answers)
    return folder

@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    "A folder of pictures with hostile names, and of other files."
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(2): Image.new("RGB", (40, 30), (90*i, 0, 0)).save(folder/f"{NAME}{i}.png")
    (folder/f"{NAME}.txt").write_text("")
    (folder/f"{NAME}.heic").write_text("")
    os.mkfifo(folder/f"{NAME}.pipe")
    return folder

@pytest.fixture(scope="module")
def runs(tmp_path_factory, checkpoint, pictures):
    "Two runs in which every text is hostile, in folders of hostile names."
    folder = tmp_path_factory.mktemp("runs")
    rows = [dict(image=f"{NAME}{i}.png", question=f"{ORDERS} what {i}?", question_id=f"{i}{ORDERS}", answers=[f"{ORDERS}yes", "no"]) for i in range(2)]
    rows[1][ORDERS] = 1
    (pictures/f"{NAME}.json").write_text(json.dumps(rows))
    for name in ("a", "b"):
        arguments = ["evaluate", "--checkpoint", checkpoint, "--questions", pictures/f"{NAME}.json", "--output-dir", folder/f"{name}{NAME}", "--device", "cpu", "--quiet"]
        assert main(list(map(str, arguments))) == 0
    return [folder/f"{name}{NAME}" for name in ("a", "b")]


def test_evaluate_tells_cleanly_of_what_it_did(said, checkpoint, pictures, tmp_path):
    status, text = said("evaluate", "--checkpoint", checkpoint, "--questions", pictures, "--question", f"{ORDERS}?", "--output-dir", tmp_path/NAME, "--device", "cpu")
    assert status == 0 and "not asked about" in text

@pytest.mark.parametrize("arguments", [("report",), ("report", "--html", "page.html"), ("report", "--csv", f"{NAME}.csv"), ("compare",), ("compare", "--json")], ids=" ".join)
def test_a_run_is_told_cleanly(said, runs, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    folders = runs if arguments[0] == "compare" else runs[:1]
    status, _ = said(arguments[0], *folders, *arguments[1:], shows="" if {"page.html", "--json"} & set(arguments) else "title")
    assert status == 0

def test_a_run_is_asked_for_its_figures_cleanly(runs):
    from beit3_colab import compare, open_run
    opened = [open_run(run) for run in runs]
    for thing in (opened[0].accuracy, compare(*opened)):
        for text in (str(thing), repr(thing)): assert "title" in text and not orders(text)

def test_answers_of_a_checkpoint_are_one_line_each(said, checkpoint, pictures):
    status, text = said("ask", pictures/f"{NAME}0.png", f"{ORDERS}?", "--checkpoint", checkpoint, "--top-k", 3)
    assert status == 0 and [line.split(" ")[1] for line in text.strip().splitlines() if "]0;" in line] and len(re.findall(r"(?m)^ *\d\.\d{3}  ", text)) == 3

@pytest.mark.parametrize("how", ["plain", "json", "results"])
def test_score_and_check_are_clean(said, tmp_path, how):
    answers = [dict(answer="yes", answer_id=i + 1) for i in range(10)]
    people = [dict(question_id=i, image_id=i, question_type=EVIL, answer_type=f"{EVIL}\nforged", multiple_choice_answer=EVIL, answers=answers) for i in range(3)]
    (tmp_path/"people.json").write_text(json.dumps(dict(annotations=people)))
    (tmp_path/"questions.json").write_text(json.dumps(dict(questions=[dict(question_id=i, image_id=i, question=EVIL) for i in range(3)])))
    results = [dict(question_id=i, answer=EVIL) for i in range(3)] + [{"question_id": EVIL, EVIL: EVIL}]*(how == "results")
    path = tmp_path/NAME
    path.write_text(json.dumps(results))
    status, text = said("score", path, "--annotations", tmp_path/"people.json", *["--json"]*(how == "json"))
    assert status == (2 if how == "results" else 0) and (how != "plain" or "\nforged" not in text)
    assert said("check", path, "--questions", tmp_path/"questions.json", shows="")[0] == (2 if how == "results" else 0)

CSV = {
    "picture": f"image,question\n\"{NAME.replace(chr(13), '')}.png\",q\n",
    "column": f"image{ORDERS},question\na.png,q\n",
    "id": "image,question,question_id\n" + 2*f"a.png,q,\"{'x' + ORDERS.replace(chr(13), '')}\"\n",
}

@pytest.mark.parametrize("what", CSV)
def test_a_table_is_refused_cleanly(said, tmp_path, what):
    path = tmp_path/f"{NAME}.csv"
    path.write_text(CSV[what])
    assert said("evaluate", "--questions", path, "--output-dir", tmp_path/"run")[0] == 2

@pytest.mark.parametrize("content", [{EVIL: 1}, [{EVIL: 1}], [{"image": EVIL, "question": "q"}], [{"image": "a.png", "question": [EVIL]}], [{"image": "a.png", "question": "q", "answers": {EVIL: EVIL}}], [{"image": f"http://{EVIL}", "question": "q"}],
                                     {"questions": [{"image": "a", EVIL: 1}]}, EVIL, [EVIL], [{"image": "a.png", "question": "q", "question_id": [EVIL]}]], ids=ascii)
def test_json_is_refused_cleanly(said, tmp_path, content):
    path = tmp_path/f"{NAME}.json"
    path.write_text(json.dumps(content))
    assert said("evaluate", "--questions", path, "--output-dir", tmp_path/"run", shows="")[0] == 2

@pytest.mark.parametrize("content", [{"embed_dim": EVIL}, [EVIL], EVIL], ids=ascii)
def test_a_config_is_refused_cleanly(said, tmp_path, content):
    (tmp_path/NAME).write_text(json.dumps(content))
    assert said("evaluate", "--config", tmp_path/NAME, "--output-dir", tmp_path/"run", shows="")[0] == 2

@pytest.mark.parametrize("weights", [{f"{ORDERS}.weight": 1}, {f"beit3.encoder.layers.{ORDERS}.x": 1}], ids=ascii)
@pytest.mark.parametrize("command", ["convert", "ask"])
def test_weights_are_refused_cleanly(said, tmp_path, weights, command):
    import torch
    path = tmp_path/f"{NAME}.pth"
    torch.save({"model": {name: torch.zeros(3) for name in weights}}, path)
    assert said(*(("convert", path, tmp_path/"out") if command == "convert" else ("ask", "a.png", "q?", "--checkpoint", path)), shows="")[0] == 2

@pytest.mark.parametrize("change", [lambda info: info.update({"submission": EVIL}), lambda info: info["identity"].update(split=EVIL), lambda info: info.update(question_ids=[EVIL]),
                                    lambda info: info.update(dataset=EVIL), lambda info: info["identity"].update(checkpoint=EVIL)])
def test_a_changed_run_is_told_or_refused_cleanly(said, runs, tmp_path, change):
    import shutil
    folder = Path(shutil.copytree(runs[0], tmp_path/NAME))
    info = json.loads((folder/"run.json").read_text())
    change(info)
    (folder/"run.json").write_text(json.dumps(info))
    for command in (("report", folder), ("report", folder, "--html", tmp_path/"page.html"), ("compare", folder, runs[1])):
        assert said(*command, shows="")[0] in (0, 2)

@pytest.mark.parametrize("arguments", [(NAME,), ("ask", NAME), ("evaluate", f"--{NAME}"), ("evaluate", "--limit", NAME), ("score", NAME, "--annotations", NAME), ("check", NAME, "--questions", NAME), ("compare", NAME, NAME), ("report", NAME), ("convert", NAME, NAME),
                                       ("evaluate", "--checkpoint", NAME), ("evaluate", "--split", NAME), ("evaluate", "--dtype", NAME), ("evaluate", "--local-rank", NAME), ("ask", "a.png", "q?", "--answers", NAME), ("ask", "a.png", "q?", "--tokenizer", NAME)], ids=ascii)
def test_arguments_are_echoed_cleanly(said, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert said(*arguments, shows="")[0] == 2

@pytest.mark.parametrize("arguments", [(f"--{NAME}",), ("--task", NAME), ("--eval", "--model", NAME), ("--eval", "--model", NAME, "--task", "vqav2", "--sentencepiece_model", NAME, "--finetune", NAME, "--data_path", NAME, "--output_dir", NAME)], ids=ascii)
def test_the_drop_in_is_clean(said, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert said(*arguments, command=drop_in, shows="")[0] == 2

def test_the_doctor_is_clean(said, monkeypatch, tmp_path):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/NAME))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{ORDERS}:8080")
    said("doctor", shows="")

@pytest.mark.parametrize("error, status", [(UserError(EVIL), 2), (WorkerError(EVIL), 1), (GroupError(EVIL), 1), (Stopped(EVIL, EVIL, Path(NAME)), 130), (Stopped(EVIL), 130)], ids=repr)
def test_errors_of_a_command_are_clean(said, error, status):
    def fail(arguments): raise error
    assert said(command=guarded("beit3-colab")(fail))[0] == status

def test_a_traceback_of_a_command_is_clean(tmp_path):
    "Python shows what nobody caught, and past every gate; a command shows it itself."
    code = f"from beit3_colab.commands.cli import guarded\ndef fail(_): raise RuntimeError({EVIL!r})\nimport sys; sys.exit(guarded('x')(fail)())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "RuntimeError: ]0;title" in done.stderr and not orders(done.stderr)

@pytest.mark.parametrize("error", [UserError(EVIL), Stopped(EVIL)], ids=repr)
def test_errors_are_shown_cleanly_by_python(error):
    for text in (str(error), f"{error}", *error._render_traceback_()): assert "title" in text and not orders(text)

def test_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit): main(["--version"])
    assert (sys.stdout, sys.stderr) == before


def test_every_logger_of_ours_is_clean():
    "A filter of a logger does not see what loggers below it say, so each logger is asked for in one way."
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT/"beit3_colab").rglob("*.py")}
    assert [path.name for path, text in texts.items() if "getLogger" in text] == ["messages.py"]
    names = {name for text in texts.values() for name in re.findall(r"get_log\(\"([^\"]+)\"\)", text)}
    assert len(names) > 4
    for name in names:
        get_log(name)
        heard = logging.StreamHandler(io.StringIO())
        logger = logging.getLogger(name)
        logger.addHandler(heard)
        try: logger.warning("%s and %d %%", EVIL, 3)
        finally: logger.removeHandler(heard)
        assert heard.stream.getvalue().endswith("and 3 %\n") and not orders(heard.stream.getvalue())


@pytest.mark.parametrize("display", [TextBar, LogLines])
def test_only_a_bar_tells_the_terminal_what_to_do(display):
    out = io.StringIO()
    shown = display(out)
    with shown.downloading(EVIL) as bar: bar.update(1, 3); bar.update(3, 3)
    shown.show(Snapshot(3, 3, state="failed", error=EVIL, name=EVIL, seconds=1.), final=True)
    shown.warn(EVIL)
    shown.close()
    own = {"\r", "\x1b"} if display is TextBar else set()
    assert orders(out.getvalue()) <= own and "title" in out.getvalue() and "\x1b]" not in out.getvalue() and "\x1b[31m" not in out.getvalue()

def test_a_stream_of_ours_is_clean():
    out = io.StringIO()
    print(EVIL, file=SafeStream(out))
    assert not orders(out.getvalue())

def test_figures_are_printed_cleanly():
    people = {i: Annotation(i, i, EVIL, f"{EVIL}\nforged", "yes", ("yes",)*10) for i in range(3)}
    found = [score(people, {i: "yes" for i in range(3)}), soft_score(people, {i: "yes" for i in range(3)}), check_submission([{"question_id": EVIL, EVIL: 1}], [dict(question_id=1, image_id=1, question="q")])]
    for thing in found: assert not orders(str(thing)) and "\nforged" not in str(thing)

def test_ipython_in_a_terminal_says_where_a_browser_can_be_looked_at(monkeypatch, capsys):
    "Nothing else would be seen there but a line that names a Python object."
    from types import SimpleNamespace
    from beit3_colab.look.widgets import show_widget
    monkeypatch.setattr("IPython.get_ipython", type("TerminalInteractiveShell", (), {}))
    show_widget(SimpleNamespace(model_id="0"), "Browser(sample: 3 answers)", "<p>saved</p>")
    out = capsys.readouterr().out
    assert out.startswith("Browser(sample: 3 answers)\n") and "to_html('report.html')" in out and "<" not in out
