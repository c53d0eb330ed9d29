"""Other tools' result files: every one in `golden/rules/results` opens and gives the expected join; odd and hostile ones are told or refused.

The files were written by the tools' own code or by hand, as `written` in `expected.json` says of each. The questions that they are joined to are those of
lmms-eval 0.3.0, whose lines hold the rows of the data: in Hugging Face's order as they stand there, in the official one sorted by id.
"""
import gzip
import io
import json
import pickle
import random
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from beit3_colab.data.dataset import Question
from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.joining import join_results
from beit3_colab.scoring.reading import read_any
from beit3_colab.scoring.result_rows import ResultRow, ResultTable

RULES = Path(__file__).parent/"golden"/"rules"
EXPECTED = json.loads((RULES/"expected.json").read_text())
WITH_ROWS = [name for name, e in EXPECTED.items() if e.get("rows")]
TEXT_IDS = ("gqa", "GQA_TestDev_Balanced", "vizwiz", "VizWiz", "aokvqa") # data whose ids are texts
DATA_OF = {"TextVQA_VAL": "textvqa", "DocVQA_VAL": "textvqa", "GQA_TestDev_Balanced": "gqa", "VizWiz": "vizwiz"} # VLMEvalKit's tables are of the same questions


def texts_of(task):
    "id → question, as lmms-eval 0.3.0 tells them of a task."
    lines = (RULES/f"results/lmms_eval/v0.3.0/made-up__shape-model/20260101_000000_samples_{task}.jsonl").read_text().splitlines()
    docs = [json.loads(line)["doc"] for line in lines]
    found = {str(doc.get("question_id", doc.get("id"))): doc["question"] for doc in docs}
    return {f"{i}.jpg" if i.startswith("VizWiz") else i: text for i, text in found.items()}

TEXTS = {"vqav2": texts_of("vqav2_val") | texts_of("vqav2_test"), "okvqa": texts_of("ok_vqa_val2014"), "textvqa": texts_of("textvqa_val"),
         "vizwiz": texts_of("vizwiz_vqa_val"), "gqa": texts_of("gqa"), "aokvqa": {}}

def family(expected):
    "Which data a file is about, in one word, such as `vqav2`."
    said = expected["data"].split("/")[0].split(" ")[0]
    return DATA_OF.get(said, said)

def make_data(ids, name):
    "A data set with these questions in this order."
    texts = TEXTS[name]
    questions = [Question(i if name in TEXT_IDS else int(i), 1, texts.get(i, "")) for i in ids]
    return SimpleNamespace(questions=questions, name=name, split="val")

def tools_order(expected):
    "Ids in the order of the data that the tool has read."
    return expected.get("doc_id_to_id") or expected.get("index_to_id") or list(expected["rows"])

def say(joined): return {str(i): record for i, record in joined.records.items()}

def check(joined, expected, ids):
    "Whether a join has these questions, each with its answer."
    found = say(joined)
    assert set(found) == set(ids)
    for i, record in found.items():
        row = expected["rows"][i]
        assert record["question_id"] == (int(i) if isinstance(record["question_id"], int) else i)
        if "answerable" in row: assert (record["answers"], record["answerable"]) == ([], row["answerable"])
        else: assert record["answers"] == [row.get("answer", row.get("direct_answer"))]
        assert record["confidences"] == []
        if row.get("multiple_choice"): assert record["choice"] == row["multiple_choice"]
        elif "multiple_choice" in row: assert "choice" not in record
    return found


@pytest.mark.parametrize("name", WITH_ROWS)
def test_every_file_is_joined_to_the_data_that_the_tool_read(name):
    expected = EXPECTED[name]
    joined = join_results(read_any(RULES/name), make_data(tools_order(expected), family(expected)))
    check(joined, expected, expected["rows"])
    assert joined.counts["joined"] == len(expected["rows"]) == joined.counts["rows"]
    assert joined.counts["missing"] == len(tools_order(expected)) - len(expected["rows"])


BY_TEXT = [name for name in WITH_ROWS if "not_joinable_by_question_text" in EXPECTED[name]]

