"""What only a front end shows, in a JupyterLab that a fixture `lab` of the importing file starts. One notebook, from its first cell to its last.

Every gesture is made by the mouse and from the keyboard; where one of the two is enough, the other is tried by the tests of the scripts (`tests/front_end`)."""
import json
import re
from pathlib import Path

import nbformat
import pytest
from front_end_tools import install
from playwright.sync_api import expect
from real_browser import BROKEN, CONTRAST, IN_SIGHT, NotebookPage, open_browser, SQUASHED, take_picture

CELLS = dict(
    load="from beit3_colab import compare, evaluate, load_model, open_run\nvqa = load_model('sample', device='cpu')",
    evaluate="run = evaluate(vqa, limit=200, batch_size=4, output_dir='run')",
    browse="browser = open_run('run').browse(vqa=vqa)\nbrowser",
    background="going = evaluate(vqa, batch_size=1, output_dir='stopped', background=True)\ngoing",
    watched="going.browse()",
    after="going.wait()\nprint(going.state, 0 < len(going.records) < len(going.questions), len(going.answers) == len(going.records))",
    interrupted="evaluate(vqa, batch_size=1, output_dir='interrupted')\nprint('not reached')",
    compared="runs = {f'{size} px': evaluate('sample', device='cpu', image_size=size, limit=30, output_dir=f'at{size}', progress=False) for size in (192, 128, 96)}\ncompare(runs).browse()",
    hostile=f"import sys, pathlib\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom hostile import make_run, NASTY\nnasty = make_run(pathlib.Path('hostile'))\nnasty.remarks.tag([0], '<img src=x onerror=alert(2)>')\nnasty.browse()",
)
PLACE = {name: i for i, name in enumerate(CELLS)}
BAR = ".beit3-progress [role=progressbar]"
RESET = """
browser.back()
browser.picks.clear()
for name, value in dict(size='medium', cards='one an answer', sort='mistakes', zoom=0, overview=False, more=False).items(): browser.controls[name].value = value
browser.controls['full-window'].value = browser.controls['attention'].value = False
browser.controls['per-page'].value = 12
browser.filters.clear()
browser.grid.turn(1)
"""
expect.set_options(timeout=60_000) # as `NotebookPage` waits


@pytest.fixture(scope="module")
def notebook(lab):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    kernel = dict(name="python3", display_name="Python 3")
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)), lab.folder/"notebooks"/"sample.ipynb")
    lab.wait()
    with open_browser() as browser:
        opened = NotebookPage(browser, lab)
        opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened.alerts = []
        opened.page.on("dialog", lambda dialog: (opened.alerts.append(dialog.message), dialog.dismiss()))
        opened.open("sample.ipynb")
        opened.run_cell(PLACE["load"])
        opened.done(PLACE["load"])
        yield opened

def show(notebook, name):
    "The browser of a cell, which is run if it was not."
    if not notebook.count(PLACE[name]):
        notebook.run_cell(PLACE[name])
        notebook.done(PLACE[name])
    part = notebook.cell(PLACE[name]).locator(".beit3-browse").first
    part.wait_for()
    return part

@pytest.fixture
def browse(notebook):
    "The browser's part of the page, as it is when nothing was done; 1280 pixels wide."
    if not notebook.count(PLACE["evaluate"]):
        notebook.run_cell(PLACE["evaluate"])
        notebook.done(PLACE["evaluate"])
    resize(notebook, 1280)
    part = show(notebook, "browse")
    assert notebook.ask(RESET) == ""
    part.locator(".beit3-title").scroll_into_view_if_needed() # what is out of sight has no text
    whole_page(part)
    return part

def resize(notebook, width, height=800): notebook.page.set_viewport_size(dict(width=width, height=height))

def whole_page(part):
    "Wait for all of the unfiltered first page."
    expect(result(part)).to_have_text(re.compile(r"^\d+ answers$"))
    expect(part.get_by_label("Page", exact=True)).to_have_value("1")
    expect(part.locator(".beit3-card:visible")).to_have_count(12)

def result(part): return part.locator(".beit3-result b").first
def fit(part): return int(re.match(r"[\d,]+", result(part).inner_text())[0].replace(",", ""))
def cards(part): return part.locator("button.beit3-question:visible")
def open_first(notebook, part):
    "Open the first answer; all of it is drawn then, and the keyboard is there. What is hidden yet would take no key."
    cards(part).first.click()
    expect(part.locator("button.beit3-back")).to_be_focused()
    notebook.settle()

