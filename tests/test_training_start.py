"What a training starts from: where it is found, which rows of the head it keeps, what is drawn, and what is refused."
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import FileServer
from official_standin import RELEASES, mirror
from safetensors.torch import save_file

from beit3_colab import convert, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, resize_positions
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.model.tokenizer import Tokenizer
from beit3_colab.model.weights import is_of_head, PRETRAINING, to_official
from beit3_colab.training import start as starting
from beit3_colab.training.start import draw_head, draw_matrix, open_start

GOLDEN = Path(__file__).parent/"golden"
TINY, CONFIG = GOLDEN/"tiny_beit3_vqa.pth", GOLDEN/"tiny_beit3_vqa.config.json"
ANSWERS = [f"answer {i}" for i in range(40)]
RAW = torch.load(TINY, weights_only=True)["model"]
ENCODER = {name: tensor for name, tensor in RAW.items() if not is_of_head(name)}
OTHER_TASKS = {"mlm_head.weight": torch.zeros(200, 64), "mim_head.bias": torch.zeros(3), "language_decoder.fc.weight": torch.zeros(2, 2),
               "beit3.encoder.layers.2.ffn.C.fc1.weight": torch.zeros(2, 2), "logit_scale": torch.tensor(4.6)}

def saved(path, weights, **beside):
    torch.save({"model": weights, **beside}, path)
    return path
def wide(size=224, dtype=torch.float16):
    "A pretraining file's encoder as published, but narrow."
    config = Beit3Config(image_size=size, embed_dim=64, num_heads=4, num_layers=3, ffn_dim=256, vocab_size=200, num_classes=1, max_text_positions=1024)
    positions = torch.randn(3 + config.num_patches, 64, generator=torch.Generator().manual_seed(1))
    return {name: t.to(dtype) for name, t in {**ENCODER, "beit3.encoder.embed_positions.A.weight": positions}.items()}
def failure(*arguments, **named):
    with pytest.raises(UserError) as error: open_start(*arguments, **named)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900
    return str(error.value)
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def folder(tmp_path):
    "The tiny model as a folder of ours, with answers and tokenizer."
    return convert(TINY, tmp_path/"folder", config=CONFIG, answers=ANSWERS, tokenizer=GOLDEN/"tiny.spm")

@pytest.mark.parametrize("form", ["pth", "safetensors", "folder", "address", "loaded", "with optimizer"])
def test_every_form_gives_the_same_model(form, folder, tmp_path, monkeypatch):
    given = dict(config=CONFIG)
    expected = load_model(folder, device="cpu")
    if form == "pth": checkpoint = TINY
    elif form == "with optimizer": checkpoint = saved(tmp_path/"checkpoint-9.pth", RAW, optimizer={"state": {0: {"exp_avg": torch.ones(3)}}}, epoch=9)
    elif form == "safetensors":
        checkpoint = tmp_path/"tiny.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in RAW.items()}, checkpoint)
    elif form == "address":
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        with FileServer({"/w/tiny.pth": TINY.read_bytes()}) as server: start = open_start(f"{server.url}/w/tiny.pth", **given)
    else: checkpoint, given = folder if form == "folder" else expected, {}
    if form != "address": start = open_start(checkpoint, **given)
    model = start.build(start.answers or ANSWERS)
    assert (start.kind, start.config, model.config) == ("vqa", expected.config, expected.config)
    if form in ("folder", "loaded"):
        assert start.answers == ANSWERS and start.tokenizer.sha256 == expected.tokenizer.sha256
        assert same(model.state_dict(), expected.model.state_dict())
        pictures, ids = torch.rand(2, 3, 64, 64), torch.randint(4, 200, (2, 9))
        assert torch.equal(model(pictures, ids), expected.model(pictures, ids))
    else: # nobody knows what its rows say
        assert start.answers is None and "no answer list lies beside the checkpoint" in start.tell_head(ANSWERS)
        assert {n for n, t in model.state_dict().items() if not torch.equal(t, expected.model.state_dict()[n])} == {"head.3.weight", "head.3.bias"}
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters()) and model.training

def test_a_list_beside_a_file_is_its_answers(tmp_path):
    path = saved(tmp_path/"best.pth", RAW)
    (tmp_path/"answers.json").write_text(json.dumps(ANSWERS))
    assert open_start(path, config=CONFIG).answers == ANSWERS
    (tmp_path/"answers.json").write_text(json.dumps(ANSWERS[:-1]))
    assert "has 39 answers, but the head has 40" in failure(path, config=CONFIG)

