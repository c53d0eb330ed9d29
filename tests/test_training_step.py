"A step of a training: what it changes, what it refuses, and that processes, micro-batches and interruptions change nothing but rounding."
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from processes import wait_until

from beit3_colab.machine.distributed import Workers
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.training.network import MicroBatch, PlainPass, Precision, prepare_model
from beit3_colab.training.parameters import group_parameters
from beit3_colab.training.recipe import Recipe
from beit3_colab.training.schedule import Schedule
from beit3_colab.training.step import FlatGradients, LossScale, NotFinite, StepResult, TrainingStep

CONFIG = Beit3Config(32, 16, embed_dim=32, num_heads=2, num_layers=2, ffn_dim=64, vocab_size=20, num_classes=5)


def make_step(recipe=Recipe(), precision=Precision(), trainable="all", forward_backward=None, seed=0, **more):
    "A step of a model of two layers."
    torch.manual_seed(seed)
    model = prepare_model(init_weights(Beit3ForVQA(CONFIG)), trainable)
    groups = group_parameters(model, recipe)
    one_pass = PlainPass(model, Precision()) if forward_backward is None else forward_backward(model)
    return TrainingStep(model, groups, Schedule(1e-3, 1e-5, 50, 3), one_pass, recipe, precision, **more)

def usual_adamw(groups, recipe): # which cannot refuse a step on the device: the loss is looked at first
    return torch.optim.AdamW(groups, lr=0., betas=recipe.betas, eps=recipe.eps, foreach=True)

both_ways = pytest.mark.parametrize("make_optimizer", [None, usual_adamw], ids=["on the device", "looked at first"])

def make_batch(rows, seed=0):
    "Some of twelve questions."
    draws = torch.Generator().manual_seed(seed)
    pictures = torch.randint(256, (12, 32, 32, 3), dtype=torch.uint8, generator=draws)
    ids, targets = torch.randint(20, (12, 6), generator=draws), torch.rand(12, 5, generator=draws)
    rows = list(rows)
    return MicroBatch(pictures[rows], ids[rows], None, None, targets[rows], tuple(100 + r for r in rows))

def copied(step): return {name: t.clone() for name, t in step.tensors().items()}

def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a: assert torch.equal(a[name], b[name]), name

def assert_near(a, b, tolerance):
    for name in a: torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(ema=.9, clip_grad=.5), Recipe(layer_decay=.7, head_lr_scale=1, weight_decay=0)], ids=["plain", "ema", "layers"])
@pytest.mark.parametrize("taken", [0, 1, 4])
@both_ways
def test_a_restored_training_goes_on_to_the_same_bits(recipe, taken, make_optimizer):
    whole, first, second = (make_step(recipe, seed=seed, make_optimizer=make_optimizer) for seed in (0, 0, 9))
    results = [whole.take([make_batch(range(6))], n, 6) for n in range(8)]
    for n in range(taken): first.take([make_batch(range(6))], n, 6)
    saved, numbers = copied(first), json.loads(json.dumps(first.numbers()))
    second.restore(saved, numbers)
    assert_same(second.tensors(), saved)
    assert [second.take([make_batch(range(6))], n, 6) for n in range(taken, 8)] == results[taken:]
    assert_same(whole.tensors(), second.tensors())
    assert whole.numbers() == second.numbers()

def test_restoring_keeps_addresses():
    "A recorded graph computes where weights and gradients lay."
    step, other = make_step(Recipe(ema=.5)), make_step(Recipe(ema=.5), seed=3)
    for s in (step, other): s.take([make_batch(range(3))], 1, 3)
    before = {name: t.data_ptr() for name, t in step.tensors().items()} | {id(p): p.grad.data_ptr() for p in step.model.parameters() if p.requires_grad}
    step.restore(copied(other), other.numbers())
    step.take([make_batch(range(3))], 2, 3)
    assert before == {name: t.data_ptr() for name, t in step.tensors().items()} | {id(p): p.grad.data_ptr() for p in step.model.parameters() if p.requires_grad}

@pytest.mark.parametrize("change, says", [
    (lambda t: t.pop("model.head.3.weight"), "model.head.3.weight is not there in it, and here of shape .5, 64."),
    (lambda t: t.update({"model.head.3.bias": torch.zeros(7)}), "of shape .7. in it, and here of shape .5."),
    (lambda t: t.update({"ema.head.3.bias": torch.zeros(5)}), "ema.head.3.bias is of shape .5. in it, and here not there")])
