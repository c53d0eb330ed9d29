"""The reference's own trainings, step by step: `golden/finetune` holds what microsoft/unilm's program computed in float32.

Each trace is run through the parts that every training of this library is made of: the order of steps, the parameter groups,
the schedule, the forward and backward pass, the step. Its README says what the figures are.
"""
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from beit3_colab import load_model
from beit3_colab.model.weights import to_official, weight_names
from beit3_colab.pictures.reading import normalize
from beit3_colab.training.network import drop_path_rates, MicroBatch, PlainPass, Precision, prepare_model, training_logits
from beit3_colab.training.order import micro_batches, Order
from beit3_colab.training.parameters import group_parameters
from beit3_colab.training.recipe import Recipe
from beit3_colab.training.schedule import Schedule
from beit3_colab.training.step import TrainingStep

GOLDEN = Path(__file__).parent/"golden"
TRACES = json.loads((GOLDEN/"finetune"/"finetune_traces.json").read_text())["traces"]
FOUR = 4 # questions of a micro-batch
HELD_OUT = slice(48, 56)


@lru_cache(maxsize=1)
def data():
    "Tensors of the traces, pictures as a training has them."
    found = load_file(GOLDEN/"finetune"/"finetune_traces.safetensors")
    found = {name: t.long() if name in ("picture", "order", "input_ids") else t for name, t in found.items()}
    return found | dict(pictures=found["pictures"].permute(0, 2, 3, 1), padding_mask=found["padding_mask"].bool())

def batch_of(rows):
    "A micro-batch of rows of the traces."
    d = data()
    return MicroBatch(d["pictures"][d["picture"][rows]], d["input_ids"][rows], d["padding_mask"][rows], None, d["labels"][rows],
                      tuple(rows.tolist()))

def start(): return load_model(GOLDEN/"tiny_beit3_vqa.pth", config=GOLDEN/"tiny_beit3_vqa.config.json", device="cpu").model

def recipe_of(trace):
    "The recipe that the reference's arguments are."
    a = trace["arguments"]
    return Recipe(epochs=a["epochs"], batch_size=FOUR*a["update_freq"], learning_rate=a["lr"], min_learning_rate=a["min_lr"],
                  warmup_epochs=a["warmup_epochs"], weight_decay=a["weight_decay"], betas=tuple(a["opt_betas"]), eps=a["opt_eps"],
                  layer_decay=a["layer_decay"], head_lr_scale=a["task_head_lr_weight"] or 1, drop_path=0, clip_grad=a["clip_grad"],
                  ema=trace["model_ema_decay"])

class Training:
    "A trace as this library trains it; remembers the loss of each micro-batch."
    def __init__(self, trace, faithful=True, order=None):
        self.trace, recipe = trace, recipe_of(trace)
        self.model = prepare_model(start())
        self.order = order or Order(FOUR*trace["micro_batches_per_epoch"], recipe.batch_size, faithful=faithful)
        self.losses, self.one_pass = [], PlainPass(self.model, Precision())
        schedule = Schedule(recipe.learning_rate, recipe.min_learning_rate, recipe.epochs*self.order.steps,
                            int(recipe.warmup_epochs*self.order.steps))
        self.step = TrainingStep(self.model, group_parameters(self.model, recipe, faithful), schedule, self.note, recipe, Precision())

    def note(self, batch, count, scale, first=False):
        loss = self.one_pass(batch, count, scale, first)
        self.losses.append(loss.item()*count/len(batch.targets)) # as the reference logs it: mean over the micro-batch
        return loss

    def rows(self, epoch, step):
        "Rows of the traces: their order in place of the one that the sampler would draw."
        place = np.argsort(self.order.rows(epoch)) # of each question in the epoch
        first = epoch*self.trace["micro_batches_per_epoch"]*FOUR
        return [data()["order"].flatten()[(first + place[part]) % 160] for part in self.portions(epoch, step)]

    def portions(self, epoch, step): return micro_batches(self.order.batch(epoch, step), FOUR)

    def run(self, epochs):
        results = []
        for epoch in range(epochs):
            for s in range(self.order.steps):
                rows = self.rows(epoch, s)
                results.append(self.step.take(map(batch_of, rows), epoch*self.order.steps + s, sum(map(len, rows))))
        return results

@lru_cache(maxsize=None)
def trained(name):
    training = Training(TRACES[name])
    return training, training.run(TRACES[name]["epochs_run"])

