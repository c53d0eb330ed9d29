"""float8 with norms folded into products: rows are rounded by a scale that is known before they are complete.

The products' kernel is run in `test_rounded_products.py`, attention's in `test_rounded_attention.py`; the others are compared with their plain forms here."""
import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from test_folding import broken, folds
from test_kernel_fallback import ask, pretend, small_vqa
from test_overflow import float8_products
from test_speed import need_triton, run_kernels

from beit3_colab.machine.messages import UserError
from beit3_colab.model import folded_float8, fused
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.folded import FoldedBeit3
from beit3_colab.model.folded_float8 import can_round, fold_norm_float8, lay_out, multiply_rounded_rows, round_rows, RoundedBeit3
from beit3_colab.model.folded_float8 import expected_scale, rounded_statistics, try_rounding
from beit3_colab.model.fused import FastBeit3
from beit3_colab.model.kernels import attend_rounded_rows, row_moments

KERNELS = "multiply_rounded_rows", "rounded_statistics", "round_rows", "attend_rounded_rows"
CPU, E4M3 = torch.device("cpu"), torch.float8_e4m3fn


def small_model(**more):
    torch.manual_seed(0)
    config = Beit3Config(image_size=64, embed_dim=128, num_heads=2, num_layers=3, ffn_dim=512, vocab_size=100, num_classes=300)
    return init_weights(Beit3ForVQA(config), **more).eval().requires_grad_(False)

def questions():
    torch.manual_seed(1)
    return (torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8), torch.randint(4, 99, (4, 6)),
            torch.tensor([0, 1, 1, 0]), torch.tensor([6, 3, 6, 2]))

def off_by(found, exact): return ((found - exact).pow(2).mean().sqrt() / exact.std()).item()


# numbers

def test_what_was_rounded_is_a_few_percent_off_and_no_more_than_with_norms_between(float8_products):
    for std in (.02, .05):
        model, given = small_model(std=std), questions()
        exact = FastBeit3(model, fused=False)(*given)
        found, between = (form(*given) for form in (RoundedBeit3(model, fused=False), FastBeit3(model, float8=True, fused=False)))
        assert 0.005 < off_by(found, exact) < 0.15 and off_by(found, exact) < 1.3*off_by(between, exact)

def test_weights_and_rows_of_any_size_give_the_same():
    "A scale for a matrix, and one for each row: what is a power of two larger is rounded to the same digits."
    torch.manual_seed(0)
    norm, linear = torch.nn.LayerNorm(128).requires_grad_(False), torch.nn.Linear(128, 64, bias=False).requires_grad_(False)
    x, no_bias = torch.randn(9, 128) + .5, torch.zeros(64)
    def run(rows, weight, eps=1e-12):
        scale = rounded_statistics(row_moments(rows), 128, eps)[2]
        rounded, out = torch.empty_like(rows, dtype=E4M3), torch.empty(9, 64)
        round_rows(rows, scale, rounded)
        multiply_rounded_rows(rounded, rounded_statistics(row_moments(rows), 128, eps, scale), *fold_norm_float8(norm, weight, no_bias), out)
        return out
    first = run(x, linear.weight)
    assert off_by(first, F.linear(F.layer_norm(x, (128,)), linear.weight)) < .04
    assert torch.allclose(run(x*2**8, linear.weight), first, atol=1e-5) and torch.allclose(run(x, linear.weight*2**-9)*2**9, first, atol=1e-5)

@pytest.mark.parametrize("width", [64, 768, 3072])
def test_what_may_not_have_fitted_is_nan_and_nothing_else(width):
    "Where a number is beyond 448 when it is scaled, the row is NaN; a row of ordinary numbers may grow some hundredfold."
    torch.manual_seed(0)
    scale = torch.rand(400) + .01
    rows = torch.randn(400, width) * torch.logspace(-3, 4, 400)[:, None] / scale[:, None]
    rows[::7, 3] *= 300 # one channel stands out
    _, of_row, following = rounded_statistics(row_moments(rows), width, 1e-5, scale)
    assert all(a.equal(b) for a, b in zip(rounded_statistics(row_moments(rows), width, 1e-5, 3.).nan_to_num(-1),
                                          rounded_statistics(row_moments(rows), width, 1e-5, torch.full((400,), 3.)).nan_to_num(-1))) # one for all
    too_large = (rows.abs()*scale[:, None]).amax(1) > 448
    assert too_large.any() and of_row[too_large].isnan().all()
    fits = (rows*scale[:, None]).norm(dim=1) <= 447
    assert fits.any() and of_row[fits].isfinite().all() and following.isfinite().all()