def field(part, name): return part.locator(f".beit3-{name} input").locator("visible=true").first
def chosen(notebook): return notebook.ask("print(browser.filters.filter)")

def search(part, text):
    field(part, "words").fill(text)
    field(part, "words").press("Enter")

def wait_for_sight(locator):
    "Wait until an element is in the window."
    locator.evaluate(f"async e => {{ const seen = {IN_SIGHT}; for (let i = 0; i < 600 && !seen(e); i++) await new Promise(r => setTimeout(r, 50)) }}")
    assert locator.evaluate(IN_SIGHT), locator.evaluate("e => JSON.stringify(e.getBoundingClientRect())")

def click_there(notebook, locator):
    "A click of the mouse where an element is now: nothing is scrolled."
    place = locator.bounding_box()
    notebook.page.mouse.click(place["x"] + place["width"]/2, place["y"] + place["height"]/2)

def both_themes(notebook, part, name):
    "Contrast of everything that can be read, and what axe-core finds; pictures at two widths."
    install()
    for theme in ("Light", "Dark"):
        notebook.theme(f"JupyterLab {theme}")
        notebook.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower())
        notebook.page.wait_for_function("!document.getElementById('jupyterlab-splash')") # it covers the page while a theme is loaded
        found = part.evaluate(CONTRAST)
        assert len(found) > 10 and not [f for f in found if f[0] < 4.5], (theme, sorted(found)[:5])
        for width in (1280, 640):
            resize(notebook, width, 1200)
            assert part.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), f"wider than a notebook of {width} px"
            assert not part.evaluate(SQUASHED)
            take_picture(part, f"{notebook.lab.name}-{name}-{theme.lower()}-{width}")
        assert not notebook.find_faults(part), theme
    notebook.theme("JupyterLab Light")
    assert not nameless(part)

def nameless(part):
    "Controls without a name for screen readers."
    return re.findall(r"^ *- (?:button|textbox|combobox|spinbutton|slider|checkbox|listbox|radio)(?: \[.*\])?:?$", part.aria_snapshot(), re.M)


def test_bar_moves_while_the_cell_runs_and_gives_way_to_a_summary(notebook):
    cell = PLACE["evaluate"]
    notebook.run_cell(cell)
    bar, values = notebook.cell(cell).locator(BAR).first, []
    bar.wait_for()
    part = notebook.cell(cell).locator(".beit3-progress")
    part.locator("button.beit3-progress-stop").wait_for() # a moment after the bar
    assert not nameless(part) and not [f for f in part.evaluate(CONTRAST) if f[0] < 4.5]
    while len(set(values)) < 3 and not notebook.count(cell):
        value, running = int(bar.get_attribute("aria-valuenow")), notebook.js("return notebook.widgets[argument].model.executionState", cell) == "running"
        if running: values.append(value)
        notebook.page.wait_for_timeout(100)
    assert len(set(values)) >= 3 and values == sorted(values), values
    take_picture(notebook.page, f"{notebook.lab.name}-progress")
    notebook.done(cell)
    notebook.cell(cell).locator("text=Finished").wait_for()
    assert re.search(r"(\d+) of \1 questions answered", notebook.text(cell)) and "overall" in notebook.text(cell)
    expect(notebook.cell(cell).locator(BAR)).to_have_count(0)
    take_picture(notebook.page, f"{notebook.lab.name}-summary")

def test_first_page_shows_mistakes_first_and_pages_turn(notebook, browse):
    notebook.page.wait_for_function("[...document.querySelectorAll('.beit3-card img')].filter(e => e.complete && e.naturalWidth > 100).length === 12")
    verdicts = [text[0] for text in browse.locator(".beit3-card:visible .beit3-chip").all_inner_texts()]
    assert verdicts[0] == "✗" and verdicts == sorted(verdicts, key="✗½✓".index)
    browse.get_by_label("Sort by").select_option(label="order of the questions")
    notebook.settle()
    before = browse.locator(".beit3-card:visible").all_inner_texts()
    browse.get_by_role("button", name="Next ›").first.click()
    notebook.settle()
    expect(browse.get_by_label("Page", exact=True)).to_have_value("2")
    expect(browse.locator("button.beit3-first")).to_be_enabled()
    after = browse.locator(".beit3-card:visible").all_inner_texts()
    assert len(after) == 12 and not set(after) & set(before)

