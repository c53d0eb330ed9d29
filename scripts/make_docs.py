"""Write README.md and docs/: pages from notebooks, and the reference from the source.

    python scripts/make_docs.py

| from | to |
| --- | --- |
| nbs/index.ipynb | README.md |
| nbs/pages/NAME.ipynb | docs/NAME.md, its pictures in docs/images/ |
| beit3_colab/ | docs/reference.md, docs/reference/ |
"""
import os
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

sys.path.insert(0, str(Path(__file__).parent))
from api_reference import reference

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#]*)((?:#[^)]*)?\))") # to a file of this project


def page_of(notebook):
    "Where the Markdown of a notebook goes; None for notebooks that stay notebooks."
    if notebook == ROOT/"nbs"/"index.ipynb": return ROOT/"README.md"
    return ROOT/"docs"/f"{notebook.stem}.md" if notebook.parent == ROOT/"nbs"/"pages" else None


def move_links(markdown, notebook, page):
    "Links from beside the notebook, made links from beside the page; those to another page's notebook go to the page."
    def moved(match):
        target = Path(os.path.normpath(notebook.parent/match[2]))
        return match[1] + Path(os.path.relpath(page_of(target) or target, page.parent)).as_posix() + match[3]
    return LINK.sub(moved, markdown)


def take_alt(cell):
    "The words for a cell's picture, from its line `#| fig-alt: …`, which is taken out."
    match = re.match(r"#\| fig-alt: (.*)\n", cell.source)
    if match is None: return "picture"
    cell.source = cell.source[match.end():]
    return match[1]


def make_page(notebook):
    "Path → content of a notebook's page and its pictures; cells marked `#| hide` are left out."
    page, content = page_of(notebook), nbformat.read(notebook, as_version=4)
    content.metadata["language_info"] = {"name": "python"}
    content.cells = [cell for cell in content.cells if not cell.source.startswith("#| hide")]
    for cell in content.cells:
        if cell.cell_type == "markdown": cell.source = move_links(cell.source, notebook, page)
    alts = [take_alt(cell) for cell in content.cells]
    images = Path(os.path.relpath(ROOT/"docs"/"images"/notebook.stem, page.parent)).as_posix()
    body, resources = MarkdownExporter().from_notebook_node(content, resources={"unique_key": images})
    body = re.sub(rf"!\[\w+\]\(({images}_(\d+)_)", lambda match: f"![{alts[int(match[2])]}]({match[1]}", body)
    lines = "\n".join(line.rstrip() for line in body.strip().splitlines())
    pictures = {page.parent/name: data for name, data in resources["outputs"].items() if f"]({name})" in lines}
    return {page: (re.sub(r"\n{3,}", "\n\n", lines) + "\n").encode(), **pictures}


def make_docs():
    "Path → content, in bytes, of every file that this script writes."
    made = {}
    notebooks = ROOT/"nbs"/"index.ipynb", *sorted((ROOT/"nbs"/"pages").glob("*.ipynb"))
    for notebook in notebooks: made |= make_page(notebook)
    return made | {ROOT/"docs"/path: text.encode() for path, text in reference(ROOT/"beit3_colab").items()}


def main():
    made = make_docs()
    for path in set((ROOT/"docs").rglob("*")) - set(made):
        if path.is_file(): path.unlink() # of a page that is no more
    for path, data in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__": main()
