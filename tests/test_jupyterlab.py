"A real JupyterLab with the widgets that pip installs today."
import ipywidgets
import pytest
from jupyterlab_checks import *  # noqa: F403 - the tests are there
from processes import PACE
from real_browser import Lab

if int(ipywidgets.__version__.split(".")[0]) < 8: pytest.skip("ipywidgets 7 is for Colab: test_jupyterlab_colab.py", allow_module_level=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    opened = Lab(tmp_path_factory.mktemp("lab"), "ipywidgets8", BEIT3_PACE=PACE)
    yield opened
    opened.close()

def test_versions(lab, command):
    assert int(command("python", "-c", "import ipywidgets; print(ipywidgets.__version__)").stdout.split(".")[0]) >= 8
