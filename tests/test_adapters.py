"Training less than all: the head alone, LoRA by peft, AdamW in eight bits by torchao; from a checkpoint, through steps, into a state and back, and merged."
import sys
from pathlib import Path

import pytest
import torch

from beit3_colab import load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA
from beit3_colab.model.weights import is_of_head
from beit3_colab.training.adapters import add_lora, has_lora, make_adamw_8bit, merge_lora, merged_weights, prepare_trainable
from beit3_colab.training.checkpoints import newest_state, save_state, write_best
from beit3_colab.training.memory import estimate_memory
from beit3_colab.training.network import MicroBatch, PlainPass, Precision
from beit3_colab.training.parameters import group_parameters
from beit3_colab.training.recipe import Recipe
from beit3_colab.training.schedule import Schedule
from beit3_colab.training.start import open_start
from beit3_colab.training.step import TrainingStep

GOLDEN = Path(__file__).parent/"golden"
ANSWERS = [f"answer {i}" for i in range(40)]
RECIPE = Recipe(learning_rate=1e-3, head_lr_scale=1., flip=False, randaug=False, drop_path=0.)


@pytest.fixture(scope="module")
def start(): return open_start(GOLDEN/"tiny_beit3_vqa.pth", config=GOLDEN/"tiny_beit3_vqa.config.json", tokenizer=GOLDEN/"tiny.spm")

def make(start, trainable="lora", ema=None, seed=0, checkpointed=False, **more):
    model = prepare_trainable(start.build(ANSWERS, seed=3), trainable, seed=seed)
    groups = group_parameters(model, RECIPE)
    return TrainingStep(model, groups, Schedule(1e-3, 1e-6, 40, 4), PlainPass(model, Precision(), checkpointed), RECIPE, Precision(), ema=ema, **more)
def batch(number, rows=4):
    draws = torch.Generator().manual_seed(number)
    pictures = torch.randint(0, 256, (rows, 64, 64, 3), dtype=torch.uint8, generator=draws)
    targets = (torch.rand(rows, 40, generator=draws) > .9).float()
    return MicroBatch(pictures, torch.randint(4, 200, (rows, 7), generator=draws), None, None, targets, tuple(range(rows)))
def take(step, numbers): return [step.take([batch(n)], n, 4).loss for n in numbers]
def copied(tensors): return {name: tensor.clone() for name, tensor in tensors.items()}
def logits(model, number=99):
    given = batch(number)
    with torch.no_grad(): return model(given.pictures.permute(0, 3, 1, 2)/127.5 - 1, given.input_ids)
def learning(model): return {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_head_alone_learns_and_the_encoder_stays(start):
    step = make(start, "head")
    before = copied(step.model.state_dict())
    losses = take(step, range(8))
    after = step.model.state_dict()
    assert {n for n in before if not torch.equal(before[n], after[n])} == learning(step.model) == {n for n in before if is_of_head(n)}
    assert all(p.grad is None for name, p in step.model.named_parameters() if not is_of_head(name))
    again = [step.take([batch(n)], 20, 4).loss for n in range(8)]
    assert sum(again) < .95*sum(losses) # it learns

@pytest.mark.parametrize("checkpointed", [False, True])
def test_lora_learns_and_the_matrices_beside_it_stay(checkpointed, start):
    step = make(start, checkpointed=checkpointed)
    before = copied(step.model.state_dict())
    losses = take(step, range(8))
    after = step.model.state_dict()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed <= learning(step.model) and all(is_of_head(n) or ".lora_" in n for n in changed)
    idle = {n for n in learning(step.model) if n.startswith("layers.2.text.") and "qkv" not in n} # the last layer's text goes nowhere: nothing to learn
    decayed = {n for n in idle if ".lora_A." in n} # but decay, as the reference's does
    assert learning(step.model) - changed == idle - decayed
    assert sum(take(step, range(8, 16))) < sum(losses)*1.2 and all(l == l for l in losses)

def test_what_lora_computes_is_what_the_merged_model_computes(start):
    step = make(start)
    take(step, range(12))
    wanted, plain = logits(step.model), start.build(ANSWERS, seed=3).eval()
    assert (wanted - logits(plain)).abs().max() > 1e-3 # it has gone somewhere
    weights = merged_weights(step.model)
    assert list(weights) == list(plain.state_dict()) and has_lora(step.model)
    plain.load_state_dict(weights)
    torch.testing.assert_close(logits(plain), wanted, rtol=1e-5, atol=2e-5)
    assert torch.equal(logits(step.model), wanted) # which stays as it is
    merged = merge_lora(step.model)
    assert type(merged) is Beit3ForVQA and not has_lora(merged) and not hasattr(merged, "peft_config")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in merged.state_dict().items())
    assert {type(module).__module__ for module in merged.modules()} <= {"beit3_colab.model.beit3", *(f"torch.nn.modules.{n}" for n in ("container", "linear", "normalization", "activation", "conv", "sparse"))}

