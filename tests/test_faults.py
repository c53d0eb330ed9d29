"Killed, stopped, interrupted, started twice, out of disk: what was answered is kept, no process is left, and the run ends in the same bytes."
import json
import os
import random
import signal
import time
from queue import Empty

import pytest
from jupyter_client import KernelManager
from processes import LIMIT, PACE, alive, answers, children, command, environment, rank_of, result, wait_until

from beit3_colab import evaluate
from beit3_colab.evaluation import processes
from beit3_colab.machine.distributed import WorkerError
from beit3_colab.machine.messages import UserError
from beit3_colab.run import runner
from beit3_colab.run.journal import JournalFollower, journal_path

KINDS = [("worker", signal.SIGKILL), ("parent", signal.SIGKILL), ("worker", signal.SIGTERM), ("parent", signal.SIGTERM), ("parent", signal.SIGINT)]


def kill_group(start, folder, rng, which, sign):
    "Start two processes, kill one at a random moment, and see that nothing is left. Whether it was still at work."
    before, more = answers(folder), rng.randrange(12)
    process = start(folder, "--processes", 2, BEIT3_PACE=2*PACE)
    wait_until(lambda: len(children(process.pid)) == 2 or process.poll() is not None)
    if more: wait_until(lambda: answers(folder) > before + more or process.poll() is not None)
    else: time.sleep(rng.uniform(0, 1.5)) # while it starts
    group = children(process.pid)
    if (at_work := process.poll() is None): os.kill(process.pid if which == "parent" else rng.choice(group), sign)
    began = time.monotonic()
    process.wait()
    wait_until(lambda: not any(map(alive, group)), 60)
    assert time.monotonic() - began < 60 # and not the ten minutes for which a group waits
    if at_work and process.returncode == 1: assert f"ended by signal {int(sign)}" in process.err and "rank" in process.err, process.err
    return at_work

def test_killed_group_leaves_no_process_and_continues(single, start, tmp_path):
    rng = random.Random(6)
    kills = sum(kill_group(start, tmp_path, rng, which, sign) for which, sign in KINDS)
    start(tmp_path).finish() # continued by one process
    assert result(tmp_path) == result(single)
    assert kills >= 4, kills

@pytest.mark.parametrize("attempt", range(5)) # with those of groups and of a kernel, 20 kills or more
def test_single_process_killed_at_a_random_moment_continues(single, start, tmp_path, attempt):
    "Five at work, for three kills each; two are continued by two processes."
    rng = random.Random(attempt)
    for sign in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        before, more = answers(tmp_path), rng.randrange(1, 35)
        process = start(tmp_path, BEIT3_PACE=PACE)
        wait_until(lambda: answers(tmp_path) > before + more or process.poll() is not None)
        process.kill(sign)
        process.wait()
        assert process.returncode in (-sign, 130), (process.returncode, process.err)
    start(tmp_path, *(["--processes", 2] if attempt > 2 else [])).finish()
    assert result(tmp_path) == result(single)

def test_error_of_a_worker_is_shown_with_its_rank(tmp_path, monkeypatch):
    fault = processes.WORKER.replace("worker_main(job)", "from beit3_colab.run import runner; runner.answer_questions = None; worker_main(job)")
    assert fault != processes.WORKER
    monkeypatch.setattr(processes, "WORKER", fault)
    with pytest.raises(WorkerError, match=r"(?s)rank \d of 2 ended with status 1.*Traceback.*TypeError"):
        evaluate(output_dir=tmp_path, device="cpu", limit=5, processes=2, progress=False)
    assert not [p for p in children(os.getpid()) if b"worker_main" in command(p)]

def test_a_worker_that_hangs_is_named(start, tmp_path):
    process = start(tmp_path, "--processes", 2, "--timeout", 8, BEIT3_PACE=PACE)
    wait_until(lambda: len(list(tmp_path.glob("answers-*.jsonl"))) == 2 and answers(tmp_path) > 4)
    stopped = children(process.pid)[-1]
    rank = rank_of(stopped)
    os.kill(stopped, signal.SIGSTOP)
    assert process.wait() == 1
    assert f"rank {rank} of 2 did not finish" in process.err, process.err
    wait_until(lambda: not alive(stopped), 60)

def test_two_runs_in_one_folder_at_once(single, start, tmp_path):
    first = start(tmp_path, BEIT3_PACE=PACE)
    wait_until(lambda: answers(tmp_path) > 5)
    os.kill(first.pid, signal.SIGSTOP) # it holds the folder
    written = (tmp_path/"answers-0.jsonl").read_bytes()
    other, same = start(tmp_path, "--limit", 20), start(tmp_path)
    assert other.wait() == 2 and "holds another run" in other.err
    assert same.wait() == 2 and f"process {first.pid} on " in same.err and "is writing in folder" in same.err, same.err
    assert (tmp_path/"answers-0.jsonl").read_bytes() == written
    patient, group = start(tmp_path), start(tmp_path, "--processes", 2) # these come while it is there; one of them may get the folder when it ends
    os.kill(first.pid, signal.SIGCONT)
    first.finish()
    assert {patient.wait(), group.wait()} <= {0, 2}
    assert result(tmp_path) == result(single)
    ids = [json.loads(line).get("question_id") for path in tmp_path.glob("answers-*.jsonl") for line in path.read_text().splitlines()]
    assert len([i for i in ids if i]) == len(set(ids) - {None}) # nothing was written twice

