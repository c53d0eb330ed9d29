"The fast forms give what the plain ones give: kernels through Triton's interpreter (or on a GPU), the model laid out for a GPU on any device."
import os
import subprocess
import sys

import pytest
import torch
from packaging.version import Version

from beit3_colab.model import kernels
from beit3_colab.model import vqa as predict
from beit3_colab.model.batching import pad_questions
from beit3_colab.machine.messages import UserError
from beit3_colab.model.folded import FoldedBeit3
from beit3_colab.model.fused import COMPILE_FROM, FastBeit3, operations
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights, model_size
from beit3_colab.model.vqa import VQA, load_model, predict_logits

KERNELS = """
import itertools, torch
from beit3_colab.model.kernels import RowMap, attend_cls, attend_rows, cut_patches, fused_attend_cls, fused_attend_rows, fused_cut_patches, fused_norm_rows, norm_rows
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
checked = 0
for width, add, shift, gelu, place in itertools.product((96, 64), (False, True), (False, True), (False, True), ("rows", "source", "target")):
    x, other, s, w, b = (torch.randn(*size, device=device) * 3 for size in ((20, width), (20, width), (width,), (width,), (width,)))
    if place == "source" and add: continue
    kwargs = dict(add=other if add else None, shift=s if shift else None, gelu=gelu)
    if place == "source": kwargs["source"] = RowMap(3, 5, 2)
    if place == "target": kwargs["target"] = RowMap(5, 7, 1)
    first, second = x.clone(), x.clone()
    plain, fused = norm_rows(first, w, b, 1e-5, **kwargs), fused_norm_rows(second, w, b, 1e-5, **kwargs)
    assert torch.equal(first, second)
    if place == "target": plain, fused = (kwargs["target"].view(t) for t in (plain, fused))
    assert torch.allclose(plain, fused, atol=5e-5), (width, add, shift, gelu, place, (plain - fused).abs().max())
    checked += 1
x, w, b = (torch.randn(*size, device=device) for size in ((20, 96), (96,), (96,)))
(plain, scales), (fused, fused_scales) = (form(x, w, b, 1e-5, float8=True) for form in (norm_rows, fused_norm_rows))
assert torch.allclose(scales, fused_scales)
assert (plain.float() - fused.float()).abs().max() <= (32 if device == "cuda" else 64) # steps of e4m3 at the top are 32; the interpreter rounds its own way
for n, heads, d in ((5, 2, 32), (64, 1, 32), (70, 1, 64), (128, 2, 32), (131, 1, 64)):
    qkv = torch.randn(2*n, 3*heads*d, device=device)
    q, kv = torch.randn(2, heads*d, device=device), torch.randn(2*n, 2*heads*d, device=device)
    for counts in (None, torch.tensor([n, max(1, n - 4)], dtype=torch.int32, device=device), torch.tensor([min(n, 64), n], dtype=torch.int32, device=device)):
        near = lambda a, b: torch.allclose(a, b, atol=5e-3 if device == "cuda" else 1e-5)
        for least in (1, n if counts is None else int(counts.min())): assert near(attend_rows(qkv, 2, heads, counts), fused_attend_rows(qkv, 2, heads, counts, least)), (n, counts, least)
        assert near(attend_cls(q, kv, heads, counts), fused_attend_cls(q, kv, heads, counts)), (n, counts)
        checked += 1
images = torch.randint(0, 256, (3, 48, 48, 3), dtype=torch.uint8, device=device)
for dtype in (torch.float32, torch.float16): assert torch.equal(cut_patches(images, 16, dtype), fused_cut_patches(images, 16, dtype))
print("checked", checked)
"""