def test_a_row_that_does_not_fit_gives_no_number():
    model, given = small_model(), questions()
    model.layers[1].image.fc2.weight *= 2**14 # a stream that grows 10,000-fold within a layer
    model.layers[1].image.fc2.bias += 2**12
    assert FastBeit3(model, fused=False)(*given).isfinite().all()
    assert RoundedBeit3(model, fused=False)(*given).isnan().all()

def test_a_hidden_row_that_does_not_fit_gives_no_number():
    model, given = small_model(), questions()
    model.layers[0].image.fc1.bias += 100.
    assert FastBeit3(model, fused=False)(*given).isfinite().all()
    assert RoundedBeit3(model, fused=False)(*given).isnan().all()

def test_rows_of_the_question_in_the_picture_s_stream_spoil_nothing():
    "They hold zeros at first and nonsense later, which may not fit; no other row looks at them."
    model, (images, ids, rows, counts) = small_model(), questions()
    exact, found = FastBeit3(model, fused=False), RoundedBeit3(model, fused=False)
    for length in (1, 6):
        given = images, ids[:, :length], rows, counts.clamp_max(length)
        assert off_by(found(*given), exact(*given)) < .15

def test_a_scale_that_is_known_beforehand_is_that_of_what_comes():
    "What a norm and the weights after it make of any rows has the size that was told from the weights; their common mean does not count."
    torch.manual_seed(0)
    rows = F.layer_norm(torch.randn(2000, 256), (256,))
    for size, mean, bias in ((.02, 0, 0), (3, 1, 5), (1e-3, .5, 0), (1, 0, 20)):
        weight, bias = torch.randn(256, 256)*size + mean, torch.randn(256)*bias
        scaled = (rows @ weight.t() + bias) * expected_scale(weight, bias)
        assert scaled.pow(2).mean().sqrt().item() == pytest.approx(folded_float8.EXPECTED_SIZE, rel=.02), (size, mean)
    nothing = expected_scale(torch.zeros(8, 8, dtype=torch.half), torch.zeros(8))
    assert 0 < nothing < float("inf") # rows of zeros stay such

def scaled_by(model, factor):
    "The form in e4m3, with attended rows scaled otherwise."
    form = RoundedBeit3(model, fused=False)
    for image, _ in form.folded: image.attended_scale *= factor
    return form

def test_a_wrong_scale_after_attention_costs_digits_or_gives_no_number():
    model, given = small_model(), questions()
    exact = FastBeit3(model, fused=False)(*given)
    errors = [off_by(scaled_by(model, factor)(*given), exact) for factor in (1, 8, 1/8, 1e-3)]
    assert max(errors[:3]) < .15 and errors[3] > 2*errors[0]
    assert scaled_by(model, 1e3)(*given).isnan().all()

def test_values_that_are_larger_than_their_weights_tell_give_no_number():
    "One direction in all rows, and in the weights of all values: these are 11 times what they would be if the two had nothing in common."
    model, given = small_model(), questions()
    direction = torch.where(torch.arange(128) % 2 == 0, 1., -1.)
    model.image_embedding.positions += 50*direction
    model.image_embedding.cls_token += 50*direction
    model.layers[0].image.qkv.weight[256:] = direction
    assert FastBeit3(model, fused=False)(*given).isfinite().all() and RoundedBeit3(model, fused=False)(*given).isfinite().all()
    assert scaled_by(model, 2)(*given).isfinite().all() and scaled_by(model, 16)(*given).isnan().all()

