"`beit3-colab bench`: a table that is right, on machines that are small, broken, interrupted or foreign, and that tells nothing about who ran it."
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from beit3_colab import UserError
from beit3_colab.commands import bench as module
from beit3_colab.commands.bench import bench, Bench, Clock, list_formats, make_public, make_vqa, Measurement, random_model, read_size
from beit3_colab.commands.cli import main
from beit3_colab.model.beit3 import Beit3Config

ROOT = Path(__file__).parent.parent
TINY = Beit3Config(image_size=32, embed_dim=64, num_heads=2, num_layers=2, ffn_dim=256, vocab_size=64, num_classes=8)
CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch):
    "Every size is a tiny model, and nothing is short of time or memory."
    monkeypatch.setattr(module, "read_size", lambda size: TINY)
    monkeypatch.setattr(Clock, "slice", .05)
    monkeypatch.setattr("beit3_colab.training.memory.free_memory", lambda device: None)


def test_the_table_has_a_row_for_each_size_and_format(tiny, capsys):
    assert main(["bench", "--device", "cpu", "--seconds", "600"]) == 0
    out, err = capsys.readouterr()
    rows = re.findall(r"^\| (\S+) +\| (\S+) +\| (\S+).*\| (\d+) +\| (.+?) +\| (.+?) +\|$", out, re.M)
    formats = list_formats(CPU)
    assert [row[:2] for row in rows] == [(size, f"**{name}**" if name == formats[0] else name) for size in ("base-480", "large-480") for name in formats]
    assert err.count("making random weights") == len(rows) and "questions a second" in err
    found = json.loads(shell_json(capsys, "--sizes", "base-480"))
    assert [row["dtype"] for row in found["rows"]] == formats and all(row["questions_per_second"] > 0 for row in found["rows"])