@pytest.mark.parametrize("name", BY_TEXT)
def test_data_in_another_order_is_joined_by_ids_or_by_texts_that_stand_once(name):
    "The official order for lmms-eval, a shuffled one for VLMEvalKit."
    expected = EXPECTED[name]
    ids = sorted(tools_order(expected), key=lambda i: (len(i), i))
    if "index_to_id" in expected: random.Random(1).shuffle(ids)
    table = read_any(RULES/name)
    joined = join_results(table, make_data(ids, family(expected)))
    has_ids = all(row.question_id is not None for row in table.rows)
    left = set() if has_ids else set(expected["not_joinable_by_question_text"])
    check(joined, expected, set(expected["rows"]) - left)
    assert joined.counts["ambiguous"] == len(left) and joined.counts["by_row"] == 0
    if left: assert "data_path=… (--data-path)" in " ".join(joined.notes) and "could not be joined" in " ".join(joined.notes)
    else: assert not joined.counts["by_text"]


TOTALS = [name for name in EXPECTED if name.startswith("results/lmms_eval") and not EXPECTED[name].get("rows")] + [
    str(path.relative_to(RULES)) for path in sorted((RULES/"results/vlmevalkit").glob("*/*_acc.csv"))]

@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_no_results_and_the_right_file_is_named(name):
    with pytest.raises(UserError, match="has (lmms-eval's )?totals and no answers; give") as error: read_any(RULES/name)
    beside = [p.name for p in (RULES/name).parent.iterdir() if p.name in str(error.value) and p.name != Path(name).name]
    assert beside and "acc" not in beside[0]

def test_all_files_of_the_folder_are_tried():
    "All 67, but those that are refused: broken ones are tried below."
    files = {str(p.relative_to(RULES)) for p in (RULES/"results").rglob("*") if p.is_file()}
    assert len(files) == 67 and files == {*WITH_ROWS, *TOTALS, *(n for n in EXPECTED if "/broken/" in n)}


@pytest.mark.parametrize("name", [n for n in WITH_ROWS if n.startswith("results/lmms_eval") or n.endswith(("_results.xlsx", "_results.tsv"))])
def test_what_the_tool_said_is_kept(name):
    expected, table = EXPECTED[name], read_any(RULES/name)
    found = say(join_results(table, make_data(tools_order(expected), family(expected))))
    if expected["data"] == "DocVQA_VAL": # eval_score has distances: the total is of what is best
        assert 100*sum(r["tool_score"] for r in found.values())/len(found) == pytest.approx(expected["tool_totals"]["Overall"])
        assert any("0 is best" in note for note in table.notes)
        return
    for i, row in expected["rows"].items():
        if row.get("tool_score") is None: assert "tool_score" not in found[i]
        else: assert found[i]["tool_score"] == pytest.approx(row["tool_score"], abs=1e-9)

@pytest.mark.parametrize("name, totals", [
    ("results/lmms_eval/current/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl", {"exact_match": .7291666666666666}),
    ("results/lmms_eval/v0.3.0/made-up__shape-model/20260101_000000_samples_gqa.jsonl", {"exact_match": .6388888888888888}),
    ("results/vlmevalkit/xlsx/ShapeModel_GQA_TestDev_Balanced.xlsx", {"Overall": 63.888888888888886, "verify": 57.14285714285714}),
    ("results/vlmevalkit/tsv/ShapeModel_TextVQA_VAL_results.tsv", {"Overall": 75.}), ("results/lmms_eval/limit_8/20260101_000000_samples_vqav2_val.jsonl", {})])
def test_totals_beside_a_file_are_read(name, totals):
    found = read_any(RULES/name).totals
    assert {k: found[k] for k in totals} == totals and bool(found) == bool(totals)

@pytest.mark.parametrize("name, tool, task", [
    ("lmms_eval/v0.2.0/0101_0000_shapes_shape_model_args_10f7cd/textvqa_val.json", "lmms-eval", "textvqa_val"), ("lmms_eval/two_ranks/20260101_000000_samples_vqav2_val.jsonl", "lmms-eval", "vqav2_val"),
    ("vlmevalkit/json/ShapeModel_TextVQA_VAL.json", "VLMEvalKit", "TextVQA_VAL"), ("vlmevalkit/xlsx/ShapeModel_VizWiz.xlsx", "VLMEvalKit", "VizWiz"), ("lavis/gqa/val_vqa_result.json", "LAVIS", ""),
    ("mmf/textvqa_shapes_val_2026-01-01T00-00-00.csv", "MMF", ""), ("official/gqa_predictions.json", "GQA", ""), ("official/vizwiz_answerability.json", "VizWiz", ""),
    ("official/aokvqa_predictions.json", "A-OKVQA", ""), ("official/vqav2_val_results.json", "VQA", ""), ("broken/llava_answers.jsonl", "LLaVA", "")])
