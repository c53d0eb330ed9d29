"A training that was killed, stopped or interrupted goes on to the bits of one that was not."
import json
import random
import signal
import time

import pytest
from trainings import Learner, last_state, learn, logged, same_bits, some_rows


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions")/"questions.json"
    path.write_text(json.dumps(some_rows(60)))
    return str(path)

@pytest.fixture(scope="module")
def whole(tmp_path_factory, questions):
    "A training that nothing has disturbed."
    folder = tmp_path_factory.mktemp("whole")
    learn(folder, questions)
    return folder

@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    learner = Learner(tmp_path_factory.mktemp("learner"))
    yield learner
    learner.close()


OFTEN = dict(save_minutes=1e-5) # a state after each step: kills meet the writing of states, too
LONG = dict(epochs=12)           # 108 steps: no machine is so fast that it ends before it is killed

@pytest.fixture(scope="module")
def long(tmp_path_factory, questions):
    "The same for a training of many epochs."
    folder = tmp_path_factory.mktemp("long")
    learn(folder, questions, **LONG)
    return folder

def lines(folder):
    path = folder/"log.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0

def test_kills_at_twenty_random_moments_change_no_bit(learner, questions, long, tmp_path):
    "However fast the machine is, none of the twenty goes on for more than some four steps."
    folder, moments, met = tmp_path/"killed", random.Random(20), 0
    for number in range(20):
        before = lines(folder)
        learner.start(folder, questions, **OFTEN, **LONG)
        limit = time.monotonic() + 20
        if number % 4: # three of four are met at work, the others while they open everything
            while lines(folder) <= before and time.monotonic() < limit: time.sleep(0.002)
        moment = time.monotonic() + moments.random()*(0.12 if number % 4 else 0.5)
        while time.monotonic() < moment and lines(folder) < before + 4: time.sleep(0.002)
        learner.kill()
        met += learner.wait() == -signal.SIGKILL
    assert met == 20
    learner.start(folder, questions, **OFTEN, **LONG)
    assert learner.wait() == 0, learner.said()
    assert same_bits(folder, long) == {"log": True, "state": True, "weights": True}

def test_a_stop_saves_a_state_and_the_same_call_goes_on(questions, whole, tmp_path):
    from beit3_colab.progress.display import Display
    class StopsAt(Display):
        def show(self, snapshot, final=False):
            super().show(snapshot, final)
            if snapshot.done >= 80: self.stop_asked.set() # in the middle of the second epoch
    folder = tmp_path/"stopped"
    training = learn(folder, questions, progress=StopsAt())
    done, of = training.steps
    assert (training.finished, of) == (False, 27) and 9 < done < 18
    assert done == json.loads(json.dumps(logged(folder)))[-1]["step"]
    assert learn(folder, questions).finished
    assert same_bits(folder, whole) == {"log": True, "state": True, "weights": True}

@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_state_says_how_to_go_on_and_loses_no_step(learner, questions, long, tmp_path, sign):
    folder = tmp_path/"signalled"
    learner.start(folder, questions, save_minutes=60, **LONG)
    limit = time.monotonic() + 20
    while not any(row["kind"] == "step" and row["step"] >= 12 for row in logged(folder) if folder.exists()) and time.monotonic() < limit: time.sleep(0.01)
    learner.kill(sign)
    assert learner.wait() == 1
    assert f"the same call with output_dir={str(folder)!r} continues" in learner.said()
    steps = [row["step"] for row in logged(folder) if row["kind"] == "step"]
    assert 12 <= len(steps) < 108
    learner.start(folder, questions, **LONG)
    assert learner.wait() == 0
    assert same_bits(folder, long) == {"log": True, "state": True, "weights": True}

def test_a_state_that_is_torn_is_told_and_the_one_before_serves(questions, whole, tmp_path):
    from beit3_colab.progress.display import Display
    from beit3_colab.training.folder import read_training_file, write_training_info
    folder = tmp_path/"torn"
    learn(folder, questions)
    info = read_training_file(folder)
    write_training_info(folder, info | dict(finished=None)) # as killed just before its end
    newest = max((folder/"states").glob("state-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1000])
    told = []
    class Hears(Display):
        def warn(self, text): told.append(text)
        note = warn
    assert learn(folder, questions, progress=Hears()).finished
    assert any(newest.name in text for text in told)
    assert same_bits(folder, whole) == {"log": True, "state": True, "weights": True}

def test_averaged_weights_and_the_best_epoch_survive_an_interruption(learner, questions, tmp_path):
    learn(tmp_path/"whole", questions, ema=0.5)
    learner.start(tmp_path/"killed", questions, ema=0.5, **OFTEN)
    limit = time.monotonic() + 20
    while not any(row["step"] >= 20 for row in logged(tmp_path/"killed") if (tmp_path/"killed").exists()) and time.monotonic() < limit: time.sleep(0.01)
    learner.kill()
    learner.wait()
    learn(tmp_path/"killed", questions, ema=0.5)
    assert same_bits(tmp_path/"killed", tmp_path/"whole") == {"log": True, "state": True, "weights": True}
    one, other = (json.loads((tmp_path/name/"training.json").read_text())["best"] for name in ("killed", "whole"))
    assert one == other
    assert any(name.startswith("ema.") for name in last_state(tmp_path/"killed"))

def test_killed_between_a_state_and_its_checkpoint_the_checkpoint_is_made_up_for(questions, whole, tmp_path, monkeypatch):
    from beit3_colab.training import trainer
    def dies(*arguments): raise KeyboardInterrupt # nothing is saved any more
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(trainer, "write_best", dies)
        learn(tmp_path/"t", questions)
    assert not (tmp_path/"t"/"model.safetensors").exists() and json.loads((tmp_path/"t"/"training.json").read_text())["best"] is None
    assert learn(tmp_path/"t", questions).finished
    assert same_bits(tmp_path/"t", whole) == {"log": True, "state": True, "weights": True}
    names = ["validation/best_answers.jsonl", "config.json"]
    assert [(tmp_path/"t"/n).read_bytes() for n in names] == [(whole/n).read_bytes() for n in names]

def test_states_of_another_training_are_not_taken(questions, whole, tmp_path):
    import shutil
    from beit3_colab.machine.messages import UserError
    shutil.copytree(whole/"states", tmp_path/"t"/"states")
    with pytest.raises(UserError, match="states in .* are of another training"): learn(tmp_path/"t", questions, seed=5)