@pytest.mark.parametrize("answers, kept", [
    (ANSWERS, 40), (ANSWERS[::-1], 40), (ANSWERS[7:9], 2), (["new", *ANSWERS[3:5], "newer"], 2), (["Answer 1", "answer 1 ", "answer  1"], 0), (["one"], 0)])
def test_rows_stay_with_their_answers(folder, answers, kept):
    start = open_start(folder)
    old, new = start.weights, start.build(answers, seed=5).state_dict()
    drawn = draw_matrix("head.3.weight", (len(answers), 128), 5)
    for row, answer in enumerate(answers):
        known = ANSWERS.index(answer) if answer in ANSWERS else None
        assert torch.equal(new["head.3.weight"][row], drawn[row] if known is None else old["head.3.weight"][known])
        assert new["head.3.bias"][row] == (0 if known is None else old["head.3.bias"][known])
    assert len(start.match(answers)) == kept and all(torch.equal(new[n], old[n]) for n in old if not n.startswith("head.3"))
    said = start.tell_head(answers)
    assert f"keeps its rows of {kept} of {len(answers)} answer" in said
    assert ("new (" in said) == (kept < len(answers)) and ("left out" in said) == (kept < 40)

def test_training_changes_neither_the_start_nor_a_loaded_model(folder):
    vqa = load_model(folder, device="cpu")
    before = {name: tensor.clone() for name, tensor in vqa.model.state_dict().items()}
    start = open_start(vqa)
    first = start.build(ANSWERS)
    with torch.no_grad(): [p.add_(1) for p in first.parameters()]
    assert same(vqa.model.state_dict(), before) and same(start.build(ANSWERS).state_dict(), before)
    assert start.identity == open_start(load_model(folder, device="cpu")).identity
    with torch.no_grad(): vqa.model.head[3].bias[0] += 1
    assert open_start(vqa).identity != start.identity # it is another model now, whatever its file

def test_a_rounded_model_is_told(folder):
    vqa = load_model(folder, device="cpu", dtype="bfloat16")
    start = open_start(vqa)
    assert "in bfloat16, and its weights are rounded to it" in start.notes[-1]
    assert {p.dtype for p in start.build(ANSWERS).parameters()} == {torch.float32}

@pytest.mark.parametrize("name, wanted", [("beit3_base_patch16_224", None), ("beit3_large_indomain_patch16_224.pth", None), ("beit3_base_itc_patch16_224", 224)])
def test_a_pretraining_name(name, wanted, tmp_path, monkeypatch):
    content = saved(tmp_path/"w.pth", {**wide(), **OTHER_TASKS}).read_bytes()
    path = f"{RELEASES}/{name.removesuffix('.pth')}.pth"
    with FileServer({path: content, f"{RELEASES}/beit3.spm": (GOLDEN/"tiny.spm").read_bytes()}) as server:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(server))
        start = open_start(name, config={"num_heads": 4}, image_size=wanted)
        asked = len(server.requests)
        assert open_start(name, config={"num_heads": 4}, image_size=wanted).identity == start.identity and len(server.requests) == asked
    assert (start.kind, start.answers, start.config.image_size) == ("pretraining", None, wanted or 480) and start.tokenizer is not None
    notes = " | ".join(start.notes)
    assert "4 tensors of the checkpoint are for other tasks and left out: 'mlm_head.weight', 'mim_head.bias', 'language_decoder.fc.weight', …" in notes
    assert "1 tensor beside the model's weights is left out ('logit_scale')" in notes
    assert "pooler and head are made anew" in notes and ("positions are resized to 480" in notes) == (wanted is None)
    with pytest.raises(UserError, match="no VQA head; use .*_vqa, or fine-tune it: finetune"): load_model(name.removesuffix(".pth"), device="cpu")

def test_positions_become_float32_before_they_are_resized(tmp_path):
    start = open_start(saved(tmp_path/"w.pth", wide()), config={"num_heads": 4})
    half = wide()["beit3.encoder.embed_positions.A.weight"]
    built = start.build(["yes", "no"])
    exact = resize_positions(half.float(), 30)
    assert torch.equal(built.image_embedding.positions, exact) and not torch.equal(exact, resize_positions(half, 30).float())
    assert torch.equal(built.image_embedding.positions[:3], half[:3].float()) # padding and cls stay
    whole = to_official(built.state_dict())
    assert all(torch.equal(whole[name], tensor.float()) for name, tensor in wide().items() if "positions.A" not in name)