def test_the_tool_is_known_by_what_the_file_holds(name, tool, task, tmp_path):
    source = RULES/"results"/name
    assert read_any(source)[0::3] == (tool, task, {}) or read_any(source)[0] == tool and read_any(source).task == task
    other = tmp_path/"my answers (2).dat"
    other.write_bytes(source.read_bytes())
    renamed = read_any(other)
    assert renamed.tool == tool and len(renamed.rows) == len(read_any(source).rows)

def test_thoughts_of_vlmevalkit_are_kept():
    joined = say(join_results(read_any(RULES/"results/vlmevalkit/think/ShapeModel_TextVQA_VAL_results.xlsx"), make_data(EXPECTED["results/vlmevalkit/think/ShapeModel_TextVQA_VAL.xlsx"]["index_to_id"], "textvqa")))
    assert joined["34603"]["thinking"] == "first one, then the other" and "thinking" not in joined["34602"]

def test_answers_that_vlmevalkit_wrote_over_are_restored(tmp_path):
    "Its scored file says nan where the model said None; the predictions beside it have the model's word, and without them it is told."
    name = "ShapeModel_TextVQA_VAL_results.tsv"
    source = RULES/"results/vlmevalkit/tsv"
    table = read_any(source/name)
    assert [row.answer for row in table.rows[19:22]] == ["None"]*3
    assert "3 answers that VLMEvalKit has written over with nan were taken from the predictions beside it" in table.notes
    (tmp_path/name).write_bytes((source/name).read_bytes())
    alone = read_any(tmp_path/name)
    assert [row.answer for row in alone.rows[19:22]] == ["nan"]*3 and "3 answers of the scored file say nan" in alone.notes[-1]

def test_two_ranks_are_as_one():
    "The lines of a rank follow those of the other; the same answers, and padding counts once."
    one, two = (RULES/f"results/lmms_eval/{n}/20260101_000000_samples_vqav2_val.jsonl" for n in ("current/made-up__shape-model", "two_ranks"))
    data = make_data(EXPECTED[str(one.relative_to(RULES))]["doc_id_to_id"], "vqav2")
    assert join_results(read_any(one), data).records == join_results(read_any(two), data).records


# Broken files

VAL = [int(i) for i in EXPECTED["results/official/vqav2_val_results.json"]["rows"]]
RIGHT = {int(i): row["answer"] for i, row in EXPECTED["results/official/vqav2_val_results.json"]["rows"].items()}

def val_data(): return make_data(map(str, VAL), "vqav2")
def join_broken(name): return join_results(read_any(RULES/f"results/broken/{name}"), val_data())
def answers(joined): return {i: record["answers"][0] for i, record in joined.records.items()}

@pytest.mark.parametrize("name", [n.split("/")[-1] for n, e in EXPECTED.items() if e.get("readable")])
def test_readable_files_are_read_whole(name): assert answers(join_broken(name)) == RIGHT

@pytest.mark.parametrize("name, lost, changed, says", [
    ("missing_one.json", [444818002], {}, "1 question of vqav2 val without an answer in the results (444818002)"),
    ("one_too_many.json", [], {}, "1 row with an id (such as 999999999) that vqav2 val does not have: left out (entry 25)"),
    ("twice.json", [4263002], {}, "1 question with different answers in several rows: left out (4263002)"),
    ("null_answer.json", [4263001], {}, "1 row without an answer (null): left out (entry 2)"),
    ("number_answer.json", [], {4263001: "2"}, "1 answer is a number, and was taken as text (entry 2)")])
def test_what_is_odd_is_counted_and_named(name, lost, changed, says):
    table = read_any(RULES/f"results/broken/{name}")
    joined = join_results(table, val_data())
    assert answers(joined) == {i: changed.get(i, a) for i, a in RIGHT.items() if i not in lost}
    assert says in (*table.notes, *joined.notes)

def test_half_a_file_is_not_scored():
    with pytest.raises(UserError, match=r"cut_off.json is cut off: 23 rows could be read before the cut. Nothing of it is scored"): join_broken("cut_off.json")

def test_answers_to_another_split_are_refused():
    with pytest.raises(UserError, match=r"of 8 ids in the results \(564357000, 564357001, 564357002, …\), none can be found in vqav2 val, which has 24 questions \(4263000.*another split.*--dataset.*--split"): join_broken("test_file.json")


# Bad input of one's own making

def write(folder, content, name="results.json"):
    path = folder/name
    path.write_bytes(content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else json.dumps(content).encode())
    return path

def official(pairs): return [{"question_id": i, "answer": a} for i, a in pairs]

