"Checkpoints that mean harm, or were damaged on the way: refused with one line, before they take memory or time, and nothing of them is written."
import io
import json
import math
import os
import pickle
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from beit3_colab import convert, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import build_model, read_answers, sample_folder, save_folder
from beit3_colab.model.pickles import survey_file
from beit3_colab.model.weights import count_layers, to_official
from beit3_colab.model.weights_file import open_weights, read_weights

CONFIG = Beit3Config(image_size=32, patch_size=16, embed_dim=16, num_heads=2, num_layers=2, ffn_dim=24, vocab_size=185, num_classes=3, max_text_positions=70)
HEADS = {"num_heads": 2}
torch.manual_seed(0)
OURS = init_weights(Beit3ForVQA(CONFIG)).state_dict()
RAW = to_official(OURS)
ANSWERS = ["yes", "no", "red"]


def failure(call, *arguments, **named):
    "What a call is refused with: one line of bounded length."
    with pytest.raises(UserError) as error: call(*arguments, **named)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900
    return str(error.value)

def saved(path, content, **more):
    torch.save(content, path, **more)
    return path

def packed_again(source, target, compression=zipfile.ZIP_STORED, change=None):
    "A zip with the same members, written by Python; `change`: member's last name and content → content."
    with zipfile.ZipFile(source) as a, zipfile.ZipFile(target, "w", compression) as b:
        for name in a.namelist(): b.writestr(name, change(name.split("/", 1)[1], a.read(name)) if change else a.read(name))
    return target

