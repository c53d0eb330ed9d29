"""The README's first command: `beit3-colab evaluate` on the built-in sample, from the shell to the prompt, imports and exit included.

    python benchmarks/shell.py [--runs 5] [--against REVISION] [--beside 1]

Everything runs on the CPU, in a new process each time, with bytecode and pictures in the cache but for the rows that say otherwise. Forms alternate, and of each the quickest run counts. `--against` takes
a git revision and measures its files in the same minutes; `--beside` measures all once more beside so many programs that use a core each. Phases are those of one more run, that looks at the clock on its way.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from common import introduce, table

ROOT = Path(__file__).resolve().parent.parent

PHASES = """
import json, sys, time
def now(): return time.time(), time.process_time()
marks = [("start of Python", now())]
def mark(name): marks.append((name, now()))
from beit3_colab.commands import cli
mark("the command line")
from contextlib import nullcontext
with getattr(cli, "without_search", nullcontext)(): # as the command does, if it does
    import torch
    mark("import torch")
    import beit3_colab.evaluation
    mark("import of the rest")
from beit3_colab.run.runner import Runner
from beit3_colab.evaluation import one_process
def around(owner, name, before, after):
    real = getattr(owner, name)
    def timed(*args, **options):
        mark(before)
        try: return real(*args, **options)
        finally: mark(after)
    setattr(owner, name, timed)
around(one_process, "open_task", "to the run", "questions")
around(one_process, "open_model", "to the model", "weights")
around(Runner, "answer", "run folder", "1,093 answers")
status = cli.main(sys.argv[2:])
mark("files, score and report")
if hasattr(cli, "gc"): cli.gc.freeze() # likewise
open(sys.argv[1], "w").write(json.dumps(marks))
sys.exit(status)
"""


def environment(root, cache, bytecode):
    "That of somebody who has installed the library: nothing about threads, bytecode kept."
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")}
    return kept | dict(PYTHONPATH=str(root), BEIT3_COLAB_CACHE=str(cache), PYTHONPYCACHEPREFIX=str(bytecode), CUDA_VISIBLE_DEVICES="")


def run(arguments, env):
    "Seconds by the clock and of the processor (all threads) that a process takes."
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=env, cwd=env["PYTHONPATH"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) # `-m` looks there first
    took, after = time.perf_counter() - began, os.times()
    return dict(seconds=took, processor=after.children_user + after.children_system - before.children_user - before.children_system)


def least(found): return {key: min(each[key] for each in found) for key in found[0]}


@contextmanager
def busy(count):
    "So many programs that use a core each."
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try: yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def check_out(revision, folder):
    "The library of a git revision, in a folder."
    packed = subprocess.run(["git", "archive", revision, "beit3_colab"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    tarfile.open(fileobj=io.BytesIO(packed)).extractall(folder)
    return folder


def measure(forms, place, runs, anew=True):
    "The rows of the table: what is alternated, in one state of the machine; `anew`: also with pictures that are drawn first."
    bare = environment(place, place, place/"bytecode")
    asked = {"import torch, nothing else": lambda: run(["-c", "import torch"], bare)}
    for name, root in forms.items():
        env = environment(root, place/"cache", place/"bytecode")
        def evaluate(env=env, **changes):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                return run(["-m", "beit3_colab", "evaluate", "--output-dir", f"{folder}/run"], env | changes)
        def drawn(evaluate=evaluate):
            with tempfile.TemporaryDirectory(dir=place) as cache: return evaluate(BEIT3_COLAB_CACHE=cache)
        asked[name] = evaluate
        if anew: asked[f"{name}, pictures drawn anew"] = drawn
    found = {name: [] for name in asked}
    for what in asked.values(): what() # bytecode and pictures
    for _ in range(runs):
        for name, what in asked.items(): found[name].append(what())
    return [dict(name=name, **least(each)) for name, each in found.items()]


def phases(root, place):
    "Phase → seconds by the clock, of the processor; of one run."
    marks, began = place/"marks", time.time()
    with tempfile.TemporaryDirectory(dir=place) as folder:
        run(["-c", PHASES, str(marks), "evaluate", "--output-dir", f"{folder}/run"], environment(root, place/"cache", place/"bytecode"))
    found, before = [], (began, 0.)
    for name, at in json.loads(marks.read_text()) + [("exit", (time.time(), None))]:
        found.append(dict(name=name, seconds=at[0] - before[0], processor=None if at[1] is None else at[1] - before[1]))
        before = at
    return found


def print_table(rows, heading):
    seconds = lambda key: lambda r: None if r[key] is None else f"{r[key]:.2f} s"
    print(table({heading: lambda r: r["name"], "clock": seconds("seconds"), "processor": seconds("processor")}, rows), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", metavar="REVISION", help="measure the library of a git revision as well")
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="then all of it beside N busy programs")
    args = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None) # PyTorch chooses, here as in what is measured
    introduce("cpu")
    with tempfile.TemporaryDirectory() as folder:
        place, forms = Path(folder), {"beit3-colab evaluate": ROOT}
        if args.against: forms[f"the same at {args.against}"] = check_out(args.against, place/"before")
        print_table(measure(forms, place, args.runs), "the quickest of " + str(args.runs))
        for name, root in forms.items(): print_table(min((phases(root, place) for _ in range(args.runs)), key=lambda rows: sum(r["seconds"] for r in rows)), name)
        if args.beside:
            with busy(args.beside): print_table(measure(forms, place, args.runs, anew=False), f"beside {args.beside} busy program{'s'*(args.beside > 1)}")


if __name__ == "__main__": main()
