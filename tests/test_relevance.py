"Maps of what an answer rests on, against scenes whose objects are known."

import numpy as np
import pytest
import torch

from beit3_colab.machine.messages import UserError
from beit3_colab.model.attention import METHODS, attention_map, attention_share
from beit3_colab.model.relevance import answer_maps, trace_answers
from beit3_colab.model.vqa import load_model
from beit3_colab.pictures.reading import preprocess
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.questions import ask_scene

G = 12 # patches on a side


def one_named_object(seeds):
    "Scene, question and object of each question that names the one object it is about; counting is about all of a kind."
    for scene in map(make_scene, seeds):
        for asked in ask_scene(scene):
            if len(asked["objects"]) != 1 or asked["template"] == "count": continue
            thing = scene.objects[asked["objects"][0]]
            if thing.name in asked["question"]: yield scene, asked, thing

@pytest.fixture(scope="module")
def about(vqa):
    "Sixty such questions about new scenes: all that maps are made from."
    found = []
    for scene, asked, thing in one_named_object(range(5_000, 5_040)):
        picture = draw_scene(scene)
        pixels, ids = torch.from_numpy(preprocess(picture, vqa.config.image_size)), vqa.tokenizer.encode(asked["question"])
        found.append((scene, asked, thing, picture, pixels, ids))
    return found[:60]

def is_on(weights, box, size):
    "Whether the patch with most of a map touches a box."
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    (x0, y0, x1, y1), (width, height) = box, size
    return column*width/G < x1 and (column + 1)*width/G > x0 and row*height/G < y1 and (row + 1)*height/G > y0

def test_maps_lie_on_the_object(vqa, about):
    "Seven percent of the picture is the object; of the map it is half, and rollout finds it far less often."
    shares, peaks = {name: [] for name in METHODS}, {name: [] for name in METHODS}
    for scene, asked, thing, picture, _, _ in about[:30]:
        attention = vqa.attention(picture, asked["question"], asked["answer"])
        for method in METHODS:
            weights = attention_map(attention, method=method)
            shares[method].append(attention_share(weights, thing.box, scene.size).attention)
            peaks[method].append(is_on(weights, thing.box, scene.size))
    mean = {name: np.mean(values) for name, values in shares.items()}
    assert mean["gradient"] > .45 and np.mean(peaks["gradient"]) > .85
    assert mean["gradient"] > mean["propagated"] > mean["attention"] > mean["rollout"] and mean["rollout"] < .25
    assert np.mean(peaks["gradient"]) > np.mean(peaks["rollout"])