def test_a_merged_model_is_saved_and_loaded_like_any(start, tmp_path):
    step = make(start)
    take(step, range(3))
    write_best(tmp_path, merged_weights(step.model), step.model.config, ANSWERS, start.tokenizer.model_bytes, {"trainable": "lora"})
    vqa = load_model(tmp_path, device="cpu")
    torch.testing.assert_close(logits(vqa.model), logits(step.model), rtol=1e-5, atol=2e-5)
    assert open_start(tmp_path).answers == ANSWERS # and trained further

def test_the_average_of_lora_is_merged(start):
    step = make(start, ema=.5)
    take(step, range(6))
    average = merged_weights(step.model, step.ema)
    values = {**step.model.state_dict(), **step.ema}
    for layer, module in (("layers.0.image.qkv", "qkv"), ("layers.1.text.fc2", "fc2")):
        expected = values[f"{layer}.base_layer.weight"] + 2*values[f"{layer}.lora_B.default.weight"] @ values[f"{layer}.lora_A.default.weight"]
        torch.testing.assert_close(average[f"{layer}.weight"], expected)
    assert torch.equal(average["head.3.bias"], step.ema["head.3.bias"]) and not torch.equal(average["head.3.bias"], step.model.head[3].bias)

@pytest.mark.parametrize("trainable, ema", [("head", None), ("lora", None), ("lora", .9)])
def test_a_state_goes_on_to_the_same_bits(trainable, ema, start, tmp_path):
    whole = make(start, trainable, ema)
    expected = take(whole, range(7))
    step = make(start, trainable, ema)
    first = take(step, range(4))
    save_state(tmp_path, step.tensors(), step.numbers())
    tensors, numbers, _ = newest_state(tmp_path)
    other = make(start, trainable, ema, seed=9) # as if nobody knew the seed: all comes from the state
    other.restore(tensors, numbers)
    assert first + take(other, range(4, 7)) == expected
    ends = whole.tensors(), other.tensors()
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])