@pytest.mark.parametrize("size, wanted, becomes", [(224, None, 480), (384, None, 384), (64, None, 64), (64, 96, 96), (224, 224, 224)])
def test_sizes_of_a_pretraining_file(size, wanted, becomes, tmp_path):
    start = open_start(saved(tmp_path/"w.pth", wide(size)), config={"num_heads": 4}, image_size=wanted)
    assert start.config.image_size == becomes and len(start.weights["image_embedding.positions"]) == 3 + (becomes//16)**2
    assert any("positions are resized" in note for note in start.notes) == (becomes != size)

def test_a_checkpoint_of_another_size(folder):
    start = open_start(folder, image_size=96)
    assert start.build(ANSWERS)(torch.rand(1, 3, 96, 96), torch.tensor([[0, 5, 2]])).shape == (1, 40)
    assert start.notes == ("the checkpoint is for pictures of 64 pixels; its positions are resized to 96 (4×4 patches to 6×6): image_size=64 (--image-size 64) would leave them",)
    assert torch.equal(start.weights["image_embedding.positions"], resize_positions(open_start(folder).weights["image_embedding.positions"], 6))
    assert "image_size 100 is not a multiple of patch_size 16; the nearest is 96" in failure(folder, image_size=100)
    for wrong in (0, -64, 64., "64", True): assert "image_size (--image-size) must be a whole number of 1 or more" in failure(folder, image_size=wrong)

def test_what_is_drawn_is_the_references():
    "Source of the figures: unilm's own `trunc_normal_(std=.02, a=-.02, b=.02)`: a deviation of 0.0108, and nothing beyond 0.02."
    theirs = torch.nn.init.trunc_normal_(torch.empty(400_000), std=.02, a=-.02, b=.02, generator=torch.Generator().manual_seed(0)).double()
    ours = draw_matrix("head.0.weight", (400, 1000), 3).flatten().double()
    points = torch.linspace(-.02, .02, 41, dtype=torch.float64)
    def below(values): return torch.stack([(values <= p).double().mean() for p in points])
    assert (below(ours) - below(theirs)).abs().max() < .004 # Kolmogorov and Smirnov's distance; 0.1 % of pairs are farther apart
    assert ours.abs().max() <= .02 and abs(ours.std() - .010794) < 3e-5

def test_a_seed_draws_the_same_head_everywhere():
    config = Beit3Config(image_size=32, embed_dim=8, num_heads=2, num_layers=1, ffn_dim=8, vocab_size=9, num_classes=3, max_text_positions=9)
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, two, other = draw_head(config, 1), draw_head(config, 1), draw_head(config, 2)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist() # nobody else's draws move
    assert same(one, two) and {n for n in one if not torch.equal(one[n], other[n])} == {"pooler.dense.weight", "head.0.weight", "head.3.weight"}
    assert np.allclose(draw_matrix("head.3.weight", (2, 2), 42), PINNED, rtol=1e-6)
    grown = draw_head(replace(config, num_classes=5), 1)
    assert torch.equal(grown["head.0.weight"], one["head.0.weight"]) # more answers move no other draw

PINNED = [[0.01634717918932438, 0.01883186399936676], [0.01670011878013611, 0.011183281429111958]]

def without(*parts): return {name: tensor for name, tensor in RAW.items() if not any(part in name for part in parts)}

@pytest.mark.parametrize("weights, says", [
    (without("head.3"), "head.3.weight is missing"), # a part of a head is no pretraining file
    (without("pooler", "head.3"), "head.3.bias, head.3.weight, pooler.dense.bias and 3 more are missing"),
    (without("pooler"), "pooler.dense.weight is missing"),
    (without("pooler", "head", "layers.1.ffn.B.fc1.bias"), "beit3.encoder.layers.1.ffn.B.fc1.bias is missing"),
    (without("pooler", "head", "mask_token"), "beit3.vision_embed.mask_token is missing"),
    ({**RAW, "mlm_head.bias": torch.zeros(3)}, "mlm_head.bias is not known to a BEiT-3 VQA model"),
    ({"blocks.0.attn.qkv.weight": torch.zeros(3, 3), "cls_token": torch.zeros(1, 1, 3)}, "these weights are not BEiT-3's"),
    ({**ENCODER, "beit3.text_embed.weight": torch.zeros(200, 32)}, "config says|weights of a wrong shape|do not fit together"),
    ({**ENCODER, "beit3.text_embed.weight": torch.full((200, 64), torch.nan)}, "text_embedding.tokens.weight holds NaN or infinity"),
    ({**ENCODER, "beit3.text_embed.weight": torch.ones(200, 64, dtype=torch.int8)}, "the weights are quantised"),
    ({**ENCODER, "beit3.encoder.layers.999999999.ffn.A.fc1.bias": torch.zeros(2)}, "would be of layer"),
])
def test_what_is_no_start(weights, says, tmp_path):
    said = failure(saved(tmp_path/"w.pth", weights), config={"num_heads": 4})
    assert re.search(says, said), said

def test_heads_of_an_unpublished_width_are_asked_for(tmp_path):
    assert "the number of heads does not follow from weights of width 64; pass config=" in failure(saved(tmp_path/"w.pth", ENCODER))
    assert "config says num_layers=4, but the weights have 3" in failure(saved(tmp_path/"w.pth", ENCODER), config={"num_heads": 4, "num_layers": 4})

@pytest.fixture
def another_tokenizer(tmp_path):
    (tmp_path/"other.spm").write_bytes((sample_folder()/"sentencepiece.model").read_bytes())
    return tmp_path/"other.spm" # of 185 ids

def test_a_tokenizer_of_more_words_than_the_model_has(another_tokenizer, tmp_path):
    few = {**ENCODER, "beit3.text_embed.weight": ENCODER["beit3.text_embed.weight"][:100]}
    said = failure(saved(tmp_path/"w.pth", few), config={"num_heads": 4}, tokenizer=another_tokenizer)
    assert "has 185 ids, but the model knows 100: it is not the model's tokenizer" in said

def test_another_tokenizer_than_the_checkpoints_own_is_told(folder, another_tokenizer):
    start = open_start(folder, tokenizer=another_tokenizer)
    assert start.notes[-1].startswith("the tokenizer given is another than the checkpoint's own")
    assert start.tokenizer.sha256 == Tokenizer(another_tokenizer).sha256

def test_a_checkpoint_without_a_tokenizer(folder):
    (folder/"sentencepiece.model").unlink()
    bare = open_start(folder)
    assert bare.tokenizer is None
    with pytest.raises(UserError, match=r"pass tokenizer=… \(--tokenizer\)"): bare.require_tokenizer()
    given = open_start(folder, tokenizer=GOLDEN/"tiny.spm")
    assert given.require_tokenizer().sha256 == Tokenizer(GOLDEN/"tiny.spm").sha256 and given.notes == ()

def test_averaged_weights_are_told_and_taken_by_their_key(tmp_path):
    averaged = {name: tensor + 1 for name, tensor in RAW.items()}
    path = saved(tmp_path/"w.pth", RAW, model_ema=averaged)
    usual, ema = open_start(path, config=CONFIG), open_start(path, config=CONFIG, weights_key="model_ema")
    assert "holds averaged weights (EMA) under 'model_ema'" in usual.notes[0] and ema.identity == usual.identity + ", model_ema"
    assert torch.equal(ema.weights["head.0.bias"], usual.weights["head.0.bias"] + 1)

@pytest.mark.parametrize("wrong, says", [
    (5, "checkpoint must be a name or a path, not 5"), (None, "checkpoint must be a name or a path, not None"),
    ("beit3_base_patch16_224_vqa", "did you mean beit3_base_patch16_480_vqa"), ("nowhere/w.pth", "does not exist")])
def test_what_cannot_be_found(wrong, says): assert says in failure(wrong)

def test_a_local_file_of_a_pretraining_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(PRETRAINING) == 6
    saved(Path("beit3_base_patch16_224.pth"), wide(64))
    assert open_start("beit3_base_patch16_224.pth", config={"num_heads": 4}).config.image_size == 64

def test_a_published_name_brings_its_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    monkeypatch.setattr(starting, "official_answers", lambda count: [f"official {i}" for i in range(count)])
    files = {f"{RELEASES}/beit3_base_patch16_480_vqa.pth": TINY.read_bytes(), f"{RELEASES}/beit3.spm": (GOLDEN/"tiny.spm").read_bytes()}
    with FileServer(files) as server:
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(server))
        start = open_start("beit3_base_patch16_480_vqa", config=CONFIG)
    assert start.answers == [f"official {i}" for i in range(40)] and len(start.match(["official 3", "other"])) == 1

def test_answers_that_are_no_list_are_refused(folder):
    start = open_start(folder)
    for wrong in (["yes", "yes"], [], ["yes", 3]):
        with pytest.raises(UserError): start.build(wrong)
