"""`beit3-colab selftest --online` against a local server: a stand-in checkpoint under the official name, whose answers
people agree with as often as the test says."""
import random
import re

import pytest
from file_server import Fault, FileServer
from official_standin import ANSWERS, RELEASES, make_checkpoint, mirror, official_json, serve_json, serve_pictures
from official_standin import QUESTIONS as QUESTIONS_PATH

from beit3_colab import evaluate
from beit3_colab.commands.cli import main
from beit3_colab.data.vqav2_online import ANNOTATIONS
from beit3_colab.commands.selftest import CHECKPOINT, QUESTIONS, expected_range, selftest


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory): return make_checkpoint(tmp_path_factory.mktemp("standin"), CHECKPOINT)

@pytest.fixture(scope="module")
def found(checkpoint, tmp_path_factory):
    "What the stand-in answers: question_id → answer."
    folder = tmp_path_factory.mktemp("found")
    served = {**checkpoint, **serve_json(official_json()), **serve_pictures("val2014")}
    with FileServer(served) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEIT3_COLAB_MIRROR", mirror(server))
        patch.setenv("BEIT3_COLAB_CACHE", str(folder/"cache"))
        run = evaluate(CHECKPOINT, "val", limit=QUESTIONS, output_dir=folder/"run", progress=False, device="cpu")
        return {i: r["answers"][0] for i, r in run.records.items()}

@pytest.fixture
def online(checkpoint, found, tmp_path, monkeypatch):
    "Make the official addresses answer, with people who agree with the stand-in on a share of the questions."
    with FileServer({**checkpoint, **serve_pictures("val2014")}) as server:
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(server))
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        def serve(share):
            right = random.Random(0).sample(sorted(found), round(share*len(found)))
            other = {i: next(x for x in ANSWERS if x != a) for i, a in found.items()}
            server.files |= serve_json(official_json({**other, **{i: found[i] for i in right}}))
            return server
        yield serve


def test_official_weights_pass(online, capsys):
    server = online(0.8)
    assert main(["selftest", "--online", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[1:-1]] == ["pass"]*4
    assert f"{CHECKPOINT}.pth" in lines[3] and "expected 65." in lines[4] and "send these lines in" in lines[-1]
    asked = [r.path for r in server.requests]
    assert len(asked) == len(set(asked)) and asked[:2] == [f"{RELEASES}/beit3.spm", f"{RELEASES}/{CHECKPOINT}.pth"]
    assert sum(path.startswith(QUESTIONS_PATH) for path in asked) == 3
    assert 30 < sum(path.endswith(".jpg") for path in asked) < 50 # of 200

def test_an_accuracy_below_the_range_fails(online, capsys):
    online(0.5)
    assert main(["selftest", "--online", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "pass  published checkpoint" in out
    assert re.search(r"FAIL  VQAv2 val: (4|5)\d\.\d+ % of 20\d questions of val", out)
    assert "please report these lines" in out

def test_a_server_without_the_checkpoint_fails_in_words(online):
    online(0.8).fail(f"{RELEASES}/{CHECKPOINT}.pth", *[Fault(status=404)]*20)
    result = selftest(online=True, progress=False)
    assert [s.ok for s in result.steps] == [True, True, False] and "404" in result.steps[-1].message

def test_the_range_leaves_room_for_chance_and_not_for_faults():
    low, high = expected_range(78.46, QUESTIONS)
    assert 44 + 15 < low < 78.46 - 2*100*(.7846*.2154/QUESTIONS)**.5 and high == 100

def test_annotations_of_another_version_fail_in_words(online):
    server = online(0.8)
    files = official_json()
    first, second = (files[name] for name in ANNOTATIONS)
    first["annotations"] = first["annotations"][9:] # without the first answer of the list
    second["annotations"] = [a | dict(multiple_choice_answer="no") for a in second["annotations"]]
    server.files |= serve_json(files)
    result = selftest(online=True, progress=False)
    assert [s.ok for s in result.steps] == [True, True, True, False]
    assert "give 4 answers, but 5 are expected" in result.steps[-1].message
