"""How pictures are changed for training, and what is left out of the network: the reference's operations to the bit or
within a bound, its distribution, and draws that follow from seed, epoch and question alone."""
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.numpy import load_file

from beit3_colab.machine.messages import UserError
from beit3_colab.pictures.reading import preprocess
from beit3_colab.training.augmentation import CROP_RATIO, OPERATIONS, Augmentation, Change, augment, draw_crop, draws_of, keep_table

GOLDEN = Path(__file__).parent/"golden"/"finetune"
FACTS = json.loads((GOLDEN/"randaug.json").read_text())
APPLIED = {case["seed"]: tuple(map(tuple, case["applied"])) for case in FACTS["random_augment"]}
WARPS = "ShearX", "ShearY", "Rotate"
FAITHFUL = Augmentation(faithful=True)

@pytest.fixture(scope="module")
def golden(): return load_file(GOLDEN/"randaug.safetensors")

def off(ours, theirs): return np.abs(np.asarray(ours).astype(int) - theirs.astype(int)) # grey levels

def limit_of(freedom): return freedom*(1 - 2/(9*freedom) + 3.9*math.sqrt(2/(9*freedom)))**3 # chi-square's, Wilson and Hilferty

def chi_square(found, expected):
    "Assert that counts are as expected, by a test that errs once in 20,000 times; the draws are fixed."
    found, expected = np.asarray(found, float).ravel(), np.asarray(expected, float).ravel()
    assert found.shape == expected.shape and expected.min() >= 5
    assert ((found - expected)**2/expected).sum() < limit_of(len(found) - 1)

def two_samples(ours, theirs): # counts of as many draws each
    ours, theirs = np.ravel(ours).astype(float), np.ravel(theirs).astype(float)
    kept = ours + theirs >= 20
    assert ((ours - theirs)[kept]**2/(ours + theirs)[kept]).sum() < limit_of(kept.sum() - 1)


# --- what the reference's own program made of a picture

@pytest.mark.parametrize("case", FACTS["operations"], ids=lambda case: case["tensor"])
def test_each_operation_is_the_references(golden, case):
    source = golden["picture_from_0" if case["tensor"].endswith("from_0") else "picture"]
    found = off(FAITHFUL.operate(Image.fromarray(source), [(case["op"], *case["arguments"])]), golden[case["tensor"]])
    if case["op"] in WARPS: assert found.max() <= 1 and (found == 0).mean() > .65
    else: assert found.max() == 0

@pytest.mark.parametrize("seed", APPLIED)
def test_operations_in_turn_are_the_references(golden, seed):
    found = off(FAITHFUL.operate(Image.fromarray(golden["picture_from_0"]), APPLIED[seed]), golden[f"randaug.seed{seed}"])
    warps = sum(name in WARPS for name, *_ in APPLIED[seed])
    assert found.max() <= warps + (warps and len(APPLIED[seed]) > 1) and (found <= 1).mean() > .8

@pytest.mark.parametrize("case", FACTS["train_transform"], ids=lambda case: f"seed {case['seed']}")
def test_the_whole_transform_is_the_references(golden, case):
    top, left, height, width = case["top_left_height_width"]
    change = Change((left, top, left + width, top + height), case["flipped"], APPLIED[case["seed"]])
    found = off(FAITHFUL.perform(Image.fromarray(golden["picture"]), 48, change).transpose(2, 0, 1), golden[f"train_transform.seed{case['seed']}"])
    assert found.max() <= any(name in WARPS for name, *_ in change.operations)

def test_clean_pictures_are_the_references(golden):
    off_ = Augmentation(flip=False, randaug=False, smallest_crop=1)
    for pixels in (off_.apply(Image.fromarray(golden["picture"]), 48, draws_of(0, 0, 0)), preprocess(Image.fromarray(golden["picture"]), 48)):
        assert off(pixels.transpose(2, 0, 1), golden["eval_transform"]).max() == 0

def test_strengths_are_those_of_level_seven():
    told = {(case["op"], *case["arguments"]) for case in FACTS["operations"]}
    drawn = {operation for i in range(2000) for operation in Augmentation().draw(64, 64, draws_of(0, 0, i)).operations}
    assert {(name, *(round(s, 12) for s in strength)) for name, *strength in drawn} == told


# --- the reference's overflows, and without them

def test_contrast_is_right_unless_the_references_is_asked_for(golden):
    picture = Image.fromarray(golden["picture"]) # whose darkest values are 30, 40 and 60
    right, theirs = (np.asarray(a.operate(picture, [("AutoContrast",)])) for a in (Augmentation(), FAITHFUL))
    assert right.min((0, 1)).tolist() == [0]*3 and right.max((0, 1)).tolist() == [255]*3 and right.std() > 20
    assert (theirs == 255).all()
    partly = golden["picture"].copy()
    partly[0, 0, 1], partly[..., 2] = 0, 77 # green has a 0, blue is one colour
    theirs, right = (np.asarray(a.operate(Image.fromarray(partly), [("AutoContrast",)])) for a in (FAITHFUL, Augmentation()))
    assert (theirs[..., 0] == 255).all() and (theirs[..., 2] == 77).all()
    assert (theirs[..., 1] == right[..., 1]).all() and (right[..., 2] == 77).all()

