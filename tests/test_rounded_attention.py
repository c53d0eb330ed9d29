"""Attention of queries and keys in e4m3: its kernel agrees with its plain form, in Triton's interpreter or on a GPU, and what would be wrong in it shows.

The kernel takes the scale of all scores from those that whole tiles leave over, and attends again where others outgrow it."""
import json
import os

import pytest
import torch
from test_speed import need_triton, run_kernels

from beit3_colab.model import kernels
from beit3_colab.model.folded_float8 import rounded_statistics
from beit3_colab.model.kernels import attend_rounded_rows, attend_rows

E4M3 = torch.float8_e4m3fn


# the plain form

def drawn():
    "Queries and keys [60, 128] in e4m3, and values [60, 64], of two pictures with two heads; and the rows that are looked at."
    torch.manual_seed(0)
    return torch.randn(2*30, 2*64).to(E4M3), torch.randn(2*30, 64).half(), torch.tensor([30, 20])

def test_rows_are_rounded_after_their_moments():
    qk, v, counts = drawn()
    exact, moments = attend_rows(torch.cat((qk.float(), v.float()), 1), 2, 2, counts, moments=True)
    for scale in (1e-4, 1, 30, 3e3):
        found, found_moments = attend_rounded_rows(qk, v, 2, 2, counts, 20, scale=scale)
        assert found.dtype == E4M3 and torch.equal(found_moments, moments)
        wanted = (exact*scale).clamp(-448, 448)
        assert ((found.float() - wanted).abs() <= (wanted.abs()/16).clamp_min(2**-10)).all()
        beyond = (exact.abs()*scale).amax(1) > 448
        assert beyond.any() == (scale == 3e3) and rounded_statistics(moments, 64, 1e-5, scale)[1, beyond].isnan().all()

@pytest.mark.parametrize("of_queries, of_keys", [(4, 1), (1, 1/8), (16, 1/16), (2**-3, 2**-5)])
def test_queries_and_keys_were_multiplied(of_queries, of_keys):
    qk, v, counts = drawn()
    factors = torch.tensor([of_queries, of_keys]).repeat_interleave(64)
    multiplied = (4*qk.float()*factors).to(E4M3)
    qk = (multiplied.float()/factors).to(E4M3)
    assert torch.equal(qk.float()*factors, multiplied.float()) # powers of two lose nothing
    exact, moments = attend_rounded_rows(qk, v, 2, 2, counts, scale=10.)
    found, found_moments = attend_rounded_rows(multiplied, v, 2, 2, counts, qk_scale=of_queries*of_keys, scale=10.)
    assert torch.allclose(found_moments, moments, atol=1e-4) and (found.float() != exact.float()).sum() < 20
    wrong = attend_rounded_rows(multiplied, v, 2, 2, counts, scale=10.)[1]
    assert torch.allclose(wrong, moments, atol=1e-4) == (of_queries*of_keys == 1)

@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_spoil_their_picture_s_head_and_no_other(bad):
    qk, v, _ = drawn()
    v[:30, 0] = bad
    found, moments = attend_rounded_rows(qk, v, 2, 2)
    assert bad == torch.inf or found[:30, 0].float().isnan().all()
    assert not moments[0, :30].isfinite().any() and found[30:].float().isfinite().all() and moments[1].isfinite().all()
    assert torch.equal(rounded_statistics(moments, 64, 1e-5, 1.)[1].isnan(), torch.arange(60) < 30)

@pytest.mark.parametrize("is_key", [False, True])
def test_a_query_or_key_that_is_no_number_spoils_what_it_is_in(is_key):
    "A key the rows of its picture, in its head; a query its own row."
    qk, v, _ = drawn()
    qk[7, 64*is_key + 3] = torch.nan
    found, moments = attend_rounded_rows(qk, v, 2, 2)
    bad = torch.arange(60) < 30 if is_key else torch.arange(60) == 7
    assert torch.equal(found[:, :32].float().isnan(), bad[:, None].expand(60, 32)) and found[:, 32:].float().isfinite().all()
    assert torch.equal(moments[0].isnan(), bad[:, None].expand(60, 2)) and moments[1].isfinite().all()
    assert torch.equal(rounded_statistics(moments, 64, 1e-5, 1.)[1].isnan(), bad)


