"""What the benchmarks share: timing, the machine in words, results as lines of JSON, tables."""
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch


def synchronize():
    "Wait for the GPU, where there is one."
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


def machine(device):
    "Device and versions in words."
    name = torch.cuda.get_device_name() if device == "cuda" else processor_name()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


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
