"""Kill evaluations at random moments, again and again: each folder is continued until it is finished, by one process or by two, and its submission compared to the byte.

    python benchmarks/soak.py --kills 60

Linux only. The signal (SIGKILL, SIGTERM, SIGINT), the victim (the process, the parent of two workers, or one of them) and the moment are drawn; the moment anywhere between
the start and the end, so that loading the model, the first journal line and writing the submission are met too.
"""
import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent/"tests"))
from processes import Starter, alive, answers, children, result, wait_until


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, kills, folders, began = random.Random(args.seed), Counter(), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as d:
        start = Starter(Path(d))
        try:
            took = -time.monotonic()
            start(Path(d)/"whole").finish()
            took += time.monotonic()
            expected = result(Path(d)/"whole")
            while kills.total() < args.kills:
                folder, folders = Path(d)/f"run-{folders}", folders + 1
                while not list(folder.glob("*vqav2_sample*.json")):
                    group = rng.random() < 0.4
                    process = start(folder, *(["--processes", 2] if group else []))
                    limit, more, before = time.monotonic() + rng.uniform(0, 1.5*took), rng.randrange(60), answers(folder)
                    wait_until(lambda: process.poll() is not None or (time.monotonic() > limit if more < 15 else answers(folder) >= before + more)) # a moment, or an answer
                    workers = children(process.pid)
                    victim, sign = rng.choice(["parent", "worker"] if group and workers else ["process"]), rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
                    if victim == "worker" and sign == signal.SIGINT: sign = signal.SIGKILL # workers leave interrupts to their parent
                    if process.poll() is None:
                        kept = answers(folder)
                        try: os.kill(rng.choice(workers) if victim == "worker" else process.pid, sign)
                        except ProcessLookupError: pass
                        else: kills[f"{victim} {sign.name}"] += 1
                        process.wait()
                        wait_until(lambda: not any(map(alive, workers)), 15)
                        assert answers(folder) >= kept, "answers were lost"
                    else: assert process.returncode == 0, process.err
                assert result(folder) == expected, f"{folder} ended in other bytes"
        finally: start.close()
    print(f"{kills.total()} kills in {folders} folders and {time.monotonic() - began:.0f} s, all continued to the same bytes: {dict(sorted(kills.items()))}")


if __name__ == "__main__": main()