@pytest.mark.parametrize("order", ["same", "reversed"])
@pytest.mark.parametrize("id_type", [int, str, float])
def test_ids_of_another_type_and_rows_in_another_order(order, id_type, tmp_path):
    pairs = [(id_type(i), a) for i, a in RIGHT.items()][::1 if order == "same" else -1]
    joined = join_results(read_any(write(tmp_path, official(pairs))), val_data())
    assert answers(joined) == RIGHT and list(joined.records) == VAL # in the order of the data

@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "tsv", "semicolon", "xlsx", "gz", "utf-16", "wrapped", "by id"])
def test_one_list_in_every_form(form, tmp_path):
    rows = official(RIGHT.items())
    def table(mark): return "\n".join([f"Question ID{mark}Answer", *(f"{i}{mark}{a}" for i, a in RIGHT.items())])
    content = {"json": rows, "jsonl": "\n".join(map(json.dumps, rows)), "csv": table(","), "tsv": table("\t"), "semicolon": table(";"), "gz": gzip.compress(json.dumps(rows).encode()),
               "utf-16": json.dumps(rows).encode("utf-16"), "wrapped": {"info": "x", "predictions": rows}, "by id": {str(i): a for i, a in RIGHT.items()}, "xlsx": sheet([["question_id", "answer"], *RIGHT.items()])}[form]
    assert answers(join_results(read_any(write(tmp_path, content, "a.txt")), val_data())) == RIGHT

def sheet(rows):
    from openpyxl import Workbook
    book, content = Workbook(), io.BytesIO()
    for row in rows: book.active.append(row)
    book.save(content)
    return content.getvalue()

WORDS = ("None", "n/a", "NA", "nan", "NULL", "null", "true", "#1", "1,000", "a\nb", 'say "hi"', "é 天", "<b>red</b>")

@pytest.mark.parametrize("form", ["json", "csv", "xlsx"])
def test_words_that_mean_nothing_to_pandas_are_answers(form, tmp_path):
    data = make_data([str(i) for i in range(1, len(WORDS) + 1)], "vqav2")
    lines = [f'{i},"{w.replace(chr(34), chr(34)*2)}"' for i, w in enumerate(WORDS, 1)]
    content = {"json": official(enumerate(WORDS, 1)), "csv": "question_id,answer\n" + "\n".join(lines), "xlsx": sheet([["question_id", "answer"], *enumerate(WORDS, 1)])}[form]
    joined = join_results(read_any(write(tmp_path, content)), data)
    assert tuple(answers(joined).values()) == WORDS

@pytest.mark.parametrize("content", ["question_id,answer\n2.6E+05,red\n262148,blue", '[{"question_id": "2.6E+05", "answer": "red"}]', '[{"question_id": 2.62148001e17, "answer": "red"}]'])
def test_ids_that_a_spreadsheet_rounded(content, tmp_path):
    with pytest.raises(UserError, match="(line 2|entry 1): question_id .*rounded"): read_any(write(tmp_path, content))

def test_long_ids_of_a_spreadsheet_are_rounded(tmp_path):
    with pytest.raises(UserError, match="row 2: question_id 1.23[0-9]*e.17 has more digits than a float holds, and is rounded"):
        read_any(write(tmp_path, sheet([["question_id", "answer"], [123456789012345678, "red"]])))

@pytest.mark.parametrize("answer, says", [(["a", "b"], "its answer is a list of 2"), ({"text": "a"}, "its answer is an object"), (True, "its answer is True: it is true or false"), ([], "its answer is a list of 0")])
def test_answers_that_are_none_are_counted_and_named(answer, says, tmp_path):
    table = read_any(write(tmp_path, official([*list(RIGHT.items())[1:], (VAL[0], answer)])))
    joined = join_results(table, val_data())
    assert answers(joined) == {i: a for i, a in RIGHT.items() if i != VAL[0]} and joined.counts["refused"] == 1
    assert any(note.startswith("1 row with an answer that is no text: left out (entry 24: ") and says in note for note in joined.notes)
    with pytest.raises(UserError, match="none of its 24 rows has an answer that is a text"): read_any(write(tmp_path, official((i, answer) for i in VAL)))

def test_a_list_of_one_text_is_that_text(tmp_path):
    table = read_any(write(tmp_path, official((i, [a]) for i, a in RIGHT.items())))
    assert answers(join_results(table, val_data())) == RIGHT and "24 answers are lists of one text" in table.notes[0]

