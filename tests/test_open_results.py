"""Other tools' files, opened: the accuracy of each golden file by its data set's rule, what the tool says beside it, and everything that shows answers without a confidence.

The files, and the scores of each row, are those of `golden/rules`, which the reference programs gave."""
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import beit3_colab
from beit3_colab import compare, evaluate, open_results
from beit3_colab.commands.cli import main
from beit3_colab.look.plots import calibration_table, plot_accuracy, plot_calibration, show_answers
from beit3_colab.look.search import SORTS
from beit3_colab.look.tables import read_csv
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import AnsweredQuestions
from beit3_colab.run.task import DATASETS, load_dataset
from beit3_colab.scoring.rules import find_rule
from hostile import every_html

RULES = Path(__file__).parent/"golden"/"rules"
EXPECTED = json.loads((RULES/"expected.json").read_text())
LMMS, OLD, EXCEL = "lmms_eval/current/made-up__shape-model/20260101_000000_samples_", "lmms_eval/v0.3.0/made-up__shape-model/20260101_000000_samples_", "vlmevalkit/xlsx/ShapeModel_"

FILES = { # file → where its data is, what must be named beside it, and what it is worth by its data set's rule
    "official/vqav2_val_results.json": ("data/vqav2", dict(dataset="vqav2"), 68.75),
    f"{LMMS}vqav2_val.jsonl": ("hf/vqav2", {}, 68.75),
    f"{OLD}vqav2_val.jsonl": ("data/vqav2", {}, 68.75),
    "lmms_eval/v0.6/made-up__shape-model/20260101_000000_samples_vqav2_val.jsonl": ("hf/vqav2", {}, 68.75),
    "lmms_eval/v0.2.0/0101_0000_shapes_shape_model_args_10f7cd/vqav2_val.json": ("data/vqav2", {}, 68.75),
    "lmms_eval/two_ranks/20260101_000000_samples_vqav2_val.jsonl": ("hf/vqav2", {}, 68.75),
    f"{LMMS}ok_vqa_val2014.jsonl": ("data/okvqa", {}, 61.67),
    f"{LMMS}vizwiz_vqa_val.jsonl": ("data/vizwiz", {}, 56.25),
    f"{LMMS}textvqa_val.jsonl": ("data/textvqa", {}, 79.17),
    f"{LMMS}gqa.jsonl": ("hf/gqa", {}, 61.11),
    f"{OLD}gqa.jsonl": ("data/gqa", {}, 61.11),
    "lavis/vqav2/val_vqa_result.json": ("data/vqav2", dict(dataset="vqav2"), 68.75),
    "lavis/okvqa/val_vqa_result.json": ("data/okvqa", dict(dataset="okvqa"), 61.67),
    "lavis/aokvqa/val_vqa_result.json": ("data/aokvqa", dict(dataset="aokvqa", split="val"), 33.33),
    "lavis/gqa/val_vqa_result.json": ("data/gqa", dict(dataset="gqa", split="val_balanced"), 61.11),
    "mmf/vqa2_shapes_val_2026-01-01T00-00-00.csv": ("data/vqav2", dict(dataset="vqav2"), 68.75),
    "mmf/vizwiz_shapes_val_2026-01-01T00-00-00.json": ("data/vizwiz", {}, None), # the running number of a row is no picture's
    "official/gqa_predictions.json": ("data/gqa", dict(split="val_all", dataset="gqa"), 61.11),
    "official/aokvqa_predictions.json": ("data/aokvqa", dict(dataset="aokvqa"), 33.33),
    "official/vizwiz_upload.json": ("data/vizwiz", {}, 56.25),
    f"{EXCEL}TextVQA_VAL.xlsx": ("data/textvqa", {}, 79.17),
    f"{EXCEL}TextVQA_VAL_results.xlsx": ("LMUData", {}, 79.17),
    "vlmevalkit/tsv/ShapeModel_TextVQA_VAL.tsv": ("LMUData", {}, 79.17),
    "vlmevalkit/json/ShapeModel_TextVQA_VAL.json": ("LMUData", {}, 79.17),
    "vlmevalkit/think/ShapeModel_TextVQA_VAL.xlsx": ("LMUData", {}, 79.17),
    f"{EXCEL}GQA_TestDev_Balanced_results.xlsx": ("LMUData", {}, 61.11),
    f"{EXCEL}VizWiz.xlsx": ("LMUData", {}, 56.25),
    f"{EXCEL}DocVQA_VAL_results.xlsx": ("LMUData", {}, 64.92),
}
SCORED = {name: place for name, place in FILES.items() if place[2] is not None}