def test_a_state_of_another_training_is_refused_whole(change, says):
    step, other = make_step(), make_step(seed=3)
    other.take([make_batch(range(3))], 1, 3)
    tensors = copied(other)
    change(tensors)
    before = {name: t.clone() for name, t in step.model.state_dict().items()}
    with pytest.raises(UserError, match=says): step.restore(tensors, other.numbers())
    assert_same(before, step.model.state_dict())
    step.take([make_batch(range(3))], 0, 3) # it can still be trained

@pytest.mark.parametrize("numbers", [{}, dict(steps=-1, skipped=0), dict(steps=1), dict(steps=1.5, skipped=0), dict(steps=1, skipped=0, loss_scale=0., good_steps=0)])
def test_damaged_numbers_are_refused(numbers):
    step = make_step(precision=Precision(None, True))
    with pytest.raises(UserError, match="the saved state"): step.restore(copied(step), numbers)

@pytest.mark.parametrize("cut", [[range(12)], [range(5), range(5, 12)], [[i] for i in range(12)]], ids=len)
def test_micro_batches_change_nothing_but_rounding(cut):
    whole, parts = make_step(), make_step()
    for n in range(4):
        a, b = whole.take([make_batch(range(12))], n, 12), parts.take(map(make_batch, cut), n, 12)
        assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)
    assert_near({n: t for n, t in whole.tensors().items() if n.startswith("model.")}, parts.tensors(), 1e-4)

def test_idle_parameters_decay_and_the_mask_token_does_not():
    "The last layer's text side gets zeros; the mask token belongs to no group, even where it asks for a gradient."
    step = make_step(Recipe(weight_decay=.5))
    step.model.image_embedding.mask_token.data.fill_(1.)
    before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    step.take([make_batch(range(4))], 2, 4)
    idle = "layers.1.text.fc1.weight"
    torch.testing.assert_close(step.model.get_parameter(idle), before[idle]*(1 - 1e-3*.5), rtol=1e-6, atol=0)
    assert torch.equal(step.model.image_embedding.mask_token, before["image_embedding.mask_token"])

@both_ways
def test_clipping_is_torchs(make_optimizer):
    ours, torchs = make_step(Recipe(clip_grad=.01), make_optimizer=make_optimizer), make_step()
    result = ours.take([make_batch(range(4))], 2, 4)
    torchs.flat.clear()
    torchs.forward_backward(make_batch(range(4)), 4)
    norm = torch.nn.utils.clip_grad_norm_(list(torchs.names), .01)
    assert result.grad_norm == pytest.approx(norm.item(), rel=1e-6) and result.grad_norm > .01
    for a, b in zip(ours.flat.windows, torchs.flat.windows, strict=True): torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)

def test_the_length_of_many_gradients_keeps_its_digits():
    weights = [torch.nn.Parameter(torch.zeros(3_000_001)), torch.nn.Parameter(torch.zeros(7, 11))]
    flat = FlatGradients(weights)
    flat.windows[0].uniform_(generator=torch.Generator().manual_seed(0))
    assert flat.norm().item() == pytest.approx(flat.buffer.double().norm().item(), rel=1e-6)
    assert all(w.data_ptr() % 16 == 0 for w in flat.windows)

@both_ways
def test_what_is_begun_is_finished(make_optimizer):
    "The same as `take`, with something else to do in between."
    one, two = make_step(Recipe(ema=.5, clip_grad=.1), make_optimizer=make_optimizer), make_step(Recipe(ema=.5, clip_grad=.1), make_optimizer=make_optimizer)
    for number in range(3):
        expected = one.take([make_batch(range(4))], number, 4)
        two.begin([make_batch(range(4))], number, 4)
        make_batch(range(12))
        assert two.finish() == expected
    assert_same(one.tensors(), two.tensors())

def test_both_forms_of_adamw_agree():
    steps = [make_step(Recipe(ema=.9, clip_grad=.5), make_optimizer=m) for m in (None, usual_adamw)]
    for number in range(5): a, b = (s.take([make_batch(range(6))], number, 6) for s in steps)
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    assert_near(steps[0].tensors(), steps[1].tensors(), 1e-5)

def test_a_failure_changes_nothing_and_the_step_can_be_taken_again():
    step, other = make_step(forward_backward=Failing), make_step()
    for s in (step, other): s.take([make_batch(range(4))], 1, 4)
    before = copied(step)
    def batches():
        yield make_batch(range(4))
        raise OSError("a picture went away")
    with pytest.raises(OSError, match="went away"): step.take(batches(), 2, 8)
    step.forward_backward.error = RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="out of memory"): step.take([make_batch(range(4))], 2, 4)
    assert_same(before, step.tensors())
    assert step.take([make_batch(range(4))], 2, 4) == other.take([make_batch(range(4))], 2, 4)

