"A training's states and its best model: whole or not there, whatever the disk, a killer or a bad bit does."
import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from beit3_colab import load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model import tensor_file
from beit3_colab.model.weights_file import open_weights
from beit3_colab.training import checkpoints
from beit3_colab.training.checkpoints import finish_best, list_states, newest_state, save_state, write_best, write_official

SIZE = 4*3000


def tensors(step): return {"model.weight": torch.full((3000,), float(step)), "exp_avg.weight": torch.full((5,), step + .5), "step": torch.tensor(step)}
def names(folder): return sorted(path.name for path in folder.iterdir())
def filled(folder, *steps):
    for step in steps: save_state(folder, tensors(step), {"step": step})
    return folder
def step_of(folder):
    "The step that a training would go on from; its tensors are that step's."
    found, numbers, notes = newest_state(folder)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors(numbers["step"]).items()) and len(found) == 3
    return numbers["step"], notes
def failure(call, *arguments):
    with pytest.raises(UserError) as error: call(*arguments)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900
    return str(error.value)


def test_numbers_and_tensors_come_back_as_they_were(tmp_path):
    given = {"float": torch.randn(3, 1, 2), "half": torch.randn(4).half(), "bfloat16": torch.randn(4).bfloat16(), "double": torch.randn(2).double(),
             "codes": torch.arange(256, dtype=torch.uint8), "whole": torch.tensor(-7), "truth": torch.tensor([True, False]), "none": torch.zeros(0, 3),
             "turned": torch.randn(4, 3).T, "part": torch.randn(10, 10)[2:5, ::2], "name with \"quotes\" é": torch.ones(1)}
    given["again"] = given["float"] # one tensor under two names
    numbers = {"step": 3, "loss": 0.1 + 0.2, "tiny": 5e-324, "nan": float("nan"), "seed": 2**64 - 1, "ids": [1, "a"], "none": None}
    path = save_state(tmp_path/"deep"/"states", given, numbers)
    found, back, notes = newest_state(tmp_path/"deep"/"states")
    assert notes == () and back.pop("nan") != numbers.pop("nan") and back == numbers
    for loaded in (found, load_file(path)): # other tools read it, too
        assert loaded.keys() == given.keys()
        assert all(torch.equal(loaded[n], t) and loaded[n].dtype == t.dtype and loaded[n].shape == t.shape for n, t in given.items())

def test_the_last_two_are_kept(tmp_path):
    filled(tmp_path, 1, 2, 3, 4)
    assert names(tmp_path) == ["state-000003.safetensors", "state-000004.safetensors"] and step_of(tmp_path) == (4, ())
    save_state(tmp_path, tensors(5), {"step": 5}, keep=1)
    assert names(tmp_path) == ["state-000005.safetensors"]

def test_there_is_no_state_where_nothing_was_saved(tmp_path):
    assert newest_state(tmp_path) is None and newest_state(tmp_path/"absent") is None
    (tmp_path/"state-1.safetensors").write_text("ours have six digits")
    (tmp_path/".state-000001.safetensors.1234.tmp").write_text("unfinished")
    assert newest_state(tmp_path) is None