@pytest.mark.parametrize("width, by", [(1280, "mouse"), (1280, "keyboard"), (640, "mouse")])
def test_card_of_the_last_row_opens_in_sight_and_back_returns_to_it(notebook, browse, width, by):
    resize(notebook, width)
    card, back = cards(browse).last, browse.locator("button.beit3-back")
    text = card.inner_text()
    card.scroll_into_view_if_needed()
    if by == "mouse": click_there(notebook, card)
    else:
        card.focus()
        notebook.page.keyboard.press("Enter")
    heading = browse.locator(".beit3-heading h3")
    expect(heading).to_have_text(text)
    wait_for_sight(browse.locator(".beit3-title"))
    expect(back).to_be_focused()
    if by == "mouse": click_there(notebook, back)
    else: notebook.page.keyboard.press("Escape")
    expect(card).to_be_focused()
    wait_for_sight(card)
    expect(card).to_have_text(text)

@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_page_turned_from_below_is_seen_from_its_top(notebook, browse, by):
    below = browse.locator("button.beit3-next-below")
    below.scroll_into_view_if_needed()
    if by == "mouse": click_there(notebook, below)
    else:
        below.focus()
        notebook.page.keyboard.press("Enter")
    expect(browse.get_by_label("Page", exact=True)).to_have_value("2")
    wait_for_sight(browse.locator(".beit3-pages"))
    wait_for_sight(cards(browse).first)
    expect(browse.locator("button.beit3-next")).to_be_focused()
    expect(browse.locator(".beit3-below")).to_contain_text(re.compile(r"page 2 of \d+"))

def test_ticks_tags_and_notes_come_out_again(notebook, browse):
    ticks, count = browse.locator(".beit3-tick input:visible"), browse.locator(".beit3-picks")
    first, second = (cards(browse).nth(i).inner_text() for i in (0, 1))
    click_there(notebook, ticks.first)
    expect(count).to_contain_text("1 picked")
    ticks.nth(1).focus()
    expect(ticks.nth(1)).to_have_accessible_name(re.compile(f"pick {re.escape(second)}")) # the script names it once it is reached
    notebook.page.keyboard.press("Space")
    expect(count).to_contain_text("2 picked")
    expect(browse.locator("button.beit3-back")).to_be_hidden() # nothing was opened
    assert notebook.ask("print(*browser.selected.question, sep='|')") == f"{first}|{second}"
    browse.get_by_label("Right or wrong").select_option(label=browse.get_by_label("Right or wrong").locator("option", has_text="✗").inner_text())
    expect(result(browse)).to_contain_text(" of ")
    every = browse.get_by_role("button", name=re.compile(r"Pick (all [\d,]+ that fit|the one that fits)"))
    every.click()
    expect(count).to_contain_text(f"{fit(browse)} picked")
    assert notebook.ask("print(set(browser.selected.accuracy.tolist()), len(browser.selected) == len(browser.answers))") == "{0.0} True"
    browse.locator(".beit3-pick-tag input").fill("counting")
    browse.locator(".beit3-pick-tag input").press("Tab")
    browse.get_by_role("button", name="Add tag").click()
    expect(browse.locator(".beit3-card:visible .beit3-tagchip")).to_have_text(["counting"]*min(fit(browse), 12))
    browse.get_by_role("button", name="Clear picks").click()
    expect(ticks.first).not_to_be_checked()
    cards(browse).first.click()
    note = browse.locator(".beit3-note-field textarea")
    expect(browse.locator(".beit3-tag-field input")).to_have_value("counting")
    note.fill("hidden behind the house")
    note.press("Tab")
    expect(browse.locator(".beit3-remarks")).to_contain_text("✓ kept")
    browse.locator(".beit3-picked input").check()
    notebook.page.keyboard.press("Escape")
    expect(ticks.first).to_be_checked()
    expect(browse.locator(".beit3-card:visible").first).to_contain_text("hidden behind the house")
    notebook.run_cell(PLACE["browse"]) # opened again: from the run's folder
    notebook.done(PLACE["browse"])
    expect(browse.locator(".beit3-card:visible").first).to_contain_text("hidden behind the house")
    expect(browse.locator(".beit3-card:visible .beit3-tagchip").first).to_have_text("counting")

