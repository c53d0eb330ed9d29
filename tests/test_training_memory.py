"What a training's memory is estimated from, what fits, and which errors say that it was not enough."
import types

import pytest
import torch

from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, model_size
from beit3_colab.training import memory
from beit3_colab.training.adapters import prepare_trainable
from beit3_colab.training.memory import estimate_memory, fit_micro_batch, free_memory, is_out_of_memory, kept_bytes, Setup
from beit3_colab.training.network import MicroBatch, PlainPass, Precision, training_logits
from beit3_colab.training.parameters import group_parameters
from beit3_colab.training.recipe import Recipe
from beit3_colab.training.schedule import Schedule
from beit3_colab.training.step import OtherFailed, TrainingStep

FLOAT, HALF, BFLOAT = Precision(), Precision(torch.float16, True), Precision(torch.bfloat16)
CONFIG = Beit3Config(image_size=128, embed_dim=128, num_heads=4, num_layers=4, ffn_dim=512, vocab_size=100, num_classes=10, max_text_positions=66)
CUDA = torch.device("cuda")


def put_aside(model, config, questions, words, dtype=None, checkpointed=False):
    "Bytes that autograd puts aside in a forward pass, parameters left out."
    kept = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own: kept[storage.data_ptr()] = storage
        return tensor
    pictures = torch.zeros(questions, 3, config.image_size, config.image_size)
    ids = torch.zeros(questions, words, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), torch.autocast("cpu", dtype, enabled=dtype is not None):
        training_logits(model, pictures, ids, None, torch.ones(questions, config.num_layers, 2), checkpointed).float().sum()
    return sum(storage.nbytes() for storage in kept.values())

