"Running the tests in notebooks' cells, each notebook in a process of its own that starts with everybody else's packages in memory."
import json
import subprocess
import sys
from pathlib import Path

from built import ROOT

# What most notebooks load, and what takes seconds each time. Not this library: that each of its modules can be the first one loaded is part of the test.
SERVER = """
import atexit, gc, importlib, importlib.util, json, os, sys, traceback
import torch
torch.set_num_threads(1) # a pool of threads would not survive a fork
PACKAGES = '''numpy pandas PIL.Image matplotlib matplotlib.figure matplotlib.backends.backend_agg requests IPython.display ipywidgets sentencepiece
    safetensors.torch pyarrow.parquet scipy.stats scipy.optimize torch.distributed torch.utils.data torch.utils.checkpoint torch.nn.attention torch._dynamo
    torchvision timm.models transformers.modeling_utils transformers.processing_utils transformers.image_processing_utils nbdev.test'''.split()
for name in PACKAGES:
    if importlib.util.find_spec(name.partition(".")[0]): importlib.import_module(name) # where there is none, notebooks go without
from nbdev.test import nbdev_test
assert not [name for name in sys.modules if name.split(".")[0] == "beit3_colab"]
gc.collect()
gc.freeze()
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    notebook, output = json.loads(line)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    status = 0
    try: nbdev_test(path=notebook, do_print=True, n_workers=0)
    except SystemExit as stop: status = stop.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs() # temporary folders go
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status) # taking the interpreter apart would last longer than most notebooks
"""


class NotebookRunner:
    "A process that forks for each notebook."
    def __init__(self, folder):
        self.output, self.log = Path(folder)/"said", Path(folder)/"log"
        with self.log.open("w") as log:
            self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        assert self.server.stdout.readline() == "ready\n", self.log.read_text()

    def __call__(self, notebook):
        "Run a notebook's own tests; the exit status, and what was printed."
        self.server.stdin.write(json.dumps([str(notebook), str(self.output)]) + "\n")
        self.server.stdin.flush()
        status = int(self.server.stdout.readline())
        return status, self.output.read_text(errors="replace")

    def close(self):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()
