"""How many samples a second are made ready for training from JPEG files of COCO's size, with the whole train transform.

    python benchmarks/train_loader.py [--workers 8] [--pictures 200] [--size 480] [--seconds 5]

Draws photo-like pictures of 640 x 480 (about 150 kB each, as COCO's are) into a temporary folder and prints three
tables: milliseconds of one core for each part; a sample as a whole beside the baseline, which decodes and resizes alone;
samples a second through the loader, by one reader and by all, with threads and with processes. No GPU is needed.
The aim: 450 samples a second on 16 cores beside an H100, where 8 processes read.
"""
import argparse
import io
import itertools
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps

from beit3_colab.data.dataset import Dataset, Question
from beit3_colab.pictures.decoding import load_image
from beit3_colab.pictures.reading import read_image
from beit3_colab.training.augmentation import OPERATIONS, Augmentation, augment, draws_of
from beit3_colab.training.loader import Loader, training_workers
from common import introduce, processor_seconds

ARGUMENTS = dict(Brightness=1.36, Sharpness=1.36, ShearX=.21, ShearY=.21, TranslateX=7., TranslateY=7., Rotate=21.)


def photo(rng):
    "Soft shapes and a camera's noise, as a JPEG."
    soft = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    noisy = np.asarray(soft) + rng.normal(0, 12, (480, 640, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=91)
    return buffer.getvalue()


def make_data(folder, count):
    "A data set of so many pictures and questions."
    rng = np.random.default_rng(0)
    for i in range(count): (folder/f"{i}.jpg").write_bytes(photo(rng))
    print(f"{count} pictures of 640 x 480, {sum(p.stat().st_size for p in folder.iterdir())/count/1000:.0f} kB each\n")
    return Dataset("train", [Question(i, i, "what is it", f"{i}.jpg") for i in range(count)], None, folder)


def print_parts(path, size):
    "Milliseconds of one core."
    content, augmentation = path.read_bytes(), Augmentation()
    picture = read_image(content)
    part = picture.crop((40, 30, 560, 430))
    square = part.resize((size, size), Image.Resampling.BICUBIC)
    parts = {
        "read and decode": lambda: read_image(path),
        "resize the whole": lambda: picture.resize((size, size), Image.Resampling.BICUBIC),
        "draws": lambda: augmentation.draw(640, 480, draws_of(0, 0, 1)),
        "crop": lambda: picture.crop((40, 30, 560, 430)),
        "resize a crop": lambda: part.resize((size, size), Image.Resampling.BICUBIC),
        "mirror (1 in 2)": lambda: ImageOps.mirror(square),
        **{f"{name} (1 in 10)": lambda n=name: augmentation.operate(square, [(n, *([ARGUMENTS[n]] if n in ARGUMENTS else []))]) for name in OPERATIONS},
        "to an array": lambda: np.array(square)}
    for name, run in parts.items():
        run()
        print(f"{name:32}{1000*processor_seconds(run, 40):8.2f} ms")


def print_whole(data, size):
    "One sample after the other in this process."
    target, augmentation, epochs = np.zeros((size, size, 3), np.uint8), Augmentation().to_dict(), itertools.count()
    def plain():
        for q in data.questions: load_image(data, q, size, target)
    def changed():
        epoch = next(epochs)
        for q in data.questions: load_image(data, q, size, target, lambda image, size: augment(image, size, augmentation, 0, epoch, q.question_id))
    print(f"\n{'one core':32}{'ms a sample':>12}{'samples/s':>12}")
    for name, run in (("decode and resize (baseline)", plain), ("the whole train transform", changed)):
        run()
        each = processor_seconds(run)/len(data.questions)
        print(f"{name:32}{1000*each:12.2f}{1/each:12.0f}")


def worked():
    "Seconds of the processor that this process and its readers have taken."
    here = psutil.Process()
    return sum(t.user + t.system for t in (p.cpu_times() for p in (here, *here.children())))


def rate(data, size, workers, processes, augmentation, seconds):
    "Samples a second through the loader once it is warm, and seconds of the processor for each."
    count, batch = len(data.questions), 32
    rows = lambda: ((epoch, np.arange(i, i + batch) % count) for epoch in itertools.count() for i in range(0, count, batch))
    with Loader(data, data.questions, size, augmentation, workers=workers, device_type="cuda" if processes else "cpu") as loader:
        begun, made = None, 0
        for number, (pictures, _) in enumerate(loader.batches(rows())):
            if number == 5: begun, before = time.perf_counter(), worked()
            elif begun:
                made += len(pictures)
                if (took := time.perf_counter() - begun) >= seconds: return made/took, (worked() - before)/made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=training_workers("cuda", os.cpu_count()))
    for name, value in (("pictures", 200), ("size", 480), ("seconds", 5)): parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    introduce()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder), args.pictures)
        print_parts(data.source.path("0.jpg"), args.size)
        print_whole(data, args.size)
        print(f"\n{'through the loader':32}{'clean, samples/s':>24}{'augmented, samples/s':>24}{'ms of a core each':>24}")
        for processes, workers in [(kind, n) for kind in (False, True) for n in sorted({1, args.workers, 2*args.workers})]:
            found = [rate(data, args.size, workers, processes, a, args.seconds) for a in (None, Augmentation())]
            (clean, _), (changed, each) = found
            print(f"{workers:3} {'processes' if processes else 'threads':28}{clean:24.0f}{changed:24.0f}{1000*each:24.2f}", flush=True)


if __name__ == "__main__": main()
