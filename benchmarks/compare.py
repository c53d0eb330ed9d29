"""Time of `compare` on two runs of all of VQAv2 val: 214,354 questions about 40,504 pictures, ten answers each.
Usage: python benchmarks/compare.py"""
import argparse
import json
import resource
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.look.run import compare, Run
from beit3_colab.run.comparison import paired_intervals, paired_table, sign_flip_test
from beit3_colab.run.journal import Identity

parser = argparse.ArgumentParser()
parser.add_argument("--questions", type=int, default=214_354)
parser.add_argument("--images", type=int, default=40_504)
n, images = vars(parser.parse_args()).values()

rng = np.random.default_rng(0)
kinds = rng.choice(["yes/no", "number", "other"], n, p=[.38, .13, .49])
labels = [f"answer {i}" for i in range(3129)]
own = rng.integers(0, 3129, n)
pictures = np.sort(rng.integers(0, images, n)).tolist()
questions = [Question(i, pictures[i], f"What is in picture {i % 997}?", "") for i in range(n)]


def people_of(i, agreeing):
    "Ten answers, of which so many are the most common one."
    return (labels[own[i]],)*int(agreeing) + tuple(labels[j] for j in rng.integers(0, 3129, 10 - int(agreeing)))

people = [people_of(i, agreeing) for i, agreeing in enumerate(rng.integers(1, 11, n))]
annotations = {i: Annotation(i, pictures[i], "what is", kinds[i], labels[own[i]], people[i]) for i in range(n)}


def make_run(name, share): # right by this share
    folder = Path(tempfile.mkdtemp())/name
    folder.mkdir()
    identity = Identity(name, "0", "0", None, "val", "0", n, 480, "bfloat16")
    (folder/"run.json").write_text(json.dumps(dict(identity=vars(identity))))
    chosen = np.where(rng.random(n) < share, own, rng.integers(0, 3129, n))
    records = (dict(question_id=i, answers=[labels[chosen[i]]], confidences=[.5]) for i in range(n))
    with open(folder/"answers-0.jsonl", "w") as f:
        f.write(json.dumps({"run": identity.fingerprint()}) + "\n")
        for record in records: f.write(json.dumps(record) + "\n")
    return Run(folder, questions, annotations)

@contextmanager
def timed(what, note=""):
    "Print how long a block took."
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.2f} s{note}")


a, b = make_run("a", .70), make_run("b", .705)
for run in (a, b):
    with timed(f"reading the journal of {run.label}"): run.records
with timed("compare"): found = compare(a, b)
print(found)
with timed("of which the table", " (answers normalised already)"): table = paired_table(a, b, questions)
differences, everyone = table["difference"].to_numpy(), {"overall": np.arange(n)}
with timed("one interval"): paired_intervals(pictures, differences, everyone)
with timed("one test"): sign_flip_test(pictures, differences)
print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20:.2f} GB")
