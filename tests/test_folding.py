"""Norms folded into products: where the kernels for it fail, the form with norms goes on, and says so once.

The kernels themselves are compared with their plain forms in `test_speed.py`."""
import pytest
import torch
from test_kernel_fallback import ask, Broken, pretend, small_vqa

from beit3_colab import evaluate
from beit3_colab.machine.messages import UserError
from beit3_colab.model import folded, folded_float8, fused, kernels
from beit3_colab.model import vqa as predict
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.folded import fold_norm, FoldedBeit3, multiply_rows, row_statistics, try_folding
from beit3_colab.model.fused import FastBeit3

KERNELS = "multiply_rows", "row_statistics", "place_tokens", "attend_rows"
ROUNDED = "multiply_rounded_rows", "rounded_statistics", "round_rows", "attend_rounded_rows"
CPU = torch.device("cpu")


@pytest.fixture
def folds(pretend, monkeypatch):
    "Let the CPU be a device that folds; some kernels may be broken."
    def prepare(**broken):
        pretend()
        for module, names in ((folded, KERNELS), (folded_float8, ROUNDED)):
            monkeypatch.setattr(module, "can_fold", lambda device, dtype, head_dim: True)
            for name in names: monkeypatch.setattr(module, f"fused_{name}", broken.get(name) or getattr(module, name))
        monkeypatch.setattr(folded_float8, "can_round", lambda device, dtype, head_dim: True)
    return prepare


def broken(name, good=0, error=None):
    "Stands in a kernel's place, and fails after some calls."
    found = Broken("norm_rows", error or RuntimeError("Triton Error [CUDA]: invalid argument"), good)
    found.plain = getattr(folded if name in KERNELS else folded_float8, name)
    return found


def test_folding_is_used_where_it_can_be(folds):
    plain, told = ask(small_vqa()), []
    folds()
    vqa = small_vqa()
    vqa.compiles = True
    found = ask(vqa, told=told)
    assert isinstance(vqa.fast, FoldedBeit3) and vqa.form == "kernels" and not told
    assert [f.answers[0] for f in found] == [f.answers[0] for f in plain]
    assert all(a == pytest.approx(b, abs=1e-4) for f, p in zip(found, plain) for a, b in zip(f.confidences, p.confidences))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("good", [0, 1])
def test_norms_go_on_where_folding_fails(folds, name, good):
    plain, told = ask(small_vqa()), []
    folds(**{name: broken(name, good)})
    vqa = small_vqa()
    vqa.compiles = True
    for _ in range(2): found = ask(vqa, told=told)
    assert type(vqa.fast) is FastBeit3 and not vqa.kernel_fault
    assert len(told) == 1 and f"{name}: RuntimeError: Triton Error" in told[0] and "those without that answer" in told[0]
    assert vqa.form.startswith("kernels without folded norms") and name in vqa.form
    assert [f.answers[0] for f in found] == [f.answers[0] for f in plain]


def test_the_plain_form_goes_on_where_both_fail(folds, pretend):
    plain, told = ask(small_vqa()), []
    folds(multiply_rows=broken("multiply_rows"))
    pretend(norm_rows=Broken("norm_rows", RuntimeError("out of resource: shared memory")))
    vqa = small_vqa()
    vqa.compiles = True
    found = ask(vqa, told=told)
    assert vqa.fast is None and len(told) == 1 and "the plain form answers" in told[0]
    assert found == plain


def test_a_run_whose_folding_fails_tells_of_it(folds, tmp_path):
    folds(multiply_rows=broken("multiply_rows"))
    run = evaluate(output_dir=tmp_path/"run", device="cpu", dtype="float32", limit=12, progress=False)
    found = [text for text in run.report().warnings if "multiply_rows" in text]
    assert len(found) == 1 and "fold norms into products" in found[0]


def off(*args, **more):
    "Runs, and gives wrong statistics."
    return row_statistics(*args, **more)*1.5

@pytest.fixture
def looks_twice(folds, monkeypatch):
    "A model in float8 whose questions are all in doubt; no device here has float8's products, so those stay in float32."
    def prepare(**broken):
        folds(**broken)
        real = predict.lay_out
        def laid_out(model, float8=False, fold=True):
            if not float8: return real(model, fold=fold)
            found = FastBeit3(model)
            found.float8 = True
            return found
        monkeypatch.setattr(predict, "lay_out", laid_out)
        return small_vqa(float8=True, in_doubt=1e9)
    return prepare


@pytest.mark.parametrize("fault, why", [(dict(multiply_rows=broken("multiply_rows")), "do not run here"), (dict(row_statistics=off), "do not agree with the plain form")])
def test_a_second_look_falls_back_as_the_first_does(looks_twice, fault, why):
    "Its numbers are compared, too, and what happened is told once."
    plain, told = ask(small_vqa()), []
    vqa = looks_twice(**fault)
    for _ in range(2): found = ask(vqa, told=told)
    for f, p in zip(found, plain): assert f.answers[0] == p.answers[0] and f.confidences == pytest.approx(p.confidences, abs=1e-4)
    assert len(told) == 1 and f"the kernels that fold norms into products {why} (" in told[0] and "those without that answer" in told[0]
    assert type(vqa._finer[1]) is FastBeit3 and not vqa._finer[1].float8 and vqa.form.startswith(f"kernels without folded norms: those with {why}")
    assert vqa.fast.float8 # the first look's form is none of these, and stays

