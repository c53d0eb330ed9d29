"Checkpoints as trainings and tools leave them: which weights are read, what is said of the others, and what a file is called that holds none."
import argparse
import collections
import datetime
import enum
import json
import logging
import pathlib
import pickle
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
from beit3_colab.model.checkpoint import build_model, locate, read_answers, sample_folder
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
    exec(said[said.index("import torch;"):].rstrip('"'), {}) # the line does what it says
    assert (tmp_path/"weights.pth").is_file()
    if "state_dict()" not in line: assert answer_of(read_weights(tmp_path/"weights.pth")) == 0

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

def test_two_models_of_equal_right_are_not_chosen_from(tmp_path):
    said = failure(read_weights, saved(tmp_path/"a.pth", under("student.") | under("teacher.", OTHER)))
    assert "several models: 'student', 'teacher'" in said and "--weights-key" in said
    said = failure(read_weights, tmp_path/"a.pth", "techer")
    assert "no weights under 'techer', but under 'student', 'teacher'; did you mean 'teacher'?" in said

def test_a_model_tells_of_the_others_once_and_is_named_by_its_key(tmp_path, caplog):
    path = saved(tmp_path/"last.pth", {"model": RAW, "model_ema": AVERAGED})
    with caplog.at_level(logging.WARNING, "beit3_colab.model"): plain = load_model(path, HEADS, device="cpu")
    assert [r.message for r in caplog.records] == list(plain.notes) and "--weights-key model_ema" in plain.notes[0]
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
    assert not said or "If you trust the file" in said and "c['model']" in said and "zip archive" not in said

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
