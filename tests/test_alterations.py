"""Alterations of pictures: each changes what it says, and nothing else; the same bits every time.

What is known of each beforehand is computed here in another way: noise by its distribution, blur by a convolution, brightness by `colorsys`.
"""
import colorsys
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beit3_colab.machine.messages import UserError
from beit3_colab.pictures import alterations
from beit3_colab.pictures.alterations import GREY, STRENGTHS, blank, blur, brighten, cover, darken, draws_for, flip, gaussian_noise, jpeg
from beit3_colab.pictures.reading import preprocess
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene

SIDE, PATCH = 192, 16
EXPECTED = dict(noise="8117d0683233", brighter="13d00b93b2c7", darker="6704ebf37f3b") # of a ramp, at strength 3
STEPS = {
    "noise": lambda picture, strength: gaussian_noise(picture, strength, draws_for(0, 7, "noise")),
    "blur": blur, "jpeg": jpeg, "brighter": brighten, "darker": darken,
}


@pytest.fixture(scope="module")
def scenes():
    return [preprocess(draw_scene(make_scene(seed)), SIDE) for seed in range(6)]

def far(a, b): return np.abs(a.astype(int) - b).mean()


@pytest.mark.parametrize("name", STEPS)
def test_each_strength_goes_farther_and_leaves_the_given_picture_alone(scenes, name):
    for picture in scenes:
        before = picture.copy()
        picture.flags.writeable = False # who writes into it fails
        after = [STEPS[name](picture, s) for s in range(1, 6)]
        assert all(each.dtype == np.uint8 and each.shape == picture.shape and each.flags.c_contiguous for each in after)
        distances = [far(each, picture) for each in after]
        assert distances[0] > 0.5 and all(a < b for a, b in zip(distances, distances[1:]))
        assert (picture == before).all()
        assert all((STEPS[name](picture, s) == each).all() for s, each in enumerate(after, 1)) # once more

@pytest.mark.parametrize("name", STEPS)
def test_threads_get_what_one_gets(scenes, name):
    alone = [STEPS[name](picture, s) for picture in scenes for s in (1, 5)]
    alterations._noise_levels.cache_clear(), alterations._value_table.cache_clear()
    with ThreadPoolExecutor(4) as pool: together = list(pool.map(lambda job: STEPS[name](*job), [(p, s) for p in scenes for s in (1, 5)]))
    assert all((a == b).all() for a, b in zip(alone, together))

@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("strength", [0, 6, -1, 2.0, True, "3", None, float("nan")])
def test_other_strengths_are_refused(scenes, name, strength):
    with pytest.raises(UserError, match="strength must be a whole number from 1 to 5, not"): STEPS[name](scenes[0], strength)
    assert (STEPS[name](scenes[0], np.int64(3)) == STEPS[name](scenes[0], 3)).all()

@pytest.mark.parametrize("picture", [
    np.zeros((4, 4, 3)), np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8), np.zeros((0, 0, 3), np.uint8),
    np.zeros((4, 4, 4), np.uint8), np.zeros((1, 4, 4, 3), np.uint8), "picture", None], ids=str)
def test_what_is_no_picture_of_the_models_is_refused(picture):
    for change in [*(lambda p, f=f: f(p, 1) for f in STEPS.values()), flip, blank, lambda p: cover(p, np.zeros((2, 2), bool), 2)]:
        with pytest.raises(UserError, match="must be what the model sees"): change(picture)


def test_bits_that_may_never_change():
    "A figure of a probe can be had again only if the noise can: these hold on every machine and with every NumPy."
    ramp = np.arange(32*32*3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8)
    hashes = {name: hashlib.sha256(STEPS[name](ramp, 3).tobytes()).hexdigest()[:12] for name in EXPECTED}
    assert hashes == EXPECTED

def test_noise_has_the_distribution_that_it_says():
    grey = np.full((480, 480, 3), GREY, np.uint8)
    for sigma, strength in zip(STRENGTHS["noise"][:2], (1, 2)): # of which nothing is cut off
        field = gaussian_noise(grey, strength, draws_for(3, "q", "noise")).astype(float) - GREY
        assert abs(field.std()/255/sigma - 1) < 0.005 and abs(field.mean()) < 4*sigma*255/480/3**0.5
        inside = (np.abs(field) < 255*sigma).mean()
        assert abs(inside - 0.6827) < 0.02 # a normal distribution has so much within one deviation, up to whole levels
        flat = field.reshape(-1, 3)
        for a, b in ((flat[:, 0], flat[:, 1]), (flat[:-1, 0], flat[1:, 0]), (field[:-1].ravel(), field[1:].ravel())): # no pattern in it
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.01