def test_sharpness_wraps_only_where_it_overflows(golden):
    picture = Image.fromarray(golden["picture"])
    right, theirs = (np.asarray(a.operate(picture, [("Sharpness", 1.36)])).astype(int) for a in (Augmentation(), FAITHFUL))
    differ = right != theirs
    assert 0.01 < differ.mean() < 0.1
    assert set(np.unique(right[differ])) <= {0, 255} # what is outside becomes black or white
    assert (abs(right - theirs)[differ] > 150).all()

def test_other_operations_are_the_same_either_way(golden):
    picture = Image.fromarray(golden["picture"])
    for name, *strength in {(case["op"], *case["arguments"]) for case in FACTS["operations"]}:
        if name in ("AutoContrast", "Sharpness"): continue
        assert Augmentation().operate(picture, [(name, *strength)]).tobytes() == FAITHFUL.operate(picture, [(name, *strength)]).tobytes()

def test_edges_blend_with_grey():
    "A white picture that is turned: nothing is darker than what comes in, and the corner is that."
    turned = np.asarray(Augmentation().operate(Image.new("RGB", (40, 30), "white"), [("Rotate", 21.)]))
    assert turned[0, 0].tolist() == [128]*3 and turned[15, 20].tolist() == [255]*3
    assert turned.min() == 128 and len(np.unique(turned)) > 10


# --- distribution

def draw_many(count, width=640, height=480, **options):
    augmentation = Augmentation(**options)
    return [augmentation.draw(width, height, draws_of(5, i % 7, i)) for i in range(count)]

@pytest.fixture(scope="module")
def changes(): return draw_many(20_000)

def test_one_half_are_mirrored(changes):
    mirrored = sum(c.mirrored for c in changes)
    chi_square([mirrored, len(changes) - mirrored], [len(changes)/2]*2)

def test_operations_are_drawn_as_the_reference_draws_them(changes):
    "Two of ten with replacement, each applied with probability 1/2."
    counts = Counter(tuple(name for name, *_ in c.operations) for c in changes)
    singles = {(a,): .5/10 for a in OPERATIONS} # the first or the second alone
    expected = {(): .25, **singles, **{(a, b): .25/100 for a in OPERATIONS for b in OPERATIONS}}
    assert set(counts) <= set(expected) and sum(expected.values()) == pytest.approx(1)
    chi_square([counts[k] for k in expected], [len(changes)*p for p in expected.values()])

def test_both_sides_are_alike(changes):
    signs = Counter((name, strength[0] > 0) for c in changes for name, *strength in c.operations if name in (*WARPS, "TranslateX", "TranslateY"))
    chi_square(list(signs.values()), [sum(signs.values())/10]*10)

def reference_crop(rng, width, height): # timm's rule, with Python's random numbers
    for _ in range(10):
        area = rng.uniform(.5, 1.)*width*height
        ratio = math.exp(rng.uniform(math.log(3/4), math.log(4/3)))
        w, h = int(round(math.sqrt(area*ratio))), int(round(math.sqrt(area/ratio)))
        if w <= width and h <= height:
            top, left = rng.randint(0, height - h), rng.randint(0, width - w)
            return left, top, left + w, top + h
    ratio = width/height
    w, h = width, height
    if ratio < 3/4: h = int(round(w/(3/4)))
    elif ratio > 4/3: w = int(round(h*(4/3)))
    left, top = (width - w)//2, (height - h)//2
    return left, top, left + w, top + h

def histogram(boxes, width, height): # of area, shape and place
    left, top, right, bottom = np.array(boxes, float).T
    w, h = right - left, bottom - top
    place = lambda at, room: np.where(room > 0, (at + .5)/(room + 1), .5)
    values = np.stack([w*h/(width*height), np.log(w/h), place(left, width - w), place(top, height - h)], 1)
    return np.histogramdd(values, bins=[np.linspace(.3, 1.0001, 6), np.linspace(-.31, .31, 6), np.linspace(0, 1, 4), np.linspace(0, 1, 4)])[0]

@pytest.mark.parametrize("width, height", [(640, 480), (427, 640), (500, 500), (640, 300), (9, 7)])
def test_crops_are_distributed_as_the_references(width, height):
    rng, count = random.Random(0), 8000
    ours = [draw_crop(width, height, draws_of(1, 0, i)) for i in range(count)]
    theirs = [reference_crop(rng, width, height) for _ in range(count)]
    two_samples(histogram(ours, width, height), histogram(theirs, width, height))

