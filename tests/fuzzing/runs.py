"Run folders: journals, run.json, own_questions.json; opened, reported on, continued."
import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .children import Attempt, Format, run_command
from .mutations import change_json, change_lines, dump, parse

TIMES = {"started": "2026-01-01T00:00:00", "finished": "2026-01-01T00:00:01", "process": "process 12345 on host"}


def draw_pictures(folder, count=3):
    "A few small pictures; their names."
    from PIL import Image
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = bytes((x*y*(i + 3) + 40*i) % 256 for y in range(32) for x in range(3*48))
        Image.frombytes("RGB", (48, 32), pixels).save(folder/f"p{i}.png")
    return [f"p{i}.png" for i in range(count)]


@dataclass
class GoodRun:
    "A finished run about three pictures, and what it is made of."
    vqa: object
    folder: Path # of the run
    questions: Path # the file that it was asked
    info: dict = field(default_factory=dict) # its run.json
    kept: dict = field(default_factory=dict) # its own_questions.json
    journal: list = field(default_factory=list) # lines
    truth: dict = field(default_factory=dict) # question_id → record
    fingerprint: str = ""

    def copy(self, place): return shutil.copytree(self.folder, place/"run")

    def evaluate(self, folder, questions=None):
        from beit3_colab import evaluate
        return evaluate(self.vqa, questions=str(questions or self.questions), output_dir=str(folder), progress=False)


def make_run(folder):
    "Evaluate the sample's model on three pictures; the same run each time, but for where it lies."
    from beit3_colab import load_model, open_run
    names = draw_pictures(folder/"own")
    rows = [dict(question_id=i + 1, image=name, question=f"What is it {i}?",
                 answers=[["yes"], ["no"], ["cat", "cat", "dog"]][i])
            for i, name in enumerate(names)]
    (folder/"own"/"q.json").write_text(json.dumps(rows))
    good = GoodRun(load_model("sample", device="cpu"), folder/"run", folder/"own"/"q.json")
    good.evaluate(good.folder)
    info = json.loads((good.folder/"run.json").read_text())
    info |= TIMES
    info["report"]["seconds"] = dict.fromkeys(info["report"]["seconds"], 0.125)
    info["report"]["host_bytes"] = 600_000_000
    (good.folder/"run.json").write_text(json.dumps(info))
    good.info, good.kept = info, json.loads((good.folder/"own_questions.json").read_text())
    good.journal = (good.folder/"answers-0.jsonl").read_bytes().splitlines()
    good.fingerprint = json.loads(good.journal[0])["run"]
    good.truth = open_run(good.folder).records
    look_at(good.folder)
    open_run(good.folder).to_html(folder/"warm.html", n=3) # what it imports is in memory from now on
    return good


def check_submission_of(run):
    "Whatever run.json says, the submission is the file of this name in the folder, or there is none yet."
    if run.submission in (None, Path(run.folder)/"answers_own_pictures.json"): return
    raise AssertionError(f"the submission is {run.submission}")

def look_at(folder):
    "Open a run and ask it for all that it knows; its records."
    from beit3_colab import open_run
    run = open_run(folder)
    told = [repr(run), str(run.accuracy), run.evalai, str(run.soft_score), len(run.answers), run.label]
    if run.submission: told += [str(run.report()), run.report()._repr_html_()]
    check_submission_of(run)
    run.to_csv(Path(folder).parent/"answers.csv")
    return run.records

def report_on(folder):
    "The same by the command; its records. What was printed is looked at by whoever called."
    from beit3_colab.run.folder import RunFolder
    run_command("report", folder)
    run = RunFolder.open(folder)
    check_submission_of(run)
    return run.records

def page_of(folder):
    "The report as a page; its records."
    from beit3_colab import open_run
    run = open_run(folder)
    run.to_html(Path(folder).parent/"r.html", n=3)
    return run.records


def is_confidence(value): return type(value) in (int, float) and math.isfinite(value) and -1e-6 <= value <= 1 + 1e-6

