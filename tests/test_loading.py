"How weights come from a file into a model: what is read beside what, and what is told of the number format."

import json
import signal
import subprocess
import sys
import threading
import zipfile

import pytest
import torch

from beit3_colab import load_model
from beit3_colab.machine import device as device_module
from beit3_colab.machine.device import multiplies_bfloat16, start_device, tell_slow_dtype
from beit3_colab.machine.messages import UserError
from beit3_colab.model.checkpoint import CONFIG_FILE, WEIGHTS_FILE, convert
from beit3_colab.model.vqa import DOUBLE_CHECK
from beit3_colab.model.weights_file import open_weights, read_weights
from beit3_colab.scenes import draw_scene, make_scene


@pytest.fixture(scope="module")
def official(tmp_path_factory): return convert("sample", tmp_path_factory.mktemp("weights")/"sample.pth")

def damage(path, target):
    "A copy with one bit of a weight turned."
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file: largest = max(file.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + 30 + len(largest.filename) + largest.file_size//2] ^= 1
    target.write_bytes(content)
    return target

def test_numbers_that_stay_in_the_file_are_the_same(official):
    copied, mapped = (open_weights(official, mapped=mapped).tensors for mapped in (False, True))
    assert copied.keys() == mapped.keys() and all(torch.equal(copied[name], mapped[name]) for name in copied)

@pytest.mark.parametrize("mapped", [False, True])
def test_a_turned_bit_is_found(official, tmp_path, mapped):
    with pytest.raises(UserError, match="wrong checksum"): open_weights(damage(official, tmp_path/"damaged.pth"), mapped=mapped)

@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_is_cut_short_is_refused(official, tmp_path, mapped):
    (cut := tmp_path/"cut.pth").write_bytes(official.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cut short"): open_weights(cut, mapped=mapped)

def test_a_model_on_a_cpu_keeps_nothing_of_the_file(official, tmp_path):
    "A training writes its checkpoint again, in place, while a model of it answers."
    (path := tmp_path/"model.pth").write_bytes(official.read_bytes())
    config = {"num_heads": load_model("sample").config.num_heads}
    vqa = load_model(path, config, device="cpu")
    before = vqa._sums()
    with open(path, "r+b") as file: file.write(bytes(path.stat().st_size))
    assert vqa._sums() == before and not vqa.is_changed

def test_a_folder_whose_sum_is_wrong_is_told_as_that(tmp_path):
    "Also where the weights themselves cannot be read: the sum says what happened to the file."
    folder = convert("sample", tmp_path/"folder")
    weights = folder/WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert WEIGHTS_FILE in json.loads((folder/CONFIG_FILE).read_text())["sha256"]
    with pytest.raises(UserError, match="damaged or was changed"): load_model(folder)
    weights.write_bytes(content[:-4000])
    with pytest.raises(UserError, match="damaged or was changed"): load_model(folder)

def test_what_goes_wrong_in_starting_a_device_is_left_for_its_use():
    thread = start_device(torch.device("cuda", 99))
    thread.join(60)
    assert not thread.is_alive() and thread not in threading.enumerate()


@pytest.fixture
def timings(monkeypatch):
    "As if this were a processor without bfloat16; seconds of a product by dtype."
    seconds = {torch.float32: 1., torch.bfloat16: 3.5, torch.float16: 8.}
    monkeypatch.setattr(device_module, "multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(device_module, "_seconds_of_product", seconds.__getitem__)
    return seconds

@pytest.mark.parametrize("dtype, says", [("bfloat16", "in bfloat16 take 3.5 times"), (DOUBLE_CHECK, "in bfloat16 take 3.5 times"), ("float16", "in float16 take 8.0 times")])
def test_a_slow_format_is_told_once_at_the_first_batch(timings, caplog, dtype, says):
    vqa = load_model("sample", dtype=dtype, device="cpu")
    assert not caplog.records
    for _ in range(2): vqa.ask(draw_scene(make_scene(7)), "What is the weather like?")
    assert [says in record.getMessage() for record in caplog.records] == [True]

def test_a_format_that_is_no_slower_is_not_told(timings, caplog):
    timings[torch.bfloat16] = 1.1
    for dtype in ("bfloat16", None):
        load_model("sample", dtype=dtype, device="cpu").ask(draw_scene(make_scene(7)), "What is the weather like?")
    assert not caplog.records

def test_a_run_tells_of_a_slow_format(timings, tmp_path):
    from beit3_colab import evaluate
    run = evaluate(limit=3, dtype="bfloat16", device="cpu", output_dir=tmp_path/"run", progress=False)
    assert "take 3.5 times as long as in float32" in json.dumps(run.report().to_dict() if hasattr(run.report(), "to_dict") else str(run.report()))

def test_nothing_is_timed_where_it_is_known(monkeypatch):
    monkeypatch.setattr(device_module, "_seconds_of_product", lambda dtype: pytest.fail("timed"))
    monkeypatch.setattr(device_module, "multiplies_bfloat16", lambda: True)
    assert tell_slow_dtype(torch.device("cpu"), torch.bfloat16) == tell_slow_dtype(torch.device("cpu"), torch.float32) == ""
    assert tell_slow_dtype(torch.device("cuda"), torch.float16) == ""

def test_the_double_check_gives_float32s_answers_on_the_sample(tmp_path):
    "On a processor without the instructions products are rounded otherwise, and this holds there, too."
    from beit3_colab import evaluate
    files = [evaluate(dtype=dtype, device="cpu", output_dir=tmp_path/dtype, progress=False).submission for dtype in ("float32", DOUBLE_CHECK)]
    assert files[0].read_bytes() == files[1].read_bytes()


CUT = """
import os, sys
import torch
from beit3_colab.model import weights_file
path, mounts = sys.argv[1:]
real = weights_file.is_far
weights_file.is_far = lambda path: real(path, mounts)
found = weights_file.open_weights(path, mapped=True)
os.truncate(path, 0) # by another machine, say
print(sum(tensor.double().sum().item() for tensor in found.tensors.values()))
"""

@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Windows lets nobody cut a file that is mapped")
@pytest.mark.parametrize("kind, ends", [("fuse.drive", False), ("nfs4", False), ("ext4", True)])
def test_a_file_that_another_machine_may_cut_is_not_mapped(tmp_path, kind, ends):
    "On this machine's own disk it is, and ends the process: that is the limit that the documentation names."
    (tmp_path/"mounts").write_text(f"27 1 259:1 / / rw - ext4 /dev/root rw\n40 27 0:40 / {tmp_path}/far rw - {kind} somewhere rw\n")
    (tmp_path/"far").mkdir()
    path = convert("sample", tmp_path/"far"/"weights.pth")
    expected = sum(tensor.double().sum().item() for tensor in read_weights(path).values())
    done = subprocess.run([sys.executable, "-c", CUT, path, tmp_path/"mounts"], capture_output=True, text=True)
    if ends: assert done.returncode == -signal.SIGBUS
    else: assert done.returncode == 0 and float(done.stdout) == expected, done.stderr
