"What only a front end shows, in a JupyterLab that a fixture `lab` of the importing file starts. One notebook, from its first cell to its last."
import json
import re

import nbformat
import pytest
from playwright.sync_api import expect
from real_browser import CONTRAST, NotebookPage, open_browser, take_picture

CELLS = dict(
    load="from beit3_colab import evaluate, load_model, open_run\nvqa = load_model('sample', device='cpu')",
    evaluate="run = evaluate(vqa, limit=200, batch_size=4, output_dir='run')",
    browse="browser = open_run('run').browse(vqa=vqa)\nbrowser",
    background="going = evaluate(vqa, batch_size=1, output_dir='stopped', background=True)\ngoing",
    watched="going.browse()",
    after="going.wait()\nprint(going.state, 0 < len(going.records) < len(going.questions), len(going.answers) == len(going.records))",
    interrupted="evaluate(vqa, batch_size=1, output_dir='interrupted')\nprint('not reached')",
)
PLACE = {name: i for i, name in enumerate(CELLS)}
BAR = ".beit3-progress [role=progressbar]"
expect.set_options(timeout=60_000) # as `NotebookPage` waits


@pytest.fixture(scope="module")
def notebook(lab):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    kernel = dict(name="python3", display_name="Python 3")
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)), lab.folder/"notebooks"/"sample.ipynb")
    lab.wait()
    with open_browser() as browser:
        opened = NotebookPage(browser, lab)
        opened.open("sample.ipynb")
        opened.run_cell(PLACE["load"])
        opened.done(PLACE["load"])
        yield opened

@pytest.fixture
def browse(notebook):
    "The browser's part of the page, as it is when nothing was filtered."
    if not notebook.count(PLACE["browse"]):
        notebook.run_cell(PLACE["browse"])
        notebook.done(PLACE["browse"])
    part = notebook.cell(PLACE["browse"]).locator(".beit3-browse")
    part.wait_for()
    if part.locator(".beit3-detail").evaluate("e => getComputedStyle(e).display !== 'none'"): part.locator("button.beit3-back").click()
    clear(notebook, part)
    return part

def clear(notebook, part):
    "Clear the filters, and wait for all of the first page."
    part.locator("button.beit3-reset").click()
    notebook.settle()
    expect(part.locator(".beit3-result b").first).to_have_text(re.compile(r"^\d+ answers$"))
    expect(part.get_by_label("Page", exact=True)).to_have_value("1")
    expect(part.locator(".beit3-card:visible")).to_have_count(12)

def both_themes(notebook, part, name):
    "Contrast of everything that can be read; pictures at two widths."
    for theme in ("Light", "Dark"):
        notebook.theme(f"JupyterLab {theme}")
        notebook.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower())
        notebook.page.wait_for_function("!document.getElementById('jupyterlab-splash')") # it covers the page while a theme is loaded
        found = part.evaluate(CONTRAST)
        assert len(found) > 10 and not [f for f in found if f[0] < 4.5], (theme, sorted(found)[:5])
        for width in (1000, 420):
            notebook.page.set_viewport_size(dict(width=width, height=1200))
            assert part.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), f"wider than a notebook of {width} px"
            take_picture(part, f"{notebook.lab.name}-{name}-{theme.lower()}-{width}")
    notebook.page.set_viewport_size(dict(width=1000, height=900))
    notebook.theme("JupyterLab Light")

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

def test_browser_filters_sorts_and_pages(notebook, browse):
    cards, result, page = browse.locator(".beit3-card:visible"), browse.locator(".beit3-result b").first, browse.get_by_label("Page", exact=True)
    notebook.page.wait_for_function("[...document.querySelectorAll('.beit3-card img')].filter(e => e.complete && e.naturalWidth > 100).length === 12")
    browse.get_by_label("Right or wrong").select_option(index=1)
    expect(result).to_have_text(re.compile(r"^\d+ of \d+ answers$"))
    expect(browse.locator(".beit3-card:visible .beit3-chip")).to_have_text(["✓ right"]*12)
    browse.get_by_label("Answer type").select_option(label=browse.get_by_label("Answer type").locator("option", has_text="number").inner_text())
    browse.get_by_label("Words in question or answer").fill("how many")
    browse.get_by_label("Words in question or answer").press("Enter")
    notebook.page.wait_for_function("[...document.querySelectorAll('.beit3-card button')].filter(b => b.offsetParent).every(b => b.textContent.startsWith('How many'))")
    clear(notebook, browse)
    assert browse.locator(".beit3-fields select").evaluate_all("menus => menus.map(m => m.selectedIndex)") == [0]*5
    before = cards.all_inner_texts()
    browse.get_by_role("button", name="Next ›").click()
    notebook.settle()
    expect(page).to_have_value("2")
    expect(browse.locator("button.beit3-first")).to_be_enabled()
    assert len(cards.all_inner_texts()) == 12 and not set(cards.all_inner_texts()) & set(before)
    browse.get_by_label("Words in question or answer").fill("no such word")
    browse.get_by_label("Words in question or answer").press("Enter")
    browse.locator("text=No answer fits.").wait_for()
    expect(cards).to_have_count(0)