def test_equal_answers_count_once_and_others_not_at_all(tmp_path):
    pairs = [*RIGHT.items(), *RIGHT.items(), (VAL[3], "other"), (VAL[4], None)]
    joined = join_results(read_any(write(tmp_path, official(pairs))), val_data())
    assert answers(joined) == {i: a for i, a in RIGHT.items() if i != VAL[3]}
    assert [joined.counts[k] for k in ("rows", "joined", "repeated", "conflicting", "no_answer")] == [50, 23, 23, 3, 1]

@pytest.mark.parametrize("seed", range(20))
def test_every_row_is_counted_once(seed):
    "Rows of any kind, at random: the counts add up, and each record is that of a row."
    rng = random.Random(seed)
    texts = TEXTS["vqav2"]
    rows = []
    for i in range(60):
        known = rng.choice(VAL)
        question_id = rng.choice([known]*8 + [str(known), 10**9 + i, None])
        answer, more = rng.choice([("red", None)]*5 + [("blue", None), (None, None), (None, {"refused": "its answer is a list"})])
        rows.append(ResultRow(f"line {i}", question_id, None, rng.choice([None, texts[str(known)]]), answer, more))
    joined = join_results(ResultTable("", "", rows, "", (), {}), val_data())
    parts = ("joined", "repeated", "conflicting", "no_answer", "refused", "unknown", "disagreeing", "ambiguous", "unnamed")
    assert sum(joined.counts[k] for k in parts) == 60 and joined.counts["joined"] + joined.counts["missing"] == 24
    for i, record in joined.records.items():
        said = {row.answer for row in rows if str(row.question_id) == str(i) and row.answer}
        assert said == {record["answers"][0]}


# Rows, ids and texts that disagree

def lmms(pairs, prompt="{}\nAnswer the question using a single word or phrase.", **fields):
    return "\n".join(json.dumps({"doc_id": i, "target": "answer", "filtered_resps": a, "input": prompt.format(q), **fields}) for i, (q, a) in pairs)

HF = EXPECTED["results/lmms_eval/current/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl"]["doc_id_to_id"]
ASKED = [(TEXTS["vqav2"][i], RIGHT[int(i)]) for i in HF]

@pytest.mark.parametrize("prompt", ["{}", "{} Answer:", "<image>\n{}\nAnswer.", "Question: {} Short answer:"])
def test_prompts_of_many_tools_are_checked(prompt, tmp_path):
    table = read_any(write(tmp_path, lmms(enumerate(ASKED), prompt)))
    joined = join_results(table, make_data(HF, "vqav2"))
    assert answers(joined) == {int(i): RIGHT[int(i)] for i in HF} and joined.counts["by_row"] == 24
    official_order = join_results(table, val_data())
    left = EXPECTED["results/lmms_eval/current/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl"]["not_joinable_by_question_text"]
    assert set(official_order.records) == set(VAL) - set(map(int, left)) and official_order.counts["by_row"] == 0

def test_one_row_that_asks_something_else_ends_the_join_by_row(tmp_path):
    "The last two rows are swapped in the data: no row is joined by its number."
    ids = [*HF[:-2], HF[-1], HF[-2]]
    joined = join_results(read_any(write(tmp_path, lmms(enumerate(ASKED)))), make_data(ids, "vqav2"))
    assert joined.counts["by_row"] == 0 and joined.counts["by_text"] == 15
    assert all(a == RIGHT[i] for i, a in answers(joined).items())
    assert any("line 23 asks" in note and "as row 22" in note and "to join all, give the parquet files that lmms-eval read" in note for note in joined.notes)

def test_a_file_with_more_rows_than_the_data(tmp_path):
    with pytest.raises(UserError, match=r"of 24 rows, \d+\.\d % ask something that vqav2 val asks, and 98 % are needed"):
        join_results(read_any(write(tmp_path, lmms(enumerate(ASKED)))), make_data(HF[:3], "vqav2"))

def test_questions_of_another_data_set_are_refused(tmp_path):
    gqa = make_data(EXPECTED["results/lmms_eval/current/made-up__shape-model/20260101_000000_samples_gqa.jsonl"]["doc_id_to_id"], "gqa")
    with pytest.raises(UserError, match="these results are about another split or another data set"): join_results(read_any(write(tmp_path, lmms(enumerate(ASKED)))), gqa)

def test_a_data_set_that_always_asks_the_same(tmp_path):
    data = SimpleNamespace(questions=[Question(i, i, "What is this?") for i in range(50)], name="mine", split="val")
    with pytest.raises(UserError, match="no row of these results.*too many questions are alike"): join_results(read_any(write(tmp_path, lmms(enumerate([("What is this?", "a")]*50)))), data)

