"""Joins and comparisons that look right and are not: found out by what a file says beside its ids, by what lies beside it, and by who judges."""
import io
import json
import random
import shutil
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from beit3_colab import compare, open_results
from beit3_colab.commands.cli import main
from beit3_colab.data.dataset import Annotation, Question
from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.joining import join_results
from beit3_colab.scoring.reading import read_any
from beit3_colab.scoring.result_rows import ResultRow, ResultTable

RULES = Path(__file__).parent/"golden"/"rules"
DATA, HUB, LMU, RESULTS = RULES/"data", RULES/"hf", RULES/"LMUData", RULES/"results"
LMMS = RESULTS/"lmms_eval/current/made-up__shape-model"
OFFICIAL, V = RESULTS/"official/vqav2_val_results.json", dict(dataset="vqav2", data_path=DATA/"vqav2")

def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# Who judges

def other_people(tmp_path, change, count=12, file="v2_mscoco_val2014_annotations.json"):
    "A copy of VQAv2 in which some notes of people are other ones."
    folder = tmp_path/"vqav2"
    shutil.copytree(DATA/"vqav2", folder)
    content = json.loads((folder/file).read_text())
    for note in content["annotations"][:count]: change(note)
    write(folder/file, content)
    return open_results(OFFICIAL, **V | dict(data_path=folder))

def to_zebra(note): note.update(multiple_choice_answer="zebra", answers=[a | dict(answer="zebra") for a in note["answers"]])
def turn(note): note["answers"].reverse()

@pytest.mark.parametrize("count, said", [(12, "12 questions have other human answers in B than in A .question_id 4263000, 4263001"), (1, "1 question has other human answers in B than in A .question_id 4263000.")])
def test_nobody_is_judged_by_the_people_of_another_copy(count, said, tmp_path):
    first, second = open_results(OFFICIAL, **V), other_people(tmp_path, to_zebra, count)
    assert first.accuracy.overall == 68.75 and second.accuracy.overall < 68.75
    with pytest.raises(UserError, match=said + r".*open all of them with one data_path=… \(--data-path\)"): compare(first, second)
    with pytest.raises(UserError, match=said.replace("in B than in A", "in new than in old")): compare({"old": first, "mine": first, "new": second})

def test_the_same_people_in_another_order_and_file_are_the_same(tmp_path):
    first = open_results(OFFICIAL, **V)
    for other in (other_people(tmp_path, turn), open_results(LMMS/"20260101_000000_samples_vqav2_val.jsonl", data_path=HUB/"vqav2")):
        assert compare(first, other).overall.b == other.accuracy.overall == 68.75

def test_two_rules_judge_no_pair(tmp_path):
    first, second = open_results(OFFICIAL, **V), open_results(OFFICIAL, **V)
    second.data.__dict__["metric"] = "exact" # as a data set of another rule says
    with pytest.raises(UserError, match="A and B are scored by different rules, official and exact"): compare(first, second)

def test_two_sources_that_number_questions_differently_are_named(tmp_path):
    name = "vlmevalkit/xlsx/ShapeModel_TextVQA_VAL.xlsx"
    first, second = open_results(RESULTS/name, data_path=LMU), open_results(RESULTS/name, data_path=DATA/"textvqa")
    with pytest.raises(UserError, match=r"no question is answered in both .*: they number the questions of textvqa val differently; open all of them with one data_path=… \(--data-path\)"):
        compare(first, second)

def test_a_pair_has_the_figures_that_each_run_has(tmp_path):
    "10 of 18 are 55.56 %, here as there."
    from PIL import Image
    Image.new("RGB", (8, 8)).save(tmp_path/"a.png")
    rows = [dict(image="a.png", question=f"What is {i}?", answers=["red"] + [f"no {j}" for j in range(9)], question_id=i) for i in range(18)]
    write(tmp_path/"q.jsonl", "\n".join(map(json.dumps, rows)))
    for name in "ab": write(tmp_path/f"{name}.json", [dict(question_id=i, answer="red" if i < (10 if name == "a" else 17) else "blue") for i in range(18)])
    first, second = (open_results(tmp_path/f"{name}.json", "own", data_path=tmp_path/"q.jsonl") for name in "ab")
    pair, three = compare(first, second), compare(first, second, first)
    assert pair.overall.a == first.accuracy.overall == three.overall["accuracy"][0] and pair.overall.b == second.accuracy.overall == three.overall["accuracy"][1]
    assert pair.overall.difference == three.pairs["difference"][0] == 11.67

