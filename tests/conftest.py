import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    "A cache of its own, so that the sample is drawn by the code under test."
    os.environ["BEIT3_COLAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def command():
    "Run a command of this environment; returns the finished process."
    def run(*arguments, cwd=ROOT, **kwargs):
        program, *rest = map(str, arguments)
        program = str(Path(sys.executable).parent/program) if "/" not in program else program
        return subprocess.run([program, *rest], cwd=cwd, capture_output=True, text=True, timeout=600, **kwargs)
    return run


def pytest_sessionfinish(session, exitstatus):
    "Where every check can run, one that did not is a failure."
    skipped = session.config.pluginmanager.get_plugin("terminalreporter").stats.get("skipped", [])
    if os.environ.get("BEIT3_COLAB_NO_SKIPS") and skipped and exitstatus == 0:
        print(f"\n{len(skipped)} checks could not run: {[report.nodeid for report in skipped[:5]]}")
        session.exitstatus = 1