def test_detail_with_heat_map_and_a_question_of_ones_own(notebook, browse):
    picture = browse.locator(".beit3-large img")
    browse.locator("button.beit3-question").nth(1).click()
    picture.wait_for()
    before = picture.get_attribute("src")
    browse.get_by_role("button", name="Show what the answer rests on").click()
    browse.locator(".beit3-scale").wait_for()
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
    browse.get_by_role("button", name="the run’s question").click()
    expect(title).not_to_have_text("What is the weather like?")
    assert not nameless(browse)
    both_themes(notebook, browse, "detail")

def test_browser_is_readable_in_both_themes_and_named(notebook, browse):
    assert not nameless(browse)
    assert set(browse.locator(".beit3-card .beit3-chip").evaluate_all("chips => chips.map(c => c.textContent[0])")) <= set("✓½✗") # a sign, not a color alone
    both_themes(notebook, browse, "browser")

def test_keys_turn_pages_and_leave_the_notebook_alone(notebook, browse):
    page, cards = notebook.page, browse.locator("button.beit3-question:visible")
    number, back = browse.get_by_label("Page", exact=True), browse.locator("button.beit3-back")
    state = "return [notebook.widgets.length, notebook.mode, notebook.activeCellIndex, app.shell.currentWidget.title.label].join()"
    cards.first.focus()
    before = notebook.js(state)
    for key in ("a", "d", "d", "m", "ArrowDown"): page.keyboard.press(key) # JupyterLab's: insert, delete, Markdown, next cell
    assert notebook.js(state) == before
    turned = "number => document.querySelector('.beit3-page input').value === number"
    page.keyboard.press("ArrowRight")
    page.wait_for_function(turned, arg="2")
    browse.locator("button.beit3-previous:not([disabled])").wait_for() # the page's number comes a moment earlier
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(turned, arg="1")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('button.beit3-back')") # the keyboard follows
    browse.locator("text=/^1 of \\d+$/").wait_for()
    page.keyboard.press("ArrowRight")
    browse.locator("text=/^2 of \\d+$/").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.matches('button.beit3-question')")
    expect(back).to_be_hidden()
    assert number.input_value() == "1" and notebook.js(state) == before

def test_background_run_is_browsed_while_it_goes_on_and_stopped_by_its_button(notebook):
    cell = PLACE["background"]
    notebook.run_cell(cell)
    notebook.done(cell) # at once
    stop = notebook.cell(cell).locator("button.beit3-progress-stop")
    notebook.page.wait_for_function("Number(document.querySelector('.beit3-progress [role=progressbar]')?.getAttribute('aria-valuenow')) > 0")
    notebook.run_cell(PLACE["watched"])
    count = notebook.cell(PLACE["watched"]).locator(".beit3-result b").first
    count.wait_for()
    expect(count).not_to_have_text(count.inner_text()) # new answers come by themselves
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

def test_saved_notebook_shows_summary_and_pictures_without_a_kernel(notebook, browse):
    "The last test: the kernel is gone afterwards."
    browse.get_by_label("Right or wrong").select_option(index=1)
    expect(browse.locator(".beit3-result b").first).to_have_text(re.compile(r"^\d+ of \d+ answers$"))
    notebook.save()
    page = NotebookPage(notebook.page.context.browser, notebook.lab)
    page.open("sample.ipynb", kernel=False)
    assert page.js("return !panel.sessionContext.session")
    assert "Finished" in page.text(PLACE["evaluate"]) and "95 % interval" in page.text(PLACE["evaluate"]) and "Stopped" in page.text(PLACE["background"])
    page.js("notebook.scrollToItem(argument, 'start')", PLACE["browse"]) # what is not in sight is drawn when nothing else is to be done
    pictures = page.cell(PLACE["browse"]).locator("img")
    pictures.first.wait_for(timeout=60_000)
    assert pictures.count() == 12 and pictures.evaluate_all("all => all.every(e => e.complete && e.naturalWidth > 50 && e.offsetParent)")
    assert "Run the cell to browse all answers" in page.text(PLACE["browse"]) and page.page.locator(".beit3-browse").count() == 0
    take_picture(page.page, f"{notebook.lab.name}-reopened")
    saved = json.loads((notebook.lab.folder/"notebooks"/"sample.ipynb").read_text())
    errors = [o for cell in saved["cells"] for o in cell["outputs"] if o["output_type"] == "error"]
    assert [e["ename"] for e in errors] == ["Stopped"] and "state" not in json.dumps(saved["metadata"].get("widgets", {}))