def test_what_a_dying_machine_may_leave(single, start, tmp_path):
    "A submission and a temporary file that are half there, a journal that ends within a line."
    journal = (single/"answers-0.jsonl").read_bytes()
    (tmp_path/"answers-0.jsonl").write_bytes(journal[:len(journal)//2])
    (tmp_path/"answers-5.jsonl").write_bytes(journal[:len(journal)//3]) # of a process that no longer takes part
    (tmp_path/result_name(single)).write_bytes(result(single)[:100])
    (tmp_path/f".{result_name(single)}.abc.tmp").write_bytes(b"[")
    start(tmp_path).finish()
    assert result(tmp_path) == result(single)
    (tmp_path/"answers-0.jsonl").write_bytes(journal.replace(b'{"run":"', b'{"run":"0', 1))
    again = start(tmp_path)
    assert again.wait() == 2 and "belongs to another run" in again.err

def test_two_different_runs_that_found_the_folder_empty(start, tmp_path, monkeypatch):
    "The second may write only when the first has gone; then it sees whose folder it is."
    opened = runner.open_folder
    def slow(folder, identity, info):
        found = opened(folder, identity, info)
        if not (found/"run.json").exists(): # the first comes and dies in the meantime
            first = start(tmp_path, BEIT3_PACE=PACE)
            wait_until(lambda: answers(tmp_path) > 5)
            first.kill(signal.SIGKILL)
        return found
    monkeypatch.setattr(runner, "open_folder", slow)
    with pytest.raises(UserError, match="holds another run"): evaluate(output_dir=tmp_path, device="cpu", limit=20, progress=False)
    monkeypatch.undo()
    start(tmp_path).finish() # the first continues
    assert answers(tmp_path) > 150

def test_damage_in_the_journal_of_another_process_is_named_with_its_line(tmp_path):
    path = journal_path(tmp_path, 1)
    def answer(i): return {"question_id": i, "answers": ["yes"], "confidences": [0.5]}
    path.write_text(f'{{"run":"abc"}}\n{json.dumps(answer(1))}\n')
    follower = JournalFollower(tmp_path, "abc", skip=0)
    assert follower.new_by_rank() == {1: [answer(1)]}
    with path.open("a") as f: f.write(f'{json.dumps(answer(2))}\n{{"question_id"\n')
    with pytest.raises(UserError, match=r"answers-1.jsonl, line 4 is damaged; delete that line"): follower.new_records()

def result_name(folder): return next(folder.glob("*vqav2_sample*.json")).name

def test_full_disk(single, start, small_disk):
    folder = small_disk("size=28k")/"run"
    process = start(folder)
    assert process.wait() == 2 and "is on a full disk" in process.err and "answers are kept" in process.err, process.err
    kept = (folder/"answers-0.jsonl").read_bytes()
    kept = kept[:kept.rfind(b"\n") + 1]
    assert kept.count(b"question_id") > 5
    small_disk("size=4m")
    start(folder).finish()
    assert result(folder) == result(single)
    assert (folder/"answers-0.jsonl").read_bytes().startswith(kept)


# A notebook's kernel

CELL = f"run = evaluate(output_dir='run', device='cpu', batch_size=2, limit={LIMIT}, progress=False, processes=2)\nprint(len(run.records))"

class Kernel:
    "A real Jupyter kernel in a folder."
    def __init__(self, folder, **variables):
        self.folder = folder
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env=environment(**variables))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.pid = self.manager.provisioner.pid
    def send(self, code):
        "Gives the message's number. Else ipykernel would refuse what arrives in the moment after an error's reply."
        return self.client.execute(code, stop_on_error=False)
    def reply(self, sent, timeout=120):
        while (message := self.client.get_shell_msg(timeout=timeout))["parent_header"].get("msg_id") != sent: pass
        return message["content"]
    def check_busy(self, sent):
        try: answer = self.reply(sent, timeout=0.01)
        except Empty: return
        raise AssertionError(f"was over before it was looked at: {answer}")
    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

@pytest.fixture
def kernel(tmp_path):
    kernel = Kernel(tmp_path, BEIT3_PACE=8 * PACE) # the whole would take 15 seconds
    yield kernel
    kernel.close()

def at_work(kernel, sent, more):
    "Wait until both workers answer in a cell that was sent; gives their process numbers."
    before = answers(kernel.folder/"run")
    def worked():
        kernel.check_busy(sent)
        return answers(kernel.folder/"run") > before + more
    wait_until(worked)
    assert len(workers := [p for p in children(kernel.pid) if b"worker_main" in command(p)]) == 2
    return workers

def test_interrupted_and_killed_kernel(single, tmp_path, kernel):
    sent = kernel.send(f"from beit3_colab import evaluate\n{CELL}")
    workers = at_work(kernel, sent, 8)
    kernel.manager.interrupt_kernel()
    answer = kernel.reply(sent)
    assert answer["status"] == "error" and answer["ename"] == "Stopped" and "answered and kept" in answer["evalue"], answer
    assert not any(map(alive, workers)) and alive(kernel.pid)
    kept = {p: p.read_bytes() for p in (tmp_path/"run").glob("answers-*")}
    (tmp_path/"script.py").write_text(f"from beit3_colab import evaluate\n{CELL}") # as a script without a main guard, in IPython
    workers = at_work(kernel, kernel.send("%run script.py"), 8)
    os.kill(kernel.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, workers)), 60)
    assert all(p.read_bytes().startswith(content) for p, content in kept.items())
    second = Kernel(tmp_path)
    try:
        assert second.reply(second.send(f"from beit3_colab import evaluate\n{CELL}"))["status"] == "ok" # the same cell again
        assert not children(second.pid)
    finally: second.close()
    assert result(tmp_path/"run") == result(single)
