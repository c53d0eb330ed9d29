"The scripts of the browsers: formatted, linted, tested on a page without a window."
import json

import pytest

from beit3_colab.look.widgets import asset_names, KEYS, read_asset, SHEETS
from front_end_tools import FOLDER, install, npm


@pytest.mark.parametrize("script", ["format:check", "lint", "test"])
def test_scripts(script):
    install()
    told = npm("run", script)
    if script == "test": assert "# fail 0" in told or "fail 0" in told, told

def test_every_package_is_fixed_and_from_no_named_server():
    lock = json.loads((FOLDER/"package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name

def test_every_script_is_loaded_once_and_closed():
    names = asset_names("browser_*.js")
    assert {"browser_keys.js", "browser_kernel.js"} <= set(names) and SHEETS[0] == "browser.css"
    assert KEYS.count("<script>") == KEYS.count("</script>") == 1
    for name in names:
        text = read_asset(name)
        assert KEYS.count(text) == 1 and text.rstrip().endswith("})();") and "</" not in text, name
