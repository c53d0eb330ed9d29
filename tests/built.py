"The library as it is installed: copies of the project, wheels built from them, virtual environments to install them in."
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("nbs", "beit3_colab", "settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def copy_project(folder):
    "Copy the project into a folder, without what was built in it before; the folder."
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, folder/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else: shutil.copy(ROOT/name, folder/name)
    return folder

def build_wheel(project, folder):
    "Build a project's wheel, which also leaves a `build` in the project; the wheel."
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, project]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel, = folder.glob("*.whl")
    return wheel

def make_python(folder, *venv_options):
    """The Python of a new virtual environment. Its requirements come from here (torch alone would be 2 GB to fetch); this library,
    an editable install, does not: its own link is not followed."""
    subprocess.run([sys.executable, "-m", "venv", *venv_options, folder], check=True)
    python = Path(folder)/"bin"/"python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    Path(site, "requirements.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return python