def test_rows_of_the_question_that_do_not_fit_give_no_number():
    "They are cut off where they are rounded, and the question's own statistics do not know of it."
    model, given = small_model(), questions()
    image, text = model.layers[0].image, model.layers[0].text
    first, second = torch.arange(128) % 64 == 0, torch.arange(128) % 64 == 1 # channels of each head
    for expert, part, channels, size in ((image, 0, second, 12), (text, 0, first, 12), (text, 1, first, 12), (text, 1, second, -12)):
        expert.qkv.weight[128*part:128*(part + 1)][channels] = 0 # nothing is lost when these are rounded
        expert.qkv.bias[128*part:128*(part + 1)][channels] = size # the question looks only at itself, and the picture not at it
    exact = FastBeit3(model, fused=False)(*given)
    assert off_by(RoundedBeit3(model, fused=False)(*given), exact) < .15
    text.qkv.bias[256:] += torch.linspace(-1e4, 1e4, 128)
    form, seen = RoundedBeit3(model, fused=False), []
    after = form.folded[0][0].after_attention
    def watch(*args):
        seen.append(after(*args))
        return seen[-1]
    form.folded[0][0].after_attention = watch
    assert FastBeit3(model, fused=False)(*given).isfinite().all() and form(*given).isnan().all()
    of_picture = seen[0][1].view(3, 4, -1)[:, :, :17]
    assert of_picture.isfinite().all() # the picture's own rows of this layer are whole

def spoil_words(model, layer, part, size):
    "One channel of the question's queries (part 0) or keys (1): so large it is when it is rounded, at the scale of the picture's."
    scale = RoundedBeit3(model, fused=False).folded[layer][0].of_qk[128*part].item()
    model.layers[layer].text.qkv.weight[128*part + 5] = 0
    model.layers[layer].text.qkv.bias[128*part + 5] = size/scale
    return model

@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("part", [0, 1])
def test_the_question_s_queries_or_keys_that_do_not_fit_give_no_number(part, layer):
    "They are rounded at the scale of the picture's, which knows nothing of them. Some PyTorch would cut them off."
    given = questions()
    for size in (60, 440, -440, 449, -449, 470, 1e3, -1e6):
        model = spoil_words(small_model(), layer, part, size)
        exact, found = FastBeit3(model, fused=False)(*given), RoundedBeit3(model, fused=False)(*given)
        assert exact.isfinite().all()
        if abs(size) > 448: assert found.isnan().all(), size
        else: assert off_by(found, exact) < .4, size # scores of hundreds: a step of e4m3 is much there

def wide_model(part, blend):
    "One direction in all rows, and in the weights of one channel of the picture's queries or keys, whose size is spread over 1,024 channels when the scale is told."
    torch.manual_seed(0)
    config = Beit3Config(image_size=32, embed_dim=1024, num_heads=16, num_layers=2, ffn_dim=64, vocab_size=50, num_classes=30)
    model = init_weights(Beit3ForVQA(config)).eval().requires_grad_(False)
    direction = torch.where(torch.arange(1024) % 2 == 0, 1., -1.)
    model.image_embedding.positions += 50*direction
    model.image_embedding.cls_token += 50*direction
    model.layers[0].image.qkv.weight[1024*part + 5] = 20*(blend*direction + (1 - blend**2)**.5*torch.randn(1024))
    return model

@pytest.mark.parametrize("part", [0, 1])
def test_the_picture_s_queries_or_keys_that_do_not_fit_give_no_number(part):
    given = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8), torch.randint(4, 49, (2, 6))
    for blend, fits in ((.8, True), (.95, False)): # 410 and 486
        model = wide_model(part, blend)
        exact, found = FastBeit3(model, fused=False)(*given), RoundedBeit3(model, fused=False)(*given)
        assert exact.isfinite().all()
        if fits: assert off_by(found, exact) < .05
        else: assert found.isnan().all()

def times(model, of_queries, of_keys, layers=None):
    "Queries and keys of some layers, multiplied."
    for layer in model.layers[:layers]:
        for expert in (layer.image, layer.text):
            for t in (expert.qkv.weight, expert.qkv.bias):
                t[:128] *= of_queries
                t[128:256] *= of_keys
    return model