def kept(values, trace):
    "The micro-batches whose gradients the reference used; the rest of an epoch was thrown away."
    m, k = trace["micro_batches_per_epoch"], trace["arguments"]["update_freq"]
    return [v for i, v in enumerate(values) if i % m < m//k*k][:k*len(trace["lr_schedule"])]

def furthest(found, expected): return max(abs(a - b)/abs(b) for a, b in zip(found, expected, strict=True))

def official(training, weights=None):
    "Weights under the official names."
    return to_official(weights or training.model.state_dict())

def furthest_sum(weights, final):
    "How far sums of weights are from the reference's, in shares of the sum of absolutes."
    assert weights.keys() == final.keys()
    return max(abs(weights[n].double().sum().item() - f["sum"])/f["abs"] for n, f in final.items())


@pytest.mark.parametrize("name", TRACES)
def test_losses_and_gradients_are_the_references(name):
    trace, (training, results) = TRACES[name], trained(name)
    assert furthest(training.losses, kept(trace["micro_loss"], trace)) < 1e-5
    norms = [v for v in kept(trace["micro_grad_norm"], trace) if v is not None]
    assert furthest([r.grad_norm for r in results], norms) < 1e-5
    assert [r.learning_rate for r in results] == pytest.approx(trace["lr_schedule"], rel=1e-12)
    assert len(results) == trace["optimizer_steps"] and not any(r.skipped for r in results)

@pytest.mark.parametrize("name", TRACES)
def test_trained_weights_answer_as_the_references(name):
    training, _ = trained(name)
    held_out = batch_of(torch.arange(56)[HELD_OUT])
    with torch.no_grad():
        logits = training.model.eval()(normalize(held_out.pictures), held_out.input_ids, held_out.padding_mask)
    torch.testing.assert_close(logits, data()[f"logits_{name}"], rtol=0, atol=1e-4)

@pytest.mark.parametrize("name", TRACES)
def test_every_weight_is_the_references(name):
    trace, (training, _) = TRACES[name], trained(name)
    assert furthest_sum(official(training), trace["final"]) < 1e-6

@pytest.mark.parametrize("name", TRACES)
def test_squared_gradients_are_the_references(name):
    trace, (training, _) = TRACES[name], trained(name)
    tensors = training.step.tensors()
    weights = training.model.state_dict()
    squares = {n: tensors.get(f"exp_avg_sq.{n}", torch.zeros_like(w)) for n, w in weights.items()}
    found = {n: t.double().sum().item() for n, t in to_official(squares).items()}
    for n, expected in trace["exp_avg_sq_sum"].items(): assert found[n] == pytest.approx(expected, rel=1e-4, abs=1e-12), n

@pytest.mark.parametrize("name", TRACES)
def test_groups_are_the_references(name):
    trace, training = TRACES[name], Training(TRACES[name])
    names = weight_names(3)
    expected = {n: (g["weight_decay"], g["lr_scale"]) for g in trace["groups"] for n in g["parameters"]}
    found = {official: (g["weight_decay"], g["lr_scale"]) for g in training.step.optimizer.param_groups for p in g["params"]
             for official in names[training.step.names[p]]}
    assert expected.keys() - found.keys() == set(trace["no_gradient"]) and found.keys() < expected.keys()
    for n, pair in found.items(): assert pair == pytest.approx(expected[n], rel=1e-12), n

def test_the_average_is_the_references():
    training, _ = trained("plain_ema")
    weights = training.model.state_dict() | training.step.ema
    assert furthest_sum(official(training, weights), TRACES["plain_ema"]["final_ema"]) < 1e-6

def test_gradients_of_the_first_micro_batch_are_the_references():
    trace = TRACES["recipe"]
    training = Training(trace)
    training.step.flat.clear()
    loss = training.one_pass(batch_of(data()["order"][0]), FOUR)
    assert loss.item() == pytest.approx(data()["loss0"].item(), rel=1e-6)
    gradients = to_official({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in training.model.named_parameters()})
    expected = {n.removeprefix("grad0."): t for n, t in data().items() if n.startswith("grad0.")}
    assert len(expected) == 8
    for n, t in expected.items(): torch.testing.assert_close(gradients[n][:len(t)] if t.ndim else gradients[n], t, rtol=1e-4, atol=1e-6)
    assert all(not gradients[n].any() for n in trace["zero_gradient"]) # zeros, not None: they decay

def test_drop_path_leaves_out_what_the_reference_does():
    model = prepare_model(start())
    rates = drop_path_rates(3, .3)
    torch.manual_seed(7)
    keep = torch.ones(8, 3, 2)
    for layer, rate in enumerate(rates):
        for branch in range(2 if rate else 0): keep[:, layer, branch] = torch.floor(1 - rate + torch.rand(8, 1, 1))[:, 0, 0]/(1 - rate)
    batch = batch_of(torch.arange(56)[HELD_OUT])
    with torch.no_grad():
        logits = training_logits(model, normalize(batch.pictures), batch.input_ids, batch.padding_mask, keep)
    torch.testing.assert_close(logits, data()["logits_drop_path_0.3_seed_7"], rtol=0, atol=1e-4)
    assert (keep == 0).any()


def test_left_over_questions_are_not_thrown_away():
    "The reference drops two of eight micro-batches an epoch, and ends in an IndexError (unilm #1073); here three even steps do all."
    trace = TRACES["leftovers"]
    assert trace["stopped_by"].startswith("IndexError")
    ours = Training(trace, order=Order(FOUR*trace["micro_batches_per_epoch"], 12))
    results = ours.run(trace["epochs_run"])
    assert (ours.order.steps, trained("leftovers")[0].order.steps, len(results)) == (3, 2, 9)
    assert [len(ours.order.batch(0, s)) for s in range(3)] == [10, 11, 11]
    seen = torch.cat([rows for s in range(3) for rows in ours.rows(0, s)])
    assert sorted(seen.tolist()) == sorted(data()["order"][:8].flatten().tolist())
    assert all(np.isfinite(r.loss) and np.isfinite(r.grad_norm) for r in results)
