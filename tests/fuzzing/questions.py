"Questions, annotations, results and answer lists, of VQAv2, of unilm and of one's own."
import csv
import io
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

from .children import Attempt, Format, run_command
from .mutations import change_bytes, change_json, change_lines, dump, is_calm, odd_value, parse
from .runs import draw_pictures, make_run, whole

IDS = [7 + i for i in range(6)]


def official(ids=IDS):
    "VQAv2's two files in small, and results."
    questions = [dict(question_id=i, image_id=i//2 + 1, question=f"What is thing {i}?") for i in ids]
    annotations = [dict(question_id=i, image_id=i//2 + 1, question_type="what is",
                        answer_type=["other", "yes/no", "number"][i % 3],
                        multiple_choice_answer="yes",
                        answers=[dict(answer=["yes", "no", "2"][(i*j) % 3], answer_confidence="yes", answer_id=j + 1)
                                                               for j in range(10)]) for i in ids]
    frame = dict(info={}, license={}, data_type="mscoco", data_subtype="val2014", task_type="Open-Ended")
    return ({**frame, "questions": questions}, {**frame, "annotations": annotations},
            [dict(question_id=i, answer="yes") for i in ids])

def prepare_official(folder):
    good = SimpleNamespace()
    good.questions, good.annotations, good.results = official()
    good.annotations_file, good.questions_file = folder/"a.json", folder/"q.json"
    good.annotations_file.write_text(json.dumps(good.annotations))
    good.questions_file.write_text(json.dumps(good.questions))
    run_command("score", _written(folder/"r.json", dump(good.results).encode()), "--annotations", good.annotations_file)
    return good

def _written(path, content):
    path.write_bytes(content)
    return path

def name_or_number(value): return type(value) is int or isinstance(value, str)

def unsound_records(content, kind):
    "What is wrong with VQAv2's questions or annotations; \"\" for files that may be read."
    rows = content.get(kind) if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows: return f"{kind} that are no list"
    for row in rows:
        if not isinstance(row, dict): return "an entry that is no object"
        if type(row.get("question_id")) is not int: return "question_id"
        if not name_or_number(row.get("image_id")): return "image_id"
        if kind == "questions" and not isinstance(row.get("question"), str): return "question"
        if kind == "annotations" and (wrong := _unsound_annotation(row)): return wrong
    ids = [row["question_id"] for row in rows]
    return "question_ids that repeat" if len(set(ids)) < len(ids) else ""

def _unsound_annotation(row):
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers: return "answers"
    said = [a.get("answer") if isinstance(a, dict) else a for a in answers]
    if not all(a is None or isinstance(a, str) or a != a for a in said): return "answers" # None and NaN are blank
    return next((f for f in ("question_type", "answer_type", "multiple_choice_answer") if not isinstance(row.get(f),
            str)), "")

def attempt_official(good, rng, place):
    from beit3_colab.data.vqa_files import load_annotations, load_questions
    kind = rng.choice(("questions", "annotations"))
    what, content = change_json(rng, getattr(good, kind))
    path = _written(place/f"{kind}.json", content)
    found, is_json = parse(content)
    is_lines = not is_json and content.count(b"\n") > 0
    wrong = unsound_records(found, kind) if is_json else "" if is_lines else "no JSON"
    def read():
        if kind == "questions": return [(q.question_id, q.question) for q in load_questions(path, official=True)]
        return [(i, a.answers) for i, a in load_annotations(path, official=True).items()]
    def judge(result):
        if wrong: return f"{kind} were read with {wrong}"
        return "" if all(type(i) is int for i, _ in result) else "ids that are no numbers"
    return Attempt(f"{kind}: {what}", read, judge)

def unsound_results(content):
    "What is wrong with a list of results; \"\" where it may be read, and for other forms, of which many may."
    if not isinstance(content, list): return "" if isinstance(content, dict) and content else "nothing in it"
    for row in content:
        if not isinstance(row, dict) or "question_id" not in row or "answer" not in row:
            return "an entry without question_id or answer"
        question_id, answer = row["question_id"], row["answer"]
        if not (type(question_id) is int or isinstance(question_id,
                                                       str) or type(question_id) is float and question_id.is_integer()):
            return "question_id"
        if not (type(answer) is int or isinstance(answer,
                                                  str) or type(answer) is float and math.isfinite(answer)
                                                  and answer.is_integer()):
            return "answer"
    ids = [str(row["question_id"]) for row in content]
    return "question_ids that repeat" if len(set(ids)) < len(ids) else ""

def attempt_results(good, rng, place):
    what, content = change_json(rng, good.results)
    path = _written(place/"results.json", content)
    found, is_json = parse(content)
    is_lines = not is_json and content.count(b"\n") > 0
    wrong = unsound_results(found) if is_json else "" if is_lines else "no JSON"
    way = rng.choice(("score", "score --partial", "check"))
    def read():
        if way == "check": return run_command("check", path, "--questions", good.questions_file)
        return json.loads(run_command("score", path, "--annotations", good.annotations_file, "--json",
                                      *way.split()[1:]))
    def judge(result):
        if wrong: return f"results were taken with {wrong}"
        if way == "check":
            return "" if is_json and isinstance(found,
                                                list) and {str(r["question_id"]) for r in found} == set(map(str,
                                                        IDS)) else "not the questions"
        number = result["num_questions"]
        return "" if (number == len(IDS) or way != "score"
                      and 0 < number < len(IDS)) and 0 <= result["overall"] <= 100 else f"scored {result}"
    return Attempt(f"{way}: {what}", read, judge)


# --- questions of one's own

def prepare_own(folder):
    from beit3_colab.data.own import open_questions
    names = draw_pictures(folder/"own")
    rows = [dict(image=name, question=f"What is it {i}?", answers=["yes", "no"],
                 question_id=i + 1) for i, name in enumerate(names)]
    good = SimpleNamespace(folder=folder/"own", rows=rows, names=names)
    for kind in ("csv", "json", "jsonl"): open_questions(_written(good.folder/f"q.{kind}", _as_file(rows, kind)))
    import pandas as pd
    open_questions(pd.DataFrame([{**row, "image": str(good.folder/row["image"])} for row in rows]))
    return good

def _as_file(rows, kind):
    if kind == "json": return dump(rows).encode()
    if kind == "jsonl": return b"".join(dump(row).encode() + b"\n" for row in rows)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows[0])
    for row in rows: writer.writerow(["|".join(map(str, v)) if isinstance(v, list) else v for v in row.values()])
    return out.getvalue().encode()

def odd_object(rng, good):
    "What somebody may have put into a table in memory."
    import datetime
    import decimal

    import numpy as np
    import pandas as pd
    from PIL import Image
    return rng.choice((
        lambda: None, lambda: pd.NA, lambda: pd.NaT, lambda: math.nan, lambda: np.nan, lambda: np.array([]),
        lambda: np.array([1, 2]), lambda: np.int64(3),
        lambda: np.float64("inf"), lambda: np.str_("x"), lambda: np.bool_(True), lambda: b"\xff\xd8",
        lambda: bytearray(b"x"), lambda: {1}, lambda: (), lambda: object(),
        lambda: Image.new("RGB", (9, 9)), lambda: Image.new("RGB", (0, 0)), lambda: Image.new("F", (9, 9)),
        lambda: np.zeros((0, 3, 3), "uint8"),
        lambda: np.zeros((9, 9, 3), "uint8"), lambda: np.zeros((9, 9, 7), "uint8"),
        lambda: np.full((9, 9, 3), math.nan), lambda: decimal.Decimal("NaN"),
        lambda: datetime.date(2020, 1, 1), lambda: Path(good.folder), lambda: Path("x\0y"), lambda: io.BytesIO(b"x"),
        lambda: open, lambda: int,
        lambda: lambda: 1, lambda: iter([1]), lambda: range(10**9), lambda: 10**5_000, lambda: 1j, lambda: "a"*5_000,
        lambda: "a\0b", lambda: "\ud800",
        lambda: "data:image/png;base64,xx", lambda: "file:///etc/passwd", lambda: "http://127.0.0.1:9/x.png",
        lambda: "/dev/zero", lambda: "..", lambda: "memory:x",
        lambda: odd_plain(rng)))()

def odd_plain(rng):
    value = odd_value(random.Random(rng.random()), "p0.png")
    return 10**400 if type(value).__name__ == "Raw" else value

def attempt_own(good, rng, place):
    from beit3_colab.data.own import open_questions
    kind = rng.choice(("csv", "csv", "json", "jsonl", "memory", "table"))
    if kind in ("memory", "table"): what, source = _in_memory(good, rng, kind)
    else:
        content = _as_file(good.rows, kind)
        if kind == "json": what, content = change_json(rng, good.rows)
        elif kind == "jsonl": what, content = change_lines(rng, content.splitlines())
        else:
            what, content = change_lines(rng, content.splitlines(),
                                         trees=False) if rng.random() < .5 else _change_cell(rng, good)
        source = _written(good.folder/f"changed.{kind}", content) # beside its pictures
    bad_images = rng.choice(("stop", "stop", "blank"))
    return Attempt(f"{kind}: {what}", lambda: open_questions(source, bad_images=bad_images), judge_own)

def _change_cell(rng, good):
    rows = [dict(row) for row in good.rows]
    row, name = rng.choice(rows), rng.choice(list(rows[0]))
    if not is_calm(): row[name] = odd_plain(rng)
    try:
        return f"{name} made {str(row[name])[:60]!r}", _as_file(rows, "csv").decode("utf-8",
                "surrogatepass").encode("utf-8", "surrogatepass")
    # a number of 5,000 digits has no text
    except (ValueError, RecursionError): return change_bytes(rng, _as_file(good.rows, "csv"))

def _in_memory(good, rng, kind):
    import pandas as pd
    rows = [{**row, "image": str(good.folder/row["image"])} for row in good.rows]
    row, name = rng.choice(rows), rng.choice([*rows[0], "image_id", "x"])
    if is_calm(): return "nothing", pd.DataFrame(rows) if kind == "table" else rows
    row[name] = odd_object(rng, good)
    what = f"{name} made {type(row[name]).__name__}"
    if kind == "memory" and rng.random() < .1: rows[rng.randrange(3)] = odd_object(rng, good)
    if kind == "table":
        try: return what, pd.DataFrame(rows)
        except Exception: return what, rows # noqa: BLE001 - pandas takes no such value
    return what, rows

def judge_own(data):
    "Questions are texts about something, with ids that are numbers or texts, each once."
    ids = [q.question_id for q in data.questions]
    if len(set(ids)) < len(ids): return "ids that repeat"
    for q in data.questions:
        if type(q.question_id) not in (int, str): return f"question_id of type {type(q.question_id).__name__}"
        if not isinstance(q.question, str) or not q.question.strip(): return f"question {q.question!r}"
        if not isinstance(q.image, str) or not q.image: return f"image {q.image!r}"
    for a in (data.annotations or {}).values():
        if not a.answers or not all(isinstance(text, str) for text in a.answers): return f"answers {a.answers!r:.100}"
    return ""


# --- answer lists and tables

def prepare_answers(folder):
    good = SimpleNamespace(answers=["yes", "no", "red", "2", "traffic light", "é"])
    good.forms = dict(list=good.answers, labels={a: i for i, a in enumerate(good.answers)},
                      id2label={str(i): a for i, a in enumerate(good.answers)},
                      lines=[json.dumps(dict(answer=a, label=i)).encode() for i, a in enumerate(good.answers)])
    return good

def attempt_answers(good, rng, place):
    from beit3_colab.data.answer_list import read_answer_list
    form = rng.choice(list(good.forms))
    what, content = change_lines(rng, good.forms["lines"]) if form == "lines" else change_json(rng, good.forms[form])
    path = _written(place/("answer2label.txt" if form == "lines" else "answers.json"), content)
    found, is_json = parse(content)
    def judge(answers):
        if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
            return f"answers {answers!r:.100}"
        if len(set(answers)) < len(answers): return "answers that repeat"
        if is_json and isinstance(found, list) and all(isinstance(a, str) for a in found) and found != answers:
            return "other answers than the list has"
        if form == "labels" and is_json and isinstance(found,
                                                       dict) and all(whole(v) for v in found.values()) and {a: i
                                                               for i, a in enumerate(answers)} != found:
            return "other labels than the file has"
        return ""
    return Attempt(f"{form}: {what}", lambda: read_answer_list(path), judge)

def prepare_table(folder):
    from beit3_colab import open_run
    good = make_run(folder)
    open_run(good.folder).to_csv(folder/"t.csv")
    good.table = (folder/"t.csv").read_bytes()
    return good

def attempt_table(good, rng, place):
    from beit3_colab.look.tables import read_csv
    what, content = change_lines(rng, good.table.splitlines(), trees=False)
    path = _written(place/"t.csv", content)
    def judge(table):
        odd = [i for i in table["question_id"] if type(i) not in (int, str)]
        if odd: return f"question_id {odd[0]!r}"
        if "confidence" in table and not all(c != c or 0 <= c <= 1 for c in table["confidence"]):
            return f"confidences {list(table['confidence'])}"
        return ""
    return Attempt(what, lambda: read_csv(path), judge)


# --- unilm's index

def prepare_index(folder):
    from beit3_colab.data.vqav2 import open_index
    good = SimpleNamespace(answers=["yes", "no", "red"])
    good.lines = [json.dumps(dict(image_path=f"val2014/COCO_val2014_{i:012}.jpg", text_segment=[5, 6, 7 + i],
                                  labels=[i % 3, (i + 1) % 3], scores=[1., .3], qid=i)).encode()
                  for i in range(5)]
    good.labels = b"".join(json.dumps(dict(answer=a, label=i)).encode() + b"\n" for i, a in enumerate(good.answers))
    _index_folder(folder/"index", good, b"\n".join(good.lines) + b"\n")
    open_index(folder/"index", "val")
    return good

def _index_folder(folder, good, content):
    folder.mkdir(exist_ok=True)
    (folder/"answer2label.txt").write_bytes(good.labels)
    (folder/"vqa.trainable_val.jsonl").write_bytes(content)
    (folder/"vqa.rest_val.jsonl").write_bytes(b"\n".join(line.replace(b'"qid": ',
                                                                      b'"qid": 10') for line in good.lines[:2]) + b"\n")
    return folder

def unsound_line(item, count):
    "The field of a line of the index that must be refused."
    if not isinstance(item, dict): return "no object"
    if type(item.get("qid")) is not int: return "qid"
    if not isinstance(item.get("image_path"), str): return "image_path"
    tokens, labels, scores = item.get("text_segment"), item.get("labels", []), item.get("scores", [])
    if not isinstance(tokens, list) or any(type(i) is not int for i in tokens): return "text_segment"
    if not isinstance(labels, list) or any(type(i) is not int or not 0 <= i < count for i in labels): return "labels"
    if not isinstance(scores, list) or len(scores) != len(labels): return "scores"
    return "" if all(type(s) in (int, float) and 0 <= s <= 1 for s in scores) else "scores"

def attempt_index(good, rng, place):
    from beit3_colab.data.vqav2 import open_index
    what, content = change_lines(rng, good.lines)
    folder = _index_folder(place, good, content)
    lines = [line for line in content.removesuffix(b"\n").split(b"\n")]
    found = [parse(line) for line in lines]
    wrong = next(("no JSON" if not is_json else unsound_line(item, len(good.answers)) for item, is_json in found
                  if not is_json or unsound_line(item, len(good.answers))), "")
    ids = [item["qid"] for item, _ in found] if not wrong else []
    if len(set(ids)) < len(ids): wrong = "qid twice"
    return Attempt(what, lambda: open_index(folder, "val"),
                   lambda data: f"the index was read with wrong {wrong}" if wrong else "")


FORMATS = (
    Format("own questions", prepare_own, attempt_own, 2.),
    Format("VQAv2 questions, annotations", prepare_official, attempt_official),
    Format("results files", prepare_official, attempt_results),
    Format("answers.json, answer2label.txt", prepare_answers, attempt_answers),
    Format("table of answers", prepare_table, attempt_table),
    Format("unilm's index", prepare_index, attempt_index))