def test_a_head_alone_changes_alone():
    step = make_step(trainable="head")
    before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
    for n in range(3): step.take([make_batch(range(4))], n, 4)
    moved = {name.split(".")[0] for name, p in step.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"pooler", "head"} and not any("layers" in name for name in step.tensors() if name.startswith("exp_avg"))

def test_half_precision_weights_are_refused():
    model = prepare_model(init_weights(Beit3ForVQA(CONFIG)).bfloat16())
    with pytest.raises(UserError, match="float32 on one device, and one is torch.bfloat16"):
        TrainingStep(model, group_parameters(model, Recipe()), Schedule(1e-3, 0, 5, 1), None, Recipe(), Precision())

def test_gradients_outside_the_buffer_are_found():
    def stray(model):
        one_pass = PlainPass(model, Precision())
        def call(batch, count, scale, first=False):
            model.zero_grad()
            return one_pass(batch, count, scale, first)
        return call
    step = make_step(forward_backward=stray)
    with pytest.raises(RuntimeError, match="zero_grad"): step.take([make_batch(range(4))], 1, 4)


def broken(rows, value): # targets that make the loss what they are
    batch = make_batch(rows)
    return replace(batch, targets=torch.full_like(batch.targets, value))

@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@both_ways
def test_a_loss_that_is_not_finite_changes_nothing_and_names_its_questions(value, make_optimizer):
    step = make_step(Recipe(ema=.9), make_optimizer=make_optimizer)
    step.take([make_batch(range(4))], 1, 4)
    before, numbers = copied(step), step.numbers()
    with pytest.raises(NotFinite, match=r"2 questions \(question_id 105, 106\); nothing was changed.*--learning-rate") as error:
        step.take([make_batch(range(4)), broken([5, 6], value), make_batch([7])], 2, 7)
    assert error.value.question_ids == (105, 106)
    assert_same(before, step.tensors())
    assert step.numbers() == numbers
    again, other = step.take([make_batch(range(4))], 2, 4), make_step(Recipe(ema=.9), make_optimizer=make_optimizer)
    other.take([make_batch(range(4))], 1, 4)
    assert again == other.take([make_batch(range(4))], 2, 4) # nothing of it stays in the buffer

def test_a_loss_whose_sum_alone_is_infinite_names_all():
    def call(model): return lambda batch, count, scale, first: torch.tensor(3e38)
    with pytest.raises(NotFinite, match="from 3 questions .question_id 101, 102, 103."):
        make_step(forward_backward=call).take([make_batch([1, 2]), make_batch([3])], 1, 3)

class Scripted:
    "A pass whose gradients are infinite in the steps that are named, while its loss is not."
    def __init__(self, model, steps):
        self.one_pass, self.model, self.steps, self.calls, self.scales = PlainPass(model, Precision()), model, steps, 0, []
    def __call__(self, batch, count, scale, first=False):
        loss = self.one_pass(batch, count, scale, first)
        self.scales.append(float(scale))
        if self.calls in self.steps: self.model.head[3].bias.grad[0] = math.inf
        self.calls += 1
        return loss

@both_ways
def test_gradients_that_are_not_finite_stop_a_training_in_float32(make_optimizer):
    step = make_step(forward_backward=lambda model: Scripted(model, {1}), make_optimizer=make_optimizer)
    step.take([make_batch(range(4))], 1, 4)
    before = copied(step)
    with pytest.raises(NotFinite, match="gradients are infinite or NaN.*4 questions") as error: step.take([make_batch(range(4))], 2, 4)
    assert error.value.question_ids == (100, 101, 102, 103)
    assert_same(before, step.tensors())

@both_ways
def test_a_scaled_training_skips_and_counts_such_steps(make_optimizer):
    step = make_step(precision=Precision(None, True), forward_backward=lambda model: Scripted(model, {0, 2}), make_optimizer=make_optimizer)
    plain = make_step(make_optimizer=make_optimizer)
    start = copied(step)
    results = [step.take([make_batch(range(4))], n, 4) for n in range(4)]
    assert [r.skipped for r in results] == [True, False, True, False] and not math.isfinite(results[0].grad_norm)
    assert step.forward_backward.scales == [65_536., 32_768., 32_768., 16_384.]
    assert step.numbers() == dict(steps=2, skipped=2, loss_scale=16_384., good_steps=1)
    done = [plain.take([make_batch(range(4))], n, 4) for n in (1, 3)] # the two that were taken: scaling is exact
    assert results[1] == done[0] and results[3].grad_norm == pytest.approx(done[1].grad_norm, rel=1e-6)
    assert start.keys() < step.tensors().keys()
    other = make_step(precision=Precision(None, True), seed=4)
    other.restore(copied(step), step.numbers())
    assert other.numbers() == step.numbers() and other.scale.tensor.item() == 16_384.

