"""Time of everything that `open_results` gives of a file as large as VQAv2's val: opening, accuracy, table, every rule, ceiling, a filter in the browser.

    python benchmarks/open_results.py
    python benchmarks/open_results.py --questions 20000

Questions, people's answers and the file of lmms-eval are made up, with VQAv2's numbers; they are made before the clock starts. The largest memory of the process, PyTorch not loaded, is told at the end.
"""
import argparse
import json
import random
import resource
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

VAL = 214_354 # questions
WORDS = "man woman dog color red blue what where holding standing left right table kite street picture wearing many how there tree".split()


def make_people(draw, words):
    "Ten answers: yes and no, numbers, or words of which most people agree on one."
    kind = draw.random()
    if kind < .38: found = [*draw.choices(["yes", "no"], [1, 1])]*draw.choice([10, 10, 9, 8, 7])
    elif kind < .5: found = [str(draw.randint(0, 9))]*6
    else: found = [words[min(int(draw.expovariate(1/2000)), len(words) - 1)]]*draw.randint(3, 9)
    found += draw.choices(words if kind >= .38 else ["yes", "no"], k=10 - len(found))
    draw.shuffle(found)
    return tuple(found)

def make_data(count):
    "A data set like VQAv2's val."
    from beit3_colab.data.dataset import Annotation, Dataset, Question
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(40_000)]
    questions = [Question(i, i//5, " ".join(draw.choices(WORDS, k=draw.randint(3, 9))).capitalize() + "?", f"{i//5}.jpg") for i in range(count)]
    people = {}
    for q in questions:
        answers = make_people(draw, words)
        kind = "yes/no" if answers[0] in ("yes", "no") else "number" if answers[0].isdigit() else "other"
        people[q.question_id] = Annotation(q.question_id, q.image_id, " ".join(q.question.split()[:2]).lower(), kind, answers[0], answers)
    return type("MadeUp", (Dataset,), dict(name="vqav2"))("val", questions, people, Path(".")), words

def write_file(path, data):
    "lmms-eval's lines, each with a score of its own."
    from beit3_colab.scoring.rules import RULES
    draw, rule = random.Random(1), RULES["lmms_vqav2"]
    with open(path, "w") as file:
        for row, q in enumerate(data.questions):
            people = data.annotations[q.question_id].answers
            answer = draw.choice(people) if draw.random() < .8 else draw.choice(["yes", "no", "2", "white"])
            line = dict(doc_id=row, target="answer", filtered_resps=answer, token_counts=[None], doc_hash="7"*64, exact_match=rule(answer, people), input=f"{q.question}\nAnswer the question using a single word or phrase.")
            file.write(json.dumps(line) + "\n")


@contextmanager
def timed(what):
    "Print how long a block takes."
    began = time.perf_counter()
    yield
    print(f"{what:<46}{time.perf_counter() - began:8.2f} s", flush=True)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=VAL)
    args = parser.parse_args()
    from beit3_colab import open_results
    from beit3_colab.run.ceiling import find_ceiling
    data, words = make_data(args.questions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"samples_vqav2_val.jsonl"
        write_file(path, data)
        print(f"{args.questions:,} answers, {path.stat().st_size/1e6:.0f} MB")
        with timed("opened and joined"): found = open_results(path, data)
    with timed("accuracy, intervals, the tool's rule named"): score = found.accuracy
    print(score)
    with timed("table of answers"): assert len(found.answers) == args.questions
    with timed("every rule"): judged = found.rules()
    print(f"{len(judged.rows)} rules, {len(judged.differences):,} questions differ")
    with timed("ceiling of a list of 3,129 answers"): print(find_ceiling(data.annotations, words[:3129], "official").notes[0])
    with timed("browser"): browser = found.browse()
    with timed("a filter of it"): browser.controls["words"].value = "dog kite"
    with timed("report"): found.to_html(Path(tempfile.gettempdir())/"open_results.html", n=0)
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6:.2f} GB")

if __name__ == "__main__": main()