def is_record(record, ids):
    answers, confidences = record.get("answers"), record.get("confidences")
    return (type(record.get("question_id")) is int and record["question_id"] in ids
            and isinstance(answers, list) and len(answers) > 0 and all(isinstance(a, str) for a in answers)
            and isinstance(confidences, list) and len(confidences) == len(answers) and all(map(is_confidence,
                    confidences))
            and isinstance(record.get("image_error"), (str, type(None))))

def sound_journal(content, ids, fingerprint):
    "What a journal says, read by rules of our own: question_id → record; None for one that must be refused."
    found = {}
    for number, line in enumerate(content.split(b"\n")[:-1]): # what follows the last newline is torn
        if number and not line.strip(): continue
        record, is_json = parse(line, "surrogatepass") # half characters are written as they were said
        if not is_json or not isinstance(record, dict): return None
        if number == 0 and record.get("run") != fingerprint: return None
        if "run" in record:
            if record["run"] != fingerprint: return None
        elif is_record(record, ids): found.setdefault(record["question_id"], record)
        else: return None
    return found

def shown(records): # what is compared
    return {i: (r["answers"], r["confidences"]) for i, r in records.items()}


def continue_run(good, folder):
    "Evaluate into a folder that is there; its records and the submission's answers."
    good.evaluate(folder)
    from beit3_colab import open_run
    submission = json.loads((folder/"answers_own_pictures.json").read_text())
    return open_run(folder).records, {r["question_id"]: r["answer"] for r in submission}

def judge_continued(good, expected, result, was_stopped=True):
    "Whether a run that was continued ends in the answers of its journal, and else in the model's own."
    records, submission = result
    right = shown(good.truth) | shown(expected)
    if shown(records) != right: return "the run that was continued has other answers"
    before, now = ({i: answers[0] for i, (answers, _) in found.items()} for found in (shown(good.truth), right))
    return "" if submission in ((now,) if was_stopped else (before, now)) else "the submission has other answers"

def stop(folder):
    "Make a finished run one that was stopped."
    info = json.loads((folder/"run.json").read_text())
    for name in ("finished", "report"): info.pop(name)
    (folder/"run.json").write_text(json.dumps(info | {"submission": None}))
    (folder/"answers_own_pictures.json").unlink()


def attempt_journal(good, rng, place):
    folder = good.copy(place)
    name = rng.choice(("answers-0.jsonl", "answers-0.jsonl", "answers-1.jsonl"))
    what, content = change_lines(rng, good.journal)
    was_stopped = rng.random() < .5 and name == "answers-0.jsonl"
    if was_stopped: stop(folder)
    (folder/name).write_bytes(content)
    found = sound_journal(content, good.truth, good.fingerprint)
    # the other journal has them all, and comes first
    if name == "answers-1.jsonl" and found is not None: found = dict(good.truth)
    way = rng.choice(("open", "report", "continue", "continue"))
    def untouched(error):
        kept = (folder/name).read_bytes()
        is_ours = parse(content.split(b"\n")[0])[0] == {"run": good.fingerprint} # a torn last line may be cut off
        if error is None or kept == content or is_ours and kept == content[:content.rfind(b"\n") + 1]: return ""
        return f"{name} was refused, and changed all the same"
    def judge(result):
        if found is None: return f"{name} is not what a journal of this run is ({way})"
        if way == "continue": return judge_continued(good, found, result, was_stopped)
        return "" if shown(result) == shown(found) else f"other answers than {name} has"
    read = dict(open=lambda: look_at(folder), report=lambda: report_on(folder),
                **{"continue": lambda: continue_run(good, folder)})[way]
    return Attempt(f"{name}, {way}: {what}", read, judge, untouched)


def whole(value): return type(value) is int and 0 <= value < 2**63
def number(value): return type(value) in (int, float) and math.isfinite(value) and 0 <= value < 2**63
def text(value): return isinstance(value, str)
def none_or(fits): return lambda value: value is None or fits(value)
def texts(value): return isinstance(value, list) and all(map(text, value))
def plain_values(value): return isinstance(value, dict) and not any(isinstance(v, (list, dict)) for v in value.values())
def seconds(value):
    needed = ("total", "loading", "data", "model", "writing")
    return isinstance(value, dict) and all(map(number, value.values())) and all(name in value for name in needed)

