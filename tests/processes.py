"Starting evaluations as processes, watching them, and ending them."
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

LIMIT = 150 # questions
COMMAND = ["evaluate", "--device", "cpu", "--batch-size", "2", "--limit", str(LIMIT), "--quiet"] # small batches: enough windows for several ranks
BIN = Path(sys.executable).parent


def free_port(): # on this machine
    "A TCP port that nobody listens on; where there is one, below those that the system gives to whoever asks for any: seconds may pass before it is used."
    for port in [*random.SystemRandom().sample(range(20000, 32768), 50), 0]:
        with socket.socket() as s:
            try: s.bind(("127.0.0.1", port))
            except OSError: continue
            return s.getsockname()[1]


PACE = 0.05 # seconds a batch, for runs that are to be met at work: BEIT3_PACE

def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI")) and k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    paced = os.pathsep.join([str(Path(__file__).with_name("paced")), *filter(None, [os.environ.get("PYTHONPATH")])])
    return clean | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paced} | {k: str(v) for k, v in more.items()}

def result(folder):
    path, = Path(folder).glob("*vqav2_sample*.json")
    return path.read_bytes()

def answers(folder): return sum(p.read_bytes().count(b"\n") for p in Path(folder).glob("answers-*.jsonl"))

def children(pid):
    "Processes started by a process, and by those."
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try: number, _, rest = path.read_text().partition(" (")
        except (FileNotFoundError, ProcessLookupError): continue
        state, parent = rest.rpartition(") ")[2].split()[:2]
        if state != "Z": parents[int(number)] = int(parent)
    found = [pid]
    for one in found: found += [child for child, parent in parents.items() if parent == one]
    return found[1:]

def command(pid):
    "What a process was started as; nothing when it has gone."
    try: return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError): return b""

def alive(pid):
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError): return False

def wait_until(condition, seconds=240, process=None):
    "Wait until something is so; in vain, too, once the process that should bring it about has ended."
    limit = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)

def rank_of(pid): return int(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0RANK=")[1].split(b"\0")[0])


CHILD = """
import atexit, json, os, sys, traceback
def become(run, output): # in a fork: run something with what it prints in files, and end with its status
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2): os.dup2(os.open(f"{output}.{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    try: status = run() or 0
    except SystemExit as ended: status = ended.code or 0
    except BaseException: # as the interpreter would end
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs() # temporary folders go
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status) # taking the interpreter apart would last longer than most of what is run
"""

SERVER = CHILD + """
import tempfile
from beit3_colab.commands.cli import main
from beit3_colab.model.vqa import load_model
load_model("sample", device="cpu") # what a run imports is in memory from now on
print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    kind, *job = json.loads(line)
    if kind == "wait":
        found, status = os.waitpid(job[0], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if found else None), flush=True)
        continue
    arguments, output, variables = job
    if pid := os.fork(): print(pid, flush=True); continue
    os.environ.update(variables)
    tempfile.tempdir = None # some library has asked for it already, and what it was is kept
    become(lambda: main(arguments), output)
"""

class Starter:
    "A process that has the library in memory and forks for each command: each is a process of its own, and starts in milliseconds instead of seconds."
    def __init__(self, folder):
        self.folder, self.count = folder, 0
        self.server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        assert self.server.stdout.readline() == "ready\n"

    def ask(self, *request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def __call__(self, folder, *more, quiet=True, **variables):
        self.count += 1
        output = self.folder/str(self.count)
        command = [*(word for word in COMMAND if quiet or word != "--quiet"), "--output-dir", str(folder), *map(str, more)]
        return Started(self, self.ask("start", command, str(output), {k: str(v) for k, v in variables.items()}), output)

    def close(self):
        for pid in children(self.server.pid): os.kill(pid, signal.SIGKILL)
        self.server.kill()
        self.server.wait()
        self.server.stdin.close()
        self.server.stdout.close()


class Started:
    "A process that `Starter` made."
    def __init__(self, starter, pid, output): self.starter, self.pid, self.output, self.returncode = starter, pid, output, None
    def poll(self):
        if self.returncode is None: self.returncode = self.starter.ask("wait", self.pid)
        return self.returncode
    def kill(self, sign):
        if self.poll() is None: os.kill(self.pid, sign)
    def wait(self, seconds=240):
        wait_until(lambda: self.poll() is not None, seconds)
        return self.returncode
    @property
    def out(self): return Path(f"{self.output}.1").read_text()
    @property
    def err(self): return Path(f"{self.output}.2").read_text()
    def finish(self):
        assert self.wait() == 0, self.out[-1000:] + self.err[-3000:]


FORKS = CHILD + """
exec(sys.argv[1])
for line in iter(sys.stdin.readline, ""):
    code, output = json.loads(line)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    else: become(lambda: exec(code, {"__name__": "__main__"}), output)
"""

class Forks:
    "A Python that has begun with some code, and forks for each piece that follows: what was imported at the beginning is in memory, and nothing else."
    def __init__(self, folder, begin, **variables):
        self.output = Path(folder)/"said"
        self.server = subprocess.Popen([sys.executable, "-c", FORKS, begin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | variables)

    def __call__(self, code):
        "Run a piece of code to its end; returncode, stdout and stderr."
        self.server.stdin.write(json.dumps([code, str(self.output)]) + "\n")
        self.server.stdin.flush()
        status = int(self.server.stdout.readline())
        out, err = (Path(f"{self.output}.{number}").read_text(errors="replace") for number in (1, 2))
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    def close(self):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()