def test_noise_is_one_field_that_grows_and_another_for_each_question():
    grey = np.full((96, 96, 3), GREY, np.uint8)
    fields = [gaussian_noise(grey, s, draws_for(0, 7, "noise")).astype(int) - GREY for s in range(1, 6)]
    for weak, strong in zip(fields, fields[1:]):
        assert (np.abs(strong) >= np.abs(weak)).all() and (weak*strong >= 0).all()
    for others in (draws_for(1, 7, "noise"), draws_for(0, 8, "noise"), draws_for(0, "7", "noise"), draws_for(0, 7, "other")):
        assert abs(np.corrcoef(fields[0].ravel(), (gaussian_noise(grey, 1, others).astype(int) - GREY).ravel())[0, 1]) < 0.03

@pytest.mark.parametrize("a, b", [((0, 7, "noise"), (0, np.int32(7), "noise")), ((np.int64(0), 7, "noise"), (0, 7, "noise"))])
def test_draws_follow_from_their_arguments(a, b):
    assert (draws_for(*a).random(9) == draws_for(*b).random(9)).all()

@pytest.mark.parametrize("given", [7.0, None, b"7", [7]])
def test_draws_for_what_is_no_id_are_refused(given):
    with pytest.raises(UserError, match="question_id must be a whole number or text"): draws_for(0, given, "noise")


def test_blur_is_near_to_a_gaussian(scenes):
    offsets = np.arange(-60, 61)
    for strength, sigma in enumerate(STRENGTHS["blur"], 1):
        weights = np.exp(-offsets**2/2/(sigma*SIDE/224)**2)
        weights /= weights.sum()
        padded = np.pad(scenes[3].astype(float), ((60, 60), (60, 60), (0, 0)), "edge")
        rows = sum(w*padded[60 + o:60 + o + SIDE] for w, o in zip(weights, offsets))
        exact = sum(w*rows[:, 60 + o:60 + o + SIDE] for w, o in zip(weights, offsets))
        assert far(blur(scenes[3], strength), exact) < 1.5 and far(scenes[3], exact) > 3

def test_blur_is_as_strong_for_a_large_picture_as_for_a_small_one(scenes):
    from PIL import Image
    small, large = (np.asarray(Image.fromarray(scenes[2]).resize((side, side), Image.Resampling.BICUBIC)) for side in (224, 448))
    shrunk = np.asarray(Image.fromarray(blur(large, 4)).resize((224, 224), Image.Resampling.BOX))
    assert far(blur(small, 4), shrunk) < 1.5

@pytest.mark.parametrize("change, sign", [(brighten, 1), (darken, -1)])
def test_brightness_changes_the_value_alone(change, sign):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (24, 24, 3), np.uint8)
    picture[0] = [[level]*3 for level in range(0, 240, 10)]
    for strength, amount in enumerate(STRENGTHS["brighter"], 1):
        after = change(picture, strength)
        for before, got in zip(picture.reshape(-1, 3), after.reshape(-1, 3)):
            h, s, v = colorsys.rgb_to_hsv(*(before/255))
            expected = np.array(colorsys.hsv_to_rgb(h, s, min(max(v + sign*amount, 0), 1)))*255
            assert np.abs(got - expected).max() <= 1.01, (before, got, expected)


def test_a_mirror_twice_is_the_picture_and_once_is_numpys(scenes):
    for picture in scenes:
        assert (flip(flip(picture)) == picture).all() and (flip(picture) == np.fliplr(picture)).all() and far(flip(picture), picture) > 1

def test_blank_says_nothing_of_the_picture(scenes):
    assert len({blank(picture).tobytes() for picture in scenes}) == 1 and set(blank(scenes[0]).ravel()) == {GREY}

def test_covering_changes_the_patches_named_and_no_other(scenes):
    rng, g = np.random.default_rng(0), SIDE//PATCH
    for picture in scenes:
        patches = rng.random((g, g)) < rng.random()
        covered = cover(picture, patches, PATCH)
        for row in range(g):
            for column in range(g):
                part = np.s_[row*PATCH:(row + 1)*PATCH, column*PATCH:(column + 1)*PATCH]
                assert (covered[part] == (GREY if patches[row, column] else picture[part])).all()
        assert (cover(covered, ~patches, PATCH) == blank(picture)).all()

@pytest.mark.parametrize("patches, patch", [
    (np.zeros((12, 12), int), 16), (np.zeros((12, 12), bool), 8), (np.zeros((12, 11), bool), 16), (np.zeros(144, bool), 16), (np.zeros((0, 0), bool), 16), ([[1]], 192)])
def test_patches_that_do_not_make_up_the_picture_are_refused(scenes, patches, patch):
    with pytest.raises(UserError, match="patches must be an array of truth values"): cover(scenes[0], patches, patch)
