"""What the benchmarks share: timing, the machine in words, results as lines of JSON, tables."""
import json
import os
import platform
import shlex
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path


def synchronize():
    "Wait for the GPU, where there is one."
    import torch # here: what has nothing to do with models is measured without it
    if torch.cuda.is_available(): torch.cuda.synchronize()


def timed(run, seconds=.5, rounds=3):
    "Seconds that one call takes when calls follow each other without a stop, as batches do: the median of some rounds."
    run()
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    count, found = max(1, round(seconds / rounds / max(time.perf_counter() - start, 1e-6))), []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count): run()
        synchronize()
        found.append((time.perf_counter() - start) / count)
    return statistics.median(found)


def processor_seconds(run, count=3):
    "Seconds of the processor, of all threads, that one call takes: on a machine that others use too it says more than the clock."
    start = time.process_time()
    for _ in range(count): run()
    return (time.process_time() - start) / count


def processor_name():
    "The CPU's name."
    try: return next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    except (OSError, StopIteration): return platform.processor() or platform.machine()


def machine(device=None):
    "Device and versions in words; without a device those of the processor alone, and PyTorch is not loaded."
    cores = f"{os.cpu_count()} cores" + (f", {n} of them ours" if (n := len(os.sched_getaffinity(0))) != os.cpu_count() else "")
    if device is None: return f"{processor_name()}, {cores}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}, Python {platform.python_version()}"
    import torch
    name = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def introduce(device=None):
    "Print the machine and the command, which belong to every figure."
    print(f"{machine(device)}\n$ python {shlex.join(sys.argv)}", flush=True)


def peak_memory(reset=False):
    "The largest memory of this process, since it was reset if it was, in MB."
    if reset: Path("/proc/self/clear_refs").write_text("5") # what a process inherits counts otherwise
    return next(int(line.split()[1])/1000 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))


def judge(value, limit, unit="s"):
    "What stands beside a figure for which there is a limit."
    if limit is None: return ""
    return f"   limit {limit:g} {unit}: {'kept' if value <= limit else 'NOT KEPT'}"


@contextmanager
def step(what, limit=None):
    "Print how long a block took, by the clock and of the processor (all threads), and the largest memory so far. Its value gets the seconds."
    took, began, worked = {}, time.perf_counter(), time.process_time()
    yield took
    took.update(seconds=time.perf_counter() - began, processor=time.process_time() - worked)
    print(f"{what:<52}{took['seconds']:8.2f} s{took['processor']:8.2f} s of processor{peak_memory():8,.0f} MB{judge(took['seconds'], limit)}", flush=True)


def filled_tokenizer(rows):
    "The sample's tokenizer with unused pieces behind its own, as many as an embedding of so many rows expects: its content."
    import struct

    from beit3_colab.model.checkpoint import sample_folder
    from beit3_colab.model.tokenizer import Tokenizer
    content, pieces = (sample_folder()/"sentencepiece.model").read_bytes(), []
    for i in range(rows - len(Tokenizer(content))):
        name = f"unused{i}".encode()
        piece = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", -100.) + b"\x18\x05" # text, score, kind: unused
        pieces.append(b"\x0a" + bytes([len(piece)]) + piece)
    return content + b"".join(pieces)


class Results:
    "Keeps results, and writes each to a file as soon as it is known."
    def __init__(self, path=None): self.path, self.rows = path and Path(path), []

    def add(self, kind, **values):
        self.rows.append(dict(kind=kind, **values))
        if self.path:
            with self.path.open("a") as f: f.write(json.dumps(self.rows[-1]) + "\n")
        return self.rows[-1]

    def attempt(self, kind, what, **values):
        "Add what a function gives; where it fails, what it said. One failure must not cost the rest."
        try: return self.add(kind, **values, **what())
        except Exception as error: return self.add(kind, **values, error=f"{type(error).__name__}: {error}".splitlines()[0][:200])


def read_results(path):
    "All that `Results` wrote to a file."
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


def table(columns, rows):
    "A Markdown table: {heading: function of a row}. A row with an error shows it in place of what is missing."
    def cell(show, row):
        try: return "" if (text := show(row)) is None else str(text)
        except (KeyError, TypeError):
            if "error" not in row: raise
            return ""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |"*len(columns)]
    for row in rows:
        cells = [cell(show, row) for show in columns.values()]
        if "error" in row: cells[-1] = row["error"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