def test_lora_follows_the_seed_and_moves_nobody_elses_draws(start):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (copied(prepare_trainable(start.build(ANSWERS), "lora", seed=seed).state_dict()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert {n for n in one if not torch.equal(one[n], other[n])} == {n for n in one if ".lora_A." in n}
    for name, tensor in one.items():
        if ".lora_B." in name: assert not tensor.any()
        if ".lora_A." in name: # uniform, of the size that peft gives it
            most = tensor.shape[1]**-.5
            assert tensor.abs().max() <= most and tensor.std().item() == pytest.approx(most/3**.5, rel=.1)

@pytest.mark.parametrize("rank", [1, 8, 64])
def test_ranks(rank, start):
    model = prepare_trainable(start.build(ANSWERS), "lora", rank)
    narrow = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    head = sum(p.numel() for name, p in model.named_parameters() if is_of_head(name))
    found = estimate_memory(model.config, 1, 9, Precision(), trainable="lora", lora_rank=rank)
    assert found.gradients == 4*(narrow + head) and found.weights == 4*sum(p.numel() for p in model.parameters())
    assert {p.shape[0] for name, p in model.named_parameters() if ".lora_A." in name} == {rank}

@pytest.mark.parametrize("rank, says", [(0, "must be a whole number of 1 or more, not 0"), (65, "at most the model's width, 64, not 65; 8 is usual"), ("8", "must be a whole number"), (2.5, "must be a whole number")])
def test_ranks_that_cannot_be(rank, says, start):
    model = start.build(ANSWERS)
    with pytest.raises(UserError, match=rf"lora_rank \(--lora-rank\) {says}|lora_rank \(--lora-rank\) must be {says}"): add_lora(model, rank)
    assert not has_lora(model)

def test_lora_twice_is_a_mistake(start):
    model = add_lora(start.build(ANSWERS))
    with pytest.raises(ValueError, match="has LoRA already"): add_lora(model)

def test_words_that_there_are_not(start):
    with pytest.raises(UserError, match="trainable must be 'all' or 'head' or 'lora', not 'Lora'; did you mean 'lora'"): prepare_trainable(start.build(ANSWERS), "Lora")

def test_a_model_without_lora_merges_to_itself(start):
    model = start.build(ANSWERS)
    weights = merged_weights(model)
    assert all(tensor.data_ptr() == weights[name].data_ptr() for name, tensor in model.state_dict().items()) # not even copied


@pytest.fixture
def uncompiled(monkeypatch):
    "The same steps without waiting for a compiler, which the notebook of adapters does."
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)

def train(start, number, **more):
    "A few steps of a model whose matrices are large enough for eight bits."
    step = make(start, "head", **more)
    return step, take(step, range(number))

def test_eight_bits_are_near_to_float32(start, uncompiled):
    exact, losses = train(start, 6)
    rough, others = train(start, 6, make_optimizer=make_adamw_8bit)
    assert others == pytest.approx(losses, rel=2e-3) and others != losses
    before = start.build(ANSWERS, seed=3).state_dict()
    for name in learning(exact.model):
        moved = (exact.model.get_parameter(name) - before[name]).abs().max()
        apart = (exact.model.get_parameter(name) - rough.model.get_parameter(name)).abs().max()
        assert apart <= .25*moved, name
    kinds = {name: tensor.dtype for name, tensor in rough.tensors().items() if name.startswith("exp_avg.")}
    assert kinds["exp_avg.head.0.weight.codes"] == torch.uint8 and kinds["exp_avg.head.0.bias"] == torch.float32

def test_eight_bits_go_on_to_the_same_bits(start, tmp_path, uncompiled):
    whole, expected = train(start, 6, make_optimizer=make_adamw_8bit)
    step, first = train(start, 3, make_optimizer=make_adamw_8bit)
    save_state(tmp_path, step.tensors(), step.numbers())
    tensors, numbers, _ = newest_state(tmp_path)
    other = make(start, "head", make_optimizer=make_adamw_8bit)
    other.restore(tensors, numbers)
    assert first + take(other, range(3, 6)) == expected
    ends = whole.tensors(), other.tensors()
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])

def test_eight_bits_are_a_quarter():
    "Of what AdamW remembers of large matrices in float32, a quarter; the rest is as it was."
    config = Beit3Config(image_size=64, embed_dim=128, num_heads=4, num_layers=1, ffn_dim=512, vocab_size=200, num_classes=10, max_text_positions=66)
    sizes = [estimate_memory(config, 1, 9, Precision(), optimizer=name).states for name in ("adamw", "adamw8bit")]
    assert sizes[1]/sizes[0] == pytest.approx(.26, abs=.01)

@pytest.mark.parametrize("package, module, call", [
    ("peft", "peft", lambda start: add_lora(start.build(ANSWERS))),
    ("torchao", "torchao.optim", lambda start: make_adamw_8bit([dict(params=[torch.nn.Parameter(torch.zeros(2))])], RECIPE))])
def test_a_package_that_is_missing(package, module, call, start, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"needs {package}, which cannot be imported here.*: run pip install -U {package} \(in a notebook %pip install -U {package}\)"): call(start)

def test_a_package_that_is_broken(start, monkeypatch):
    def fail(name): raise ImportError("cannot import name 'Cache' from 'transformers'")
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(UserError, match="needs peft, which cannot be imported here \\(cannot import name 'Cache' from 'transformers'\\): run pip install -U peft"): add_lora(start.build(ANSWERS))

def test_a_machine_without_a_compiler(start, monkeypatch):
    def step(self): raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")
    monkeypatch.setattr("torchao.optim.AdamW8bit.step", step)
    with pytest.raises(UserError, match=r"does not run on this machine \(InvalidCxxCompiler.*use optimizer='adamw' \(--optimizer adamw\)"): make(start, "head", make_optimizer=make_adamw_8bit)