@pytest.mark.parametrize("damage, says", [
    (lambda c: c[:len(c)//2], "is cut short"), (lambda c: c[:-1], "is cut short"), (lambda c: b"", "is cut short"), (lambda c: b"\0"*len(c), "is cut short, or no safetensors file"),
    (lambda c: c[:-8000] + b"\0"*8000, "is damaged: it has another checksum"), (lambda c: c + b"more", "should have"),
    (lambda c: c.replace(b"step\\\": 2", b"step\\\": 9"), "is damaged: it has another checksum"),
    (lambda c: b"PK\x03\x04" + c[4:], "is cut short, or no safetensors file"), (lambda c: b"{}", "is cut short")])
def test_a_damaged_newest_falls_back_and_is_told(damage, says, tmp_path):
    filled(tmp_path, 1, 2)
    path = list_states(tmp_path)[-1]
    content = damage(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    step, (note,) = step_of(tmp_path)
    assert step == 1 and says in note and note.endswith("the training goes on from state-000001.safetensors")
    filled(tmp_path, 3, 4)
    assert step_of(tmp_path) == (4, ())

def test_foreign_files_are_no_states(tmp_path):
    filled(tmp_path, 1)
    tensor_file.write_tensors(tmp_path/"state-000002.safetensors", tensors(2))
    tensor_file.write_sealed(tmp_path/"state-000003.safetensors", tensors(3), {"kind": "state of a training", "numbers": "[1]"})
    tensor_file.write_tensors(tmp_path/"state-000004.safetensors", tensors(4), {"kind": "state of a training", "numbers": "{}"}) # without checksum
    (tmp_path/"state-000005.safetensors").mkdir()
    step, notes = step_of(tmp_path)
    reasons = ["cannot be read (Is a directory)", "is damaged", "its numbers are no JSON object", "is no state of a training"]
    assert step == 1 and len(notes) == 4 and all(reason in note for reason, note in zip(reasons, notes)), notes
    assert save_state(tmp_path, tensors(6), {"step": 6}).name == "state-000006.safetensors" # never the name of another
    assert step_of(tmp_path) == (6, ())

def test_where_all_are_damaged_nothing_begins_anew(tmp_path):
    filled(tmp_path, 1, 2)
    for path in list_states(tmp_path): path.write_bytes(b"x")
    said = failure(newest_state, tmp_path)
    assert "can be read (" in said and "delete them, or choose another output_dir (--output-dir)" in said

def test_damaged_ones_do_not_count_among_those_that_are_kept(tmp_path):
    filled(tmp_path, 1, 2)
    list_states(tmp_path)[-1].write_bytes(b"torn")
    filled(tmp_path, 3)
    assert names(tmp_path) == ["state-000001.safetensors", "state-000003.safetensors"]

def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    filled(tmp_path, 1)
    (tmp_path/".state-000002.safetensors.0123abcd.tmp").write_bytes(b"half of it")
    filled(tmp_path, 2)
    assert names(tmp_path) == ["state-000001.safetensors", "state-000002.safetensors"]


@pytest.mark.parametrize("place, counts", [("drive/MyDrive/tuned", False), ("elsewhere/tuned", True)])
def test_what_goes_from_drive_leaves_its_bin_empty(place, counts, sample, tmp_path, monkeypatch):
    "Drive keeps what is deleted or replaced, and its size counts."
    monkeypatch.setenv("BEIT3_COLAB_DRIVE", str(tmp_path/"drive"))
    folder, gone = tmp_path/place, {}
    best(folder, sample, 1)
    filled(folder/"states", 1, 2)
    (folder/"states"/".state-000009.safetensors.abc.tmp").write_bytes(b"x"*1000)
    def note(path):
        if path.is_file(): gone[path.name] = path.stat().st_size
    def unlink(self, missing_ok=False):
        note(self)
        if self.exists(): os.unlink(self)
    def replace(source, target, before=os.replace):
        note(Path(target))
        before(source, target)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        patched.setattr(os, "replace", replace)
        filled(folder/"states", 3)
        best(folder, sample, 2)
    large = {name: size for name, size in gone.items() if name != "config.json"} # which has a few kB
    assert {"state-000001.safetensors", ".state-000009.safetensors.abc.tmp", "model.safetensors"} < set(large) and len(large) == 6
    assert all(bool(size) == counts for size in large.values()), gone
    assert step_of(folder/"states") == (3, ()) and epoch_of(folder, sample) == 2

@pytest.mark.parametrize("number, says", [
    (errno.ENOSPC, "the disk is full: free some space"), (errno.EDQUOT, "the disk is full"), (errno.EFBIG, "raise the limit (ulimit -f)"),
    (errno.EACCES, "change its permissions"), (errno.EROFS, "the disk is read-only: choose another"), (errno.EIO, "the drive does not answer: mount it again")])
@pytest.mark.parametrize("before", [0, 1])
def test_a_disk_that_refuses_leaves_the_state_before(number, says, before, tmp_path, monkeypatch):
    filled(tmp_path, *range(1, before + 1))
    kept = names(tmp_path)
    def refuse(f, ordered, header, watch):
        f.write(header)
        raise OSError(number, os.strerror(number))
    with monkeypatch.context() as patched:
        patched.setattr(tensor_file, "_write", refuse)
        said = failure(save_state, tmp_path, tensors(2), {"step": 2})
    assert f"a state of the training (12.0 kB) cannot be written to {tmp_path}: " in said and says in said
    assert said.endswith("the state before it is kept, and the same command goes on from there" if before else "there is none yet")
    assert names(tmp_path) == kept and (newest_state(tmp_path) is None if not before else step_of(tmp_path) == (1, ()))
    filled(tmp_path, 3) # and the next, once there is room
    assert step_of(tmp_path) == (3, ())

def test_another_error_passes_and_leaves_nothing(tmp_path, monkeypatch):
    filled(tmp_path, 1)
    monkeypatch.setattr(tensor_file, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): save_state(tmp_path, tensors(2), {"step": 2})
    assert names(tmp_path) == ["state-000001.safetensors"] and step_of(tmp_path) == (1, ())

@pytest.mark.parametrize("seen", [True, False]) # beforehand, as on a disk, or only while writing, as with a quota
def test_on_a_disk_for_two_the_oldest_gives_way(seen, tmp_path, monkeypatch):
    filled(tmp_path, 1, 2)
    written = []
    def write(path, *arguments, before=checkpoints._write):
        written.append(names(tmp_path))
        if len(list_states(tmp_path)) > 1: raise OSError(errno.ENOSPC, "No space left on device")
        before(path, *arguments)
    monkeypatch.setattr(checkpoints, "_write", write)
    if seen: monkeypatch.setattr("shutil.disk_usage", lambda folder: types.SimpleNamespace(free=SIZE - 1))
    filled(tmp_path, 3)
    assert names(tmp_path) == ["state-000002.safetensors", "state-000003.safetensors"] and step_of(tmp_path) == (3, ())
    assert all("state-000002.safetensors" in there for there in written) and len(written) == 2 - seen

def in_process(program, **more):
    code = f"import sys, torch\nfrom pathlib import Path\nfrom beit3_colab.training.checkpoints import *\nfrom beit3_colab.machine.messages import UserError\nfolder = Path(sys.argv[1])\n{program}"
    return subprocess.run([sys.executable, "-c", code, more.pop("folder")], capture_output=True, text=True, timeout=120, **more)

def test_a_real_limit_of_the_system(tmp_path):
    "The kernel stops the file in its middle."
    filled(tmp_path, 1)
    done = in_process("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
                      "try: save_state(folder, {'a': torch.zeros(100_000)}, {'step': 2})\nexcept UserError as error: print(error)", folder=tmp_path)
    assert "files that large may not be written there: raise the limit (ulimit -f)" in done.stdout and done.returncode == 0, done.stderr
    assert names(tmp_path) == ["state-000001.safetensors"] and step_of(tmp_path) == (1, ())

def test_killed_at_any_moment_there_is_a_whole_state(tmp_path):
    "A process writes states without end and is killed; whatever it was at, a state is there that is whole, and no older than the last it told of."
    program = ("for step in range(1, 10**6):\n    tensors = {'model.weight': torch.full((200_000,), float(step)), 'step': torch.tensor(step)}\n"
               "    save_state(folder, tensors, {'step': step}); print(step, flush=True)")
    code = f"import sys, torch\nfrom pathlib import Path\nfrom beit3_colab.training.checkpoints import *\nfolder = Path(sys.argv[1])\n{program}"
    for wait in (.003, .0, .011, .007):
        folder = tmp_path/str(wait)
        process = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True)
        told = [process.stdout.readline() for _ in range(3)]
        time.sleep(wait) # no matter how long: the moment is to be any
        process.send_signal(signal.SIGKILL)
        last = int([*told, *process.stdout.read().split("\n")[:-1]][-1])
        process.wait()
        process.stdout.close()
        found, numbers, notes = newest_state(folder)
        assert notes == () and numbers["step"] in (last, last + 1)
        assert torch.equal(found["model.weight"], torch.full((200_000,), float(numbers["step"]))) and found["step"] == numbers["step"]

def test_neither_writing_nor_reading_holds_everything_twice(tmp_path):
    "200 MB of tensors; a copy of them all would be seen."
    measure = "from beit3_colab.machine.device import peak_memory\n"
    done = in_process(measure + "tensors = {str(i): torch.ones(5_000_000) for i in range(10)}\nbefore = peak_memory().host\nsave_state(folder, tensors, {})\nprint(peak_memory().host - before)", folder=tmp_path)
    assert done.returncode == 0 and int(done.stdout) < 60e6, done.stdout + done.stderr
    done = in_process(measure + "before = peak_memory().host\ntensors, _, _ = newest_state(folder)\nprint(peak_memory().host - before)", folder=tmp_path)
    assert done.returncode == 0 and int(done.stdout) < 260e6, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sample(): return load_model("sample", device="cpu")

def best(folder, sample, epoch):
    weights = {name: tensor + epoch for name, tensor in sample.model.state_dict().items()}
    return write_best(folder, weights, sample.config, sample.answers, sample.tokenizer.model_bytes, {"epoch": epoch, "data": "own"})
def epoch_of(folder, sample):
    "The epoch of the model that a folder's name loads; its weights are that epoch's."
    vqa = load_model(folder, device="cpu")
    epoch = json.loads((folder/"config.json").read_text())["trained"]["epoch"]
    assert torch.equal(vqa.model.head[3].bias, sample.model.head[3].bias + epoch) and vqa.answers == sample.answers and vqa.tokenizer is not None
    assert vqa.notes == ()
    return epoch

def test_the_best_model_is_what_the_folders_name_loads(sample, tmp_path):
    filled(tmp_path/"states", 1)
    best(tmp_path, sample, 1)
    assert epoch_of(tmp_path, sample) == 1
    best(tmp_path, sample, 2)
    filled(tmp_path/"states", 2)
    for path in list_states(tmp_path/"states"): os.utime(path, (2e9, 2e9)) # newer than the model: no reason to warn of them
    assert epoch_of(tmp_path, sample) == 2
    assert names(tmp_path) == ["config.json", "model.safetensors", "preprocessor_config.json", "sentencepiece.model", "states", "tokenizer_config.json"]
    assert "holds no model.safetensors" in failure(load_model, tmp_path/"states")

@pytest.mark.parametrize("moment", range(16))
def test_killed_while_the_best_model_is_exchanged(moment, sample, tmp_path, monkeypatch):
    best(tmp_path, sample, 1)
    left = [moment]
    def move(*paths, before=os.replace):
        if not left[0]: raise KeyboardInterrupt
        left[0] -= 1
        before(*paths)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", move)
        try: best(tmp_path, sample, 2)
        except KeyboardInterrupt: pass
    finish_best(tmp_path)
    assert epoch_of(tmp_path, sample) == (1 if moment < 9 else 2) # the ninth renaming makes it whole
    assert not (tmp_path/".best").exists() and best(tmp_path, sample, 3) and epoch_of(tmp_path, sample) == 3

def test_a_full_disk_leaves_the_best_model_before(sample, tmp_path, monkeypatch):
    best(tmp_path, sample, 1)
    def refuse(*_): raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(tensor_file, "_write", refuse)
        assert "is on a full disk: free some space" in failure(best, tmp_path, sample, 2)
    assert epoch_of(tmp_path, sample) == 1 and not (tmp_path/".best").exists()

@pytest.mark.parametrize("ema", [False, True])
def test_the_references_form(ema, sample, tmp_path):
    weights = sample.model.state_dict()
    average = {name: tensor + 1 for name, tensor in weights.items()} if ema else None
    path = write_official(tmp_path/"checkpoint-best.pth", weights, "best", average)
    content = torch.load(path, weights_only=True) # nothing in it has to be run
    assert content["epoch"] == "best" and set(content) == {"model", "epoch", *(["model_ema"] if ema else [])} and "beit3.text_embed.weight" in content["model"]
    assert sum(t.untyped_storage().nbytes() for t in content["model"].values()) == sum(t.nbytes for t in content["model"].values())
    vqa = load_model(path, config=sample.config.to_dict(), answers=sample.answers, device="cpu")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in vqa.model.state_dict().items())
    assert len(vqa.notes) == ema and torch.equal(open_weights(path, "model_ema" if ema else None).tensors["head.0.bias"], weights["head.0.bias"] + ema)
