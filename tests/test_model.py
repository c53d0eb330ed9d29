"Float32 logits of a small official-format checkpoint, computed by the reference on torchscale 0.2.0."
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from beit3_colab.model.checkpoint import build_model, convert
from beit3_colab.model.weights_file import read_weights
from beit3_colab.model.weights import from_official
from beit3_colab.model.beit3 import resize_positions
from beit3_colab.model.vqa import load_model
from beit3_colab.pictures.reading import normalize, preprocess
from beit3_colab.scenes import draw_scene, make_scene

GOLDEN = Path(__file__).parent/"golden"


@pytest.fixture(scope="module")
def golden(): return load_file(GOLDEN/"tiny_beit3_vqa.safetensors")

@pytest.fixture(scope="module")
def official(): return read_weights(GOLDEN/"tiny_beit3_vqa.pth")

def model_at(official, size): return build_model(official, {"num_heads": 4}, image_size=size)


@pytest.mark.parametrize("size", [64, 96])
def test_logits_equal_reference(official, golden, size):
    logits = model_at(official, size)(golden[f"image_{size}"], golden["input_ids"], golden["padding_mask"])
    assert (logits - golden[f"logits_{size}"]).abs().max() < 1e-4

@pytest.mark.parametrize("size", [64, 96])
def test_same_logits_without_padding(official, golden, size):
    model = model_at(official, size)
    lengths = (golden["padding_mask"] == 0).sum(1)
    assert len(set(lengths.tolist())) > 1, "the golden batch should be padded"
    for i, n in enumerate(lengths):
        logits = model(golden[f"image_{size}"][i:i+1], golden["input_ids"][i:i+1, :n])
        assert (logits - golden[f"logits_{size}"][i]).abs().max() < 1e-4

def test_open_attention_gives_the_same_logits(official, golden):
    model, maps = model_at(official, 64), []
    logits = model(golden["image_64"], golden["input_ids"], golden["padding_mask"], on_attention=maps.append)
    assert (logits - golden["logits_64"]).abs().max() < 1e-4
    assert [m.shape[1:] for m in maps] == [(4, 17 + 16, 17 + 16)] * 3

def test_resized_positions_equal_reference(official, golden):
    table = resize_positions(official["beit3.encoder.embed_positions.A.weight"], 6)
    assert (table - golden["vision_positions_96"]).abs().max() < 1e-6

def test_wrong_weights_would_be_noticed(official, golden):
    changed = dict(official)
    changed["beit3.encoder.layers.1.ffn.B.ffn_layernorm.weight"] = official["beit3.encoder.layers.1.ffn.B.ffn_layernorm.weight"] * 1.1
    logits = model_at(changed, 64)(golden["image_64"], golden["input_ids"], golden["padding_mask"])
    assert (logits - golden["logits_64"]).abs().max() > 1e-4

@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_conversion_round_trip_is_bit_equal(official, tmp_path, dtype):
    source = {name: tensor.to(dtype) for name, tensor in official.items()}
    torch.save({"model": source}, tmp_path/"a.pth")
    convert(tmp_path/"a.pth", tmp_path/"ours", config=GOLDEN/"tiny_beit3_vqa.config.json")
    convert(tmp_path/"ours", tmp_path/"b.pth")
    back = read_weights(tmp_path/"b.pth")
    assert back.keys() == source.keys()
    assert all(torch.equal(back[n], source[n]) and back[n].dtype == dtype for n in source)

def test_every_official_weight_is_used(official):
    assert sum(t.numel() for t in from_official(official).values()) == sum(t.numel() for t in official.values())

def test_attention_is_that_of_the_network_that_answers():
    "While attention is collected the logits are those without, and every layer's weights are its own: no layer sees what a collector keeps."
    vqa, picture, question = load_model("sample", device="cpu"), draw_scene(make_scene(7)), "What is the weather like?"
    pixels = normalize(torch.from_numpy(preprocess(picture, vqa.config.image_size))[None])
    ids, seen, kept = torch.tensor([vqa.tokenizer.encode(question)]), [], []
    hook = vqa.model.head.register_forward_hook(lambda head, given, logits: seen.append(logits.detach()))
    attention = vqa.attention(picture, question)
    hook.remove()
    with torch.inference_mode():
        assert (seen[0] - vqa.model(pixels, ids)).abs().max() < 1e-4
        vqa.model(pixels, ids, on_attention=kept.append)
    assert len(kept) == vqa.config.num_layers == len(attention.matrices)
    for matrix, heads, weights in zip(attention.matrices, attention.weights, kept):
        assert torch.allclose(matrix, weights[0].mean(0), atol=1e-6)
        assert torch.allclose(heads[:, 0].flatten(1), weights[0][:, 0, 1:1 + vqa.config.num_patches], atol=1e-6) # of cls
