"""How long `run.browse()` takes to open and to filter, in the page and in the kernel, and how much memory it wants: 400,000 generated answers in a real JupyterLab.

    python benchmarks/browse.py [--answers 400000] [--folder FOLDER]

Needs Chromium and what the tests need. Prints three tables. Steps: seconds, how many times the baseline that is (the run's journal parsed by `json.loads` in the same kernel, which any reading must do),
and the kernel's memory. In the page: milliseconds from the change of a control until the page has drawn what fits, the first time and the median of five. In the kernel: milliseconds from the change of a
control until all that the page needs was handed to the front end, reading its pictures from disk included, five times from the unfiltered page; on a busy machine the processor time of the thread
tells more. A word is looked up anew each time; a sort is made the first time only. The run is made of words of nothing: 200 JPEG files of 640 × 480 under 2,000 names, 5 questions a picture, two thirds
of the questions worded differently from all others. With --folder the files are kept.
"""
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from common import introduce, judge

sys.path.insert(0, str(Path(__file__).parent.parent/"tests"))

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
IDLE = """
import json, time, psutil
def memory(): return round(psutil.Process().memory_info().rss/2**20)
print(memory())
"""
PREPARE = """
run = make({folder!r}, {answers})
import pandas, ipywidgets, scipy.optimize
lines = (run.folder/"answers-0.jsonl").read_text().splitlines()
before = time.perf_counter()
baseline = len(json.loads("[" + ",".join(lines) + "]"))
print(json.dumps([time.perf_counter() - before, memory()]))
del lines
"""
SHOW = """
steps = dict()
def step(name, what):
    before = time.perf_counter()
    result = what()
    steps[name] = [time.perf_counter() - before, memory()]
    return result
step("records (journal read)", lambda: run.records)
step("accuracy", lambda: run.accuracy)
step("rows of the browser", lambda: run.short_answers)
browser = step("browser", run.browse)
browser
"""
KERNEL = """
import statistics
from beit3_colab.look.search import SORTS
c, steps["shown"] = browser.controls, [0, memory()]
word = run.questions[1].question.rstrip("?").split()[-1]
changes = [("answer type: number", "answer_type", "number"), ("question type: what is", "question_type", "what is"), ("right or wrong: wrong", "correctness", "wrong"), ("confidence from 0.9", "min_confidence", .9),
           ("confidence to 0.1", "max_confidence", .1), ("answer: yes", "answer", "yes"), ("words: one word", "words", word), ("words: two letters", "words", "ka"), ("words: two words", "words", "how " + word), ("picture number", "image", "4321"),
           *((f"sort: {text}", "sort", name) for name, text in SORTS.items() if name != c["sort"].value), ("page: the last", "page", 10**9), ("answers per page: 48", "per-page", 48)]
rows = []
start = {name: c[name].value for _, name, _ in changes}
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
before = time.perf_counter()
run.answers
steps["run.answers, which no browser needs"] = [time.perf_counter() - before, memory()]
print(json.dumps(dict(steps=steps, rows=rows, index=round(browser.index.nbytes/2**20), word=word)))
"""
CHANGE = """async ({control, value, cell}) => {
  const root = [...document.querySelectorAll('.jp-Notebook .jp-Cell')][cell].querySelector('.beit3-browse');
  const field = root.querySelector(`.beit3-${control} input, .beit3-${control} select`), result = () => root.querySelector('.beit3-result').textContent, was = result(), began = performance.now();
  if (field.matches('select')) field.selectedIndex = [...field.options].findIndex(o => o.textContent.includes(value)); else field.value = value;
  for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {bubbles: true}));
  for (const kind of ['keydown', 'keypress']) field.dispatchEvent(new KeyboardEvent(kind, {key: 'Enter', keyCode: 13, bubbles: true}));
  while (result() === was) { if (performance.now() - began > 20000) return -1; await new Promise(requestAnimationFrame) }
  let last = performance.now(), seen = new MutationObserver(() => { last = performance.now() }); // cards follow the count
  seen.observe(root.querySelector('.beit3-grid'), {subtree: true, childList: true, characterData: true}); // no attributes: the script of the keys sets some all the time
  while (performance.now() - last < 300) await new Promise(requestAnimationFrame);
  seen.disconnect();
  return last - began }"""
