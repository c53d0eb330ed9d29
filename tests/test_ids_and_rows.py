"""Answers beside ids that mean something, and beside numbers of rows: nothing is scored as what it is not, and no file looks like one that a server takes."""
import json
import shutil
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from beit3_colab import compare, evaluate, open_results, open_run
from beit3_colab.data.dataset import Question
from beit3_colab.data.published import find_pictures_root, pictures_below
from beit3_colab.data.vqa_files import split_name
from beit3_colab.look.plots import plot_accuracy
from beit3_colab.machine.messages import UserError
from beit3_colab.run.task import load_dataset

RULES = Path(__file__).parent/"golden"/"rules"
DATA, HUB, LMU, RESULTS = RULES/"data", RULES/"hf", RULES/"LMUData", RULES/"results"
LMMS = RESULTS/"lmms_eval/current/made-up__shape-model"
TSV = {"textvqa": "TextVQA_VAL", "gqa": "GQA_TestDev_Balanced", "vizwiz": "VizWiz", "docvqa": "DocVQA_VAL"}

def xlsx(dataset):
    return RESULTS/f"vlmevalkit/xlsx/ShapeModel_{TSV[dataset]}.xlsx"

def figures(found): return {f.name: f.value for f in found.figures() if not f.group}

def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path

@pytest.fixture(scope="module")
def vqa():
    from beit3_colab import load_model
    return load_model("sample", device="cpu")


# --- A-OKVQA: a choice is no direct answer

AOKVQA = json.loads((RESULTS/"official/aokvqa_predictions.json").read_text())

def open_aokvqa(path): return open_results(path, dataset="aokvqa", split="val", data_path=DATA/"aokvqa")

@pytest.mark.parametrize("value, accuracy, note", [
    ("as it is", 33.33, ""),
    ("gone", None, "The file has multiple choice alone and no direct answers: there is no accuracy of direct answers."),
    ("", 27.78, "12 answers are empty, and are scored as they are (entry 2, entry 4, entry 6, …)."),
    (None, 50., "12 rows with a choice and no direct answer: the accuracy of direct answers leaves them out.")], ids=["whole", "gone", "empty", "null"])
def test_a_choice_is_never_scored_as_a_direct_answer(value, accuracy, note, tmp_path):
    said = {i: dict(record) for i, record in AOKVQA.items()}
    for number, record in enumerate(said.values()):
        if value == "gone": del record["direct_answer"]
        elif value != "as it is" and number % 2: record["direct_answer"] = value
    found = open_aokvqa(write(tmp_path/"a.json", said))
    assert (found.accuracy and found.accuracy.overall) == accuracy and figures(found)["multiple choice"] == 62.5
    assert len(found.records) == 24 and found.notes == ((note,) if note else ())
    said = [f.note for f in found.figures() if f.name == "left out of direct answers"]
    of = {"gone": None, None: "those 10 of the other 18 that have an answer"}.get(value, "the other 18")
    assert said == ([f"6 of 24 questions are marked difficult; the accuracy is of {of}."] if of else [])

def test_a_table_of_choices_alone_has_multiple_choice_and_no_accuracy(tmp_path):
    lines = [f"{i},{record['multiple_choice']}" for i, record in AOKVQA.items()]
    path = tmp_path/"a.csv"
    path.write_text("\n".join(["question_id,multiple_choice", *lines]))
    found = open_aokvqa(path)
    assert found.accuracy is None and figures(found)["multiple choice"] == 62.5 and set(found.answers["answer"]) == {""}
    assert found.answers["choice"].tolist() == [AOKVQA[i]["multiple_choice"] for i in found.answers["question_id"]]
    assert "no direct answers" in " ".join(found.notes)

def test_a_run_says_the_multiple_choice_that_its_results_file_says(vqa, tmp_path):
    run = evaluate(vqa, dataset="aokvqa", split="val", data_path=DATA/"aokvqa", output_dir=tmp_path/"run", progress=False)
    again, of_file = open_run(tmp_path/"run"), open_aokvqa(run.submission)
    for found in (run, again):
        assert [str(f) for f in found.accuracy.figures] == [str(f) for f in of_file.accuracy.figures]
    assert "multiple choice" in figures(run) and run.accuracy.overall == of_file.accuracy.overall


# --- numbers of rows are no ids