def open_golden(name, **options):
    place, named, _ = FILES[name]
    return open_results(RULES/"results"/name, data_path=RULES/place, **(named | options))

def row_score(row, balanced=True):
    "The score of a row by the reference program, 0 to 1; None where it is not known or not counted."
    if row.get("balanced", True) is False: return None
    return row.get("score", row.get("da_score"))


@pytest.mark.parametrize("name", SCORED, ids=str)
def test_each_golden_file_is_worth_what_the_reference_program_says(name):
    found, expected = open_golden(name), EXPECTED[f"results/{name}"]
    assert found.accuracy.overall == SCORED[name][2] and find_rule(found.data.metric).name == found.accuracy.metric == found.metric
    ids = list(map(str, found.answers["question_id"]))
    if FILES[name][0] == "LMUData": ids = [expected["index_to_id"][int(i)] for i in ids] # VLMEvalKit's table numbers its rows
    worth = dict(zip(ids, found.answers["accuracy"]))
    known = {i: row_score(row) for i, row in expected["rows"].items() if row_score(row) is not None}
    assert len(worth) == len(found.records) == len(expected["rows"])
    assert {i: worth[i] for i in known} == pytest.approx({i: 100*score for i, score in known.items()}, abs=.005)
    told = {i: row["tool_score"] for i, row in expected["rows"].items() if row.get("tool_score") is not None}
    if "tool_score" in found.answers and "DocVQA" not in name: # its scores are distances; the reader makes what the total uses of them
        scores = dict(zip(ids, found.answers["tool_score"]))
        assert {i: scores[i] for i in told} == pytest.approx({i: 100*score for i, score in told.items()})

@pytest.mark.parametrize("name, said", [
    (f"{LMMS}vqav2_val.jsonl", "lmms-eval says 72.92 by its own rule lmms_vqav2; 68.75 is by official, the rule of the data set: .rules() shows which answers differ."),
    (f"{OLD}vqav2_val.jsonl", "lmms-eval says 68.75, too."),
    (f"{LMMS}ok_vqa_val2014.jsonl", "lmms-eval says 65.83 by its own rule lmms_ok_vqa; 61.67 is by official, the rule of the data set: .rules() shows which answers differ."),
    (f"{LMMS}vizwiz_vqa_val.jsonl", "lmms-eval says 64.58 by its own rule lmms_vizwiz; 56.25 is by vizwiz_official, the rule of the data set: .rules() shows which answers differ."),
    (f"{LMMS}textvqa_val.jsonl", "lmms-eval says 79.17, too."),
    (f"{LMMS}gqa.jsonl", "lmms-eval says 63.89 by its own rule lmms_gqa; 61.11 is by gqa_official, the rule of the data set: .rules() shows which answers differ."),
    (f"{EXCEL}TextVQA_VAL.xlsx", "VLMEvalKit says 75.00 by its own rule vlmeval_vqa_score; 79.17 is by mmf_textvqa, the rule of the data set: .rules() shows which answers differ."),
    (f"{EXCEL}GQA_TestDev_Balanced_results.xlsx", "VLMEvalKit says 63.89 by its own rule vlmeval_gqa; 61.11 is by gqa_official, the rule of the data set: .rules() shows which answers differ."),
    (f"{EXCEL}DocVQA_VAL_results.xlsx", "VLMEvalKit says 64.92, too."),
])
def test_what_the_tool_says_stands_beside_with_its_rule(name, said):
    notes = open_golden(name).accuracy.notes
    assert notes[-1] == said and all(re.match(r"[A-Z0-9]|\S*[_.-]", note) and note.endswith(".") for note in notes)

def test_what_was_not_joined_is_counted_and_the_total_is_of_more_rows():
    found = open_results(RULES/f"results/{LMMS}vqav2_val.jsonl", data_path=RULES/"data/vqav2") # the official order is another
    assert (len(found.records), len(found.answers), found.accuracy.num_questions) == (15, 15, 15)
    notes = "\n".join(found.accuracy.notes)
    assert "9 rows could not be joined" in notes and "9 questions of VQAv2 val without an answer in the results" in notes
    assert "lmms-eval says 72.92 of all its 24 rows, of which 15 are joined here, by its own rule lmms_vqav2; 70.67 is by official" in notes