def test_thirds_are_added_before_they_are_rounded():
    import numpy as np
    import pandas as pd
    from beit3_colab.run.comparison import as_percent, paired_rows
    from beit3_colab.run.many import rate_runs
    fractions = np.array([[1/3, 1/3], [1/3, 2/3], [1., 1.]]*6)
    accuracy = as_percent(fractions)
    table = pd.DataFrame(dict(image_id=range(18), answer_type="other", accuracy_a=accuracy[:, 0], accuracy_b=accuracy[:, 1], difference=(accuracy[:, 1] - accuracy[:, 0]).round(2)))
    pair = paired_rows(table, fractions)[0]
    standings, results = rate_runs(["A", "B"], [(0, 1)], list(range(18)), fractions, {"overall": np.arange(18)})
    assert (pair.a, pair.b, pair.difference) == (55.56, 66.67, 11.11) == (standings[0].accuracy, standings[1].accuracy, results[0].difference)


# Totals of others

def test_a_total_of_other_answers_is_no_rules_figure(tmp_path):
    for name in ("20260101_000000_samples_vqav2_val.jsonl", "20260101_000000_results.json"): shutil.copy(LMMS/name, tmp_path)
    def note(): return open_results(tmp_path/"20260101_000000_samples_vqav2_val.jsonl", data_path=HUB/"vqav2").accuracy.notes[-1]
    assert note().startswith("lmms-eval says 72.92 by its own rule lmms_vqav2;")
    totals = json.loads((tmp_path/"20260101_000000_results.json").read_text())
    totals["results"]["vqav2_val"]["exact_match,none"] = .5
    write(tmp_path/"20260101_000000_results.json", totals)
    assert note() == "lmms-eval's total beside the file is 50.00, and its scores in the file make 72.92: they are not of the same answers; 68.75 is by official, the rule of the data set."
    totals["results"]["vqav2_val"]["exact_match,none"] = .6875 # what we find, and not what its rows say
    write(tmp_path/"20260101_000000_results.json", totals)
    assert "they are not of the same answers" in note()

def test_a_stale_table_of_totals(tmp_path):
    for path in (RESULTS/"vlmevalkit/xlsx").glob("ShapeModel_TextVQA_VAL*"): shutil.copy(path, tmp_path)
    write(tmp_path/"ShapeModel_TextVQA_VAL_acc.csv", '"Overall"\n"12.5"\n')
    found = open_results(tmp_path/"ShapeModel_TextVQA_VAL_results.xlsx", data_path=LMU)
    assert found.accuracy.notes[-1].startswith("VLMEvalKit's total beside the file is 12.50, and its scores in the file make 75.00")

@pytest.mark.parametrize("value, kept", [("NaN", False), ("1e400", False), ("-1", False), ("72.92", False), ("-0.001", False), ("0", True), ("1", True), ("true", None), ('"0.5"', None)])
def test_totals_that_are_no_shares(value, kept, tmp_path):
    shutil.copy(LMMS/"20260101_000000_samples_vqav2_val.jsonl", tmp_path)
    text = json.dumps({"results": {"vqav2_val": {"exact_match,none": "X", "other,none": 300}}, "configs": {}}).replace('"X"', value)
    write(tmp_path/"20260101_000000_results.json", text)
    table = read_any(tmp_path/"20260101_000000_samples_vqav2_val.jsonl")
    assert table.totals == ({"exact_match": float(value)} if kept else {})
    assert any("the total exact_match beside the file" in note and "is no share from 0 to 1" in note for note in table.notes) == (kept is False)


# Files that are cut between two lines

