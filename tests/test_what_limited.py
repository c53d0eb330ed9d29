"`report()` names what a run waited for, whatever else the machine does: one part is slowed down by a stand-in, the others cost next to nothing."
import time
from types import SimpleNamespace

import pytest
import torch

from beit3_colab import evaluate
from beit3_colab.commands import doctor
from beit3_colab.machine.device import bfloat16_gain
from beit3_colab.run import answering
from beit3_colab.pictures import decoding
from beit3_colab.pictures import reading as images
from beit3_colab.run.journal import Journal

PARTS = {"the disk that pictures come from": (images, "read_file", images.read_file), "decoding pictures with 1 worker ": (decoding, "preprocess", decoding.preprocess),
         "writing the answers": (Journal, "_append", Journal._append)}


def slowly(work):
    "It takes time without the processor's: as a disk does, and decoding too where other programs have the cores."
    def do(*args):
        time.sleep(0.15)
        return work(*args)
    return do


@pytest.mark.parametrize("cause", ["the model on cpu", *PARTS])
def test_the_slow_part_is_named(vqa, tmp_path, monkeypatch, cause):
    def answer(pictures, ids, rows=None, counts=None): return torch.zeros(len(ids), vqa.config.num_classes)
    monkeypatch.setattr(vqa, "logits", answer if cause in PARTS else slowly(answer))
    if cause in PARTS:
        place, name, work = PARTS[cause]
        monkeypatch.setattr(place, name, slowly(work), raising=False)
    report = evaluate(vqa, limit=30, output_dir=tmp_path, workers=1, progress=False).report()
    assert report.setup["limited_by"].startswith(cause), (report.setup["limited_by"], report.seconds)
    assert f"limited by         {cause}" in str(report)


@pytest.mark.parametrize("width, flags, told", [
    (768, "avx512_bf16", "about twice as fast"), (768, "avx512_bf16 amx_bf16", "about 2 to 3 times as fast"),
    (768, "avx512f", ""), (768, "asimd bf16", ""), (96, "avx512_bf16 amx_bf16", ""), # Arm's instructions were never measured
])
def test_a_faster_number_format_is_named_where_it_was_measured(monkeypatch, tmp_path, width, flags, told):
    (tmp_path/"cpuinfo").write_text(f"flags : fpu {flags}\n")
    monkeypatch.setattr(answering, "bfloat16_gain", lambda: bfloat16_gain(tmp_path/"cpuinfo"))
    vqa = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, config=SimpleNamespace(embed_dim=width))
    said = answering.what_limited(dict(answering=10, model=9, data=.5, writing=.5, reading=1, decoding=3), 2, "cpu", advice=answering._advice(vqa))
    assert said.startswith("the model on cpu (90 % of the time)")
    assert told in said and ("dtype='bfloat16+float32'" in said) == bool(told)


@pytest.mark.parametrize("gain, told", [("twice", "in hardware: on a CPU, dtype='bfloat16+float32' is about twice as fast as float32"), ("", "in hardware")])
def test_the_doctor_names_a_gain_where_it_was_measured(monkeypatch, gain, told):
    monkeypatch.setattr(doctor, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(doctor, "bfloat16_gain", lambda: gain)
    assert doctor.check_system([])["bfloat16"] == told
