"The numbers that a training begins with: learning rates, parameter groups, targets and the order of questions, beside the reference's own."
import csv
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from beit3_colab.data.answer_list import read_answer_list
from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.data.vqav2 import open_index, open_vqav2
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, model_size
from beit3_colab.model.weights import weight_names
from beit3_colab.training.network import drop_path_rates, prepare_model
from beit3_colab.training.order import micro_batches, Order, share
from beit3_colab.training.parameters import group_parameters, place_of
from beit3_colab.training.recipe import choose_recipe, Recipe, recipe_notes, RECIPES
from beit3_colab.training.schedule import Schedule, schedule_of
from beit3_colab.training.targets import answer_key, build_targets, choose_answers, LARGE

GOLDEN = Path(__file__).parent/"golden"
FACTS = json.loads((GOLDEN/"finetune"/"architecture_facts.json").read_text())
SCHEDULES = json.loads((GOLDEN/"finetune"/"lr_schedules.json").read_text())


def arguments_of(entry):
    "Arguments of the reference's `cosine_scheduler`."
    a = entry["arguments"]
    warmup = a["warmup_steps"] if a["warmup_steps"] > 0 else a["warmup_epochs"]*a["niter_per_ep"]
    return Schedule(a["base_value"], a["final_value"], a["epochs"]*a["niter_per_ep"], warmup)

@pytest.mark.parametrize("entry", SCHEDULES, ids=lambda entry: "-".join(map(str, entry["arguments"].values())))
def test_every_learning_rate_is_the_references_to_the_bit(entry):
    schedule = arguments_of(entry)
    if "error" in entry: # an AssertionError of the reference's: steps of warm-up without epochs of it
        assert (schedule.rate(0), schedule.rate(6), schedule.rate(7)) == (0., 1., 1.)
        return
    steps = entry.get("at") or range(len(entry["values"]))
    assert [schedule.rate(step) for step in steps] == entry["values"]
    if "sum" in entry: assert math.fsum(map(schedule.rate, range(entry["length"]))) == pytest.approx(entry["sum"], rel=1e-12)

def test_a_step_too_many_has_a_rate():
    "The reference's table ends in an IndexError there (unilm #1073)."
    schedule = arguments_of(SCHEDULES[0])
    assert schedule.rate(schedule.steps) == schedule.rate(schedule.steps + 99) == 1e-6

@pytest.mark.parametrize("warmup, epochs, each, steps", [(1., 10, 7, 7), (0., 10, 7, 0), (.5, 10, 7, 4), (10., 10, 7, 70), (1.2, 2, 1, 1)])
def test_warm_up_counts_in_epochs(warmup, epochs, each, steps):
    assert schedule_of(Recipe(epochs=epochs, warmup_epochs=warmup), each).warmup == steps


@pytest.fixture(scope="module")
def base():
    with torch.device("meta"): return Beit3ForVQA(Beit3Config())

