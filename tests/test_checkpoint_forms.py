"Checkpoints as trainings and tools leave them: which weights are read, what is said of the others, and what a file is called that holds none."
import argparse
import collections
import datetime
import enum
import functools
import json
import logging
import os
import pathlib
import pickle
import subprocess
import types
import uuid
import zipfile

import numpy as np
import pytest
import torch
from file_server import FileServer
from safetensors.torch import save_file

from beit3_colab import convert, evaluate, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import build_model, locate, others_in_folder, read_answers, sample_folder
from beit3_colab.model.weights import from_official, to_official
from beit3_colab.model.weights_file import open_weights, read_weights

CONFIG = Beit3Config(image_size=32, patch_size=16, embed_dim=16, num_heads=2, num_layers=1, ffn_dim=24, vocab_size=185, num_classes=3, max_text_positions=70)
HEADS = {"num_heads": 2}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab"*32 + b"\nsize 906001234\n"


def make_weights(answer=0):
    "Official weights of a small model that gives one answer whatever it is asked."
    torch.manual_seed(0)
    weights = init_weights(Beit3ForVQA(CONFIG)).state_dict()
    weights["head.3.bias"] = torch.full((3,), -9.)
    weights["head.3.bias"][answer] = 9.
    return to_official(weights)

RAW, AVERAGED, OTHER = make_weights(0), make_weights(1), make_weights(2)

def under(prefix, weights=RAW): return {prefix + name: tensor for name, tensor in weights.items()}
def inside(word, weights=RAW): return {name.replace(".layers.0.", f".layers.0.{word}."): tensor for name, tensor in weights.items()}
def saved(path, content, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **more)
    return path
def answer_of(weights): return int(weights["head.3.bias"].argmax())
def failure(call, *arguments, **named):
    "What a call is refused with: one line of bounded length."
    with pytest.raises(UserError) as error: call(*arguments, **named)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900
    return str(error.value)


def follow(said, monkeypatch, target="weights.pth"):
    "Give the line of a message to bash, which finds a `python` that runs the program here; what is saved must be there."
    folder = pathlib.Path("bin")
    folder.mkdir(exist_ok=True)
    (folder/"python").write_text('#!/bin/sh\nprintf "%s" "$2" > program.txt\n')
    (folder/"python").chmod(0o755)
    line = said[said.index("python -c "):]
    subprocess.run(["bash", "-c", line], check=True, env={**os.environ, "PATH": f"{folder.absolute()}{os.pathsep}{os.environ['PATH']}"})
    exec(pathlib.Path("program.txt").read_text(), {})
    assert pathlib.Path(target).is_file()

class Color(enum.Enum): RED = 1
class Settings:
    def __init__(self): self.lr = 1e-5

WRAPPED = {
    "bare": RAW, "model": {"model": RAW}, "module": {"module": RAW}, "state_dict": {"state_dict": RAW}, "model_state_dict": {"model_state_dict": RAW},
    "module.": under("module."), "_orig_mod.": under("_orig_mod."), "module._orig_mod.": under("module._orig_mod."), "_orig_mod.module.": under("_orig_mod.module."),
    "twice": under("module.module._orig_mod."), "a compiled layer": inside("_orig_mod"), "a layer in FSDP": inside("_fsdp_wrapped_module"), "a checkpointed layer": inside("_checkpoint_wrapped_module"),
    "lightning": {"state_dict": under("model."), "loops": {}, "callbacks": {}, "optimizer_states": [{}]}, "compiled lightning": {"state_dict": under("model._orig_mod.")},
    "one prefix": under("backbone."), "a long prefix": {"model": under("net.inner.model.")}, "nested": {"state": {"model": RAW}}, "deeper": {"a": {"b": {"c": RAW}}}, "ema only": {"model_ema": RAW},
    "ours": from_official(RAW), "ours with a prefix": under("model.", from_official(RAW)),
    "beside": {**RAW, "epoch": 3, "step": torch.tensor(7), "best_acc": None, "name": "x"}, "ordered": collections.OrderedDict(model=collections.OrderedDict(RAW)),
    "parameters": {"model": {name: torch.nn.Parameter(tensor) for name, tensor in RAW.items()}}, "float16": {"model": {name: tensor.half() for name, tensor in RAW.items()}},
}

@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_wherever_they_are(tmp_path, form, zipped):
    found = open_weights(saved(tmp_path/"a.pth", WRAPPED[form], _use_new_zipfile_serialization=zipped))
    assert found.key is None and build_model(found.tensors, HEADS).config == CONFIG
    assert all("left out" in note for note in found.notes) and len(found.notes) == (form == "beside") # the step is a tensor

BESIDE = {
    "NumPy scalars": np.float64(71.3), "NumPy integers": np.int64(9), "NumPy bool": np.bool_(True), "NumPy text": np.str_("a"), "an array": np.zeros((2, 3)), "the generator of NumPy": np.random.get_state(),
    "another generator": np.random.default_rng(0), "a dtype": np.dtype("float32"), "a type": np.float32, "PyTorch's own": [torch.bfloat16, torch.device("cuda:0"), torch.Size([1]), torch.get_rng_state()],
    "a path": pathlib.PosixPath("runs/x"), "pure paths": [pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("C:/a")], "a moment": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "a day and a while": [datetime.date(2024, 1, 1), datetime.timedelta(1)], "a default dictionary": collections.defaultdict(float, a=1.), "one of lists": collections.defaultdict(list, a=[1]),
    "a queue": collections.deque([1., 2.]), "a counter": collections.Counter("aab"), "arguments": argparse.Namespace(lr=1e-5, out=pathlib.PosixPath("x"), seeds=[np.int32(1)]), "a simple one": types.SimpleNamespace(lr=1e-5),
    "an id": uuid.uuid4(), "a set": {1, 2}, "a frozen set": frozenset({1}), "a complex number": 1j, "bytes": b"abc", "PyTorch's version": torch.torch_version.TorchVersion("2.4.0"), "nested": {"a": [({"b": np.float32(1)},)]},
}

@pytest.mark.parametrize("what", BESIDE)
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_things_beside_the_weights_change_nothing(tmp_path, what, zipped):
    found = open_weights(saved(tmp_path/"a.pth", {"model": RAW, "epoch": 9, "beside": BESIDE[what]}, _use_new_zipfile_serialization=zipped))
    assert found.notes == () and {name: tensor.tolist() for name, tensor in found.tensors.items()} == {name: tensor.tolist() for name, tensor in RAW.items()}