@pytest.mark.parametrize("shape", [{}, dict(embed_dim=64), dict(ffn_dim=128), dict(num_layers=7), dict(image_size=64), dict(num_heads=8)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("again", [False, True])
def test_the_formula_follows_every_shape(shape, dtype, again):
    "Counted in the model itself, on a CPU: of one question more."
    config = Beit3Config(**{**CONFIG.to_dict(), **shape})
    model = prepare_trainable(Beit3ForVQA(config))
    counted = (put_aside(model, config, 5, 10, dtype, again) - put_aside(model, config, 2, 10, dtype, again))/3
    expected = kept_bytes(config, 10, Precision(dtype), Setup(again, device_type="cpu"))
    if again: expected -= kept_bytes(config, 10, Precision(dtype), Setup(trainable="head", device_type="cpu")) # of the backward pass: not kept yet
    assert expected == pytest.approx(counted, rel=.05)

def test_the_head_alone_keeps_no_layer():
    model = prepare_trainable(Beit3ForVQA(CONFIG), "head")
    counted = (put_aside(model, CONFIG, 5, 10) - put_aside(model, CONFIG, 2, 10))/3
    assert counted < .02*kept_bytes(CONFIG, 10, FLOAT, Setup(device_type="cpu"))

@pytest.mark.parametrize("size, precision, words, mebibytes", [("base", HALF, 64, 464), ("base", BFLOAT, 64, 464), ("large", HALF, 64, 1275)])
def test_what_was_counted_on_a_gpu(size, precision, words, mebibytes):
    assert kept_bytes(model_size(size), words, precision)/2**20 == pytest.approx(mebibytes, rel=.003)

@pytest.mark.parametrize("questions, gigabytes", [(16, 10.7), (32, 18.3), (64, 33.4)])
def test_what_was_measured_on_an_h100(questions, gigabytes):
    found = estimate_memory(model_size("base"), questions, 9, BFLOAT)
    assert (found.total - found.gradients)/1e9 == pytest.approx(gigabytes, rel=.03) # that loop gave gradients' memory back

@pytest.mark.parametrize("optimizer, ema, trainable", [("adamw", None, "all"), ("adamw", .9, "all"), ("adamw", None, "head"), ("adamw", .9, "head")])
def test_fixed_parts_are_those_of_a_training(optimizer, ema, trainable):
    model = prepare_trainable(Beit3ForVQA(CONFIG), trainable)
    step = TrainingStep(model, group_parameters(model, Recipe()), Schedule(1e-3, 1e-6, 10, 1), PlainPass(model, FLOAT), Recipe(), FLOAT, ema=ema)
    batch = MicroBatch(torch.zeros(2, 128, 128, 3, dtype=torch.uint8), torch.zeros(2, 5, dtype=torch.long), None, None, torch.zeros(2, 10), (1, 2))
    step.take([batch], 0, 2)
    found = estimate_memory(CONFIG, 2, 5, FLOAT, trainable=trainable, optimizer=optimizer, ema=bool(ema), device_type="cpu")
    sizes = {}
    for name, tensor in step.tensors().items(): sizes[name.split(".")[0]] = sizes.get(name.split(".")[0], 0) + tensor.nbytes
    assert found.weights == sizes["model"]
    assert found.gradients == pytest.approx(step.flat.buffer.nbytes, rel=.01, abs=70_000) # which is filled up to whole rows
    assert found.states == pytest.approx(sizes["exp_avg"] + sizes["exp_avg_sq"] + sizes.get("ema", 0), rel=.01)

def test_more_of_anything_needs_more():
    base = model_size("base")
    total = estimate_memory(base, 8, 9, HALF).total
    for less in (dict(checkpoint=True), dict(trainable="lora"), dict(trainable="head"), dict(optimizer="adamw8bit"), dict(fast=True)):
        assert estimate_memory(base, 8, 9, HALF, **less).total < total, less
    assert estimate_memory(base, 8, 9, HALF, trainable="lora", lora_rank=64).total > estimate_memory(base, 8, 9, HALF, trainable="lora").total
    for more in (estimate_memory(base, 9, 9, HALF), estimate_memory(base, 8, 64, HALF), estimate_memory(base, 8, 9, FLOAT), estimate_memory(base, 8, 9, HALF, ema=True)):
        assert more.total > total

def test_one_sentence():
    found = estimate_memory(model_size("base"), 16, 9, HALF)
    assert found.describe() == ("the training needs about 11.7 GB: weights 1.3 GB, gradients 912 MB, optimizer 1.8 GB, and 7.7 GB for 16 questions at once (482 MB each)")
    assert found.fixed + found.activations == found.total
    assert "for 1 question at once" in estimate_memory(model_size("base"), 1, 9, HALF).describe()

@pytest.mark.parametrize("given, says", [(dict(trainable="heads"), "trainable must be"), (dict(optimizer="sgd"), "optimizer must be 'adamw' or 'adamw8bit', not 'sgd'")])
def test_what_there_is_not(given, says):
    with pytest.raises(UserError, match=says): estimate_memory(CONFIG, 1, 9, FLOAT, **given)


@pytest.fixture
def gpu(monkeypatch):
    "A GPU of so many gigabytes that are free."
    def make(gigabytes): monkeypatch.setattr(memory, "free_memory", lambda device: int(gigabytes*1e9))
    return make
def fit(config="base", count=128, **more): return fit_micro_batch(model_size(config), 9, HALF, CUDA, count, **more)

@pytest.mark.parametrize("gigabytes", [4.5, 6, 8, 11, 15.6, 23, 40, 80, 141])
@pytest.mark.parametrize("count", [1, 5, 16, 128])
def test_what_is_chosen_fits_and_one_more_part_would_not_be_needed(gigabytes, count, gpu):
    gpu(gigabytes)
    found = fit(count=count)
    assert 1 <= found.micro_batch <= count and found.memory.total < gigabytes*1e9 and found.free == int(gigabytes*1e9)
    parts = -(-count//found.micro_batch)
    assert -(-count//parts) == found.micro_batch # in parts of nearly equal size
    if parts > 1: # with one part fewer it would not have fitted
        larger = estimate_memory(model_size("base"), -(-count//(parts - 1)), 9, HALF, checkpoint=found.checkpoint)
        assert larger.total > gigabytes*1e9*.93 - 3e8
    if found.checkpoint: assert estimate_memory(model_size("base"), min(count, 4), 9, HALF).total > gigabytes*1e9*.93 - 3e8

def test_what_is_asked_for_stays(gpu):
    gpu(15.6)
    assert [fit(micro_batch=n).micro_batch for n in (1, 7, "32", 500)] == [1, 7, 32, 128]
    assert fit(checkpoint=True).checkpoint and not fit(checkpoint=False).checkpoint
    tight = fit(micro_batch=64, checkpoint=False)
    assert "of 15.6 GB that are free; that may be more than there is: trainable='lora' or 'head' (--trainable)" in tight.describe()
    assert fit(micro_batch=64).checkpoint # where nothing was said of it, what makes it fit
    assert "layers are computed again" in fit("large").describe()
    for wrong in (0, -1, 1.5, "many", True):
        with pytest.raises(UserError, match=r"micro_batch \(--micro-batch\) must be a whole number of 1 or more, or 'auto'"): fit(micro_batch=wrong)
    with pytest.raises(UserError, match="checkpoint_activations must be 'auto' or True or False, not 'yes'"): fit(checkpoint="yes")

def test_a_gpu_that_cannot_hold_the_weights(gpu):
    gpu(5)
    with pytest.raises(UserError, match=r"5.0 GB are free on cuda: trainable='lora' or 'head' \(--trainable\), optimizer='adamw8bit' \(--optimizer\)"): fit("large")
    head = fit("large", trainable="head")
    assert head.micro_batch > 1 and not head.checkpoint # where nothing is kept, nothing is saved

def test_a_cpu(monkeypatch):
    found = fit_micro_batch(CONFIG, 9, FLOAT, torch.device("cpu"), 16)
    assert found.micro_batch == 16 and not found.checkpoint and found.free > 1e8
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**6) # is told, and tried all the same: a CPU can swap
    assert fit_micro_batch(CONFIG, 9, FLOAT, torch.device("cpu"), 16).micro_batch == 1
    monkeypatch.setattr(memory, "free_memory", lambda device: None) # nobody knows
    unknown = fit_micro_batch(CONFIG, 9, FLOAT, torch.device("cpu"), 16)
    assert unknown.micro_batch == 16 and "free" not in unknown.describe()

@pytest.mark.parametrize("available, limit, used, free", [
    (8_000_000, None, 0, 8_192_000_000), (8_000_000, "max", 0, 8_192_000_000), (8_000_000, "4000000000", 1_000_000_000, 3_000_000_000),
    (8_000_000, "99000000000", 1_000_000_000, 8_192_000_000), (8_000_000, "100000000", 300_000_000, 0)])
def test_free_memory_of_a_machine_and_of_a_container(available, limit, used, free, tmp_path):
    (tmp_path/"meminfo").write_text(f"MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:   {available} kB\n")
    if limit:
        (tmp_path/"memory.max").write_text(limit + "\n")
        (tmp_path/"memory.current").write_text(f"{used + 50_000_000}\n") # 50 MB of files that were read, and give way
        (tmp_path/"memory.stat").write_text("anon 5\ninactive_file 50000000\nactive_file 3\n")
    assert memory._free_of_host(tmp_path/"meminfo", tmp_path) == free

def test_free_memory_elsewhere(tmp_path, monkeypatch):
    built_in = memory._free_of_host(tmp_path/"absent")
    (tmp_path/"odd").write_text("nothing of the kind")
    assert built_in == memory._free_of_host(tmp_path/"odd") > 1e8
    monkeypatch.delattr("os.sysconf")
    assert memory._free_of_host(tmp_path/"absent") is None
    assert free_memory(torch.device("cpu")) > 0

def test_free_memory_of_a_gpu_counts_what_pytorch_holds_in_store(monkeypatch):
    for name, value in [("mem_get_info", (5_000, 80_000)), ("memory_reserved", 3_000), ("memory_allocated", 1_000)]:
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_memory(torch.device("cuda:1")) == 7_000
    monkeypatch.setattr(torch, "mps", types.SimpleNamespace(recommended_max_memory=lambda: 9_000, driver_allocated_memory=lambda: 2_000))
    assert free_memory(torch.device("mps")) == 7_000


@pytest.mark.parametrize("error, is_one", [
    (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.75 GiB"), True),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True), (MemoryError(), True), (OtherFailed("rank 1 of 2 failed: CUDA", True), True), (OtherFailed("rank 1 of 2 failed: loss", False), False),
    (RuntimeError("MPS backend out of memory (MPS allocated: 17.80 GB, other allocations: 320.00 KB)"), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), False), (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False), (UserError("the disk is full"), False), (KeyboardInterrupt(), False)])
def test_which_errors_say_so(error, is_one): assert is_out_of_memory(error) is is_one

def test_a_real_one():
    with pytest.raises(RuntimeError) as error: torch.empty(1 << 55)
    assert is_out_of_memory(error.value)