def test_search_and_filters_are_chips_that_can_be_taken_away(notebook, browse):
    search(browse, "-tree color|many answer:2")
    expect(result(browse)).to_contain_text(" of ")
    wanted = notebook.ask("t = browser.run.answers\ntext = (t.question + ' ' + t.answer).str.lower()\n"
                          "print(((t.answer == '2') & ~text.str.contains('tree') & (text.str.contains('color') | text.str.contains('many'))).sum())")
    assert fit(browse) == int(wanted) > 0
    chips = browse.locator("button.beit3-active-filter:visible")
    expect(chips).to_have_count(3)
    chips.first.click() # by the mouse
    expect(chips).to_have_count(2)
    chips.first.focus()
    notebook.page.keyboard.press("Delete")
    expect(chips).to_have_count(1)
    search(browse, "color nosuchword")
    browse.locator("text=No answer fits.").wait_for()
    remedy = browse.locator("button.beit3-remedy:visible").first
    number = int(re.search(r"[\d,]+$", remedy.inner_text())[0].replace(",", ""))
    remedy.click()
    expect(result(browse)).to_have_text(re.compile(rf"^{number:,} of "))
    browse.get_by_role("button", name="Clear filters").click()
    whole_page(browse)
    expect(chips).to_have_count(0)

def test_overview_filters_by_bars_brush_and_slider(notebook, browse):
    fold = browse.get_by_role("button", name="Overview")
    fold.click()
    notebook.settle() # bars are drawn one by one, after the number of answers
    bars = browse.locator(".beit3-facet:not(.beit3-upright) button.beit3-bar-button:visible")
    bar = bars.filter(has_text="yes/no")
    number = int(re.search(r"· ([\d,]+)", bar.inner_text())[1].replace(",", ""))
    bar.click()
    expect(result(browse)).to_have_text(re.compile(rf"^{number:,} of "))
    expect(browse.locator("button.beit3-active-filter:visible")).to_have_count(1)
    bar.press("Enter") # the keyboard is still there, and takes it away again
    whole_page(browse)
    notebook.settle()
    confusion = bars.filter(has_text="→").first
    text = re.match(r"(?:✓ )?(.+) → (.+?), ([\d,]+)", confusion.inner_text())
    confusion.click()
    expect(result(browse)).to_have_text(re.compile(rf"^{text[3]} of "))
    assert f"correct_answer={text[1]!r}" in (asked := chosen(notebook)) and f"answer={text[2]!r}" in asked
    browse.get_by_role("button", name="Clear filters").click()
    whole_page(browse)
    notebook.settle()
    stops = browse.locator(".beit3-upright button.beit3-bar-button:visible")
    wholes = [int(re.search(r" · ([\d,]+)", text)[1].replace(",", "")) for text in stops.all_inner_texts()]
    assert sum(wholes) == fit(browse) # each answer is in one bar
    begin, end = stops.nth(4).bounding_box(), stops.nth(8).bounding_box()
    notebook.page.mouse.move(begin["x"] + begin["width"]/2, begin["y"] + begin["height"]/2)
    notebook.page.mouse.down()
    notebook.page.mouse.move(end["x"] + end["width"]/2, end["y"] + end["height"]/2, steps=4)
    notebook.page.mouse.up()
    expect(result(browse)).to_contain_text(" of ")
    assert "min_confidence=0.75, max_confidence=0.99499995" in chosen(notebook) # up to where the next bar begins
    low = browse.locator(".beit3-overview-range").get_by_role("slider").first
    low.focus()
    expect(low).to_have_accessible_name("Confidence from")
    notebook.page.keyboard.press("ArrowLeft")
    expect(browse.locator("button.beit3-active-filter:visible")).to_contain_text("0.5")
    assert "min_confidence=0.5, max_confidence=0.99499995" in chosen(notebook)
    both_themes(notebook, browse, "overview")
    resize(notebook, 1280)
    fold.click()
    expect(bars).to_have_count(0)

