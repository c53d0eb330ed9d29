"""Time of everything that `open_results` gives of files as large as VQAv2's: opening, accuracy, table, every rule, ceiling, a filter in the browser.

    python benchmarks/open_results.py                              # lmms-eval's lines of val; an official list of test
    python benchmarks/open_results.py --only test --pictures none
    python benchmarks/open_results.py --questions 20000

Questions, people's answers and results are made up, with VQAv2's numbers, and lie in a folder as the official files do, with an empty file for each picture (or
none at all), for opening looks for the pictures. Each part runs in a process of its own, without PyTorch. Beside each figure stand the processor's seconds, the
largest memory so far, and the limit where there is one: two cores are meant. The baselines, in the same run, are what nobody can do without:
`json.loads` of the same files, and the official rule called for each answer.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VAL, TEST = 214_354, 447_793 # questions
PICTURES = {VAL: 40_504, TEST: 81_434}
WORDS = "man woman dog color red blue what where holding standing left right table kite street picture wearing many how there tree".split()
PARTS = {"val": VAL, "test": TEST}


def make_people(draw, words):
    "Ten answers: yes and no, numbers, or words of which most people agree on one."
    kind = draw.random()
    if kind < .38: found = [*draw.choices(["yes", "no"], [1, 1])]*draw.choice([10, 10, 9, 8, 7])
    elif kind < .5: found = [str(draw.randint(0, 9))]*6
    else: found = [words[min(int(draw.expovariate(1/2000)), len(words) - 1)]]*draw.randint(3, 9)
    found += draw.choices(words if kind >= .38 else ["yes", "no"], k=10 - len(found))
    draw.shuffle(found)
    return tuple(found)


def make_words(draw): return ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(40_000)]


def make_questions(draw, count, of):
    "Records as in the official file, about as many pictures."
    pictures = PICTURES[of]*count//of or 1
    image = lambda i: i*pictures//count*14 + 42
    return [dict(image_id=image(i), question=" ".join(draw.choices(WORDS, k=draw.randint(3, 9))).capitalize() + "?", question_id=image(i)*1000 + i % 7) for i in range(count)]


def annotate(question, answers):
    "People's answers as in the official file."
    kind = "yes/no" if answers[0] in ("yes", "no") else "number" if answers[0].isdigit() else "other"
    return dict(question_id=question["question_id"], image_id=question["image_id"], question_type=" ".join(question["question"].split()[:2]).lower(), answer_type=kind,
                multiple_choice_answer=max(set(answers), key=answers.count), answers=[dict(answer=a, answer_confidence="yes", answer_id=k + 1) for k, a in enumerate(answers)])


def make_pictures(folder, questions, name):
    "An empty file for each picture."
    (folder/name).mkdir()
    for image in dict.fromkeys(q["image_id"] for q in questions): os.close(os.open(folder/name/f"COCO_{name}_{image:012d}.jpg", os.O_CREAT | os.O_WRONLY))


def make_val(folder, count, pictures):
    "Official files of val, and lmms-eval's lines, each with a score of its own."
    from beit3_colab.scoring.rules import RULES
    draw, rule = random.Random(0), RULES["lmms_vqav2"]
    words, questions = make_words(draw), make_questions(draw, count, VAL)
    people = [make_people(draw, words) for _ in questions]
    (folder/"v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps(dict(data_subtype="val2014", questions=questions)))
    (folder/"v2_mscoco_val2014_annotations.json").write_text(json.dumps(dict(data_subtype="val2014", annotations=list(map(annotate, questions, people)))))
    with open(folder/"samples_vqav2_val.jsonl", "w") as file:
        for row, (q, said) in enumerate(zip(questions, people)):
            answer = draw.choice(said) if draw.random() < .8 else draw.choice(["yes", "no", "2", "white"])
            line = dict(doc_id=row, target="answer", filtered_resps=answer, token_counts=[None], doc_hash="7"*64, exact_match=rule(answer, said), input=f"{q['question']}\nAnswer the question using a single word or phrase.")
            file.write(json.dumps(line) + "\n")
    if pictures: make_pictures(folder, questions, "val2014")


def make_test(folder, count, pictures):
    "Official questions of test, and a list as its server takes it."
    draw = random.Random(0)
    questions = make_questions(draw, count, TEST)
    (folder/"v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps(dict(data_subtype="test2015", questions=questions)))
    (folder/"results.json").write_text(json.dumps([dict(question_id=q["question_id"], answer=draw.choice(["yes", "no", "2", "white", "on the table"])) for q in questions]))
    if pictures: make_pictures(folder, questions, "test2015")


def parse(folder, count):
    "The least that any reader does, in a process of its own: its memory is no other's."
    from common import step
    with step("baseline: json.loads of the same files"):
        for path in sorted(folder.glob("*.json*")):
            for part in path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]: json.loads(part)


def measure_test(folder, count):
    "Opening an official list of test, whose human answers nobody has."
    from beit3_colab import open_results
    from beit3_colab.run.task import load_dataset

    from common import step
    with step("questions loaded"): data = load_dataset("vqav2", "test", folder)
    with step("opened and joined to them", 5): assert len(open_results(folder/"results.json", data).records) == count
    with step("opened by the data set's name", 5): found = open_results(folder/"results.json", "vqav2", "test", folder)
    with step("table of answers"): assert len(found.answers) == count


def measure_val(folder, count):
    "Everything that a file of lmms-eval gives."
    from beit3_colab import open_results
    from beit3_colab.run.ceiling import find_ceiling
    from beit3_colab.scoring.rules import RULES

    from common import judge, peak_memory, step
    with step("opened by the data set's name, and joined") as opened: found = open_results(folder/"samples_vqav2_val.jsonl", "vqav2", "val", folder)
    with step("accuracy, intervals, the tool's rule named") as scored: score = found.accuracy
    both = opened["seconds"] + scored["seconds"]
    print(f"{'together':<52}{both:8.2f} s{judge(both, 15)}")
    people, rule = found.annotations, RULES["official"]
    with step("baseline: the official rule for each answer"): assert round(100*sum(rule(r["answers"][0], people[i].answers) for i, r in found.records.items())/count, 2) == score.overall
    with step("table of answers"): assert len(found.answers) == count
    with step("every rule"): judged = found.rules()
    with step("ceiling of a list of 3,129 answers"): ceiling = find_ceiling(people, make_words(random.Random(0))[:3129], "official")
    with step("browser"): browser = found.browse()
    for words in ("dog kite", "what"):
        with step(f"a filter of it: {words}", .2): browser.controls["words"].value = words
    with step("report"), tempfile.TemporaryDirectory() as place: found.to_html(Path(place)/"report.html", n=0)
    print(f"{'largest memory':<52}{peak_memory()/1000:8.2f} GB{judge(peak_memory()/1000, 2, 'GB')}\n{score}\n{len(judged.rows)} rules, {len(judged.differences):,} questions differ; {ceiling.notes[0]}")


MAKE, MEASURE = {"val": make_val, "test": make_test}, {"parse": parse, "val": measure_val, "test": measure_test}

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--questions", type=int, help="instead of VQAv2's numbers")
    parser.add_argument("--pictures", choices=["files", "none"], default="files")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS) # part, folder, questions: in a process of its own
    args = parser.parse_args()
    if args.one: return MEASURE[args.one[0]](Path(args.one[1]), int(args.one[2]))
    from common import introduce
    introduce()
    for part in args.only or PARTS:
        count = args.questions or PARTS[part]
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            MAKE[part](Path(folder), count, args.pictures == "files")
            print(f"\n{part}: {count:,} answers; {'an empty file for each picture' if args.pictures == 'files' else 'no pictures'}; made in {time.perf_counter() - begun:.0f} s", flush=True)
            for what in ("parse", part): subprocess.run([sys.executable, __file__, "--one", what, folder, str(count)], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)})

if __name__ == "__main__": main()
