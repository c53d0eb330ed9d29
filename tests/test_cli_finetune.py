"`beit3-colab finetune`: its options, what it prints, how it is stopped and goes on, and bad input in one line."
import csv
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
from processes import BIN, environment, free_port, wait_until

from beit3_colab import load_model, open_training
from beit3_colab.commands.cli import main
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.questions import ask_scene
from beit3_colab.training.log import read_log
from beit3_colab.training.plan import FinetunePlan

SMALL = "--image-size 32 --epochs 2 --batch-size 4 --validation 0.34 --device cpu --workers 1 --answers checkpoint".split()


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    "Six pictures with two questions each."
    folder = tmp_path_factory.mktemp("lessons")
    rows = [(f"{i}.png", q["question"], q["answer"]) for i in range(6) for q in ask_scene(make_scene(i))[:2]]
    for i in range(6): draw_scene(make_scene(i)).resize((48, 48)).save(folder/f"{i}.png")
    with open(folder/"questions.csv", "w", newline="") as f: csv.writer(f).writerows([("image", "question", "answers"), *rows])
    return folder

def finetune(lessons, out, *more): return list(map(str, ["finetune", "--questions", lessons, "--output-dir", out, *SMALL, *more]))

@pytest.fixture(scope="module")
def trained(lessons, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")/"out"
    assert main(finetune(lessons, out, "--quiet")) == 0
    return out


def test_it_prints_each_epoch_and_what_can_be_done_with_the_result(lessons, trained, capsys):
    assert main(finetune(lessons, trained, "--quiet")) == 0 # again: it is told again
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if not line.startswith("note: ")]
    assert err == "" and "note: " in out and lines[0].startswith("sample trained on own pictures, 8 questions: finished")
    assert [line.split(":")[0] for line in lines[1:4]] == ["  before training", "  epoch 1", "  epoch 2"] and all("%" in line for line in lines[1:4])
    assert f"): {trained}" in out and f"beit3-colab evaluate --checkpoint {trained} …" in out and f"open_training({str(trained)!r}).compare()" in out
    assert load_model(trained, device="cpu").answers and open_training(trained).finished

def test_nothing_held_out_is_not_compared(lessons, tmp_path, capsys):
    assert main(finetune(lessons, tmp_path/"out", "--quiet", "--validation", 0)) == 0
    out = "\n".join(line for line in capsys.readouterr().out.splitlines() if not line.startswith("note: "))
    assert "not validated" in out and "compare" not in out and "load_model" in out

def test_every_field_with_a_word_is_an_option(capsys):
    with pytest.raises(SystemExit) as ended: main(["finetune", "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    names = [f"--{f.name.replace('_', '-')}" for f in fields(FinetunePlan) if f.metadata["metavar"] is not None]
    assert len(names) > 40 and not [name for name in [*names, "--quiet", "--no-randaug", "--no-flip"] if name not in shown]

def test_the_help_of_all_commands_loads_no_pytorch():
    code = "import sys\nfrom beit3_colab.commands.cli import main\ntry: main(['--help'])\nexcept SystemExit: print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "[]" and "finetune" in done.stdout

@pytest.mark.parametrize("more, says", [
    (["--epochs", 0], "epochs (--epochs) must be a whole number from 1"), (["--learning-rate", 7], "learning_rate (--learning-rate) must be a number above 0"), (["--validation", 1.5], "validation must be a share"),
    (["--limit", 0], "limit (--limit) must be a whole number of 1 or more"), (["--trainable", "body"], "invalid choice"), (["--recipe", "publish"], "recipe (--recipe) must be 'published' or 'small'"), (["--epocs", 3], "did you mean --epochs?"),
    (["--split", "train"], "leave them out when questions are given"), (["--checkpoint", "nowhere.pth"], "nowhere.pth does not exist"), (["--batch-size", "many"], "invalid int value"), (["--answers", "nowhere.txt"], "nowhere.txt"),
    (["--micro-batch", "0"], "micro_batch"), (["--processes", "none"], "processes must be"), (["--save-minutes", "-1"], "save_minutes (--save-minutes) must be a positive number"), (["--betas", "0.9", "2"], "betas (--betas) must be two numbers")])
def test_bad_input_is_one_line(lessons, tmp_path, capsys, more, says):
    try: status = main(finetune(lessons, tmp_path/"out", "--quiet", *more))
    except SystemExit as ended: status = ended.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1) and says in err and err.startswith("beit3-colab") and len(err) < 900
    assert not (tmp_path/"out"/"training.json").exists()

def test_nothing_to_learn_from_is_refused(capsys):
    assert main(["finetune"]) == 2
    assert "--questions" in capsys.readouterr().err

def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(lessons, trained, tmp_path):
    out = tmp_path/"out"
    command = [sys.executable, "-m", "beit3_colab", *finetune(lessons, out, "--epochs", 300)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    wait_until(lambda: running.poll() is not None or (out/"log.jsonl").exists() and len(read_log(out)) > 12)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=120)
    last = err.strip().splitlines()[-1]
    assert running.returncode == 130, err[-2000:]
    assert "samples are done; the last state that was saved is kept; the same command with --output-dir" in last and last.endswith("continues") and "answered" not in err
    before = max(row["step"] for row in read_log(out))
    again = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    wait_until(lambda: again.poll() is not None or max(row["step"] for row in read_log(out)) > before + 4)
    os.kill(again.pid, signal.SIGTERM)
    assert again.wait(120) == 130
    steps = [row["step"] for row in read_log(out) if row["kind"] == "step"]
    assert steps == list(range(1, max(steps) + 1)) and max(steps) > before + 4 # nothing is missing, nothing twice

def test_started_processes_do_the_same_training(lessons, trained, tmp_path, capsys):
    assert main(finetune(lessons, tmp_path/"two", "--quiet", "--processes", 2)) == 0
    losses = [[row["loss"] for row in read_log(folder) if row["kind"] == "step"] for folder in (trained, tmp_path/"two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) == 4
    assert "finished" in capsys.readouterr().out

def test_under_torchrun_one_process_prints(lessons, trained, tmp_path):
    command = [BIN/"torchrun", "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "beit3_colab", *finetune(lessons, tmp_path/"out", "--quiet")]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("finished") == 1 and done.stdout.count("load_model") == 1