def test_covering_what_a_map_names_changes_answers(vqa, about):
    "The top 14 of 144 patches grey: most answers fall, of as many random patches nearly none."
    pixels, ids = torch.stack([each[4] for each in about]), [each[5] for each in about]
    maps = answer_maps(vqa, pixels, list(range(len(about))), ids)
    assert maps.shape == (len(about), G*G) and maps.dtype == np.float32 and maps.min() >= 0
    random = np.random.default_rng(0).random(maps.shape)
    still = {}
    for name, order in (("map", maps), ("random", random)):
        still[name] = 0
        for picture, tokens, scores, each in zip(pixels, ids, order, about):
            covered = picture.clone().reshape(G, 16, G, 16, 3)
            for patch in np.argsort(-scores)[:14]: covered[patch//G, :, patch%G] = 128
            logits = vqa.logits(covered.reshape(1, 16*G, 16*G, 3), torch.tensor([tokens]))
            still[name] += vqa.answers[int(logits.argmax())] == each[1]["answer"]
    assert still["map"] < .5*len(about) and still["random"] > .85*len(about)

def test_each_answer_has_a_map_of_its_own(vqa):
    "Why yes, why not no: what speaks for one answer speaks in other places for the other."
    picture = draw_scene(make_scene(34))
    yes, no = (vqa.attention(picture, "Is the house red?", answer) for answer in ("yes", "no"))
    assert (yes.answer, no.answer) == ("yes", "no")
    assert np.abs(attention_map(yes) - attention_map(no)).sum() > .1
    assert np.allclose(attention_map(yes, method="attention"), attention_map(no, method="attention"), atol=1e-6)
    assert np.abs(attention_map(yes, "house") - attention_map(yes)).sum() > .1 # by way of a word

def test_the_gradient_is_that_of_the_logit(vqa):
    "A little more of one weight raises the logit by as much as the gradient says: by central differences through the network."
    torch.manual_seed(0)
    model = vqa.model.double()
    try:
        images, ids = torch.randint(0, 256, (1, 192, 192, 3), dtype=torch.uint8), torch.tensor([vqa.tokenizer.encode("What is this?")])
        _, label, layers = trace_answers(model, images, ids)
        expert, real = model.layers[3].image, model.layers[3].image.after_attention
        def nudged(step):
            "The logit with `step` more of head 1's weight from position 5 to position 40 in the fourth layer."
            def after_attention(x, attended):
                attended = attended.clone()
                attended[0, 5, 32:64] += step*layers[3].values[0, 1, 40]
                return real(x, attended)
            expert.after_attention = after_attention
            try: return trace_answers(model, images, ids, label)[0][0, label].item()
            finally: del expert.after_attention
        slope = (nudged(.1) - nudged(-.1))/.2
        _, gradient = layers[3].rows([5])
        assert slope == pytest.approx(gradient[0, 1, 0, 40].item(), rel=5e-3) and abs(slope) > 1e-4
    finally: model.float()

@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_maps(vqa, about, dtype):
    "Formats that a GPU answers in: the map is the same but for rounding."
    half = load_model("sample", device="cpu", dtype=dtype)
    pixels, ids, rows = torch.stack([each[4] for each in about[:8]]), [each[5] for each in about[:8]], list(range(8))
    labels = [vqa.answers.index(each[1]["answer"]) for each in about[:8]]
    exact, rough = (answer_maps(model, pixels, rows, ids, labels) for model in (vqa, half))
    for a, b in zip(exact, rough): assert np.corrcoef(a, b)[0, 1] > .98

def test_under_inference_mode_and_for_frozen_weights(vqa):
    "Callers who switched gradients off, and models whose weights need none."
    picture = draw_scene(make_scene(7))
    expected = attention_map(vqa.attention(picture, "What is this?"))
    with torch.inference_mode(): assert np.allclose(attention_map(vqa.attention(picture, "What is this?")), expected, atol=1e-6)
    frozen = load_model("sample", device="cpu")
    frozen.model.requires_grad_(False)
    with torch.no_grad(): assert np.allclose(attention_map(frozen.attention(picture, "What is this?")), expected, atol=1e-6)
    assert all(p.grad is None for p in vqa.model.parameters()) # nothing is left behind

@pytest.mark.parametrize("answer", [None, "yes"])
@pytest.mark.parametrize("needs", [True, False])
def test_weights_that_need_gradients_may_be_asked_under_inference_mode(answer, needs):
    "As a notebook does that fine-tunes: nothing of what the caller made in that mode is kept for the way back."
    model, picture = load_model("sample", device="cpu"), draw_scene(make_scene(7))
    model.model.requires_grad_(needs)
    expected = attention_map(model.attention(picture, "Is there a house?", answer))
    with torch.inference_mode(): found = attention_map(model.attention(picture, "Is there a house?", answer))
    assert np.allclose(found, expected, atol=1e-6) and all(p.grad is None for p in model.model.parameters())
    pixels, ids = torch.from_numpy(preprocess(picture, model.config.image_size))[None], [model.tokenizer.encode("Is there a house?")]
    labels = None if answer is None else [model.answers.index(answer)]
    with torch.inference_mode(): maps = answer_maps(model, pixels.clone(), [0], ids, labels)
    assert np.allclose(maps, answer_maps(model, pixels, [0], ids, labels), atol=1e-6)

@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bfloat16+float32"])
def test_a_model_that_was_loaded_under_inference_mode_has_maps(dtype):
    picture = draw_scene(make_scene(7))
    with torch.inference_mode(): model = load_model("sample", device="cpu", dtype=dtype)
    expected = attention_map(load_model("sample", device="cpu", dtype=dtype).attention(picture, "What is this?"))
    assert np.allclose(attention_map(model.attention(picture, "What is this?")), expected, atol=1e-6)
    assert not any(p.is_inference() for p in model.model.parameters()) and not model.is_changed

def test_damaged_weights_are_refused():
    broken = load_model("sample", device="cpu")
    with torch.no_grad(): broken.model.head[0].weight.fill_(torch.nan)
    with pytest.raises(UserError, match="the model gives NaN"): broken.attention(draw_scene(make_scene(7)), "What is this?")
