"Tiny trainings in this process and in others, and what they left."
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from processes import environment
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent/"golden"
TINY = dict(checkpoint=str(GOLDEN/"tiny_beit3_vqa.pth"), config=str(GOLDEN/"tiny_beit3_vqa.config.json"),
            tokenizer=str(GOLDEN/"tiny.spm"), device="cpu", progress=False)


def some_rows(count, first=0):
    "Rows of questions about the sample's pictures, with ten answers each."
    from beit3_colab.scenes.sample import open_sample
    sample = open_sample()
    return [dict(image=str(sample.image_path(q)), question=q.question, answers=list(sample.annotations[q.question_id].answers))
            for q in sample.questions[first:first + count]]

def learn(folder, questions, **more):
    "A tiny training of 3 epochs of 9 steps, or what `more` makes of it."
    from beit3_colab import finetune
    how = dict(TINY, questions=questions, epochs=3, batch_size=6, warmup_epochs=1, learning_rate=1e-3, output_dir=str(folder))
    return finetune(**how | more)

def logged(folder):
    "The log without what a clock says."
    from beit3_colab.training.log import read_log
    clocks = "seconds", "samples_per_second", "host_bytes", "device_bytes"
    return [{name: value for name, value in row.items() if name not in clocks} for row in read_log(folder)]

def losses(folder): return [row["loss"] for row in logged(folder) if row["kind"] == "step"]

def last_state(folder):
    "The tensors of the newest state, as bytes."
    path = max((Path(folder)/"states").glob("state-*.safetensors"))
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}

def same_bits(one, other):
    "Whether two trainings left the same weights, moments, log and checkpoint."
    return {"log": logged(one) == logged(other), "state": last_state(one) == last_state(other),
            "weights": (Path(one)/"model.safetensors").read_bytes() == (Path(other)/"model.safetensors").read_bytes()}


SERVER = """
import gc, importlib, json, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1) # a pool of threads would not survive a fork
from trainings import learn, some_rows
import beit3_colab.evaluation.finetuning
def load_all(): # what a training imports on its way; itself it may not be done here, for autograd does not survive a fork
    with tempfile.TemporaryDirectory() as place:
        if pid := os.fork(): os.waitpid(pid, 0)
        else:
            learn(os.path.join(place, "warm"), some_rows(12), epochs=1)
            with open(os.path.join(place, "modules"), "w") as file: json.dump(list(sys.modules), file)
            os._exit(0)
        with open(os.path.join(place, "modules")) as file: names = json.load(file)
    for name in names:
        if name.startswith(("torch.", "beit3_colab.")): importlib.import_module(name)
load_all()
gc.collect()
gc.freeze()
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    folder, questions, output, more = json.loads(line)
    if pid := os.fork():
        print(pid, flush=True)
        sys.stdin.readline() # until it is asked for, the status is not collected, and the number stays that of this process
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2): os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    tempfile.tempdir = None
    try:
        learn(folder, questions, **more)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    sys.stderr.flush()
    os._exit(status)
"""

class Learner:
    "A process that has the library in memory and forks for each training, one at a time: each begins in milliseconds."
    def __init__(self, folder):
        self.output = Path(folder)/"said"
        self.server = subprocess.Popen([sys.executable, "-c", SERVER, str(Path(__file__).parent)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, env=environment())
        assert self.server.stdout.readline() == "ready\n"
        self.pid = None

    def start(self, folder, questions, **more):
        assert self.pid is None, "one at a time: wait for the one before"
        self.pid = int(self._ask([str(folder), str(questions), str(self.output), more]))

    def kill(self, sign=signal.SIGKILL): os.kill(self.pid, sign) # one that has ended by itself takes no notice

    def wait(self):
        self.pid = None
        return int(self._ask("wait"))

    def _ask(self, request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()

    def said(self): return self.output.read_text() if self.output.exists() else ""

    def close(self):
        self.server.stdin.close()
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