def memory_of(program, *arguments):
    "What a program prints in a process of its own, and how many MB it took more than PyTorch alone."
    begin = "import sys, torch, beit3_colab.model.vqa, safetensors.torch; from beit3_colab.machine.device import peak_memory; start = peak_memory().host\n"
    end = "\nprint('MB', (peak_memory().host - start)/1e6)"
    done = subprocess.run([sys.executable, "-c", begin + program + end, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    said, _, used = done.stdout.rpartition("MB")
    return said.strip(), float(used)

REFUSED = """
from beit3_colab.model.weights_file import read_weights
from beit3_colab.machine.messages import UserError
try: read_weights(sys.argv[1])
except UserError as error: print(error)
"""


# Memory and time

@pytest.mark.parametrize("zipped", [True, False])
def test_an_expanded_tensor_takes_no_memory(tmp_path, zipped):
    "A file of some 100 kB whose text embedding would have 4 GB."
    weights = RAW | {"beit3.text_embed.weight": torch.zeros(1, dtype=torch.float16).expand(2**25, 64)}
    path = saved(tmp_path/"a.pth", {"model": weights}, _use_new_zipfile_serialization=zipped)
    said, used = memory_of(REFUSED, path)
    assert "beit3.text_embed.weight" in said and "expanded tensor" in said and "clone()" in said and used < 100

def test_a_tensor_that_overlaps_itself_is_refused(tmp_path):
    weights = RAW | {"beit3.text_embed.weight": torch.zeros(300).as_strided((185, 16), (1, 1))}
    assert "expanded tensor" in failure(read_weights, saved(tmp_path/"a.pth", weights))

def test_one_tensor_under_many_names_is_bounded_and_tied_weights_are_fine(tmp_path):
    shared = torch.zeros(1_000_000)
    said = failure(read_weights, saved(tmp_path/"a.pth", RAW | {f"beit3.x{i}": shared for i in range(9)}))
    assert "repeating some of them under many names" in said
    tied = RAW | {"beit3.encoder.layers.1.ffn.A.fc1.weight": RAW["beit3.encoder.layers.0.ffn.A.fc1.weight"]}
    assert len(read_weights(saved(tmp_path/"b.pth", tied))) == len(RAW)

def test_expanded_things_beside_the_weights_are_nobodys_business(tmp_path):
    path = saved(tmp_path/"a.pth", {"model": RAW, "ids": torch.arange(4).expand(3, 4), "scale": torch.ones(1).expand(10**6)})
    assert len(read_weights(path)) == len(RAW)

def test_a_view_of_a_larger_tensor_is_whole(tmp_path):
    "As slices of one buffer are saved; and transposed ones."
    names, flat = list(RAW), torch.cat([t.flatten() for t in RAW.values()])
    parts = flat.split([RAW[name].numel() for name in names])
    views = {name: part.view(RAW[name].shape) for name, part in zip(names, parts)}
    views["head.0.weight"] = views["head.0.weight"].T.contiguous().T
    found = read_weights(saved(tmp_path/"a.pth", views))
    assert all(torch.equal(found[name], RAW[name]) for name in RAW)

def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    saved(tmp_path/"a.pth", {"model": RAW | {"beit3.zz": torch.zeros(50_000_000)}})
    packed_again(tmp_path/"a.pth", tmp_path/"b.pth", zipfile.ZIP_DEFLATED)
    assert (tmp_path/"b.pth").stat().st_size < 1_000_000
    said, used = memory_of(REFUSED, tmp_path/"b.pth")
    assert "is compressed inside" in said and "zip -0" in said and used < 60

def test_a_file_that_was_packed_again_without_compression_is_read(tmp_path):
    path = packed_again(saved(tmp_path/"a.pth", {"model": RAW}), tmp_path/"b.pth")
    assert len(read_weights(path)) == len(RAW)

def test_a_member_that_is_there_twice(tmp_path):
    path = saved(tmp_path/"a.pth", {"model": RAW})
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as file: file.writestr("a/data.pkl", file.read("a/data.pkl"))
    assert "'a/data.pkl' twice" in failure(read_weights, path)

@pytest.mark.parametrize("name", ["beit3.encoder.layers.3000000.x", "layers.999999999999999999999999999999.x", "layers.99.x", f"layers.{'9'*5000}.x"])
def test_a_layer_that_cannot_be_is_refused_at_once(tmp_path, name):
    begun = time.perf_counter()
    for path in (saved(tmp_path/"a.pth", RAW | {name: torch.zeros(1)}), tmp_path/"b.safetensors"):
        if path.suffix == ".safetensors": save_file({**OURS, name: torch.zeros(1)}, path)
        said = failure(convert, path, tmp_path/"out", HEADS)
        assert "would be of layer" in said or "not known to a BEiT-3" in said or "missing" in said
    assert time.perf_counter() - begun < 5 and not (tmp_path/"out").exists()

def test_the_number_of_layers_has_a_bound():
    assert count_layers(OURS) == count_layers(RAW) == 2
    failure(count_layers, [f"layers.{i}.x" for i in range(1002)])

def test_dictionaries_inside_each_other_end(tmp_path):
    "Ten levels of a thousand entries that are all the same dictionary: 10^30 places in 300 kB."
    inner = {"tensor": torch.zeros(1)}
    for _ in range(10): inner = {f"k{i}": inner for i in range(1000)}
    begun = time.perf_counter()
    assert "too many dictionaries" in failure(read_weights, saved(tmp_path/"a.pth", inner))
    assert time.perf_counter() - begun < 10

def test_many_models_in_one_dictionary(tmp_path):
    path = saved(tmp_path/"a.pth", {f"m{i}.text_embedding.tokens.weight": torch.zeros(1) for i in range(200)})
    assert "holds 200 models in one dictionary" in failure(read_weights, path)

@pytest.mark.parametrize("steps", [60, 400])
def test_tuples_inside_tuples_end(tmp_path, steps):
    "A key of 2^60 entries in 300 bytes, whose hash would never be done."
    program = b"\x80\x02}()q\x01" + b"h\x01h\x01\x86q\x01"*steps + b"K\x01u."
    path = packed_again(saved(tmp_path/"a.pth", {"model": RAW}), tmp_path/"b.pth", change=lambda name, content: program if name == "data.pkl" else content)
    assert "is damaged or was forged: it describes tuples inside tuples without end" in failure(read_weights, path)

def test_a_long_description_of_weights(tmp_path):
    path = saved(tmp_path/"a.pth", {"model": RAW, "log": ["x"*1000 + str(i) for i in range(25_000)]})
    assert "BEIT3_COLAB_LIMITS=pickle_bytes" in failure(read_weights, path)

def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path/"a.pth")
    for call in (read_weights, load_model): assert "is a pipe" in failure(call, tmp_path/"a.pth")
    assert "is a pipe" in failure(load_model, "sample", tokenizer=tmp_path/"a.pth")

def test_a_link_to_weights_is_followed(tmp_path):
    "As the cache of Hugging Face has them."
    saved(tmp_path/"blob", {"model": RAW})
    (tmp_path/"a.pth").symlink_to("blob")
    assert len(read_weights(tmp_path/"a.pth")) == len(RAW)


# What PyTorch's older versions believed

class Stored: pass

class Writer(pickle.Pickler):
    "Writes what a checkpoint says of its storages, true or not."
    def persistent_id(self, thing): return thing.told if isinstance(thing, Stored) else None

class Call:
    def __init__(self, function, *arguments, state=None): self.what = (function, arguments) if state is None else (function, arguments, state)
    def __reduce__(self): return self.what

def storage(numel, key="0", kind=torch.FloatStorage):
    found = Stored()
    found.told = ("storage", kind, key, "cpu", numel)
    return found

def tensor(stored, offset, shape, strides): return Call(torch._utils._rebuild_tensor_v2, stored, offset, shape, strides, False, {})

def forged(path, content, stored=b"\0"*48):
    "A file of PyTorch's form with a program of one's own and one storage of 48 bytes."
    program = io.BytesIO()
    Writer(program, 2).dump(content)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (("data.pkl", program.getvalue()), ("byteorder", b"little"), ("data/0", stored), ("version", b"3\n")): file.writestr(f"a/{name}", data)
    return path

def test_what_is_forged_well_is_read(tmp_path):
    path = forged(tmp_path/"a.pth", {"weight": tensor(storage(12), 0, (3, 4), (4, 1))})
    assert survey_file(path).storages == {"0": 48}
    assert read_weights(path)["weight"].shape == (3, 4)

LIES = {
    "a storage that is longer": {"weight": tensor(storage(10**9), 0, (10**9,), (1,))},
    "a tensor that is longer": {"weight": tensor(storage(12), 0, (13,), (1,))},
    "an offset": {"weight": tensor(storage(12), 9, (2, 2), (2, 1))},
    "strides": {"weight": tensor(storage(12), 0, (3, 4), (40, 1))},
    "a negative offset": {"weight": tensor(storage(12), -5, (2,), (1,))},
    "another kind": {"weight": tensor(storage(12, kind=torch.DoubleStorage), 0, (12,), (1,))},
    "a storage that is not there": {"weight": tensor(storage(12, key="7"), 0, (12,), (1,))},
    "two lengths": {"a": tensor(storage(12), 0, (12,), (1,)), "b": tensor(storage(10), 0, (10,), (1,))},
    "inside a class": {"weight": Call(torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_tensor_v2, torch.nn.Parameter, (storage(12), 0, (99,), (1,), False, {}), {})},
    "a larger dtype": {"weight": Call(torch._utils._rebuild_tensor_v3, storage(48, kind=torch.UntypedStorage), 0, (48,), (1,), False, {}, torch.uint16)},
    "by its state": {"weight": Call(torch.Tensor, state=(storage(12), 0, (99,), (1,)))},
}

@pytest.mark.parametrize("lie", LIES)
def test_what_reaches_beyond_the_file_is_never_loaded(tmp_path, lie, monkeypatch):
    "PyTorch before 2.10 reads memory that is not the file's (CVE-2026-24747)."
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert "is damaged or was forged: it describes" in (said := failure(read_weights, forged(tmp_path/"a.pth", LIES[lie]))) and "python -c" not in said

def test_an_entry_of_a_tensor_is_never_set(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    program = io.BytesIO()
    Writer(program, 2).dump(tensor(storage(12), 0, (3, 4), (4, 1)))
    content = program.getvalue()[:-1] + b"K\x00K\x01s." # tensor[0] = 1
    path = packed_again(forged(tmp_path/"a.pth", {}), tmp_path/"b.pth", change=lambda name, data: content if name == "data.pkl" else data)
    assert "an entry of something that is no dictionary" in failure(read_weights, path)

def test_the_older_form_that_is_cut_in_its_numbers_is_called_so(tmp_path):
    path = saved(tmp_path/"a.pth", {"model": RAW}, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-30_000])
    assert "cut short" in (said := failure(read_weights, path)) and "code" not in said

def test_a_tar_of_2016_is_never_loaded(tmp_path, monkeypatch):
    "PyTorch before 2.6 runs what it holds, whatever weights_only says (CVE-2025-32434)."
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    for name in ("storages", "tensors", "pickle"): (tmp_path/name).write_bytes(pickle.dumps(1, 2))
    for name in ("a.pth", "a.bin"):
        with tarfile.open(tmp_path/name, "w") as file:
            for member in ("storages", "tensors", "pickle"): file.add(tmp_path/member, member)
        assert "is a tar archive" in failure(read_weights, tmp_path/name)
    with open(tmp_path/"a.pth", "ab") as file: file.write(saved(tmp_path/"b.pth", RAW).read_bytes()) # a zip behind it
    failure(read_weights, tmp_path/"a.pth")

def test_a_torchscript_program_is_never_loaded(tmp_path, monkeypatch):
    "Before 2.6 `torch.load` hands it to `torch.jit.load`, which runs it."
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path/"a.pth")
    for call in (torch, torch.jit): monkeypatch.setattr(call, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert "is a TorchScript program" in failure(read_weights, tmp_path/"a.pth")
    path = packed_again(saved(tmp_path/"b.pth", {"model": RAW}), tmp_path/"c.pth")
    with zipfile.ZipFile(path, "a") as file: file.writestr("b/constants.pkl", b"")
    assert "is a TorchScript program" in failure(read_weights, path)

def test_what_hangs_on_a_dictionary_is_taken_off(tmp_path):
    "A pickle may give a dictionary an `items` of its own."
    class Odd:
        def __reduce__(self): return __import__("collections").OrderedDict, (), {"items": 7, "keys": 7}
    assert "holds no weights" in failure(read_weights, forged(tmp_path/"a.pth", {"model": Odd()}))

@pytest.mark.parametrize("wrap", [lambda t, state: Call(torch._utils._rebuild_parameter_with_state, t, False, {}, state),
                                  lambda t, state: Call(torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_tensor_v2, torch.Tensor, t.what[1], state)])
def test_what_hangs_on_a_tensor_is_taken_off(tmp_path, wrap):
    "Attributes of a tensor's own go before its methods: one could say of itself that it is short, or finite."
    state = {name: 7 for name in ("stride", "numel", "to", "sum", "isfinite", "untyped_storage", "is_floating_point")}
    numbers = torch.arange(12.).numpy().tobytes()
    path = forged(tmp_path/"a.pth", {"model": {"weight": wrap(tensor(storage(12), 0, (3, 4), (4, 1)), state)}}, numbers)
    assert read_weights(path)["weight"].to(torch.float64).sum() == 66


# What a program may call, and how

def program_file(path, program, **members):
    "A file of PyTorch's form whose program is given as it is; `members`: what lies under data/."
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        for name, data in (("version", b"3\n"), ("byteorder", b"little"), *((f"data/{k}", v) for k, v in members.items())): file.writestr(f"a/{name}", data)
    return path

STORED = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0%sX\3\0\0\0cpuJ%stQ"
def stored(numel=4, key=b"k"): return STORED % (key, numel.to_bytes(4, "little"))
def number(n): return b"J" + n.to_bytes(4, "little")
def shape_of(*values): return b"(" + b"".join(map(number, values)) + b"t"
def laid(size, *, numel=4, key=b"k", step=1): return stored(numel, key) + number(0) + shape_of(size) + shape_of(step) + b"\x89}"
V2, CLASSED, TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nTensor\n"
GOOD = V2 + b"(" + laid(4) + b"tR"

FORGED_CALLS = {
    "a tuple in a tuple": b"})" + b"\x85"*200_000 + b"K\1s",
    "the same in pairs and threes": b"})" + b"K\1\x86K\1K\1\x87"*100_000 + b"K\1s",
    "the same in a set": b"cbuiltins\nset\n(](" + b")" + b"\x85"*200_000 + b"etR",
    "the same in lists": b"]"*300 + b"a"*299,
    "the same in functions": b"ccollections\nOrderedDict\n"*300 + b")R" + b"\x85R"*299,
    "marks": b"("*2_000_000,
    "room for bytes": b"cbuiltins\nbytearray\n" + number(2**31 - 1) + b"\x85R",
    "its older name": b"c__builtin__\nbytearray\n" + number(2**31 - 1) + b"\x85R",
    "bytes of a list": b"cbuiltins\nbytearray\n](K\1K\1e\x85R",
    "punycode": b"c_codecs\nencode\nX\4\0\0\0abcdX\x08\0\0\0punycode\x86R",
    "another text as the second": b"c_codecs\nencode\nX\4\0\0\0abcd\x85R",
    "a tensor of whatever lay there": b"ctorch\nFloatTensor\nK\nK\n\x86R",
    "the same by its class": TENSOR + b"K\nK\n\x86R",
    "the same as a new object": TENSOR + b"K\nK\n\x86\x81",
    "room of a storage": b"ctorch.storage\nUntypedStorage\n" + number(2**31 - 1) + b"\x85R",
    "arguments in a list": V2 + b"](" + laid(1_000_000) + b"eR",
    "a state in a list": GOOD + b"](" + laid(1_000_000) + b"eb",
    "a tensor in front": GOOD + b"(" + GOOD + number(0) + shape_of(1_000_000) + shape_of(1) + b"tb",
    "a class in a class": CLASSED + b"(" + CLASSED + TENSOR + b"(" + V2 + TENSOR + b"(" + laid(1_000_000) + b"t}t}tR",
    "a quantised one by repeating": b"ctorch._utils\n_rebuild_qtensor\n(" + stored() + number(0) + shape_of(2**30) + shape_of(0) + b")\x89}tR",
}

@pytest.mark.parametrize("name", FORGED_CALLS)
def test_a_call_that_torch_save_does_not_write_is_never_made(tmp_path, name, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    begun = time.perf_counter()
    path = program_file(tmp_path/"a.pth", b"}(X\1\0\0\0x" + FORGED_CALLS[name] + b"u", k=b"\0"*16)
    said = failure(read_weights, path)
    assert ("was forged" in said or "of their own" in said) and "weights_only" not in said and "ownload it again" not in said
    assert time.perf_counter() - begun < 5

@pytest.mark.parametrize("one", [b"N", b"]", b"K\1", b"Nq\0"])
def test_a_program_of_many_steps_ends(tmp_path, one, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "pickle_bytes=200000")
    path = program_file(tmp_path/"a.pth", b"](" + one*25_000 + b"e")
    assert "in more than 20,000 steps" in (said := failure(read_weights, path)) and "pickle_bytes" in said

def test_a_list_that_grows_afterwards_is_counted(tmp_path):
    "A list in a list is given its key of 2^60 entries only after it was put there."
    deep = b")q\1" + b"h\1h\1\x86q\1"*60
    program = b"ccollections\nOrderedDict\nq\0](]q\2e\x85q\3" + deep + b"h\2(h\1K\1eh\0h\3R"
    assert "without end" in failure(read_weights, program_file(tmp_path/"a.pth", program))

@pytest.mark.parametrize("large", "Kk")
def test_names_in_capitals_and_small_letters_are_one(tmp_path, large):
    "PyTorch 2.4 takes either of them, and believes the length of the other."
    members = {key: b"\0"*(4000 if key == large else 16) for key in "Kk"}
    program = b"}(X\1\0\0\0x" + V2 + b"(" + laid(1000, numel=1000, key=large.encode()) + b"tRu"
    assert "twice in it" in failure(read_weights, program_file(tmp_path/"a.pth", program, **members))

def old_form(path, content, keys):
    with open(path, "wb") as file:
        for value in (0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True, type_sizes=dict(short=2, int=4, long=4))): pickle.dump(value, file, 2)
        file.write(b"\x80\x02" + content + b".")
        pickle.dump(keys, file, 2)
        file.write((4).to_bytes(8, "little") + b"\0"*16)
    return path

@pytest.mark.parametrize("keys", [{"k": "k"}, [1], ("k",), [], ["k", "k"], ["k", "z"], [["k"]], "k", None, 7])
def test_the_older_form_fills_what_it_names(tmp_path, keys, monkeypatch):
    "What is not named is not filled, and would be whatever lay in memory."
    content = b"}(X\1\0\0\0x" + V2 + b"(" + (laid(4).replace(b"tQ", b"NtQ", 1)) + b"tRu"
    assert read_weights(old_form(tmp_path/"b.pth", content, ["k"]))["x"].tolist() == [0, 0, 0, 0]
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert "numbers" in (said := failure(read_weights, old_form(tmp_path/"a.pth", content, keys))) and "forged" in said

def two_tables(path, source):
    "A zip whose last lines tell another place for the table of contents than right before them."
    content = source.read_bytes()
    end = content.rindex(b"PK\5\6")
    size, start = (int.from_bytes(content[end + at:end + at + 4], "little") for at in (12, 16))
    path.write_bytes(content[:end] + content[start:start + size] + content[end:])
    return path

def test_a_zip_has_one_table_of_contents(tmp_path, monkeypatch):
    path = packed_again(saved(tmp_path/"a.pth", {"model": RAW}), tmp_path/"b.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    failure(read_weights, two_tables(tmp_path/"c.pth", path))
    end = path.read_bytes()
    with zipfile.ZipFile(path, "a") as file: file.comment = b"PK\5\6" + b"\0"*18
    failure(read_weights, path)
    (tmp_path/"d.pth").write_bytes(b"PK\3\4" + b"\0"*60 + end) # something before it
    failure(read_weights, tmp_path/"d.pth")


def test_what_pytorch_cannot_make_is_not_called_code(tmp_path):
    path = program_file(tmp_path/"a.pth", b"ccollections\nOrderedDict\n](]ae\x85R")
    assert "weights_only" not in failure(read_weights, path)


@pytest.mark.parametrize("place", [[0, 16], [8, 16], [20, 28]])
def test_safetensors_that_overlap_or_leave_holes(tmp_path, place):
    header = json.dumps({"a": dict(dtype="F32", shape=[4], data_offsets=[0, 16]), "b": dict(dtype="F32", shape=[(place[1] - place[0])//4], data_offsets=place)}).encode()
    header += b" "*(128 - len(header)) # whose length is a byte with which pickles begin
    (tmp_path/"a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0"*28)
    assert "is cut short, or damaged" in (said := failure(read_weights, tmp_path/"a.safetensors")) and "pickle" not in said


# What honest files hold

HONEST = {
    "bytes": b"bytes \xe9", "room": bytearray(b"abc"), "set": {1, "a", (2, 3)}, "complex": 1 + 2j, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "dtype": torch.float16,
    "parameter": torch.nn.Parameter(torch.ones(2)), "sparse": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(), "meta": torch.empty(2, device="meta"), "empty": torch.empty(0),
    "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "quantised": torch.quantize_per_tensor(torch.ones(3), .1, 0, torch.qint8), "counter": __import__("collections").Counter("aab"),
    "layout": torch.strided, "log": [[i, i*.5] for i in range(10_000)], "deep": [[[[[[[[[["x"]]]]]]]]]]}

@pytest.mark.parametrize("name, zipped", [(name, zipped) for name in HONEST for zipped in (True, False) if zipped or name != "nested"]) # which PyTorch cannot read itself
def test_what_lies_beside_honest_weights_changes_nothing(tmp_path, name, zipped):
    path = saved(tmp_path/"a.pth", {"model": RAW, "beside": HONEST[name]}, _use_new_zipfile_serialization=zipped)
    assert all(torch.equal(tensor, RAW[key]) for key, tensor in read_weights(path).items())

def test_a_tensor_that_is_shown_with_another_sign_is_written_so(tmp_path):
    name = "head.0.weight"
    turned = torch._neg_view(-RAW[name])
    assert turned.is_neg() and torch.equal(turned, RAW[name])
    path = saved(tmp_path/"a.pth", {"model": RAW | {name: turned}})
    assert torch.equal(read_weights(convert(path, tmp_path/"out", HEADS)/"model.safetensors")[name], RAW[name])

@pytest.mark.parametrize("target", ["out", "out.pth"])
def test_tied_weights_are_written_whole(tmp_path, target):
    tied = {name: RAW.get(name.replace("layers.1.", "layers.0.").replace(".B.", ".A."), RAW[name]) for name in RAW}
    tied = {name: tensor if tensor.shape == RAW[name].shape else RAW[name] for name, tensor in tied.items()}
    built = build_model(read_weights(saved(tmp_path/"a.pth", {"model": tied})), HEADS).state_dict()
    again = load_model(convert(tmp_path/"a.pth", tmp_path/target, HEADS), HEADS, device="cpu").model.state_dict()
    assert all(torch.equal(again[name], built[name]) for name in built)


# Numbers that are none

@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint8, torch.int8, torch.int64, torch.bool, torch.complex64])
def test_only_plain_numbers_are_weights(tmp_path, dtype):
    changed = OURS | {"head.3.bias": torch.ones(3).to(dtype)}
    path = saved(tmp_path/"a.pth", changed)
    for call in (lambda: load_model(path, HEADS, device="cpu"), lambda: convert(path, tmp_path/"out", HEADS), lambda: build_model(changed, HEADS)):
        assert "head.3.bias holds" in failure(call)
    assert not (tmp_path/"out").exists()

@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_numbers(tmp_path, value, dtype):
    changed = {name: t.to(dtype) for name, t in OURS.items()} | {"layers.1.text.fc1.bias": torch.full((24,), value, dtype=dtype)}
    path = saved(tmp_path/"a.pth", changed)
    for target in ("out", "out.pth"): assert "layers.1.text.fc1.bias holds NaN or infinity" in failure(convert, path, tmp_path/target, HEADS)
    assert "holds NaN or infinity" in failure(load_model, path, HEADS, device="cpu")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth"]

def test_large_weights_are_numbers(tmp_path):
    "Their sum is none, and each of them is."
    changed = OURS | {"head.0.bias": torch.full((32,), 3e38)}
    assert build_model(changed, HEADS).config == CONFIG
    assert "larger than float16 can hold" in failure(build_model, changed, HEADS, dtype=torch.float16)

@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_ask_refuses_what_evaluate_refuses(value, monkeypatch):
    from PIL import Image
    vqa = load_model("sample", device="cpu")
    logits = torch.zeros(1, vqa.config.num_classes)
    logits[0, 3] = value
    monkeypatch.setattr(vqa, "logits", lambda *_: logits)
    assert "the model gives NaN" in failure(vqa.ask, Image.new("RGB", (9, 9)), "What?")

@pytest.mark.parametrize("change", [dict(layernorm_eps=math.nan), dict(layernorm_eps=math.inf), dict(layernorm_eps=1e300), dict(layernorm_eps=True), dict(layernorm_eps=0), dict(num_heads=2.), dict(num_heads=True),
                                    dict(num_layers=10**9), dict(image_size=10**30), dict(vocab_size="9"*5000), dict(vocab_size=int("9"*4000))])
def test_a_configuration_has_ranges(tmp_path, change):
    folder = save_folder(tmp_path/"a", OURS, CONFIG, ANSWERS)
    config = json.loads((folder/"config.json").read_text()) | change
    (folder/"config.json").write_text(json.dumps(config))
    said = failure(load_model, folder, device="cpu")
    assert next(iter(change)) in said and len(said) < 400


# Sums

def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

@pytest.mark.parametrize("name, place", [("model.safetensors", -1), ("model.safetensors", -4000), ("model.safetensors", 60), ("sentencepiece.model", 40_000)])
def test_one_bit_is_noticed(tmp_path, name, place):
    folder = convert("sample", tmp_path/"a")
    assert set(json.loads((folder/"config.json").read_text())["sha256"]) == {"model.safetensors", "sentencepiece.model"}
    load_model(folder, device="cpu")
    flip(folder/name, place)
    for call in (lambda: load_model(folder, device="cpu"), lambda: convert(folder, tmp_path/"b")):
        assert f"{name} is damaged or was changed" in failure(call)
    assert not (tmp_path/"b").exists()

def test_a_tokenizer_that_is_given_needs_no_sum(tmp_path):
    folder = convert("sample", tmp_path/"a")
    flip(folder/"sentencepiece.model", 40_000)
    load_model(folder, device="cpu", tokenizer=sample_folder()/"sentencepiece.model")

def test_folders_of_earlier_releases_have_no_sums(tmp_path):
    folder = convert("sample", tmp_path/"a")
    config = json.loads((folder/"config.json").read_text())
    del config["sha256"]
    (folder/"config.json").write_text(json.dumps(config))
    flip(folder/"model.safetensors", -1)
    load_model(folder, device="cpu")
    for odd in ("x", ["x"], {"model.safetensors": 7}):
        (folder/"config.json").write_text(json.dumps(config | {"sha256": odd}))
        assert "sha256 must name files" in failure(load_model, folder, device="cpu")

def test_the_sum_is_made_once_and_is_that_of_the_run(tmp_path, monkeypatch):
    from beit3_colab.downloads.records import sha256_of
    from beit3_colab.model import checkpoint as module
    vqa = load_model(convert("sample", tmp_path/"a"), device="cpu")
    expected = sha256_of(tmp_path/"a"/"model.safetensors")
    monkeypatch.setattr(module, "sha256_of", lambda path: pytest.fail("hashed again"))
    assert vqa.hash_weights() == expected

def test_a_saved_model_has_its_own_sum(tmp_path):
    vqa = load_model(convert("sample", tmp_path/"a"), device="cpu")
    with torch.no_grad(): vqa.model.head[3].bias += 1
    vqa.save(tmp_path/"b")
    sums = [json.loads((tmp_path/name/"config.json").read_text())["sha256"] for name in "ab"]
    assert sums[0]["model.safetensors"] != sums[1]["model.safetensors"] and load_model(tmp_path/"b", device="cpu")


# Conversion

WRONG = {
    "a weight is missing": {name: t for name, t in OURS.items() if name != "layers.1.text.fc1.bias"},
    "one too many": OURS | {"zz": torch.zeros(1)},
    "positions without a side": OURS | {"image_embedding.positions": torch.tensor(1.)},
    "a head without a side": OURS | {"head.3.weight": torch.tensor(1.)},
    "embedding without a side": OURS | {"text_embedding.tokens.weight": torch.tensor(1.)},
    "a picture of one side": OURS | {"image_embedding.proj.weight": torch.zeros(3)},
    "no head": {name: t for name, t in OURS.items() if not name.startswith("head")},
    "a wrong shape": OURS | {"layers.0.image.out.weight": torch.zeros(16, 17)},
    "a long name": OURS | {"layers.0." + "x"*100_000: torch.zeros(1)},
    "empty": OURS | {"head.3.bias": torch.zeros(0)},
}

@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("target", ["out", "out.pth"])
def test_convert_writes_nothing_that_cannot_be_loaded(tmp_path, wrong, target):
    save_file(WRONG[wrong], tmp_path/"a.safetensors")
    failure(convert, tmp_path/"a.safetensors", tmp_path/target, HEADS)
    failure(load_model, tmp_path/"a.safetensors", HEADS, device="cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]

@pytest.mark.parametrize("wrong", ["a weight is missing", "positions without a side"])
def test_a_refused_conversion_leaves_what_was_there(tmp_path, wrong):
    folder = save_folder(tmp_path/"out", OURS, CONFIG, ANSWERS)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    save_file(WRONG[wrong], tmp_path/"a.safetensors")
    failure(convert, tmp_path/"a.safetensors", folder, HEADS)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before

@pytest.mark.parametrize("odd", [{7: torch.zeros(1)}, {"head.3.bias": [1, 2, 3]}, {"head.3.bias": torch.zeros(3, device="meta")}, {"head.3.bias": torch.zeros(3).to_sparse()}, {"image_embedding.positions": torch.tensor(1.)}, {"head.3.weight": None}])
def test_odd_weights_in_memory(odd): failure(build_model, OURS | odd, HEADS)


# Files beside them

@pytest.mark.parametrize("content, says", [("[" * 100_000, "nested too deep"), ('{"num_heads": ' + "9"*5000 + "}", "thousands of digits"), ("[1]", "must be a JSON object"), ("", "is empty"), ("\x00\x01", "not valid JSON|damaged|is ")])
def test_a_configuration_that_is_none(tmp_path, content, says):
    import re
    folder = save_folder(tmp_path/"a", OURS, CONFIG, ANSWERS)
    (folder/"config.json").write_text(content)
    for call in (lambda: load_model(folder, device="cpu"), lambda: read_answers(folder), lambda: convert(folder, tmp_path/"b")):
        assert re.search(says, failure(call))
    assert not (tmp_path/"b").exists()

@pytest.mark.parametrize("content, says", [("[" * 100_000, "nested too deep"), ('{"yes": ' + "9"*5000 + "}", "thousands of digits"), ('["yes", "yes", "no"]', "twice")])
def test_an_answer_list_that_is_none(tmp_path, content, says):
    folder = save_folder(tmp_path/"a", OURS, CONFIG)
    (folder/"answers.json").write_text(content)
    assert says in failure(load_model, folder, device="cpu")

def test_an_index_of_files_leads_nowhere_else(tmp_path):
    for name in ("../a.safetensors", "/etc/passwd", "a/b.safetensors"):
        (tmp_path/"model.safetensors.index.json").write_text(json.dumps({"weight_map": {"head.3.bias": name}}))
        assert "are not beside it" in failure(open_weights, tmp_path/"model.safetensors.index.json")

def test_ids_that_the_model_does_not_have():
    "As an index holds them that was made with another tokenizer."
    vqa = load_model("sample", device="cpu")
    images = torch.zeros(1, vqa.config.image_size, vqa.config.image_size, 3, dtype=torch.uint8)
    for odd in (vqa.config.vocab_size, 10**12, -1): assert f"the token id {odd}" in failure(vqa.logits, images, torch.tensor([[0, odd, 2]]))

@pytest.mark.parametrize("place", [b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"])
@pytest.mark.parametrize("step", [6, 8, 10, 16, 20, 24, 28, 42])
def test_damaged_tables_of_a_zip(tmp_path, place, step):
    path = packed_again(saved(tmp_path/"a.pth", {"model": RAW}), tmp_path/"b.pth")
    content = bytearray(path.read_bytes())
    start = content.find(place, 1) + step
    content[start:start + 2] = b"\xff\xf7"
    path.write_bytes(content)
    try: assert len(read_weights(path)) == len(RAW) # a byte that nobody reads
    except UserError as error: assert len(str(error)) < 900 and "\n" not in str(error)

def test_a_folder_whose_weights_are_in_use_keeps_all_that_it_had(tmp_path, monkeypatch):
    "Windows replaces no file that is mapped into memory, as the weights of a loaded model are."
    folder = save_folder(tmp_path/"a", OURS, CONFIG, ANSWERS)
    before, real = {p.name: p.read_bytes() for p in folder.iterdir()}, os.replace
    def replace(source, target):
        if Path(target).name == "model.safetensors": raise PermissionError(13, "in use")
        real(source, target)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match="choose another"): save_folder(folder, OURS, CONFIG)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    monkeypatch.setattr(os, "replace", real)
    save_folder(folder, OURS, CONFIG)
    assert sorted(p.name for p in folder.iterdir()) == sorted(before) and "id2label" not in json.loads((folder/"config.json").read_text())
