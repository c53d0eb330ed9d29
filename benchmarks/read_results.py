"""Time and memory of opening other tools' results and joining them to a data set, beside what parsing the same bytes takes.

    python benchmarks/read_results.py                     # lmms-eval's lines of VQAv2's val, an official list of its test, a spreadsheet
    python benchmarks/read_results.py --only lmms --rounds 1

The files are made up, with VQAv2's numbers of questions (214,354 and 447,793) and texts of its lengths. Each kind is read in a process of its own, whose
largest memory is told, with that before (Python and the questions); the baseline is `json.loads` of every line, or of the whole, which any reader has to do. Pictures are not looked for here:
`open_results.py` opens the files of a folder with pictures, and says what all of it takes. The questions are made before the clock starts.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "man woman dog color red blue what where holding standing left right table kite street picture wearing many how there tree".split()
ANSWERS = ["yes", "no", "2", "white", "on the table", "tennis racket", "blue and white"]
VAL, TEST = 214_354, 447_793 # questions
POST = "\nAnswer the question using a single word or phrase."
KINDS = { # name → questions, ending
    "lmms": (VAL, "jsonl"), # lmms-eval as it writes today: joined by row, each checked
    "lmms_other": (VAL, "jsonl"), # the same, and the data in another order: joined by text, where one stands once
    "lmms_doc": (VAL, "jsonl"), # version 0.3.0, with the whole row of the data in each line
    "official": (TEST, "json"),
    "csv": (TEST, "csv"),
    "xlsx": (12_578, "xlsx")} # VLMEvalKit on GQA's testdev
LIMITS = {"lmms": 15, "official": 5} # seconds on two cores; the first with the data opened and the answers scored, see open_results.py


def make_questions(count):
    "Questions with VQAv2's ids, three or more to a picture; some texts stand often."
    from beit3_colab.data.dataset import Question
    rng = random.Random(0)
    return [Question(i//5*1000 + i % 5, i//5, " ".join(rng.choices(WORDS, k=rng.randint(3, 9))).capitalize() + "?") for i in range(count)]


def make_rows(kind, questions):
    "Lines, or rows, as the tool writes them."
    rng = random.Random(1)
    for i, q in enumerate(questions):
        answer = rng.choice(ANSWERS)
        if kind == "official": yield {"question_id": q.question_id, "answer": answer}
        if kind == "csv": yield f'{q.question_id},"{answer}"'
        if kind == "xlsx": yield [i, q.question, answer, "query", answer]
        if kind in ("lmms", "lmms_other"): yield {"doc_id": i, "target": "answer", "filtered_resps": answer, "token_counts": [None], "doc_hash": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b", "exact_match": .9, "input": q.question + POST}
        if kind == "lmms_doc": yield {"doc_id": i, "doc": {"question_type": "what", "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)], "question_id": q.question_id, "question": q.question}, "target": "answer", "arguments": {"0": "until"}, "resps": [[answer]], "filtered_resps": [answer], "doc_hash": "7"*64, "prompt_hash": "6"*64, "target_hash": "5"*64, "exact_match": .9, "input": q.question + POST}


def make_file(kind, questions, folder):
    "A file of a kind; its path."
    path, rows = Path(folder)/f"made_up.{KINDS[kind][1]}", make_rows(kind, questions)
    if kind == "official": path.write_text(json.dumps(list(rows)))
    elif kind == "csv": path.write_text("question_id,answer\n" + "\n".join(rows))
    elif kind == "xlsx":
        from openpyxl import Workbook
        book = Workbook(write_only=True)
        sheet = book.create_sheet()
        sheet.append(["index", "question", "answer", "category", "prediction"])
        for row in rows: sheet.append(row)
        book.save(path)
    else: path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def parse_only(kind, path):
    "What parsing alone takes, in seconds; None for what is no JSON."
    if KINDS[kind][1] not in ("json", "jsonl"): return None
    content, start = path.read_bytes(), time.process_time()
    kept = json.loads(content) if kind == "official" else [json.loads(line) for line in content.splitlines()]
    return time.process_time() - start if kept else None


def measure(kind, path, rounds):
    "Reading and joining in seconds, by the clock and of the processor (the best of some rounds), and the largest memory in MB."
    from types import SimpleNamespace

    from common import peak_memory

    from beit3_colab.scoring.joining import join_results
    from beit3_colab.scoring.reading import read_any
    data = SimpleNamespace(questions=make_questions(KINDS[kind][0]), name="made-up", split="val")
    if kind == "lmms_other": random.Random(2).shuffle(data.questions)
    found = []
    peak_memory(reset=True)
    before = peak_memory()
    for _ in range(rounds):
        start, processor = time.perf_counter(), time.process_time()
        table = read_any(path)
        read = time.process_time()
        joined = join_results(table, data)
        found.append((time.perf_counter() - start, time.process_time() - processor, read - processor))
        assert joined.counts["joined"] + joined.counts["ambiguous"] == len(data.questions), joined.counts
        del table, joined
    peak = peak_memory()
    return dict(kind=kind, rows=len(data.questions), bytes=path.stat().st_size, seconds=min(found)[0], processor=min(found)[1], reading=min(found)[2], memory_mb=peak, before_mb=before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS) # kind and file, in a process of its own
    choice = parser.parse_args()
    if choice.one:
        kind, path = choice.one
        print(json.dumps(measure(kind, Path(path), choice.rounds)))
        return
    from common import introduce, judge, table
    introduce()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in choice.only:
            path = make_file(kind, make_questions(KINDS[kind][0]), folder)
            done = subprocess.run([sys.executable, __file__, "--one", kind, str(path), "--rounds", str(choice.rounds)], capture_output=True, text=True)
            if done.returncode: raise SystemExit(done.stderr)
            rows.append(json.loads(done.stdout) | dict(parsing=parse_only(kind, path)))
            path.unlink()
    print(table({"File": lambda r: r["kind"], "Rows": lambda r: f"{r['rows']:,}", "MB": lambda r: f"{r['bytes']/1e6:.0f}", "Read and joined, s": lambda r: f"{r['seconds']:.2f}",
                 "processor, s": lambda r: f"{r['processor']:.2f}", "of it reading, s": lambda r: f"{r['reading']:.2f}", "json.loads alone, s": lambda r: r["parsing"] and f"{r['parsing']:.2f}", "Largest memory, MB": lambda r: f"{r['memory_mb']:.0f}",
                 "before, MB": lambda r: f"{r['before_mb']:.0f}", "Limit": lambda r: judge(r["seconds"], LIMITS.get(r["kind"])).strip()}, rows))


if __name__ == "__main__": main()
