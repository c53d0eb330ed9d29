"""Take the pictures of browsers in JupyterLab, for the README and for the pages of the modules that make them.

    python scripts/take_pictures.py        # writes nbs/images/*.png; needs Chromium and what the tests need
"""
import io
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
run = evaluate(vqa, output_dir='run', progress=False)
coarse = evaluate('sample', device='cpu', output_dir='coarse', image_size=128, progress=False)
"""
CELLS = (
    PREPARE,
    "run.browse(vqa=vqa, sort='unsure', per_page=12)",
    "run.browse(vqa=vqa, words='\"color is the bird\"')",
    "run.browse(vqa=vqa, correctness='wrong', sort='mistakes', per_page=4)",
    "compare(coarse, run).browse(change='wrong → right', per_page=4)",
    "explore_attention(vqa, draw_scene(make_scene(34)), 'What color is the house?')",
    "run.probe('covered-25', limit=40, vqa=vqa, progress=False).browse('covered-25', per_page=8)",
)
SCALE = 1.33        # pixels of the README's picture for one of the page
WIDTHS = (720, 516) # of its two pages
HEIGHT = 1034       # it ends there
PAGE = 900          # width of a notebook for the other pictures


def shoot(notebook, cell, width):
    "The browser in a cell, in a notebook of some width."
    notebook.page.set_viewport_size(dict(width=width, height=1400))
    notebook.js("notebook.scrollToItem(argument, 'start')", cell)
    part = notebook.cell(cell).locator(".beit3-browse").first # that of probes holds another
    notebook.page.mouse.move(1, 1)
    notebook.page.wait_for_timeout(1500) # sliders and pictures settle
    return Image.open(io.BytesIO(part.screenshot())).convert("RGB")

def open_detail(notebook, cell):
    "Open the first card of a cell's browser, with the map of what the answer rests on."
    part = notebook.cell(cell).locator(".beit3-browse")
    part.locator("button.beit3-question").first.click()
    part.get_by_role("button", name="Show what the answer rests on").click()
    part.locator(".beit3-scale").wait_for()

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
