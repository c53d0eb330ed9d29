"What comes from other processes is values, never code; a group on one machine is reached from nowhere else; nothing is imported from the current folder."
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from processes import BIN, PACE, answers, children, environment, free_port, result, wait_until

from beit3_colab.evaluation import processes
from beit3_colab.machine.distributed import Workers
from beit3_colab.machine.limits import set_limit
from beit3_colab.pictures.decoding import Decoders
from beit3_colab.pictures.sources import FolderPictures
from beit3_colab.run import windows
from beit3_colab.run.plan import Plan
from beit3_colab.scenes.sample import open_sample

# --- values

class Code:
    "Unpickled, it makes a file."
    def __init__(self, path): self.path = path
    def __reduce__(self): return open, (str(self.path), "w")

STRANGER = """
import json, os, sys
from types import SimpleNamespace
import beit3_colab.machine.distributed as d
from beit3_colab.machine.device import peak_memory
from beit3_colab.machine.schema import COUNT
job = json.loads(d.start_worker())
world, said = d.find_world(), []
group = d.Group(world, timeout=100)
exchange = d._all_gather
for sent in job["sent"]: # rank 1 sends what it likes; a number is a size that it claims
    content = SimpleNamespace(encode=lambda sent=sent: bytes.fromhex(sent))
    if world.rank and isinstance(sent, str): d.json = SimpleNamespace(dumps=lambda *_, content=content, **__: content)
    if world.rank and isinstance(sent, int): d._all_gather = lambda tensor, size: exchange(tensor*0 + sent, size)
    try: said.append(group.gather(1, COUNT))
    except d.GroupError as error: said.append(str(error))
    d._all_gather, d.json = exchange, json
if world.rank == 0: open(job["path"], "w").write(json.dumps([said, peak_memory().host]))
group.barrier()
group.close() # a process that ends with threads of a group is aborted now and then
"""

def test_a_stranger_in_the_group_sends_values_or_nothing(tmp_path):
    "Rank 1 sends pickles, odd texts and sizes; rank 0 names it each time, runs nothing, and takes no memory for what is claimed."
    pickles = [pickle.dumps(Code(tmp_path/f"ran-{protocol}"), protocol) for protocol in range(6)]
    odd = [*pickles, b"[" * 100_000, b"7" * 5_000, b'"one"', b"null", b"-1", b"1.5", b"true", b"\xff\xfe", b"NaN", b"\0"]
    sent = [content.hex() for content in odd] + [2**62, 10**12, 0, -5, b"2".hex()]
    group = Workers(STRANGER, 2, json.dumps(dict(sent=sent, path=str(tmp_path/"said"))))
    try:
        while group.running(): time.sleep(0.05)
    finally: group.stop()
    said, memory = json.loads((tmp_path/"said").read_text())
    assert said[-1] == [1, 2] # the group goes on
    assert all(isinstance(text, str) and "rank 1 of 2" in text and len(text) < 400 and "\n" not in text for text in said[:-1]), said
    assert all("wants to send" in text and "message_bytes" in text for text in said[len(odd):-1])
    assert not list(tmp_path.glob("ran-*")) and memory < 2e9 # bytes, of which PyTorch has most


# --- ports

def listening(pids):
    "Addresses at which processes listen, as /proc has them."
    sockets = set()
    for pid in pids:
        try: sockets |= {os.readlink(path).removeprefix("socket:[").rstrip("]") for path in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError: continue # it has ended, or that file is closed
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:] if Path(f"/proc/net/{name}").exists()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}

LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}

def watch(run, pids, folder):
    "All addresses at which a group ever listened, until it ended well."
    found = set()
    while run.poll() is None: found |= listening(pids())
    run.finish()
    assert answers(folder)
    return found

def test_processes_started_here_listen_on_loopback_alone(start, single, tmp_path):
    "Whatever interface the surroundings name, one that is not there included."
    run = start(tmp_path, "--processes", 2, GLOO_SOCKET_IFNAME="gone0", NCCL_SOCKET_IFNAME="gone0")
    found = watch(run, lambda: children(run.pid), tmp_path)
    assert found and found <= LOOPBACK # gloo's own ports; none of a store
    assert result(tmp_path) == result(single)

@pytest.mark.parametrize("variables", [
    dict(OMPI_COMM_WORLD_RANK=str, OMPI_COMM_WORLD_LOCAL_RANK=str, OMPI_COMM_WORLD_SIZE=lambda rank: 2),
    dict(RANK=str, LOCAL_RANK=str, WORLD_SIZE=lambda rank: 2, MASTER_ADDR=lambda rank: "localhost"),
], ids=["openmpi", "by hand"])
def test_a_launchers_group_on_one_machine_listens_on_loopback_alone(start, single, tmp_path, variables):
    port = free_port()
    both = [start(tmp_path, MASTER_PORT=port, **{name: value(rank) for name, value in variables.items()}) for rank in range(2)]
    found = watch(both[0], lambda: [run.pid for run in both], tmp_path)
    both[1].finish()
    assert found and found <= LOOPBACK and result(tmp_path) == result(single)

