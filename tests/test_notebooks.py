"Every notebook passes the tests in its own cells."
from pathlib import Path

import nbformat
import pytest
from notebook_runner import NotebookRunner

ROOT = Path(__file__).parent.parent
TESTED = sorted(p.relative_to(ROOT) for p in (ROOT/"nbs").rglob("*.ipynb") if not {"tutorials", ".ipynb_checkpoints"} & set(p.parts)) # test_tutorials runs the others


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runner = NotebookRunner(tmp_path_factory.mktemp("notebooks"))
    yield runner
    runner.close()

@pytest.mark.parametrize("notebook", TESTED, ids=str)
def test_notebook_passes_its_own_tests(notebook, run):
    status, said = run(notebook)
    assert status == 0, said[-6000:]
    assert "Success" in said # a notebook that was not run would be no success

def test_all_were_found(): assert len(TESTED) >= 35

@pytest.mark.parametrize("cell, status", [("assert 1 + 1 == 3, 'not so'", 1), ("import sys; assert 'beit3_colab' not in sys.modules", 0), ("import os; os._exit(3)", 3)])
def test_a_notebook_that_fails_is_told(cell, status, run, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata=dict(kernelspec=dict(name="python3", language="python", display_name="Python 3")))
    nbformat.write(notebook, tmp_path/"made.ipynb")
    found, said = run(tmp_path/"made.ipynb")
    assert found == status and ("Success" in said) == (status == 0) and ("not so" in said) == (status == 1), said