# the kernel

BEGIN = """
import os, torch
from beit3_colab.model import kernels
from beit3_colab.model.kernels import attend_rounded_rows
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() and not os.environ.get("TRITON_INTERPRET") else "cpu"
E4M3, checked = torch.float8_e4m3fn, 0
def draw(*size): return torch.randn(*size, device=device)
def counted(*counts): return torch.tensor(counts, dtype=torch.int32, device=device)

def slack(grown): return .02*grown if device == "cuda" else 0 # Hopper adds products of e4m3 with 14 bits: scores of hundreds are off by hundredths

def alike(found, plain, off=0.): # to a neighbour. The interpreter rounds its own way, and up to a power of two without carrying
    plain, found = plain.float(), found.float()
    if device == "cpu": found = torch.where((found.abs().log2() % 1 == 0) & (plain.abs() > 1.8*found.abs()), 2*found, found)
    return bool(((plain - found).abs() <= plain.abs()/7 + 2**-9 + off).all())

def rows(n, heads, d, half=device == "cuda", grown=0., size=1.):
    "Queries and keys, and values, of two pictures. Keys shrink from `grown` + 1 times their size in the first row to it in the last."
    qk, v = size*draw(2*n, 2*heads*d), draw(2*n, heads*d)
    qk[:, heads*d:] *= 1 + grown*torch.arange(n, device=device).flip(0).repeat(2)[:, None]/n
    return qk.to(E4M3), v.half() if half else v # float32 leaves the rounding of weights out

def agrees(qk, v, heads, counts=None, least=1, qk_scale=1., scale=1., module=kernels, more=0.):
    (plain, moments), (found, found_moments) = (form(qk, v, 2, heads, counts, least, qk_scale, scale) for form in (attend_rounded_rows, module.fused_attend_rounded_rows))
    assert found.dtype == E4M3 and found.shape == plain.shape == v.shape and found_moments.shape == moments.shape == (heads, len(v), 2)
    off = 1e-4 if v.dtype == torch.float32 else 2e-2
    return alike(found, plain, more*scale) and torch.allclose(moments, found_moments, atol=off*v.float().abs().max() + more, rtol=off)
"""

AGREES = BEGIN + """
for n in (5, 64, 70, 128, 200):
    whole = (n - 1) // 64*64 # rows of whole tiles, after which something is left
    for heads, d, qk_scale, scale in ((2, 32, .25, 3.), (1, 64, 7., .5)):
        qk, v = rows(n, heads, d, size=qk_scale**.5)
        some = [(None, 1), (counted(n, whole + 1), whole + 1), (counted(max(whole, 1), n), max(whole, 1)), (counted(max(1, n - 66), n), 1)]
        if n < 200: some += [(None, n), (counted(whole + 1, n), 1), (counted(min(n, 64), max(1, n - 3)), 1)]
        for counts, least in some:
            assert agrees(qk, v, heads, counts, least, qk_scale, scale), (n, d, counts, least)
            checked += 1
for grown in (1, 4, 12, 60): # sums of weights from 1 to far beyond what half precision holds
    for n, counts in ((70, None), (128, counted(65, 128)), (129, counted(128, 129))):
        assert agrees(*rows(n, 1, 32, True, grown, 2), 1, counts, 1, 2., 3., more=slack(grown)), (grown, n)
        checked += 1

qk, v = rows(200, 1, 32) # keys and values beyond a picture's count are not seen
expected = kernels.fused_attend_rounded_rows(qk, v, 2, 1, counted(130, 200))
qk.view(torch.uint8)[130:200, 32:], v[130:200] = 0x7e, torch.nan # 448
assert all(torch.equal(a.float(), b.float()) for a, b in zip(kernels.fused_attend_rounded_rows(qk, v, 2, 1, counted(130, 200)), expected))

kind, row = E4M3 if device == "cuda" else torch.half, torch.arange(2*130, device=device) # the interpreter knows no NaN in e4m3
for at in (3, 129): # in a whole tile, and in what is left
    for grown in (0, 40):
        qk, v = rows(130, 2, 32, True, grown)
        plain, known = attend_rounded_rows(qk, v, 2, 2)
        for part in range(3): # a query, a key, a value, of the first head
            spoilt_qk, spoilt_v = qk.to(torch.half), v.clone()
            if part == 2: spoilt_v[at, 5] = torch.nan
            else: spoilt_qk[at, 64*part + 5] = torch.nan
            found, moments = kernels.fused_attend_rounded_rows(spoilt_qk.to(kind), spoilt_v, 2, 2)
            bad = row == at if part == 0 else row < 130
            assert torch.equal(moments[0].isnan(), bad[:, None].expand(-1, 2)), (at, grown, part)
            for a, b in ((moments[0, ~bad], known[0, ~bad]), (moments[1], known[1])): assert torch.allclose(a, b, atol=.1 + slack(grown), rtol=.02), (at, grown, part)
            if kind == E4M3: assert found[bad, 5].float().isnan().all() and alike(found[~bad], plain[~bad], slack(grown)) and alike(found[:, 32:], plain[:, 32:], slack(grown))
            checked += 1

qk, v = rows(130, 1, 32, True, 40) # of 64 queries that are attended again, one that is no number keeps nothing from the others
spoilt = qk.to(torch.half)
spoilt[7, 0] = torch.nan
moments, known = kernels.fused_attend_rounded_rows(spoilt.to(kind), v, 2, 1)[1], kernels.fused_attend_rounded_rows(qk, v, 2, 1)[1]
assert torch.equal(moments[0, row != 7], known[0, row != 7]) and moments[0, 7].isnan().all()
print("checked", checked)
"""

