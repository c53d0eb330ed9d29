"""Take the pictures of browsers in JupyterLab, for the README and for the pages of the modules that make them.

    python scripts/take_pictures.py        # writes nbs/images/*.png; needs Chromium and what the tests need
"""
import io
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/"tests"))
from real_browser import Lab, NotebookPage, open_browser  # noqa: E402

PREPARE = """
from beit3_colab import compare, evaluate, load_model
from beit3_colab.look.attention_view import explore_attention
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
vqa = load_model('sample', device='cpu')
small = {side: load_model('sample', device='cpu', image_size=side) for side in (128, 160)}
run = evaluate(vqa, output_dir='run', progress=False)
coarse = evaluate(small[128], output_dir='coarse', progress=False)
middle = evaluate(small[160], output_dir='middle', progress=False)
"""
CELLS = (
    PREPARE,
    "run.browse(vqa=vqa, correctness='wrong', per_page=12)",
    "run.browse(vqa=vqa, words='\"color is the bird\"')",
    "run.browse(vqa=vqa, correctness='wrong', sort='mistakes', per_page=4)",
    "compare(coarse, run).browse(change='wrong → right', per_page=4)",
    "explore_attention(vqa, draw_scene(make_scene(34)), 'What color is the house?')",
    "run.probe('covered-25', limit=40, vqa=vqa, progress=False).browse('covered-25', per_page=4)",
    "coarse.browse(per_page=4)",
    "coarse.browse(answer_type='number', correctness='wrong', per_page=4)",
    "run.browse(vqa=vqa, words='\"color is the bird\"')",
    "names = ('128 px', '160 px', '192 px')\n"
    "compare(dict(zip(names, (coarse, middle, run)))).browse(vqa=dict(zip(names, (*small.values(), vqa))))",
)
SCALE = 1.33        # pixels of the README's picture for one of the page
WIDTHS = (720, 516) # of its two pages
HEIGHT = 1000       # it ends there
PAGE = 900          # width of a notebook for the other pictures
WIDE = 1080         # and for those of the page about the browser


def shoot(notebook, cell, width, until=None):
    "The browser in a cell, in a notebook of some width; down to the end of a part, if one is named."
    notebook.page.set_viewport_size(dict(width=width, height=1900))
    notebook.js("notebook.scrollToItem(argument, 'start')", cell)
    part = notebook.cell(cell).locator(".beit3-browse").first # that of probes holds another
    notebook.page.mouse.move(1, 1)
    notebook.page.wait_for_timeout(1500) # sliders and pictures settle
    picture = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    if until is None: return picture
    end, whole = part.locator(until).bounding_box(), part.bounding_box()
    return picture.crop((0, 0, picture.width, int(end["y"] + end["height"] - whole["y"]) + 4))

def open_detail(notebook, cell):
    "Open the first card of a cell's browser, with the map of what the answer rests on."
    part = notebook.cell(cell).locator(".beit3-browse")
    part.locator("button.beit3-question").first.click()
    part.get_by_role("button", name=re.compile("Show what the answers? rests? on")).click()
    part.locator(".beit3-scale").first.wait_for()

def open_overview(notebook, cell):
    "Open the overview, and draw over the confidences from .5 to .98."
    part = notebook.cell(cell).locator(".beit3-browse")
    part.locator("button.beit3-overview").click()
    bars = part.locator(".beit3-brushed button.beit3-bar-button")
    bars.nth(3).scroll_into_view_if_needed()
    for number, move in ((3, notebook.page.mouse.down), (6, notebook.page.mouse.up)):
        box = bars.nth(number).bounding_box()
        notebook.page.mouse.move(box["x"] + box["width"]/2, box["y"] + box["height"]/2, steps=5)
        move()
    part.locator("button.beit3-active-filter").first.wait_for()
    notebook.settle()

def pick(notebook, cell):
    "Tick two cards, and give both a tag."
    part = notebook.cell(cell).locator(".beit3-browse")
    for number in range(2): part.locator(".beit3-card .beit3-tick input").nth(number).check()
    part.locator(".beit3-pick-tag input").fill("counting")
    part.locator("button.beit3-tag-add").click()
    notebook.settle()

def enlarge(notebook, cell):
    "Open the first card, and click on the bird, which is shown twice as large then."
    part = notebook.cell(cell).locator(".beit3-browse")
    part.locator("button.beit3-question").first.click()
    picture = part.locator(".beit3-scroll img")
    picture.wait_for()
    notebook.settle()
    box = picture.bounding_box()
    picture.click(position=dict(x=.75*box["width"], y=.3*box["height"]))
    part.locator(".beit3-scroll img.beit3-original").wait_for()
    notebook.settle()

def open_notebook(browser, lab, scale):
    "The notebook with all cells run."
    notebook = NotebookPage(browser, lab, scale=scale)
    notebook.open("a.ipynb")
    for cell in range(len(CELLS)):
        notebook.run_cell(cell)
        notebook.done(cell, 120)
    return notebook

def side_by_side(left, right):
    "Two pictures with a line between them, cut at one height."
    gap = int(20*SCALE)
    height = min(int(HEIGHT*SCALE), max(left.height, right.height))
    both = Image.new("RGB", (left.width + gap + right.width, height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    both.paste((208, 208, 208), (left.width + gap//2, 0, left.width + gap//2 + 2, height))
    return both

def save(picture, name):
    "Write a picture with few colors, which makes it small."
    path = ROOT/"nbs"/"images"/f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {picture.width} × {picture.height}, {path.stat().st_size/1000:.0f} kB")

def take_all(browser, lab):
    "All pictures: first those of the pages, then the README's, which is larger."
    notebook = open_notebook(browser, lab, 1)
    for cell, name in ((3, "grid"), (4, "comparison_browser"), (5, "attention_view"), (6, "probe_browser")):
        save(shoot(notebook, cell, PAGE), name)
    open_detail(notebook, 2)
    save(shoot(notebook, 2, PAGE), "detail")
    for cell, name, prepare in ((7, "overview", open_overview), (8, "picked", pick), (9, "zoom", enlarge), (10, "comparison_maps", open_detail)):
        notebook.page.set_viewport_size(dict(width=WIDE, height=1900))
        prepare(notebook, cell)
        save(shoot(notebook, cell, WIDE, ".beit3-overview-body" if name == "overview" else None), name)
    notebook.page.close()
    notebook = open_notebook(browser, lab, SCALE)
    left = shoot(notebook, 1, WIDTHS[0])
    open_detail(notebook, 2)
    save(side_by_side(left, shoot(notebook, 2, WIDTHS[1])), "browse")

def main():
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder)/"lab", "pictures")
        kernel = dict(kernelspec=dict(name="python3", display_name="Python 3"))
        book = nbformat.v4.new_notebook(metadata=kernel, cells=list(map(nbformat.v4.new_code_cell, CELLS)))
        nbformat.write(book, lab.folder/"notebooks"/"a.ipynb")
        try:
            lab.wait()
            with open_browser() as browser: take_all(browser, lab)
        finally: lab.close()

if __name__ == "__main__": main()