def test_a_killed_run_leaves_no_folder_behind(start, tmp_path):
    (tmp_path/"temporary").mkdir()
    run = start(tmp_path/"run", "--processes", 2, BEIT3_PACE=PACE, TMPDIR=tmp_path/"temporary")
    wait_until(lambda: answers(tmp_path/"run") > 4, process=run)
    folder, = (tmp_path/"temporary").glob("beit3_colab-*")
    assert folder.stat().st_mode & 0o777 == 0o700 and list(folder.glob("meeting-*"))
    run.kill(9)
    run.wait()
    wait_until(lambda: not folder.exists())


# --- the current folder

TRAPS = ("signal", "json", "os", "torch", "numpy", "PIL", "tempfile", "sitecustomize", "beit3_colab")

@pytest.fixture
def sent(tmp_path):
    "A folder that somebody sent, with modules that make a file when they are imported."
    folder = tmp_path/"sent"
    for name in TRAPS:
        (folder/name).mkdir(parents=True)
        for path in (folder/f"{name}.py", folder/name/"__init__.py"): path.write_text(f"open({str(tmp_path/'ran')!r}, 'a').write({name!r})\n")
    return folder

def test_workers_import_nothing_from_the_current_folder(sent, tmp_path):
    here = str(Path(processes.__file__).parents[2]) # where this library is, whatever PYTHONPATH says
    command = [BIN/"beit3-colab", "evaluate", "--processes", "2", "--limit", "20", "--device", "cpu", "--output-dir", tmp_path/"run", "--quiet"]
    done = subprocess.run(command, cwd=sent, capture_output=True, text=True, timeout=300, env=environment(PYTHONPATH=here))
    assert done.returncode == 0 and not (tmp_path/"ran").exists(), done.stderr
    assert result(tmp_path/"run")

def test_decoding_processes_import_nothing_from_the_current_folder(sent, tmp_path, monkeypatch):
    data = open_sample()
    monkeypatch.chdir(sent)
    for place in ("", str(sent)): # as in a notebook, and under `python -m`
        with monkeypatch.context() as changed:
            changed.setattr(sys, "path", [place, *sys.path])
            decoders = Decoders(data, 32, processes=1, capacity=1)
        try: assert decoders.load(data.questions[0], 0)[0] is None and decoders.pictures[0].std() > 1
        finally: decoders.close()
    assert not (tmp_path/"ran").exists()


# --- what else reaches the processes

def test_limits_reach_decoding_processes(monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "picture_bytes=99e6")
    set_limit("picture_pixels", 77_000_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100) # fewer than the sample's pictures have
    data = open_sample()
    decoders = Decoders(data, 32, processes=1, capacity=1)
    try:
        assert "raise PIL.Image.MAX_IMAGE_PIXELS" in decoders.load(data.questions[0], 0)[0] and (decoders.pictures == 128).all()
        # once it has answered: while a process begins, its environment is empty
        assert "picture_pixels=77000000" in Path(f"/proc/{decoders.processes[0].pid}/environ").read_text().replace("\0", "\n")
    finally: decoders.close()

@pytest.mark.parametrize("limit", [None, 300_000_000])
def test_pillows_limit_reaches_started_processes(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    job = processes.worker_job(Plan("sample"), SimpleNamespace(dataset=open_sample()), tmp_path, tmp_path)
    seen = []
    monkeypatch.setattr(processes, "run_here", lambda plan, display: seen.append((plan.output_dir, Image.MAX_IMAGE_PIXELS)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 178_956_970)
    processes.worker_main(job)
    assert seen == [(str(tmp_path), limit)]

def test_pictures_that_only_this_process_can_read_are_read_here(monkeypatch):
    "A source or a data set of one's own: no process is started, whatever it inherits."
    monkeypatch.setattr(windows, "DecodingProcesses", lambda *_: pytest.fail("processes were started"))
    monkeypatch.setattr(windows, "use_processes", lambda *_: True)
    data = open_sample()
    class Turned(FolderPictures):
        def read(self, name): return super().read(name).rotate(180)
    class Drawn(type(data)):
        def read_image(self, question): return Image.new("RGB", (8, 8))
    turned = replace(data, source=Turned(data.image_root))
    drawn = Drawn(*[getattr(data, field.name) for field in fields(data)])
    for own in (turned, drawn): assert windows.start_decoding(own, "cuda", 1000, 1) is None
