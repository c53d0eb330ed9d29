"Every launcher, really started on the sample: the same file to the byte."
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from packaging.version import Version
from processes import BIN, COMMAND, LIMIT, PACE, answers, environment, free_port, result, wait_until

from beit3_colab import evaluate
from beit3_colab.machine.distributed import World, find_world
from beit3_colab.run.journal import read_journals


def launch(*launcher, folder, count):
    done = subprocess.run([*map(str, launcher), *COMMAND, "--output-dir", str(folder)], capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("submission:") == 1 # only the main process speaks
    assert report(folder)["setup"]["processes"].startswith(str(count))
    return result(folder)

def report(folder): return json.loads((folder/"run.json").read_text())["report"]

def test_torchrun(single, tmp_path):
    assert launch(BIN/"torchrun", "--nproc-per-node=4", f"--master-port={free_port()}", "-m", "beit3_colab", folder=tmp_path, count=4) == result(single)

def test_torch_distributed_launch(single, tmp_path):
    "It puts --local-rank in front of the command."
    assert launch(sys.executable, "-m", "torch.distributed.launch", "--nproc-per-node=2", f"--master-port={free_port()}", "-m", "beit3_colab", folder=tmp_path, count=2) == result(single)

def test_torch_distributed_launch_with_use_env_and_little_memory(single, tmp_path):
    "One process of two runs out of memory: it goes on with half of the batch and says so, and the file is the same."
    (tmp_path/"small_device.py").write_text(textwrap.dedent("""
        import os, sys, torch
        from beit3_colab.commands.cli import main
        from beit3_colab.model.vqa import VQA
        logits = VQA.logits
        def short(self, images, ids, rows=None, counts=None):
            if os.environ["RANK"] == "1" and len(ids) > 1: raise torch.cuda.OutOfMemoryError("out of memory")
            return logits(self, images, ids, rows, counts)
        VQA.logits = short
        sys.exit(main())"""))
    found = launch(sys.executable, "-m", "torch.distributed.launch", "--use-env", "--nproc-per-node=2", f"--master-port={free_port()}", tmp_path/"small_device.py", folder=tmp_path/"run", count=2)
    assert found == result(single)
    assert "cpu ran out of memory with 2 questions; going on with 1" in report(tmp_path/"run")["warnings"]

LAUNCHERS = {"slurm": (3, dict(SLURM_PROCID=str, SLURM_LOCALID=str, SLURM_NTASKS=lambda r: "3", SLURM_JOB_ID=lambda r: "7", SLURM_STEP_NODELIST=lambda r: "node[1-2]")),
             "openmpi": (2, dict(OMPI_COMM_WORLD_RANK=str, OMPI_COMM_WORLD_LOCAL_RANK=str, OMPI_COMM_WORLD_SIZE=lambda r: "2")),
             "torchrun": (4, dict(RANK=str, LOCAL_RANK=str, WORLD_SIZE=lambda r: "4"))}

def ranks(start, launcher, folder, *more, **others):
    "Processes with the variables that a launcher sets; with one folder for all, or a list of folders, one for each."
    count, variables = LAUNCHERS[launcher]
    port, folders = free_port(), folder if isinstance(folder, list) else [folder]*count
    return [start(folders[r], *more, MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **others, **{k: v(r) for k, v in variables.items()}) for r in range(count)]

@pytest.mark.parametrize("launcher", ["slurm", "openmpi"])
def test_variables_of_other_launchers(single, start, tmp_path, launcher):
    "srun and mpirun are not here: processes get the variables that these set."
    for process in ranks(start, launcher, tmp_path): process.finish()
    assert result(tmp_path) == result(single)
    assert report(tmp_path)["setup"]["processes"] == f"{LAUNCHERS[launcher][0]} ({launcher})"

def test_progress_is_complete_where_disks_are_not_shared(single, start, tmp_path):
    "Two nodes, each with a folder of its own: the main process learns of the other's answers at the end."
    folders = [tmp_path/"0", tmp_path/"1"]
    both = ranks(start, "openmpi", folders, quiet=False)
    for process in both: process.finish()
    assert result(folders[0]) == result(single)
    total = report(folders[0])["questions"]
    assert both[0].err.splitlines()[-3].startswith(f"{total} of {total} questions (100 %)"), both[0].err # then where they are, and what is next

def test_nothing_is_answered_twice_where_disks_are_not_shared(single, start, tmp_path):
    "Two such nodes are killed and started again: work is shared out anew, and each knows what the other has answered."
    folders = [tmp_path/"0", tmp_path/"1"]
    first = ranks(start, "openmpi", folders, BEIT3_PACE=PACE)
    wait_until(lambda: min(map(answers, folders)) > 15)
    for process in first: process.kill(signal.SIGKILL)
    for process in first: process.wait()
    known = [set(read_journals(folder)) for folder in folders]
    assert all(known) and not known[0] & known[1]
    for process in ranks(start, "openmpi", folders): process.finish()
    assert result(folders[0]) == result(single)
    assert report(folders[0])["questions"] == len(json.loads(result(single))) - len(known[0] | known[1])

def test_more_processes_than_work(start, tmp_path):
    start(tmp_path/"one", "--limit", 3).finish()
    for process in ranks(start, "torchrun", tmp_path/"four", "--limit", 3): process.finish()
    assert result(tmp_path/"one") == result(tmp_path/"four")

def test_processes_started_here(single, tmp_path):
    run = evaluate(output_dir=tmp_path, device="cpu", batch_size=2, limit=150, progress=False, processes=3)
    assert result(tmp_path) == result(single)
    assert run.report().questions == len(run.questions) == len(run.records)
    shares = [len(p.read_bytes().splitlines()) - 1 for p in sorted(tmp_path.glob("answers-*.jsonl"))]
    assert len(shares) == 3 and sum(shares) == len(run.questions) and max(shares) < 2*min(shares), shares # four windows of eight pictures, dealt to three

def test_from_a_script_without_a_main_guard(tmp_path):
    (tmp_path/"script.py").write_text(f"from beit3_colab import evaluate\nrun = evaluate(output_dir={str(tmp_path/'run')!r}, device='cpu', limit=20, processes=2, progress=False)\nprint(len(run.records))\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0 and int(done.stdout) >= 20, done.stderr

def test_drop_in_command_under_torchrun(tmp_path):
    from beit3_colab.model.checkpoint import sample_folder
    from beit3_colab.scenes.sample import open_sample
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

def test_no_launcher_makes_no_process_group(monkeypatch, tmp_path):
    import torch.distributed as dist
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"): monkeypatch.delenv(name, raising=False)
    assert find_world() == World()
    evaluate(output_dir=tmp_path, device="cpu", limit=5, progress=False)
    assert not dist.is_initialized()

@pytest.mark.parametrize("own_group", [False, True])
def test_a_script_evaluates_twice_under_torchrun(single, tmp_path, own_group):
    "Also where it has a process group of its own, which is used and left alone."
    (tmp_path/"script.py").write_text(textwrap.dedent(f"""
        import torch.distributed as dist
        from beit3_colab import evaluate
        if {own_group}: dist.init_process_group("gloo")
        for name in "ab":
            run = evaluate(output_dir={str(tmp_path)!r} + "/" + name, device="cpu", batch_size=2, limit={LIMIT}, progress=False)
            assert dist.is_initialized() == {own_group}
        if {own_group}: dist.barrier(), dist.destroy_process_group()"""))
    done = subprocess.run([str(BIN/"torchrun"), "--nproc-per-node=2", f"--master-port={free_port()}", str(tmp_path/"script.py")], capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    for name in "ab": assert result(tmp_path/name) == result(single) and len(list((tmp_path/name).glob("answers-*"))) == 2

def test_a_rank_of_a_launcher_that_hangs_is_named_by_the_others(start, tmp_path):
    one, two = ranks(start, "openmpi", tmp_path, "--timeout", 6, BEIT3_PACE=PACE)
    wait_until(lambda: answers(tmp_path) > 6)
    os.kill(two.pid, signal.SIGSTOP)
    assert one.wait() == 1
    assert "rank 1 of 2 did not finish" in one.err and "no answer came for 6 s" in one.err, one.err
    two.kill(signal.SIGKILL)


# Two nodes

def ip(*arguments): subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)

@pytest.fixture
def nodes():
    "Two network namespaces joined by a cable; each is a node."
    if Version(torch.__version__) < Version("2.5"): pytest.skip("torchrun of PyTorch 2.4 tells the others this machine's name, not its --local-addr, and both nodes have that name")
    if not shutil.which("ip"): pytest.skip("two nodes need `ip` (apt-get install iproute2)")
    a, b = names = [f"beit3-{os.getpid()}-{i}" for i in (1, 2)]
    try:
        try:
            for name in names: ip("netns", "add", name)
        except subprocess.CalledProcessError as error: pytest.skip(f"two nodes need network namespaces, which this user may not make: {error.stderr.strip()}")
        ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b)
        for i, name in enumerate(names):
            ip("-n", name, "address", "add", f"10.91.7.{i + 1}/24", "dev", "cable")
            for device in ("lo", "cable"): ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids: os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

@pytest.mark.parametrize("disk", ["shared", "not shared"])
def test_two_nodes(single, nodes, tmp_path, disk):
    """torchrun's agents in two network namespaces; where the disk is not shared, the second has another under the same path. (is_host: both have this machine's name,
    by which an agent otherwise knows whether the meeting point is its own.)"""
    out, other = tmp_path/"out", tmp_path/"other"
    for folder in (out, other): folder.mkdir()
    command = [str(BIN/"torchrun"), "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=10.91.7.1:29400", "--rdzv-id=beit3", "--rdzv-conf=is_host={is_host}", "--local-addr={address}", "-m", "beit3_colab", *COMMAND, "--output-dir", str(out)]
    agents = []
    for i, name in enumerate(nodes):
        mount = ["unshare", "--mount", "sh", "-c", f"mount --bind '{other}' '{out}' && exec \"$@\"", "sh"] if i == 1 and disk == "not shared" else []
        agents.append(subprocess.Popen(["ip", "netns", "exec", name, *mount, *[a.format(address=f"10.91.7.{i + 1}", is_host=1 - i) for a in command]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       env=environment(GLOO_SOCKET_IFNAME="cable")))
    said = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    main = next(i for i, (text, _) in enumerate(said) if "submission:" in text) # the node that c10d made the first
    assert "submission:" not in said[1 - main][0]
    here, there = (out, other) if main == 0 or disk == "shared" else (other, out)
    assert result(here) == result(single)
    assert not list(there.glob("*vqav2*"))
    assert len(list(there.glob("answers-*"))) == (disk == "not shared") # each node keeps its own answers
