"""`beit3-colab evaluate` as it is started from a shell: what it loads, on which threads it answers, what it writes."""
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from beit3_colab.model import threads
from beit3_colab.model.beit3 import model_size
from beit3_colab.model.fused import operations
from beit3_colab.model.vqa import load_model

ROOT = Path(__file__).parent.parent

# of the sample's 1,093 answers: float32 on a CPU, whatever the number of threads
SUBMISSION = "167038fe9fee7c6f2b60318c6dbd37f0fa25651c98b332eecc9ad28e65b2d715"

# what takes long to load, and a run from the shell has no use for
NEEDLESS = (
    "IPython", "ipywidgets", "matplotlib", "pandas", "transformers", "timm", "torchvision", "datasets", "scipy",
    "pyarrow", "openpyxl", "fiftyone", "torch._dynamo", "torch._inductor", "torch.distributed.tensor",
    "beit3_colab.huggingface", "beit3_colab.timm_models", "beit3_colab.training", "beit3_colab.commands.doctor",
)

RUN = """
import gc, json, sys
searched = []
gc.callbacks.append(lambda phase, info: searched.append("torch" in sys.modules and "beit3_colab.evaluation" not in sys.modules)
                    if phase == "start" else None)
from beit3_colab.commands.cli import main
sys.argv = ["beit3-colab", *sys.argv[2:]]
status = main()
facts = dict(status=status, modules=sorted(sys.modules), frozen=gc.get_freeze_count(), enabled=gc.isenabled(), searched=sum(searched))
open({facts!r}, "w").write(json.dumps(facts))
"""


def shell(tmp_path, *arguments, threads=2):
    "What a process knows at the end of a command."
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", RUN.format(facts=str(tmp_path/"facts")), "-", *arguments],
                          capture_output=True, text=True, cwd=tmp_path, timeout=300,
                          env=kept | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS=str(threads)))
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path/"facts").read_text()) | dict(out=done.stdout)

@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2])
def test_the_sample_from_the_shell(tmp_path, count):
    found = shell(tmp_path, "evaluate", "--output-dir", "run", "--device", "cpu", "--quiet", threads=count)
    lines = [" ".join(line.split()) for line in found["out"].splitlines()]
    assert found["status"] == 0 and "overall 96.22 95.00 – 97.26 1,093" in lines
    assert {"dtype float32", "form plain", "batch size 16"} <= set(lines) and f", {count} thread" in found["out"]
    assert hashlib.sha256((tmp_path/"run/submit_vqav2_sample.json").read_bytes()).hexdigest() == SUBMISSION
    assert not [name for name in NEEDLESS if name in found["modules"]]

def test_modules_are_not_searched_for_garbage(tmp_path):
    found = shell(tmp_path, "evaluate", "--limit", "5", "--output-dir", "run", "--device", "cpu", "--quiet")
    assert found["searched"] == 0 # while PyTorch and the library were loaded
    assert found["frozen"] > 100_000 # nor on the way out
    assert found["enabled"] # but in between


def test_a_batch_is_answered_in_parts_of_one_thread_each(two_threads):
    vqa, seen = load_model("sample", device="cpu"), []
    vqa.model.image_embedding.register_forward_hook(lambda *call: seen.append((len(call[1][0]), torch.get_num_threads())))
    images, ids = torch.zeros(3, 192, 192, 3, dtype=torch.uint8), torch.tensor([vqa.tokenizer.encode("Is it raining?")]*5)
    together = vqa.logits(images, ids, torch.tensor([0, 2, 1, 1, 0]))
    assert sorted(seen) == [(2, 1), (3, 1)] and len(together) == 5
    vqa.logits(images, ids[:1], torch.tensor([2]))
    assert seen[2:] == [(1, 1)] and torch.get_num_threads() == 2

def test_parts_keep_pictures_and_questions_together(two_threads):
    vqa = load_model("sample", device="cpu")
    images = torch.randint(256, [7, 192, 192, 3], dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([vqa.tokenizer.encode("What color is the kite?"), vqa.tokenizer.encode("What color is the boat?")]*4)[:7]
    rows = torch.tensor([3*i % 7 for i in range(7)])
    together = vqa.logits(images, ids, rows)
    alone = [vqa.logits(images[row:row + 1], ids[i:i + 1], torch.tensor([0]))[0] for i, row in enumerate(rows.tolist())]
    assert torch.allclose(together, torch.stack(alone), atol=1e-3)
    assert len({tuple(row) for row in together.round(decimals=3).tolist()}) == 7 # seven different answers, so none has another's place

def test_heavy_models_keep_all_threads_for_one_question(two_threads):
    assert operations(model_size("base")) > threads.LIGHT
    seen = []
    def compute(rows):
        seen.append((len(rows), torch.get_num_threads()))
        return rows
    for count in (1, 2): threads.in_parts(compute, torch.arange(count))
    assert seen[0] == (1, 2) and seen[1:] == [(1, 1), (1, 1)]

def test_running_out_of_memory_in_a_part_halves_the_batch(two_threads, monkeypatch):
    from beit3_colab.model import vqa as predict
    from beit3_colab.model.batching import finish_batch, start_batch
    vqa, real, warned = load_model("sample", device="cpu"), predict.predict_logits, []
    def small(model, images, ids):
        if len(images) > 2: raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return real(model, images, ids)
    monkeypatch.setattr(predict, "predict_logits", small)
    images, ids = torch.zeros(1, 192, 192, 3, dtype=torch.uint8), torch.tensor([vqa.tokenizer.encode("Is it raining?")]*8)
    found = finish_batch(start_batch(vqa, images, [0]*8, ids, warned.append), vqa.answers)
    assert len(found) == 8 and len(warned) == 1 and "going on with 4" in warned[0]

@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own(two_threads):
    assert threads.in_parts(lambda rows: rows + 1, torch.arange(4)).tolist() == [1, 2, 3, 4]
    child = os.fork()
    if child == 0: # only what ends it for sure
        good = False
        try: good = threads.in_parts(lambda rows: rows + 1, torch.arange(4)).tolist() == [1, 2, 3, 4]
        finally: os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