def test_the_kernel_agrees_with_its_plain_form():
    need_triton("3.6") # older ones have no such form
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9): pytest.skip("no products of e4m3")
    assert "checked 88" in run_kernels(AGREES)


AGAIN = "LAST, False)\n        out_at = " # where queries are attended again
SPOILT = "LAST, False)\n                rows = rows*float('nan')\n        out_at = "
# What is in the source, what it becomes, and in which rows that shows, see BROKEN_CODE.
BROKEN = {
    "scores that outgrow their scale stay": ("> 30000.:", "> float('inf'):", "grown"),
    "sums that do not fit into half precision stay": ("> 30000.:", "> 300000.:", "a little"),
    "those that outgrow it are attended again as before": (AGAIN, AGAIN.replace("False", "True"), "grown"),
    "those that outgrow it are attended again in vain": (AGAIN, SPOILT, "grown"),
    "values keep a scale, their weights' sum another": ("rows/256, total/256, highest + 8", "rows/256, total, highest + 8", "usual"),
    "what is left keeps a scale, the rest another": ("rows/256, total/256, highest + 8", "rows, total, highest + 8", "usual"),
    "there is no room for larger scores": ("rows/256, total/256, highest + 8", "rows/256, total/256, highest", "usual"),
    "what is left is looked at twice": ("        if not ONCE:\n            if full", "        if True:\n            if full", "usual"),
    "what is left is a whole tile, and cut off": ("triton.next_power_of_2((n - 1) % keys + 1)", "triton.next_power_of_2(max(n % keys, 1))", "whole"),
    "pictures are taken for alike that are not": ("(least - 1) // keys == (n - 1) // keys)", "least // keys == n // keys)", "whole"),
    "no tile is left unmasked": ("(count - (1 if ONCE else 0)) // KEYS", "(count - (1 if ONCE else 0) + 63) // KEYS", "usual"),
    "queries and keys of another size": ("math.sqrt(d)/qk_scale", "math.sqrt(d)", "usual"),
    "the result's scale is forgotten": ("(y*factor)", "y", "usual"),
    "moments of what was scaled": ("y = rows/total[:, None]", "y = rows/total[:, None]*factor", "usual"),
    "keys where queries are": ("q, k, v, out, q if counts", "q, q, v, out, q if counts", "usual"),
    "values between another picture's": ("v_ptr + picture*n*V*width", "v_ptr + picture*n*K*width", "usual"),
}

