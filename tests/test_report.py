"The report in a real browser, opened from disk: its filters, its contrast, nothing fetched, nothing run that came with the data."
import re
import time
from dataclasses import fields

import pytest
from playwright.sync_api import expect

from beit3_colab.machine.messages import UserError
from beit3_colab.evaluation import evaluate
from beit3_colab.pictures.reading import ImageError
from beit3_colab.look.report_cards import draw_sample
from beit3_colab.look.run import Run
from file_server import FileServer
from hostile import NASTY, PICTURE, SCRIPT, make_run
from real_browser import CONTRAST, open_browser, take_picture


@pytest.fixture(scope="module")
def run(tmp_path_factory): return evaluate(limit=60, device="cpu", output_dir=tmp_path_factory.mktemp("run")/"run", progress=False)

@pytest.fixture(scope="module")
def path(run): return run.to_html(run.folder.parent/"report.html", n=40, heat_maps=30)

@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened: yield opened

@pytest.fixture
def open_page(browser):
    "Opens a file as a person would, and keeps what it asked the network for and what went wrong."
    pages = []
    def opened(path, **options):
        page = browser.new_page(**{"viewport": dict(width=1000, height=900), **options})
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("console", lambda message: page.said.append(message.text))
        page.goto(path.as_uri(), wait_until="load")
        pages.append(page)
        return page
    yield opened
    for page in pages: page.close()

def visible(page, what="article"): return page.evaluate(f"[...document.querySelectorAll('{what}')].filter(e => e.checkVisibility()).length")


def test_filters(open_page, path):
    page = open_page(path)
    take_picture(page, "report")
    shown = page.evaluate("[...document.querySelectorAll('article')].map(a => ({...a.dataset, text: a.querySelector('h3').textContent.toLowerCase(), answer: a.querySelector('.said b').textContent}))")
    total = len(shown)
    assert total == visible(page) == 40 and page.inner_text("#count") == "40 answers"
    for name, key in (("type", "type"), ("verdict", "verdict")):
        values = page.eval_on_selector_all(f"#{name} option", "options => options.map(o => o.value)")
        assert set(values) == {"", *(card[key] for card in shown)}
        for value in values:
            page.select_option(f"#{name}", value)
            assert visible(page) == sum(not value or card[key] == value for card in shown)
        page.select_option(f"#{name}", "")
    page.fill("#words", "Color")
    assert 0 < visible(page) == sum(" color" in f" {card['text']}" for card in shown) < total
    page.fill("#words", '"color is the"')
    assert visible(page) == sum("color is the" in card["text"] for card in shown)
    page.fill("#words", "olor")
    assert visible(page) == 0 and page.is_visible("#none") and page.inner_text("#count") == "0 of 40 answers"
    page.click("text=Clear filters")
    expect(page.locator("#count")).to_have_text("40 answers") # the page's policy forbids what wait_for_function does from its second look on
    assert visible(page) == 40 and not page.is_visible("#none")
    page.select_option("#order", "unsure")
    confidences = page.eval_on_selector_all("article", "cards => cards.map(c => +c.dataset.confidence)")
    assert confidences == sorted(confidences)
    assert not page.said and page.asked == [path.as_uri()]

def test_heat_maps_need_no_script(open_page, path):
    page = open_page(path, java_script_enabled=False)
    assert visible(page, ".heat") == 0
    page.check("#heat")
    assert visible(page, ".heat") == 30
    box, over = page.eval_on_selector(".picture", "p => [...p.children].map(c => { const b = c.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })")
    assert box == pytest.approx(over, abs=1) # it lies on its picture and nowhere else

def test_reads_without_javascript(open_page, path):
    page = open_page(path, java_script_enabled=False)
    assert visible(page) == 40 and not page.is_visible("#filters") and "Filters need JavaScript" in page.inner_text("main")
    assert page.eval_on_selector_all("img", "images => images.every(i => i.complete && i.naturalWidth > 0 && i.alt)")
    assert all(word in page.inner_text("body") for word in ("official VQA accuracy", "95 % interval", "peak memory", "weights, sha256", "people:"))
    page.emulate_media(media="print")
    assert visible(page) == 40 and not page.is_visible("nav")

@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_and_labels(open_page, path, scheme):
    page = open_page(path, color_scheme=scheme)
    ratios = sorted(page.locator("body").evaluate(CONTRAST))
    assert len(ratios) > 300 and ratios[0][0] >= 4.5, ratios[:3]
    assert page.evaluate("[...document.querySelectorAll('input, select, button')].every(e => e.labels?.length || e.textContent.trim())")
    assert page.get_attribute("html", "lang") == "en" and page.title()
    levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))

def test_keyboard_and_a_narrow_window(open_page, path):
    page = open_page(path, viewport=dict(width=420, height=900))
    take_picture(page, "report-narrow")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    order = []
    page.focus("nav li:last-child a")
    for _ in range(25): # each plot's table has a place on the way
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    places = [order.index(name) for name in ("words", "type", "verdict", "order", "BUTTON", "heat")]
    assert places == sorted(places)
    page.focus("#heat"); page.keyboard.press("Space")
    assert visible(page, ".heat") == 30

