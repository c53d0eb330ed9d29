"""How long a filter change takes in `run.browse()`, and how much memory the browser wants: 400,000 generated answers in a real kernel.

    python benchmarks/browse.py [--answers 400000] [--folder FOLDER]

Prints two tables. Steps: seconds, and the kernel's memory after each. Changes: milliseconds from the change of a control until all that the page needs was handed to the front end, reading
its pictures from disk included, five times from the unfiltered page; on a busy machine the processor time of the thread tells more. A word is looked up anew each time; a sort is made the first
time only. The run is made of words of nothing: 200 JPEG files of 640 × 480 under 2,000 names, 5 questions a picture, two thirds of the questions worded differently from all others.
With --folder the files are kept.
"""
import argparse
import json
import tempfile

MAKE = """
import json, random, time
from contextlib import closing
from pathlib import Path
from beit3_colab.run.journal import Identity, Journal, journal_path
from beit3_colab.look.run import Run
from beit3_colab.scenes.sample import open_sample, sample_data_folder
from beit3_colab.data.dataset import Annotation, Question
from dataclasses import asdict, replace

def make(folder, n):
    folder, dice = Path(folder), random.Random(0)
    (folder/"pictures").mkdir(parents=True, exist_ok=True)
    sources = sorted((sample_data_folder()/"val2014").glob("*.jpg"))
    from PIL import Image
    if not (folder/"pictures"/"1999.jpg").is_symlink():
      for i, path in enumerate(sources): Image.open(path).resize((640, 480)).save(folder/"pictures"/f"{{i}}.jpg", quality=90)
      for i in range(len(sources), 2000): (folder/"pictures"/f"{{i}}.jpg").symlink_to(f"{{i % len(sources)}}.jpg")
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = sorted({{"".join(dice.choice(syllables) for _ in range(dice.choice((1, 2, 3)))) for _ in range(4000)}})
    kinds = [("is the", "yes/no", 2), ("how many", "number", 12), ("what color is", "other", 20), ("what is", "other", 3000), ("where are the", "other", 800)]
    lists = {{kind: ["yes", "no"] if size == 2 else [str(i) for i in range(size)] if size == 12 else dice.sample(words, min(size, len(words))) for kind, _, size in kinds}}
    questions, annotations, records = [], {{}}, []
    for i in range(n):
        kind, answer_type, _ = kinds[min(4, int(dice.expovariate(.7)))]
        common = dice.random() < .33
        text = f"{{kind}} {{dice.choice(words[:40])}}?" if common else f"{{kind}} {{' '.join(dice.choices(words, k=4))}}?"
        image_id = i // 5
        q = Question(10*i, image_id, text.capitalize(), str(folder/"pictures"/f"{{image_id % 2000}}.jpg"))
        answer, right = dice.choice(lists[kind]), dice.random()
        people = tuple([answer]*10 if right < .6 else [answer]*2 + ["something"]*8 if right < .7 else ["something"]*10)
        questions.append(q)
        annotations[q.question_id] = Annotation(q.question_id, image_id, kind, answer_type, people[-1], people)
        records.append(dict(question_id=q.question_id, answers=[answer, "yes", "no", "2", "red"], confidences=[round(dice.random(), 5), .1, .05, .02, .01]))
    identity = Identity("generated", "0", "0", "0", "val", "0", n, 480, "float32")
    (folder/"run.json").write_text(json.dumps(dict(schema_version=1, identity=asdict(identity), submission=None)))
    if not journal_path(folder, 0).exists():
        with closing(Journal(journal_path(folder, 0), identity.fingerprint())) as journal:
            for i in range(0, n, 10000): journal.write(records[i:i + 10000])
    return Run(folder, questions, annotations, replace(open_sample(), questions=questions))
"""
MEASURE = """
import statistics, psutil
from beit3_colab.look.search import SORTS
run, out, steps = make({folder!r}, {answers}), {{}}, {{}}
def memory(): return round(psutil.Process().memory_info().rss/2**20)
def step(name, what):
    before = time.perf_counter()
    result = what()
    steps[name] = [round(time.perf_counter() - before, 2), memory()]
    return result
step("questions and annotations", lambda: None)
step("records (journal read)", lambda: run.records)
step("answers (table)", lambda: run.answers)
browser = step("browser", run.browse)
from IPython.display import display
step("shown", lambda: browser._ipython_display_())
c = browser.controls
word = run.questions[1].question.rstrip("?").split()[-1]
changes = [("answer type: number", "answer_type", "number"), ("question type: what is", "question_type", "what is"), ("right or wrong: wrong", "correctness", "wrong"), ("confidence from 0.9", "min_confidence", .9),
           ("confidence to 0.1", "max_confidence", .1), ("answer: yes", "answer", "yes"), ("words: one word", "words", word), ("words: two letters", "words", "ka"), ("words: two words", "words", "how " + word), ("picture number", "image", "4321"),
           *((f"sort: {{text}}", "sort", name) for name, text in SORTS.items() if name != "order"), ("page: the last", "page", 10**9), ("answers per page: 48", "per-page", 48)]
rows = []
start = {{name: c[name].value for _, name, _ in changes}}
for text, name, value in changes:
    times, cpus = [], []
    for _ in range(5):
        c[name].value = start[name]
        browser.index._words.clear()
        before, cpu = time.perf_counter(), time.thread_time()
        c[name].value = c["page"].max if name == "page" else value
        times.append(1000*(time.perf_counter() - before)); cpus.append(1000*(time.thread_time() - cpu))
        found = len(browser.rows)
        assert browser.status.value == ""
    rows.append([text, round(times[0], 1), round(statistics.median(times), 1), round(max(times), 1), round(max(cpus), 1), found])
    c[name].value = start[name]
steps["after all filters and sorts"] = [0, memory()]
print(json.dumps(dict(steps=steps, rows=rows, index=round(browser.index.nbytes/2**20))))
"""

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=400_000)
    parser.add_argument("--folder")
    args = parser.parse_args()
    import nbformat
    from nbclient import NotebookClient
    with tempfile.TemporaryDirectory() as folder:
        given = dict(folder=args.folder or folder, answers=args.answers)
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell((MAKE + MEASURE).format(**given))])
        NotebookClient(book, timeout=3600, kernel_name="python3", store_widget_state=False).execute()
    text = "".join(o["text"] for o in book.cells[0]["outputs"] if o["output_type"] == "stream" and o["name"] == "stdout")
    found = json.loads(text.splitlines()[-1])
    print(f"{args.answers:,} answers; the index adds {found['index']} MB\n\n| step | s | kernel's memory, MB |\n| --- | --- | --- |")
    for name, (seconds, megabytes) in found["steps"].items(): print(f"| {name} | {seconds} | {megabytes:,} |")
    print("\n| change | first, ms | median of 5, ms | slowest of 5, ms | slowest in processor time, ms | answers found |\n| --- | --- | --- | --- | --- | --- |")
    for name, first, median, slowest, cpu, count in found["rows"]: print(f"| {name} | {first} | {median} | {slowest} | {cpu} | {count:,} |")

if __name__ == "__main__": main()
