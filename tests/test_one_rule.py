"""One rule for a figure through every door, and what must stand beside it: too few answers for the official rule, and
questions that the model was trained on."""
import json
import shutil
from dataclasses import replace

import pytest

from beit3_colab import UserError, compare, convert, evaluate, load_model, open_run, score, soft_score
from beit3_colab.commands.cli import main
from beit3_colab.data.dataset import Annotation, converted_from, Dataset, few_answers, metric_of, training_notes
from beit3_colab.data.vqa_files import load_annotations
from beit3_colab.look.browser import result_html, result_text
from beit3_colab.look.plots import plot_accuracy, plot_calibration
from beit3_colab.model.checkpoint import read_answers, sample_folder
from beit3_colab.model.weights import PUBLISHED
from beit3_colab.progress.display import Display
from beit3_colab.run.folder import RunFolder
from beit3_colab.run.tally import Tally
from beit3_colab.scenes import write_scenes
from beit3_colab.scoring.score import RunningScore

ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
BASE = "beit3_base_patch16_480_vqa"
HEADS = json.loads((sample_folder()/"config.json").read_text(encoding="utf-8"))["num_heads"]


def people(counts, said="cat"):
    "A question for each count, answered alike by so many people."
    return [Annotation(i, i // 2, "what", "other", said, (said,)*n) for i, n in enumerate(counts)]

def all_right(annotations): return {a.question_id: a.answers[0] for a in annotations}


# which rule

@pytest.mark.parametrize("counts, metric", [
    ([10, 10], "official"), ([10, 12], "official"), ([10, 9], "exact"), ([1, 1], "exact"), ([3], "exact"), ([], "official")])
def test_the_rule_follows_from_the_answers(counts, metric, tmp_path):
    annotations = people(counts)
    assert metric_of(annotations) == metric_of({a.question_id: a for a in annotations}) == metric
    data = Dataset("val", [], {a.question_id: a for a in annotations} or None, tmp_path)
    assert data.metric == metric
    if counts: assert score(annotations, all_right(annotations)).metric == metric

def test_it_is_found_once_for_every_data_set(tmp_path):
    class Counted(dict):
        looks = 0
        def values(self):
            Counted.looks += 1
            return super().values()
    data = Dataset("val", [], Counted({a.question_id: a for a in people([10]*9)}), tmp_path)
    assert {data.metric for _ in range(9)} == {"official"} and Counted.looks == 1

@pytest.mark.parametrize("count, overall, best", [(1, 0., "nothing can be right"), (2, 33.33, "33.33 % right"), (3, 66.67, "66.67 % right"), (4, 100., "")])
def test_a_perfect_model_is_perfect_and_the_official_rule_says_why_it_is_not(count, overall, best):
    annotations = people([count]*8)
    found, forced = score(annotations, all_right(annotations)), score(annotations, all_right(annotations), metric="official")
    assert (found.overall, found.metric, forced.overall, forced.metric) == (100., "exact", overall, "official")
    assert found.notes == ("8 of 8 questions have fewer than ten answers, so all are scored by exact match.",)
    note, = forced.notes
    assert note.startswith("8 of 8 questions have fewer than ten answers, for which the official rule is not made") and best in note and "--metric exact" in note
    for shown in (str(found), found.foot, found._repr_html_()): assert found.notes[0] in shown
    assert str(found).splitlines()[-1] == found.notes[0] and "not official VQA accuracy" in found.caption

def test_one_odd_question_is_counted():
    annotations = people([10]*199 + [9])
    found = score(annotations, all_right(annotations))
    assert found.metric == "exact" and found.notes[0].startswith("1 of 200 questions has fewer than ten answers, so")
    assert 'metric="official"' in found.notes[0] # a rare one: who wants the official figure is told how
    forced = score(annotations, all_right(annotations), metric="official")
    assert forced.overall == 100 and forced.notes[0].startswith("1 of 200 questions has fewer than ten answers, for which") and "nothing" not in forced.notes[0]

def test_ten_answers_need_no_note():
    annotations = people([10]*4)
    plain, exact = (score(annotations, all_right(annotations), metric=metric) for metric in (None, "exact"))
    assert plain == score(annotations, all_right(annotations), metric="official") and plain.notes == exact.notes == ()
    assert plain.foot == plain.caption

def test_a_part_is_scored_as_the_whole():
    annotations = people([10]*30 + [2])
    part = score(annotations, {i: "cat" for i in range(10)}, partial=True)
    assert part.metric == "exact" and part.notes[0].startswith("1 of 31 questions of the data has fewer than ten answers, so")

@pytest.mark.parametrize("metric", ["oficial", "Exact", "", 1, ["exact"], "x"*5000])
def test_a_rule_that_is_none(metric):
    with pytest.raises(UserError, match="metric must be 'official' or 'exact', not") as error: score(people([10]), {0: "cat"}, metric=metric)
    assert len(str(error.value)) < 200

@pytest.mark.parametrize("count, soft, most", [(1, 30, "worth more than 30"), (2, 60, "worth more than 60"), (3, 90, "worth more than 90"), (5, 100, "")])
def test_the_soft_score_says_it_too(count, soft, most):
    found = soft_score(people([count]*2), {0: "cat", 1: "cat"})
    assert found.soft_score == soft and "2 of 2 questions have fewer than ten answers" in str(found) and most in found._repr_html_()
    assert soft_score(people([10]), {0: "cat"}).notes == ()

def test_the_running_figure_keeps_its_name():
    running = RunningScore("exact")
    running.add(1, "other", 100.)
    assert str(running) == "exact match 100.00, other 100.00" and str(RunningScore()) == "accuracy: no answer yet"


# through every door

@pytest.fixture(scope="module")
def few(tmp_path_factory):
    "A data folder in VQAv2's layout whose first twelve questions have three answers."
    folder = write_scenes(tmp_path_factory.mktemp("few"), range(401, 409), "val")
    path = folder/"vqa"/ANNOTATIONS
    content = json.loads(path.read_text())
    for record in content["annotations"][:12]: record["answers"] = record["answers"][:3]
    path.write_text(json.dumps(content))
    return folder

@pytest.fixture(scope="module")
def answered(vqa, few, tmp_path_factory):
    "All of it answered, with what the display showed."
    return evaluate(vqa, split="val", data_path=few, output_dir=tmp_path_factory.mktemp("answered")/"run", progress=False)

def test_all_doors_give_one_figure(answered, few, tmp_path, capsys):
    annotations, run = load_annotations(few/"vqa"/ANNOTATIONS), answered
    n = len(annotations)
    note = f"12 of {n} questions have fewer than ten answers, so all are scored by exact match"
    again, by_hand = open_run(run.folder, data_path=few), score(few/"vqa"/ANNOTATIONS, run.submission)
    for found in (run.accuracy, again.accuracy, by_hand, score(run.annotations, run.submission)):
        assert (found.metric, found.overall) == ("exact", by_hand.overall) and found.notes[0].startswith(note)
    assert run.soft_score is None and run.metric == run.data.metric == "exact"
    both = compare(run, again)
    assert both.overall.a == both.overall.b == by_hand.overall and both.notes[0].startswith(note) and note in str(both) and note in both._repr_html_()
    assert main(["score", str(run.submission), "--annotations", str(few/"vqa"/ANNOTATIONS)]) == 0
    assert main(["report", str(run.folder), "--data-path", str(few)]) == 0
    told = capsys.readouterr().out
    assert told.count(note) == 2 and told.count(f"overall      {by_hand.overall:>8.2f}") == 2 and "Official" not in told
    page = run.to_html(tmp_path/"page.html", n=2).read_text(encoding="utf-8")
    assert note in page and f"{by_hand.overall:.2f} <small>" in page and "Confidence against exact match" in page
    assert note in run.browse().saved_view() and note in run.browse().result.value
    assert note in plot_accuracy(run).get_supxlabel().replace("\n", " ")
    answers = run.answers
    assert set(answers["accuracy"]) <= {0., 100.} and answers["accuracy"].mean() == pytest.approx(by_hand.overall, abs=.01)

def test_a_limited_run_goes_by_the_rule_of_the_whole(vqa, few, tmp_path):
    run = next(found for found in (
        evaluate(vqa, split="val", data_path=few, output_dir=tmp_path/f"{seed}", limit=3, seed=seed, progress=False) for seed in range(9))
        if not few_answers(found.annotations.values())[0])
    assert run.accuracy.metric == "exact" and "questions of the data have fewer than ten answers" in run.accuracy.notes[0]
    assert run.accuracy.overall == score(few/"vqa"/ANNOTATIONS, run.submission, partial=True).overall
    assert score(few/"vqa"/ANNOTATIONS, run.submission, partial=True).notes == run.accuracy.notes

def test_what_the_display_shows_is_the_same(answered):
    last = Tally(answered, answered.records, Display()).snapshot()
    assert (last.accuracy_name, last.accuracy) == ("exact match", answered.accuracy.overall)


# what a checkpoint was trained on

def says_it(text, split="val"):
    share = {"val": "About 97.5 % of VQAv2's val was training data of ", "train": "All of VQAv2's train was training data of "}[split]
    return share + BASE in " ".join(str(text).replace("&#x27;", "'").split())

@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_checkpoint_is_known(name):
    for written in (name, f"{name}.pth", f"{name} (1)", f"{name}(2).pth"):
        assert [len(training_notes("vqav2", split, written)) for split in ("val", "train", "test", "test-dev")] == [1, 1, 0, 0]
    note, = training_notes("vqav2", "train", name)
    assert note.startswith(f"All of VQAv2's train was training data of {name}: ") and len(note) < 200

@pytest.mark.parametrize("name", ["sample", "mine", f"{BASE}_finetuned", f"my_{BASE}", "beit3_base_patch16_224", "beit3_huge_patch16_480_vqa", ""])
def test_of_other_checkpoints_nothing_is_said(name):
    assert training_notes("vqav2", "val", name) == training_notes("vqav2", "train", name) == ()

def test_other_data_is_not_vqav2(tmp_path):
    assert Dataset("val", [], None, tmp_path).notes_on(BASE) == training_notes("sample", "sample", BASE) == training_notes("own", "own_pictures", BASE) == ()

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_scenes(folder, range(501, 505), "val")
    return write_scenes(folder, range(505, 508), "train")

@pytest.fixture(scope="module")
def published(tmp_path_factory):
    "The sample's weights in a file that is called as a published checkpoint is; its answers and tokenizer are beside it."
    file = convert("sample", tmp_path_factory.mktemp("published")/f"{BASE}.pth")
    shutil.copy(sample_folder()/"sentencepiece.model", file.parent)
    (file.parent/"answers.json").write_text(json.dumps(read_answers(sample_folder())))
    return file

@pytest.fixture(scope="module")
def remembers(published, data, tmp_path_factory):
    "A run of it on val."
    model = load_model(published, config={"num_heads": HEADS}, device="cpu")
    return evaluate(model, split="val", data_path=data, output_dir=tmp_path_factory.mktemp("run")/"val", progress=False)

def test_it_stands_beside_every_figure(remembers, data, vqa, tmp_path, capsys):
    run = remembers
    again, other = open_run(run.folder, data_path=data), evaluate(vqa, split="val", data_path=data, output_dir=tmp_path/"other", progress=False)
    for found in (run, again):
        for text in (found.accuracy, found.accuracy._repr_html_(), found.soft_score, found.soft_score._repr_html_(), found.report(), found.report()._repr_html_(), found.evalai):
            assert says_it(text), text
    assert run.evalai.startswith("EvalAI takes none of this") and other.notes == other.accuracy.notes == () and "training data" not in other.evalai + str(other.report())
    both, alone = compare(other, run), compare(run, run)
    for text in (both, both._repr_html_(), both.browse().saved_view()): assert says_it(text) and "B: About" in text_of(text)
    assert "A and B: About" in text_of(alone) and text_of(alone).count("97.5") == 1
    assert "training data" not in str(compare(other, other))
    page = run.to_html(tmp_path/"page.html", n=2).read_text(encoding="utf-8")
    assert says_it(page.partition("Plots</h2>")[0]) and page.count("training data of") == 1 + sum(f"id='{part}'" in page for part in ("plots", "confidence", "people", "pairs", "probes")) == 4 # beside each section's figures
    browser = run.browse()
    assert says_it(browser.result.value) and says_it(browser.saved_view())
    for draw in (plot_accuracy, plot_calibration): assert says_it(draw(run).get_supxlabel())
    assert main(["report", str(run.folder), "--data-path", str(data)]) == 0 and main(["compare", str(run.folder), str(other.folder), "--data-path", str(data)]) == 0
    assert capsys.readouterr().out.count("About 97.5 % of VQAv2's val was training data of") == 3 # accuracy, report, comparison

def test_while_it_goes_on(remembers):
    assert Tally(remembers, remembers.records, Display()).snapshot().accuracy_name == "accuracy (training data)"

def text_of(text): return " ".join(str(text).replace("&#x27;", "'").split())

def test_on_train_it_was_all_of_it(remembers, published, data, tmp_path, capsys):
    asked = ["evaluate", "--checkpoint", published, "--split", "train", "--data-path", data, "--output-dir", tmp_path/"run", "--device", "cpu", "--quiet"]
    (tmp_path/"heads.json").write_text(json.dumps({"num_heads": HEADS}))
    assert main([*map(str, asked), "--config", str(tmp_path/"heads.json")]) == 0
    told = capsys.readouterr().out
    assert says_it(told, "train") and "97.5" not in told.replace("97.50", "") and says_it(told.rpartition("EvalAI takes none")[2], "train")

def test_a_converted_folder_is_known_by_its_origin(published, remembers, data, tmp_path):
    folder = convert(published, tmp_path/"mine", {"num_heads": HEADS}, read_answers(sample_folder()), sample_folder()/"sentencepiece.model")
    model = load_model(folder, device="cpu", image_size=64)
    assert converted_from(model.source) == f"{BASE}.pth" and model.name == "mine"
    run = evaluate(model, split="val", data_path=data, output_dir=tmp_path/"run", limit=5, progress=False)
    assert run.origin == f"{BASE}.pth" and says_it(run.accuracy)
    (run.folder/"run.json").write_text(json.dumps(run.info | dict(converted_from=f"{BASE}.pth"))) # as it is kept
    assert says_it(open_run(run.folder, data_path=data).accuracy)
    own = convert("sample", tmp_path/BASE) # called so, and says that it comes from elsewhere
    assert converted_from(load_model(own, device="cpu").source) is None

def test_the_index_of_unilm_has_it_beside_the_soft_score(remembers, data):
    targets = {q.question_id: ([0], [1.]) for q in remembers.questions[:3]}
    indexed = RunFolder(remembers.folder, remembers.questions, None, replace(remembers.data, annotations=None, soft_targets=targets))
    indexed.data.__dict__["answer_list"] = lambda: ["yes", "no"]
    assert indexed.accuracy is None and says_it(indexed.soft_score)

def test_the_head_of_the_browser():
    summary = (50., {"right": 1, "partly right": 0, "wrong": 1})
    assert "<script>" not in result_html("2 answers", summary, "exact", ("<script>",)) and "&lt;script&gt;" in result_html("2 answers", summary, "exact", ("<script>",))
    assert result_text("2 answers", summary, "exact", ("A note.",)).endswith("1 wrong. A note.")
    for make in (result_html, result_text): # a rule that cannot say "partly" is not told to have said it of none
        assert "partly" not in make("2 answers", summary, "exact") and "½ 0 partly right" in make("2 answers", summary, "official")
    assert result_text("2 answers", (None, {}), "exact", ("A note.",)) == "2 answers"