BROKEN_CODE = BEGIN + """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from gluon_standin import load_copy
cases = dict(
    usual=[(rows(70, 2, 32), None, 1), (rows(70, 2, 32), counted(70, 30), 30)],
    whole=[(rows(128, 1, 32), None, 1), (rows(130, 1, 32), counted(128, 129), 128)], # with exactly as many rows as whole tiles have
    grown=[(rows(n, 1, 32, True, 60, 2), None, 1) for n in (128, 130)])
cases["a little"] = [(rows(65, 1, 32, True, 12, 1 + size/20), None, 1) for size in range(1, 9)] # sums around what half precision holds
def fits(module, case): # whether all agree
    def one(given, counts, least):
        try: return agrees(*given, given[1].shape[1] // 32, counts, least, 2., 3., module)
        except (ValueError, IndexError): return False # beyond a buffer
    return all(one(*each) for each in cases[case])
for case in cases: assert fits(kernels, case), case
changes = json.loads({broken!r})
for i, (name, (*change, case)) in enumerate(changes.items()):
    module = load_copy("beit3_colab.model.kernels", Path({folder!r})/f"copy{{i}}.py", *change)
    assert not fits(module, case), name
    if "in vain" in name: assert fits(module, "usual") and fits(module, "whole") # nothing is attended again
    checked += 1
print("checked", checked)
"""

def test_finds_what_is_broken(tmp_path):
    need_triton("3.6")
    code = BROKEN_CODE.format(tests=os.path.dirname(__file__), folder=str(tmp_path), broken=json.dumps(BROKEN))
    assert f"checked {len(BROKEN)}" in run_kernels(code, interpret=True)


if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 9): # what only a GPU can show is there where one is
    class TestOnGPU:
        @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
        @pytest.mark.parametrize("grown", [0, 9, 60]) # keys that shrink from row to row: sums of weights beyond what half precision holds
        def test_many_rows_agree(self, dtype, grown):
            torch.manual_seed(0)
            n, of_keys = 910, 1 + grown*torch.arange(910, device="cuda").flip(0).repeat(3)[:, None]/910
            qk, v = torch.randn(3*n, 2*768, device="cuda"), torch.randn(3*n, 768, device="cuda").to(getattr(torch, dtype))
            qk[:, 768:] *= of_keys
            qk = qk.to(E4M3)
            for counts in (None, torch.tensor([910, 901, 905], device="cuda").int(), torch.tensor([896, 910, 897], device="cuda").int()):
                least = 1 if counts is None else int(counts.min())
                given = qk, v, 3, 12, counts, least, .5, 20.
                (plain, moments), (found, found_moments) = attend_rounded_rows(*given), kernels.fused_attend_rounded_rows(*given)
                plain, found = plain.float(), found.float()
                off = .1 + .05*grown # Hopper adds products of e4m3 with 14 bits: scores of hundreds are off by hundredths
                assert ((plain - found).abs() <= plain.abs()/7 + off).all() and (plain != found).float().mean() < .1
                assert ((plain - found).abs() <= plain.abs()/7 + .1).float().mean() > .999
                assert torch.allclose(moments, found_moments, atol=off, rtol=.02), (moments - found_moments).abs().max()

        def test_what_does_not_fit_is_cut_off_and_what_is_no_number_stays_so(self):
            torch.manual_seed(0)
            qk, v = torch.randn(2*70, 2*64, device="cuda").to(E4M3), torch.randn(2*70, 64, device="cuda").half()
            v[70:, 3] = torch.nan
            (plain, _), (found, moments) = (form(qk, v, 2, 1, scale=1e4) for form in (attend_rounded_rows, kernels.fused_attend_rounded_rows))
            plain, found = plain.float(), found.float()
            assert found[:70].abs().max() == 448 and found[70:, 3].isnan().all() and torch.equal(found.isnan(), plain.isnan())
            assert ((plain - found).abs() <= plain.abs()/7 + 20)[~plain.isnan()].all() and moments[0, 70:].isnan().all() and moments[0, :70].isfinite().all()