FOLDED = """
import torch
from beit3_colab.model.folded import *
from beit3_colab.model.folded import fused_multiply_rows, fused_place_tokens, fused_row_statistics
from beit3_colab.model.kernels import attend_rows, fused_attend_rows, row_moments
torch.manual_seed(0)
device, dtype, off = ("cuda", torch.float16, 2e-2) if torch.cuda.is_available() else ("cpu", torch.float32, 1e-4)
draw = lambda *size: torch.randn(*size, device=device)
near = lambda a, b, off: (a.float() - b.float()).abs().max() <= off
checked = 0
for count, width, outs in ((130, 64, 264), (50, 32, 96), (3, 96, 16)): # no multiples of a tile
    for add, gelu in ((False, False), (True, False), (False, True)):
        x, weight, sums, bias, was = draw(count, width).to(dtype), (draw(outs, width)/width**.5).to(dtype), draw(outs), draw(outs), draw(count, outs).to(dtype)
        statistics = row_statistics(row_moments(x), width, 1e-5)
        first, second = was.clone(), was.clone()
        plain = multiply_rows(x, statistics, weight, sums, bias, first, add, gelu, give_moments=True)
        found = fused_multiply_rows(x, statistics, weight, sums, bias, second, add, gelu, give_moments=True)
        assert near(first, second, off) and not torch.equal(first, was), (count, add, gelu, (first - second).abs().max())
        assert near(plain.sum(0), found.sum(0), off*outs**.5*10) and plain.abs().max() > 10, (plain.sum(0) - found.sum(0)).abs().max()
        assert found.shape == (-(-outs//PRODUCT_TILE[1]), count, 2)
        assert fused_multiply_rows(x, statistics, weight, sums, bias, was.clone()) is None
        checked += 1
for parts in (1, 3, 12):
    moments = torch.stack((draw(parts, 133), draw(parts, 133).abs() + 1), 2)
    assert near(row_statistics(moments, 50, 1e-5), fused_row_statistics(moments, 50, 1e-5), 1e-4)
for rows in (None, torch.tensor([0, 1, 1], device=device)):
    given = draw(2, 9, 96).to(dtype), rows, draw(96).to(dtype), draw(10, 96).to(dtype), 4
    for plain, found in zip(place_tokens(*given), fused_place_tokens(*given)): assert plain.shape == found.shape and near(plain, found, 1e-3)
    checked += 1
qkv = draw(2*70, 3*2*32).to(dtype)
for counts in (None, torch.tensor([70, 66], dtype=torch.int32, device=device)):
    for plain, found in zip(attend_rows(qkv, 2, 2, counts, moments=True), fused_attend_rows(qkv, 2, 2, counts, moments=True)): assert plain.shape == found.shape and near(plain, found, off)
    checked += 1
print("checked", checked)
"""


@pytest.mark.parametrize("code, least, count", [(KERNELS, "3.2", 55), (FOLDED, "3.4", 13)], ids=["kernels", "folded"])
def test_kernels_agree_with_their_plain_forms(code, least, count):
    need_triton(least) # its interpreter
    if code == FOLDED and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] != 9: pytest.skip("written for Hopper")
    assert f"checked {count}" in run_kernels(code)


def run_kernels(code, interpret=not torch.cuda.is_available()):
    "Run code about kernels in a process of its own, where there is no GPU through Triton's interpreter; gives what it prints."
    environment = {**os.environ, "TRITON_INTERPRET": "1"} if interpret else os.environ
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    if "only 0-dimensional arrays can be converted" in done.stderr: pytest.skip("this Triton's interpreter (3.6 and older) does not know this NumPy")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

def need_triton(least):
    triton = pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA build on Linux")
    if Version(triton.__version__) < Version(least): pytest.skip(f"written for Triton {least} and later, not {triton.__version__}")

def compile_for(arch, kernel, constants, warps, stages=3, **types):
    "Compile a Triton kernel for a GPU that need not be here; gives the bytes of shared memory that a program takes."
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()}, aligned)
    compiled = compile(source, target=GPUTarget("cuda", arch, 32), options=dict(num_warps=warps, num_stages=stages))
    assert compiled.asm["cubin"]
    return compiled.metadata.shared


def small_model(**changes):
    torch.manual_seed(0)
    config = Beit3Config(**{**dict(image_size=64, embed_dim=96, num_heads=3, num_layers=3, ffn_dim=384, vocab_size=100, num_classes=20), **changes})
    model = init_weights(Beit3ForVQA(config), std=.5).eval()
    for p in model.parameters():
        if p.ndim == 1: p.data += torch.randn_like(p)*.3 # norms and biases that show when they are mixed up
    return model