@pytest.mark.parametrize("name, figures", [
    ("official/gqa_predictions.json", {"consistency": 61.111, "validity": 77.778, "plausibility": 72.222, "binary": 60., "open": 62.5}),
    ("official/aokvqa_predictions.json", {"multiple choice": 62.5}),
])
def test_figures_of_the_official_program_stand_in_print_html_and_report(name, figures, tmp_path):
    found = open_golden(name)
    said = {f.name: f.value for f in found.accuracy.figures if not f.group}
    assert {n: said[n] for n in figures} == pytest.approx(figures, abs=.001)
    page = found.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    for text in (str(found.accuracy), found.accuracy._repr_html_(), page):
        assert all(n in text and f"{value:.2f} %" in text for n, value in figures.items())

def test_answerability_has_figures_and_no_accuracy(tmp_path, capsys):
    place = dict(data_path=RULES/"data/vizwiz")
    found = open_results(RULES/"results/official/vizwiz_answerability.json", **place)
    said = {f.name: f.value for f in found.figures()}
    assert found.accuracy is None and (round(said["not answerable, average precision"], 2), round(said["not answerable, F1"], 2)) == (85.02, 63.16)
    assert found.answers["answerable"].between(0, 1).all() and found.answers["answer"].tolist() == [""]*24
    assert "85.02 %" in found.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    assert main(["open", str(RULES/"results/official/vizwiz_answerability.json"), "--data-path", str(place["data_path"])]) == 0
    assert "average precision: 85.02 %" in capsys.readouterr().out
    again = open_results(found.save_answers(tmp_path/"a.json"), **place)
    assert {i: r["answerable"] for i, r in again.records.items()} == {i: r["answerable"] for i, r in found.records.items()} and len(again.records) == 24
    assert set(json.loads((tmp_path/"a.json").read_text())[0]) == {"image", "answerable"} and again.figures() == found.figures()

def test_where_only_answerability_is_told_nothing_looks_like_an_answer(tmp_path, capsys):
    found = open_results(RULES/"results/official/vizwiz_answerability.json", data_path=RULES/"data/vizwiz")
    browser, said = found.browse(), "The file tells how likely each can be answered at all (answerable), and no answers."
    assert browser.controls["correctness"].layout.display == "none" and said in browser.result.value and said in browser.saved_view()
    card = "".join(every_html(browser.grid.cards.children[0]))
    assert "answerable 0.28" in card and "people:" not in card and "beit3-chip" not in card
    browser.open(found.questions[0].question_id)
    assert "the model: <b><bdi>answerable 0.28</bdi></b></span>" in browser.detail.heading.value
    page = found.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    assert said in page and "None of them has an answer" not in page and "answerable 0.28" in page
    with pytest.raises(UserError, match="correctness cannot be asked for: these answers have no accuracy"): found.browse(correctness="wrong")
    assert main(["open", str(found.path), "--data-path", str(RULES/"data/vizwiz")]) == 0 and said in capsys.readouterr().out