def test_detail_with_heat_map_and_a_question_of_ones_own(notebook, browse):
    picture = browse.locator(".beit3-large img")
    cards(browse).nth(1).click()
    picture.wait_for()
    notebook.settle()
    place = "e => [e.clientWidth, e.clientHeight, Math.round(e.getBoundingClientRect().top - e.closest('.beit3-detail').getBoundingClientRect().top)]"
    before, fitted = picture.get_attribute("src"), picture.evaluate(place)
    browse.get_by_role("button", name="Show what the answer rests on").click()
    browse.locator(".beit3-scale").wait_for()
    assert (now := picture.evaluate(place)) == fitted, (now, fitted) # so that with and without a map can be compared by eye
    expect(picture).to_have_attribute("alt", re.compile("with what “.+” rests on"))
    browse.get_by_role("button", name="Hide what the answer rests on").wait_for()
    seen = [before, picture.get_attribute("src")]
    def changed():
        notebook.page.wait_for_function("seen => !seen.includes(document.querySelector('.beit3-large img').src)", arg=seen)
        seen.append(picture.get_attribute("src"))
    browse.locator(".beit3-explained button").nth(1).click() # why not the second answer
    changed()
    browse.locator(".beit3-looker button").nth(2).click() # a word
    changed()
    browse.get_by_role("slider", name="Layers").press("ArrowRight")
    changed()
    browse.get_by_label("What the map shows").select_option(index=3) # rolled out: of no single answer, through all layers
    changed()
    expect(browse.locator(".beit3-explained")).to_be_hidden()
    expect(browse.locator(".beit3-slider")).to_be_hidden()
    browse.get_by_label("What the map shows").select_option(index=0)
    browse.get_by_label("Ask the model about this picture").fill("What is the weather like?")
    browse.get_by_label("Ask the model about this picture").press("Enter")
    browse.locator(".beit3-asked caption", has_text="What is the weather like?").wait_for()
    expect(browse.locator(".beit3-asked tr")).to_have_count(5)
    title = browse.locator(".beit3-heading h3")
    expect(title).to_have_text("What is the weather like?") # the heading is that of the map
    both_themes(notebook, browse, "detail")
    browse.get_by_role("button", name="the run’s question").click()
    expect(title).not_to_have_text("What is the weather like?")

def test_picture_grows_to_its_own_size_and_stays_so_on_the_next(notebook, browse):
    cards(browse).first.click()
    box, img = browse.locator(".beit3-scroll:visible"), browse.locator(".beit3-large:visible img")
    size, heading = browse.locator(".beit3-zoom"), browse.locator(".beit3-heading h3")
    size.get_by_role("button", name="200 %").click()
    expect(box).to_have_class(re.compile("beit3-zoomed"))
    notebook.page.wait_for_function("(() => { const i = document.querySelector('.beit3-zoomed img'); return i && i.complete && i.clientWidth === 2*i.naturalWidth })()")
    before = heading.inner_text()
    size.get_by_role("button", name="200 %").press("ArrowRight")
    expect(heading).not_to_have_text(before)
    expect(box).to_have_class(re.compile("beit3-zoomed"))
    notebook.page.wait_for_function("(() => { const i = document.querySelector('.beit3-zoomed img'); return i && i.complete && i.clientWidth === 2*i.naturalWidth })()")
    expect(size.get_by_role("button", name="200 %")).to_have_attribute("aria-pressed", "true")
    img.click() # the picture itself: from near to the whole
    expect(box).not_to_have_class(re.compile("beit3-zoomed"))
    img.click()
    expect(box).to_have_class(re.compile("beit3-zoomed"))
    browse.get_by_role("button", name="Full window").click()
    viewer = browse.locator(".beit3-viewer.beit3-full")
    notebook.page.wait_for_function("(() => { const v = document.querySelector('.beit3-viewer.beit3-full'); return v && v.clientWidth >= innerWidth - 40 && v.clientHeight >= innerHeight - 40 })()")
    assert not notebook.find_faults(viewer)
    take_picture(notebook.page, f"{notebook.lab.name}-full-window")
    notebook.page.keyboard.press("Escape")
    expect(viewer).to_have_count(0)
    expect(heading).to_be_visible() # the answer stays open
    notebook.page.keyboard.press("Escape")
    expect(heading).to_be_hidden()