def shell_json(capsys, *arguments):
    assert main(["bench", "--device", "cpu", "--seconds", "600", "--quiet", "--json", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out

def test_rates_and_times_belong_together(tiny):
    shown = str(Bench({"device": "x"}, "beit3-colab bench", [Measurement("base-480", "float32", True, (.5, .5), 4, "plain")]))
    assert "| 8.00 " in shown and "| 7.4 h | 16 h |" in shown # 214,354 and 447,793 questions at 8 a second

def test_it_measures_what_a_run_computes():
    "Random weights take the road of a run: the same `VQA`, told how many questions will come."
    asked = []
    with patch("beit3_colab.model.vqa.VQA.expect", autospec=True, side_effect=lambda vqa, questions: asked.append(questions) or vqa), \
            patch.object(module, "read_size", lambda size: TINY):
        row = module.measure(module.Job("base-480", "bfloat16", False, CPU, .05))
    assert asked == [447_793] and row.rate > 0 and row.form == "plain"

@pytest.mark.parametrize("size, parameters", [("base-480", 228_110_649), ("large-480", None)])
def test_the_models_are_the_published_sizes(size, parameters):
    from beit3_colab.model.beit3 import Beit3ForVQA, model_size
    assert read_size(size) == model_size(size.partition("-")[0])
    with torch.device("meta"): model = Beit3ForVQA(read_size(size))
    assert parameters in (None, sum(p.numel() for p in model.parameters()))

@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_random_weights_keep_numbers_in_bounds(dtype):
    "A model whose numbers overflow or vanish would be timed as well, and say nothing."
    model = random_model(Beit3Config(image_size=64, embed_dim=128, num_heads=2, num_layers=12, ffn_dim=512, vocab_size=99, num_classes=50), CPU, dtype)
    logits = model(torch.randn(2, 3, 64, 64), torch.randint(4, 99, (2, 9))).float()
    assert logits.isfinite().all() and .01 < logits.std() < 100
    assert all(p.dtype == dtype and p.float().isfinite().all() for p in model.parameters())

def test_an_overflow_is_no_figure(tiny, monkeypatch):
    broken = make_vqa(TINY, CPU, "float32")
    broken.model.head[-1].weight.fill_(torch.nan)
    monkeypatch.setattr(module, "make_vqa", lambda *_: broken)
    row, = bench(60, "base-480", "float32", "cpu", progress=False).rows
    assert row.rate is None and row.why_not == "its answers are not finite"


# Small and slow machines

def test_memory_that_is_short_is_told_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("beit3_colab.training.memory.free_memory", lambda device: 2*10**9)
    monkeypatch.setattr(module, "measure", lambda job, tell: Measurement(job.size, job.dtype, job.is_default, (.001,), 1, "plain"))
    shown = str(bench(device="cpu", progress=False))
    assert "not measured: large-480 in float32 (it needs 3.2 GB of memory, and 2.0 GB are free)" in shown and "| base-480 " in shown

def test_a_slow_machine_measures_base_and_leaves_large_out(monkeypatch):
    "Ten seconds a question: base takes half of the minute, large would take three."
    now = [0.]
    def measure(job, tell):
        assert job.size == "base-480" and not now[0]
        now[0] += 30
        return Measurement(job.size, job.dtype, job.is_default, (10., 10.), 1, "plain")
    monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("beit3_colab.training.memory.free_memory", lambda device: None)
    found = bench(device="cpu", progress=False)
    assert [bool(row.seconds) for row in found.rows] == [True] + [False]*(len(found.rows) - 1)
    assert "large-480 in float32" in str(found) and "(it would not have fitted into 60 s; --seconds gives more)" in str(found)

@pytest.mark.parametrize("error, says", [
    (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory ran out"),
    (RuntimeError("MPS backend out of memory"), "memory ran out"),
    (NotImplementedError("The operator 'aten::x' is not implemented for MPS"), "The operator 'aten::x' is not implemented for MPS"),
    (UserError("dtype='float8' has no form without kernels, and they do not run here"), "dtype='float8' has no form"),
])
def test_what_a_device_refuses_costs_one_row(tiny, monkeypatch, error, says):
    real, calls = module.measure, []
    def measure(job, tell):
        calls.append(job)
        if len(calls) == 1: raise error
        return real(job, tell)
    monkeypatch.setattr(module, "measure", measure)
    found = bench(600, "base-480", device="cpu", progress=False)
    assert says in found.rows[0].why_not and all(row.rate for row in found.rows[1:]) and len(found.rows) > 1

def test_a_lost_device_keeps_what_was_measured(tiny, monkeypatch):
    good = Measurement("base-480", "float32", True, (.1,), 1, "plain")
    monkeypatch.setattr(module, "measure", iter_of(good, RuntimeError("CUDA error: an illegal memory access was encountered")))
    found = bench(600, device="cpu", progress=False)
    assert [row.rate for row in found.rows] == [10.] and "the device has stopped working: CUDA error" in str(found)

def iter_of(*results):
    "A function that gives or raises one after the other."
    coming = iter(results)
    def call(*_):
        if isinstance(result := next(coming), BaseException): raise result
        return result
    return call

def test_a_large_batch_is_cut_where_it_would_take_too_long(tiny, monkeypatch):
    monkeypatch.setattr("beit3_colab.model.batching.find_batch_size", lambda vqa: 128)
    row = module.measure(module.Job("base-480", "float32", True, CPU, .05, most=8))
    assert row.batch_size == 8 and module.measure(module.Job("base-480", "float32", True, CPU, .05)).batch_size == 128


# Interrupted

def test_an_interrupt_gives_the_table_so_far(tiny, monkeypatch, capsys):
    good = Measurement("base-480", "float32", True, (.1,), 1, "plain")
    monkeypatch.setattr(module, "measure", iter_of(good, KeyboardInterrupt()))
    assert main(["bench", "--device", "cpu", "--quiet"]) == 130
    out = capsys.readouterr().out
    assert "| base-480 | **float32** | 10.0 " in out and re.search("`beit3-colab bench( --device cpu)?`, stopped after", out)

@pytest.mark.skipif(os.name != "posix", reason="Windows sends no interrupt to one process alone")
def test_a_real_interrupt(tmp_path):
    "As a person sends it, while the first model is timed."
    command = [sys.executable, "-c", "from beit3_colab.commands.cli import main; import sys; sys.exit(main(sys.argv[1:]))"]
    going = subprocess.Popen([*command, "bench", "--device", "cpu", "--seconds", "600", "--dtypes", "float32"], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in going.stderr:
        if "timing" in line: break
    time.sleep(1)
    going.send_signal(signal.SIGINT)
    out, err = going.communicate(timeout=120)
    assert going.returncode == 130 and "stopped after" in out and "Traceback" not in err and "- versions: beit3_colab" in out


# Nothing private, nothing that GitHub or a terminal obeys

def private_words():
    words = {getpass.getuser(), socket.gethostname(), str(Path.home()), sys.prefix, str(ROOT), os.getcwd()}
    return {word for word in words if len(word) > 3}

def test_the_table_names_neither_host_nor_user_nor_path(tiny, monkeypatch):
    where = f"{ROOT}/x.py"
    monkeypatch.setattr(module, "measure", iter_of(Measurement("base-480", "float32", True, (.1,), 1, make_public(f"plain: no compiler in {Path.home()}/bin")),
                                                   *[RuntimeError(f"cannot read {where}: {sys.prefix}/lib/libcuda.so")]*9))
    text = str(bench(600, device="cpu", progress=False))
    assert "cannot read x.py: libcuda.so" in text and "no compiler in bin" in text
    assert not [word for word in private_words() if word in text]
    assert not re.search(r"(?<![\w.])[/~]\w", text)

EVIL = "T4 | <img src=x> `a` @ada #1 \x1b]0;title\x07\u202e **x** [a](http://b)\nline"

def test_a_devices_name_is_shown_as_text(tiny, monkeypatch):
    monkeypatch.setattr(module, "processor_name", lambda: EVIL)
    text = str(bench(600, "base-480", "float32", "cpu", progress=False))
    assert "\x1b" not in text and "\u202e" not in text and "<img" not in text.replace("\\<img", "") and "@ada" not in text.replace("\\@ada", "")
    assert "\nline" not in text and "\\[a\\]" in text and "\\*\\*x" in text

def test_on_a_gpu_the_table_says_which_and_how(monkeypatch):
    "With a GPU that is forged: what it is called, its capability and driver, and which form ran."
    for name, value in dict(get_device_capability=(7, 5), mem_get_info=(15*10**9, 16*10**9), get_device_name="Tesla T4").items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(module, "driver_version", lambda: "550.54")
    rows = module.describe_device(torch.device("cuda", 0))
    assert rows["device"] == "Tesla T4, capability 7.5, 16.0 GB (15.0 GB free), driver 550.54" and "core" in rows["processor"]
    form = "plain: kernels do not run here (no C compiler)"
    shown = str(Bench(rows, "beit3-colab bench", [Measurement("base-480", "float16", True, (1.,), 128, form), Measurement("base-480", "float32", False, (2.,), 64, "plain")]))
    assert "| base-480 | **float16** | 128 " in shown and "| plain | 28 min | 58 min |" in shown and f"- {form}" in shown

def test_the_formats_of_a_gpu_follow_its_capability(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "forged")
    class Loaded: dtype = torch.float16
    monkeypatch.setattr("beit3_colab.model.vqa.load_model", lambda *_, **__: Loaded)
    seen = {}
    for capability in ((7, 5), (8, 0), (8, 9), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        seen[capability] = list_formats(torch.device("cuda", 0))
    assert seen[7, 5] == ["float16", "float32"] and seen[8, 0] == ["float16", "bfloat16", "float32"]
    assert seen[9, 0] == seen[8, 9] == ["float16", "bfloat16", "float8", "float32"]


# Bad input

@pytest.mark.parametrize("arguments, says", [
    (["--seconds", "0"], "seconds must be between 1 and 3,600, not 0.0"),
    (["--seconds", "nan"], "seconds must be between 1 and 3,600, not nan"),
    (["--seconds", "soon"], "invalid float value: 'soon'"),
    (["--sizes", "giant-480"], "unknown model size 'giant'"),
    (["--sizes", "base"], "such as base-480, not 'base'"),
    (["--sizes", "base-490"], "the nearest is 480"),
    (["--sizes", "base-9999"], "take at most 1,024"),
    (["--dtypes", "int4"], "unknown dtype 'int4'"),
    (["--dtypes", "float8", "--device", "cpu"], "float8"),
    (["--device", "cuda:77"], "device 'cuda:77'"),
    (["--sise", "base-480"], "did you mean --sizes?"),
])
def test_bad_input_is_one_line(arguments, says, capsys):
    try: status = main(["bench", *arguments])
    except SystemExit as stop: status = stop.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1) and says in err

def test_it_fetches_nothing(tiny, monkeypatch):
    def refuse(*_, **__): raise AssertionError("no network is needed")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert all(row.rate for row in bench(600, "base-480", device="cpu", progress=False).rows)
