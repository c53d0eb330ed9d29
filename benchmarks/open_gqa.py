"""Time and memory of opening a split of GQA: on made-up files of the real ones' numbers of questions, a fresh process for each.

    python benchmarks/open_gqa.py                        # test_all (1,340,048), val_balanced (132,062) and testdev_balanced
    python benchmarks/open_gqa.py --split val_all        # 2,011,853 questions with programs, a file of gigabytes
    python benchmarks/open_gqa.py --questions 100000     # fewer

Test has a question's text, picture and whether it is balanced. The others have the programs, entailed questions, groups, pointers into the scene graph and a full
answer as the real files do, some 1,100 bytes a question. The peak is that of the whole process, of which 60 MB are Python and what it imports. The baseline, in a
process of its own too, is `json.load` of the same file. With --answers a prediction for each question is opened, tabled and browsed, too.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = {"test_all": 1_340_048, "val_balanced": 132_062, "testdev_balanced": 12_578, "val_all": 2_011_853}
WORDS = ["red", "blue", "man", "woman", "table", "left", "right", "tree", "chair", "street", "black", "white", "sky", "shirt", "grass", "window"]


def make_question(rng, number, named):
    "One question as the file has it."
    text = f"Is the {rng.choice(WORDS)} {rng.choice(WORDS)} to the {rng.choice(WORDS)} of the {rng.choice(WORDS)} {rng.choice(WORDS)} that is {rng.choice(WORDS)}?"
    if not named: return {"isBalanced": number % 14 == 0, "question": text, "imageId": str(2_300_000 + number//130)}
    steps = [{"operation": rng.choice(("select", "relate", "filter color", "verify rel", "query")), "dependencies": [i - 1] if i else [], "argument": f"{rng.choice(WORDS)},to the {rng.choice(WORDS)} of,s ({rng.randrange(4_000_000)})"} for i in range(4)]
    ids = [f"{rng.randrange(20_000_000):08d}" for _ in range(4)]
    return {"semantic": steps, "entailed": ids, "equivalent": ids[:1], "question": text, "imageId": str(2_300_000 + number//200), "isBalanced": number % 15 == 0,
            "groups": {"global": rng.choice(WORDS), "local": f"13-{rng.choice(WORDS)}_{rng.choice(WORDS)}"}, "answer": rng.choice(WORDS),
            "semanticStr": "->".join(f"{s['operation']}: {s['argument']} [{s['dependencies']}]" for s in steps), "annotations": {"answer": {"0": ids[0]}, "question": {"4": ids[1], "9": ids[2]}, "fullAnswer": {"1": ids[3]}},
            "types": {"detailed": "relVerify", "semantic": "rel", "structural": rng.choice(("query", "verify", "choose"))}, "fullAnswer": f"No, the {rng.choice(WORDS)} is to the {rng.choice(WORDS)} of the {rng.choice(WORDS)}."}


def make_file(path, split, questions):
    "A questions file, written a question at a time."
    rng = random.Random(0)
    with open(path, "w") as file:
        for number in range(questions):
            file.write(f'{", " if number else "{"}"{number*7:08d}": {json.dumps(make_question(rng, number, not split.startswith("test_")))}')
        file.write("}")


def make_answers(path, questions):
    "Predictions in GQA's own form."
    path.write_text(json.dumps([dict(questionId=f"{number*7:08d}", prediction=WORDS[number % len(WORDS)]) for number in range(questions)]))


def parse_split(folder, split):
    "The baseline."
    from common import step
    with step(f"baseline: json.load of {split}"), open(Path(folder)/f"{split}_questions.json") as file: json.load(file)


def open_split(folder, split):
    "What the fresh process does."
    from beit3_colab.data.gqa import GQA

    from common import judge, peak_memory, step
    with step(f"{split} opened"): data = GQA.load(split, folder)
    print(f"{len(data.questions):,} questions")
    if not (Path(folder)/"answers.json").exists(): return
    del data
    from beit3_colab import open_results
    with step("predictions opened by the data set's name"): found = open_results(Path(folder)/"answers.json", "gqa", split, folder)
    with step("table of answers"): found.answers
    with step("browser"): browser = found.browse()
    for words in ("red table", "white", "to the"):
        with step(f"a filter of it: {words}", .2): browser.controls["words"].value = words
    print(f"{'largest memory':<52}{peak_memory()/1000:8.2f} GB{judge(peak_memory()/1000, 2, 'GB')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--split", choices=SIZES, action="append")
    parser.add_argument("--questions", type=int, help="instead of the real number")
    parser.add_argument("--answers", action="store_true", help="open a prediction for each, too")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--parse", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open: return open_split(chosen.open, chosen.split[0])
    if chosen.parse: return parse_split(chosen.parse, chosen.split[0])
    from common import introduce
    introduce()
    for split in chosen.split or ["test_all", "val_balanced", "testdev_balanced"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)/f"{split}_questions.json"
            make_file(path, split, chosen.questions or SIZES[split])
            if chosen.answers: make_answers(Path(folder)/"answers.json", chosen.questions or SIZES[split])
            print(f"\n{split}: {path.stat().st_size/1e6:,.0f} MB", flush=True)
            for what in ("--parse", "--open"):
                subprocess.run([sys.executable, __file__, what, folder, "--split", split], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)})


if __name__ == "__main__": main()