def test_ids_and_the_call_of_a_view_are_copied(notebook, browse):
    copied = "navigator.clipboard.readText()"
    browse.get_by_label("Right or wrong").select_option(index=1)
    expect(result(browse)).to_contain_text(" of ")
    expect(browse.locator(".beit3-call code")).to_contain_text("correctness") # it comes after the cards
    button = browse.get_by_role("button", name="Copy as code")
    button.click()
    expect(browse.locator(".beit3-call button")).to_contain_text("copied")
    assert [notebook.page.evaluate(copied), notebook.ask("print(browser.code())")] == ["run.browse(correctness='right')"]*2
    open_first(notebook, browse)
    button = browse.get_by_role("button", name=re.compile("copy the question.s id"))
    button.press("Enter")
    expect(button).to_contain_text("copied")
    assert notebook.page.evaluate(copied) == notebook.ask("print(browser.question_id)")

def test_cards_of_other_sizes_and_one_a_picture(notebook, browse):
    card, widths = browse.locator(".beit3-card:visible"), {}
    for name in ("small", "medium", "large"):
        browse.get_by_label("Card size").select_option(name)
        notebook.settle()
        widths[name] = card.first.bounding_box()["width"]
    assert widths["small"] < .8*widths["medium"] < .7*widths["large"], widths
    assert not browse.evaluate(SQUASHED)
    answers = fit(browse)
    browse.get_by_label("Cards", exact=True).select_option("one a picture")
    notebook.settle()
    pictures = int(notebook.ask("print(browser.answers.image_id.nunique())"))
    expect(browse.locator(".beit3-below")).to_contain_text(f"of {-(-pictures//12)}")
    assert pictures < answers == fit(browse)
    take_picture(browse, f"{notebook.lab.name}-pictures")
    cards(browse).last.click()
    expect(browse.locator(".beit3-list button").first).to_be_visible() # the others of the picture

def test_browser_is_readable_in_both_themes_and_named(notebook, browse):
    assert set(browse.locator(".beit3-card .beit3-chip").evaluate_all("chips => chips.map(c => c.textContent[0])")) <= set("✓½✗") # a sign, not a color alone
    browse.get_by_role("button", name="More filters").click()
    browse.locator(".beit3-tick input:visible").first.check()
    search(browse, "color|many")
    expect(result(browse)).to_contain_text(" of ")
    both_themes(notebook, browse, "browser")

def test_keys_turn_pages_and_leave_the_notebook_alone(notebook, browse):
    page = notebook.page
    number, back = browse.get_by_label("Page", exact=True), browse.locator("button.beit3-back")
    state = "return [notebook.widgets.length, notebook.mode, notebook.activeCellIndex, app.shell.currentWidget.title.label].join()"
    cards(browse).first.focus()
    before = notebook.js(state)
    for key in ("a", "d", "d", "m", "ArrowDown"): page.keyboard.press(key) # JupyterLab's: insert, delete, Markdown, next cell
    assert notebook.js(state) == before
    page.keyboard.press("ArrowRight")
    expect(number).to_have_value("2")
    browse.locator("button.beit3-previous:not([disabled])").wait_for() # the page's number comes a moment earlier
    page.keyboard.press("ArrowLeft")
    expect(number).to_have_value("1")
    page.keyboard.press("Enter")
    expect(back).to_be_focused() # the keyboard follows
    browse.locator("[role=status]", has_text=re.compile(r"^1 of \d+")).wait_for()
    page.keyboard.press("ArrowRight")
    browse.locator("[role=status]", has_text=re.compile(r"^2 of \d+")).wait_for() # "2 of 10" people may say the same
    page.keyboard.press("Escape")
    expect(cards(browse).nth(1)).to_be_focused() # the card of the answer that was open
    expect(back).to_be_hidden()
    assert number.input_value() == "1" and notebook.js(state) == before

def test_the_full_window_holds_the_keyboard(notebook, browse):
    open_first(notebook, browse)
    full = browse.locator("button.beit3-full-window")
    full.focus()
    full.press("Enter")
    browse.locator(".beit3-viewer.beit3-full").wait_for()
    inside = "() => !!document.activeElement.closest('.beit3-full')"
    for key in ("Tab", "Shift+Tab"):
        seen = set()
        for _ in range(8):
            notebook.page.keyboard.press(key)
            assert notebook.page.evaluate(inside), (key, seen)
            seen.add(notebook.page.evaluate("() => document.activeElement.innerText"))
        assert {"Fit", "400 %", "Leave full window"} <= seen
    notebook.page.keyboard.press("Escape")
    expect(browse.locator(".beit3-viewer.beit3-full")).to_have_count(0)
    expect(browse.locator("button.beit3-back")).to_be_visible()

