"""From JPEG files to the finished submission: `evaluate` on generated data of COCO's size, against the model alone in the same run.

    python benchmarks/end_to_end.py --questions 60000

Pictures are 640×480 JPEG files of about COCO's 160 kB (different ones, hard-linked to the number needed), 5.5 questions each, with VQAv2's spread of lengths (3 to 20 words), so
that batches are as uneven as they are there. Weights are random.
"""
import argparse
import json
import os
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import Results, filled_tokenizer, machine, synchronize, table
from model_speed import MANY, build, configuration

from beit3_colab import evaluate, load_model
from beit3_colab.model.checkpoint import save_folder
from beit3_colab.model.beit3 import init_weights

WORDS = "is the red car to left of blue house how many trees can you see a checked kite in this picture what color are houses weather like".split()
LENGTHS = {3: 3, 4: 15, 5: 24, 6: 21, 7: 14, 8: 9, 9: 6, 10: 3, 11: 2, 12: 1, 13: .7, 14: .5, 15: .4, 16: .2, 18: .1, 20: .1} # words of a question: about VQAv2's, percent


def draw_picture(seed, folder):
    "A picture with detail at every scale, as photographs have it; gives its bytes."
    from PIL import Image
    generator = np.random.default_rng(seed)
    layers = sum(np.asarray(Image.fromarray(generator.normal(0, 1, (480 >> k, 640 >> k)).astype(np.float32)).resize((640, 480), Image.Resampling.BICUBIC))[..., None]
                 * generator.normal(1, .3, 3) * 2**(k*.4) for k in range(7))
    path = folder/f"{seed}.jpg"
    Image.fromarray(np.clip(128 + 60*layers/layers.std(), 0, 255).astype(np.uint8)).save(path, quality=90)
    return path.stat().st_size


def make_data(root, questions, distinct, size, device):
    "A checkpoint, and a test split in the official layout."
    config = configuration(size)
    model = init_weights(build(config, device)).half().to("cpu")
    save_folder(root/"checkpoint", model.state_dict(), config, [f"answer {i}" for i in range(config.num_classes)], filled_tokenizer(config.vocab_size))
    for name in ("drawn", "test2015", "vqa"): (root/name).mkdir()
    with ProcessPoolExecutor() as pool: bytes_each = sum(pool.map(partial(draw_picture, folder=root/"drawn"), range(distinct))) / distinct
    rng, rows, image = random.Random(0), [], 0
    while len(rows) < questions:
        image += 1
        os.link(root/"drawn"/f"{image % distinct}.jpg", root/"test2015"/f"COCO_test2015_{image:012d}.jpg")
        for k in range(rng.choice((5, 6))):
            words = rng.choices(WORDS, k=rng.choices(list(LENGTHS), LENGTHS.values())[0])
            rows.append(dict(question_id=image*1000 + k, image_id=image, question=" ".join(words).capitalize() + "?"))
    (root/"vqa"/"v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps(dict(questions=rows[:questions], data_subtype="test2015")))
    (root/"made.json").write_text(json.dumps(dict(questions=questions, images=image, bytes_each=bytes_each)))


def model_rate(vqa, tokens=9, seconds=4., warm=2.):
    "Questions a second of the model alone, pictures on the device; measured when the card has the clock that it keeps under such a load."
    side, batch = vqa.config.image_size, 128 if vqa.device.type == "cuda" else 4
    images = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, device=vqa.device)
    ids, count = torch.randint(4, 1000, (batch, tokens), device=vqa.device), 0
    start = time.perf_counter()
    while time.perf_counter() - start < warm:
        for _ in range(3): vqa.logits(images, ids)
        synchronize()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(5): vqa.logits(images, ids)
        count += 5
        synchronize()
    return count*batch / (time.perf_counter() - start)


def measure(root, device, dtype, batch_size):
    "Rates, and what the run reported of itself."
    made, start = json.loads((root/"made.json").read_text()), time.perf_counter()
    vqa = load_model(root/"checkpoint", device=device, dtype=dtype).expect(MANY)
    loading = time.perf_counter() - start
    before = model_rate(vqa)
    start = time.perf_counter()
    run = evaluate(vqa, split="test", data_path=root, batch_size=batch_size, output_dir=root/f"run-{time.time_ns()}", progress=False)
    total, report = time.perf_counter() - start, run.report()
    alone = (before + model_rate(vqa)) / 2 # before and after: the card grows warm
    print(report)
    answering = report.seconds["answering"]
    return dict(**made, alone=alone, answering=report.questions_per_second, share=report.questions_per_second/alone, overall=made["questions"]/(loading + total), loading=loading,
                outside=total - answering, whole_test=447_793/report.questions_per_second + (total - answering)*max(1, 447_793/made["questions"]), seconds=report.seconds, limited=report.setup["limited_by"],
                batch_size=report.setup["batch_size"], dtype=report.setup["dtype"])


def print_tables(rows):
    "What was found, as Markdown."
    found = [r for r in rows if r["kind"] == "end_to_end"]
    if found: print(table({"questions": lambda r: f"{r['questions']:,}, {r['images']:,} pictures of {r['bytes_each']/1000:.0f} kB, {r['dtype']}, batches of {r['batch_size']}", "model alone": lambda r: f"{r['alone']:,.0f}/s",
                           "answering": lambda r: f"{r['answering']:,.0f}/s", "share": lambda r: f"{r['share']:.0%}", "from the call to the submission": lambda r: f"{r['overall']:,.0f}/s",
                           "loading; before and after answering": lambda r: f"{r['loading']:.1f} s; {r['outside']:.1f} s", "the whole test set, all at these rates": lambda r: f"{r['whole_test']/60:.1f} min", "limited by": lambda r: r["limited"]}, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=60_000)
    parser.add_argument("--distinct", type=int, default=128, help="different pictures")
    parser.add_argument("--size", default="base-480")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--batch-size", default="auto")
    parser.add_argument("--root", help="folder with the data, made by --prepare")
    parser.add_argument("--prepare", action="store_true", help="only make the data")
    parser.add_argument("--json", help="append results there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(args.root or folder)
        if not (root/"made.json").exists(): make_data(root, args.questions, args.distinct, args.size, args.device)
        if args.prepare: return
        results = Results(args.json)
        print(results.add("machine", text=machine(args.device))["text"])
        results.attempt("end_to_end", lambda: measure(root, args.device, args.dtype, args.batch_size), size=args.size)
        print_tables(results.rows)


if __name__ == "__main__": main()
