"The product that rounds, which is written in Gluon, on a CPU: its source runs on a stand-in for Hopper, which shows races, deadlocks and what is beyond a buffer."
import pytest
import torch

from beit3_colab.model import kernels
from gluon_standin import Barrier, Fault, load_copy, stand_in
from test_speed import need_triton

MODULE = "beit3_colab.model.folded_float8"
FORMS = "out", "add", "gelu", "exact" # the products of a layer: values; after attention, and out of the hidden layer; into it; queries and keys, for which no moments are given


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    "Load a copy of the module, with a place of its source changed."
    need_triton("3.6") # Gluon
    assert kernels.triton is not None # conftest.py
    def load(*change):
        module = load_copy(MODULE, tmp_path_factory.mktemp("copy")/"copy.py", *change)
        if module.gluon is None: pytest.skip("this Triton has no Gluon, or another")
        module.language = stand_in(module, "_rounded_product_kernel", ["gelu_block"])
        return module
    return load

@pytest.fixture(scope="module")
def module(load): return load()


def draw(module, form, rows, outs, width, seed=0, half=torch.float16):
    "A product's arguments, at random."
    made = torch.Generator().manual_seed(seed)
    def numbers(*size): return torch.randn(size, generator=made)
    norm = torch.nn.LayerNorm(width)
    norm.weight.data, norm.bias.data = numbers(width), numbers(width)
    layer = norm, (numbers(outs, width)/width**.5).to(half), numbers(outs).to(half)
    with torch.no_grad():
        weight, of_weight, *rest = module.fold_norm_float8(*layer)
    given = dict(
        rows=(numbers(rows, width)*2).to(weight.dtype), statistics=torch.stack((numbers(rows)*.3, numbers(rows).abs() + .5, numbers(rows))),
        weight=weight, weight_scale=of_weight, sums=rest[0], bias=rest[1], gelu=form == "gelu")
    if form in ("out", "add"): given["out"] = numbers(rows, outs).to(half)
    if form != "out": given["rounded"] = torch.full((rows, outs), torch.nan).to(torch.float8_e4m3fn)
    if form == "add": given["scale"] = numbers(rows).abs()*100 + 1 # some do not fit
    if form in ("gelu", "exact"): given["statistics"][1, 1::5] *= 200 # some of these do not fit
    if form == "exact": given["give_moments"] = False
    return given

def multiply(module, given, programs=3, seed=0, ordered=True):
    "The product, by programs of the stand-in; gives moments, `out` and `rounded`."
    given = given | {name: given[name].clone() for name in ("out", "rounded") if name in given}
    module.processors, module.language.seed, module.language.ordered = lambda device: programs, seed, ordered
    torch.use_deterministic_algorithms(True) # new memory is full of NaN
    try: return module.fused_multiply_rounded_rows(**given), given.get("out"), given.get("rounded")
    finally: torch.use_deterministic_algorithms(False)

def plain(module, given):
    given = given | {name: given[name].clone() for name in ("out", "rounded") if name in given}
    return module.multiply_rounded_rows(**given), given.get("out"), given.get("rounded")

def differs(found, wanted):
    "What differs by more than its rounding."
    (moments, out, rounded), (wanted_moments, wanted_out, wanted_rounded) = found, wanted
    if out is not None and not torch.allclose(out.float(), wanted_out.float(), rtol=2**-10 if out.dtype == torch.float16 else 2**-7, atol=1e-4, equal_nan=True): return "out"
    if rounded is None: return None if moments is None else "moments"
    rounded, wanted_rounded = rounded.float(), wanted_rounded.float()
    if not torch.allclose(rounded, wanted_rounded, rtol=1/8, atol=2**-9, equal_nan=True): return "rounded"
    if (rounded != wanted_rounded).logical_and(~wanted_rounded.isnan()).sum() > 3 + rounded.numel()/1000: return "rounded" # to another neighbour
    if moments is None or wanted_moments is None: return None if moments is wanted_moments else "moments"
    if not torch.allclose(moments.sum(0), wanted_moments.sum(0), rtol=1e-4, atol=1e-2, equal_nan=True): return "moments"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows, outs, width, programs", [
    (130, 264, 192, 3), (3, 96, 64, 2), (300, 512, 384, 3), (260, 528, 336, 1), (300, 1040, 96, 2), (1100, 288, 32, 5)]) # no multiples of a tile; fewer tiles than programs, and more
