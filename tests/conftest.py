import gc
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

try: import triton # noqa: F401 - before the library, which imports it where a GPU is or somebody has done so: kernels are compiled without one
except Exception: pass # another system, or a broken one

pytest.register_assert_rewrite("jupyterlab_checks") # no test by its name, but it asserts: a failure shows the values

ROOT = Path(__file__).parent.parent
os.environ.pop("PYTHONDONTWRITEBYTECODE", None) # hundreds of processes would each compile the library anew
sys.dont_write_bytecode = False
os.environ.setdefault("OMP_NUM_THREADS", "1") # test processes share the cores: threads that wait for each other would cost more than they give
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler) # as of what a shell starts in the background: else interrupts would be ignored by all that tests start, too


# Files whose tests take long, the longest first: where some processes share the files out, the last file should be a short one, or one process works alone.
SLOW = """notebooks tutorials launchers faults jupyterlab finetune_tutorials jupyterlab_colab progress elsewhere compiled_ahead overflow portable
    run_beit3_finetuning_training by_name evidence_looks fuzz finetune_resume huggingface picking cli_finetune finetune_processes project group_safety
    compare_browser selftest surroundings finetune drop_in bench device_order escaping report doors terminal""".split()

def pytest_collection_modifyitems(items):
    "Slow files first, then those with many tests."
    count = Counter(item.path for item in items)
    place = {f"test_{name}": i for i, name in enumerate(SLOW)}
    items.sort(key=lambda item: (place.get(item.path.stem, len(SLOW)), -count[item.path])) # within a file the order stays


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    "A cache of its own, so that the sample is drawn by the code under test."
    os.environ["BEIT3_COLAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def forget_widgets():
    """ipywidgets keeps every widget that nobody closed, and with it runs, models and pictures. A test process would hold millions of objects in the end,
    and each search for garbage goes through all of them."""
    yield
    if (widget := sys.modules.get("ipywidgets.widgets.widget")) is None: return
    registry = widget._instances if hasattr(widget, "_instances") else widget.Widget.widgets # ipywidgets 8, or 7
    if not registry: return
    widget.Widget.__del__ = lambda self: None # closing them one by one would take seconds; what somebody still holds goes later, and has nothing left to close
    registry.clear()
    if comm := sys.modules.get("comm"): comm.get_comm_manager().comms.clear()
    gc.collect()


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    "Start `beit3-colab evaluate` as a process, quickly; see `processes.Starter`."
    from processes import Starter
    starter = Starter(tmp_path_factory.mktemp("started"))
    yield starter
    starter.close()


@pytest.fixture(scope="session")
def single(tmp_path_factory, start):
    "The folder of a run by a single process, which all others are compared with."
    folder = tmp_path_factory.mktemp("single")
    start(folder).finish()
    return folder


@pytest.fixture(scope="module")
def vqa():
    "The sample's model; each file has its own, since some change it."
    from beit3_colab import load_model
    return load_model("sample", device="cpu")


@pytest.fixture(scope="session")
def machine(tmp_path_factory):
    "A machine as Colab lends them, one for each test process, since each notebook installs the library there; see `forged_colab.make_machine`."
    from forged_colab import make_machine
    return make_machine(tmp_path_factory.mktemp("machine"))

@pytest.fixture
def colab(tmp_path, machine):
    "A notebook's surroundings on that machine."
    from forged_colab import Colab
    python, wheel = machine
    return Colab(tmp_path, python, {"BEIT3_COLAB_SOURCE": str(wheel), "PIP_NO_INDEX": "1", "CUDA_VISIBLE_DEVICES": ""})


@pytest.fixture(scope="session")
def command():
    "Run a command of this environment; returns the finished process."
    def run(program, *arguments, cwd=ROOT):
        command = [Path(sys.executable).parent/program, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    return run


@pytest.fixture
def small_disk(tmp_path):
    "Mount a disk in memory with some of `mount`'s options, such as `size=48k`; its folder. Called again, change its options."
    folder = tmp_path/"disk"
    def mount(options):
        if folder.is_mount(): subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        else:
            folder.mkdir()
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
            if done.returncode: pytest.skip(f"needs a small disk, which this user may not mount: {done.stderr.strip()}")
        return folder
    yield mount
    if folder.is_mount(): subprocess.run(["umount", "--lazy", folder], check=True)

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    "Halves of characters, of which some tests are full, cannot be sent to the process that prints a failure."
    report = (yield).get_result()
    if report.failed: report.longrepr = str(report.longrepr).encode("utf-8", "replace").decode()


def pytest_sessionfinish(session, exitstatus):
    "Where every check can run, one that did not is a failure."
    if hasattr(session.config, "workerinput"): return # one of several test processes; the one that started them counts
    skipped = session.config.pluginmanager.get_plugin("terminalreporter").stats.get("skipped", [])
    if os.environ.get("BEIT3_COLAB_NO_SKIPS") and skipped and exitstatus == 0:
        print(f"\n{len(skipped)} checks could not run: {[report.nodeid for report in skipped[:5]]}")
        session.exitstatus = 1
