"""Time and memory of opening a split of GQA: on made-up files of the real ones' numbers of questions, a fresh process for each.

    python benchmarks/open_gqa.py                        # test_all (1,340,048), val_balanced (132,062) and testdev_balanced
    python benchmarks/open_gqa.py --split val_all        # 2,011,853 questions with programs, a file of gigabytes
    python benchmarks/open_gqa.py --questions 100000     # fewer

Test has a question's text, picture and whether it is balanced. The others have the programs, entailed questions, groups, pointers into the scene graph and a full
answer as the real files do, some 1,100 bytes a question. The peak is that of the whole process (`ru_maxrss`), of which 60 MB are Python and what it imports.
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


def open_split(folder, split):
    "What the fresh process does."
    import resource

    from beit3_colab.data.gqa import GQA
    start, begun = time.perf_counter(), time.process_time()
    data = GQA.load(split, folder)
    seconds, processor = time.perf_counter() - start, time.process_time() - begun
    print(json.dumps(dict(split=split, questions=len(data.questions), seconds=round(seconds, 1), processor_seconds=round(processor, 1), peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--split", choices=SIZES, action="append")
    parser.add_argument("--questions", type=int, help="instead of the real number")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open: return open_split(chosen.open, chosen.split[0])
    for split in chosen.split or ["test_all", "val_balanced", "testdev_balanced"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)/f"{split}_questions.json"
            make_file(path, split, chosen.questions or SIZES[split])
            print(f"{path.stat().st_size/1e6:,.0f} MB:", end=" ", flush=True)
            subprocess.run([sys.executable, __file__, "--open", folder, "--split", split], check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)})


if __name__ == "__main__": main()
