"Every launcher, really started on the sample: the same file to the byte; faults end the group, keep the answers and leave no process."
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beit3_colab import evaluate
from beit3_colab.distributed import World, WorkerError, find_world

LIMIT = 150 # questions
COMMAND = ["evaluate", "--device", "cpu", "--batch-size", "2", "--limit", str(LIMIT), "--quiet"] # small batches: enough windows for several ranks
BIN = Path(sys.executable).parent


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI")) and k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return clean | {"OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in more.items()}

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def result(folder):
    path, = Path(folder).glob("*vqav2_sample*.json")
    return path.read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    "The submission of a single process, and its folder."
    folder = tmp_path_factory.mktemp("single")
    evaluate(output_dir=folder, device="cpu", batch_size=2, limit=LIMIT, progress=False)
    return result(folder), folder

def start(*launcher, folder, count):
    done = subprocess.run([*map(str, launcher), *COMMAND, "--output-dir", str(folder)], capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("submission:") == 1 # only the main process speaks
    assert json.loads((Path(folder)/"run.json").read_text())["report"]["setup"]["processes"].startswith(str(count))
    return result(folder)

@pytest.mark.parametrize("count", [2, 4])
def test_torchrun(expected, tmp_path, count):
    assert start(BIN/"torchrun", f"--nproc-per-node={count}", f"--master-port={free_port()}", "-m", "beit3_colab", folder=tmp_path, count=count) == expected[0]

@pytest.mark.parametrize("option", ["--use-env", None])
def test_torch_distributed_launch(expected, tmp_path, option):
    launcher = [sys.executable, "-m", "torch.distributed.launch", *([option] if option else []), "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "beit3_colab"]
    assert start(*launcher, folder=tmp_path, count=2) == expected[0]

LAUNCHERS = {"slurm": dict(SLURM_PROCID=str, SLURM_LOCALID=str, SLURM_NTASKS=lambda r: "3", SLURM_JOB_ID=lambda r: "7", SLURM_STEP_NODELIST=lambda r: "node[1-2]"),
             "openmpi": dict(OMPI_COMM_WORLD_RANK=str, OMPI_COMM_WORLD_LOCAL_RANK=str, OMPI_COMM_WORLD_SIZE=lambda r: "3")}

@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_variables_of_other_launchers(expected, tmp_path, launcher):
    "srun and mpirun are not here: three processes get the variables that these set."
    port = free_port()
    ranks = [subprocess.Popen([sys.executable, "-m", "beit3_colab", *COMMAND, "--output-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **{k: v(r) for k, v in LAUNCHERS[launcher].items()})) for r in range(3)]
    outputs = [p.communicate(timeout=300)[0] for p in ranks]
    assert [p.returncode for p in ranks] == [0, 0, 0], outputs
    assert result(tmp_path) == expected[0]

@pytest.mark.parametrize("processes", [3, "2"])
def test_processes_started_here(expected, tmp_path, processes):
    run = evaluate(output_dir=tmp_path, device="cpu", batch_size=2, limit=LIMIT, progress=False, processes=processes)
    assert result(tmp_path) == expected[0]
    assert run.report().questions == len(run.questions) == len(run.records)

def test_more_processes_than_work(tmp_path):
    one = evaluate(output_dir=tmp_path/"one", device="cpu", limit=3, progress=False)
    four = evaluate(output_dir=tmp_path/"four", device="cpu", limit=3, progress=False, processes=4)
    assert one.submission.read_bytes() == four.submission.read_bytes()

def test_from_a_script_without_a_main_guard(tmp_path):
    (tmp_path/"script.py").write_text(f"from beit3_colab import evaluate\nrun = evaluate(output_dir={str(tmp_path/'run')!r}, device='cpu', limit=20, processes=2, progress=False)\nprint(len(run.records))\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0 and int(done.stdout) >= 20, done.stderr

def test_drop_in_command_under_torchrun(tmp_path):
    from beit3_colab.predict import sample_folder
    from beit3_colab.sample import open_sample
    data = open_sample()
    questions = [dict(question_id=q.question_id, image_id=q.image_id, question=q.question) for q in data.questions[:40]]
    for sub in ("vqa", "test2015"): (tmp_path/"data"/sub).mkdir(parents=True)
    (tmp_path/"data"/"vqa"/"v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps({"questions": questions}))
    for q in data.questions[:40]: (tmp_path/"data"/"test2015"/f"COCO_test2015_{q.image_id:012d}.jpg").write_bytes(data.image_path(q).read_bytes())
    command = [BIN/"torchrun", "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "beit3_colab.run_beit3_finetuning", "--model", "beit3_base_patch16_480",
               "--input_size", "192", "--task", "vqav2", "--batch_size", "4", "--sentencepiece_model", sample_folder()/"sentencepiece.model", "--finetune", sample_folder(),
               "--data_path", tmp_path/"data", "--output_dir", tmp_path/"out", "--eval", "--dist_eval", "--local-rank", "0", "--device", "cpu"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert [r["question_id"] for r in json.loads((tmp_path/"out"/"submit_vqav2_test.json").read_text())] == [q["question_id"] for q in questions]
    assert "peak memory" in done.stdout and "time in all" in done.stdout


# Faults

def children(pid):
    "Processes started by a process, and by those."
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try: number, _, rest = path.read_text().partition(" (")
        except (FileNotFoundError, ProcessLookupError): continue
        state, parent = rest.rpartition(") ")[2].split()[:2]
        if int(parent) == pid and state != "Z": found += [int(number), *children(int(number))]
    return found

def wait_until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)

def alive(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError): return False

def journal_lines(folder): return sum(p.read_bytes().count(b"\n") for p in Path(folder).glob("answers-*.jsonl"))

def begin(folder, *more):
    return subprocess.Popen([sys.executable, "-m", "beit3_colab", *COMMAND, "--output-dir", str(folder), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

@linux
@pytest.mark.parametrize("which, sign", [("worker", signal.SIGKILL), ("worker", signal.SIGTERM), ("parent", signal.SIGKILL), ("parent", signal.SIGTERM), ("parent", signal.SIGINT)])
def test_killed_group_leaves_no_process_and_continues(expected, tmp_path, which, sign):
    rng = random.Random(f"{which}{sign}")
    process = begin(tmp_path, "--processes", "2")
    wait_until(lambda: journal_lines(tmp_path) > 2 + rng.randrange(60) or process.poll() is not None)
    group = children(process.pid)
    victim = process.pid if which == "parent" else rng.choice([p for p in group])
    if process.poll() is None: os.kill(victim, sign)
    _, err = process.communicate(timeout=60)
    wait_until(lambda: not any(map(alive, group)), 30)
    if which == "worker" and process.returncode != 0: assert f"signal {int(sign)}" in err or "rank" in err
    done = begin(tmp_path) # continued by one process
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert result(tmp_path) == expected[0]

@linux
@pytest.mark.parametrize("attempt", range(4))
def test_single_process_killed_at_a_random_moment_continues(expected, tmp_path, attempt):
    rng = random.Random(attempt)
    for sign in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = begin(tmp_path)
        before = journal_lines(tmp_path)
        wait_until(lambda: journal_lines(tmp_path) > before + rng.randrange(1, 40) or process.poll() is not None)
        if process.poll() is None: process.send_signal(sign)
        process.communicate(timeout=60)
    done = begin(tmp_path, "--processes", "2")
    _, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert result(tmp_path) == expected[0]

def test_error_of_a_worker_is_shown_with_its_rank(tmp_path):
    with pytest.raises(WorkerError, match=r"(?s)rank \d of 2 ended with status 1.*Traceback"):
        evaluate(output_dir=tmp_path, device="cpu", limit=5, processes=2, progress=False, timeout="soon")

@linux
def test_a_rank_that_hangs_is_named(tmp_path):
    process = begin(tmp_path, "--processes", "2", "--timeout", "5")
    wait_until(lambda: len(list(tmp_path.glob("answers-*.jsonl"))) == 2 and journal_lines(tmp_path) > 4)
    stopped = children(process.pid)[-1]
    rank = Path(f"/proc/{stopped}/environ").read_bytes().split(b"\0RANK=")[1][:1].decode()
    os.kill(stopped, signal.SIGSTOP)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"rank {rank} of 2 did not finish" in err, err
    wait_until(lambda: not alive(stopped), 30)


def test_no_launcher_makes_no_process_group(monkeypatch, tmp_path):
    import torch.distributed as dist
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"): monkeypatch.delenv(name, raising=False)
    assert find_world() == World()
    evaluate(output_dir=tmp_path, device="cpu", limit=5, progress=False)
    assert not dist.is_initialized()
