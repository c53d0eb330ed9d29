"Time of `compare` on two runs of all of VQAv2 val: 214,354 questions about 40,504 pictures, ten answers each. Usage: python benchmarks/compare.py"
import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from beit3_colab.look.run import compare
from beit3_colab.run.comparison import paired_intervals, paired_table, sign_flip_test
from beit3_colab.run.journal import Identity
from beit3_colab.look.run import Run
from beit3_colab.data.dataset import Annotation, Question

parser = argparse.ArgumentParser()
parser.add_argument("--questions", type=int, default=214_354)
parser.add_argument("--images", type=int, default=40_504)
n, images = vars(parser.parse_args()).values()

rng = np.random.default_rng(0)
kinds, labels = rng.choice(["yes/no", "number", "other"], n, p=[.38, .13, .49]), [f"answer {i}" for i in range(3129)]
own = rng.integers(0, 3129, n)
pictures = np.sort(rng.integers(0, images, n)).tolist()
questions = [Question(i, pictures[i], f"What is in picture {i % 997}?", "") for i in range(n)]
people = [[labels[own[i]]]*int(k) + [labels[j] for j in rng.integers(0, 3129, 10 - int(k))] for i, k in enumerate(rng.integers(1, 11, n))]
annotations = {i: Annotation(i, pictures[i], "what is", kinds[i], labels[own[i]], tuple(people[i])) for i in range(n)}

def make_run(name, share): # right by this share
    folder = Path(tempfile.mkdtemp())/name
    folder.mkdir()
    identity = Identity(name, "0", "0", None, "val", "0", n, 480, "bfloat16")
    (folder/"run.json").write_text(json.dumps(dict(identity=vars(identity))))
    chosen = np.where(rng.random(n) < share, own, rng.integers(0, 3129, n))
    with open(folder/"answers-0.jsonl", "w") as f:
        f.write(json.dumps({"run": identity.fingerprint()}) + "\n")
        for i in range(n): f.write(json.dumps(dict(question_id=i, answers=[labels[chosen[i]]], confidences=[.5])) + "\n")
    return Run(folder, questions, annotations)

a, b = make_run("a", .70), make_run("b", .705)
for run in (a, b):
    began = time.perf_counter(); run.records
    print(f"journal of {run.label} read in {time.perf_counter() - began:.2f} s")
began = time.perf_counter(); found = compare(a, b)
print(f"compare: {time.perf_counter() - began:.2f} s")
print(found)
began = time.perf_counter(); table = paired_table(a, b, questions); print(f"of which the table: {time.perf_counter() - began:.2f} s (answers normalised already)")
d, everyone = table["difference"].to_numpy(), {"overall": np.arange(n)}
began = time.perf_counter(); paired_intervals(pictures, d, everyone); print(f"one interval: {time.perf_counter() - began:.2f} s")
began = time.perf_counter(); sign_flip_test(pictures, d); print(f"one test: {time.perf_counter() - began:.2f} s")
print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20:.2f} GB")
