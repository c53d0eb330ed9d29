"""Everything about one GPU, in one command and about four and a half minutes.

    python benchmarks/all_gpu.py --out results           # every result is written there as soon as it is known; the tables come last
    python benchmarks/all_gpu.py --out results --tables  # only print the tables of what is there

What can be done side by side is done first and side by side: the tests of the fast forms, the compilation of the kernels, the drawing of the pictures. Then come the measurements,
one after the other, the most important ones first. Each part has its limit of time; one that fails or takes too long leaves what it has found.
`--tiny` tries all of it with a toy model, on any machine.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


class Part:
    "A command with a limit of time; what it prints goes to a file."
    def __init__(self, name, limit, *command, env=None):
        self.name, self.limit, self.env = name, limit, env or {}
        self.command = [sys.executable, "-W", "ignore", str(HERE/command[0]), *map(str, command[1:])] if command[0].endswith(".py") else [sys.executable, "-W", "ignore", *map(str, command)]

    def start(self):
        self.output, self.begin = tempfile.TemporaryFile("w+", errors="replace"), time.monotonic()
        self.process = subprocess.Popen(self.command, stdout=self.output, stderr=subprocess.STDOUT, env={**os.environ, **self.env}, start_new_session=True)
        return self

    def wait(self, until, log):
        "Wait for its end, its limit or `until`, and say how it ended."
        try: status = self.process.wait(max(1, min(self.begin + self.limit, until) - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            status = "cut off"
        self.output.seek(0)
        text = self.output.read()
        told = f"{self.name}: {'done' if status == 0 else f'status {status}'} in {time.monotonic() - self.begin:.0f} s"
        print(f"== {told}: {' '.join(self.command[3:])}", text, sep="\n", file=log, flush=True)
        print(told, *(text.strip().splitlines()[-6:] if status else text.strip().splitlines()[-1:] if self.name == "tests" else ()), sep="\n    ", flush=True)


def plan(args, root):
    "What is done side by side, and what one after the other."
    json, device, tiny = args.out/"results.jsonl", ["--device", args.device], args.tiny
    base, large, wide = ("tiny-64", "tiny-64", "tiny-96") if tiny else ("base-480", "large-480", "large-768")
    dtypes = ["float32", "bfloat16"] if args.device == "cpu" else ["float16", "bfloat16", "float8"]
    seconds = ["--seconds", "0.05" if tiny else "0.7"]
    model = lambda *rest: ["model_speed.py", *device, "--json", json, *seconds, *rest]
    questions = ["--questions", 600 if tiny else args.questions, "--distinct", 4 if tiny else 128, "--size", base]
    few = {"OMP_NUM_THREADS": "2"} # threads, for what runs side by side
    beside = [Part("tests", 75, "-m", "pytest", "-q", "-x", "-o", "addopts=", HERE.parent/"tests"/"test_speed.py", "-p", "no:cacheprovider", env=few),
              Part("data", 75, "end_to_end.py", *device, *questions, "--root", root, "--prepare", env=few),
              Part("checkpoints", 75, "first_answer.py", *device, "--size", base, "--root", root, "--prepare", env=few),
              Part("sample", 75, "model_speed.py", *device, "--sizes", "--agreement", "--no-reference", "--dtypes", *dtypes, env=few)]
    if args.device == "cuda":
        compiled = [(sizes, dtype) for sizes in (base, f"{large} {wide}") for dtype in dtypes]
        beside += [Part(f"compile {sizes} {dtype}", 75, "model_speed.py", "--warm", "--sizes", *sizes.split(), "--dtypes", dtype, env=few) for sizes, dtype in compiled]
        beside += [Part("compile tiles", 75, "model_speed.py", "--warm", "--variants", "--sizes", base, "--dtypes", "float16", env=few)]
    one_by_one = [
        Part("base", 60, *model("--sizes", base, "--dtypes", *dtypes, "--profile", args.out/"kernels.txt")),
        Part("end to end", 75, "end_to_end.py", *device, "--size", base, "--root", root, "--json", json),
        Part("large", 75, *model("--sizes", large, wide, "--dtypes", *dtypes)),
        Part("first answer", 45, "first_answer.py", *device, "--size", base, "--root", root, "--json", json),
        Part("sample's answers, and variants", 50, *model("--sizes", base, "--forms", "--dtypes", *dtypes, "--agreement", "--variants", "--no-reference")),
        Part("kernels", 45, "kernels.py", *device, "--json", json, *(["--batch", 1, "--patches", 20] if tiny else ["--flex"]))]
    return beside, one_by_one


def print_tables(path):
    "All tables of a results file."
    import end_to_end
    import first_answer
    import kernels
    import model_speed
    from common import read_results
    rows = read_results(path)
    rows = [r for i, r in enumerate(rows) if r["kind"] != "machine" or not any(p["kind"] == "machine" for p in rows[:i])] # the machine once
    kernels.print_tables([r for r in rows if r["kind"] == "kernel"])
    for module in (model_speed, end_to_end, first_answer): module.print_tables(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seconds", type=float, default=270, help="for everything; parts that find no time are left out")
    parser.add_argument("--questions", type=int, default=60_000, help="from end to end")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--tables", action="store_true")
    args = parser.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    args.out.mkdir(parents=True, exist_ok=True)
    if args.tables: return print_tables(args.out/"results.jsonl")
    deadline = time.monotonic() + args.seconds - 12 # the tables take some seconds too
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, (args.out/"log.txt").open("a") as log:
        os.environ.setdefault("BEIT3_COLAB_CACHE", f"{folder}/cache")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONUNBUFFERED"] = "1"
        beside, one_by_one = plan(args, Path(folder))
        for part in beside: part.start()
        for part in beside: part.wait(deadline, log)
        for part in one_by_one:
            if deadline - time.monotonic() < 8: print(f"{part.name}: no time left", flush=True)
            else: part.start().wait(deadline, log)
    print_tables(args.out/"results.jsonl")


if __name__ == "__main__": main()