@pytest.mark.parametrize("wrong, joins", [(1, True), (3, True), (4, False), (24, False)])
def test_texts_under_ids(wrong, joins, tmp_path):
    rows = [{"question_id": i, "question": "Who painted this?" if n < wrong else TEXTS["vqav2"][str(i)].upper(), "answer": a} for n, (i, a) in enumerate(RIGHT.items())]
    table = read_any(write(tmp_path, rows))
    if joins:
        joined = join_results(table, val_data())
        assert answers(joined) == dict(list(RIGHT.items())[wrong:]) and joined.counts["disagreeing"] == wrong
        assert any("something else than the data asks under that id: left out (entry 1" in note for note in joined.notes)
    else:
        with pytest.raises(UserError, match=f"{wrong} of 24 rows ask something else than vqav2 val asks under that id .entry 1, id 4263000: “Who painted this.”"): join_results(table, val_data())

def test_a_few_ids_that_are_there_by_chance(tmp_path):
    "Ids from 0 on, as many data sets count them: 3 of 100 are in the data."
    with pytest.raises(UserError, match="of 100 ids in the results .0, 1, 2, …., only 3 can be found"):
        join_results(read_any(write(tmp_path, official((i, "red") for i in range(100)))), make_data([str(i) for i in range(97, 200)], "vqav2"))

def test_a_file_of_all_test_questions_for_a_part_of_them(tmp_path):
    "As test2015's results are for test-dev: few numbers are ids, and so many are not found by chance."
    joined = join_results(read_any(write(tmp_path, official((i*1000, "red") for i in range(100)))), make_data([str(i*1000) for i in range(20)], "vqav2"))
    assert joined.counts["joined"] == 20 and joined.counts["unknown"] == 80 and "80 rows with an id (such as 20000)" in " ".join(joined.notes)

def test_neither_ids_nor_texts(tmp_path):
    with pytest.raises(UserError, match="neither by an id nor by the text .line 2, .*write a column question_id"): join_results(read_any(write(tmp_path, "name,answer\na,red\nb,blue")), val_data())

def test_numbers_of_pictures_are_no_ids(tmp_path):
    "A list of one's own may number its pictures as the data numbers its questions."
    with pytest.raises(UserError, match="neither by an id"): join_results(read_any(write(tmp_path, [{"image": i, "answer": a} for i, a in RIGHT.items()])), val_data())

@pytest.mark.parametrize("written", ["VizWiz_val_00000007.jpg", "VizWiz_val_000000000007.jpg", "VizWiz_val_00000007"])
def test_pictures_of_vizwiz(written, tmp_path):
    data = make_data([f"VizWiz_val_{i:08}.jpg" for i in (6, 7)], "vizwiz")
    joined = join_results(read_any(write(tmp_path, [{"image" if "." in written else "question_id": written, "answer": "red"}])), data)
    assert answers(joined) == {"VizWiz_val_00000007.jpg": "red"}
    with pytest.raises(UserError, match="none can be found"): join_results(read_any(write(tmp_path, [{"image": "VizWiz_test_00000007.jpg", "answer": "red"}])), data)

def test_lmms_thoughts_and_raw_text(tmp_path):
    line = {"doc_id": 0, "filtered_resps": "red", "resps": "<think>a box, so</think>red", "submission": {"question_id": VAL[0], "answer": "x"}, "input": TEXTS["vqav2"][str(VAL[0])]}
    path = write(tmp_path, json.dumps(line), "x_samples_vqav2_val.jsonl")
    table = read_any(path)
    assert table.rows[0].answer == "red" and table.rows[0].more == {"raw": "<think>a box, so</think>red", "thinking": "a box, so"} and table.task == "vqav2_val"
    line = {**line, "filtered_resps": "<think>a box"}
    assert read_any(write(tmp_path, json.dumps(line))).notes == ("1 answer breaks off inside <think>, and counts as an empty answer (line 1)",)

def test_padding_of_a_rank_counts_once(tmp_path):
    "A rank that had one row less repeats one; the same answer again is none more, another one is told."
    rows = list(enumerate(ASKED))
    joined = join_results(read_any(write(tmp_path, lmms(rows[::2] + rows[1::2] + rows[:1]))), make_data(HF, "vqav2"))
    assert joined.counts["by_row"] == 25 and joined.counts["repeated"] == 1 and joined.counts["joined"] == 24
    other = join_results(read_any(write(tmp_path, lmms([*rows, (0, (ASKED[0][0], "something else"))]))), make_data(HF, "vqav2"))
    assert other.counts["conflicting"] == 2 and int(HF[0]) not in other.records