def cut(tmp_path, keep, name="vqav2_val"):
    for file in (f"20260101_000000_samples_{name}.jsonl", "20260101_000000_results.json"): shutil.copy(LMMS/file, tmp_path)
    path = tmp_path/f"20260101_000000_samples_{name}.jsonl"
    lines = path.read_text().splitlines()
    return write(path, "\n".join(keep(lines)))

@pytest.mark.parametrize("keep, there", [(lambda lines: lines[:10], "10 rows"), (lambda lines: lines[1:], "23 rows"), (lambda lines: lines[:1], "1 row"), (lambda lines: lines[:12]*2, "12 rows")])
def test_half_a_file_is_found_out_by_what_lies_beside_it(keep, there, tmp_path):
    path = cut(tmp_path, keep)
    with pytest.raises(UserError, match=f"samples_vqav2_val.jsonl is cut off: it has {there}, and .*results.json beside it says that 24 were answered. Nothing of it is scored"): read_any(path)
    (tmp_path/"20260101_000000_results.json").unlink() # a part on purpose
    assert len(read_any(path).rows) == len(path.read_text().splitlines())

def test_rows_of_two_ranks_are_whole(tmp_path):
    path = cut(tmp_path, lambda lines: lines[::2] + lines[1::2] + lines[:1])
    assert read_any(path).totals["exact_match"] == pytest.approx(.7291667)

def test_totals_of_fewer_rows_are_of_another_run(tmp_path):
    path = cut(tmp_path, lambda lines: lines)
    totals = json.loads((tmp_path/"20260101_000000_results.json").read_text())
    totals["n-samples"]["vqav2_val"]["effective"] = 8
    write(tmp_path/"20260101_000000_results.json", totals)
    table = read_any(path)
    assert table.totals == {} and "is of 8 rows, and the file has more: its totals are those of another run" in " ".join(table.notes)
    totals["n-samples"]["vqav2_val"]["effective"] = -1 # as some versions write where no limit was given
    write(tmp_path/"20260101_000000_results.json", totals)
    assert read_any(path).totals["exact_match"]


# What a row says beside its id

def make_data(count, first=0, step=1, people=("yes", "no", "2", "liver", "a red car"), image=lambda i: f"xmlab{i}/source.jpg", text="What is {}?"):
    questions = [Question(first + step*i, image(i), text.format(i)) for i in range(count)]
    said = {q.question_id: Annotation(q.question_id, q.image_id, "", "", people[i % len(people)], (people[i % len(people)],)) for i, q in enumerate(questions)}
    return SimpleNamespace(questions=questions, annotations=said, name="slake", split="test")

def join(tmp_path, rows, data): return join_results(read_any(write(tmp_path/"a.json", rows)), data)
def people_of(data, i): return data.annotations[data.questions[i].question_id].answers[0]

@pytest.mark.parametrize("column", ["target", "gt_ans", "ground_truth", "answers"])
def test_other_human_answers_are_other_data(column, tmp_path):
    data = make_data(24)
    rows = [{"qid": i, "prediction": "x", column: "zebra", "image_id": "synpic1.jpg"} for i in range(24)]
    with pytest.raises(UserError, match="24 of 24 rows (have other human answers|name other pictures) than slake test"): join(tmp_path, rows, data)
    for row in rows: del row["image_id"]
    with pytest.raises(UserError, match="24 of 24 rows have other human answers than slake test .entry 1, id 0: “zebra”, and the data “yes”.: these results are about other data; .*leave that column out"): join(tmp_path, rows, data)

@pytest.mark.parametrize("change", [str.upper, str.title, lambda s: f" {s}. ", lambda s: f"the {s}", lambda s: [s, "zebra"], lambda s: f"['{s}', 'zebra']", lambda s: s.replace("2", "two")])
def test_the_same_human_answers_written_otherwise(change, tmp_path):
    data = make_data(24)
    joined = join(tmp_path, [{"qid": i, "prediction": "x", "target": change(people_of(data, i))} for i in range(24)], data)
    assert joined.counts["joined"] == 24 and not joined.counts["disagreeing"]

