"""Time and memory of `compare` on runs of all of VQAv2 val: 214,354 questions about 40,504 pictures, ten answers each.

The answers are made up. The comparison of the first two runs alone is timed in the same process, as what the one of all
is to be measured by; then filters and sorts of the browser. Texts are normalised once in a process: the first comparison
does that, and is told as “cold”; the two that are to be measured by each other both come after it. It prints the machine
and the command, and the limits beside the figures.
Usage: python benchmarks/compare.py --runs 3"""
import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.look.run import compare, Run
from beit3_colab.run.comparison import paired_intervals, paired_table, sign_flip_test
from beit3_colab.run.journal import Identity
from common import introduce, judge, peak_memory, step

parser = argparse.ArgumentParser()
parser.add_argument("--questions", type=int, default=214_354)
parser.add_argument("--images", type=int, default=40_504)
parser.add_argument("--runs", type=int, default=3)
n, images, count = vars(parser.parse_args()).values()

introduce()
print(f"NumPy {np.__version__}")
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


runs = [make_run(chr(ord("a") + i), .70 + .002*i) for i in range(count)]
for run in runs:
    with step(f"reading the journal of {run.label}"): run.records
with step("cold: two runs compared for the first time"): compare(*runs[:2])
with step("baseline: two runs compared"): two = compare(*runs[:2])
print(two)
with step("of which the table"): paired_table(*runs[:2], questions)
differences, everyone = two.table["difference"].to_numpy(), {"overall": np.arange(n)}
with step("one interval"): paired_intervals(pictures, differences, everyone)
with step("one test"): sign_flip_test(pictures, differences)
if count > 2:
    with step(f"{count} runs compared", 30 if count == 3 else None): found = compare(*runs)
    print(found)
    with step("opening the browser"): browser = found.browse()
    def change(**values): # what a person does; the page of cards is made anew, without pictures
        began = time.perf_counter()
        for name, value in values.items(): browser.controls[name].value = value
        took = 1000*(time.perf_counter() - began)
        print(f"{str(values):<52}{took:8.0f} ms, {len(browser.rows):,} questions{judge(took, 200, 'ms')}")
    for name, values in (("words", ("answer 17", '"picture 99"', "no such word", "")), ("right", ("only A right", "none right", "")),
                         ("same", ("all different", "")), ("answer_type", ("number", "")), ("sort", [*browser.index.sorts]*2)):
        for value in values: change(**{name: value})
    with step("page of 200 questions"): found.to_html(Path(tempfile.mkdtemp())/"page.html")
print(f"largest memory {peak_memory()/1000:.2f} GB{judge(peak_memory()/1000, 2, 'GB')}")