@pytest.mark.parametrize("width, height", [(3000, 700), (1, 500), (500, 1), (200, 700), (2, 1), (1, 1)])
def test_the_middle_is_taken_where_nothing_fits(width, height):
    found = {draw_crop(width, height, draws_of(1, 0, i)) for i in range(200)}
    middle = reference_crop(random.Random(0), width, height)
    ratio = width/height
    if not CROP_RATIO[0]/2 <= ratio <= CROP_RATIO[1]*2: assert len(found) == 1
    if width*height > 2000: assert found == {middle}
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in found)

@pytest.mark.parametrize("share", [.08, .9, 1, 1.])
def test_the_smallest_crop_can_be_chosen(share):
    boxes = [c.box for c in draw_many(500, 500, 500, smallest_crop=share)]
    shares = [(right - left)*(bottom - top)/250_000 for left, top, right, bottom in boxes]
    assert min(shares) > share*.99 and (share == 1) == (len(set(boxes)) == 1) and (share == 1) == (min(shares) == 1)


# --- draws follow from seed, epoch and question alone

FROZEN = [ # what every later version must draw, or trainings that were interrupted would go on otherwise
    ((0, 0, 1), Change(box=(23, 2, 412, 478), mirrored=True, operations=(('Sharpness', 1.36),))),
    ((42, 9, 262148000), Change(box=(107, 25, 637, 449), mirrored=True, operations=(('Equalize',),))),
    ((0, 3, '7'), Change(box=(52, 60, 518, 431), mirrored=True, operations=())),
    ((7, 1, 'Käse'), Change(box=(50, 19, 501, 479), mirrored=False, operations=(('Sharpness', 1.36),))),
    ((0, 1, 1), Change(box=(229, 3, 626, 477), mirrored=True, operations=(('TranslateX', 7.0),))),
    ((0, 2, 1), Change(box=(28, 17, 387, 477), mirrored=True, operations=(('ShearY', 0.21),))),
    ((0, 4, 1), Change(box=(16, 34, 564, 451), mirrored=False, operations=())),
]

@pytest.mark.parametrize("asked, change", FROZEN, ids=lambda value: str(value) if isinstance(value[-1], (int, str)) else "")
def test_draws_never_change(asked, change): assert Augmentation().draw(640, 480, draws_of(*asked)) == change

def test_keep_tables_never_change():
    found = keep_table(0, 2, [1, "1", 262148000], [0., .5, .5, .5])
    assert found.tolist() == [[[1, 1], [2, 2], [2, 2], [2, 0]], [[1, 1], [2, 2], [2, 2], [0, 0]], [[1, 1], [0, 2], [0, 2], [0, 0]]]

def test_another_process_draws_the_same():
    code = ("from beit3_colab.training.augmentation import draws_of, keep_table;"
            "print(draws_of(3, 1, 'q\\udc80').random(), keep_table(3, 1, ['x', 5], [.5]*4).tolist())")
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
    assert found == f"{draws_of(3, 1, chr(113) + chr(0xdc80)).random()} {keep_table(3, 1, ['x', 5], [.5]*4).tolist()}\n"

def test_ids_that_look_alike_are_told_apart():
    first = lambda *asked: draws_of(*asked).random()
    assert first(0, 0, 7) == first(np.int64(0), np.int32(0), np.int64(7)) and first(0, 0, "7") == first(0, 0, np.str_("7"))
    names = [(0, 0, 7), (0, 0, "7"), (0, 7, 0), (7, 0, 0), (0, 0, "int\0007"), (0, 0, ""), (0, 0, 7, "other"), (-1, 0, 7), (0, 0, -7), (0, 0, "x"*5000)]
    assert len({first(*name) for name in names}) == len(names)
    with pytest.raises(TypeError): draws_of(0, 0, 7.5)

def test_neighbours_are_independent():
    "Consecutive questions, epochs and seeds, of which data sets are full."
    for asked in (lambda i: (0, 0, i), lambda i: (0, i, 0), lambda i: (i, 0, 0)):
        found = np.array([draws_of(*asked(i)).random(3) for i in range(4000)])
        assert abs(np.corrcoef(found[:-1].T, found[1:].T) - np.eye(6)).max() < .08
        chi_square(np.histogram2d(found[:-1, 0], found[1:, 0], bins=6)[0], np.full(36, 3999/36))

def test_what_is_switched_off_moves_nothing_else():
    everything = draw_many(200)
    assert draw_many(200, flip=False) == [c._replace(mirrored=False) for c in everything]
    assert draw_many(200, randaug=False) == [c._replace(operations=()) for c in everything]
    assert draw_many(200, smallest_crop=1.) == [c._replace(box=(0, 0, 640, 480)) for c in everything]
    assert draw_many(200, faithful=True) == everything