def test_lavis_on_other_data(tmp_path):
    rows = json.loads((RESULTS/"lavis/gqa/val_vqa_result.json").read_text())
    place = dict(dataset="gqa", split="val_balanced", data_path=DATA/"gqa")
    for count, said in ((len(rows), "36 of 36 rows have other human answers than GQA val_balanced"), (4, "4 of 36 rows have other human answers")):
        with pytest.raises(UserError, match=said): open_results(write(tmp_path/"a.json", [row | dict(gt_ans="zebra") if n < count else row for n, row in enumerate(rows)]), **place)
    found = open_results(write(tmp_path/"a.json", [row | dict(gt_ans="zebra") if n < 3 else row for n, row in enumerate(rows)]), **place)
    assert len(found.records) == 33 and "3 rows have other human answers than the data: left out (entry 1, entry 2, entry 3)." in found.notes

@pytest.mark.parametrize("image, told", [(lambda i: f"synpic{i}.jpg", "xmlab{}/source.jpg"), (lambda i: i + 1, 4263), (lambda i: f"COCO_val2014_{i + 1:012}.jpg", 4263)])
def test_other_pictures_are_other_data(image, told, tmp_path):
    data = make_data(24, image=(lambda i: told.format(i)) if isinstance(told, str) else (lambda i: told + i))
    with pytest.raises(UserError, match="24 of 24 rows name other pictures than slake test does .entry 1, id 0: .*leave that column out, if it numbers pictures in another way"):
        join(tmp_path, [{"qid": i, "answer": "x", "image_id": image(i)} for i in range(24)], data)

@pytest.mark.parametrize("image", [lambda i: 4263 + i, lambda i: str(4263 + i), lambda i: f"COCO_val2014_{4263 + i:012}.jpg", lambda i: f"val2017/{4263 + i:012}.jpg", lambda i: f"https://a.b/{i}.jpg", lambda i: f"n{i}", lambda i: None, lambda i: [i]])
def test_the_same_pictures_and_those_that_cannot_be_compared(image, tmp_path):
    data = make_data(24, image=lambda i: 4263 + i)
    assert join(tmp_path, [{"qid": i, "answer": "x", "image_id": image(i)} for i in range(24)], data).counts["joined"] == 24

def test_human_answers_are_compared_where_rows_are_joined_by_number_and_by_text(tmp_path):
    data = make_data(24)
    rows = [dict(index=i, question=f"What is {i}?", prediction="x", answer="zebra") for i in range(24)]
    with pytest.raises(UserError, match="24 of 24 rows have other human answers than slake test .entry 1: “zebra”"): join(tmp_path, rows, data)
    rows = [row | dict(answer=people_of(data, i)) if i else row for i, row in enumerate(rows)]
    joined = join(tmp_path, rows, data)
    assert joined.counts["by_row"] == 23 and "1 row has other human answers than the data: left out (entry 1)" in joined.notes

@pytest.mark.parametrize("name", ["v0.2.0/0101_0000_shapes_shape_model_args_10f7cd/vqav2_val.json", "v0.2.0/0101_0000_shapes_shape_model_args_10f7cd/textvqa_val.json", "current/made-up__shape-model/20260101_000000_samples_gqa.jsonl"])
def test_no_golden_file_has_other_people(name):
    task = name.rpartition("samples_")[2].split("/")[-1].split(".")[0].removesuffix("_val")
    found = open_results(RESULTS/"lmms_eval"/name, data_path=HUB/task)
    assert not found.joined.counts["disagreeing"] and not found.joined.counts["missing"]


# Ids that count up

def running(count, first=0, **more): return [dict(question_id=first + i, answer="yes", **more) for i in range(count)]

def test_ids_that_count_up_are_in_any_data(tmp_path):
    with pytest.raises(UserError, match="of 5,000 ids in the results .0, 1, 2, …., 24 can be found in slake test, and ids that count up are found in any data"): join(tmp_path, running(5000), make_data(24))
    with pytest.raises(UserError, match="ids that count up are found in any data"): join(tmp_path, [dict(question_id=str(i), answer="a") for i in range(5000)], make_data(24, 1000))