@pytest.mark.parametrize("std", [.02, .05])
def test_large_queries_and_small_keys_give_what_equal_ones_give(std):
    "Each part has a scale of its own."
    given = questions()
    exact = FastBeit3(small_model(std=std), fused=False)(*given)
    first, found, other = (RoundedBeit3(times(small_model(std=std), *factors), fused=False)(*given) for factors in ((1, 1), (1000, 1/1000), (1/1000, 1000)))
    assert max(off_by(x, exact) for x in (first, found, other)) < .15 and off_by(found, first) < .03
    for factors in ((2**10, 2**-10), (2**6, 2**-6)): # powers of two change no digit of what is rounded
        assert torch.allclose(RoundedBeit3(times(small_model(std=std), *factors, 2), fused=False)(*given), first, atol=1e-5)
    assert not torch.allclose(RoundedBeit3(times(small_model(std=std), 2**10, 2**-9, 2), fused=False)(*given), first, atol=1e-2)

@pytest.mark.parametrize("factors", [(2, 1), (1, 2), (4, 1), (1/2, 1), (1, 1/4), (8, 1/16)])
def test_a_factor_between_queries_and_keys_is_told_right(factors):
    "Scores are multiplied, and results are others: those that the form without rounding gives."
    given, model = questions(), times(small_model(), *factors)
    exact, before = FastBeit3(model, fused=False)(*given), FastBeit3(small_model(), fused=False)(*given)
    form = RoundedBeit3(model, fused=False)
    error = off_by(form(*given), exact)
    assert error < .25 and off_by(before, exact) > 2*error
    of_one = [image.qk_scale for image, _ in form.folded]
    for wrong in (1/4, 4):
        for (image, _), scale in zip(form.folded, of_one): image.qk_scale = wrong*scale
        assert off_by(form(*given), exact) > 1.2*error


# which form runs

def test_float8_takes_the_form_without_passes_where_it_can(folds, float8_products):
    folds()
    told, vqa, exact = [], small_vqa(float8=True), ask(small_vqa())
    vqa.compiles = True
    found = ask(vqa, told=told)
    assert type(vqa.fast) is RoundedBeit3 and vqa.fast.float8 and vqa.form == "kernels" and not told
    assert [f.confidences for f in found] != [f.confidences for f in exact]
    assert type(lay_out(vqa.model)) is FoldedBeit3 and type(lay_out(vqa.model, float8=True, fold=False)) is FastBeit3

@pytest.mark.parametrize("name", [*KERNELS, "row_statistics", "place_tokens"])
@pytest.mark.parametrize("good", [0, 1])
def test_norms_between_products_go_on_where_it_fails(folds, float8_products, name, good):
    folds(**{name: broken(name, good)})
    told, vqa = [], small_vqa(float8=True)
    vqa.compiles = True
    for _ in range(2): found = ask(vqa, told=told)
    assert type(vqa.fast) is FastBeit3 and vqa.fast.float8 and not vqa.kernel_fault
    assert len(told) == 1 and f"{name}: RuntimeError: Triton Error" in told[0] and "those without that answer" in told[0]
    assert found == ask(vqa)

def test_wrong_numbers_are_seen_at_the_first_batch(folds, float8_products):
    folds(round_rows=lambda rows, scale, out: round_rows(rows.flip(0), scale, out))
    told, vqa = [], small_vqa(float8=True)
    vqa.compiles = True
    ask(vqa, told=told)
    assert type(vqa.fast) is FastBeit3 and len(told) == 1 and "do not agree with the plain form" in told[0]

def test_without_any_form_float8_ends_with_a_sentence(folds, monkeypatch):
    folds(multiply_rounded_rows=broken("multiply_rounded_rows"))
    def none(*args, **more): raise RuntimeError("no such product here")
    monkeypatch.setattr(fused, "_multiply", fused.guarded_kernel(none, "product in float8"))
    vqa = small_vqa(float8=True)
    vqa.compiles = True
    with pytest.raises(UserError, match="dtype='float8' has no form without kernels, and they do not run here .product in float8"): ask(vqa)

def test_no_other_device_takes_it():
    assert not can_round(CPU, torch.float16, 64) and try_rounding(CPU, torch.float16) == {}
    assert type(lay_out(small_model(), float8=True)) is FastBeit3

