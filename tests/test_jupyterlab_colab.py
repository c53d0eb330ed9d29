"A real JupyterLab with the widgets, kernel and IPython that Colab has: the nearest to Colab that can be had elsewhere."
import subprocess

import pytest
from jupyterlab_checks import *  # noqa: F403 - the tests are there
from processes import PACE
from real_browser import Lab, make_colab_python


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    opened = Lab(tmp_path_factory.mktemp("lab"), "colab", make_colab_python(tmp_path_factory.mktemp("colab")/"python"), BEIT3_PACE=PACE)
    yield opened
    opened.close()

def test_versions(lab):
    code = "import IPython, ipykernel, ipywidgets, jupyterlab_widgets; print(*(m.__version__ for m in (ipywidgets, IPython, ipykernel, jupyterlab_widgets)))"
    found = subprocess.run([lab.python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert found[:2] == ["7.7.1", "7.34.0"] and found[2].startswith("6.17") and found[3].startswith("1.")