def published_groups():
    "Official name → row of the reference's table of base-480."
    with open(GOLDEN/"finetune"/"parameters_base_480.tsv", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t")}

@pytest.mark.parametrize("column, recipe", [
    ("lr_scale_0.9", Recipe(layer_decay=.9)), # with the head's weight of 20, which the reference forgets
    ("lr_scale_0.9", Recipe(layer_decay=.9, head_lr_scale=1)),
    ("lr_scale_1.0_head20", Recipe(head_lr_scale=20))])
def test_every_parameter_of_base_learns_as_in_the_reference(base, column, recipe):
    rows, names = published_groups(), weight_names(12)
    found = {official: (g.weight_decay, g.lr_scale) for g in group_parameters(base, recipe, faithful=True)
             for name in g.names for official in names[name]}
    assert len(rows) == 497 and rows.keys() - found.keys() == {"beit3.vision_embed.mask_token"} # which gets no gradient
    for name, pair in found.items():
        assert pair == pytest.approx((float(rows[name]["weight_decay"]), float(rows[name][column])), rel=1e-12), name

def test_every_parameter_of_base_stands_where_the_reference_has_it(base):
    rows, names = published_groups(), weight_names(12)
    shapes = {name: p.ndim for name, p in base.named_parameters()}
    assert shapes.keys() == names.keys()
    for name, officials in names.items():
        place = place_of(name, shapes[name], 12)
        for official in officials:
            assert (place.layer, place.decays) == (int(rows[official]["layer_id_0.9"]), float(rows[official]["weight_decay"]) > 0), official

def test_published_sizes_decay_as_many_weights(base):
    groups = group_parameters(base, Recipe())
    mask_token = 768
    assert sum(g.count for g in groups) + mask_token == FACTS["parameters"]["base_480"]
    assert sum(g.count for g in groups if g.weight_decay) + mask_token == FACTS["weight_decay_parameters"]["base_480"]

@pytest.mark.parametrize("size", ["base", "large"])
def test_drop_path_rates_are_the_references(size):
    rates = drop_path_rates(model_size(size).num_layers, choose_recipe("published", model_size(size)).drop_path)
    assert rates == pytest.approx(FACTS["drop_path_rate"][f"{size}_480"], rel=1e-12)

def test_no_decay_is_no_decay(base): # a KeyError of the reference's
    groups = group_parameters(base, Recipe(weight_decay=0), faithful=True)
    assert {g.weight_decay for g in groups} == {0.} and sum(len(g.names) for g in groups) == len(list(base.parameters())) - 1

def test_the_heads_rate_is_not_forgotten(base):
    with pytest.raises(UserError, match="--layer-decay.*--head-lr-scale.*faithful"): group_parameters(base, Recipe(layer_decay=.9))
    assert "does nothing" in recipe_notes(Recipe(layer_decay=.9), faithful=True)[0]

def test_a_head_alone_learns():
    with torch.device("meta"): model = prepare_model(Beit3ForVQA(Beit3Config(32, 16, 32, 2, 2, 64, 20, 5)), "head")
    assert {name.split(".")[0] for g in group_parameters(model, Recipe()) for name in g.names} == {"pooler", "head"}
    with pytest.raises(UserError, match="no parameter"): group_parameters(model.requires_grad_(False), Recipe())


def test_the_published_recipes():
    base, large = model_size("base"), model_size("large")
    assert choose_recipe("published", base).to_dict() == dict(
        epochs=10, batch_size=128, learning_rate=3e-5, min_learning_rate=1e-6, warmup_epochs=1., weight_decay=.01, betas=[.9, .98],
        eps=1e-8, layer_decay=1., head_lr_scale=20., drop_path=.1, clip_grad=None, ema=None, flip=True, randaug=True, smallest_crop=.5)
    changed = {name for name, value in choose_recipe("published", large).to_dict().items() if value != choose_recipe("published", base).to_dict()[name]}
    assert changed == {"learning_rate", "drop_path"}
    for name in RECIPES: assert Recipe.from_dict(json.loads(json.dumps(choose_recipe(name, large).to_dict()))) == choose_recipe(name, large)

NEVER = ["7", float("nan"), float("inf"), -1, [], {}, 10**400]
@pytest.mark.parametrize("field", [f.name for f in fields(Recipe)])
@pytest.mark.parametrize("value", NEVER, ids=[str(v)[:4] for v in NEVER])
def test_values_that_nobody_could_mean(field, value):
    option = "--" + field.replace("_", "-")
    with pytest.raises(UserError) as error: Recipe(**{field: value})
    assert field in str(error.value) and option in str(error.value) and len(str(error.value)) < 300

@pytest.mark.parametrize("changes, says", [
    (dict(epochs=0), "from 1 to 100,000, not 0"), (dict(epochs=2.), "a whole number.*not 2.0"), (dict(batch_size=0), "not 0"),
    (dict(learning_rate=0), "above 0.*not 0"), (dict(learning_rate=5), "up to 1"), (dict(learning_rate=True), "not True"),
    (dict(min_learning_rate=1e-4), "0.0001 is above learning_rate"), (dict(warmup_epochs=11), "longer than the training"),
    (dict(betas=(.9,)), "two numbers"), (dict(betas=(.9, 1)), "below 1"), (dict(drop_path=1), "below 1"), (dict(clip_grad=0), "nothing of the gradients"),
    (dict(ema=1), "below 1"), (dict(flip=1), "True or False"), (dict(smallest_crop=0), "above 0"), (dict(layer_decay=1.1), "up to 1")])
def test_wrong_recipes(changes, says):
    with pytest.raises(UserError, match=says): choose_recipe("published", Beit3Config(), **changes)

def test_numbers_of_numpy_are_numbers():
    assert Recipe(epochs=np.int64(3), learning_rate=np.float32(.5)).to_dict()["epochs"] == 3
    json.dumps(Recipe(epochs=np.int64(3), learning_rate=np.float32(.5)).to_dict())


def asked(**answers):
    "Questions, and what people said."
    questions = [Question(i, f"{i}.jpg", "what is it?", f"{i}.jpg") for i in answers]
    return questions, {i: Annotation(i, f"{i}.jpg", "what is", "other", said[0] if said else "", tuple(said)) for i, said in answers.items()}

@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("faithful", [False, True])
def test_targets_of_ten_answers_are_the_references(split, faithful):
    "Labels and scores of unilm's own index, and which questions it drops; its answers hold capitals and more, which it does not find."
    data, answers = open_vqav2(GOLDEN/"vqav2_index", split), read_answer_list(GOLDEN/"vqav2_index"/"expected_answer2label.txt")
    expected = json.loads((GOLDEN/"vqav2_index"/"expected_items.json").read_text())[split]
    targets = build_targets(data.questions, data.annotations, answers, faithful)
    kept = [str(data.questions[row].question_id) for row in targets.rows]
    assert set(kept) == set(expected) and len(kept) < len(data.questions)
    table = torch.zeros(len(kept), len(answers))
    for row, i in zip(table, kept): row[expected[i]["labels"]] = torch.tensor(expected[i]["scores"])
    assert torch.equal(targets.dense(np.arange(len(kept))), table)
    assert any(f"{len(data.questions) - len(kept)} of {len(data.questions)} training questions" in note for note in targets.notes)

def test_targets_of_the_references_index(tmp_path):
    answers = GOLDEN/"vqav2_index"/"expected_answer2label.txt"
    (tmp_path/"answer2label.txt").write_bytes(answers.read_bytes())
    items = json.loads((GOLDEN/"vqav2_index"/"expected_items.json").read_text())["train"]
    lines = [json.dumps(dict(image_path=e["image_path"], text_segment=[5], labels=e["labels"], scores=e["scores"], qid=int(i))) for i, e in items.items()]
    lines.append(json.dumps(dict(image_path="a.jpg", text_segment=[5], labels=[], scores=[], qid=1)))
    (tmp_path/"vqa.train.jsonl").write_text("\n".join(lines))
    data = open_index(tmp_path, "train")
    from_index = build_targets(data.questions, None, read_answer_list(answers), soft_targets=data.soft_targets)
    whole = open_vqav2(GOLDEN/"vqav2_index", "train")
    from_answers = build_targets(whole.questions, whole.annotations, read_answer_list(answers))
    assert torch.equal(from_index.dense(range(len(items))), from_answers.dense(range(len(items))))
    assert from_index.notes[0] == "1 of 173 training questions without a known answer left out: question_id 1"
    with pytest.raises(UserError, match="give its answer2label.txt as answers"): build_targets(data.questions, None, ["a", "b"], soft_targets=data.soft_targets)

@pytest.mark.parametrize("said, worth", [
    (["dog"], {"dog": 1}), (["A Dog!"], {"dog": 1}), (["dog", "cat"], {"dog": 1, "cat": 1}), (["dog"]*2 + ["cat"]*3, {"dog": 1, "cat": 1}),
    (["dog"] + ["cat"]*4, {"dog": .6, "cat": 1}), (["dog"] + ["cat"]*3, {"dog": .75, "cat": 1}), (["dog", "Dog", "cat", "cat", "the dog."], {"dog": 1, "cat": 1}),
    (["dog"] + ["cat"]*19, {"dog": .15, "cat": 1}), (["dog"] + [""]*4, {"dog": .6}), (["dog"]*2 + ["cat"]*8, {"dog": .6, "cat": 1}),
    (["dog"] + ["Dog"]*9, {"dog": .3}), (["dog"] + ["x"]*9, {"dog": .3})])
def test_what_an_answer_is_worth(said, worth):
    "Counts are scaled to ten people; ten are compared as they are written."
    targets = build_targets(*asked(q=said), ["cat", "dog", "no"])
    assert targets.dense([0]).tolist()[0] == pytest.approx([worth.get("cat", 0), worth.get("dog", 0), 0])

def test_faithful_counts_one_answer_as_one_of_ten():
    targets = build_targets(*asked(a=["dog"], b=["Dog"], c=["cat"]*4), ["cat", "dog"], faithful=True)
    assert targets.rows.tolist() == [0, 2] and targets.dense([0, 1]).tolist() == [[0, pytest.approx(.3)], [1, 0]]
    assert any("as if they were ten" in note for note in targets.notes)

def test_what_is_dropped_is_counted_and_named():
    questions, people = asked(a=["dog"], b=["axolotl", "newt", "newt"], c=[], d=["cat"], e=["newt"])
    del people["d"]
    targets = build_targets(questions, people, ["cat", "dog"])
    notes = "\n".join(targets.notes)
    assert targets.rows.tolist() == [0]
    for says in ("2 of 5 training questions without an answer of people left out: question_id 'c', 'd'",
                 "2 of 5 training questions whose answers are not in the list left out: question_id 'b', 'e'",
                 "4 of 5 answers of people (2 texts) are none of the 2 in the list, most often 'newt', 'axolotl'",
                 "the one answer 'dog'"): assert says in notes

@pytest.mark.parametrize("answers, says", [
    (dict(a=["newt"]), "none of 1 training question has an answer that the list knows: people said 'newt', and the list of 2 begins with 'cat', 'dog'"),
    (dict(a=[]), "has an answer of people: a training needs them"), (dict(a=[""]), "that the list knows")])
def test_nothing_to_learn_from(answers, says):
    with pytest.raises(UserError, match=says): build_targets(*asked(**answers), ["cat", "dog"])

def test_answers_without_words():
    "Letters of choices, one of which is an article, and a text that is blank."
    choice = choose_answers(asked(p=["A"], q=["B"], r=["a"], s=[" "], t=["the"])[1])
    assert choice.answers == ["a", "b", "the"] and answer_key("The") == "the"
    targets = build_targets(*asked(p=["A"], q=["B"], s=[" "]), choice.answers)
    assert targets.dense([0, 1]).tolist() == [[1, 0, 0], [0, 1, 0]]

def test_an_empty_text_in_a_list_is_told_and_matches_nothing():
    choice = choose_answers(None, ["", "dog"])
    assert "class 0 of the answers is an empty text" in choice.notes[-1]
    assert build_targets(*asked(p=[""], q=["dog"], r=["the"]), choice.answers).rows.tolist() == [1]

def test_a_class_that_no_question_has_is_told():
    assert "1 of 3 answers are given to no training question, such as 'no'" in build_targets(*asked(a=["dog"], b=["cat"]), ["cat", "dog", "no"]).notes[-1]

def test_large_data_goes_by_the_references_rule():
    people = [Annotation(i, i, "", "other", "the" if i < 20 else "common" if i < LARGE - 8 else "rare", ("x",)*10) for i in range(LARGE)]
    choice = choose_answers(people)
    assert (choice.answers, choice.min_count) == (["", "common"], 9) and "an empty text" in choice.notes[-1]
    assert choose_answers(people, min_count=8).answers == ["", "common", "rare"]
    assert "9 training questions or more" in choice.notes[0] and "'rare'" in choice.notes[1]
    assert choose_answers(people[30:]).min_count == 1
    own = [replace(a, answers=("x",)) for a in people] # with one answer each, an article is no empty class
    assert choose_answers(own).answers == ["the", "common"]

@pytest.mark.parametrize("arguments, says", [
    (dict(how="both"), "it has none"), (dict(how="checkpoint"), "has no answer list"), (dict(how="checkpoint", known=["a"]), "one answer only, 'a'"),
    (dict(how=["yes"]), "one answer only, 'yes'"), (dict(how=[]), "is empty"), (dict(how=["a", "a"]), "twice"), (dict(how="no_such_file.txt"), "does not exist"),
    (dict(how=["a", "b"], min_count=2), "leave it out"), (dict(how="checkpoint", known=["a", "b"], min_count=2), "leave it out"),
    (dict(min_count=0), "--min-count.*not 0"), (dict(min_count="2"), "not '2'"), (dict(min_count=3), "no answer is the most common one of 3 questions")])
def test_answers_that_cannot_be_had(arguments, says):
    with pytest.raises(UserError, match=says) as error: choose_answers(asked(a=["dog"], b=["cat"])[1], **arguments)
    assert "--" in str(error.value) or "answers" in str(error.value)

def test_both_lists_keep_the_checkpoints_rows():
    known = ["yes", "Dog", "no"]
    choice = choose_answers(asked(a=["dog"], b=["cat"], c=["no"])[1], "both", known)
    assert choice.answers == ["yes", "Dog", "no", "cat"] and known == ["yes", "Dog", "no"]
    assert "3 answers of the checkpoint and 1 new one of the data, such as 'cat'" in choice.notes[0]
    assert build_targets(*asked(a=["dog"]), choice.answers).dense([0]).tolist() == [[0, 1, 0, 0]]

def test_equal_answers_of_a_list_go_to_the_first_unless_written_so():
    targets = build_targets(*asked(a=["dog"], b=["THE DOG"], c=["Dog"]), ["Dog", "dog", "x"])
    assert targets.dense([0, 1, 2]).argmax(1).tolist() == [1, 0, 0]

def test_a_batch_in_any_order_and_with_repeats():
    questions, people = asked(**{f"q{i}": [f"a{i % 7}", f"a{i % 5}"] for i in range(60)})
    targets = build_targets(questions, people, [f"a{i}" for i in range(7)])
    whole = targets.dense(np.arange(60))
    rows = np.random.default_rng(0).integers(60, size=200)
    assert torch.equal(targets.dense(rows), whole[rows]) and whole.dtype == torch.float32
    assert targets.dense([]).shape == (0, 7)


@pytest.mark.parametrize("count, size, steps", [(300, 128, 3), (128, 128, 1), (129, 128, 2), (5, 128, 1), (1000, 7, 143)])
def test_every_question_once_an_epoch_in_even_steps(count, size, steps):
    order = Order(count, size, seed=3)
    batches = [order.batch(2, s) for s in range(order.steps)]
    assert order.steps == steps and sorted(np.concatenate(batches)) == list(range(count))
    sizes = set(map(len, batches))
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1

@pytest.mark.parametrize("size, steps, dropped", [(128, 2, 44), (300, 1, 0), (7, 42, 6)])
def test_faithful_drops_what_fills_no_batch(size, steps, dropped):
    order = Order(300, size, faithful=True)
    assert (order.steps, order.dropped) == (steps, dropped)
    assert {len(order.batch(1, s)) for s in range(steps)} == {size}

@pytest.mark.parametrize("world", [2, 3])
def test_faithful_order_is_that_of_the_references_sampler(world):
    "What several GPUs of the reference take together in a step is a step here."
    from torch.utils.data import DistributedSampler
    order, per_gpu = Order(60, 4*world, faithful=True), []
    for rank in range(world):
        sampler = DistributedSampler(range(60), num_replicas=world, rank=rank, shuffle=True)
        sampler.set_epoch(5)
        per_gpu.append(list(sampler))
    for step in range(order.steps):
        together = [i for rows in per_gpu for i in rows[4*step:4*step + 4]]
        assert sorted(order.batch(5, step)) == sorted(together)

def test_order_depends_on_seed_and_epoch_alone():
    first = Order(1000, 10, seed=1).rows(4).tolist()
    Order(1000, 10, seed=1).rows(0)
    assert Order(1000, 64, seed=1).rows(4).tolist() == first
    assert len({tuple(Order(1000, 10, seed=s).rows(e)) for s in range(3) for e in range(3)}) == 9
    with pytest.raises(ValueError): Order(1000, 10).rows(0)[0] = 1 # it is shared

@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("micro", [1, 5, 48, 1000])
def test_shares_and_micro_batches_are_the_whole(ranks, micro):
    rows = Order(128, 128).batch(0, 0)
    parts = [micro_batches(share(rows, r, ranks), micro) for r in range(ranks)]
    assert np.concatenate([p for own in parts for p in own]).tolist() == rows.tolist()
    assert max(len(p) for own in parts for p in own) <= micro and all(len(p) for own in parts for p in own)
    assert len({sum(map(len, own)) for own in parts}) <= 2
