"""Probes of a run, beside plain answering of the same questions in the same run: questions a second of each probe, and of all that change the picture at once.

    python benchmarks/probes.py                 # a GPU: base-480 with random weights, 2,000 questions about 400 drawn pictures; the ten probes in under 60 s
    python benchmarks/probes.py --device cpu    # a CPU: the sample, its own model and 1,093 questions; the ten probes in under 120 s on two cores

Pictures of the first are drawn scenes as JPEG files of 640 × 480, and what is asked about them are the scenes' own questions. `together` asks for
all ten in one call: each picture is read once, and what they share is asked once. Then each is asked for by itself, in a folder of its own (another seed) and with its control.
A question that is asked in five strengths counts five times. The tables (intervals by resampling) are made of the answers afterwards, and have a time of their own.
`--tiny` tries all of it with a toy model.
"""
import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from common import Results, filled_tokenizer, judge, machine, table
from model_speed import MANY, build, configuration

from beit3_colab import evaluate, load_model
from beit3_colab.model.beit3 import init_weights
from beit3_colab.model.checkpoint import save_folder
from beit3_colab.run.probes import PROBES
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.questions import answer_list
from beit3_colab.scenes.sample import image_name, write_scenes

FIRST_SCENE = 3000 # of those that belong neither to the sample nor to its model's training
LIMITS = dict(cuda=60, cpu=120) # seconds of the ten together


def enlarge(root, seed):
    "Draw a scene anew as a JPEG file of 640 × 480."
    draw_scene(make_scene(seed)).resize((640, 480)).save(root/image_name(seed), quality=90)


def make_data(root, size, questions, device):
    "A checkpoint, and drawn scenes in the official layout with so many questions."
    config = configuration(size)
    model = init_weights(build(config, device)).half().to("cpu")
    answers = answer_list() + [f"answer {i}" for i in range(config.num_classes - len(answer_list()))]
    save_folder(root/"checkpoint", model.state_dict(), config, answers, filled_tokenizer(config.vocab_size))
    seeds = range(FIRST_SCENE, FIRST_SCENE + questions//5)
    write_scenes(root, seeds)
    with ProcessPoolExecutor() as pool: list(pool.map(partial(enlarge, root), seeds))


def answer(vqa, where, folder):
    "Answer the questions plainly: the run, and how fast."
    start, worked = time.perf_counter(), time.process_time()
    run = evaluate(vqa, output_dir=folder, progress=False, **where)
    report = run.report()
    return run, dict(variants=1, answers=len(run.records), seconds=time.perf_counter() - start, processor=time.process_time() - worked, rate=report.questions_per_second, dtype=report.setup["dtype"], batch_size=report.setup["batch_size"])


def ask(run, vqa, names, seed):
    "Ask probes in a folder of their own, that of the seed: variants, answers, seconds until they are kept, and of the tables."
    start, worked = time.perf_counter(), time.process_time()
    found = run.probe(names, seed=seed, vqa=vqa, progress=False)
    seconds, processor, start = time.perf_counter() - start, time.process_time() - worked, time.perf_counter()
    for each in (found.table, found.consistency, found.areas): assert each is not None # made when they are looked at
    count = sum(len(kept.records) for kept in found.kept.values())
    return dict(variants=len(found), answers=count, left_out=len(found.left_out), seconds=seconds, processor=processor, tables=time.perf_counter() - start, rate=count/seconds)


def measure(results, vqa, where, root, together):
    "Plain answering, each probe by itself, those of pictures together, those of words together, and plain answering again."
    answer(vqa, where, root/"warm") # kernels are compiled, files are in the system's cache
    run, plain = answer(vqa, where, root/"run")
    results.add("probes", name="plain answering", **plain)
    kinds = {kind: [name for name, probe in PROBES.items() if probe.kind == kind] for kind in ("control", "picture", "words")}
    jobs = {"together, ten of pictures": kinds["picture"], "together, five of words": kinds["words"]}
    if not together: jobs |= {name: [name] for names in kinds.values() for name in names}
    for seed, (name, names) in enumerate(jobs.items()):
        row = results.attempt("probes", partial(ask, run, vqa, names, seed), name=name)
        print(json.dumps(row), flush=True)
    results.add("probes", name="plain answering, again", **answer(vqa, where, root/"again")[1])


def print_tables(rows, device, whole):
    "What was found, as Markdown; beside the ten together their limit, where `whole`: all questions that it is meant for."
    found = [r for r in rows if r["kind"] == "probes"]
    plain = [r["rate"] for r in found if r["name"].startswith("plain")]
    usual = sum(plain)/len(plain) # before and after: a card grows warm
    def limit(r): return judge(r["seconds"], LIMITS[device]) if whole and r["name"].startswith("together, ten") else ""
    print(table({"": lambda r: r["name"], "variants": lambda r: r["variants"], "answers": lambda r: f"{r['answers']:,}", "left out": lambda r: r.get("left_out", ""), "seconds": lambda r: f"{r['seconds']:.1f}{limit(r)}",
                 "s of processor": lambda r: f"{r['processor']:.1f}", "questions/s": lambda r: f"{r['rate']:,.0f}", "of plain answering": lambda r: f"{r['rate']/usual:.0%}", "tables, s": lambda r: f"{r['tables']:.1f}" if "tables" in r else ""}, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--size", help="of a model with random weights, such as base-480 (default on a GPU; on a CPU the sample's own model)")
    parser.add_argument("--questions", type=int, help="default: 2,000 for random weights, all 1,093 of the sample")
    parser.add_argument("--together", action="store_true", help="not each by itself")
    parser.add_argument("--tiny", action="store_true", help="a toy model, 60 questions")
    parser.add_argument("--json", help="append results there")
    args = parser.parse_args()
    size = args.size or ("tiny-64" if args.tiny else "base-480" if args.device == "cuda" else None)
    questions = args.questions or (60 if args.tiny else 2000 if size else None)
    results = Results(args.json)
    print(results.add("machine", text=machine(args.device))["text"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        if size: make_data(root, size, questions, args.device)
        vqa = load_model(root/"checkpoint" if size else "sample", device=args.device, dtype=args.dtype).expect(MANY)
        measure(results, vqa, dict(limit=questions) | (dict(data_path=root) if size else {}), root, args.together)
    print_tables(results.rows, args.device, not (args.tiny or args.size or args.questions))


if __name__ == "__main__": main()
