"Every notebook passes the tests in its own cells."
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTED = sorted(p.relative_to(ROOT) for p in (ROOT/"nbs").rglob("*.ipynb") if not {"tutorials", ".ipynb_checkpoints"} & set(p.parts)) # test_tutorials runs the others


@pytest.mark.parametrize("notebook", TESTED, ids=str)
def test_notebook_passes_its_own_tests(notebook, command):
    done = command("nbdev_test", "--path", notebook, "--do_print", "--n_workers", "0")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Success" in done.stdout + done.stderr # a notebook that was not run would be no success

def test_all_were_found(): assert len(TESTED) >= 35
