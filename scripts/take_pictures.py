"""Take the README's picture: the browser of answers in JupyterLab, as a page of cards and as one answer in full.

    python scripts/take_pictures.py        # writes nbs/images/browse.png; needs Chromium and what the tests need
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

CELLS = (
    "from beit3_colab import evaluate, load_model\n"
    "vqa = load_model('sample', device='cpu')\n"
    "run = evaluate(vqa, output_dir='run', progress=False)",
    "run.browse(vqa=vqa, sort='unsure', per_page=12)",
    "run.browse(vqa=vqa, words='\"color is the bird\"')",
)
SCALE = 1.33        # pixels of the picture for one of the page
WIDTHS = (720, 516) # of the two pages
HEIGHT = 1034       # of the page, where the picture ends
GAP = 20            # between the two pages, with a line in it
GREY = (208, 208, 208)


def write_notebook(path):
    "The notebook that is to be seen, not run yet."
    kernel = dict(name="python3", display_name="Python 3")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(metadata=dict(kernelspec=kernel), cells=cells), path)

def shoot(notebook, cell, width):
    "The browser in a cell, in a notebook of some width."
    notebook.page.set_viewport_size(dict(width=width, height=1400))
    notebook.js("notebook.scrollToItem(argument, 'start')", cell)
    part = notebook.cell(cell).locator(".beit3-browse")
    notebook.page.mouse.move(1, 1)
    notebook.page.wait_for_timeout(1500) # sliders and pictures settle
    return Image.open(io.BytesIO(part.screenshot())).convert("RGB")

def open_first_answer(notebook, cell):
    "Click on the first card of the browser in a cell, and on the button for its heat map."
    part = notebook.cell(cell).locator(".beit3-browse")
    part.locator("button.beit3-question").first.click()
    part.get_by_role("button", name="Show where it looks").click()
    part.locator(".beit3-scale").wait_for()

def take_both(lab):
    "The page of cards, and one answer in full."
    with open_browser() as browser:
        notebook = NotebookPage(browser, lab, scale=SCALE)
        notebook.open("a.ipynb")
        for cell in range(len(CELLS)):
            notebook.run_cell(cell)
            notebook.done(cell, 120)
        cards = shoot(notebook, 1, WIDTHS[0])
        open_first_answer(notebook, 2)
        return cards, shoot(notebook, 2, WIDTHS[1])

def join(left, right):
    "Two pictures side by side, with a line between them."
    gap = int(GAP*SCALE)
    height = min(int(HEIGHT*SCALE), max(left.height, right.height))
    both = Image.new("RGB", (left.width + gap + right.width, height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + gap, 0))
    both.paste(GREY, (left.width + gap//2, 0, left.width + gap//2 + 2, height))
    return both

def main():
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder)/"lab", "pictures")
        write_notebook(lab.folder/"notebooks"/"a.ipynb")
        try:
            lab.wait()
            left, right = take_both(lab)
        finally: lab.close()
    both = join(left, right)
    path = ROOT/"nbs"/"images"/"browse.png"
    path.parent.mkdir(exist_ok=True)
    both.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = f"{both.width} × {both.height}, {path.stat().st_size/1000:.0f} kB"
    print(f"{path.relative_to(ROOT)}: {size} (left {left.size}, right {right.size})")

if __name__ == "__main__": main()
