"A stand-in for Colab: its Python package, its kernel, a Drive that outlives machines; and notebooks run in it."
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import nbformat
from built import ROOT, build_wheel, copy_project, make_python
from nbclient import NotebookClient

# google.colab as a kernel there sees it. What a notebook asks of the browser is written to $FORGED_COLAB/asked.jsonl; Drive is the folder $FORGED_COLAB/drive.
PACKAGE = {
"__init__.py": "from google.colab import _message, _shell, drive, files, output\n",
"_message.py": "class MessageError(Exception): pass\n",
"_shell.py": "from ipykernel.zmqshell import ZMQInteractiveShell\nclass Shell(ZMQInteractiveShell): pass\n",
"_asked.py": """import json, os
from pathlib import Path
FOLDER = Path(os.environ["FORGED_COLAB"])
def note(**what):
    with open(FOLDER/"asked.jsonl", "a") as f: f.write(json.dumps(what) + "\\n")
""",
"drive.py": """import os
from pathlib import Path
from google.colab import _asked, _message
def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    _asked.note(mounted=mountpoint)
    if (_asked.FOLDER/"refuse_drive").exists(): raise _message.MessageError("Error: credential propagation was unsuccessful")
    point = Path(mountpoint)
    if point.is_dir() and any(point.iterdir()): raise ValueError("Mountpoint must not already contain files")
    point.mkdir(parents=True, exist_ok=True)
    os.symlink(_asked.FOLDER/"drive", point/"MyDrive")
    print(f"Mounted at {mountpoint}")
""",
"files.py": """import os
from google.colab import _asked
def download(filename):
    if not os.path.exists(filename): raise FileNotFoundError(f"Cannot find file: {filename}")
    _asked.note(downloaded=filename)
def upload():
    found = {p.name: p.read_bytes() for p in sorted((_asked.FOLDER/"uploads").glob("*"))}
    _asked.note(uploaded=list(found))
    return found
""",
"output.py": "def enable_custom_widget_manager(): pass\n",
"_kernel.py": """from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from google.colab import _shell
class Kernel(IPythonKernel):
    shell_class = _shell.Shell
if __name__ == "__main__": IPKernelApp.launch_instance(kernel_class=Kernel)
"""}


class Colab:
    "Machines that come and go, each with an empty disk, and a Drive that stays."
    def __init__(self, folder, python, environment):
        self.folder, self.python, self.environment, self.machines = Path(folder), python, environment, 0
        for name, text in PACKAGE.items():
            path = self.folder/"package"/"google"/"colab"/name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("drive", "uploads"): (self.folder/name).mkdir()

    def asked(self, what):
        "What notebooks asked of the browser: mounted, downloaded, uploaded."
        path = self.folder/"asked.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [e[what] for e in entries if what in e]

    def connect(self, notebook, monkeypatch):
        "A fresh machine for a notebook; the client that runs it."
        self.machines += 1
        for path in Path(self.python).parent.parent.glob("lib/*/site-packages/beit3_colab*"): shutil.rmtree(path) # what the last machine installed
        machine = self.folder/f"machine-{self.machines}"
        spec = machine/"jupyter"/"kernels"/"colab"/"kernel.json"
        spec.parent.mkdir(parents=True)
        (machine/"content"/"beit3_colab").mkdir(parents=True) # a clone that somebody left there is not the library
        environment = {"PYTHONPATH": os.pathsep.join((str(self.folder/"package"), str(ROOT/"tests"/"paced"))), "FORGED_COLAB": str(self.folder), "COLAB_RELEASE_TAG": "release-colab-forged",
                       "BEIT3_COLAB_DRIVE": str(machine/"content"/"drive"), "BEIT3_COLAB_CACHE": str(machine/"cache"), "IPYTHONDIR": str(machine/"ipython"),
                       "PATH": os.pathsep.join([str(Path(self.python).parent), os.environ["PATH"]]), **self.environment}
        spec.write_text(json.dumps(dict(argv=[str(self.python), "-m", "google.colab._kernel", "-f", "{connection_file}"], display_name="Colab", language="python", env=environment)))
        monkeypatch.setenv("JUPYTER_PATH", str(machine/"jupyter"))
        return NotebookClient(notebook, timeout=300, kernel_name="colab", resources={"metadata": {"path": str(machine/"content")}}, store_widget_state=False)


def make_machine(folder):
    "A virtual environment with everything but this library, and a wheel of this library; (its Python, the wheel)."
    return make_python(folder/"venv"), build_wheel(copy_project(folder/"project"), folder/"wheel")


def read_tutorial(name, **fields):
    "A tutorial with its form filled in."
    notebook = nbformat.read(ROOT/"nbs"/"tutorials"/f"{name}.ipynb", 4)
    for field, value in fields.items():
        pattern, count = re.compile(rf"^{field} = .*?(?= # @param)", re.M), 0
        for cell in notebook.cells:
            cell.source, n = pattern.subn(lambda _: f"{field} = {value!r}", cell.source)
            count += n
        assert count == 1, f"{count} form fields {field}"
    return notebook

def printed(notebook):
    "All text that the cells printed or returned."
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs).replace("\r\n", "\n") # a command's lines end as in a terminal

def lose_machine(client, when, patience=240.):
    "End the kernel, without a chance to tidy up, as soon as `when()`; a thread to be joined."
    def watch():
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not when(): time.sleep(0.005)
        if client.km: os.kill(client.km.provisioner.pid, 9) # None: it has ended by itself
    thread = threading.Thread(target=watch)
    thread.start()
    return thread