def test_agrees_with_the_plain_form(module, form, rows, outs, width, programs):
    if form != "out": outs = -(-outs//16)*16 # e4m3 in rows of 16 bytes
    given = draw(module, form, rows, outs, width)
    wanted = plain(module, given)
    for seed in range(3): assert differs(multiply(module, given, programs, seed), wanted) is None, seed


@pytest.mark.parametrize("seed", range(3, 24))
def test_agrees_in_whatever_order_things_are_done(module, seed):
    given = draw(module, FORMS[seed % 4], 140, 512, 96*(seed % 5 + 1), seed)
    assert differs(multiply(module, given, 1, seed), plain(module, given)) is None


@pytest.mark.parametrize("form", FORMS[:2])
def test_agrees_in_bfloat16(module, form):
    given = draw(module, form, 130, 272, 192, half=torch.bfloat16)
    assert differs(multiply(module, given), plain(module, given)) is None


@pytest.mark.parametrize("form", FORMS)
def test_a_row_that_did_not_fit_is_nan_and_no_other_is(module, form):
    given = draw(module, form, 130, 272, 192)
    given["statistics"][1].clamp_(max=3) # all fit
    given["statistics"][1, 77] = torch.nan
    found = moments, out, rounded = multiply(module, given)
    assert differs(found, plain(module, given)) is None
    for x in (out, rounded, None if moments is None else moments[0]):
        if x is not None: assert x[77].isnan().all() and x.isnan().any(1).sum() == 1


@pytest.mark.parametrize("rows, outs, width, programs", [(130, 272, 192, 2), (3, 96, 64, 1), (300, 512, 384, 3)])
def test_without_moments_a_number_that_does_not_fit_is_nan_and_no_other_is(module, rows, outs, width, programs):
    given, other = (draw(module, form, rows, outs, width) for form in ("exact", "out"))
    given["bias"][7], given["bias"][-1] = 1e4, -1e4 # two columns whose numbers never fit
    other |= {name: given[name] for name in given if name not in ("rounded", "give_moments")}
    other["out"] = torch.empty(rows, outs) # the numbers before they are rounded
    _, exact, _ = plain(module, other)
    beyond, memory = exact.abs() > 448, given["statistics"].clone()
    assert beyond[:, [7, -1]].all() and beyond[:, 8:-1].any() and not beyond[::5].all()
    for seed in range(3):
        moments, out, rounded = multiply(module, given, programs, seed)
        assert moments is None and out is None and torch.equal(rounded.isnan(), beyond)
        assert ((rounded.float() - exact)[~beyond].abs() <= exact[~beyond].abs()/16 + 2**-9).all()
        assert torch.equal(given["statistics"], memory) # where moments would go, if nobody looked whether they are wanted
    assert differs((moments, out, rounded), plain(module, given)) is None


# What is in the kernel's source, what it becomes, the form in which that shows, what is said (None: only the numbers show it).
# Memories: 1 rows, 2 weights, 3 `out` (`rounded` where that is all), 4 `rounded` where there are both; and then the barriers `ready`, `free`, `out_ready`, `out_free`.
BROKEN = {
    "a stage is freed before its product was waited for": (
        "warpgroup_mma_wait(1, deps=[total]) # the one",
        "warpgroup_mma_wait(2, deps=[total]) # the one", "out", r"a copy into memory [12]\[\d\] of group 2 writes .* while a product"),
    "the last stage is freed before its product was waited for": (
        "            total = warpgroup_mma_wait(0, deps=[total])\n            mbarrier.arrive(free.index((step - 1) % STAGES), count=1)\n",
        "            mbarrier.arrive(free.index((step - 1) % STAGES), count=1)\n            total = warpgroup_mma_wait(0, deps=[total])\n", "out", r"a copy into memory [12]\[\d\] of group 2 writes .* while a product"),
    "a sum is used that was not waited for": (
        "total = warpgroup_mma_wait(0, deps=[total])",
        "pass", "out", "is used before it was waited for"),
    "a stage is not waited for": (
        "mbarrier.wait(free.index(at), (step // STAGES & 1) ^ 1)",
        "pass", "out", "more than 1 arrivals at memory 4|while a copy into memory"),
    "the first stages are waited for": (
        "(step // STAGES & 1) ^ 1",
        "step // STAGES & 1", "out", "deadlock: .*group 2 waits for parity 0 of memory 5"),
    "a stage is read before it is there": (
        "mbarrier.wait(ready.index(at), step // STAGES & 1)\n            total",
        "total", "out", "nobody has written|while a copy into memory"),
    "a stage is waited for in the wrong phase": (
        "step // STAGES & 1)\n                total",
        "(step // STAGES & 1) ^ 1)\n                total", "out", "nobody has written|while a copy into memory|deadlock"),
    "a place is overwritten before what was sent from it has left": (
        "        tma.store_wait(LEFT)\n",
        "", "out", "group . writes memory 3.* while a copy out"),
    "too many may be left": (
        "one, top, second*256 + 128*half, 1)",
        "one, top, second*256 + 128*half, 2)", "out", "group . writes memory 3.* while a copy out"),
    "too many may be left of what is rounded": (
        "y.to(gl.float8e4nv), top, second*256, 0)",
        "y.to(gl.float8e4nv), top, second*256, 1)", "gelu", "group . writes memory 3.* while a copy out"),
    "too many may be left of a half": (
        "right, top, second*256 + 128, 0)",
        "right, top, second*256 + 128, 1)", "add", "group . writes memory 4.* while a copy out"),
    "the end does not wait": (
        "turn += 1\n        tma.store_wait(0)",
        "turn += 1", "out", "ends without a wait for a copy out of memory 3"),
    "the next is fetched over what was sent": (
        "mbarrier.wait(out_free.index(half), turn & 1)",
        "pass", "add", "a copy into memory 3.* while|more than 1 arrivals at memory 7"),
    "what it is added to is not waited for": (
        "mbarrier.wait(out_ready.index(HALF), turn & 1)",
        "pass", "add", "group . reads memory 3.*(while a copy into|nobody has written)"),
    "no fence": (
        "        place.store(x)\n        fence_async_shared()\n",
        "        place.store(x)\n", "out", "without a fence"),
    "no fence after the sum": (
        "store(y.to(out_desc.dtype))\n                fence_async_shared()",
        "store(y.to(out_desc.dtype))", "add", "without a fence"),
    "one arrival frees a stage": (
        "mbarrier.init(free.index(i), count=2)",
        "mbarrier.init(free.index(i), count=1)", "out", "while a product|more than 1 arrivals at memory 5|deadlock"),
    "an arrival too few": (
        "mbarrier.init(free.index(i), count=2)",
        "mbarrier.init(free.index(i), count=3)", "out", "deadlock: .*group 2 waits for parity 0 of memory 5"),
    "an arrival too many": (
        "                mbarrier.arrive(out_free",
        "                mbarrier.arrive(out_free.index(HALF), count=1)\n                mbarrier.arrive(out_free", "add", "while|deadlock"),
    "bytes too few": (
        "(128 + 256)*128)",
        "(64 + 256)*128)", "out", "bytes more than expected|while a copy into"),
    "bytes too many": (
        "64*256*2)",
        "64*256*4)", "add", "deadlock: group 0 waits for parity 0 of memory 7"),
    "a stage too many": (
        "3 if add else 4, 8",
        "4, 8", "add", "262144 bytes of shared memory"),
    "a box of another size": (
        "across if add or out is None else 64",
        "across if add or out is None else 128", "out", r"a box of \[64, 128\] and a place for \[64, 64\]"),
    "offsets beyond the end": (
        "of_row = gl.load(statistics_ptr + rows + row",
        "of_row = gl.load(statistics_ptr + 3*rows + row", "out", "of a buffer of 900"),
    "columns beyond the end": (
        "bias_ptr + column, mask=column < outs",
        "bias_ptr + column, mask=column < outs + 8", "out", "numbers 512 to 535 of a buffer of 528"),
    "rows of the other group": (
        "[first*128 + 64, k*DEPTH]",
        "[first*128, k*DEPTH]", "out", None),
    "moments of another part": (
        "moments_ptr + (second*rows + row)*2",
        "moments_ptr + (first*rows + row)*2", "gelu", None),
    "without moments, too large numbers are cut off": (
        "if ROUNDED and not MOMENTS:",
        "if ROUNDED and MOMENTS:", "exact", None),
    "with moments, too large numbers are NaN": (
        "if ROUNDED and not MOMENTS:",
        "if ROUNDED:", "gelu", None),
    "numbers too far below zero are cut off": (
        "gl.abs(y) <= 448.",
        "y <= 448.", "exact", None),
    "too large numbers become the largest": (
        'y, float("nan"))',
        "y, 448.)", "exact", None),
    "numbers a little too large are cut off": (
        "gl.abs(y) <= 448.",
        "gl.abs(y) <= 464.", "exact", None),
    "numbers that fit are NaN": (
        "gl.abs(y) <= 448.",
        "gl.abs(y) <= 432.", "exact", None),
    "all numbers of a row are NaN with one": (
        "gl.where(gl.abs(y) <= 448., y",
        "gl.where((gl.sum(y*y, axis=1) <= 448.*448.)[:, None], y", "exact", None),
    "moments that nobody wants": (
        "if MOMENTS:",
        "if ROUNDED:", "exact", "of a buffer of 900"),
    "moments that are wanted are not given": (
        "if MOMENTS:",
        "if MOMENTS and OUT:", "gelu", None),
    "another tile": (
        "tile % (GROUP*across) // tall",
        "tile % (GROUP*across) // GROUP", "out", "sends again"),
}

@pytest.mark.parametrize("name", BROKEN)
def test_finds_what_is_broken(load, name):
    *change, form, says = BROKEN[name]
    module = load(*change)
    given = draw(module, form, 300, 528, 192)
    wanted = plain(module, given)
    for seed in (1, 2):
        if says is None: assert differs(multiply(module, given, 2, seed), wanted)
        else:
            with pytest.raises(Fault, match=says): multiply(module, given, 2, seed)
    try: late = differs(multiply(module, given, 2, 0, ordered=False), wanted)
    except Fault as fault: late = str(fault)
    assert late and "while" not in late # where things are done late the numbers, too, show it


def test_a_seed_always_gives_the_same_run(load):
    module = load("init(free.index(i), count=2)", "init(free.index(i), count=1)")
    given = draw(module, "out", 300, 528, 192)
    def says(seed):
        with pytest.raises(Fault) as fault: multiply(module, given, 2, seed)
        return str(fault.value)
    first = [says(seed) for seed in range(12)]
    assert first == [says(seed) for seed in range(12)] and len(set(first)) > 2


def test_a_barrier_counts_arrivals_and_bytes():
    bar = Barrier("bar")
    with pytest.raises(Fault, match="bar was not initialized"): bar.arrive(1, {})
    bar.init(2)
    assert bar.has_completed(1) and not bar.has_completed(0) # nobody waits for the phase before the first
    bar.arrive(1, {}, 100)
    bar.copied(40, {})
    bar.arrive(1, {})
    assert not bar.has_completed(0)
    with pytest.raises(Fault, match="more than 2 arrivals at bar in its phase 0"): bar.arrive(1, {})
    bar.copied(60, {})
    assert bar.has_completed(0) and not bar.has_completed(1)
    bar.copied(10, {}) # before it is expected
    bar.arrive(2, {}, 10)
    assert bar.has_completed(1) and bar.phase == 2
    bar.arrive(1, {})
    with pytest.raises(Fault, match="bar gets 5 bytes more than expected in its phase 2"): [bar.arrive(1, {}, 10), bar.copied(15, {})]