def test_a_scale_that_falls_and_falls_stops_the_training():
    step = make_step(precision=Precision(None, True), forward_backward=lambda model: Scripted(model, range(99)))
    with pytest.raises(NotFinite):
        for n in range(99): step.take([make_batch(range(2))], n % 50, 2)
    assert step.skipped == 30

def test_a_scale_grows_after_two_thousand_good_steps():
    scale = LossScale(torch.device("cpu"))
    for _ in range(1999): scale.update(True)
    assert scale.value == 65_536
    scale.update(True)
    assert (scale.value, scale.tensor.item(), scale.good_steps) == (131_072, 131_072, 0)


WORKER = """
import json, sys
from beit3_colab.machine.distributed import find_world, Group, start_worker
job = json.loads(start_worker())
sys.path.insert(0, job["tests"])
from test_training_step import take_part
world = find_world()
group = Group(world, timeout=100)
take_part(group, job["folder"])
group.barrier()
group.close()
"""

class Failing:
    "A pass that fails once, when it is told to."
    def __init__(self, model): self.one_pass, self.error = PlainPass(model, Precision()), None
    def __call__(self, batch, count, scale, first=False):
        error, self.error = self.error, None
        if error: raise error
        return self.one_pass(batch, count, scale, first)

SIZES = [12, 7, 1, 12] # questions of each step: of one question, some processes have none

def take_part(group, folder):
    "What each process of the test does; it leaves what it saw, and its state."
    import numpy as np
    from beit3_colab.machine.distributed import GroupError
    from beit3_colab.training.order import share
    rank, size = group.world.rank, group.world.size
    step = make_step(Recipe(ema=.9, clip_grad=1.), seed=rank, forward_backward=Failing, group=group) # other weights on each process
    said = dict(results=[], errors=[])
    def batches(count): return [make_batch([int(i)]) for i in share(np.arange(count), rank, size)]
    for number, count in enumerate(SIZES): said["results"].append(repr(step.take(batches(count), number, count)))
    before = copied(step)
    for wrong in (lambda: [broken([5, 6], math.nan)], lambda: setattr(step.forward_backward, "error", RuntimeError("CUDA out of memory. Tried")) or batches(12),
                  lambda: setattr(step.forward_backward, "error", ValueError("a picture is damaged")) or batches(12)):
        try: step.take(wrong() if rank == size - 1 else batches(12), 4, 12)
        except (UserError, GroupError, RuntimeError, ValueError) as error:
            said["errors"].append([type(error).__name__, str(error), getattr(error, "out_of_memory", None), list(getattr(error, "question_ids", ()))])
        assert_same(before, step.tensors())
    said["results"].append(repr(step.take(batches(12), 4, 12)))
    torch.save(copied(step), Path(folder)/f"{rank}.pt")
    (Path(folder)/f"{rank}.json").write_text(json.dumps(said))

@pytest.mark.parametrize("count", [2])
def test_processes_take_the_steps_of_one_and_stop_together(count, tmp_path):
    workers = Workers(WORKER, count, json.dumps(dict(tests=str(Path(__file__).parent), folder=str(tmp_path))), environment={"OMP_NUM_THREADS": "1"})
    try: wait_until(lambda: not workers.running())
    finally: workers.stop()
    said = [json.loads((tmp_path/f"{rank}.json").read_text()) for rank in range(count)]
    states = [torch.load(tmp_path/f"{rank}.pt", weights_only=True) for rank in range(count)]
    for other in said[1:]: assert other["results"] == said[0]["results"]
    for other in states[1:]: assert_same(other, states[0])

    alone = make_step(Recipe(ema=.9, clip_grad=1.))
    for number, size in enumerate([*SIZES, 12]):
        result = alone.take([make_batch(range(size))], number, size)
        shared = eval(said[0]["results"][number], {"StepResult": StepResult, "nan": math.nan})
        assert shared.loss == pytest.approx(result.loss, rel=1e-5) and shared.grad_norm == pytest.approx(result.grad_norm, rel=1e-4)
    assert_near({name: t for name, t in alone.tensors().items() if name.startswith(("model", "ema"))}, states[0], 1e-4)

    last = count - 1
    for rank, (nan, memory, picture) in enumerate(s["errors"] for s in said):
        assert nan[0] == "NotFinite" and nan[3] == [105, 106] and "question_id 105, 106" in nan[1]
        assert memory[0] == ("RuntimeError" if rank == last else "OtherFailed") and (rank == last or memory[2])
        assert picture[0] == ("ValueError" if rank == last else "OtherFailed") and not picture[2]
        if rank != last: assert f"rank {last} of {count} failed: ValueError: a picture is damaged" in picture[1]