def test_no_generator_of_the_program_is_touched(golden):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    augment(Image.fromarray(golden["picture"]), 32, Augmentation().to_dict(), 0, 0, 1)
    keep_table(0, 0, [1, 2], [.1, .2])
    assert before == (random.random(), np.random.random(), torch.rand(1).item())


# --- pictures of any size

@pytest.mark.parametrize("width, height", [(1, 1), (2, 2), (1, 300), (300, 1), (3, 5)])
@pytest.mark.parametrize("size", [1, 2, 17])
@pytest.mark.parametrize("faithful", [False, True])
def test_pictures_of_any_size(width, height, size, faithful):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    before, augmentation = picture.tobytes(), Augmentation(faithful=faithful)
    for name in OPERATIONS:
        strength = next(case["arguments"] for case in FACTS["operations"] if case["op"] == name)
        box = draw_crop(width, height, draws_of(0, 0, 0))
        pixels = augmentation.perform(picture, size, Change(box, True, ((name, *strength),)*2))
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
    assert picture.tobytes() == before

def test_order_is_crop_resize_mirror_operations(golden):
    picture, box = Image.fromarray(golden["picture"]), (3, 4, 50, 33)
    by_hand = Augmentation().operate(ImageOps.mirror(picture.crop(box).resize((32, 32), Image.Resampling.BICUBIC)), [("Rotate", 21.), ("Equalize",)])
    assert (Augmentation().perform(picture, 32, Change(box, True, (("Rotate", 21.), ("Equalize",)))) == np.asarray(by_hand)).all()


# --- drop path

RATES = np.linspace(0, .1, 12)

def test_keep_tables_leave_out_so_many():
    table = keep_table(0, 0, range(20_000), RATES).numpy()
    assert table.shape == (20_000, 12, 2) and table.dtype == np.float32
    for layer, rate in enumerate(RATES):
        values = np.unique(table[:, layer])
        assert set(values.tolist()) <= {0., np.float32(1/(1 - rate)).item()}
        left_out = (table[:, layer] == 0).sum(0)
        if rate == 0: assert left_out.tolist() == [0, 0]
        else: chi_square([*left_out, *(20_000 - left_out)], [20_000*rate]*2 + [20_000*(1 - rate)]*2)

def test_parts_are_left_out_independently():
    gone = (keep_table(0, 0, range(20_000), [.5]*6).numpy() == 0).reshape(20_000, 12).astype(float)
    assert abs(np.corrcoef(gone.T) - np.eye(12)).max() < .03
    assert abs(np.corrcoef(gone[:-1].T, gone[1:].T)[:12, 12:]).max() < .03 # of the next question

def test_a_sample_is_left_alone_by_others():
    whole = keep_table(3, 4, range(50), RATES)
    for rows in ([7], [49, 0, 7], range(10, 30)): assert torch.equal(keep_table(3, 4, list(rows), RATES), whole[list(rows)])
    assert not torch.equal(keep_table(3, 5, range(50), RATES), whole) and not torch.equal(keep_table(4, 4, range(50), RATES), whole)
    assert keep_table(0, 0, [], RATES).shape == (0, 12, 2) and keep_table(0, 0, [1], []).shape == (1, 0, 2)

def test_a_table_takes_well_under_a_millisecond():
    ids, seconds = list(range(262148000, 262148032)), []
    for epoch in range(30):
        begun = time.thread_time()
        keep_table(0, epoch, ids, RATES)
        seconds.append(time.thread_time() - begun)
    assert min(seconds) < 5e-4

@pytest.mark.parametrize("rates", [[1.], [0., -.1], [float("nan")], [.1, 2]])
def test_rates_that_cannot_be(rates):
    with pytest.raises(UserError, match=r"drop_path \(--drop-path\) must be from 0 to below 1, not \["): keep_table(0, 0, [1], rates)

@pytest.mark.parametrize("wrong, says", [
    (dict(smallest_crop=0), r"smallest_crop \(--smallest-crop\) must be a share of the picture, above 0 and at most 1 \(the whole\), not 0"),
    (dict(smallest_crop=-.5), "not -0.5"), (dict(smallest_crop=1.01), "not 1.01"), (dict(smallest_crop=float("inf")), "not inf"),
    (dict(smallest_crop=float("nan")), "not nan"), (dict(smallest_crop="half"), "not 'half'"), (dict(smallest_crop=True), "not True"), (dict(smallest_crop=None), "not None"),
    (dict(flip="yes"), "flip must be True or False, not 'yes'"), (dict(randaug=1), "randaug must be True or False"), (dict(faithful=None), "faithful must be True or False"),
])
def test_augmentations_that_cannot_be(wrong, says):
    with pytest.raises(UserError, match=says): Augmentation(**wrong)