def test_what_is_gone_leaves_the_keyboard_beside_it(notebook, browse):
    search(browse, "is answer:yes")
    chips = browse.locator("button.beit3-active-filter:visible")
    expect(chips).to_have_count(2)
    chips.last.press("Delete")
    expect(chips).to_have_count(1)
    expect(chips.last).to_be_focused()
    chips.last.press("Delete")
    expect(field(browse, "words")).to_be_focused()
    whole_page(browse)
    for number in (0, 1): browse.locator(".beit3-tick input:visible").nth(number).check()
    tag = field(browse, "pick-tag")
    tag.fill("by Enter")
    tag.press("Enter")
    expect(browse.locator(".beit3-card .beit3-tagchip", has_text="by Enter").first).to_be_visible()
    assert notebook.ask("print(browser.remarks.counts['by Enter'])\nbrowser.remarks.untag(browser.picks.ids, 'by Enter')") == "2"
    browse.get_by_role("button", name="Clear picks").press("Enter")
    expect(browse.locator("button.beit3-pick-all")).to_be_focused()

def test_three_runs_side_by_side(notebook):
    part = show(notebook, "compared")
    cards(part).first.click()
    zoom = part.locator(".beit3-zoom button")
    zoom.filter(has_text="200 %").click()
    expect(part.locator(".beit3-viewer .beit3-size").first).to_contain_text("shown at 200 %")
    zoom.filter(has_text="Fit").click()
    assert part.locator(".beit3-heading button.beit3-copy").count() == 2
    part.get_by_role("button", name=re.compile("^Show")).first.click()
    maps = part.locator(".beit3-models .beit3-large:visible img")
    expect(maps).to_have_count(3)
    notebook.page.wait_for_function("(() => { const all = [...document.querySelectorAll('.beit3-models img')].filter(i => i.offsetParent); return all.length === 3 && new Set(all.map(i => i.src)).size === 3 })()")
    first, second, _ = maps.evaluate_all("all => all.map(i => Math.round(i.getBoundingClientRect().top))")
    assert first == second # side by side
    asked = part.get_by_label(re.compile("^Ask"))
    asked.fill("What is the weather like?")
    asked.press("Enter")
    expect(part.locator(".beit3-each table")).to_have_count(3)
    both_themes(notebook, part, "compared-detail")
    resize(notebook, 1280)
    part.locator("button.beit3-back").click()
    expect(cards(part).first).to_be_visible()
    both_themes(notebook, part, "compared")
    resize(notebook, 1280)

def test_hostile_texts_are_inert(notebook):
    part = show(notebook, "hostile")
    inserted = "e => e.querySelectorAll('script, img[src=x], [onerror], [onmouseover]').length"
    assert "<script>alert(1)</script>" in cards(part).first.inner_text() and part.evaluate(inserted) == 0
    part.locator(".beit3-tick input:visible").first.check()
    part.get_by_role("button", name="Overview").click()
    expect(part.locator(".beit3-facet").first).to_be_visible()
    cards(part).first.click()
    expect(part.locator(".beit3-heading h3")).to_contain_text("<script>alert(1)</script>")
    expect(part.locator(".beit3-tag-field input")).not_to_have_value("")
    assert part.evaluate(inserted) == 0 and notebook.alerts == []

def test_background_run_is_browsed_while_it_goes_on_and_stopped_by_its_button(notebook):
    cell = PLACE["background"]
    notebook.run_cell(cell)
    notebook.done(cell) # at once
    stop = notebook.cell(cell).locator("button.beit3-progress-stop")
    notebook.page.wait_for_function("Number(document.querySelector('.beit3-progress [role=progressbar]')?.getAttribute('aria-valuenow')) > 0")
    part = show(notebook, "watched")
    count = result(part)
    count.wait_for()
    expect(count).not_to_have_text(count.inner_text()) # new answers come by themselves
    open_first(notebook, part)
    place, heading = part.locator(".beit3-detail [role=status]").first, part.locator(".beit3-heading h3")
    before, text = place.inner_text(), heading.inner_text()
    expect(place).not_to_have_text(before) # also while one is open, which stays
    expect(heading).to_have_text(text)
    part.locator("button.beit3-back").click()
    assert stop.is_visible()
    stop.click()
    notebook.cell(cell).locator("text=/^Stopped$/").wait_for()
    assert "continues" in notebook.text(cell) and "overall" in notebook.text(cell)
    notebook.run_cell(PLACE["after"])
    notebook.done(PLACE["after"])
    expect(notebook.cell(PLACE["after"]).locator(".jp-OutputArea")).to_have_text("stopped True True", use_inner_text=True)

