"A data set is one file and one line: a made-up one, with texts for ids, from its opening to the comparison of its runs."
import json
import re
import sys
from pathlib import Path

import pytest

from beit3_colab import check_submission, compare, evaluate, open_run, score
from beit3_colab.data.dataset import Dataset
from beit3_colab.machine.messages import UserError
from beit3_colab.pictures.sources import PictureSource
from beit3_colab.look.tables import read_csv
from beit3_colab.scoring.rules import RULES
from beit3_colab.run import task
from beit3_colab.scenes.sample import open_sample

FILE = '''
from dataclasses import replace
from beit3_colab.data.dataset import Annotation, Dataset, Question
from beit3_colab.scenes.sample import open_sample

class Riddles(Dataset):
    "Questions of the sample under other ids, as A-OKVQA and GQA write theirs: texts, some of them digits alone."
    name = "riddles"

    @classmethod
    def load(cls, split=None, data_path=None, progress=True):
        drawn = open_sample()
        ids = {q.question_id: f"{q.question_id}" if q.question_id % 2 else f"q-{q.question_id}" for q in drawn.questions}
        questions = [Question(ids[q.question_id], f"picture {q.image_id}", q.question, q.image) for q in drawn.questions[:40]]
        people = [replace(drawn.annotations[q.question_id], question_id=ids[q.question_id], image_id=f"picture {q.image_id}")
                  for q in drawn.questions[:40]]
        return cls("riddles", questions, {a.question_id: a for a in people}, drawn.image_root)

    @property
    def label(self): return "riddles"
    def where_to_submit(self, whole, count): return f"Send all {count} to the sphinx." if whole else ""
'''


@pytest.fixture
def riddles(tmp_path, monkeypatch):
    "The one file and the one line."
    (tmp_path/"made_up_riddles.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(task.DATASETS, "riddles", "made_up_riddles:Riddles")
    yield
    sys.modules.pop("made_up_riddles", None)

def run_riddles(vqa, folder, **more):
    return evaluate(vqa, split="riddles", output_dir=folder, progress=False, **more)


def test_a_new_data_set_to_the_end(riddles, vqa, tmp_path):
    run = run_riddles(vqa, tmp_path/"run")
    assert run.label == "BEiT-3 sample model on riddles, 40 questions" and run.submission.name == "submit_riddles_riddles.json"
    assert run.evalai == "Send all 40 to the sphinx." and run.metric == "official"
    results = json.loads(run.submission.read_text())
    assert [r["question_id"] for r in results] == [q.question_id for q in run.questions]
    assert {type(r["question_id"]) for r in results} == {str} and any(r["question_id"].isdigit() for r in results)
    # the same answers as under the sample's own ids, to the digit
    sample = open_sample()
    rows = [dict(image=sample.image_path(q), question=q.question, question_id=q.question_id) for q in sample.questions[:40]]
    same = evaluate(vqa, questions=rows, output_dir=tmp_path/"sample", progress=False)
    answers = dict(zip(same.answers["question_id"], same.answers["answer"]))
    assert [answers[int(re.sub(r"\D", "", i))] for i in run.answers["question_id"]] == run.answers["answer"].tolist()
    assert run.accuracy.overall == pytest.approx(run.answers["accuracy"].mean(), abs=.01) and run.soft_score.num_questions == 40
    assert run.records["1001"]["question_id"] == "1001" and 1001 not in run.records

def test_opened_again_and_continued(riddles, vqa, tmp_path):
    run = run_riddles(vqa, tmp_path/"run")
    assert json.loads((tmp_path/"run"/"run.json").read_text())["dataset"] == "riddles"
    again = open_run(tmp_path/"run")
    assert type(again.data).__name__ == "Riddles" and again.accuracy == run.accuracy and again.answers.equals(run.answers)
    journal = tmp_path/"run"/"answers-0.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:8]))
    run.submission.unlink()
    assert run_riddles(vqa, tmp_path/"run").report().questions == 33
    part = run_riddles(vqa, tmp_path/"part", limit=10)
    count = len(part.questions)
    assert part.submission.name == f"partial_riddles_riddles_{count}.json" and part.evalai == ""
    assert [q.question_id for q in open_run(tmp_path/"part").questions] == [q.question_id for q in part.questions]

def test_looked_at(riddles, vqa, tmp_path):
    run = run_riddles(vqa, tmp_path/"run")
    browser = run.browse(questions=["1001", run.questions[0].question_id])
    assert "2 chosen of 40 answers" in repr(browser) and browser.saved_view().count("<img") == 2
    browser.open("1001")
    browser.step(-1)
    assert browser.question_id == run.questions[0].question_id
    table = read_csv(run.to_csv(tmp_path/"answers.csv"))
    assert table["question_id"].tolist() == run.answers["question_id"].tolist()
    assert "riddles" in run.to_html(tmp_path/"report.html", n=3).read_text()

def test_compared(riddles, vqa, tmp_path):
    run, part = run_riddles(vqa, tmp_path/"run"), run_riddles(vqa, tmp_path/"part", limit=10)
    both = compare(tmp_path/"run", part)
    assert both.agreement == 100. and both.overall.questions == len(part.questions) and both.only_a == 40 - len(part.questions)
    assert f"{len(part.questions)} questions" in repr(both.browse())
    with pytest.raises(UserError, match="no question is answered in both"): compare(run, evaluate(vqa, output_dir=tmp_path/"sample", progress=False, limit=5))

def test_results_with_texts_for_ids(riddles):
    data = task.find_dataset("riddles").load()
    answers = {q.question_id: data.annotations[q.question_id].multiple_choice_answer for q in data.questions}
    entries = [dict(question_id=i, answer=a) for i, a in answers.items()]
    assert check_submission(entries, data.questions).ok and score(data.annotations, answers).overall > 90
    assert score(data.annotations, entries) == score(data.annotations, answers)
    numbers = [dict(e, question_id=int(e["question_id"])) if e["question_id"].isdigit() else e for e in entries]
    assert "question_id that is int instead of str" in str(check_submission(numbers, data.questions))
    assert score(data.annotations, numbers) == score(data.annotations, answers) # the same digits, and it is said

def test_a_data_set_that_says_too_little():
    with pytest.raises(NotImplementedError, match="give it a classmethod load"): Dataset.load("val")
    with pytest.raises(UserError, match="data set 'gqa9' is unknown: use one of vqav2, sample, own, okvqa"): task.find_dataset("gqa9")

@pytest.mark.parametrize("name", task.DATASETS)
def test_every_data_set_answers_for_itself(name):
    kind = task.find_dataset(name)
    assert kind.name == name and issubclass(kind, Dataset)
    data = kind("val", [], None, Path("nowhere"))
    assert isinstance(data.source, PictureSource) and data.remote is False and data.source.missing(["a.jpg"]) == ["a.jpg"]
    assert data.metric in RULES and data.results_name(True, 1) != data.results_name(False, 1)
    assert isinstance(data.where_to_submit(True, 3), str) and isinstance(data.run_info(), dict)

def test_ids_stay_what_they_are():
    data = open_sample()
    assert {type(q.question_id) for q in data.questions} == {int}