LAYOUTS = FastBeit3, FoldedBeit3

@pytest.mark.parametrize("layers", (1, 2, 4))
@pytest.mark.parametrize("tokens", (2, 7))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_model_laid_out_for_a_gpu_gives_the_same_logits(layout, layers, tokens):
    model = small_model(num_layers=layers)
    images, ids, rows = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8), torch.randint(4, 99, (5, tokens)), torch.tensor([0, 1, 1, 2, 0])
    plain, fast = predict_logits(model, images[rows], ids), layout(model, fused=False)(images, ids, rows)
    assert torch.allclose(plain, fast, atol=1e-3) and plain.std(0).mean() > .5 # the logits depend on picture and question
    assert torch.allclose(layout(model, fused=False)(images, ids[:3]), predict_logits(model, images, ids[:3]), atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_questions_of_different_lengths_share_a_batch(layout):
    model = small_model()
    images, rows, asked = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8), torch.tensor([0, 1, 1, 2, 0]), [torch.randint(4, 99, (n,)).tolist() for n in (7, 2, 5, 7, 3)]
    ids, counts = pad_questions(asked)
    mixed = layout(model, fused=False)(images, ids, rows, counts)
    for i, question in enumerate(asked): assert torch.allclose(mixed[i], predict_logits(model, images[rows[i:i + 1]], torch.tensor([question]))[0], atol=1e-3), i
    noise = torch.where(torch.arange(7) < counts[:, None], ids, torch.randint(4, 99, (5, 7)))
    assert torch.equal(layout(model, fused=False)(images, noise, rows, counts), mixed) # what follows a question is not looked at


def test_a_picture_is_repeated_for_its_questions_on_the_plain_way_too():
    vqa = VQA(small_model())
    images, ids, rows = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8), torch.randint(4, 99, (3, 5)), torch.tensor([1, 1, 0])
    assert torch.allclose(vqa.logits(images, ids, rows), predict_logits(vqa.model, images[rows], ids), atol=1e-5) # threads may cut the batch


def test_what_is_in_doubt_is_answered_again_in_float32(tmp_path, monkeypatch):
    VQA(small_model()).save(tmp_path)
    exact, rough, both = (load_model(tmp_path, tmp_path/"config.json", device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16", "bfloat16+float32"))
    images, ids, rows = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8), torch.randint(4, 99, (24, 5)), torch.arange(24) % 8
    truth, fast = exact.logits(images, ids, rows), rough.logits(images, ids, rows)
    best = fast.topk(2).values
    margin = best[:, 0] - best[:, 1]
    monkeypatch.setattr(predict, "IN_DOUBT", margin.median().item())
    found, doubt = both.logits(images, ids, rows), margin < predict.IN_DOUBT
    assert 3 < doubt.sum() < 21 and truth.std(0).mean() > .5
    assert torch.equal(found[~doubt], fast[~doubt]) and torch.allclose(found[doubt], truth[doubt], atol=1e-4) and not torch.equal(fast[doubt], truth[doubt])
    assert str(both.dtype) == "bfloat16+float32" and both.model.pooler.dense.weight.dtype == torch.float32


def test_kernels_wait_for_a_run_that_repays_their_compilation():
    model = Beit3ForVQA(Beit3Config(image_size=480, embed_dim=64, num_heads=1, num_layers=1, ffn_dim=64, vocab_size=50, num_classes=5)).eval()
    few, each = VQA(model), operations(model.config)
    assert not few.expect(int(COMPILE_FROM / each)).compiles and few.expect(int(COMPILE_FROM / each) + 1).compiles and not few.expect(1).compiles
    assert operations(model_size("base")) == 12*910*24*768**2 + 12*4*768*910**2


def test_loading_a_model_does_not_load_a_compiler():
    code = "import sys; from beit3_colab import load_model; load_model('sample'); print([m for m in ('torch._dynamo', 'IPython', 'transformers', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="float8 may run here")
def test_float8_says_what_it_needs():
    with pytest.raises(UserError, match="float8.*needs an NVIDIA GPU"): load_model("sample", dtype="float8")
