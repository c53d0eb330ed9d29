"What cannot be meant is refused with the value and the remedy, and what goes wrong on the way loses nothing."
import json
import os
from pathlib import Path

import pytest
import torch
from trainings import TINY, last_state, learn, logged, losses, some_rows

from beit3_colab import evaluate, finetune, open_training
from beit3_colab.machine.messages import UserError
from beit3_colab.progress.display import Display
from beit3_colab.training.network import PlainPass


class Hears(Display):
    def __init__(self):
        super().__init__()
        self.told = []
    def warn(self, text): self.told.append(text)
    note = warn


@pytest.mark.parametrize("wrong, says", [
    (dict(questions=None), r"nothing to learn from: pass questions=… \(--questions\)"),
    (dict(learning_rate=30), r"learning_rate \(--learning-rate\) must be a number above 0.*not 30"),
    (dict(learning_rate=float("nan")), "not nan"),
    (dict(batch_size=0), r"batch_size \(--batch-size\).*not 0"),
    (dict(epochs=0), r"epochs \(--epochs\).*not 0"),
    (dict(epochs=True), "not True"),
    (dict(recipe="publshed"), "did you mean 'published'"),
    (dict(micro_batch=0), "micro_batch must be a whole number of 1 or more, or 'auto', not 0"),
    (dict(validation=1.5), r"share of the pictures from 0 to less than 1, not 1.5.*\(--validation\)"),
    (dict(validation=True), "says not what to validate on"),
    (dict(validation="nowhere.csv"), "nowhere.csv"),
    (dict(save_minutes=0), r"save_minutes \(--save-minutes\) must be a positive number"),
    (dict(trainable="heads"), "trainable must be 'all' or 'head' or 'lora', not 'heads'"),
    (dict(optimizer="sgd"), "optimizer must be"),
    (dict(dtype="float8"), r"dtype must be one of.*\(--dtype\)"),
    (dict(dtype="float16"), "trains on a CUDA GPU only"),
    (dict(checkpoint="no-such"), "no-such"),
    (dict(image_size=63), "image_size"),
    (dict(answers="checkpoint"), "the checkpoint has no answer list"),
    (dict(answers=["maybe", "perhaps"]), "none of .* has an answer that the list knows"),
    (dict(min_count=1000), "smaller min_count"),
    (dict(split="train"), "belong to data sets by name"),
    (dict(seed=-1), "seed .* whole number of 0 or more"),
    (dict(processes="many"), "processes must be"),
    (dict(checkpoint_activations="some"), "checkpoint_activations"),
    (dict(layer_decay=0.9, head_lr_scale=20.), "give head_lr_scale=1"),
], ids=lambda value: "-".join(f"{n}={v}" for n, v in value.items()) if isinstance(value, dict) else "")
def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path, wrong, says):
    with pytest.raises(UserError, match=says): learn(tmp_path/"t", **dict(dict(questions=some_rows(12)), **wrong))
    assert not (tmp_path/"t").exists()

def test_questions_without_answers(tmp_path):
    rows = [dict(image=r["image"], question=r["question"]) for r in some_rows(6)]
    with pytest.raises(UserError, match="nobody's answers to the questions are known"): learn(tmp_path/"t", rows)

def test_some_questions_without_answers_are_counted(tmp_path):
    rows, display = some_rows(24), Hears()
    for row in rows[:3]: row["answers"] = []
    training = learn(tmp_path/"t", rows, epochs=1, validation=0, progress=display)
    assert training.identity.num_questions == 21
    assert any("3 questions" in text and "nobody's answer" in text for text in display.told)

def test_answers_that_no_list_knows_are_counted_and_named(tmp_path):
    rows, display = some_rows(24), Hears()
    for row in rows[:2]: row["answers"] = ["xyzzy"]*10
    learn(tmp_path/"t", rows, epochs=1, validation=0, answers=sorted({r["answers"][0] for r in rows[2:]}), progress=display)
    assert any("answers are not in the list left out" in text for text in display.told)

def test_one_answer_only_is_refused(tmp_path):
    rows = [dict(row, answers=["yes"]) for row in some_rows(12)]
    with pytest.raises(UserError, match="one answer only, 'yes', so a head would have nothing to choose from"): learn(tmp_path/"t", rows)

