"What a training must not get wrong in small things: ties, capitals, splits that belong to each other, memory, and a start that was refused."
import json

import pytest
import torch
from trainings import TINY, learn, logged, losses, some_rows

from beit3_colab import UserError
from beit3_colab.training.lessons import open_lessons, shared_pictures
from beit3_colab.training.plan import FinetunePlan
from beit3_colab.training.trainer import Progress


def row(accuracy, epoch=1): return dict(epoch=epoch, accuracy=accuracy, interval=None, step=epoch)

@pytest.mark.parametrize("accuracy, strictly, better", [(50., False, True), (50., True, False), (49., False, False), (51., True, True), (None, True, True)])
def test_of_equal_epochs_the_later_one_has_learnt_more(accuracy, strictly, better):
    progress = Progress(best=row(50.))
    assert progress.is_best(row(accuracy, 2), strictly) is better

def test_ten_people_who_write_capitals_are_understood(tmp_path):
    rows = [dict(r, answers=["Yes", "No"][i % 2:][:1]*10) for i, r in enumerate(some_rows(12))]
    training = learn(tmp_path/"t", rows, epochs=1, validation=0)
    assert training.identity.num_questions == 12 and training.identity.num_answers == 2
    assert not any("left out" in note for note in training.info["notes"])

def test_held_out_answers_that_nothing_teaches_are_told(tmp_path):
    rows = [dict(r, answers=["swim" if i >= 20 else "row"]*10) for i, r in enumerate(some_rows(24))]
    training = learn(tmp_path/"t", rows[:20] + [dict(rows[0], answers=["read"]*10)], epochs=1, validation=rows[20:])
    told = [note for note in training.info["notes"] if "cannot be answered rightly" in note]
    assert len(told) == 1 and "4 questions to validate on, of 4" in told[0] and "'swim'" in told[0]

def test_memory_that_runs_out_in_the_first_optimizer_step_changes_nothing(tmp_path, monkeypatch):
    rows = some_rows(24)
    whole = learn(tmp_path/"whole", rows, micro_batch=3, warmup_epochs=0, epochs=1)
    init, calls = torch.optim.AdamW._init_group, []
    def small(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2: raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return init(self, *args, **kwargs)
    monkeypatch.setattr(torch.optim.AdamW, "_init_group", small)
    training = learn(tmp_path/"t", rows, warmup_epochs=0, epochs=1)
    assert len(calls) > 2 and losses(training.folder) == pytest.approx(losses(whole.folder), rel=1e-5)

def test_a_start_that_was_refused_leaves_its_folder_to_another(tmp_path, monkeypatch):
    import beit3_colab.training.trainer as trainer
    def refuse(*args): raise UserError("peft is missing")
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "prepare_trainable", refuse)
        with pytest.raises(UserError, match="peft is missing"): learn(tmp_path/"t", some_rows(12), epochs=1, trainable="lora")
    assert learn(tmp_path/"t", some_rows(12), epochs=1, trainable="head").finished

def test_rows_of_two_tables_are_not_the_same_picture():
    datasets = pytest.importorskip("datasets")
    from PIL import Image
    def part(first): return datasets.Dataset.from_list([
        dict(image=Image.new("RGB", (8, 8), (first + i, 0, 0)), question_id=first + i, image_id=first + i, question="Is it red?", question_type="is it",
             answer_type="yes/no", multiple_choice_answer="yes", answers=["yes"]*10) for i in range(6)])
    tables = datasets.DatasetDict(train=part(0), validation=part(100))
    lessons = open_lessons(FinetunePlan(**TINY, data_path=tables, dataset="vqav2"))
    assert lessons.held_out is not None and len(lessons.held_out.questions) == 6 and len(lessons.training.questions) == 6
    assert shared_pictures(lessons.training, lessons.held_out) == []

def test_a_name_that_is_no_split_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(UserError, match="neither a file or folder nor a share of the pictures; questions of your own have no splits"):
        learn(tmp_path/"t", some_rows(12), validation="val")
    with pytest.raises(UserError, match="answers='dta' .--answers. is neither data, checkpoint, both nor a file"):
        learn(tmp_path/"t", some_rows(12), answers="dta")
    assert not (tmp_path/"t"/"training.json").exists()

def test_what_was_warned_of_before_an_interruption_is_kept(tmp_path, monkeypatch):
    from beit3_colab.progress.display import Display, StopAsked
    class Stops(Display):
        def check_stop(self):
            if self.snapshot and self.snapshot.done >= 12: raise StopAsked
    rows = [dict(r, answers=r["answers"]) for r in some_rows(18)]
    missing = tmp_path/"broken.png"
    missing.write_bytes(b"no picture")
    rows[0]["image"] = str(missing)
    first = learn(tmp_path/"t", rows, bad_images="blank", validation=0, progress=Stops())
    assert not first.finished
    again = learn(tmp_path/"t", rows, bad_images="blank", validation=0)
    assert again.finished and sum("learnt from with a grey picture" in note for note in again.info["notes"]) >= 1
    assert [r["step"] for r in logged(tmp_path/"t") if r["kind"] == "step"] == list(range(1, 10))
    assert json.loads((tmp_path/"t"/"training.json").read_text())["finished"]
