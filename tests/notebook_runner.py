"Running the tests in notebooks' cells, each notebook in a process of its own that starts with everybody else's packages in memory."
from built import ROOT
from processes import Forks

# What most notebooks load, and what takes seconds each time. Not this library: that each of its modules can be the first one loaded is part of the test.
BEGIN = f"""
import gc, importlib, importlib.util, os, sys
import torch
torch.set_num_threads(1) # a pool of threads would not survive a fork
os.chdir({str(ROOT)!r})
PACKAGES = '''numpy pandas PIL.Image matplotlib matplotlib.figure matplotlib.backends.backend_agg requests IPython.display ipywidgets sentencepiece
    safetensors.torch pyarrow.parquet scipy.stats scipy.optimize torch.distributed torch.utils.data torch.utils.checkpoint torch.nn.attention torch._dynamo
    torchvision timm.models transformers.modeling_utils transformers.processing_utils transformers.image_processing_utils nbdev.test'''.split()
for name in PACKAGES:
    if importlib.util.find_spec(name.partition(".")[0]): importlib.import_module(name) # where there is none, notebooks go without
assert not [name for name in sys.modules if name.split(".")[0] == "beit3_colab"]
gc.collect()
gc.freeze()
"""


class NotebookRunner:
    "A process that forks for each notebook."
    def __init__(self, folder): self.forks = Forks(folder, BEGIN)

    def __call__(self, notebook):
        "Run a notebook's own tests; the exit status, and what was printed."
        ended = self.forks(f"from nbdev.test import nbdev_test\nnbdev_test(path={str(notebook)!r}, do_print=True, n_workers=0)")
        return ended.returncode, ended.stdout + ended.stderr

    def close(self): self.forks.close()