def test_a_second_look_that_works_is_folded(looks_twice):
    plain, told, vqa = ask(small_vqa()), [], looks_twice()
    for f, p in zip(ask(vqa, told=told), plain): assert f.answers[0] == p.answers[0] and f.confidences == pytest.approx(p.confidences, abs=1e-4)
    assert isinstance(vqa._finer[1], FoldedBeit3) and told == [] and vqa.form == "kernels"

def test_a_second_look_without_any_kernel_ends_with_a_sentence(looks_twice, monkeypatch):
    vqa = looks_twice(multiply_rows=broken("multiply_rows"))
    vqa.fast # has its kernels
    monkeypatch.setattr(fused, "fused_norm_rows", Broken("norm_rows", RuntimeError("out of resource: shared memory")))
    with pytest.raises(UserError, match="dtype='float8' has no form without kernels, and they do not run here .norm_rows: .*shared memory"): ask(vqa)


def test_a_mistake_in_this_librarys_lines_is_seen(folds):
    folds(row_statistics=lambda *args: row_statistics(None, None, None))
    vqa = small_vqa()
    vqa.compiles = True
    with pytest.raises(AttributeError): ask(vqa)


@pytest.mark.parametrize("mean", [0, 5, 50])
def test_a_large_mean_of_rows_falls_out(mean):
    "Rounded weights do not sum to what unrounded ones do: it is the rounded ones that are summed."
    torch.manual_seed(0)
    norm, linear = torch.nn.LayerNorm(512), torch.nn.Linear(512, 64)
    norm.weight.data.normal_(1, .3)
    linear.half().requires_grad_(False)
    rows, out = torch.randn(300, 512) + mean, torch.empty(300, 64)
    statistics = row_statistics(kernels.row_moments(rows), 512, norm.eps)
    multiply_rows(rows, statistics, *fold_norm(norm.requires_grad_(False), linear.weight, linear.bias), out)
    exact = torch.nn.functional.linear(norm.double()(rows.double()), linear.weight.double(), linear.bias.double())
    assert ((out - exact).norm() / exact.norm()).item() < 6e-4


def test_numbers_that_are_not_finite_are_not_hidden():
    "A row of the stream that overflowed gives NaN in every number that is made of it."
    rows, weight = torch.ones(3, 64), torch.randn(8, 64)
    rows[1, 5], rows[2] = torch.inf, torch.linspace(-1, 1, 64)
    out = torch.empty(3, 8)
    multiply_rows(rows, row_statistics(kernels.row_moments(rows), 64, 1e-5), weight, weight.sum(1), torch.zeros(8), out)
    assert not out[1].isfinite().any() and out[[0, 2]].isfinite().all()


def test_the_doctor_tries_every_kernel(monkeypatch):
    assert try_folding(CPU, torch.float16) == {}
    monkeypatch.setattr(folded, "can_fold", lambda *_: True)
    for name in KERNELS: monkeypatch.setattr(folded, f"fused_{name}", getattr(folded, name))
    names = "multiply_rows", "row_statistics", "place_tokens", "attend_rows with moments"
    assert try_folding(CPU, torch.bfloat16) == dict.fromkeys(names, "")
    monkeypatch.setattr(folded, "fused_place_tokens", broken("place_tokens", 1))
    assert try_folding(CPU, torch.bfloat16)["place_tokens"] == "RuntimeError: Triton Error [CUDA]: invalid argument"
    def off(*args, **more):
        moments = multiply_rows(*args, **more)
        return None if moments is None else moments*1.2 # its squares are wrong, and all else is right
    monkeypatch.setattr(folded, "fused_multiply_rows", off)
    assert "its numbers are up to" in try_folding(CPU, torch.float16)["multiply_rows"]


if torch.cuda.is_available() and torch.cuda.get_device_capability()[0] == 9: # what only Hopper can show is there where one is
    class TestOnHopper:
        def test_the_kernels_work(self):
            found = try_folding(torch.device("cuda"), torch.float16)
            assert found and set(found.values()) == {""}

        @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
        def test_the_layout_gives_what_the_others_give(self, dtype):
            torch.manual_seed(0)
            config = Beit3Config(image_size=224, embed_dim=192, num_heads=3, num_layers=4, ffn_dim=768, vocab_size=100, num_classes=30)
            exact = init_weights(Beit3ForVQA(config)).eval().requires_grad_(False).cuda()
            images, ids = torch.randint(0, 256, (5, 224, 224, 3), dtype=torch.uint8).cuda(), torch.randint(4, 99, (9, 7)).cuda()
            rows, counts = (torch.arange(9) % 5).cuda(), torch.tensor([7, 2, 5, 7, 3, 4, 7, 6, 2]).cuda()
            truth = FastBeit3(exact, fused=False)(images, ids, rows, counts)
            narrow = exact.to(getattr(torch, dtype))
            for form in (FastBeit3(narrow), FoldedBeit3(narrow)):
                error = ((form(images, ids, rows, counts).float() - truth).pow(2).mean().sqrt() / truth.std()).item()
                assert error < (4e-3 if dtype == "float16" else 3e-2), (type(form), error)

        def test_an_overflow_is_not_hidden(self):
            model = init_weights(Beit3ForVQA(Beit3Config(image_size=64, embed_dim=64, num_heads=2, num_layers=3, ffn_dim=256, vocab_size=100, num_classes=9)), std=.5).eval()
            model = model.half().cuda().requires_grad_(False)
            model.layers[0].image.fc2.bias.fill_(6e4)
            model.layers[1].image.fc2.bias.fill_(6e4)
            images, ids = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8).cuda(), torch.randint(4, 99, (2, 7)).cuda()
            assert not FoldedBeit3(model)(images, ids).isfinite().any()