@pytest.mark.parametrize("rows, data", [
    ([dict(question_id=1000*i, answer="a") for i in range(5000)], make_data(24, step=1000)), # as VQAv2's
    ([dict(question_id=i, question=f"What is {i}?", answer="a") for i in range(5000)], make_data(24)), # checked
    (running(24), make_data(24)), (running(40), make_data(24)), # most are there
    ([dict(question_id=f"{i*7919:09}", answer="a") for i in range(5000)], make_data(24, step=7919))])
def test_a_part_of_the_data_is_joined(rows, data, tmp_path):
    joined = join(tmp_path, rows, data)
    assert joined.counts["joined"] == 24 and joined.counts["unknown"] == len(rows) - 24


# A file that names other data

def named(tmp_path, task, asked, **more):
    lines = [json.dumps({"doc_id": i, "filtered_resps": ["x"], "target": "answer", "input": text, **more}) for i, text in enumerate(asked)]
    return write(tmp_path/f"20260101_000000_samples_{task}.jsonl", "\n".join(lines))

def unique_texts():
    content = json.loads((DATA/"vqav2/v2_OpenEnded_mscoco_val2014_questions.json").read_text())["questions"]
    texts = [q["question"] for q in content]
    return [t for t in texts if texts.count(t) == 1][:5]

@pytest.mark.parametrize("task", ["ok_vqa_val2014", "vqav2_test", "gqa", "TEXTVQA_val"])
def test_texts_alone_do_not_outweigh_what_a_file_says(task, tmp_path):
    with pytest.raises(UserError, match=f"the file names its data {task}, and 5 answers of it could be joined to VQAv2 val by the texts of questions alone.*open it with dataset='.*--split.*rename the file"):
        open_results(named(tmp_path, task, unique_texts()), split="val", **V)
    assert len(open_results(named(tmp_path, "vqav2_val", unique_texts()), **V).records) == len(open_results(named(tmp_path, "my_own_task", unique_texts()), **V).records) == 5

def test_ids_outweigh_it_and_it_is_told(tmp_path):
    path = tmp_path/"20260101_000000_samples_ok_vqa_val2014.jsonl"
    shutil.copy(RESULTS/"lmms_eval/v0.3.0/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl", path)
    found = open_results(path, **V)
    assert len(found.records) == 24 and "The file names its data ok_vqa_val2014, which is dataset='okvqa', split='val', and it was opened as VQAv2 val." in found.notes


# Rows by their number, some of them damaged

def asked(count=100, **changed):
    "Rows of VLMEvalKit about `make_data`, with some fields of some rows changed."
    rows = [dict(index=i, question=f"What is {i}?", prediction=f"a{i}") for i in range(count)]
    for i, fields in changed.items(): rows[int(i[1:])].update(fields)
    return rows

@pytest.mark.parametrize("change, says", [
    (dict(index="2.6E+05"), "has no number of a row of the data"), (dict(index="row seven"), "has no number of a row of the data"), (dict(index=""), "has no number of a row of the data"), (dict(index=None), "has no number of a row of the data"),
    (dict(question="Which one is it, please?"), "does not ask what the data asks in that row"), (dict(question=""), "does not ask what the data asks in that row"), (dict(index=999, question="Total"), "does not ask what the data asks in that row")])
@pytest.mark.parametrize("count", [24, 100])
def test_one_damaged_row_is_left_out_alone(change, says, count, tmp_path):
    joined = join(tmp_path, asked(count, r7=change), make_data(count))
    assert joined.counts["by_row"] == joined.counts["joined"] == count - 1 and joined.counts["disagreeing"] == 1 and joined.counts["missing"] == 1
    assert f"1 row {says}: left out (entry 8)" in joined.notes and all(r["answers"] == [f"a{i}"] for i, r in joined.records.items())

