"""From the call to the first answer: a fresh process, weights on disk, nothing compiled beforehand.

    python benchmarks/first_answer.py [--device cuda] [--size base-480]
    python benchmarks/first_answer.py --reading   # the official file alone: its numbers copied out of it at once, or mapped

Once from our checkpoint folder, once from a file in the official format, both float32. The files' pages are dropped from the system's cache first (as far as an ordinary user may),
and Triton's cache is empty.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import Results, filled_tokenizer, machine, table

CODE = """
import json, sys, time
begin = time.perf_counter()
import torch
imported = time.perf_counter()
from beit3_colab import load_model
library = time.perf_counter()
path, picture, device, beside = sys.argv[1:]
vqa = load_model(path, beside + "/heads.json", beside + "/answers.json", device=device, tokenizer=beside + "/tokens.model")
loaded = time.perf_counter()
vqa.ask(picture, "What color is the cat?")
first = time.perf_counter()
vqa.ask(picture, "How many cats are there?")
print(json.dumps(dict(torch=imported - begin, library=library - imported, loading=loaded - library, first=first - loaded, second=time.perf_counter() - first, dtype=str(vqa.dtype))))
"""


def make(root, size, device):
    "A checkpoint in both formats, and a picture."
    from model_speed import build, configuration
    from PIL import Image

    from beit3_colab.model.checkpoint import save_folder
    from beit3_colab.model.weights import to_official
    from beit3_colab.model.beit3 import init_weights
    config = configuration(size)
    model = init_weights(build(config, device)).to("cpu")
    answers, tokenizer = [f"answer {i}" for i in range(config.num_classes)], filled_tokenizer(config.vocab_size)
    save_folder(root/"first", model.state_dict(), config, answers, tokenizer)
    for name, content in {"heads.json": json.dumps(dict(num_heads=config.num_heads)), "answers.json": json.dumps(answers)}.items(): (root/name).write_text(content)
    (root/"tokens.model").write_bytes(tokenizer)
    torch.save({"model": to_official(model.state_dict())}, root/"official.pth")
    Image.effect_noise((640, 480), 80).convert("RGB").save(root/"picture.jpg", quality=90)


def forget(path):
    "Have the system drop a file's pages, so that it is read from the disk."
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(root, name, device):
    "Seconds of each step."
    for file in (root/"official.pth", root/"first"/"model.safetensors"): forget(file)
    path = root/"official.pth" if name == "official .pth" else root/"first"
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, "-c", CODE, str(path), str(root/"picture.jpg"), device, str(root)],
                              stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "TRITON_CACHE_DIR": cache})
    found = json.loads(done.stdout.splitlines()[-1])
    return found | dict(call=found["loading"] + found["first"], all=sum(found[k] for k in ("torch", "library", "loading", "first")))


def read(path, mapped, device):
    "Seconds until a file is read and checked, and until its numbers are on the device, too. On a CPU: in other memory."
    from beit3_colab.model.weights_file import open_weights
    start = time.perf_counter()
    weights = open_weights(path, mapped=mapped).tensors
    checked = time.perf_counter()
    there = [tensor.to(device, copy=True) for tensor in weights.values()]
    if device != "cpu": torch.cuda.synchronize()
    return dict(checked=checked - start, there=time.perf_counter() - start, bytes=sum(t.nbytes for t in there))

def compare_reading(path, device, times=6):
    "The least of several times, both ways in turn; the file is in the system's cache."
    torch.ones(1, device=device).sum().item() # starts the device
    found = {False: [], True: []}
    for _ in range(times):
        for mapped in found: found[mapped].append(read(path, mapped, device))
    return {("mapped " if mapped else "copied ") + key: min(row[key] for row in rows) for mapped, rows in found.items() for key in ("checked", "there")} | dict(bytes=found[True][0]["bytes"])


def print_tables(rows):
    "What was found, as Markdown."
    seconds = lambda key: lambda r: f"{r[key]:.2f} s"
    for r in rows:
        if r["kind"] != "reading": continue
        print(table({f"{r['name']}, {r['bytes']/1e6:.0f} MB of numbers": lambda way: way, "read and checked": lambda way: f"{r[way + ' checked']:.2f} s",
                     f"and on {r['device']}": lambda way: f"{r[way + ' there']:.2f} s"}, ["copied", "mapped"]))
    found = [r for r in rows if r["kind"] == "first"]
    if found: print(table({"weights": lambda r: r["name"], "import torch": seconds("torch"), "import beit3_colab": seconds("library"), "load_model": seconds("loading"), "first answer": seconds("first"),
                           "from the call to the first answer": seconds("call"), "with the imports": seconds("all"), "second answer": seconds("second")}, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="base-480")
    parser.add_argument("--root", help="folder with the files, made by --prepare")
    parser.add_argument("--prepare", action="store_true", help="only make the files")
    parser.add_argument("--reading", action="store_true", help="only time how the official file is read")
    parser.add_argument("--json", help="append results there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.root or folder)
        if not (root/"picture.jpg").exists(): make(root, args.size, args.device)
        if args.prepare: return
        results = Results(args.json)
        results.add("machine", text=machine(args.device))
        if args.reading: results.attempt("reading", lambda: compare_reading(root/"official.pth", args.device), name=f"{args.size}, official .pth", device=args.device)
        else:
            for name in ("checkpoint folder", "official .pth"): results.attempt("first", lambda: measure(root, name, args.device), name=f"{args.size}, {name}")
        print(*(r["text"] for r in results.rows if r["kind"] == "machine"))
        print_tables(results.rows)


if __name__ == "__main__": main()
