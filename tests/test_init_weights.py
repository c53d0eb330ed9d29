"Weights to train from scratch with: every kind of layer has the deviation, the range and the biases of its recipe."
import math

import pytest
import torch

from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights

LAYERS, D, FFN = 6, 192, 768
GAIN = math.sqrt(math.log(2*LAYERS)) # Magneto's, encoder-only
CUT = .5396 # deviation of a normal distribution that is cut at one deviation


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return init_weights(Beit3ForVQA(Beit3Config(image_size=64, embed_dim=D, num_heads=3, num_layers=LAYERS, ffn_dim=FFN,
                                                vocab_size=500, num_classes=300)))

def experts(model): return [expert for layer in model.layers for expert in (layer.image, layer.text)]

def check_xavier(w, gain):
    "Uniform, as wide as Xavier's rule with this gain."
    most = gain*math.sqrt(6/sum(w.shape))
    assert .98 < w.abs().max().item()/most <= 1 + 1e-6
    assert w.std().item() == pytest.approx(most/math.sqrt(3), rel=.02)

def check_cut(w, std):
    assert w.std().item() == pytest.approx(CUT*std, rel=.02)
    assert .98*std < w.abs().max().item() <= std


def test_queries_and_keys_are_xavier(model):
    for expert in experts(model):
        for w in expert.qkv.weight[:2*D].split(D): check_xavier(w, 1)

def test_values_output_and_feed_forward_have_the_gain(model):
    for expert in experts(model):
        for w in (expert.qkv.weight[2*D:], expert.out.weight, expert.fc1.weight, expert.fc2.weight):
            check_xavier(w, GAIN)

def test_gain_of_a_single_layer_is_less_than_one():
    torch.manual_seed(0)
    model = init_weights(Beit3ForVQA(Beit3Config(image_size=32, embed_dim=D, num_heads=3, num_layers=1, ffn_dim=FFN,
                                                 vocab_size=50, num_classes=30)))
    check_xavier(model.layers[0].image.fc1.weight, math.sqrt(math.log(2)))

def test_pooler_and_head_are_cut_at_one_deviation(model):
    for linear in (model.pooler.dense, model.head[0], model.head[3]): check_cut(linear.weight, .02)

def test_embeddings(model):
    image, text = model.image_embedding, model.text_embedding
    for table in (text.tokens.weight, text.positions, image.positions):
        assert table.std().item() == pytest.approx(.02, rel=.05)
        assert table.abs().max() > .03 # not cut at one deviation
    assert image.cls_token.std().item() == pytest.approx(.02, rel=.2)
    check_xavier(image.proj.weight.flatten(1), 1)
    assert not image.mask_token.any()

def test_std_is_of_embeddings_pooler_and_head_only():
    torch.manual_seed(0)
    model = init_weights(Beit3ForVQA(Beit3Config(image_size=32, embed_dim=D, num_heads=3, num_layers=2, ffn_dim=FFN,
                                                 vocab_size=500, num_classes=300)), std=.5)
    check_cut(model.head[3].weight, .5)
    assert model.text_embedding.tokens.weight.std().item() == pytest.approx(.5, rel=.02)
    check_xavier(model.layers[1].text.out.weight, math.sqrt(math.log(4)))

def test_norms_and_biases_of_before_are_forgotten():
    model = Beit3ForVQA(Beit3Config(image_size=32, embed_dim=24, num_heads=3, num_layers=2, ffn_dim=48, vocab_size=9,
                                    num_classes=5))
    with torch.no_grad():
        for p in model.parameters(): p.fill_(7.)
    test_linear_biases_are_zero(init_weights(model))

def test_linear_biases_are_zero(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Linear): assert not module.bias.any()
        if isinstance(module, torch.nn.LayerNorm): assert (module.weight == 1).all() and not module.bias.any()