@pytest.mark.parametrize("dataset", TSV)
def test_answers_by_index_open_again_and_look_like_no_submission(dataset, tmp_path):
    found = open_results(xlsx(dataset), data_path=LMU)
    data, path = found.data, found.save_answers(tmp_path/"saved.json")
    assert data.by_row and f"{TSV[dataset]}.tsv numbers its rows and has none of {data.title}'s ids" in " ".join(found.notes)
    entries = json.loads(path.read_text())
    assert [list(e) for e in entries] == [["index", "question", "answer"]]*len(data.questions)
    again = open_results(path, dataset=dataset, data_path=LMU)
    assert again.accuracy.overall == found.accuracy.overall and again.joined.counts["by_row"] == len(entries)
    assert {i: r["answers"] for i, r in again.records.items()} == {i: r["answers"] for i, r in found.records.items()}
    assert data.results_name(True, len(entries)) == f"answers_{dataset}_{data.split}_by_index.json"
    for whole in (True, False):
        said = data.where_to_submit(whole, 3)
        assert said.startswith(f"Nobody takes these: VLMEvalKit's table numbers its rows and does not have {data.title}'s ids") and "data_path=" in said

@pytest.mark.parametrize("dataset", ["gqa", "vizwiz"])
def test_a_run_on_vlmevalkits_table_writes_no_submission(dataset, vqa, tmp_path):
    run = evaluate(vqa, dataset=dataset, data_path=LMU, output_dir=tmp_path/"run", progress=False)
    assert run.submission.name == f"answers_{dataset}_{run.data.split}_by_index.json" and run.evalai.startswith("Nobody takes these")
    again = open_results(run.submission, dataset=dataset, data_path=LMU)
    assert again.accuracy.overall == run.accuracy.overall and list(again.answers["answer"]) == list(run.answers["answer"])
    assert open_run(tmp_path/"run").evalai == run.evalai

@pytest.mark.parametrize("entries, why", [
    ([{"questionId": str(i), "prediction": "yes"} for i in range(36)], r"by 36 ids \('0', '1', '2', …\) and not by a text, so none can be found in GQA testdev_balanced: the data here is VLMEvalKit's table.*give the official files or the Hub's, data_path="),
    ([{"question_id": i, "answer": "yes"} for i in range(36)], r"by 36 ids \(0, 1, 2, …\) and not by a text"),
    ([{"index": i, "answer": "yes"} for i in range(36)], "write a column question beside each number of a row"),
    ([{"index": i, "question": "Is it a whale?", "answer": "yes"} for i in range(36)], "these results are about another split or another data set")])
def test_ids_are_not_joined_to_numbers_of_rows(entries, why, tmp_path):
    with pytest.raises(UserError, match=why): open_results(write(tmp_path/"a.json", entries), dataset="gqa", data_path=LMU)

def test_rows_with_ids_and_texts_are_joined_by_their_texts_to_a_table_without_ids():
    found = open_results(LMMS/"20260101_000000_samples_textvqa_val.jsonl", data_path=LMU)
    assert found.joined.counts["by_id"] == 0 and found.joined.counts["by_text"] == len(found.records) == 12
    assert found.notes[0].startswith("The ids of the results (34607, 34620, 34618, …) were not used: the data here is VLMEvalKit's table")

def test_rows_of_a_table_that_counts_from_elsewhere_are_found_by_its_numbers(tmp_path):
    lines = (LMU/"TextVQA_VAL.tsv").read_text().splitlines()
    place = lines[0].split("\t").index("index")
    def moved(line):
        fields = line.split("\t")
        fields[place] = str(int(fields[place]) + 100)
        return "\t".join(fields)
    (tmp_path/"TextVQA_VAL.tsv").write_text("\n".join([lines[0], *map(moved, lines[1:])]) + "\n")
    data = load_dataset("textvqa", "val", tmp_path)
    assert data.questions[0].question_id == 100
    said = data.answer_file({q.question_id: {"answers": ["x"]} for q in data.questions})
    assert open_results(write(tmp_path/"a.json", said), dataset="textvqa", data_path=tmp_path).joined.counts["by_row"] == 24


# --- what the tool says, and of which rows

def test_a_total_of_more_rows_is_held_against_no_rule():
    found = open_results(xlsx("textvqa"), data_path=HUB/"textvqa")
    assert found.accuracy.notes[-1] == ("VLMEvalKit says 75.00 of all its 24 rows, of which 12 are joined here, by a rule that a part of its rows "
                                        "cannot tell; 83.33 is by mmf_textvqa, the rule of the data set.")

@pytest.mark.parametrize("name, said", [
    ("two_ranks", "lmms-eval says 77.33 of the 15 rows that are scored here, of its 24, by its own rule lmms_vqav2; 70.67 is by official"),
    ("limit_8", "lmms-eval says 72.00 of the 5 rows that are scored here, of its 8, too.")])
