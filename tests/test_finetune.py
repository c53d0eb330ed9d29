"finetune(): what is learnt and held out, what comes of it, and that it is what an evaluation says."
import html
import json
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file
from trainings import TINY, learn, losses, some_rows

from beit3_colab import evaluate, finetune, load_model, open_training
from beit3_colab.machine.messages import UserError
from beit3_colab.progress.display import Display
from beit3_colab.training.folder import TrainingFolder
from beit3_colab.training.plan import FinetunePlan


class Hears(Display):
    "Keeps what is told and shown."
    def __init__(self):
        super().__init__()
        self.told, self.shown = [], []
    def warn(self, text): self.told.append(text)
    note = warn
    def draw(self, snapshot, final): self.shown.append(snapshot)

@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    "A small training on rows in memory."
    return learn(tmp_path_factory.mktemp("tuned")/"tuned", some_rows(60))


def test_what_comes_back_is_a_checkpoint_like_any_other(tuned, tmp_path):
    vqa = load_model(tuned.folder, device="cpu")
    assert vqa.answers == tuned.vqa.answers and len(vqa.answers) == tuned.identity.num_answers
    official = load_model(tuned.save(tmp_path/"official.pth"), config={"num_heads": 4}, answers=vqa.answers, device="cpu")
    again = load_model(tuned.save(tmp_path/"folder"), device="cpu")
    row = some_rows(1)[0]
    one, other, third = (m.model.state_dict() for m in (vqa, official, again))
    assert all(one[name].equal(other[name]) and one[name].equal(third[name]) for name in one)
    assert vqa.ask(row["image"], row["question"]) == again.ask(row["image"], row["question"])

def test_the_figure_of_validation_is_the_one_that_evaluate_gives(tuned):
    best, run = tuned.best, tuned.evaluate(device="cpu", progress=False)
    assert (best.accuracy, best.interval) == (run.accuracy.overall, run.accuracy.interval)
    kept = {row["question_id"]: row["answers"] for row in map(json.loads, (tuned.folder/"validation"/"best_answers.jsonl").read_text().splitlines())}
    assert kept == {i: r["answers"] for i, r in run.records.items()}

def test_a_start_that_can_answer_nothing_is_not_asked(tuned):
    assert [result.epoch for result in tuned.results] == [1, 2, 3] # no answer list lies beside the tiny checkpoint
    with pytest.raises(UserError, match="without an answer list"): tuned.compare(device="cpu", progress=False)

def test_the_start_is_asked_before_it_learns_and_compared(tmp_path):
    training = finetune("sample", questions=some_rows(36), epochs=1, batch_size=18, output_dir=tmp_path/"t", device="cpu", progress=False, answers="checkpoint")
    start, end = training.results
    comparison = training.compare(device="cpu", progress=False)
    assert (start.epoch, end.epoch) == (0, 1)
    assert [run.accuracy.overall for run in (comparison.run_a, comparison.run_b)] == [start.accuracy, end.accuracy]
    assert start.accuracy > 60 # the sample's model, on the sample's pictures
    again = open_training(training.folder)
    assert again.compare(device="cpu", progress=False).run_a.records == comparison.run_a.records

def test_held_out_pictures_are_never_learnt_from(tuned):
    held = {q.image for q in tuned.held_out().questions}
    assert held and tuned.identity.num_questions + tuned.identity.num_validation <= 60
    assert len(tuned.held_out().questions) == tuned.identity.num_validation == tuned.evaluate(device="cpu", progress=False).identity.num_questions

def test_the_log_says_every_step_and_every_epoch(tuned):
    rows = tuned.log
    steps, epochs = ([r for r in rows if r["kind"] == kind] for kind in ("step", "epoch"))
    assert [r["step"] for r in steps] == list(range(1, tuned.info["steps"] + 1))
    assert [r["epoch"] for r in epochs][-3:] == [1, 2, 3]
    for epoch in (1, 2, 3): # the mean over questions
        own = [r for r in steps if epoch - 1 < r["epoch"] <= epoch]
        assert min(r["loss"] for r in own) <= epochs[epoch - 4 + len(epochs)]["loss"] <= max(r["loss"] for r in own)
    assert all(math.isfinite(r["loss"]) and r["grad_norm"] > 0 for r in steps)
    assert steps[-1]["samples"] == 3*tuned.identity.num_questions

def test_a_finished_training_is_not_begun_again(tuned):
    times = {p: p.stat().st_mtime_ns for p in tuned.folder.rglob("*") if p.is_file() and p.name != ".lock"}
    again = learn(tuned.folder, some_rows(60))
    assert again.finished and times == {p: p.stat().st_mtime_ns for p in times}

def test_it_learns_answers_that_nobody_has_taught_it(tmp_path):
    "The sample's model knows none of these words; after a few rounds it says them all."
    rows = [dict(row, answers=["x" + max(row["answers"], key=row["answers"].count)]) for row in some_rows(18)]
    training = finetune("sample", questions=rows, epochs=8, batch_size=6, learning_rate=1e-3, validation=0, randaug=False,
                        smallest_crop=1., output_dir=tmp_path/"t", device="cpu", progress=False)
    found = losses(training.folder)
    assert sum(found[-3:]) < 0.2*sum(found[:3])
    ask = dict(questions=rows, device="cpu", progress=False)
    assert evaluate("sample", output_dir=tmp_path/"before", **ask).accuracy.overall == 0
    assert training.evaluate(output_dir=tmp_path/"after", **ask).accuracy.overall > 80