def test_a_test_split_opens_without_accuracy(tmp_path, capsys):
    found = open_results(RULES/f"results/{LMMS}vqav2_test.jsonl", data_path=RULES/"data/vqav2")
    assert found.accuracy is None and "accuracy" not in found.answers and len(found.answers) == 8
    browser = found.browse()
    assert len(browser.rows) == 8 and browser.status.value == ""
    page = found.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    assert "there is no accuracy" in page and "lmms-eval" in page and page.count("<article ") == 8
    with pytest.raises(UserError, match="the human answers are not public for this split"): found.rules()
    assert main(["open", str(found.path), "--data-path", str(RULES/"data/vqav2"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "overall" not in told and told["counts"]["joined"] == 8
    for value in ("wrong", "right", "unknown"):
        with pytest.raises(UserError, match="correctness cannot be asked for: these answers have no accuracy"): found.browse(correctness=value)

def test_of_a_test_split_everything_is_written_that_can_be(tmp_path, capsys):
    files = {name: tmp_path/name for name in ("a.html", "a.csv", "a.json")}
    asked = ["open", str(RULES/f"results/{LMMS}vqav2_test.jsonl"), "--data-path", str(RULES/"data/vqav2"), "--rules"]
    assert main([*asked, "--html", str(files["a.html"]), "--csv", str(files["a.csv"]), "--answers-file", str(files["a.json"])]) == 2
    out, err = capsys.readouterr()
    assert "The human answers are not known, so there is no accuracy." in out and all(str(path) in out for path in files.values())
    assert err.count("\n") == 1 and "no rule can be applied" in err
    assert len(read_csv(files["a.csv"])) == len(json.loads(files["a.json"].read_text())) == 8
    assert main([*asked, "--csv", str(tmp_path/"nowhere"/"a.csv"), "--answers-file", str(tmp_path/"b.json")]) == 2 # the first file cannot be, the second can
    assert "no rule can be applied; " in capsys.readouterr().err and (tmp_path/"b.json").exists()

def test_what_the_rule_leaves_out_is_marked_and_counted(tmp_path, capsys):
    found = open_golden("official/aokvqa_predictions.json")
    browser = found.browse()
    for text in (browser.result.value, browser.saved_view()): assert "6 not counted by the rule" in text
    assert all(f" {n} {word}" in browser.result.value for n, word in ((2, "right"), (9, "partly right"), (7, "wrong")))
    left_out = [i for i, a in found.annotations.items() if not a.counted]
    marked = [card.question_id for card in (browser.grid._cards + (browser.grid.turn(2) or [])) if "not counted by the rule" in card.facts.value]
    assert len(left_out) == 6 and set(marked) <= set(left_out) and marked
    browser.open(left_out[0])
    assert "not counted by the rule" in browser.detail.heading.value
    browser.controls["correctness"].value = "wrong"
    assert "not counted" not in browser.result.value
    page = found.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    assert "6 of 24 answers are not counted by the rule." in page and page.count("not counted by the rule</p>") == 6
    where = ["open", str(found.path), "--dataset", "aokvqa", "--data-path", str(RULES/"data/aokvqa")]
    assert main(where) == 0 and "6 of 24 answers are not counted by the rule." in capsys.readouterr().out
    assert main([*where, "--json"]) == 0
    notes = {f["name"]: f["note"] for f in json.loads(capsys.readouterr().out)["figures"]}
    assert notes == {f.name: f.note for f in found.figures()} and any(notes.values())
    assert "not counted" not in open_golden("official/vqav2_val_results.json").browse().result.value

@pytest.mark.parametrize("name, kind", [("official/gqa_predictions.json", "GQA accuracy (GQA's own rule), 95 % interval"),
                                        (f"{LMMS}textvqa_val.jsonl", "TextVQA accuracy (TextVQA's own rule), 95 % interval"),
                                        ("official/vqav2_val_results.json", "official VQA accuracy, 95 % interval")], ids=["gqa", "textvqa", "vqav2"])
def test_names_of_rules_stay_as_they_are_written(name, kind, tmp_path):
    found = open_golden(name)
    page = found.to_html(tmp_path/"page.html").read_text(encoding="utf-8").replace("&#x27;", "'")
    assert f"<p>{kind}" in page
    name = found.accuracy.name
    assert f"{name[0].upper()}{name[1:]} by answer type" in page and f"{name[0].upper()}{name[1:]} on the questions" in str(compare({"a": found, "b": found}))
    assert plot_accuracy(found).get_suptitle().startswith("Accuracy with" if name == "accuracy" else f"{name} with")

def test_heads_stand_over_their_figures():
    for name in ("official/gqa_predictions.json", "official/aokvqa_predictions.json", "official/vqav2_val_results.json"):
        score = open_golden(name).accuracy
        head, *rows = str(replace(score, per_answer_type={"a type of answers": 1.5, **score.per_answer_type}, intervals={"a type of answers": (1., 2.), **score.intervals},
                                  counts={"a type of answers": 7, **score.counts})).splitlines()[:3]
        end = head.index(score.name) + len(score.name)
        assert head[end:end + 3] == "   " and all(re.match(r".*\d\.\d\d {3}\d", row) for row in rows)
        assert {row.index(" – ") for row in (rows[0],)} and len({len(row) for row in rows if row.startswith(("overall", "a type"))}) == 1


UNNAMED = [
    ("official/vqav2_val_results.json", {}, r"vqav2_val_results\.json \(VQA, results in the official form\) does not say which data set it is about: name it with dataset=… \(--dataset\), one of vqav2, sample,"),
    ("official/gqa_predictions.json", {}, r"does not say of which split: name it with split=… \(--split\), and dataset='gqa' \(--dataset\)"),
    ("official/aokvqa_predictions.json", {}, r"does not say of which split.* dataset='aokvqa'"),
    ("official/vqav2_val_results.json", dict(dataset="vqa-v2"), "data set 'vqa-v2' is unknown: use one of vqav2"),
    ("official/vqav2_val_results.json", dict(dataset="vqav2", split="test", data_path="data/vqav2"), "they look like another split or another data set"),
    ("official/vqav2_val_results.json", dict(dataset="okvqa", data_path="data/okvqa"), "they look like another split or another data set"),
    (f"{LMMS}vqav2_val.jsonl", dict(data_path="data/okvqa"), "has neither vqa/v2_OpenEnded_mscoco_val2014_questions.json"),
    (f"{LMMS}gqa.jsonl", dict(dataset="textvqa", data_path="data/textvqa"), "these results are about another split or another data set"),
    ("official/vqav2_val_results.json", dict(dataset="own"), r"questions of your own are not known by name: give data_path=… \(--data-path\)"),
    ("broken/cut_off.json", dict(dataset="vqav2", data_path="data/vqav2"), "cut off"),
    ("lmms_eval/current/made-up__shape-model/20260101_000000_results.json", {}, "has lmms-eval's totals and no answers"),
    ("nowhere.json", {}, "nowhere.json"),
    ("official/vqav2_val_results.json", dict(dataset="vqav2", data_path="data/vqav2", images="/nowhere/at/all"), "nowhere"),
]

@pytest.mark.parametrize("name, named, said", UNNAMED, ids=[f"{i}-{Path(name).name}" for i, (name, *_) in enumerate(UNNAMED)])
def test_nothing_is_guessed(name, named, said):
    named = {key: RULES/value if key == "data_path" else value for key, value in named.items()}
    with pytest.raises(UserError, match=said): open_results(RULES/"results"/name, **named)

def test_the_data_set_itself_may_be_given():
    data = load_dataset("okvqa", "val", RULES/"data/okvqa")
    path = RULES/"results/lavis/okvqa/val_vqa_result.json"
    assert open_results(path, data).accuracy.overall == 61.67
    with pytest.raises(UserError, match="has its split and its place"): open_results(path, data, "val")
    assert open_results(str(path), "okvqa", "val2014", str(RULES/"data/okvqa")).accuracy.overall == 61.67

def test_own_questions_are_opened_from_their_file(tmp_path):
    from PIL import Image
    Image.new("RGB", (40, 30), "red").save(tmp_path/"a.png")
    (tmp_path/"q.jsonl").write_text("\n".join(json.dumps(dict(image="a.png", question=f"What is {i}?", answers=["red"], question_id=f"q{i}")) for i in range(3)))
    (tmp_path/"theirs.csv").write_text("question_id,answer\nq0,red\nq2,blue\n")
    found = open_results(tmp_path/"theirs.csv", "own", data_path=tmp_path/"q.jsonl")
    assert (found.accuracy.overall, found.accuracy.metric, found.accuracy.num_questions) == (50., "exact", 2)
    assert any("1 question" in note and "without an answer" in note for note in found.notes)

UNSEEN = ["a\u202eb\u200bc", "nul\0here", "soft\u00adhyphen", "\ufeffmark", "wo\u2060rd", " red\u200e \n", "half\ud83dway", "plain"]

@pytest.mark.parametrize("people, metric", [(1, "exact"), (10, "official")])
def test_the_same_text_on_both_sides_is_right_whatever_it_holds(people, metric, tmp_path):
    "Characters that nobody sees come with copies from web pages and tables. What is taken out of people's answers is taken out of a file's, too."
    from PIL import Image
    Image.new("RGB", (32, 32), "red").save(tmp_path/"a.png")
    (tmp_path/"q.json").write_text(json.dumps([dict(image="a.png", question=f"What is it, {i}?", answers=[text]*people) for i, text in enumerate(UNSEEN)]))
    (tmp_path/"theirs.json").write_text(json.dumps([dict(question_id=i, answer=text) for i, text in enumerate(UNSEEN, 1)]))
    found = open_results(tmp_path/"theirs.json", "own", data_path=tmp_path/"q.json")
    assert found.metric == metric and set(found.answers["accuracy"]) == {100}, found.answers[["answer", "correct_answer", "accuracy"]].map(ascii)
    assert found.answers["answer"].tolist() == found.answers["correct_answer"].tolist()

def test_the_official_rule_takes_no_character_out():
    assert find_rule("official")("re\u200bd", ("red",)*10) == 0 and find_rule("official")("re\u200bd", ("re\u200bd",)*10) == 1

def test_every_task_that_is_known_is_of_a_data_set():
    from beit3_colab.run.other_results import _TASKS
    assert {name for name, _ in _TASKS.values()} <= set(DATASETS)


# Without confidence

@pytest.fixture(scope="module")
def theirs(): return open_golden("vlmevalkit/think/ShapeModel_TextVQA_VAL.xlsx")

def no_nan(text): return not re.search(r"\bnan\b", re.sub(r"src='data:[^']*'", "", text), re.IGNORECASE)

def test_a_browser_asks_for_no_confidence_where_none_is_known(theirs):
    browser = theirs.browse(sort="mistakes")
    c = browser.controls
    assert c["min_confidence"].layout.display == c["max_confidence"].layout.display == "none"
    assert dict(map(reversed, c["sort"].options)) == {n: t for n, t in SORTS.items() if n not in ("confident", "unsure", "margin")} | {"mistakes": "mistakes first"}
    verdicts = (browser.index.accuracy[browser.rows] > 0).tolist()
    assert verdicts == sorted(verdicts) and browser.status.value == ""
    wrong = browser.index.table["question_id"].iloc[[row for row in browser.rows if browser.index.accuracy[row] == 0]].tolist()
    assert wrong == [i for i, a in zip(theirs.answers["question_id"], theirs.answers["accuracy"]) if a == 0] # in the order of the questions
    browser.grid.cards.children[0].children[1].click()
    shown = "".join(every_html(browser.widget)) + browser.saved_view()
    assert no_nan(shown) and "confidence" not in re.sub(r"<style>.*?</style>", "", shown, flags=re.S)
    with pytest.raises(UserError, match="sort 'unsure' goes by confidence, and nobody has told"): theirs.browse(sort="unsure")
    with pytest.raises(UserError, match="max_confidence cannot be asked for"): theirs.browse(max_confidence=.5)

@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    "An official list whose model thought aloud, in lines and markup."
    path = tmp_path_factory.mktemp("thinker")/"answers.json"
    rows = json.loads((RULES/"results/official/vqav2_val_results.json").read_text())
    path.write_text(json.dumps([dict(r, answer=f"<think>Is it <b>red</b>?\nPerhaps\u202e.</think>{r['answer']}") for r in rows]))
    return open_results(path, "vqav2", data_path=RULES/"data/vqav2")

def test_thoughts_and_the_whole_text_can_be_unfolded(thinker, tmp_path):
    assert thinker.accuracy.overall == 68.75 and any("24 answers have thoughts before </think>" in note for note in thinker.notes)
    browser = thinker.browse()
    browser.open(thinker.questions[0].question_id)
    for shown in (browser.detail.answers.value, thinker.to_html(tmp_path/"page.html").read_text(encoding="utf-8")):
        assert "<summary>What it thought</summary>" in shown and "Is it &lt;b&gt;red&lt;/b&gt;?</bdi><br><bdi>Perhaps.</bdi>" in shown
        assert "<summary>The whole text</summary>" in shown and "&lt;think&gt;" in shown and "\u202e" not in shown

def test_report_plots_and_tables_do_without_confidence(theirs, tmp_path):
    page = theirs.to_html(tmp_path/"page.html").read_text(encoding="utf-8")
    body = page[page.index("<body>"):page.index("<script>")]
    assert no_nan(re.sub(r"<[^>]*>", " ", body)) and "No plot of calibration: nobody has told how sure the model was" in body
    assert "confidence, highest first" not in body and "Nobody has told what time and memory" in body and body.count("<figure") == 3 # accuracy, confusions, people
    assert "BEiT-3 model" not in body and "as VLMEvalKit wrote them down" in body
    for draw in (plot_calibration, calibration_table):
        with pytest.raises(UserError, match="nobody has told how sure the model was of its answers, so there is nothing to hold against its accuracy"): draw(theirs)
    figure = show_answers(theirs)
    assert not any("nan" in ax.get_xlabel() or "(" in ax.get_xlabel().split("\n")[0] for ax in figure.axes if ax.get_xlabel())
    assert figure.get_suptitle().startswith("Answers\n")

@pytest.mark.parametrize("name, columns", [("", {"raw", "thinking"}), ("vlmevalkit/think/ShapeModel_TextVQA_VAL.xlsx", {"thinking"}), (f"{LMMS}vqav2_val.jsonl", {"tool_score"}), ("official/aokvqa_predictions.json", {"choice"}),
                                           ("official/vizwiz_upload.json", set())], ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)))
def test_a_table_with_what_the_tool_told_is_read_back_equal(thinker, name, columns, tmp_path):
    found = open_golden(name) if name else thinker
    table, path = found.to_pandas(), found.to_csv(tmp_path/"a.csv")
    assert {"raw", "thinking", "tool_score", "choice", "answerable"} & set(table) == columns and table["confidence"].isna().all()
    assert not re.search(r",nan\b", path.read_text(encoding="utf-8"))
    pd.testing.assert_frame_equal(read_csv(path), table, check_dtype=False)
    assert len(found.to_csv(tmp_path/"b.csv", spreadsheet=True).read_text(encoding="utf-8").splitlines()) >= 25

def test_some_confidences_are_enough_to_sort_by(tmp_path):
    (tmp_path/"a.jsonl").write_text("\n".join(json.dumps(r) for r in json.loads((RULES/"results/official/vqav2_val_results.json").read_text())))
    found = open_results(tmp_path/"a.jsonl", "vqav2", data_path=RULES/"data/vqav2")
    found.joined.records[4263000]["confidences"] = [.25]
    browser = found.browse(sort="confident")
    assert browser.controls["sort"].value == "confident" and browser.index.table["question_id"].iloc[browser.rows[0]] == 4263000
    assert len(found.browse(min_confidence=.1).rows) == 1
    assert len(calibration_table(found)) == 1


# Ways on

@pytest.mark.parametrize("name", ["official/vqav2_val_results.json", f"{LMMS}ok_vqa_val2014.jsonl", f"{LMMS}vizwiz_vqa_val.jsonl", "official/gqa_predictions.json", "official/aokvqa_predictions.json", f"{EXCEL}TextVQA_VAL.xlsx"], ids=str)
def test_answers_in_the_official_form_are_the_same_answers(name, tmp_path):
    found = open_golden(name)
    again = open_results(found.save_answers(tmp_path/"answers.json"), replace(found.data))
    assert again.accuracy.per_question == found.accuracy.per_question
    assert {i: r["answers"] for i, r in again.records.items()} == {i: r["answers"] for i, r in found.records.items()}
    assert {i: r.get("choice") for i, r in again.records.items()} == {i: r.get("choice") for i, r in found.records.items()}

def test_a_hugging_face_data_set_has_pictures_and_no_confidence():
    taken = open_golden(f"{LMMS}ok_vqa_val2014.jsonl").to_dataset()
    assert taken["confidence"][:] == [None]*24 and taken[0]["image"].mode == "RGB" and taken[0]["tool_score"] is not None
    assert round(sum(taken["accuracy"][:])/24, 2) == 61.67

def test_hugging_face_data_sets_are_put_together(tmp_path):
    import datasets
    run = evaluate("sample", device="cpu", output_dir=tmp_path/"run", limit=6, progress=False)
    (tmp_path/"a.json").write_text(json.dumps([dict(question_id=i, answer="yes") for i in run.records]))
    theirs = open_results(tmp_path/"a.json", "sample")
    both = datasets.concatenate_datasets([d.to_dataset(folder=tmp_path/"pictures") for d in (run, theirs)])
    assert len(both) == 12 and both["confidence"][6:] == [None]*6 and min(both["confidence"][:6]) > 0 and both["top_confidences"][6:] == [[]]*6
    assert str(both.features["confidence"].dtype) == "float64"

def test_missing_pictures_are_counted_and_said(tmp_path, caplog):
    found = open_golden("official/vqav2_val_results.json")
    missing = tmp_path/"data"
    shutil.copytree(RULES/"data/vqav2", missing)
    alone = open_results(found.path, "vqav2", data_path=missing)
    with caplog.at_level("WARNING", "beit3_colab"): taken = alone.to_dataset()
    assert taken["image"][:] == [None]*24 and "24 of 24 answers without a picture that is there: image is None there" in caplog.text
    caplog.clear()
    open_golden(f"{LMMS}ok_vqa_val2014.jsonl").to_dataset()
    assert "without a picture" not in caplog.text

def test_the_command_compares_files_with_runs(tmp_path, capsys):
    run = evaluate("sample", device="cpu", output_dir=tmp_path/"run", limit=20, progress=False)
    path = tmp_path/"a.json"
    path.write_text(json.dumps([dict(question_id=i, answer="yes") for i in run.records]))
    capsys.readouterr()
    assert main(["compare", str(run.folder), str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_questions"] == len(run.records) and told["rows"][0]["b"] == open_results(path, "sample").accuracy.overall
    assert main(["compare", str(path), str(run.folder), str(path), "--dataset", "sample", "--reference", "B"]) == 0
    assert "A − B" in capsys.readouterr().out
    asked = [str(RULES/"results"/name) for name in ("official/vqav2_val_results.json", f"{LMMS}vqav2_val.jsonl")]
    assert main(["compare", *asked, "--dataset", "vqav2", "--split", "val", "--data-path", str(RULES/"hf/vqav2")]) == 0
    assert "68.75" in capsys.readouterr().out
    for given, said in (([str(path), str(path)], "--dataset"), ([str(run.folder)]*2 + ["--split", "val"], "--split is about files of results"),
                        ([str(run.folder), asked[0]], "they look like another split or another data set")):
        assert main(["compare", *given]) == 2
        assert said in (told := capsys.readouterr().err) and "open_results(" not in told

def test_the_command_prints_figures_rules_and_notes(tmp_path, capsys):
    path, place = str(RULES/f"results/{LMMS}vqav2_val.jsonl"), str(RULES/"hf/vqav2")
    assert main(["open", path, "--data-path", place, "--rules"]) == 0
    out = capsys.readouterr().out
    assert "68.75" in out and "lmms_vqav2" in out and "by its own rule" in out and no_nan(out)
    files = [str(tmp_path/n) for n in ("a.html", "a.csv", "a.json")]
    assert main(["open", path, "--data-path", place, "--json", "--rules", "--html", files[0], "--csv", files[1], "--answers-file", files[2]]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["overall"], told["metric"], told["tool"], told["tool_totals"]["exact_match"]) == (68.75, "official", "lmms-eval", pytest.approx(.729167))
    assert next(r["percent"] for r in told["rules"] if r["rule"] == "lmms_vqav2") == 72.92 and all(Path(f).stat().st_size for f in files)
    with pytest.raises(SystemExit): main(["open", path, "--data-pth", place])
    assert main(["open", str(RULES/"results/official/vqav2_val_results.json")]) == 2
    assert "--dataset" in capsys.readouterr().err

def test_importing_the_library_stays_light():
    code = "import sys, beit3_colab; beit3_colab.open_results; assert not {'torch', 'ipywidgets', 'matplotlib', 'datasets', 'openpyxl', 'fiftyone'} & set(sys.modules), sorted(sys.modules)"
    assert "open_results" in beit3_colab.__all__
    done = subprocess.run([sys.executable, "-c", "import sys, beit3_colab; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_results_are_what_a_run_is():
    found = open_golden("official/vqav2_val_results.json")
    assert isinstance(found, AnsweredQuestions) and not found.running and found.loadable is None
    found.refresh()
    assert len(found.records) == 24 and repr(found) == f"Results(vqav2_val_results.json (VQA) on VQAv2 val: 24 answers, in {found.path})"

@pytest.mark.parametrize("name, options, said", [("official/aokvqa_predictions.json", {}, "chose <b><bdi>"), (f"{LMMS}vqav2_val.jsonl", {}, "by its tool 60 %"), ("official/vizwiz_answerability.json", dict(data_path=RULES/"data/vizwiz"), "answerable 0.28")], ids=["choice", "score", "answerable"])
def test_a_detail_says_what_the_tool_says_beside_the_answer(name, options, said):
    found = open_golden(name) if not options else open_results(RULES/"results"/name, **options)
    browser = found.browse()
    browser.open(next(i for i, a in zip(found.answers["question_id"], found.answers["answer"]) if a == "circle-like") if "lmms" in name else found.questions[0].question_id)
    assert said in browser.detail.heading.value and no_nan(browser.detail.heading.value)

@pytest.mark.parametrize("given, said", [(7, "7"), (None, "None"), ("", "."), ({"a": 1}, "results file|path")])
def test_what_is_no_path_is_refused(given, said):
    with pytest.raises(UserError, match=said): open_results(given, "sample")

def test_a_run_folder_is_named(tmp_path):
    (tmp_path/"run.json").write_text("{}")
    with pytest.raises(UserError, match="is the folder of a run of beit3-colab; open it with open_run"): open_results(tmp_path)
