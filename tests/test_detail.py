"One answer in full: pictures at their own size, what stays from answer to answer, what can be copied, what was not read."
import base64
import html
import io
import re
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from beit3_colab import evaluate
from beit3_colab.look.attention_view import overlay
from beit3_colab.look.cards import safe
from beit3_colab.look.detail import LargePicture, cut_html, origin_html, question_html
from beit3_colab.look.widgets import read_asset
from beit3_colab.look.zoom import MOST_BYTES, MOST_PIXELS, prepare_original
from beit3_colab.model.vqa import load_model
from beit3_colab.pictures.thumbnails import Thumbnails


@pytest.fixture(scope="module")
def vqa(): return load_model("sample", device="cpu")

@pytest.fixture(scope="module")
def run(vqa, tmp_path_factory): return evaluate(vqa, output_dir=tmp_path_factory.mktemp("detail")/"run", limit=40, progress=False)

@pytest.fixture
def browser(run, vqa):
    shown = run.browse(vqa=vqa, per_page=4)
    yield shown
    shown.close()

def zoom(browser, factor): browser.controls["zoom"].value = factor
def sent(html): return Image.open(io.BytesIO(base64.b64decode(re.search("base64,([^']+)", html)[1])))
def status(browser): return browser.detail.large.zoomed.note.value


