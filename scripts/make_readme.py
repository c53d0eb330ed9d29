"""Write README.md from nbs/index.ipynb.

    python scripts/make_readme.py
"""
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent


def readme():
    "The text of README.md: index.ipynb in Markdown, without the cells marked `#| hide`."
    notebook = nbformat.read(ROOT/"nbs"/"index.ipynb", as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide")]
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    for folder in ("images", "tutorials"): body = body.replace(f"]({folder}/", f"](nbs/{folder}/") # the index lies beside them, README.md above
    lines = "\n".join(line.rstrip() for line in body.strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"


if __name__ == "__main__": (ROOT/"README.md").write_text(readme(), encoding="utf-8")