@pytest.mark.parametrize("more", [dict(micro_batch=1), dict(micro_batch=4, checkpoint_activations=True), dict(workers=2)])
def test_portions_and_workers_change_nothing_but_rounding(tuned, tmp_path, more):
    other = learn(tmp_path/"other", some_rows(60), **more)
    for one, two in zip(losses(tuned.folder), losses(other.folder), strict=True): assert two == pytest.approx(one, rel=1e-5)
    a, b = (load_file(t.folder/"model.safetensors") for t in (tuned, other))
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 1e-4

def test_without_validation_the_last_weights_are_kept(tmp_path):
    training = learn(tmp_path/"t", some_rows(20), validation=0)
    assert training.best.epoch == 3 and training.best.accuracy is None and training.info["validation"] is None
    with pytest.raises(UserError, match="nothing was held out"): training.evaluate()
    state = load_file(max((training.folder/"states").glob("*.safetensors")))
    weights = load_file(training.folder/"model.safetensors")
    assert all(weights[name].equal(state[f"model.{name}"]) for name in weights)

def test_averaged_weights_are_what_comes_out(tmp_path):
    training = learn(tmp_path/"t", some_rows(20), validation=0, ema=0.9)
    state, weights = load_file(max((training.folder/"states").glob("*.safetensors"))), load_file(training.folder/"model.safetensors")
    assert weights["head.3.weight"].equal(state["ema.head.3.weight"]) and not weights["head.3.weight"].equal(state["model.head.3.weight"])

def test_validation_may_be_questions_of_its_own_and_shared_pictures_are_told(tmp_path):
    display = Hears()
    training = learn(tmp_path/"t", some_rows(30), validation=some_rows(12, first=24), epochs=1, progress=display)
    assert training.identity.validation == "questions of their own" and training.identity.num_validation == 12
    assert any("also learnt from" in text and "how well the model remembers" in text for text in display.told)
    quiet = Hears()
    learn(tmp_path/"u", some_rows(24), validation=some_rows(12, first=48), epochs=1, progress=quiet)
    assert not any("also learnt from" in text for text in quiet.told)

def test_the_same_picture_under_two_names_is_on_one_side(tmp_path):
    rows = some_rows(24)
    copies = {}
    for number, row in enumerate(rows): # each question has a copy of its picture
        copy = tmp_path/f"{number}.jpg"
        copy.write_bytes(Path(row["image"]).read_bytes())
        copies[str(copy)] = row["image"]
    training = learn(tmp_path/"t", [dict(row, image=name) for row, name in zip(rows, copies)], validation=0.3, epochs=1)
    held = {copies[str(training.held_out().dataset.image_path(q))] for q in training.held_out().questions}
    count = sum(row["image"] in held for row in rows)
    assert count == training.identity.num_validation # all questions about these pictures

def test_limit_draws_whole_pictures(tmp_path):
    training = learn(tmp_path/"t", some_rows(60), limit=20, epochs=1, validation=0)
    assert 20 <= training.identity.num_questions < 30

def test_a_data_set_by_name_and_its_own_val(tmp_path):
    from beit3_colab.scenes.sample import write_scenes
    for split, first in (("train", 1_000_000), ("val", 1)): write_scenes(tmp_path/"data", range(first, first + 3), split)
    how = {name: value for name, value in TINY.items()}
    training = finetune(**how, data_path=tmp_path/"data", epochs=1, warmup_epochs=0, batch_size=6, output_dir=tmp_path/"t")
    i = training.identity
    assert (i.data, i.validation) == ("vqav2 train", "val")
    assert i.num_validation == len(training.held_out().questions) and training.best.interval is not None
    assert training.info["identity"]["recipe"]["learning_rate"] == 3e-5 # the published recipe
    other = finetune(**how, data_path=tmp_path/"data", validation=0.34, epochs=1, warmup_epochs=0, batch_size=6, output_dir=tmp_path/"u")
    assert other.identity.validation == "34 % of the pictures" and len({q.image for q in other.held_out().questions}) == 1

