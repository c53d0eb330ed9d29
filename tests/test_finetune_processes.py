"Several processes train as one does: up to rounding, stopped together, continued by fewer or more."
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment, free_port
from trainings import learn, logged, losses, some_rows

from beit3_colab import finetune, open_training
from beit3_colab.machine.messages import UserError
from beit3_colab.progress.display import Display

BOUND = 1e-5 # relative, of each loss, in float32 on a CPU; measured here: some 1e-6 after 27 steps at a learning rate of 1e-3


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions")/"questions.json"
    path.write_text(json.dumps(some_rows(60)))
    return str(path)

@pytest.fixture(scope="module")
def whole(tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("whole")
    learn(folder, questions)
    return folder

def same_up_to_rounding(folder, whole):
    a, b = losses(folder), losses(whole)
    assert len(a) == len(b) and max(abs(x - y)/y for x, y in zip(a, b)) < BOUND
    one, other = ([row.get("accuracy") for row in logged(f) if row["kind"] == "epoch"] for f in (folder, whole))
    assert one == other


def test_two_processes_stopped_and_continued_by_one(questions, whole, tmp_path):
    folder = tmp_path/"two"
    class StopsAt(Display):
        def __init__(self):
            super().__init__()
            self.shown, self.told = [], []
        def warn(self, text): self.told.append(text)
        note = warn
        def show(self, snapshot, final=False):
            super().show(snapshot, final)
            self.shown.append(snapshot)
            if snapshot.done >= 60: self.stop_asked.set()
    display = StopsAt()
    training = learn(folder, questions, processes=2, progress=display, epochs=3, batch_size=6)
    done, of = training.steps
    assert not training.finished and 0 < done < of and list((folder/"states").glob("*.safetensors"))
    assert display.snapshot.state == "stopped" and any("the training needs about" in text for text in display.told)
    assert learn(folder, questions).finished
    same_up_to_rounding(folder, whole)

def test_what_a_worker_refuses_arrives_here(questions, tmp_path):
    (tmp_path/"run.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run of evaluate"): learn(tmp_path, questions, processes=2)

def test_a_loaded_model_cannot_be_sent(questions, vqa):
    with pytest.raises(UserError, match="a loaded model cannot be sent"): finetune(vqa, questions=questions, processes=2, progress=False)

SCRIPT = """
import sys, json
sys.path.insert(0, sys.argv[1])
from trainings import learn
learn(sys.argv[2], sys.argv[3])
"""

def test_torchrun_and_pictures_in_memory_of_its_own_processes(questions, whole, tmp_path):
    folder, script = tmp_path/"launched", tmp_path/"script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()),
               str(script), str(Path(__file__).parent), str(folder), questions]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    same_up_to_rounding(folder, whole)
    assert open_training(folder).info["setup"]["processes"] == "2 (torchrun)"

def test_a_worker_that_dies_ends_all_and_what_was_done_is_kept(questions, whole, tmp_path):
    from processes import children, command, rank_of
    from beit3_colab.machine.distributed import WorkerError
    folder, killed = tmp_path/"died", []
    class Kills(Display):
        def show(self, snapshot, final=False):
            super().show(snapshot, final)
            if snapshot.done < 54 or killed: return
            workers = [pid for pid in children(os.getpid()) if b"finetuning" in command(pid)]
            killed.append(next(pid for pid in workers if rank_of(pid) == 1))
            os.kill(killed[0], signal.SIGKILL)
    with pytest.raises(WorkerError, match="rank 1 of 2 was ended by signal 9"): learn(folder, questions, processes=2, progress=Kills(), save_minutes=60)
    assert not [pid for pid in children(os.getpid()) if b"finetuning" in command(pid)] # none is left
    assert learn(folder, questions).finished
    same_up_to_rounding(folder, whole)
