"The command: chooses formats and seeds, shares them out among processes, prints the table."
import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .mutations import unchanged
from .children import Bounds, FAULTS, run_seeds, streams, table, try_once, watch

CHUNK = 250 # tries that share one preparation


def all_formats():
    from . import files, questions, runs, weights
    return {f.name: f for module in (files, questions, runs, weights) for f in module.FORMATS}

def find_format(name):
    "A format by its name, or one of those that are broken on purpose."
    from . import broken
    known = all_formats() | {f.name: f for f in broken.FORMATS}
    if name in known: return known[name]
    raise SystemExit(f"format {name!r} is unknown; there are {', '.join(all_formats())}")

def warm_up():
    "What all formats need is in memory before there are several processes."
    import torch
    torch.set_num_threads(1)
    import matplotlib.backends.backend_agg
    import pandas
    import beit3_colab.commands.cli
    import beit3_colab.evaluation
    import beit3_colab.look.run
    import beit3_colab.model.vqa # noqa: F401

def share_out(formats, tries):
    "How many tries each format gets of all."
    whole = sum(f.share for f in formats)
    return {f.name: max(1, round(tries*f.share/whole)) for f in formats}

def make_chunks(counts, first):
    "(format, first seed, seed behind the last), the formats in turn."
    chunks = []
    for name, count in counts.items():
        pieces = -(-count//CHUNK)
        edges = [first + count*i//pieces for i in range(pieces + 1)]
        chunks += [(i, name, a, b) for i, (a, b) in enumerate(zip(edges, edges[1:]))]
    return [chunk[1:] for chunk in sorted(chunks)]

def _work(name, begin, end, folder, bounds, out):
    "Prepare a format and try its seeds, in a process of its own; each result is a line of the file."
    folder.mkdir()
    os.environ["BEIT3_COLAB_CACHE"] = str(folder/"cache")
    format = find_format(name)
    with streams(): good = format.prepare(folder)
    (folder/"tries").mkdir()
    for result in run_seeds(format, good, range(begin, end), folder/"tries", bounds):
        out.write(json.dumps(result) + "\n")
        out.flush()

def _start(number, chunk, work, bounds):
    pid = os.fork()
    if pid: return pid
    status = 1
    try:
        with open(work/f"{number:05}.jsonl", "w") as out: _work(*chunk, work/f"{number:05}", bounds, out)
        status = 0
    except BaseException: # noqa: BLE001 - told by the parent, which has no other way to know
        (work/f"{number:05}.error").write_text(traceback.format_exc())
    finally: os._exit(status)

def run_chunks(chunks, work, jobs, bounds, tell=lambda done: None):
    "Run chunks, some at a time; raises `RuntimeError` when the fuzz itself fails."
    waiting, running = list(enumerate(chunks)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, chunk = waiting.pop(0)
            running[_start(number, chunk, work, bounds)] = number
        pid, status = os.wait()
        if pid not in running: continue
        number = running.pop(pid)
        shutil.rmtree(work/f"{number:05}", ignore_errors=True)
        if status:
            for other in running: os.kill(other, 9)
            path = work/f"{number:05}.error"
            raise RuntimeError(f"{chunks[number]}: {path.read_text() if path.exists() else status}")
        tell(len(chunks) - len(waiting) - len(running))

def read_chunks(chunks, work):
    "Results by format, in the order of their seeds."
    found = {}
    for number, (name, *_) in sorted(enumerate(chunks), key=lambda pair: (pair[1][0], pair[1][1])):
        found.setdefault(name,
                         []).extend(json.loads(line) for line in (work/f"{number:05}.jsonl").read_text().splitlines())
    return found

def describe(name, result):
    last = result["message"].strip().splitlines()[-1:] or [""]
    return f"{name} --seed {result['seed']}: {result['outcome']}: {last[0]} [{result['what']}]"[:500]

def show_again(format, seed, folder):
    "One try in this process, with its traceback."
    os.environ["BEIT3_COLAB_CACHE"] = str(folder/"cache")
    with streams(): good = format.prepare(folder)
    (folder/"tries").mkdir()
    watch()
    print(json.dumps(try_once(format, good, seed, folder/"tries", show=True), indent=1, ensure_ascii=False))

def make_parser(about):
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tries", type=int, default=1_000, help="in all")
    p.add_argument("--format", action="append", metavar="NAME", help="only this one; may be given more than once")
    p.add_argument("--seed", type=int, help="try this seed alone, in this process, and print its traceback")
    p.add_argument("--first", type=int, default=1, metavar="SEED", help="of each format")
    p.add_argument("--jobs", type=int, default=2, help="processes at a time")
    p.add_argument("--seconds", type=float, default=Bounds().seconds,
                   help="after which a try hangs; what hung is tried again alone, with twice as many")
    p.add_argument("--memory", type=float, default=Bounds().memory/1e9, metavar="GB", help="that a try may take")
    p.add_argument("--show", type=int, default=5, metavar="N", help="failures to print of each format and outcome")
    p.add_argument("--unchanged", action="store_true", help="do nothing to the inputs: all must be accepted")
    p.add_argument("--json", metavar="FILE", help="write all results")
    return p

def main(arguments=None, about=None):
    args = make_parser(about).parse_args(arguments)
    formats = [find_format(name) for name in args.format] if args.format else list(all_formats().values())
    warm_up()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as d:
        calm = unchanged() if args.unchanged else contextlib.nullcontext()
        if args.seed is not None:
            with calm: return show_again(formats[0], args.seed, Path(d))
        chunks = make_chunks(share_out(formats, args.tries), args.first)
        def tell(done):
            print(f"\r{done} of {len(chunks)} parts, {time.monotonic() - began:.0f} s", end="", file=sys.stderr,
                  flush=True)
        with calm:
            run_chunks(chunks, Path(d), args.jobs, Bounds(args.seconds, int(args.memory*1e9)),
                       tell if sys.stderr.isatty() else lambda done: None)
        found = read_chunks(chunks, Path(d))
    return report(found, args, time.monotonic() - began)

def report(found, args, seconds):
    "Print the table and the first failures; 1 where there are any."
    found = {name: found[name] for name in [*all_formats(), *found] if name in found}
    if args.json: Path(args.json).write_text(json.dumps(found))
    print(table(found))
    failures = 0
    for name, results in found.items():
        for outcome in (*FAULTS, "tool"):
            bad = [r for r in results if r["outcome"] == outcome]
            failures += len(bad)
            for result in bad[:args.show]: print("\n" + describe(name, result), end="")
    print(f"\n\n{sum(map(len, found.values())):,} tries in {seconds:.0f} s, {failures:,} failures")
    return 1 if failures else 0