def test_hostile_texts_are_seen_and_nothing_of_them_runs(open_page, tmp_path):
    run = make_run(tmp_path)
    page = open_page(run.to_html(tmp_path/"report.html"))
    text = re.sub(r"\s+", " ", page.inner_text("body"))
    assert text.count(SCRIPT) > 20 and text.count(PICTURE) > 20 and "$x_1$" in text and "no picture" in text
    assert visible(page) == 6 and not page.said and page.asked == [(tmp_path/"report.html").as_uri()]
    page.fill("#words", "onmouseover"); page.select_option("#type", index=1)
    assert visible(page) == 3 and not page.said
    assert NASTY[:8] in page.title()

def test_keys_in_addresses_stay_at_home(tmp_path):
    from beit3_colab.scenes.sample import open_sample
    sample = open_sample()
    with FileServer({"/first.jpg": sample.image_path(sample.questions[0]).read_bytes()}) as server:
        address = server.url.replace("://", "://me:s3cret@of-mine@")
        own = [dict(image=f"{address}/{name}", question="What color is the car?") for name in ("first.jpg?token=k3y-of-mine&size=2", "second a.jpg?token=k3y-of-mine")]
        run = evaluate(questions=own, device="cpu", output_dir=tmp_path/"run", progress=False, bad_images="blank")
    page = run.to_html(tmp_path/"report.html", heat_maps=0).read_text(encoding="utf-8")
    assert f"{server.url}/first.jpg" in page and f"{server.url}/second a.jpg" in page and "s3cret" not in page and "of-mine" not in page # - is no letter of base64

def test_only_whole_folder_names_are_left_out():
    from beit3_colab.look.report_page import folder_pattern, remove_places
    assert remove_places([(folder_pattern("/photos"), "")], "/photos/a.jpg, /mnt/photos/a.jpg and file:///photos/b.jpg") == "a.jpg, /mnt/photos/a.jpg and file://b.jpg"
    assert remove_places([(folder_pattern("data"), "")], "data/a.jpg, mydata/a.jpg, x/data/a.jpg") == "a.jpg, mydata/a.jpg, x/data/a.jpg"

def test_a_layer_that_is_not_there_is_told_although_the_first_picture_is_missing(run, tmp_path):
    first = draw_sample(run.answers, 5, 0)[0]
    name = next(q.image for q in run.questions if q.question_id == run.answers.question_id[first])
    class Missing(type(run.data)):
        def read_image(self, question):
            if question.image == name: raise ImageError(f"picture {name} does not exist")
            return super().read_image(question)
    broken = Run(run.folder, run.questions, run.annotations, Missing(**{f.name: getattr(run.data, f.name) for f in fields(run.data)}), run.vqa)
    with pytest.raises(UserError, match="layer 99 does not exist"): broken.to_html(tmp_path/"x.html", n=5, layer=99)
    assert broken.to_html(tmp_path/"x.html", n=5).read_text(encoding="utf-8").count("does not exist") >= 1


def test_the_policy_holds_even_if_escaping_failed(open_page, path, tmp_path):
    "Markup put into the file by force: no script runs, and a server on this machine is asked for nothing."
    with FileServer() as server:
        url = server.url
        bad = (f"<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'><img src='{url}/image'>"
               f"<link rel=stylesheet href='{url}/style'><iframe src='{url}/frame'></iframe><script src='{url}/script'></script>"
               f"<style>body{{background:url({url}/back)}}@font-face{{font-family:x;src:url({url}/font)}}*{{font-family:x}}</style>")
        forced = path.read_text(encoding="utf-8")
        for name, content in (("open.html", re.sub("<meta http-equiv[^>]*>", "", forced)), ("closed.html", forced)): (tmp_path/name).write_text(content.replace("<main>", f"<main>{bad}"), encoding="utf-8")
        page = open_page(tmp_path/"closed.html")
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None and not server.requests and visible(page) == 40
        page.fill("#words", "color") # our own script still runs
        assert 0 < visible(page) < 40
        page = open_page(tmp_path/"open.html") # without the policy all of it happens
        page.wait_for_function("window.hacked")
        limit = time.monotonic() + 60
        while not server.requests and time.monotonic() < limit: page.wait_for_timeout(20)
        assert server.requests

def test_tags_filter_a_report(open_page, run, tmp_path):
    first, *others = run.questions[:4]
    run.remarks.tag(others, "<b>odd", "glare").note(first, "look again")
    try: path = run.to_html(tmp_path/"tagged.html", n=40)
    finally: run.remarks.untag(others, "<b>odd", "glare").note(first, "")
    page = open_page(path)
    marked = page.evaluate("[...document.querySelectorAll('article')].map(a => [a.dataset.tags || '', 'note' in a.dataset])")
    tagged, noted = sum(bool(tags) for tags, _ in marked), sum(note for _, note in marked)
    for value, number in (("<b>odd", tagged), ("glare", tagged), ("any tag", tagged), ("no tag", 40 - tagged), ("with a note", noted)):
        if not number: continue
        page.select_option("#tag", value)
        assert visible(page) == number, value
        assert page.eval_on_selector("#tag", "e => e.selectedOptions[0].text") == f"{value} ({number})"
    assert tagged and not page.said
    assert "id='tag'" not in run.to_html(tmp_path/"plain.html").read_text(encoding="utf-8")