def test_the_mean_of_a_part_is_said_to_be_one(name, said):
    found = open_results(RESULTS/f"lmms_eval/{name}/20260101_000000_samples_vqav2_val.jsonl", data_path=DATA/"vqav2")
    assert found.accuracy.notes[-1].startswith(said)

def test_results_on_vqav2_name_the_data_set_and_runs_do_not():
    found = open_results(RESULTS/"official/vqav2_val_results.json", dataset="vqav2", data_path=DATA/"vqav2")
    assert found.label == "vqav2_val_results.json (VQA) on VQAv2 val" and found.data.label == "val"
    assert dict(found.facts())["data"] == "VQAv2 val"

def test_the_task_that_a_file_names_is_told_where_it_is_another(tmp_path):
    path = tmp_path/"M_DocVQA_VAL.xlsx"
    shutil.copy(xlsx("textvqa"), path)
    found = open_results(path, dataset="textvqa", data_path=DATA/"textvqa")
    note = "The file names its data DocVQA_VAL, which is dataset='docvqa', split='val', and it was opened as TextVQA val."
    assert found.notes[0] == note and note in str(compare(found, open_results(xlsx("textvqa"), data_path=DATA/"textvqa")))
    assert "names its data" not in " ".join(open_results(xlsx("textvqa"), data_path=DATA/"textvqa").notes)

@pytest.mark.parametrize("path, options, name", [
    (LMMS/"20260101_000000_samples_vqav2_test.jsonl", dict(data_path=DATA/"vqav2"), "VQAv2 test"),
    (RESULTS/"lavis/aokvqa_test_leaderboard.json", dict(dataset="aokvqa", split="test", data_path=DATA/"aokvqa"), "A-OKVQA test")], ids=["vqav2", "aokvqa"])
def test_why_a_test_split_has_no_accuracy(path, options, name):
    found = open_results(path, **options)
    assert found.accuracy is None and f"People's answers to {name} are not public, so there is no accuracy." in found.notes

def test_the_hubs_table_does_not_say_which_questions_can_be_answered():
    found = open_results(RESULTS/"official/vizwiz_answerability.json", data_path=HUB/"vizwiz")
    assert [(f.name, f.value) for f in found.figures()] == [("not answerable, average precision", None), ("not answerable, F1", None)]
    assert all(f.note.startswith("This table does not say which questions can be answered; VizWiz's own file, such as val.json, does") for f in found.figures())


# --- plots

@pytest.mark.parametrize("path, place", [(LMMS/"20260101_000000_samples_gqa.jsonl", "gqa"), (RESULTS/"lmms_eval/limit_8/20260101_000000_samples_vqav2_val.jsonl", "vqav2")], ids=["gqa", "vqav2"])
def test_a_plot_grows_by_the_room_of_its_notes(path, place, recwarn):
    figure = plot_accuracy(open_results(path, data_path=DATA/place))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert not [w for w in recwarn if "axes sizes collapsed" in str(w.message)]
    below, renderer = figure._supxlabel.get_window_extent(), canvas.get_renderer()
    assert below.y0 >= 0 and figure._supxlabel.get_text().count("\n") >= 5
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert not box.overlaps(below) and box.x0 >= 0 and box.y1 < figure.bbox.y1
        assert axes.get_window_extent().height > 50


# --- where data is found

@pytest.mark.parametrize("name, split", [("validation", "val"), ("testdev", "test-dev"), ("test_dev", "test-dev"), ("val2014", "val")])
def test_other_names_of_vqav2s_splits(name, split): assert split_name(name) == split

def test_vqav2_by_the_hubs_name_in_a_folder_of_several_data_sets(vqa, tmp_path):
    data, same = load_dataset("vqav2", "validation", DATA), load_dataset("vqav2", "val", DATA/"vqav2")
    assert data == same and data.split == "val" 
    assert data.choose_pictures(data.questions).read_image(data.questions[0]).size == (48, 32)
    run = evaluate(vqa, dataset="vqav2", split="validation", data_path=DATA, output_dir=tmp_path/"run", limit=3, progress=False)
    assert open_run(tmp_path/"run").accuracy == run.accuracy and run.identity.split == "val"
    with pytest.raises(UserError, match="has neither vqa/"): load_dataset("vqav2", "val", RULES)

@pytest.mark.parametrize("name", ["a"*5000 + ".jpg", "a\0b.jpg", ("b"*200 + "/")*40 + "c.jpg"], ids=["long", "nul", "deep"])
def test_a_picture_that_no_file_is_called_is_not_there(name, tmp_path):
    assert find_pictures_root(tmp_path, name) == tmp_path
    with pytest.raises(UserError, match="in it: give the folder"): pictures_below(tmp_path, [Question(1, 1, "?", name)])