def test_two_percent_and_no_more(tmp_path):
    bad = {f"r{i}": dict(question=f"Another question {i}?") for i in (3, 50)}
    assert join(tmp_path, asked(**bad), make_data(100)).counts["by_row"] == 98
    assert join(tmp_path, asked(**bad, r60=dict(index="x")), make_data(100)).counts["by_row"] == 0 # by text, as before
    with pytest.raises(UserError, match="of 9 rows, 88.9 % ask something"): join(tmp_path, asked(9, r3=dict(question="Another?")), make_data(9)) # too few to tell

@pytest.mark.parametrize("gap", [0, 50, 97, 98])
def test_a_row_that_is_missing_ends_the_join_by_number(gap, tmp_path):
    "All rows behind it are one off; of two of 100 that would be as few as may be damaged."
    rows = [dict(index=i, question=f"What is {i if i < gap else i + 1}?", prediction=f"a{i if i < gap else i + 1}") for i in range(99)]
    joined = join(tmp_path, rows, make_data(100))
    assert joined.counts["by_row"] == 0 and all(r["answers"] == [f"a{i}"] for i, r in joined.records.items())

@pytest.mark.parametrize("seed", range(10))
def test_a_shuffled_order_is_never_joined_by_number(seed, tmp_path):
    "Few texts, so that many rows agree by chance: whatever is joined is right."
    rng, count = random.Random(seed), 60
    texts = [rng.choice(("What color?", "How many?", "Where?", f"Only {i}?")) for i in range(count)]
    data = SimpleNamespace(questions=[Question(i, i, t) for i, t in enumerate(texts)], name="mine", split="val")
    order = list(range(count))
    a, b = rng.sample(range(count), 2)
    if seed % 2: order[a], order[b] = order[b], order[a]
    else: order.insert(a, order.pop(b))
    rows = [ResultRow(f"row {n}", None, n, texts[i], str(i)) for n, i in enumerate(order)]
    if [texts[i] for i in order] == texts: return # nobody could tell
    joined = join_results(ResultTable("VLMEvalKit", "", rows, "", (), {}), data)
    assert joined.counts["by_row"] == 0 and all(r["answers"] == [str(i)] for i, r in joined.records.items())

def test_alike_questions_with_a_damaged_row_are_no_proof(tmp_path):
    data = SimpleNamespace(questions=[Question(i, i, "What is this?" if i % 2 else f"Is it {i}?") for i in range(10)], name="mine", split="val")
    rows = [dict(index=i, question="What is this?", prediction="a") for i in (1, 3, 5, 7, 9)]*3 + [dict(index=0, question="Reworded?", prediction="b")]
    with pytest.raises(UserError, match="too many questions are alike"): join(tmp_path, rows, data)


# Keys, lists and values

@pytest.mark.parametrize("content", ['[{"question_id": 1, "answer": "red", "answer": "blue"}]', '{"question_id": 1, "answer": "a"}\n{"question_id": 2, "answer": "red", "answer": "blue"}\n{"question_id": 3, "answer": "a"}',
                                     '{"question_id": 1, "answer": "red", "answer": "blue"}\n{"question_id": 2, "answer": "a"}', '{"results": [{"question_id": 1, "answer": "red", "answer": "blue"}]}',
                                     '{"doc_id": 0, "filtered_resps": "red", "filtered_resps": "blue"}\n{"doc_id": 1, "filtered_resps": "a"}', '{"question_id": 1, "answer": "a"}\n{"question_id": 2, "answer": "red", "answer": "blue"}'])
def test_a_key_that_stands_twice_has_no_value(content, tmp_path):
    with pytest.raises(UserError, match="1 key more than once in the same object .'(answer|filtered_resps)'.: keep one of each"): read_any(write(tmp_path/"a.json", content))

def test_two_lists_of_answers(tmp_path):
    def answers(a): return [{"question_id": 1, "answer": a}]
    with pytest.raises(UserError, match="holds several lists that could be the answers .'results', 'predictions'.; leave the one that is meant"): read_any(write(tmp_path/"a.json", {"results": answers("red"), "predictions": answers("blue")}))
    gold = [{"question_id": 1, "answers": [{"answer": "a"}], "multiple_choice_answer": "a"}]
    assert read_any(write(tmp_path/"a.json", {"annotations": gold, "predictions": answers("blue"), "data": [{"question_id": 1, "question": "q"}]})).rows[0].answer == "blue"

