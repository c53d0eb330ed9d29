"""Time and memory of everything but the model, by the number of questions: `evaluate` on generated data of VQAv2's test size with a model that costs nothing.

    python benchmarks/scale.py                                  # 10,000, 100,000 and 447,793 questions, by one process and by two
    python benchmarks/scale.py --questions 447793 --processes 1 --profile profile.out

81,434 pictures (hard-linked) have the 447,793 questions of test2015; fewer questions have proportionally fewer. What is left out: decoding and resizing (each
picture's file is opened and read, the pixels are filled with grey) and the matrix products of the model (its logits are made beforehand). What is counted: reading the
questions, looking for missing pictures, planning, sharing out, tokenising, the pixels' way through memory at 480 px, the best five of 3,129 answers, journals,
progress, the submission and its check. `--annotations` takes VQAv2's val instead, 214,354 questions of 40,504 pictures, and so adds reading answers and scoring.
"""
import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from pathlib import Path

TEXTS = ["Is it day?", "What is the color of the houses?", "How many trees can you see?", "Is there a checked kite in the picture?", "Where was this drawn?",
         "What is the weather like in this picture?", "Is the red car to the left of the blue house?", "How many animals?", "Is the man who stands on the left of the picture wearing a hat?"]
SIZES = {"test": (447_793, 81_434, "test2015"), "val": (214_354, 40_504, "val2014")} # of VQAv2: questions, pictures, folder


def make_data(root, split, questions):
    "A split in the official layout; pictures are links to a few files."
    from PIL import Image
    whole, images, name = SIZES[split]
    images = max(1, round(images * questions / whole))
    (root/"vqa").mkdir(parents=True)
    (root/name).mkdir()
    rng, rows, notes = random.Random(0), [], []
    per_image = [3] * images # the others are dealt out: VQAv2's pictures have 3 questions or more, 5.5 on average
    for _ in range(questions - 3*images): per_image[rng.randrange(images)] += 1
    for image, count in enumerate(per_image):
        if image % 10_000 == 0: # a file can have 65,000 links on ext4
            source = root/f"{image}.jpg"
            Image.frombytes("RGB", (640, 480), rng.randbytes(640*480*3)).resize((160, 120)).resize((640, 480)).save(source, quality=90)
        os.link(source, root/name/f"COCO_{name}_{image:012d}.jpg")
        for k in range(count):
            rows.append(dict(question_id=image*1000 + k, image_id=image, question=rng.choice(TEXTS)))
            if split == "val": notes.append(dict(question_id=image*1000 + k, image_id=image, question_type="how many", answer_type=rng.choice(("yes/no", "number", "other")), multiple_choice_answer="2",
                                                 answers=[dict(answer=str(rng.randrange(4)), answer_confidence="yes", answer_id=i + 1) for i in range(10)]))
    (root/"vqa"/f"v2_OpenEnded_mscoco_{name}_questions.json").write_text(json.dumps(dict(questions=rows, data_subtype=name)))
    if notes: (root/"vqa"/f"v2_mscoco_{name}_annotations.json").write_text(json.dumps(dict(annotations=notes)))
    return images


def leave_out_the_model(batch=128):
    "Replace decoding and the model by what costs nothing."
    import torch
    from beit3_colab.run import windows
    from beit3_colab.evaluation import one_process
    from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA
    from beit3_colab.model.vqa import VQA
    from common import filled_tokenizer
    from beit3_colab.model.tokenizer import Tokenizer
    torch.manual_seed(0) # each process has the same weights: it is one run
    made = torch.randn(batch, 3129)

    class StandIn(VQA):
        def logits(self, images, input_ids, rows=None, counts=None): return made[input_ids.sum(1) % batch] # whatever the batch

    def load_image(data, question, size, target):
        with open(data.image_path(question), "rb") as f: f.read()
        target[:] = 128
        return None, 0., 0.

    def load_model(*args, **options):
        config = Beit3Config(image_size=480, patch_size=16, embed_dim=8, num_layers=1, num_heads=1, num_classes=3129)
        return StandIn(Beit3ForVQA(config).eval(), [f"answer {i}" for i in range(3129)], Tokenizer(filled_tokenizer(config.vocab_size)), "stand-in")

    windows.load_image, one_process.load_model = load_image, load_model


def run(folder, data, split, processes, profile):
    "One evaluation in a process of its own; gives its figures."
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent.resolve())!r}); import scale; scale.leave_out_the_model(); "
    worker = ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from beit3_colab.machine.distributed import start_worker; job = start_worker(); " + code
              + "from beit3_colab.evaluation.processes import worker_main; worker_main(job)")
    main = (code + "import json, time, resource; from beit3_colab import evaluate; from beit3_colab.evaluation import processes; from beit3_colab.machine.device import peak_memory; "
            f"processes.WORKER = {worker!r}; start = time.monotonic(); "
            f"run = evaluate('sample', {split!r}, {str(data)!r}, batch_size=128, device='cpu', output_dir={str(folder)!r}, processes={processes}, progress='log'); "
            "taken = time.monotonic() - start; report = run.report(); run.accuracy; "
            "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]; "
            "print(json.dumps(dict(seconds=taken, cpu=sum(u.ru_utime + u.ru_stime for u in used), scoring=time.monotonic() - start - taken, host=max(report.host_bytes, peak_memory().host), parts=report.seconds)))")
    command = [sys.executable, "-c", main]
    if profile:
        script = folder.parent/"profiled.py"
        script.write_text(main)
        command = [sys.executable, "-m", "cProfile", "-o", profile, str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode: raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, nargs="+")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--annotations", action="store_true", help="val, with answers and scoring")
    parser.add_argument("--profile", help="file for cProfile; the parent's or the single process's time")
    parser.add_argument("--folder", help="where to make the data; without it a temporary folder")
    args = parser.parse_args()
    split = "val" if args.annotations else "test"
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}")
    print("| questions | pictures | processes | seconds | processor seconds of all, imports included | waiting for data, model, writing, loading | scoring | peak memory of a process |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for questions in args.questions or [10_000, 100_000, SIZES[split][0]]:
        with tempfile.TemporaryDirectory(dir=args.folder) as d:
            images = make_data(Path(d)/"data", split, questions)
            for processes in args.processes:
                found = run(Path(d)/f"run-{processes}", Path(d)/"data", split, processes, args.profile)
                parts = ", ".join(f"{found['parts'][name]:.1f}" for name in ("data", "model", "writing", "loading"))
                print(f"| {questions:,} | {images:,} | {processes} | {found['seconds']:.1f} | {found['cpu']:.1f} | {parts} | {found['scoring']:.1f} | {found['host']/1e6:,.0f} MB |", flush=True)


if __name__ == "__main__": main()