REPORT = dict(seconds=seconds, questions=whole, images=whole, host_bytes=whole, device_bytes=none_or(whole),
              warnings=texts, setup=plain_values)
RUN = dict(
    schema_version=none_or(lambda value: type(value) is int and 0 <= value <= 1),
    data_path=none_or(text),
    images=none_or(text),
    limit=none_or(lambda value: whole(value) and value > 0),
    seed=none_or(lambda value: type(value) is int),
    started=none_or(text),
    process=none_or(text),
    finished=none_or(text),
    submission=none_or(text), # of another name: not finished, see `check_submission_of`
    dataset=none_or(text),
    converted_from=none_or(text),
    report=none_or(lambda value: isinstance(value,
                                            dict) and all(fits(value.get(name)) for name, fits in REPORT.items())))

def unsound_run(info, good):
    "The field of a run.json that must be refused; \"\" for one that may be read."
    if not isinstance(info, dict): return "all of it"
    identity = info.get("identity")
    if not isinstance(identity, dict): return "identity"
    if any(type(identity.get(name)) is not type(v) or identity[name] != v for name, v in good.info["identity"].items()):
        return "identity"
    ids = info.get("question_ids")
    if ids is not None and (not isinstance(ids,
                                           list) or any(type(i) is not int for i in ids)
                                           or set(ids) != set(good.truth)):
        return "question_ids"
    return next((name for name, fits in RUN.items() if not fits(info.get(name))), "")

def attempt_run(good, rng, place):
    folder = good.copy(place)
    what, content = change_json(rng, good.info)
    (folder/"run.json").write_bytes(content)
    info, is_json = parse(content)
    wrong = unsound_run(info, good) if is_json else "no JSON"
    way = rng.choice(("open", "report", "continue"))
    if rng.random() < .3: (folder/"answers_own_pictures.json").unlink()
    def judge(result):
        if way == "continue": return judge_continued(good, good.truth, result)
        if wrong: return f"run.json was opened although {wrong} cannot be right"
        return "" if shown(result) == shown(good.truth) else "other answers than the journal has"
    def untouched(error):
        if error is None or (folder/"answers-0.jsonl").read_bytes() == (good.folder/"answers-0.jsonl").read_bytes():
            return ""
        return "the journal was changed"
    read = dict(open=lambda: look_at(folder), report=lambda: report_on(folder),
                **{"continue": lambda: continue_run(good, folder)})[way]
    return Attempt(f"{way}: {what}", read, judge, untouched)


def asked(content):
    "What a file of kept questions asks, as far as a digest can know it."
    rows = content.get("questions") if isinstance(content, dict) else None
    if not isinstance(rows, list): return None
    fields = ("question_id", "question", "image", "answers")
    return [tuple(dump(r.get(name)) for name in fields) if isinstance(r, dict) else None for r in rows]

def attempt_questions(good, rng, place):
    folder = good.copy(place)
    what, content = change_json(rng, good.kept)
    path = folder/"own_questions.json"
    kept, is_json = parse(content)
    if what != "nothing": path.write_bytes(content) # else it is the one that was written here
    changed = not is_json or asked(kept) != asked(good.kept)
    way = rng.choice(("open", "open", "report", "page", "ask again"))
    def judge(result):
        if way == "ask again": return _judge_copies(result)
        if changed: return "other questions than those that were asked"
        return "" if shown(result) == shown(good.truth) else "other answers"
    def ask_again():
        good.evaluate(place/"again", path)
        return place/"again"
    readers = dict(open=look_at, report=report_on, page=page_of)
    return Attempt(f"{way}: {what}", ask_again if way == "ask again" else lambda: readers[way](folder), judge)

def _judge_copies(folder):
    "What a run keeps beside its questions are pictures."
    from PIL import Image
    for path in (folder/"pictures").glob("*"):
        try: Image.open(path).verify()
        except Exception as error: return f"{path.name} was copied and is no picture: {error}" # noqa: BLE001
    return ""


FORMATS = (
    Format("journal", make_run, attempt_journal, 2., alone=True),
    Format("run.json", make_run, attempt_run, 1.5, alone=True),
    Format("questions of a run", make_run, attempt_questions, 1.5, alone=True))