def attend_once(qk, v, batch, heads, counts, least, qk_scale, scale):
    "As the kernel does, but without its second way: weights that do not fit into half precision are infinite."
    q, k, values = (x.reshape(batch, -1, heads, v.shape[1] // heads).transpose(1, 2).float() for x in (*qk.chunk(2, 1), v))
    scores, row = q @ k.transpose(2, 3) / (q.shape[3]**.5*qk_scale), torch.arange(q.shape[2]) # [B, heads, n, n]
    count = (torch.full((batch,), len(row)) if counts is None else counts)[:, None, None, None]
    scores = scores.masked_fill(row >= count, -torch.inf)
    of_last = scores.masked_fill(row < (count - 1) // 64*64, -torch.inf).amax(3, keepdim=True)
    p = ((scores - of_last).exp()/256).half().float()
    rows = (p @ values / p.sum(3, keepdim=True)).transpose(1, 2).reshape(v.shape)
    return (rows*scale).clamp(-448, 448).to(E4M3), row_moments(rows, heads)

def test_the_doctor_tries_every_kernel(folds, monkeypatch):
    folds()
    assert try_rounding(CPU, torch.float16) == dict.fromkeys(KERNELS, "")
    for name, wrong in (
        ("multiply_rounded_rows", lambda *args, **more: multiply_rounded_rows(args[0], args[1]*1.1, *args[2:], **more)),
        ("rounded_statistics", lambda moments, width, eps, scale: rounded_statistics(moments, width, eps, scale if torch.is_tensor(scale) else 1.)),
        ("rounded_statistics", lambda moments, width, eps, scale: rounded_statistics(moments, width, eps, 1. if torch.is_tensor(scale) else scale)),
        ("round_rows", lambda rows, scale, out: round_rows(rows, scale.flip(0), out)),
        ("attend_rounded_rows", lambda *args: attend_rounded_rows(*args[:-1], 1.5*args[-1])),
        ("attend_rounded_rows", lambda *args: attend_rounded_rows(*args[:-2], 1.5*args[-2], args[-1])),
        ("attend_rounded_rows", attend_once)):
        with monkeypatch.context() as patch:
            patch.setattr(folded_float8, f"fused_{name}", wrong)
            found = try_rounding(CPU, torch.bfloat16)
            assert "its numbers are up to" in found.pop(name) and set(found.values()) == {""}


# kernels

CODE = """
import torch
from beit3_colab.model.folded_float8 import *
from beit3_colab.model.folded_float8 import fused_round_rows, fused_rounded_statistics
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
draw = lambda *size: torch.randn(*size, device=device)
checked = 0
for parts in (1, 3, 12):
    moments = torch.stack((draw(parts, 133), draw(parts, 133).abs() + 1), 2)
    moments[:, ::9] *= 1e6 # these do not fit
    for scale in (1., .7, draw(133).abs() + .1):
        plain, found = rounded_statistics(moments, 50, 1e-5, scale), fused_rounded_statistics(moments, 50, 1e-5, scale)
        assert plain[1].isnan().any() and torch.equal(plain.isnan(), found.isnan()) and torch.allclose(plain.nan_to_num(), found.nan_to_num(), rtol=1e-4, atol=1e-4)
        checked += 1
for count, width in ((5, 96), (70, 64), (1, 768)):
    rows, scale = 3*draw(count, width).half(), draw(count).abs()*20
    rows[0, :3] = torch.tensor([600., -600, 0])
    plain, found = (torch.empty(count, width, dtype=torch.float8_e4m3fn, device=device) for _ in range(2))
    round_rows(rows, scale, plain), fused_round_rows(rows, scale, found)
    plain, found = plain.float(), found.float()
    assert plain[0, 0] == found[0, 0] == 448 and plain[0, 1] == found[0, 1] == -448
    if device == "cpu": found = torch.where(2*found == plain, plain, found) # the interpreter rounds its own way, and up to a power of two without carrying
    assert ((plain - found).abs() <= plain.abs()/7 + 2**-9).all() and (device == "cpu" or torch.equal(plain, found))
    checked += 1
print("checked", checked)
"""

def test_the_small_kernels_agree_with_their_plain_forms():
    need_triton("3.6") # older ones have no such form
    assert "checked 12" in run_kernels(CODE)


def test_a_triton_whose_gluon_has_moved_costs_this_form_only():
    need_triton("3.6")
    code = """
import sys, triton
sys.modules["triton.experimental.gluon.nvidia.hopper"] = None
from beit3_colab.model import folded_float8, vqa
print(folded_float8.gluon, vqa.lay_out.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "None lay_out\n", done.stderr


if torch.cuda.is_available() and torch.cuda.get_device_capability()[0] == 9: # what only Hopper can show is there where one is
    class TestOnHopper:
        @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
        def test_the_kernels_work(self, dtype):
            found = try_rounding(torch.device("cuda"), getattr(torch, dtype))
            assert set(found) == set(KERNELS) and set(found.values()) == {""}

        @pytest.mark.parametrize("size", [64, 192, 768]) # less than a tile, no multiple of one, some
        def test_products_agree_to_the_rounding_of_their_sums(self, size):
            torch.manual_seed(0)
            def draw(*size): return torch.randn(*size, device="cuda")
            for count in (3, 130, 20_000):
                x, out, statistics = draw(count, size), draw(count, size).half(), torch.stack((draw(count), draw(count).abs() + .5))
                w, scale, sums, bias = fold_norm_float8(torch.nn.LayerNorm(size, device="cuda"), draw(size, size)/size**.5, draw(size))
                first, second = out.clone(), out.clone()
                multiply_rounded_rows(x.to(E4M3), statistics, w, scale, sums, bias, first, torch.empty_like(x, dtype=E4M3), statistics[1])
                folded_float8.fused_multiply_rounded_rows(x.to(E4M3), statistics, w, scale, sums, bias, second, torch.empty_like(x, dtype=E4M3), statistics[1])
                assert off_by(second.float(), first.float()) < 2e-3

        def test_without_moments_what_does_not_fit_is_nan_and_nothing_else(self):
            torch.manual_seed(0)
            def draw(*size): return torch.randn(*size, device="cuda")
            for count, width, outs in ((3, 64, 96), (1000, 768, 1536)):
                x, statistics = draw(count, width), torch.stack((draw(count), draw(count).abs() + .5, draw(count)))
                statistics[1, 1::2] *= 200
                layer = fold_norm_float8(torch.nn.LayerNorm(width, device="cuda"), draw(outs, width)/width**.5, draw(outs))
                exact, rounded, memory = torch.empty(count, outs, device="cuda"), torch.empty(count, outs, device="cuda", dtype=E4M3), statistics.clone()
                multiply_rounded_rows(x.to(E4M3), statistics, *layer, exact)
                assert folded_float8.fused_multiply_rounded_rows(x.to(E4M3), statistics, *layer, None, rounded, give_moments=False) is None
                off = .03*statistics[1, :, None] # sums in e4m3 keep fewer digits
                beyond, near, rounded = exact.abs() > 448, (exact.abs() - 448).abs() < off, rounded.float()
                assert torch.equal(statistics, memory) and 0 < beyond.sum() < beyond.numel()/2 and near.float().mean() < .02
                assert torch.equal(rounded.isnan()[~near], beyond[~near])
                assert ((rounded - exact).abs() <= exact.abs()/7 + off)[~rounded.isnan()].all()

        @pytest.mark.parametrize("part", [0, 1])
        def test_words_that_do_not_fit_give_no_number(self, part):
            given = [t.cuda() for t in questions()]
            for size in (300, 460, 1e3):
                model = copy.deepcopy(spoil_words(small_model(), 0, part, size)).half().cuda()
                found = RoundedBeit3(model)(*given)
                assert found.isnan().all() if size > 448 else found.isfinite().all(), size

        @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
        def test_the_layout_gives_what_the_others_give(self, dtype):
            model, given = small_model().cuda(), [t.cuda() for t in questions()]
            exact = FastBeit3(model, fused=False)(*given)
            model = copy.deepcopy(model).to(getattr(torch, dtype))
            assert off_by(RoundedBeit3(model)(*given).float(), exact) < .15
            model.layers[1].image.fc2.weight *= 2**9
            model.layers[1].image.fc2.bias += 2**12
            assert not RoundedBeit3(model)(*given).isfinite().any()