def test_a_line_of_totals_under_a_table(tmp_path):
    rows = "\n".join(f"{i},{a}" for i, a in RIGHT.items())
    joined = join_results(read_any(write(tmp_path, f"question_id,answer\n{rows}\n,68.75")), val_data())
    assert answers(joined) == RIGHT and "1 row without the id that the others have: left out (line 26)" in joined.notes

def test_empty_cells_are_empty_answers_and_told(tmp_path):
    table = read_any(write(tmp_path, f"question_id,answer\n{VAL[0]},\n{VAL[1]},red"))
    assert answers(join_results(table, val_data())) == {VAL[0]: "", VAL[1]: "red"} and table.notes == ("1 answer is empty, and is scored as it is (line 2)",)


# Folders

def test_a_folder_of_several_tasks_names_them():
    with pytest.raises(UserError, match="has answers to 6 tasks: gqa, ok_vqa_val2014, textvqa_val, vizwiz_vqa_val, vqav2_test, vqav2_val; give one file, such as .*samples_gqa.jsonl"):
        read_any(RULES/"results/lmms_eval/current/made-up__shape-model")
    with pytest.raises(UserError, match="has answers to 6 tasks"): read_any(RULES/"results/lmms_eval/current")

def test_a_folder_with_one_file_is_that_file():
    table = read_any(RULES/"results/lmms_eval/limit_8")
    assert len(table.rows) == 8 and table.notes == ("20260101_000000_samples_vqav2_val.jsonl of the folder was read",)
    assert read_any(RULES/"results/vlmevalkit/tsv").form == "scored predictions on TextVQA_VAL" # beside the plain ones, and the totals

def test_parts_of_ranks_are_put_together(tmp_path):
    pairs = list(RIGHT.items())
    for rank, part in enumerate((pairs[:13], [*pairs[13:], pairs[0]])): write(tmp_path, official(part), f"val_vqa_result_rank{rank}.json")
    joined = join_results(read_any(tmp_path), val_data())
    assert answers(joined) == RIGHT and joined.counts["repeated"] == 1
    assert "the folder opens them all" in read_any(tmp_path/"val_vqa_result_rank0.json").notes[0]
    write(tmp_path, official(pairs), "val_vqa_result.json")
    assert read_any(tmp_path).notes == ("val_vqa_result.json of the folder was read",)

@pytest.mark.parametrize("files, says", [([], "has no results"), (["run.json"], "open it with open_run"), (["a.csv", "b.csv"], "has 2 files that may be meant: a.csv, b.csv"), (["x_rank1.json"], "not that of rank 0"), ([".hidden.json"], "has no results")])
def test_folders_that_are_refused(files, says, tmp_path):
    for name in files: write(tmp_path, official(RIGHT.items()), name)
    with pytest.raises(UserError, match=says): read_any(tmp_path)


# Files that are something else

@pytest.mark.parametrize("content, says", [
    ("<!DOCTYPE html><html></html>", "is a web page, not results"), (b"\x89PNG\r\n\x1a\n0000", "is a PNG picture, not results"), (pickle.dumps({"a": 1}), "is a Python pickle, not results"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer, not results"), (b"PAR1", "is a Parquet table, not results"), (b"", "is empty"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel's old kind"),
    (b"\xff\xfb\x90\x44\x81", "is not UTF-8 text"), ("[" * 100_000, "nested too deep"), ('{"a": ' * 100_000, "nested too deep"), ("question_id,answer\n", "holds 0 rows"), ("{}", "holds an object"), ("[1, 2]", "entry 1 is 1, not an object"),
    ('{"questions": [{"question_id": 1, "question": "q"}]}', "holds questions without answers"), ('{"annotations": [{"question_id": 1, "answers": [{"answer": "a"}], "multiple_choice_answer": "a"}]}', "holds the annotations of VQAv2"),
    ('{"1": {"question": "q", "answer": "a", "isBalanced": true}}', "holds GQA's questions"), ('[{"image": "VizWiz_val_00000000.jpg", "question": "q", "answers": [], "answerable": 1}]', "holds what people answered"),
    ('[{"qid": 1, "img_name": "x", "question": "q", "answer": "a", "q_lang": "en"}]', "holds SLAKE's questions"), ('{"x": {"answer": "a"}, "x": {"answer": "b"}}', "1 key more than once"),
    ('{"question_id": 1, "answer": "a"}\n{"question_id": 2, "ans', "is cut off: 1 row could be read before the cut"), ('{"question_id": 1, "answer": "a"}\nx\n{"question_id": 2, "answer": "a"}', "line 2 is not"),
    ('question_id,answer\n1,"red\n2,blue\n', "line 2: a quote"), ("question_id,answer\n1,red\n2", "line 3 has 1 field and the header 2: it is cut off"), (gzip.compress(b"[]", mtime=0)[:-4], "is a gzip archive that is cut short"),
    (b"PK\3\4" + b"\0"*50, "is a zip archive, not results")],
    ids=lambda value: value[:40] if isinstance(value, str) else "bytes")