def test_a_windows_path_and_a_class_that_is_not_installed_are_read_here(tmp_path):
    "As a pickle of another machine names them; nothing of that name is looked up or called."
    path = saved(tmp_path/"a.pth", {"model": RAW, "args": argparse.Namespace(out=pathlib.PurePosixPath("a"))})
    for name in (b"pathlib\nWindowsPath", b"omegaconf.dictconfig\nDictConfig", b"pathlib._local\nPosixPath", b"numpy.core.multiarray\nscalar"):
        other = tmp_path/"b.pth"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
            for member in source.namelist():
                content = source.read(member)
                target.writestr(member, content.replace(b"pathlib\nPurePosixPath", name) if member.endswith("data.pkl") else content)
        assert answer_of(read_weights(other)) == 0

def test_what_pytorch_allows_is_as_before_afterwards(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    path = saved(tmp_path/"a.pth", {"model": RAW, "beside": list(BESIDE.values())[:5]})
    read_weights(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError): torch.load(saved(tmp_path/"b.pth", types.SimpleNamespace()), weights_only=True)

@pytest.mark.parametrize("content, line", [
    ({"model": RAW, "settings": Settings()}, "torch.save({'model': c['model']}, 'weights.pth')"), ({"model": RAW, "color": Color.RED}, "torch.save({'model': c['model']}, 'weights.pth')"),
    ({"state": {"net": under("x.")}, "settings": Settings()}, "torch.save({'model': c['state']['net']}, 'weights.pth')"), (torch.nn.Linear(2, 2), "torch.save({'model': c.state_dict()}, 'weights.pth')"),
    ({"model": torch.nn.Linear(2, 2)}, "torch.save({'model': c['model'].state_dict()}, 'weights.pth')"), ({**RAW, "settings": Settings()}, "torch.save({'model': {k: v for k, v in c.items() if torch.is_tensor(v)}}, 'weights.pth')")])
def test_a_file_with_code_gets_the_line_that_saves_its_weights(tmp_path, monkeypatch, content, line):
    monkeypatch.chdir(tmp_path)
    said = failure(read_weights, saved(tmp_path/"mine.pth", content))
    assert "contains code" in said and "never run" in said and "If you trust the file" in said and line in said and "cut short" not in said and "download" not in said
    follow(said, monkeypatch)
    if "state_dict()" not in line: assert answer_of(read_weights(tmp_path/"weights.pth")) == 0

class Net(torch.nn.Module):
    "A model under the official names."
    def __init__(self, weights=RAW):
        super().__init__()
        for name, tensor in weights.items():
            place, *_, last = self, *name.split(".")
            for part in name.split(".")[:-1]:
                if part not in place._modules: place.add_module(part, torch.nn.Module())
                place = place._modules[part]
            place.register_parameter(last, torch.nn.Parameter(tensor))

class Words(dict): pass

class Holder: # no module itself, as some keep their average
    def __init__(self, weights): self.decay, self.ema = 0.99, Net(weights)

@pytest.mark.parametrize("name", ["$(touch ran).pth", "`touch ran`.pth", "it's.pth", 'a "b".pth', "a b;touch ran.pth", "sub/deeper/a.pth", "new\nline.pth", "back\\slash.pth", "%PATH%!.pth", "weights.pth"])
@pytest.mark.parametrize("form", ["key", "protocol"])
def test_the_line_is_what_bash_runs_whatever_the_name(tmp_path, monkeypatch, name, form):
    monkeypatch.chdir(tmp_path)
    content = {"model": RAW, "settings": Settings()} if form == "key" else {"model": RAW}
    source = saved(pathlib.Path("source"), content, **({} if form == "key" else {"pickle_protocol": 4}))
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    said = failure(read_weights, source.rename(name))
    target = "weights_2.pth" if name == "weights.pth" else "weights.pth" # nothing is overwritten
    follow(said, monkeypatch, target)
    assert answer_of(read_weights(target)) == 0 and not pathlib.Path("ran").exists()

OBJECTS = {
    "a model": (lambda: Net(), {None: 0}), "for several GPUs": (lambda: torch.nn.DataParallel(Net()), {None: 0}), "under a key": (lambda: {"net": Net()}, {None: 0}),
    "for several, under a key": (lambda: {"model": torch.nn.DataParallel(Net()), "epoch": 3}, {None: 0}), "an average beside": (lambda: {"net": Net(), "ema": Net(AVERAGED)}, {"net": 0, "ema": 1}),
    "an average in an object": (lambda: {"model": Net(), "ema": Holder(AVERAGED)}, {None: 0, "ema": 1}), "two models": (lambda: {"student": Net(), "teacher": Net(OTHER)}, {"student": 0, "teacher": 2}),
    "tensors, and an average": (lambda: {"model": RAW, "model_ema": AVERAGED, "settings": Settings()}, {None: 0, "model_ema": 1}), "code among them": (lambda: {"model": {**RAW, "settings": Settings()}}, {None: 0}),
    "in a list": (lambda: {"models": [RAW, OTHER], "x": Settings()}, {"models.0": 0, "models.1": 2}), "a class of dictionaries": (lambda: {"model": Words(RAW)}, {None: 0}),
    "one of each": (lambda: {"model": RAW, "ema": Net(AVERAGED)}, {None: 0, "ema": 1}), "shell in a key": (lambda: {"model`touch ran`$(touch ran)": RAW, "settings": Settings()}, {None: 0}), "quotes in a key": (lambda: {"it's \"mine\"": RAW, "x": Settings()}, {None: 0})}

@pytest.mark.parametrize("form", OBJECTS)
def test_the_line_saves_every_model_of_a_file(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    make, answers = OBJECTS[form]
    follow(failure(read_weights, saved(tmp_path/"a.pth", make())), monkeypatch)
    assert {key: answer_of(read_weights("weights.pth", key)) for key in answers} == answers and not pathlib.Path("ran").exists()

def test_the_older_form_of_a_whole_model_gets_a_line_and_then_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    follow(failure(read_weights, saved(tmp_path/"a.pth", {"net": torch.nn.DataParallel(Net())}, _use_new_zipfile_serialization=False)), monkeypatch)
    follow(failure(read_weights, "weights.pth"), monkeypatch, "weights_2.pth")
    assert answer_of(read_weights("weights_2.pth")) == 0

def test_code_without_weights_gets_no_line(tmp_path):
    said = failure(read_weights, saved(tmp_path/"a.pth", {"settings": Settings()}))
    assert "no weights can be seen in it" in said and "python -c" not in said

def test_what_is_too_long_for_a_line_is_named_in_it(tmp_path):
    folder = tmp_path/("a" * 120)/("b" * 120)
    assert "torch.load('FILE'," in (said := failure(read_weights, saved(folder/"a.pth", {"model": RAW, "x": Settings()}))) and said.endswith("(put the path of the file for FILE)")
    assert said.count("…") <= 1 # in the name at the front alone
    said = failure(read_weights, saved(tmp_path/"a.pth", {"k" * 3000: RAW, "x": Settings()}))
    assert "c['KEY']" in said and said.endswith("(put the key of its weights for KEY)")

@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_plain_pickle_gets_a_line_that_reads_it(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"a.pkl").write_bytes(content := pickle.dumps(RAW, protocol=protocol))
    said = failure(read_weights, tmp_path/"a.pkl")
    assert "of Python's pickle.dump, not of torch.save" in said and "contain code" not in said
    follow(said, monkeypatch)
    assert answer_of(read_weights("weights.pth")) == 0
    (tmp_path/"a.pkl").write_bytes(content[:-50])
    if protocol > 1: assert "that is cut short" in failure(read_weights, tmp_path/"a.pkl")

class Code:
    def __reduce__(self): return pathlib.Path.touch, (pathlib.Path("ran"),)

@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_never_run_not_even_to_find_the_line(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    assert "contains code" in failure(read_weights, saved(tmp_path/"bad.pth", {"model": RAW, "hook": Code()}, _use_new_zipfile_serialization=zipped))
    assert not (tmp_path/"ran").exists()


SEVERAL = {"model": {"model": RAW, "model_ema": AVERAGED}, "state_dict": {"state_dict": RAW, "state_dict_ema": AVERAGED}, "model.net": {"model": under("net.") | under("ema_net.", AVERAGED)},
           "module": {"module": RAW, "ema": {"module": AVERAGED}}, "a": {"a": RAW, "swa_a": AVERAGED}}

@pytest.mark.parametrize("raw", SEVERAL)
def test_averaged_weights_beside_the_raw_ones_are_told_and_can_be_had(tmp_path, raw):
    path = saved(tmp_path/"a.pth", SEVERAL[raw])
    found = open_weights(path)
    assert answer_of(found.tensors) == 0 and len(found.notes) == 1 and "averaged weights (EMA) under" in found.notes[0]
    key = found.notes[0].split("weights_key='")[1].split("'")[0]
    other = open_weights(path, key)
    assert (answer_of(other.tensors), other.key, other.notes) == (1, key, ())
    assert (answer_of(open_weights(path, raw).tensors), open_weights(path, raw).key) == (0, None)

@pytest.mark.parametrize("key, answer", [("model_ema", 1), ("model", 0), ("module|model_ema|model", 1), ("teacher", 2), ("nothing|", 0), ("model_ema.", 1)])
def test_a_key_names_the_weights(tmp_path, key, answer):
    bare = {"model": RAW, "model_ema": AVERAGED, "teacher": OTHER} if "|" not in key or "module" in key else RAW
    assert answer_of(read_weights(saved(tmp_path/"a.pth", bare), key=key)) == answer

def test_a_prefix_names_the_weights(tmp_path):
    path = saved(tmp_path/"a.pth", {"model": under("student.") | under("teacher.", OTHER), "model_ema": under("student.", AVERAGED)})
    assert [answer_of(read_weights(path, **named)) for named in (dict(prefix="teacher."), dict(prefix="student"), dict(key="model", prefix="teacher."), dict(key="model_ema", prefix="student."))] == [2, 0, 2, 1]

def test_models_in_a_list_are_named_by_number(tmp_path):
    path = saved(tmp_path/"a.pth", {"models": [RAW, OTHER], "optimizer_states": [{"state": {}}]})
    assert "several models: 'models.0', 'models.1'" in failure(read_weights, path) and answer_of(read_weights(path, "models.1")) == 2
    assert "averaged weights (EMA) under 'ema.0'" in open_weights(saved(tmp_path/"b.pth", {"model": RAW, "ema": [AVERAGED]})).notes[0]

def test_two_models_of_equal_right_are_not_chosen_from(tmp_path):
    said = failure(read_weights, saved(tmp_path/"a.pth", under("student.") | under("teacher.", OTHER)))
    assert "several models: 'student', 'teacher'" in said and "--weights-key" in said
    said = failure(read_weights, tmp_path/"a.pth", "techer")
    assert "no weights under 'techer', but under 'student', 'teacher'; did you mean 'teacher'?" in said

def test_a_model_tells_of_the_others_once_and_is_named_by_its_key(tmp_path, caplog):
    path = saved(tmp_path/"last.pth", {"model": RAW, "model_ema": AVERAGED})
    with caplog.at_level(logging.WARNING, "beit3_colab.model"): plain = load_model(path, HEADS, device="cpu")
    assert [r.message for r in caplog.records] == list(plain.notes) and "weights_key='model_ema' (--weights-key" in plain.notes[0]
    same, averaged = (load_model(path, HEADS, device="cpu", weights_key=key) for key in ("model", "model_ema"))
    assert (plain.name, same.name, averaged.name) == ("last", "last", "last-model_ema") and averaged.notes == ()
    assert plain.hash_weights() == same.hash_weights() != averaged.hash_weights() and averaged.hash_weights().startswith(plain.hash_weights())

def ask_about_nothing(tmp_path, folder, **more):
    questions = [{"image": np.full((9, 9, 3), 80, np.uint8), "question": "Is it day?"}]
    return evaluate(tmp_path/"last.pth", questions=questions, answers=["raw", "averaged", "other"], tokenizer=sample_folder()/"sentencepiece.model", config=HEADS, device="cpu", progress=False, output_dir=tmp_path/folder, **more)

def test_runs_with_different_weights_of_a_file_share_no_folder(tmp_path):
    saved(tmp_path/"last.pth", {"model": RAW, "model_ema": AVERAGED})
    raw, averaged = ask_about_nothing(tmp_path, "a"), ask_about_nothing(tmp_path, "b", weights_key="model_ema")
    assert [run.answers.answer[0] for run in (raw, averaged)] == ["raw", "averaged"]
    assert "averaged weights (EMA)" in raw.report().warnings[0] and not averaged.report().warnings
    assert raw.identity.fingerprint() != averaged.identity.fingerprint() and averaged.identity.checkpoint == "last-model_ema"
    assert "holds another run" in failure(ask_about_nothing, tmp_path, "a", weights_key="model_ema")
    assert ask_about_nothing(tmp_path, "a", weights_key="model").answers.answer[0] == "raw" # the same weights: the same run


def test_a_convert_takes_a_key_and_refuses_what_loading_refuses(tmp_path):
    path = saved(tmp_path/"both.pth", {"model": RAW, "model_ema": AVERAGED})
    convert(path, tmp_path/"averaged", HEADS, weights_key="model_ema")
    assert answer_of(read_weights(tmp_path/"averaged"/"model.safetensors")) == 1
    wrong = {"a part": {name: t for name, t in RAW.items() if "fc1" not in name}, "something more": {**RAW, "extra.bias": torch.zeros(2)}, "ours, a part": {n: t for n, t in from_official(RAW).items() if "fc1" not in n},
             "another head": {**RAW, "head.3.bias": torch.zeros(9)}, "no table": {**RAW, "beit3.text_embed.weight": torch.zeros(())}}
    for name, weights in wrong.items():
        path = saved(tmp_path/f"{name}.pth", {"model": weights})
        for target in (tmp_path/"folder", tmp_path/"file.pth"):
            assert failure(convert, path, target, HEADS) == failure(build_model, read_weights(path), HEADS), name
            assert not target.exists()

@pytest.mark.parametrize("content, says", [
    ({"state_dict": {"transformer.blocks.0.attn.qkv.weight": torch.zeros(2, 2), "pooler.dense.weight": torch.zeros(2, 2), "vqa_classifier.0.weight": torch.zeros(3, 2)}}, "not BEiT-3's: 1 of 3 names is known"),
    ({"model": {"cls_token": torch.zeros(1, 1, 768), "blocks.0.attn.qkv.weight": torch.zeros(2, 2), "head.weight": torch.zeros(2, 2)}}, "not BEiT-3's: 0 of 3 names are known"),
    ({"model": {**{n: t for n, t in RAW.items() if not n.startswith(("head", "pooler"))}, "mlm_head.weight": torch.zeros(2)}}, "this is a pretraining or captioning checkpoint"),
    ({"model": {**{n: t for n, t in RAW.items() if not n.startswith("head")}, "head.weight": torch.zeros(2)}}, "head.3.weight is missing: these are weights of BEiT-3, without a VQA head"),
    ({"model": {n: t for n, t in RAW.items() if "layers.0.ffn.A.fc1" not in n}}, "beit3.encoder.layers.0.ffn.A.fc1.bias, beit3.encoder.layers.0.ffn.A.fc1.weight are missing")])
def test_other_models_are_called_what_they_are(tmp_path, content, says):
    said = failure(load_model, saved(tmp_path/"a.pth", content), HEADS, device="cpu")
    assert says in said and ("pretraining" in said) == ("pretraining" in says)

@pytest.mark.parametrize("content, says", [
    ({"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}, "epoch": 1}, "an optimizer's states"), ([torch.zeros(2)], "found list"), (torch.zeros(2), "found Tensor"), ({"model": None}, "its entries are 'model'"),
    ({}, "an empty dictionary"), ({"epoch": 3, "args": argparse.Namespace()}, "its entries are 'epoch', 'args'"), ({"module": {name: torch.empty(0) for name in RAW}, "param_shapes": []}, "zero_to_fp32.py"),
    ({"x" * 5000: 1}, "holds no weights")])
def test_a_file_without_weights_is_told_what_it_holds(tmp_path, content, says): assert says in failure(read_weights, saved(tmp_path/"a.pth", content))

@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.bin"])
@pytest.mark.parametrize("content, says", [(POINTER, "is a Git LFS pointer"), (b"<!DOCTYPE html><html>", "is a web page"), (b"", "is empty"), (b'{"a": 1}', "is JSON, not weights"), (b"\x93NUMPY" + b"\0"*90, "is a NumPy array"),
                                           (b"\x1f\x8b" + b"\0"*90, "gzip")])
def test_other_files_are_called_what_they_are(tmp_path, name, content, says):
    (tmp_path/name).write_bytes(content)
    said = failure(read_weights, tmp_path/name)
    assert says in said and "cut short" not in said and "damaged" not in said

def test_a_torchscript_program_is_called_so(tmp_path):
    with zipfile.ZipFile(tmp_path/"a.pt", "w") as file: # what `torch.jit.save` writes, in small
        for name in ("data.pkl", "constants.pkl"): file.writestr(f"a/{name}", pickle.dumps((), protocol=2))
        file.writestr("a/code/__torch__.py", "class Linear(Module): pass")
        file.writestr("a/version", "3")
    assert "is a TorchScript program" in failure(read_weights, tmp_path/"a.pt")

def test_one_model_under_two_keys_is_one_model(tmp_path):
    assert open_weights(saved(tmp_path/"a.pth", {"model": RAW, "net": RAW})).notes == ()
    assert "the weights of another model under 'net'" in open_weights(saved(tmp_path/"a.pth", {"model": RAW, "net": OTHER})).notes[0]

def test_a_name_is_only_a_name(tmp_path):
    save_file(RAW, tmp_path/"a.pth")
    saved(tmp_path/"b.safetensors", {"model": RAW})
    assert answer_of(read_weights(tmp_path/"a.pth")) == answer_of(read_weights(tmp_path/"b.safetensors")) == 0

def test_only_what_is_cut_short_is_called_so(tmp_path):
    whole = saved(tmp_path/"whole.pth", {"model": RAW}).read_bytes()
    save_file(RAW, tmp_path/"whole.safetensors")
    for name, content in {"cut.pth": whole[:len(whole)//2], "cut.safetensors": (tmp_path/"whole.safetensors").read_bytes()[:-100]}.items():
        (tmp_path/name).write_bytes(content)
        assert "is cut short" in failure(read_weights, tmp_path/name)


NAMED = {
    "unilm's prefix for DDP": (under("module."), dict(prefix="module."), 0), "of compiled": (under("_orig_mod."), dict(prefix="_orig_mod."), 0), "in model": ({"model": under("module.")}, dict(prefix="module."), 0),
    "a key for a bare file": (under("module."), dict(key="module"), 0), "key and prefix": ({"state_dict": under("ema_model.module.", AVERAGED) | under("model.module.")}, dict(key="state_dict", prefix="ema_model.module."), 1),
    "wrapped the other way": ({"state_dict": under("_orig_mod.ema_model.", AVERAGED)}, dict(key="state_dict", prefix="ema_model._orig_mod."), 1), "module is a key": ({"module": RAW, "ema": {"module": AVERAGED}}, dict(key="module"), 0),
    "the ema's": ({"module": RAW, "ema": {"module": AVERAGED}}, dict(key="ema.module"), 1), "in vain wrapped": ({"model": RAW, "model_ema": AVERAGED}, dict(key="model_ema", prefix="module."), 1)}

@pytest.mark.parametrize("what", NAMED)
def test_a_wanted_name_is_unwrapped_as_names_are(tmp_path, what):
    content, named, answer = NAMED[what]
    assert answer_of(read_weights(saved(tmp_path/"a.pth", content), **named)) == answer

@pytest.mark.parametrize("key", ["model_ema", "modelEMA", "ema", "swa_model"])
def test_raw_weights_are_not_proposed_for_an_average(tmp_path, key):
    said = failure(read_weights, saved(tmp_path/"a.pth", {"model": RAW, "model_em": OTHER}), key)
    assert "no weights under" in said and "did you mean" not in said
    assert "did you mean 'state_ema'?" in failure(read_weights, saved(tmp_path/"a.pth", {"state": RAW, "state_ema": AVERAGED}), "stat_ema")

@pytest.mark.parametrize("key", ["netEMA", "model_EMA", "EMA_model", "EMAModel", "emaModel", "modelEma", "ema_0.9999", "polyak"])
def test_an_average_is_known_however_it_is_spelled(tmp_path, key):
    note, = open_weights(saved(tmp_path/"a.pth", {"model": RAW, key: AVERAGED})).notes
    assert f"averaged weights (EMA) under {key!r}" in note
    assert answer_of(read_weights(tmp_path/"a.pth")) == 0 and "the weights of another model under 'cinema'" in open_weights(saved(tmp_path/"b.pth", {"model": RAW, "cinema": OTHER})).notes[0]

@pytest.mark.parametrize("key", ["best_optim", "learning_rng_net", "optimal_model", "schedule_free", "rescaler", "callback_net"])
def test_only_whole_words_are_no_model(tmp_path, key): assert answer_of(read_weights(saved(tmp_path/"a.pth", {key: {"model": OTHER}}))) == 2

@pytest.mark.parametrize("key", ["optimizer", "optim", "optimizer_state_dict", "lr_scheduler", "grad_scaler", "callbacks", "loops", "rng_state", "torch_rng_state", "random_states"])
def test_weights_where_none_are_expected_are_told_and_never_taken_unasked(tmp_path, key):
    found = open_weights(saved(tmp_path/"a.pth", {"net": RAW, key: {"model": OTHER}}))
    assert answer_of(found.tensors) == 0 and f"the weights of another model under '{key}.model'" in found.notes[0] and answer_of(read_weights(tmp_path/"a.pth", f"{key}.model")) == 2
    said = failure(read_weights, saved(tmp_path/"b.pth", {key: {"model": OTHER}}))
    assert f"holds weights only where a training keeps other things, under '{key}.model'" in said and answer_of(read_weights(tmp_path/"b.pth", key)) == 2

def test_moments_of_an_optimizer_are_no_weights(tmp_path):
    assert open_weights(saved(tmp_path/"a.pth", {"model": RAW, "optimizer": {"exp_avg": OTHER, "exp_avg_sq": OTHER}})).notes == ()
    for moments in ({"optim": {"exp_avg": list(RAW.values())}}, {"state": {"exp_avg": list(RAW.values())}}, {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}):
        assert open_weights(saved(tmp_path/"a.pth", {"model": RAW, **moments})).notes == ()

@pytest.mark.parametrize("beside", [argparse.Namespace(x=...), functools.partial(torch.optim.AdamW, lr=1e-5), functools.partial(torch.nn.LayerNorm, eps=1e-6), torch.optim.AdamW, torch.optim.lr_scheduler.StepLR, torch.nn.GELU, {np.str_("a"): 1}], ids=str)
@pytest.mark.parametrize("zipped", [True, False])
def test_hyper_parameters_change_nothing(tmp_path, beside, zipped):
    if not zipped and "torch.nn" in str(beside): return # the older form names modules with their source, which PyTorch refuses
    found = open_weights(saved(tmp_path/"a.ckpt", {"state_dict": RAW, "hyper_parameters": {"it": beside}}, _use_new_zipfile_serialization=zipped))
    assert answer_of(found.tensors) == 0 and found.notes == ()

@pytest.mark.parametrize("names", [str, np.str_])
@pytest.mark.parametrize("values", [lambda t: t, lambda t: t.numpy(), lambda t: np.asfortranarray(t.numpy()), lambda t: t.numpy().astype(">f4"), lambda t: t.numpy().astype("f8")])
def test_names_and_arrays_of_numpy(tmp_path, names, values):
    found = open_weights(saved(tmp_path/"a.pth", {"model": {names(name): values(tensor) for name, tensor in RAW.items()}}))
    assert found.notes == () and list(found.tensors) == list(RAW) and all(type(name) is str and torch.equal(tensor.float(), RAW[name]) for name, tensor in found.tensors.items())

@pytest.mark.parametrize("name", ["position_ids", "beit3.text_embed.position_ids"])
def test_position_ids_are_left_out_and_told(tmp_path, name):
    found = open_weights(saved(tmp_path/"a.pth", {"model": {**RAW, name: torch.arange(64)[None]}}))
    assert set(found.tensors) == set(RAW) and "1 tensor beside the model's weights is left out" in found.notes[0] and "position_ids" in found.notes[0]

@pytest.mark.parametrize("ema", [{"shadow_params": list(RAW.values())}, {"shadow": dict(enumerate(RAW.values()))}, tuple(RAW.values())], ids=["list", "numbers", "tuple"])
def test_an_average_without_names_is_told(tmp_path, ema):
    found = open_weights(saved(tmp_path/"a.pth", {"model": RAW, "ema": ema}))
    assert answer_of(found.tensors) == 0 and f"averaged weights (EMA) under 'ema" in found.notes[0] and f"{len(RAW)} tensors without names, which cannot be used" in found.notes[0] and len(found.notes) == 1
    assert "averaged weights lie there without names" in failure(read_weights, tmp_path/"a.pth", "ema")
    assert "tensors without names (EMA)" in failure(read_weights, saved(tmp_path/"b.pth", {"ema": ema}))

@pytest.mark.parametrize("key", [123, ["model"], b"model", {"a": 1}, 0, "x".encode()])
def test_a_key_is_text(tmp_path, key):
    path = saved(tmp_path/"a.pth", RAW)
    for call in (open_weights, read_weights): assert "weights_key must be text, such as 'model_ema', not " in failure(call, path, key)
    assert "prefix must be text" in failure(read_weights, path, prefix=key)

@pytest.mark.parametrize("change, says", [(lambda t: t.to_sparse(), "is sparse"), (lambda t: t.to("meta"), "has no numbers"), (lambda t: t.to(torch.complex64), "holds complex numbers")])
def test_tensors_without_plain_numbers_are_called_what_they_are(tmp_path, change, says):
    name = "beit3.encoder.layers.0.ffn.A.fc1.weight"
    said = failure(read_weights, saved(tmp_path/"a.pth", {"model": {**RAW, name: change(RAW[name])}, "model_ema": {**AVERAGED, name: change(RAW[name])}}))
    assert f"{name} {says}" in said and "quantised" not in said

def test_messages_are_short_however_long_the_keys(tmp_path):
    path = saved(tmp_path/"a.pth", {f"{i}" + "k" * 3000: {name: tensor + i for name, tensor in RAW.items()} for i in range(30)})
    for key in (None, "nothing", "n" * 3000):
        with pytest.raises(UserError) as error: read_weights(path, key)
        assert len(str(error.value)) < 1500 and "\n" not in str(error.value)
    path = saved(tmp_path/"b.pth", {"model": RAW, "ema" + "k" * 3000: OTHER, **{f"net{i}": {name: tensor + i for name, tensor in RAW.items()} for i in range(30)}})
    notes = open_weights(path).notes
    assert len(notes) == 11 and all(len(note) < 600 for note in notes) and notes[-1].endswith("21 more models beside them")

@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_the_index_alone_says_from_which_file_a_weight_is(tmp_path, kind):
    name, files = "head.3.bias", [f"a.{kind}", f"b.{kind}"]
    write = (lambda content, path: saved(path, content)) if kind == "bin" else save_file
    stale = {name: AVERAGED[name], "gone.weight": torch.zeros(2)}
    write(RAW | {}, tmp_path/files[0])
    write({**stale, "beit3.cls_token": RAW.get("beit3.cls_token", torch.zeros(1))}, tmp_path/files[1])
    index = tmp_path/f"model.{kind}.index.json"
    index.write_text(json.dumps({"weight_map": {n: files[0] for n in RAW}}))
    assert answer_of(open_weights(index).tensors) == 0
    write(RAW, tmp_path/"b.x") if kind == "bin" else None
    index.write_text(json.dumps({"weight_map": {n: files[n == name] for n in RAW}}))
    found = open_weights(index)
    assert answer_of(found.tensors) == 1 and "are left out" in found.notes[0] and "'head.3.bias'" in found.notes[0] and "'gone.weight'" in found.notes[0]
    index.write_text(json.dumps({"weight_map": {n: files[n == "beit3.text_embed.weight"] for n in RAW}}))
    assert "1 weight of index" in failure(open_weights, index) and "cannot be found in the files that it names for them: 'beit3.text_embed.weight'" in failure(open_weights, index)


def part_of(names, weights=RAW): return {name: weights[name] for name in names}

@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_several_files_are_read_together(tmp_path, kind):
    names, ending = list(RAW), kind.rsplit(".", 1)
    files = [f"{ending[0]}-0000{i}-of-00002.{ending[1]}" for i in (1, 2)]
    for i, file in enumerate(files):
        if ending[1] == "bin": saved(tmp_path/file, part_of(names[i::2]))
        else: save_file(part_of(names[i::2]), tmp_path/file)
    (tmp_path/f"{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {name: files[i % 2] for i, name in enumerate(names)}}))
    (tmp_path/"config.json").write_text(json.dumps({"model_type": "beit3_vqa", "num_heads": 2}))
    vqa = load_model(tmp_path, device="cpu")
    assert vqa.config == CONFIG and vqa.name == tmp_path.name
    before = vqa.hash_weights()
    changed = {name: RAW[name] + 1 for name in names[1::2]}
    if ending[1] == "bin": saved(tmp_path/files[1], changed)
    else: save_file(changed, tmp_path/files[1])
    assert load_model(tmp_path, device="cpu").hash_weights() != before # of all files, not of the index alone
    (tmp_path/files[0]).unlink()
    assert f"names files that are missing: '{files[0][:5]}" in failure(load_model, tmp_path, device="cpu")

@pytest.mark.parametrize("files, found", [
    (["checkpoint-9/mp_rank_00_model_states.pt", "checkpoint-9/zero_pp_rank_0_mp_rank_00_optim_states.pt"], "checkpoint-9/mp_rank_00_model_states.pt"), (["global_step12/mp_rank_00_model_states.pt"], "global_step12/mp_rank_00_model_states.pt"),
    (["pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"], "pytorch_model.bin"), (["best.pth", "log.txt"], "best.pth"), (["last.ckpt"], "last.ckpt")])
def test_the_weights_of_a_folder(tmp_path, files, found):
    for name in files: saved(tmp_path/name, {"module": RAW})
    folder = tmp_path/found.split("/")[0] if "/" in found and "global" not in found else tmp_path
    assert locate(folder) == (tmp_path/found, None) and load_model(folder, HEADS, device="cpu").name == folder.name

@pytest.mark.parametrize("files, says", [(["a.pth", "b.pth"], "2 files of weights ('a.pth', 'b.pth'); give the one"), (["log.txt"], "no other file of weights"), (["optimizer.pt"], "no other file of weights"),
                                         (["zero_pp_rank_0_mp_rank_00_model_states.pt"], "zero_to_fp32.py"), (["mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"], "in pieces"), ([".metadata", "__0_0.distcp"], "dcp_to_torch")])
def test_a_folder_that_does_not_tell(tmp_path, files, says):
    for name in files: (tmp_path/name).touch()
    assert says in failure(locate, tmp_path)

def states(folder, weights=RAW): return saved(folder/"mp_rank_00_model_states.pt", {"module": weights})

@pytest.mark.parametrize("tag, is_there", [("global_step20", False), ("global_step20", True), ("", False), ("../global_step10", False), ("x" * 5000, False)])
@pytest.mark.parametrize("stray", [False, True])
def test_the_step_that_the_note_names_answers_and_no_other(tmp_path, tag, is_there, stray):
    states(tmp_path/"global_step10")
    if is_there: (tmp_path/tag).mkdir()
    if stray: saved(tmp_path/"old.pth", RAW)
    (tmp_path/"latest").write_text(tag)
    said = failure(locate, tmp_path)
    assert f"names '{tag[:5]}" in said and ("holds no weights (" if is_there else "is missing") in said and "there is 'global_step10'" in said and ("'old.pth'" in said) == stray
    if not is_there: return
    states(tmp_path/tag)
    assert locate(tmp_path)[0].parent.name == tag

def test_a_note_may_name_another_folder_or_a_file(tmp_path):
    states(tmp_path/"best")
    (tmp_path/"latest").write_text("best\r\n")
    assert locate(tmp_path)[0].parent.name == "best"
    (tmp_path/"latest").write_text("last.pth")
    assert "names 'last.pth', which is missing" in (said := failure(locate, tmp_path)) and "there is 'best'" in said
    for name in ("last.pth", "old.pth"): saved(tmp_path/name, RAW)
    assert locate(tmp_path)[0].name == "last.pth"

@pytest.mark.parametrize("beside", ["global_step10/x.txt", "pytorch_model_fsdp_0/__0_0.distcp", "epoch_3/model.safetensors"])
def test_a_stray_file_does_not_hide_the_folders_beside_it(tmp_path, beside):
    saved(tmp_path/"old.pth", RAW)
    (tmp_path/"._old.pth").touch()
    (tmp_path/beside).parent.mkdir()
    (tmp_path/beside).touch()
    note, = others_in_folder(tmp_path, locate(tmp_path)[0])
    assert f"old.pth answers, and not {beside.split('/')[0]!r}" in note

def test_of_several_steps_without_a_note_none_answers(tmp_path):
    for step in (9, 10): states(tmp_path/f"global_step{step}")
    saved(tmp_path/"old.pth", RAW)
    assert "holds 2 steps ('global_step9', 'global_step10')" in failure(locate, tmp_path)

@pytest.mark.parametrize("others", [["pytorch_model.bin"], ["model.safetensors.index.json"], ["last.pth", "best.pth"], ["model_ema.safetensors"]])
@pytest.mark.parametrize("later", [-60, 60])
def test_other_saves_of_a_folder_are_told_once(tmp_path, others, later):
    save_file(RAW, tmp_path/"model.safetensors")
    assert others_in_folder(tmp_path, locate(tmp_path)[0]) == ()
    moment = (tmp_path/"model.safetensors").stat().st_mtime + later
    for name in others:
        saved(tmp_path/name, AVERAGED)
        os.utime(tmp_path/name, (moment, moment))
    assert locate(tmp_path)[0].name == "model.safetensors"
    note, = others_in_folder(tmp_path, locate(tmp_path)[0])
    assert "model.safetensors answers, and not " in note and all(repr(name)[:12] in note for name in others) and ("newer" in note) == (later > 0) and "give its own path" in note
    assert others_in_folder(tmp_path/"model.safetensors", locate(tmp_path/"model.safetensors")[0]) == () # it was named

def test_parts_and_older_steps_are_no_other_saves(tmp_path):
    save_file(RAW, tmp_path/"model-00001-of-00001.safetensors")
    (tmp_path/"model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: "model-00001-of-00001.safetensors" for name in RAW}}))
    saved(tmp_path/"checkpoint-9"/"pytorch_model.bin", RAW)
    os.utime(tmp_path/"checkpoint-9", (1e9, 1e9))
    assert others_in_folder(tmp_path, locate(tmp_path)[0]) == ()
    saved(tmp_path/"checkpoint-10"/"pytorch_model.bin", RAW)
    moment = (tmp_path/"model.safetensors.index.json").stat().st_mtime + 60
    os.utime(tmp_path/"checkpoint-10", (moment, moment))
    assert "not 'checkpoint-10'; newer" in others_in_folder(tmp_path, locate(tmp_path)[0])[0]

def test_weights_alone_need_no_configuration(tmp_path):
    save_file(RAW, tmp_path/"model.safetensors")
    assert locate(tmp_path) == (tmp_path/"model.safetensors", None)
    assert load_model(tmp_path, HEADS, device="cpu").config == load_model(tmp_path/"model.safetensors", HEADS, device="cpu").config == CONFIG
    assert "the number of heads does not follow" in failure(load_model, tmp_path, device="cpu")
    (tmp_path/"model.safetensors").write_bytes(POINTER)
    assert "is a Git LFS pointer" in failure(load_model, tmp_path, device="cpu")

@pytest.mark.parametrize("files, says", [
    (["pytorch_model_fsdp_0/__0_0.distcp", "optimizer_0/__0_0.distcp", "random_states_0.pkl"], "the folder in it does: 'pytorch_model_fsdp_0'; give that one"),
    (["checkpoint-10/model.safetensors", "checkpoint-9/model.safetensors", "runs/log.txt"], "the folders in it do: 'checkpoint-9', 'checkpoint-10'; give the one"),
    (["checkpoint-1/global/x.txt", "optimizer.bin"], "holds no model.safetensors")])
def test_a_folder_of_folders_names_those_with_weights(tmp_path, files, says):
    for name in files:
        (tmp_path/name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path/name).touch()
    assert says in failure(locate, tmp_path)

@pytest.mark.parametrize("name, is_weights", [("optimal_model.pth", True), ("optimizer_0.pt", False), ("scaler.pt", False), ("scalers_net.pth", True), ("lr_scheduler.pt", False), ("zeroshot.pth", True), ("best_optimizer.pt", False)])
def test_names_of_states_are_whole_words(tmp_path, name, is_weights):
    saved(tmp_path/name, RAW)
    if is_weights: assert locate(tmp_path)[0].name == name
    else: assert "no other file of weights" in failure(locate, tmp_path)

def test_a_name_that_is_nearly_there(tmp_path):
    saved(tmp_path/"checkpoint-best.pth", RAW)
    assert failure(locate, tmp_path/"checkpoint_best.pth").endswith("did you mean 'checkpoint-best.pth'?")
    for wrong in ("x" * 100_000, "a/" * 3000 + "b.pth", "nul\0.pth"): failure(locate, wrong)

def test_answers_lie_in_the_order_of_their_numbers(tmp_path):
    labels = {str(i): f"answer {i}" for i in range(12)}
    def written(labels): (tmp_path/"config.json").write_text(json.dumps({"id2label": labels}))
    written(dict(sorted(labels.items())))
    assert read_answers(tmp_path) == list(labels.values())
    for wrong, says in [({k: v for k, v in labels.items() if k != "7"}, "has 11 entries and none for 7"), (list(labels.values()), "number from 0 on"), ({"0": 1, "1": "b"}, "must be text, but 0 is 1")]:
        written(wrong)
        assert says in failure(read_answers, tmp_path)

def test_an_address_is_fetched_once(tmp_path, monkeypatch):
    content = saved(tmp_path/"a.pth", {"model": RAW}).read_bytes()
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    with FileServer({"/models/mine.pth": content, "/models/mine-0123456789.pth": content}) as server:
        for _ in range(2): assert load_model(f"{server.url}/models/mine.pth?download=true", HEADS, device="cpu", progress=False).name == "mine"
        assert len(server.asked("/models/mine.pth")) == 1
        assert "SHA-256 that begins with 0123456789" in failure(load_model, f"{server.url}/models/mine-0123456789.pth", HEADS, device="cpu", progress=False)
    assert "does not end in the name of a file of weights" in failure(load_model, "https://example.org/models/")

@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_newer_pickle_is_whole(tmp_path, protocol):
    "PyTorch's reader without code knows protocol 2 alone; such a file is refused with the line that saves its weights."
    said = failure(read_weights, saved(tmp_path/"a.pth", {"model": RAW}, pickle_protocol=protocol)) if protocol > 3 else ""
    assert not said or f"is a file of pickle protocol {protocol}" in said and "If you trust the file" in said and "zip archive" not in said

def test_quantised_weights_are_refused(tmp_path):
    weights = {**RAW, "beit3.encoder.layers.0.ffn.A.fc1.weight": RAW["beit3.encoder.layers.0.ffn.A.fc1.weight"].to(torch.int8)}
    for call in (lambda path: load_model(path, HEADS, device="cpu"), lambda path: convert(path, tmp_path/"new", HEADS)):
        assert "holds numbers of type int8: the weights are quantised" in failure(call, saved(tmp_path/"a.pth", weights))


# what lies beside weights, and what `convert` does with it
import errno # noqa: E402

from beit3_colab.model import checkpoint # noqa: E402

LABELS, OTHER_ORDER = [f"answer {i}" for i in range(CONFIG.num_classes)], [f"answer {i}" for i in range(CONFIG.num_classes)][::-1]

def write_list(path, answers):
    lines = [json.dumps({"answer": a, "label": i}) for i, a in enumerate(answers)]
    path.write_text("\n".join(lines) if path.suffix == ".txt" else json.dumps(answers))

def test_two_answer_lists_beside_weights(tmp_path):
    path = saved(tmp_path/"best.pth", {"model": RAW})
    write_list(tmp_path/"answers.json", LABELS)
    write_list(tmp_path/"answer2label.txt", LABELS)
    assert load_model(path, HEADS, device="cpu").answers == LABELS # equal: no word
    write_list(tmp_path/"answer2label.txt", OTHER_ORDER)
    for call in (lambda **more: load_model(path, HEADS, device="cpu", **more), lambda **more: convert(path, tmp_path/"new", HEADS, **more)):
        said = failure(call)
        assert "answers.json and " in said and "answer2label.txt differ (class 0 is 'answer 0' and" in said and said.endswith("pass answers=… (--answers), the one that the head was trained with, or remove the other")
    assert not (tmp_path/"new").exists()
    assert load_model(path, HEADS, answers=OTHER_ORDER, device="cpu").answers == OTHER_ORDER
    folder = convert(path, tmp_path/"new", HEADS, answers=LABELS)
    write_list(folder/"answer2label.txt", OTHER_ORDER)
    assert "config.json and " in failure(load_model, folder, device="cpu")
    write_list(tmp_path/"answer2label.txt", LABELS[:-1])
    assert f"({len(LABELS)} answers and {len(LABELS) - 1})" in failure(load_model, path, HEADS, device="cpu")

def test_two_tokenizers_beside_weights(tmp_path):
    path = saved(tmp_path/"best.pth", {"model": RAW})
    for name in ("sentencepiece.model", "beit3.spm"): (tmp_path/name).write_bytes(name.encode())
    said = failure(load_model, path, HEADS, device="cpu")
    assert "sentencepiece.model and " in said and "beit3.spm differ; pass tokenizer=… (--tokenizer)" in said

@pytest.mark.parametrize("answers, tokenizer", [("answers.json", "sentencepiece.model"), ("answer2label.txt", "beit3.spm")])
def test_convert_takes_what_lies_beside_the_weights(tmp_path, answers, tokenizer):
    path = saved(tmp_path/"best.pth", {"model": RAW, "model_ema": AVERAGED})
    write_list(tmp_path/answers, LABELS)
    (tmp_path/tokenizer).write_bytes((sample_folder()/"sentencepiece.model").read_bytes())
    folder = convert(path, tmp_path/"ours", HEADS, weights_key="model_ema")
    assert read_answers(folder) == LABELS and (folder/"sentencepiece.model").read_bytes() == (tmp_path/tokenizer).read_bytes()
    about = json.loads((folder/"config.json").read_text())
    assert (about["converted_from"], about["weights_key"]) == ("best.pth", "model_ema")
    again = convert(folder, tmp_path/"again") # what is known is handed on
    assert json.loads((again/"config.json").read_text()) == about
    kept = load_model(path, HEADS, device="cpu", weights_key="model_ema").save(tmp_path/"kept")
    assert json.loads((kept/"config.json").read_text())["weights_key"] == "model_ema"
    assert "weights_key" not in json.loads((convert(path, tmp_path/"raw", HEADS)/"config.json").read_text())
    write_list(tmp_path/answers, LABELS[:-1])
    assert f"{answers} has {len(LABELS) - 1} answers, but the head has {len(LABELS)}; pass answers=" in failure(convert, path, tmp_path/"new", HEADS)

@pytest.mark.parametrize("given, says", [(dict(answers="missing.json", tokenizer="missing"), "leave out answers=… (--answers) and tokenizer=… (--tokenizer), or name a folder"), (dict(tokenizer="x.spm"), "leave out tokenizer=… (--tokenizer), or"), (dict(config={"vocab_size": 9}), "config says vocab_size=9, but the weights have 185")])
def test_convert_refuses_what_would_do_nothing(tmp_path, given, says):
    assert says in failure(convert, saved(tmp_path/"best.pth", {"model": RAW}), tmp_path/"out.pth", **given)
    assert not (tmp_path/"out.pth").exists()

def test_convert_never_writes_onto_its_source(tmp_path):
    path = saved(tmp_path/"best.pth", {"model": RAW, "epoch": 3})
    before = path.read_bytes()
    (tmp_path/"link.pth").symlink_to(path)
    folder = convert(path, tmp_path/"ours", HEADS)
    for source, target in ((path, path), (tmp_path/"link.pth", path), (path, tmp_path/"link.pth"), (folder, folder), (folder, f"{tmp_path}/ours/../ours"), (folder/"model.safetensors", folder)):
        assert "is itself what would be converted; name another target" in failure(convert, source, target)
    assert path.read_bytes() == before

def test_a_full_disk_under_converts_target(tmp_path, monkeypatch):
    path = saved(tmp_path/"best.pth", {"model": RAW})
    def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "atomic_write", full)
        patched.setattr(torch, "save", full)
        for target, named in ((tmp_path/"a"/"new", tmp_path/"a"/"new"), (tmp_path/"new.pth", tmp_path)):
            said = failure(convert, path, target, None if target.suffix else HEADS)
            assert f"output folder {named} is on a full disk: free some space" in said and "CACHE" not in said
    monkeypatch.setattr("shutil.disk_usage", lambda folder: types.SimpleNamespace(free=9))
    said = failure(convert, path, tmp_path/"a"/"new", HEADS)
    assert "are needed under" in said and said.endswith("choose another target")
    assert [p.name for p in tmp_path.iterdir()] == ["best.pth"] # no folder is left

def test_convert_leaves_no_list_of_older_weights(tmp_path):
    "One that lay in the target would answer for weights that came without a list."
    convert("sample", tmp_path/"alone.pth")
    (tmp_path/"out").mkdir()
    (tmp_path/"out"/"answer2label.txt").write_text("".join(json.dumps(dict(answer=f"old {i}", label=i)) + "\n" for i in range(60)))
    convert(tmp_path/"alone.pth", tmp_path/"out", HEADS)
    assert load_model(tmp_path/"out", device="cpu").answers is None