@pytest.mark.parametrize("column, value, kept, told", [("confidence", 87.5, None, True), ("confidence", "high", None, True), ("confidence", float("nan"), None, False), ("confidence", None, None, False), ("confidence", ".5", .5, False), ("answerable", 5, None, True), ("answerable", -1, None, True), ("answerable", 1, 1., False)])
def test_shares_that_are_none_are_told(column, value, kept, told, tmp_path):
    table = read_any(write(tmp_path/"a.json", [{"question_id": 1, "answer": "a", column: value}, {"question_id": 2, "answer": "b"}]))
    assert (table.rows[0].more or {}).get(column) == kept
    assert any(f"{'a' if column == 'confidence' else 'an'} {'confidence' if column == 'confidence' else 'answerability'} that is no number from 0 to 1" in note for note in table.notes) == told

@pytest.mark.parametrize("path", ["x"*5000, "x/"*3000 + "a.json", "~nobody_of_that_name/a.json"])
def test_a_path_that_is_none(path, capsys):
    with pytest.raises(UserError, match="is no path of a file") as error: open_results(path)
    assert len(str(error.value)) < 300
    assert main(["open", path]) != 0 and "is no path of a file" in capsys.readouterr().err


# Spreadsheets

def sheet(rows):
    from openpyxl import Workbook
    book, content = Workbook(), io.BytesIO()
    for row in rows: book.active.append(row)
    book.save(content)
    return content.getvalue()

def packed(tmp_path, **members):
    "A spreadsheet in which some files have other contents."
    path = tmp_path/"a.xlsx"
    with zipfile.ZipFile(RESULTS/"vlmevalkit/xlsx/ShapeModel_VizWiz.xlsx") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist(): new.writestr(name, members.get(name.split("/")[-1].split(".")[0], old.read(name)))
    return path

@pytest.mark.parametrize("members, says", [
    (dict(sheet1=b'<worksheet a="' + b" "*50_000_000 + b'"/>'), "are one text or one attribute"), (dict(sharedStrings=b"<sst><si><t>" + b"x"*50_000_000 + b"</t></si></sst>"), "are one text or one attribute"),
    (dict(sharedStrings=b"<sst>" + b"<si/>"*6_000_000 + b"</sst>"), "of more than 3,000,000 texts"), (dict(sheet1=b"<!--" + b"<a>"*9_000_000 + b"--><worksheet/>"), "with a comment of"), (dict(styles=b"<?a " + b"<a>"*9_000_000 + b"?><a/>"), "with a comment of")])
def test_spreadsheets_that_would_keep_a_parser_busy(members, says, tmp_path):
    path, start = packed(tmp_path, **members), time.process_time()
    with pytest.raises(UserError, match=says): read_any(path)
    assert time.process_time() - start < 5

def test_cells_as_long_as_they_may_be_are_read(tmp_path):
    long = "é&<"*10_922
    (tmp_path/"a.xlsx").write_bytes(sheet([["question_id", "answer"], [1, long], [2, "b"]]))
    assert [row.answer for row in read_any(tmp_path/"a.xlsx").rows] == [long, "b"]

def test_an_error_of_a_formula_is_called_so(tmp_path):
    (tmp_path/"a.xlsx").write_bytes(sheet([["question_id", "answer"], [1, "#N/A"], [2, "b"]]))
    assert read_any(tmp_path/"a.xlsx").rows[0].more == {"refused": "its answer is '#N/A', the error of a spreadsheet's formula"}

def test_openpyxl_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    (tmp_path/"a.xlsx").write_bytes(sheet([["question_id", "answer"], [1, "b"]]))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match="openpyxl, which reads them, is not installed: pip install openpyxl, or save it as CSV"): read_any(tmp_path/"a.xlsx")