class Scan:
    "A data set with one large picture, which counts how often that is read."
    def __init__(self, size):
        self.reads, noise = 0, np.random.default_rng(0).integers(0, 256, (size[1]//8, size[0]//8, 3), dtype=np.uint8)
        self.picture = Image.fromarray(noise).resize(size)
    def read_image(self, question):
        self.reads += 1
        return self.picture

def large_picture(data, vqa=None):
    large = LargePicture(Thumbnails(data), vqa, lambda function: function)
    large.show(SimpleNamespace(question_id=1, image_id="scan", image=None, question="What is it?", token_ids=None))
    return large


def test_original_pixels_are_shown_when_asked_for(browser, run):
    question = run.questions[0]
    browser.open(question.question_id)
    picture = run.data.read_image(question)
    assert status(browser) == "" and "image/jpeg" in browser.detail.large.frame.value
    for factor in (1, 2, 4):
        zoom(browser, factor)
        html = browser.detail.large.frame.value
        assert f"width:{factor*picture.width}px;height:{factor*picture.height}px" in html and "beit3-crisp" in html
        assert sent(html).convert("RGB").tobytes() == picture.tobytes() and f"{picture.width} × {picture.height} pixels, shown at {100*factor} %" in status(browser)
    zoom(browser, 0)
    assert "fitted into its place" in status(browser) and "beit3-zoomed" not in browser.detail.large.zoomed.box._dom_classes

def test_a_picture_of_100_million_pixels_is_bounded():
    data = Scan((12_000, 8_400))
    large = large_picture(data)
    assert data.reads == 1 # for the thumbnail
    for factor in (1, 2, 4): large.controls["zoom"].value = factor
    html, note = large.frame.value, large.zoomed.note.value
    assert data.reads == 2 and len(html) < 1.4*MOST_BYTES
    width, height = sent(html).size
    assert width*height <= MOST_PIXELS and f"12,000 × 8,400 pixels, shown at 400 %; sent with {width:,} × {height:,}" in note
    assert "beit3-crisp" not in html # it is blurred anyhow: no squares that would pass for pixels

def test_a_map_over_four_million_pixels_takes_little_memory():
    picture, found = Image.new("RGB", (2400, 1600), (90, 120, 30)), np.random.default_rng(0).random((14, 14))
    tracemalloc.start()
    jpeg, top = overlay(picture, found/found.sum(), 2400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Image.open(io.BytesIO(jpeg)).size == (2400, 1600) and top >= 2 and peak < 120e6, peak

def test_strips_of_a_map_make_no_seam(monkeypatch):
    picture, found = Image.effect_noise((500, 700), 60).convert("RGB"), np.random.default_rng(1).random((14, 14))
    whole = overlay(picture, found/found.sum(), 700)
    monkeypatch.setattr("beit3_colab.look.attention_view._STRIP", 7)
    assert overlay(picture, found/found.sum(), 700) == whole

def test_the_controls_of_the_map_stand_below_the_picture_which_stays_where_it_is(browser):
    viewer = browser.detail.large.widgets[0]
    parts = list(viewer.children)
    assert parts.index(browser.detail.large._panel) > parts.index(browser.detail.large.zoomed.box)
    sheet = read_asset("zoom.css")
    assert "beit3-mapped" in viewer._dom_classes and ".beit3-mapped" in sheet and "style*=" not in sheet # one size, with and without

def test_size_and_map_stay_from_answer_to_answer(browser, run):
    browser.open(browser.index.table["question_id"].iloc[browser.rows[0]])
    zoom(browser, 2)
    browser.controls["attention"].value = True
    box, shown = browser.detail.large.zoomed.box, []
    for _ in range(6):
        browser.controls["next-answer"].click()
        asked = browser.detail.large._question
        text = browser.detail.heading.value
        answer = run.records[asked.question_id]["answers"][0]
        picture = run.data.read_image(asked)
        assert asked.question in text and f"what “{answer}” rests on" in browser.detail.large.frame.value and f"What “{answer}” rests on" in browser.detail.large.part.scale.value
        assert f"width:{2*picture.width}px" in browser.detail.large.frame.value and browser.controls["zoom"].value == 2
        assert browser.detail.large.zoomed.box is box and "beit3-zoomed" in box._dom_classes # its scroll position is the page's
        assert asked.question in browser.detail.large.title.value and answer in browser.detail.answers.value
        shown.append(browser.detail.large.frame.value)
    assert len(set(shown)) == 6 and browser.status.value == ""

def test_what_was_asked_goes_with_its_picture(browser):
    ids = browser.index.table["question_id"].iloc[browser.rows[:2]].tolist()
    browser.open(ids[0])
    zoom(browser, 1)
    browser.controls["attention"].value = True
    browser.controls["ask-text"].value = "Is it snowing?"
    assert "Is it snowing?" in browser.detail.heading.value and "Is it snowing?" in browser.detail.large.title.value
    browser.step(1)
    everything = "".join(each.value for each in (browser.detail.heading, browser.detail.large.title, browser.detail.field.reply))
    assert "snowing" not in everything and "shown at 100 %" in status(browser)

def test_the_ends_say_so(browser):
    browser.open(browser.index.table["question_id"].iloc[browser.rows[-1]])
    assert ", the last" in browser.detail.navigation.position.value and browser.controls["next-answer"].disabled
    browser.open(browser.index.table["question_id"].iloc[browser.rows[0]])
    assert ", the first" in browser.detail.navigation.position.value

def test_escape_leaves_the_full_window_by_its_button(browser):
    browser.open(browser.index.table["question_id"].iloc[0])
    button, viewer = browser.controls["full-window"], browser.detail.large.widgets[0]
    button.value = True
    assert "beit3-full-close" in button._dom_classes and "beit3-full" in viewer._dom_classes
    button.value = False
    assert "beit3-full-close" not in button._dom_classes and "beit3-full" not in viewer._dom_classes

def test_ids_and_names_can_be_copied(browser, run):
    question = run.questions[0]
    browser.open(question.question_id)
    assert re.findall("data-copy='([^']+)'", browser.detail.heading.value) == [str(question.question_id), question.image]
    assert "secret" not in origin_html(1, "https://me:secret@host/a.png", None)

def test_a_question_that_is_cut_says_how_much_was_read(vqa, browser, run):
    long = "is there a red ball next to the green tree " * 20
    words = int(re.search(r"first (\d+) words", cut_html(long, vqa))[1])
    assert 10 < words < 62 and cut_html("is there a ball", vqa) == ""
    kept = vqa.tokenizer.encode(" ".join(long.split()[:words - 1]))[1:-1] # the last word may have lost its end
    assert vqa.tokenizer.encode(long)[1:len(kept) + 1] == kept
    browser.open(run.questions[0].question_id)
    browser.controls["ask-text"].value = long.strip()
    assert f"first {words} words were read" in browser.detail.heading.value

def test_without_a_model_the_picture_can_be_zoomed(run):
    large = LargePicture(Thumbnails(run.data), None, lambda function: function)
    large.show(run.questions[0])
    large.controls["zoom"].value = 2
    assert "shown at 200 %" in large.zoomed.note.value and sorted(large.controls) == ["full-window", "zoom"]

def test_a_picture_that_is_gone_says_so_at_every_size():
    class Gone:
        def read_image(self, question): raise OSError("<gone>")
    large = large_picture(Gone())
    for factor in (1, 0, 4):
        large.controls["zoom"].value = factor
        assert "&lt;gone&gt;" in large.frame.value and "reading" not in large.zoomed.note.value

def test_what_is_sent_is_never_worse_than_the_small_copy():
    noisy = Image.effect_noise((3000, 2000), 120).convert("RGB")
    found = prepare_original(noisy)
    assert len(found.content) <= MOST_BYTES and max(found.sent) >= 640 and found.size == (3000, 2000)

def test_pixels_are_kept_as_long_as_a_lesser_quality_does():
    "Whoever looks at 100 % looks for the pixels of the file."
    noise = np.random.default_rng(0).normal(0, 22, (1200, 1600, 3))
    photo = Image.fromarray((128 + 90*np.sin(np.arange(1600)/80)[None, :, None] + noise).clip(0, 255).astype(np.uint8))
    found = prepare_original(photo)
    assert found.sent == photo.size == Image.open(io.BytesIO(found.content)).size and len(found.content) <= MOST_BYTES
    large = photo.resize((4000, 3000), Image.Resampling.NEAREST)
    assert np.prod(prepare_original(large).sent) > .6*MOST_PIXELS

def test_a_very_long_question_leaves_the_picture_in_sight(browser, run):
    "The beginning stands above it, the whole is one click away."
    text = "x<i>" * 2500
    assert question_html("is it <b>red</b>?") == f"<h3>{safe('is it <b>red</b>?')}</h3>"
    head, whole = question_html(text).split("</h3>")
    assert len(html.unescape(re.sub("<[^>]*>", "", head))) <= 301 and whole.startswith("<details") and "10,000 characters" in whole
    assert "x&lt;i&gt;" * 700 in whole and "<i>" not in head + whole
    browser.open(run.questions[0].question_id)
    browser.controls["ask-text"].value = "is there a red ball " * 40
    assert "the whole question (" in browser.detail.heading.value and len(browser.detail.large.title.value) < 1000