def test_what_is_no_results_file_is_called_what_it_is(content, says, tmp_path):
    with pytest.raises(UserError, match=says) as error: read_any(write(tmp_path, content))
    assert len(str(error.value)) < 900

def packed(**members):
    "A zip with these members beside those of a small spreadsheet."
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sheet([["question_id", "answer"], [1, "red"]]))) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist(): new.writestr(name, members.get(name.split("/")[-1].split(".")[0], old.read(name)))
    return made.getvalue()

@pytest.mark.parametrize("members, says", [
    (dict(sheet1=b"<a>" + b" "*300_000_000), "unpacks to 300 MB; the limit is"), (dict(sheet1=b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "defines entities"), (dict(styles=b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>'), "defines entities"),
    (dict(sheet1=b"<worksheet"), "cannot be read"), (dict(workbook=b"<x/>"), "cannot be read|no sheet"), (dict(sheet1='<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16")), "is not UTF-8")])
def test_spreadsheets_that_mean_harm(members, says, tmp_path):
    with pytest.raises(UserError, match=says): read_any(write(tmp_path, packed(**members)))

def test_gzip_bombs_are_refused(tmp_path):
    with pytest.raises(UserError, match="unpacks to more than"): read_any(write(tmp_path, gzip.compress(b" "*60_000_000)))

@pytest.mark.parametrize("name", ["official/vqav2_val_results.json", "lmms_eval/limit_8/20260101_000000_samples_vqav2_val.jsonl", "official/aokvqa_predictions.json", "mmf/textvqa_shapes_val_2026-01-01T00-00-00.csv",
                                  "vlmevalkit/tsv/ShapeModel_TextVQA_VAL.tsv", "vlmevalkit/xlsx/ShapeModel_VizWiz.xlsx"])
def test_damaged_files_are_read_or_refused_with_a_sentence(name, tmp_path):
    "Bytes changed, cut or put in at random: rows or a `UserError`, never another error; what is read has answers of text."
    rng, content = random.Random(name), (RULES/"results"/name).read_bytes()
    for number in range(40):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 3, 30))):
            place = rng.randrange(len(changed))
            how = rng.randrange(4)
            if how == 0: changed[place] = rng.randrange(256)
            elif how == 1: changed[place:place] = rng.choice((b'"', b"[", b"}", b",", b"\n", b"null", b"-1e999", b"\xff", b"\0"))
            elif how == 2: del changed[place:place + rng.randrange(1, 200)]
            else: del changed[max(place, 200):]
            if not changed: break
        path = write(tmp_path, bytes(changed))
        try: table = read_any(path)
        except UserError as error:
            assert len(str(error)) < 1500
            continue
        assert table.rows and all(row.answer is None or isinstance(row.answer, str) for row in table.rows)
        try: joined = join_results(table, val_data())
        except UserError: continue
        assert sum(joined.counts[k] for k in ("joined", "missing")) == 24

def test_messages_stay_short_and_clean(tmp_path):
    "Values of strangers, in every message and note."
    evil = "\x1b[31m" + "<script>" + "x"*100_000
    rows = [{"question_id": evil[:200], "question": evil, "answer": evil}, {"question_id": VAL[0], "answer": [evil, evil]}]
    table = read_any(write(tmp_path, rows))
    with pytest.raises(UserError) as error: join_results(table, val_data())
    columns = {f"{evil}{i}": 1 for i in range(50)}
    with pytest.raises(UserError) as other: read_any(write(tmp_path, [columns]))
    for text in (str(error.value), str(other.value), *table.notes): assert len(text) < 1500 and "\x1b" not in text

def test_links_and_devices(tmp_path):
    (tmp_path/"link.json").symlink_to(write(tmp_path, official(RIGHT.items()), "real.json"))
    assert len(read_any(tmp_path/"link.json").rows) == 24
    with pytest.raises(UserError, match="is a device, not a file"): read_any("/dev/zero")