def test_interrupted_cell_ends_with_one_line(notebook):
    cell = PLACE["interrupted"]
    notebook.run_cell(cell)
    notebook.page.wait_for_function("Number(document.querySelector('.beit3-progress [role=progressbar]')?.getAttribute('aria-valuenow')) > 0")
    notebook.js("app.commands.execute('notebook:interrupt-kernel')")
    notebook.done(cell)
    told = notebook.cell(cell).locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    lines = [line for line in told.last.inner_text().splitlines() if line.strip()]
    assert len(lines) == 1 and re.fullmatch(r"Stopped: [\d,]+ of 1,093 questions are answered and kept; the same call with output_dir='interrupted' continues", lines[0]), lines

def test_browser_says_that_its_kernel_is_gone_and_works_again_after_it(notebook, browse):
    notebook.restart()
    assert browse.evaluate(BROKEN) <= 1
    before = browse.locator(".beit3-card:visible").first.inner_text()
    browse.get_by_role("button", name="Next ›").first.click()
    expect(browse.locator(".beit3-waiting")).to_contain_text("run the cell again")
    assert (after := browse.locator(".beit3-card:visible").first.inner_text()) == before, (before, after)
    take_picture(browse, f"{notebook.lab.name}-kernel-gone")
    for name in ("load", "browse"):
        notebook.run_cell(PLACE[name])
        notebook.wait(f"notebook.widgets[{PLACE[name]}].model.executionState === 'idle'", name)
    part = notebook.cell(PLACE["browse"]).locator(".beit3-browse")
    whole_page(part)
    part.get_by_role("button", name="Next ›").first.click()
    expect(part.get_by_label("Page", exact=True)).to_have_value("2")

@pytest.mark.parametrize("trusted", [True, False])
def test_saved_notebook_shows_summary_and_pictures_without_a_kernel(notebook, trusted):
    "The last test: the kernel is gone afterwards."
    name = "sample.ipynb" if trusted else "given.ipynb"
    notebook.save()
    saved = json.loads((notebook.lab.folder/"notebooks"/"sample.ipynb").read_text())
    if not trusted: # JupyterLab trusts what it has written itself
        saved["cells"][PLACE["load"]]["source"] = "# from a colleague"
        (notebook.lab.folder/"notebooks"/name).write_text(json.dumps(saved))
    page = NotebookPage(notebook.page.context.browser, notebook.lab)
    page.open(name, kernel=False)
    assert page.js("return !panel.sessionContext.session") and page.js("return notebook.widgets[argument].model.trusted", PLACE["browse"]) == trusted
    assert "Finished" in page.text(PLACE["evaluate"]) and "95 % interval" in page.text(PLACE["evaluate"]) and "Stopped" in page.text(PLACE["background"])
    for name in ("browse", "compared"):
        page.js("notebook.scrollToItem(argument, 'start')", PLACE[name]) # what is not in sight is drawn when nothing else is to be done
        pictures = page.cell(PLACE[name]).locator("img")
        pictures.first.wait_for(timeout=60_000)
        assert pictures.count() == 12 and pictures.evaluate_all("all => all.every(e => e.complete && e.naturalWidth > 50 && e.offsetParent)")
        assert page.cell(PLACE[name]).evaluate(SQUASHED) == []
    page.js("notebook.scrollToItem(argument, 'start')", PLACE["browse"])
    assert "Run the cell to browse all answers" in page.text(PLACE["browse"]) and page.page.locator(".beit3-browse").count() == 0
    take_picture(page.page, f"{notebook.lab.name}-reopened{'' if trusted else '-untrusted'}")
    page.page.close()
    errors = [o for cell in saved["cells"] for o in cell["outputs"] if o["output_type"] == "error"]
    assert [e["ename"] for e in errors] == ["Stopped"] and "state" not in json.dumps(saved["metadata"].get("widgets", {}))
