"Node's packages for the scripts of the browsers: formatter, linter, a page without a window, accessibility checks."
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

FOLDER = Path(__file__).parent/"front_end"


def npm(*arguments):
    "Run npm in the folder of front-end tests; what it printed. Where npm is missing the test is skipped, unless none may be."
    if not shutil.which("npm") or not shutil.which("node"):
        if os.environ.get("BEIT3_COLAB_NO_SKIPS") == "1": pytest.fail("these tests need Node: apt-get install nodejs npm")
        pytest.skip("needs Node: apt-get install nodejs npm")
    variables = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    done = subprocess.run(["npm", *arguments], cwd=FOLDER, capture_output=True, text=True, env=variables, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

def install():
    "The folder `node_modules` with what package-lock.json names, installed once."
    modules = FOLDER/"node_modules"
    done, asked = modules/".package-lock.json", FOLDER/"package-lock.json"
    with FileLock(FOLDER/".install.lock"): # tests run in several processes
        if not done.exists() or done.stat().st_mtime < asked.stat().st_mtime:
            npm("ci")
            done.touch()
    return modules