def test_unilms_index_is_learnt_as_the_reference_does(tmp_path):
    "train and trainable_val are learnt from, rest_val is validated on; its labels are the targets."
    from beit3_colab.scenes.sample import sample_data_folder
    pictures = sorted((sample_data_folder()/"val2014").glob("*.jpg"))[:8]
    (tmp_path/"val2014").mkdir()
    for path in pictures: (tmp_path/"val2014"/path.name).write_bytes(path.read_bytes())
    (tmp_path/"answer2label.txt").write_text("".join(json.dumps(dict(answer=a, label=i)) + "\n" for i, a in enumerate(("yes", "no", "red"))))
    def lines(first, numbers):
        return "".join(json.dumps(dict(image_path=f"val2014/{pictures[n].name}", text_segment=[5 + n, 9], labels=[n % 3], scores=[0.9], qid=first + n)) + "\n" for n in numbers)
    for name, first, numbers in (("train", 100, range(4)), ("trainable_val", 200, range(4, 6)), ("rest_val", 300, range(6, 8))):
        (tmp_path/f"vqa.{name}.jsonl").write_text(lines(first, numbers))
    training = finetune(**TINY, data_path=tmp_path, epochs=1, batch_size=3, output_dir=tmp_path/"t")
    i = training.identity
    assert (i.num_questions, i.num_validation, i.num_answers) == (6, 2, 3)
    assert {q.question_id for q in training.held_out().questions} == {306, 307}
    assert training.best.accuracy in (0, 45, 90) and training.vqa.answers == ["yes", "no", "red"]
    assert {row["metric"] for row in training.log if row["kind"] == "epoch"} == {"soft"}

def test_the_display_sees_what_a_person_wants_to_know(tmp_path):
    display = Hears()
    learn(tmp_path/"t", some_rows(24), epochs=2, progress=display)
    last = display.shown[-1]
    assert (last.state, last.unit, last.done, last.total) == ("finished", "sample", last.total, last.total)
    assert {"loss", "learning rate", "epoch"} >= {name for name, _ in last.details} >= {"learning rate", "epoch"}
    assert last.accuracy is not None and last.accuracy_name.startswith("validation")
    assert any(dict(s.details).get("loss") for s in display.shown)
    assert any("the training needs about" in text for text in display.told)

def test_in_the_background(tmp_path):
    training = learn(tmp_path/"t", some_rows(20), epochs=1, background=True)
    assert training.wait() is training and (training.state, training.finished, training.running) == ("finished", True, False)
    assert "finished" in repr(training) and training.best.epoch == 1
    stopped = learn(tmp_path/"u", some_rows(20), epochs=500, background=True)
    while not stopped.begun or not any(r["kind"] == "step" for r in stopped.log): pass
    stopped.stop()
    assert stopped.wait().state == "stopped" and stopped.steps[0] < stopped.steps[1]
    wrong = finetune("no-such-model", questions=some_rows(3), background=True, progress=False)
    with pytest.raises(UserError, match="no-such-model"): wrong.wait()
    with pytest.raises(UserError, match="the training failed before it had a folder"): wrong.folder

def test_the_head_alone_leaves_the_encoder_as_it_was(tmp_path):
    training = learn(tmp_path/"t", some_rows(20), trainable="head", epochs=1, validation=0)
    before, after = load_model(TINY["checkpoint"], config=TINY["config"], device="cpu").model.state_dict(), load_file(training.folder/"model.safetensors")
    changed = {name.split(".")[0] for name in after if after[name].shape != before[name].shape or not after[name].equal(before[name])}
    assert changed == {"pooler", "head"}

def test_a_loaded_model_is_copied(tmp_path):
    vqa = load_model("sample", device="cpu")
    before = {name: tensor.clone() for name, tensor in vqa.model.state_dict().items()}
    training = finetune(vqa, questions=some_rows(12), epochs=1, warmup_epochs=0, output_dir=tmp_path/"t", progress=False, device="cpu")
    assert all(tensor.equal(before[name]) for name, tensor in vqa.model.state_dict().items())
    assert training.identity.checkpoint == "sample"
    with pytest.raises(UserError, match="loaded model, which is not kept"): training.compare()

def test_the_plan_is_the_signature():
    import inspect
    assert list(inspect.signature(finetune).parameters) == list(FinetunePlan.__dataclass_fields__)
    with pytest.raises(TypeError, match="did you mean 'epochs'"): finetune(epoch=3)

def test_a_training_can_be_looked_at(tuned):
    assert "best epoch" in repr(tuned) and "<table>" in tuned._repr_html_()
    assert ".plot()" in tuned._repr_html_() and ".compare().browse()" in tuned._repr_html_() and f"evaluate({str(tuned.folder)!r}" in html.unescape(tuned._repr_html_()) # what can be done next
    assert isinstance(open_training(tuned.folder), TrainingFolder)
    assert tuned.plot().axes

def test_a_table_whose_rows_have_no_picture_names_is_split_by_what_its_pictures_show(tmp_path):
    "VQA-RAD's table on the Hub: each row brings its picture, and the same picture stands in several rows."
    import pandas as pd
    rows = some_rows(24)
    table = [dict(image=dict(bytes=Path(r["image"]).read_bytes(), path=None), question=r["question"], answer=max(r["answers"], key=r["answers"].count)) for r in rows]
    (tmp_path/"data").mkdir()
    pd.DataFrame(table).to_parquet(tmp_path/"data"/"train-00000-of-00001.parquet")
    training = finetune(**TINY, dataset="vqarad", data_path=tmp_path, validation=0.3, epochs=1, warmup_epochs=0, batch_size=8, output_dir=tmp_path/"t")
    held = {rows[int(q.image_id.split()[1])]["image"] for q in training.held_out().questions}
    assert sum(r["image"] in held for r in rows) == training.identity.num_validation > 1