def test_one_picture_cannot_be_held_out(tmp_path):
    rows = [row for row in some_rows(12) if row["image"] == some_rows(1)[0]["image"]]
    with pytest.raises(UserError, match=r"none can be held out.*validation=0 \(--validation 0\)"): learn(tmp_path/"t", rows, validation=0.1)
    assert learn(tmp_path/"t", rows, epochs=3, batch_size=3).info["validation"] is None # by default it does without

# folders that hold something else

@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")/"t"
    learn(folder, some_rows(24), epochs=1)
    return folder

@pytest.mark.parametrize("other, says", [
    (dict(epochs=2), "epochs 1 there, 2 now"),
    (dict(learning_rate=1e-4), "learning_rate 0.001 there, 0.0001 now"),
    (dict(seed=1), "seed 0 there, 1 now"),
    (dict(questions=some_rows(30)), "questions .* there, .* now"),
    (dict(validation=0), "validation 10 % of the pictures there, none now"),
    (dict(answers="data", min_count=2), "answers .* there, .* now"),
    (dict(checkpoint="sample", config=None, tokenizer=None), "checkpoint tiny_beit3_vqa there, sample now"),
    (dict(trainable="head"), "trainable all there, head now"),
    (dict(image_size=32), "image_size 64 there, 32 now"),
    (dict(bad_images="blank"), "bad_images stop there, blank now"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_a_folder_of_another_training_is_refused_saying_what_differs(trained, other, says):
    before = (trained/"training.json").read_bytes(), last_state(trained)
    with pytest.raises(UserError, match=rf"holds another training \(.*{says}.*\); choose another output_dir \(--output-dir\)"):
        learn(trained, **dict(dict(questions=some_rows(24), epochs=1), **other))
    assert before == ((trained/"training.json").read_bytes(), last_state(trained))

def test_another_answer_to_one_question_is_another_training(trained):
    rows = some_rows(24)
    rows[3]["answers"] = rows[3]["answers"][::-1]
    if rows[3] == some_rows(24)[3]: rows[3]["answers"] = ["no"]*10
    with pytest.raises(UserError, match="questions, answers or pictures to learn from have changed"): learn(trained, rows, epochs=1)

def test_a_folder_of_a_run_or_with_a_checkpoint_is_refused(tmp_path):
    from beit3_colab import convert
    evaluate(limit=6, device="cpu", progress=False, output_dir=tmp_path/"run")
    convert("sample", tmp_path/"weights")
    kept = (tmp_path/"weights"/"model.safetensors").read_bytes()
    with pytest.raises(UserError, match="holds a run of evaluate"): learn(tmp_path/"run", some_rows(12))
    with pytest.raises(UserError, match="holds a checkpoint"): learn(tmp_path/"weights", some_rows(12))
    assert (tmp_path/"weights"/"model.safetensors").read_bytes() == kept

def test_two_trainings_in_one_folder_at_a_time(tmp_path):
    from beit3_colab.training import folder as module
    first = learn(tmp_path/"t", some_rows(12), epochs=500, background=True)
    while not first.begun: pass
    wait = module.training_lock.__wrapped__.__defaults__
    module.training_lock.__wrapped__.__defaults__ = (0.1,) # not ten seconds
    try:
        with pytest.raises(UserError, match=r"process \d+ on .* is training in folder"): learn(tmp_path/"t", some_rows(12), epochs=500)
    finally:
        module.training_lock.__wrapped__.__defaults__ = wait
        first.stop()
    assert first.wait().state == "stopped"

def test_a_damaged_training_file_is_named(trained, tmp_path):
    import shutil
    shutil.copytree(trained, tmp_path/"t")
    path = tmp_path/"t"/"training.json"
    info = json.loads(path.read_text())
    for change, says in ((dict(steps="many"), "steps must be a whole number"), (dict(schema_version=99), "later release"), (dict(notes=[1]), "notes must be")):
        path.write_text(json.dumps(info | change))
        with pytest.raises(UserError, match=says): open_training(tmp_path/"t")
    path.write_text("{")
    with pytest.raises(UserError, match="cut short"): open_training(tmp_path/"t")
    with pytest.raises(UserError, match="is not a training folder"): open_training(tmp_path)

# on the way

def test_a_picture_that_cannot_be_read_stops_or_is_grey(tmp_path):
    rows = some_rows(18)
    copy = tmp_path/"torn.jpg"
    copy.write_bytes(Path(rows[0]["image"]).read_bytes()[:3000])
    rows[0]["image"] = str(copy)
    with pytest.raises(UserError, match="torn.jpg"): learn(tmp_path/"t", rows, validation=0)
    display = Hears()
    training = learn(tmp_path/"u", rows, validation=0, bad_images="blank", progress=display)
    assert training.finished and sum("learnt from with a grey picture" in text for text in display.told) == 1 # once, in three epochs

def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    whole = learn(tmp_path/"whole", some_rows(24))
    call = PlainPass.__call__
    def broken(self, batch, count, scale=1., first=False):
        found = call(self, batch, count, scale, first)
        broken.calls += 1
        return found*float("nan") if broken.calls == 6 else found
    broken.calls = 0
    monkeypatch.setattr(PlainPass, "__call__", broken)
    with pytest.raises(UserError, match="the loss is infinite or NaN.*question_id .*nothing was changed"): learn(tmp_path/"t", some_rows(24))
    monkeypatch.setattr(PlainPass, "__call__", call)
    assert [row["step"] for row in logged(tmp_path/"t") if row["kind"] == "step"] == [1, 2, 3, 4, 5]
    assert learn(tmp_path/"t", some_rows(24)).finished # what was kept is good: it goes on to the same end
    assert losses(tmp_path/"t") == losses(whole.folder) and last_state(tmp_path/"t") == last_state(whole.folder)

def test_memory_that_runs_out_halves_the_portion_and_keeps_the_step(tmp_path, monkeypatch):
    whole = learn(tmp_path/"whole", some_rows(24), micro_batch=6)
    call, sizes = PlainPass.__call__, []
    def small(self, batch, count, scale=1., first=False):
        sizes.append(len(batch.pictures))
        if len(batch.pictures) > 2: raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return call(self, batch, count, scale, first)
    monkeypatch.setattr(PlainPass, "__call__", small)
    display = Hears()
    training = learn(tmp_path/"t", some_rows(24), progress=display)
    assert max(sizes) > 2 >= max(sizes[-20:])
    told = [text for text in display.told if "ran out of memory" in text]
    assert 1 <= len(told) == len(set(told)) <= 2
    assert any("a step is still of 6" in text for text in display.told)
    assert losses(training.folder) == pytest.approx(losses(whole.folder), rel=1e-5)
    def none(self, batch, count, scale=1., first=False): raise MemoryError
    monkeypatch.setattr(PlainPass, "__call__", none)
    with pytest.raises(UserError, match="too little memory to learn from one question.*--trainable head"): learn(tmp_path/"u", some_rows(12), epochs=2)

def test_a_disk_that_is_full_in_the_middle_of_a_state_keeps_the_one_before(tmp_path, small_disk):
    whole = learn(tmp_path/"whole", some_rows(24), epochs=4)
    disk = small_disk("size=40m")
    folder = disk/"t"
    class Fills(Display):
        def show(self, snapshot, final=False):
            super().show(snapshot, final)
            if snapshot.done >= 30 and not (disk/"fill").exists():
                with open(disk/"fill", "wb") as file:
                    try:
                        while True: file.write(b"0"*100_000); file.flush()
                    except OSError: pass
    with pytest.raises(UserError, match="full"): learn(folder, some_rows(24), epochs=4, progress=Fills())
    os.unlink(disk/"fill")
    assert learn(folder, some_rows(24), epochs=4).finished
    assert last_state(folder) == last_state(whole.folder) and losses(folder) == losses(whole.folder)

def test_validation_on_a_split_that_is_learnt_from_or_has_no_answers(tmp_path):
    from beit3_colab.scenes.sample import write_scenes
    write_scenes(tmp_path/"data", range(1_000_000, 1_000_003), "train")
    how = dict(TINY, data_path=tmp_path/"data", output_dir=tmp_path/"t", epochs=2, batch_size=6)
    with pytest.raises(UserError, match="validation='train' .* is what is learnt from"): finetune(**how, validation="train")
    with pytest.raises(UserError, match="v2_mscoco_val2014|val2014"): finetune(**how) # val is not there: it is not guessed what else
    assert not (tmp_path/"t").exists()