IN_PAGE = (("answer type: number", "answer_type", "number"), ("right or wrong: wrong", "correctness", "wrong"), ("words: two letters", "words", "ka"), ("search: -ka yes|no", "words", "-ka yes|no"))
OPENED = "document.querySelectorAll('.beit3-card img').length >= 12"


def measure(folder, answers):
    "Figures of a run in a JupyterLab of its own."
    import nbformat
    from real_browser import Lab, NotebookPage, open_browser
    cells = [IDLE, MAKE.format() + PREPARE.format(folder=str(folder/"run"), answers=answers), SHOW, KERNEL]
    lab = Lab(folder/"lab", "browse")
    try:
        metadata = dict(kernelspec=dict(name="python3", display_name="Python 3"))
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=metadata), lab.folder/"notebooks"/"a.ipynb")
        lab.wait()
        with open_browser() as browser:
            notebook = NotebookPage(browser, lab)
            notebook.open("a.ipynb")
            def run(cell, seconds=1800):
                notebook.run_cell(cell)
                notebook.done(cell, seconds)
                return notebook.text(cell).strip()
            idle, (baseline, made) = json.loads(run(0)), json.loads(run(1))
            began = time.perf_counter()
            notebook.run_cell(2)
            notebook.page.wait_for_function(OPENED, timeout=600_000)
            opened = time.perf_counter() - began
            notebook.settle()
            page = []
            for text, control, value in IN_PAGE:
                times = []
                for _ in range(5):
                    times.append(notebook.page.evaluate(CHANGE, dict(control=control, value=value, cell=2)))
                    notebook.page.locator(".beit3-browse button.beit3-reset").first.click()
                    notebook.settle()
                page.append((text, times[0], statistics.median(times)))
            return json.loads(run(3)) | dict(idle=idle, made=made, baseline=baseline, opened=opened, page=page)
    finally: lab.close()

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=400_000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    introduce()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if args.folder: (folder/"run").symlink_to(args.folder.resolve())
        found = measure(folder, args.answers)
    share = lambda seconds: f"{seconds/found['baseline']:.1f}"
    print(f"{args.answers:,} answers; baseline {found['baseline']:.2f} s; the index adds {found['index']} MB\n\n| step | s | × baseline | kernel's memory, MB |\n| --- | --- | --- | --- |")
    print(f"| idle kernel | | | {found['idle']:,} |\n| questions and people's answers in memory | | | {found['made']:,} |")
    for name, (seconds, megabytes) in found["steps"].items(): print(f"| {name} | {seconds:.2f} | {share(seconds)} | {megabytes:,} |")
    print(f"\nfrom the call to twelve cards in the page: {found['opened']:.2f} s, {share(found['opened'])} × baseline{judge(found['opened'], 3)}")
    most = max(megabytes for name, (_, megabytes) in found["steps"].items() if not name.startswith("run.answers"))
    print(f"kernel: {most:,} MB, {most - found['idle']:,} above an idle one{judge(most, 1000, 'MB')}")
    print("\n| in the page | first, ms | median of 5, ms | |\n| --- | --- | --- | --- |")
    for name, first, median in found["page"]: print(f"| {name} | {first:.0f} | {median:.0f} |{judge(median, 200, 'ms')} |")
    print("\n| in the kernel | first, ms | median of 5, ms | slowest of 5, ms | slowest in processor time, ms | answers found |\n| --- | --- | --- | --- | --- | --- |")
    for name, first, median, slowest, cpu, count in found["rows"]: print(f"| {name} | {first} | {median} | {slowest} | {cpu} | {count:,} |")

if __name__ == "__main__": main()
