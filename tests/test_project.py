"The notebooks are clean and tested, the modules are what they export, the README is the index, and the wheel works alone."
import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p.relative_to(ROOT) for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
SOURCES = ("nbs", "beit3_colab", "settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "A copy of the project that a test may change."
    folder = tmp_path_factory.mktemp("project")
    for name in SOURCES:
        if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else: shutil.copy(ROOT/name, folder/name)
    return folder

def content(folder, pattern): return {p.relative_to(folder): p.read_bytes() for p in folder.rglob(pattern) if "__pycache__" not in p.parts}


def test_notebooks_are_clean(copy, command):
    before = content(copy/"nbs", "*.ipynb")
    assert len(before) >= 15
    done = command("nbdev_clean", cwd=copy)
    assert done.returncode == 0, done.stderr
    changed = [str(p) for p, data in content(copy/"nbs", "*.ipynb").items() if before[p] != data]
    assert not changed, f"not clean: {changed}; run nbdev_clean"

def test_export_changes_nothing(copy, command):
    before = content(copy/"beit3_colab", "*.py")
    for path in (copy/"beit3_colab").glob("*.py"): # what is exported must come back from nothing
        if path.name not in ("__init__.py", "__main__.py"): path.unlink()
    done = command("nbdev_export", cwd=copy)
    assert done.returncode == 0, done.stderr
    after = content(copy/"beit3_colab", "*.py")
    assert set(after) == set(before)
    assert not [str(p) for p in before if before[p] != after[p]]

@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=str)
def test_saved_outputs_hold_no_errors(notebook):
    cells = json.loads((ROOT/notebook).read_text())["cells"]
    assert not [o for c in cells for o in c.get("outputs", []) if o["output_type"] == "error"]

def test_readme_is_the_index():
    sys.path.insert(0, str(ROOT/"scripts"))
    from make_readme import readme
    assert (ROOT/"README.md").read_text(encoding="utf-8") == readme()

def test_readme_opens_with_a_picture(copy, command):
    first, = re.findall(r"\A# .*?\n\n> .*?\n\n!\[(.{50,})\]\((.*?)\)\n", (ROOT/"README.md").read_text(encoding="utf-8"))
    picture = (ROOT/first[1]).read_bytes() # where GitHub looks for it
    assert picture.startswith(b"\x89PNG") and len(picture) < 250_000
    done = command("python", "-c", "import setuptools; setuptools.setup = lambda **given: print(given['long_description']); import runpy; runpy.run_path('setup.py')", cwd=copy)
    assert f"](https://raw.githubusercontent.com/beit3-colab/beit3_colab/main/{first[1]})" in done.stdout and "](nbs/" not in done.stdout # where the package index does

def test_readme_installs_in_two_lines():
    lines = [line for line in (ROOT/"README.md").read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2 and lines[0].endswith("beit3-colab evaluate") and lines[1].endswith("-m pytest")

def test_readme_opens_each_tutorial_in_colab():
    linked = re.findall(r"\[!\[Open in Colab\]\([^)]+\)\]\(https://colab\.research\.google\.com/github/beit3-colab/beit3_colab/blob/main/([^)]+)\)", (ROOT/"README.md").read_text())
    assert {ROOT/path for path in linked} == set((ROOT/"nbs"/"tutorials").glob("*.ipynb"))

def test_import_is_light():
    code = "import beit3_colab, sys; print(*[m for m in ('torch', 'timm', 'transformers', 'ipywidgets', 'matplotlib', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

def test_every_import_is_a_requirement():
    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT/"settings.ini")
    required = {re.split("[<>=]", r)[0] for r in settings["DEFAULT"]["requirements"].split()}
    imported = set()
    for path in (ROOT/"beit3_colab").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import): imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0: imported.add(node.module.split(".")[0])
    outside = {{"PIL": "pillow", "IPython": "ipython"}.get(m, m) for m in imported - set(sys.stdlib_module_names) - {"beit3_colab", "google", "triton"}} # these come with Colab and with PyTorch
    assert outside <= required, f"not in settings.ini: {outside - required}"
    assert "nbdev" not in required and "fastcore" not in required

def test_wheel_does_the_main_job_alone(copy, tmp_path, command, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False) # it may name this folder, and what is tried is the wheel
    done = command("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, copy)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel, = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    for asset in (ROOT/"beit3_colab"/"look"/"assets").iterdir(): assert f"beit3_colab/look/assets/{asset.name}" in held
    subprocess.run([sys.executable, "-m", "venv", tmp_path/"venv"], check=True)
    python = tmp_path/"venv"/"bin"/"python"
    site = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True).stdout.strip()
    # torch and the other requirements come from here (2 GB less to fetch); this project, an editable install, does not: its link is not followed
    Path(site, "requirements.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel], check=True)
    where = subprocess.run([python, "-c", "import beit3_colab; print(beit3_colab.__file__)"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert where.startswith(str(tmp_path/"venv"))
    done = subprocess.run([tmp_path/"venv"/"bin"/"beit3-colab", "evaluate", "--output-dir", tmp_path/"run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout and len(json.loads((tmp_path/"run"/"submit_vqav2_sample.json").read_text())) == 1093
