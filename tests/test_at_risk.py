"""`vqa.ask(…, at_risk=…)`: on new pictures the answers that are given keep the risk; without a calibration of its own a model refuses."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from beit3_colab import evaluate, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.checkpoint import convert
from beit3_colab.model.vqa import DOES_NOT_KNOW, VQA
from beit3_colab.run.confidence import confidence_of
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.questions import ask_scene
from beit3_colab.scoring.calibration import risk_bounds


@pytest.fixture(scope="module")
def known(vqa, tmp_path_factory):
    "What the sample's model is worth, by some of the sample's questions; the model has it."
    vqa.calibration = confidence_of(evaluate(vqa, output_dir=tmp_path_factory.mktemp("run"), limit=500, progress=False), resamples=100).calibration()
    return vqa

@pytest.fixture(scope="module")
def new():
    "Pictures that are neither in the sample (1 to 200) nor in the training (from 1,000,000 on): picture, question, answer."
    return [(picture, q["question"], q["answer"]) for seed in range(5001, 5061) for picture in [draw_scene(make_scene(seed))] for q in ask_scene(make_scene(seed))]

def asked(vqa, new, **options):
    pictures, questions, _ = zip(*new)
    return vqa.ask(list(pictures), list(questions), **options)

def test_answers_to_new_pictures_keep_the_risk(known, new):
    found = asked(known, new, at_risk=.02)
    plain = [best[1:] if best[0].answer == DOES_NOT_KNOW else best for best in found]
    assert {len(best) for best in plain} == {5} and DOES_NOT_KNOW not in {a.answer for best in plain for a in best}
    sure = np.array([best[0].confidence for best in plain])
    wrong = np.array([best[0].answer != answer for best, (*_, answer) in zip(plain, new)])
    assert wrong.mean() > .03 # more than is asked for: there is something to be silent about
    least = {risk: known.calibration.least_confidence(risk) for risk in (.02, .03, .05, .2)}
    assert [best[0].answer == DOES_NOT_KNOW for best in found] == (sure < least[.02]).tolist()
    for risk, level in least.items(): assert wrong[sure >= level].mean() <= risk, risk
    answered = [(sure >= level).mean() for level in least.values()]
    assert .5 < answered[0] < answered[1] < answered[2] <= answered[3] == 1

def test_its_doubt_tells_how_likely_the_best_answer_is_right(known, new):
    silent = asked(known, new[:40], at_risk=1e-9) # nothing keeps it
    assert [best[0].answer for best in silent] == [DOES_NOT_KNOW]*40 and {len(best) for best in silent} == {6}
    for doubt, best, *_ in silent: assert doubt.confidence == pytest.approx(known.calibration(best.confidence), abs=6e-6)
    assert len(known.ask(new[0][0], new[0][1], top_k=1, at_risk=1e-9)) == 2

def test_a_risk_may_be_numpys(known, new):
    assert asked(known, new[:20], at_risk=np.float64(.02)) == asked(known, new[:20], at_risk=.02)

def test_one_question_several_and_none(known, new):
    picture, question, _ = new[0]
    alone = known.ask(picture, question, at_risk=1e-9)
    assert alone[0].answer == DOES_NOT_KNOW and alone[1:] == known.ask(picture, question)
    assert [best[0].answer for best in known.ask(picture, [question, question], at_risk=1e-9)] == [DOES_NOT_KNOW]*2
    assert known.ask([], [], at_risk=.05) == []

@pytest.mark.parametrize("at_risk", [0, 1, -.05, 1.5, 5, True, "5 %", "0.05", float("nan"), float("inf"), [.05], 10**400, np.float64("nan"), np.bool_(True)])
def test_a_risk_is_between_0_and_1(known, new, at_risk):
    with pytest.raises(UserError, match="at_risk must be a number between 0 and 1, such as 0.05"): known.ask(new[0][0], new[0][1], at_risk=at_risk)

def test_a_model_without_calibration_names_the_remedy(new):
    bare = load_model("sample", device="cpu")
    assert bare.calibration is None
    with pytest.raises(UserError, match=r"set vqa\.calibration = run\.confidence\(\)\.calibration\(\)"): bare.ask(new[0][0], new[0][1], at_risk=.05)

@pytest.mark.parametrize("change, says", [
    (dict(weights_sha256="0"*64), "other weights"),
    (dict(answers_sha256="0"*64), "another list of answers"),
    (dict(image_size=480), "pictures of 480 px, where this one has 192"),
])
def test_another_models_calibration_is_refused(known, change, says):
    own = known.calibration
    with pytest.raises(UserError, match=says): known.calibration = replace(own, **change)
    assert known.calibration == own

def test_another_list_of_answers_is_seen_when_it_is_asked(known, new):
    other = load_model("sample", device="cpu")
    other.calibration = known.calibration
    other.answers = other.answers[::-1]
    with pytest.raises(UserError, match="another list of answers"): other.ask(new[0][0], new[0][1], at_risk=.05)

@pytest.mark.parametrize("bad", [.9, {}, "calibration.json", object()])
def test_only_a_calibration_is_one(known, bad):
    with pytest.raises(UserError, match=r"calibration must be what run\.confidence\(\)\.calibration\(\) gives"): known.calibration = bad

def test_a_model_in_memory_has_nothing_to_be_known_by(known):
    with pytest.raises(UserError, match="was made in memory"): VQA(known.model, known.answers).calibration = known.calibration

def test_a_model_that_looks_at_smaller_pictures_needs_its_own(known):
    small = load_model("sample", device="cpu", image_size=128)
    with pytest.raises(UserError, match="pictures of 192 px, where this one has 128"): small.calibration = known.calibration

def test_a_saved_model_has_its_calibration(known, new, tmp_path):
    folder = known.save(tmp_path/"kept")
    again = load_model(folder, device="cpu")
    assert again.calibration == replace(known.calibration, weights_sha256=again.hash_weights()) and again.notes == ()
    assert asked(again, new[:6], at_risk=.02) == asked(known, new[:6], at_risk=.02)
    smaller = load_model(folder, device="cpu", image_size=128)
    assert smaller.calibration is None and "calibration.json beside the weights is left out" in smaller.notes[0]
    bare = load_model("sample", device="cpu")
    bare.save(folder) # over it: what lay there says nothing of these weights
    assert not (folder/"calibration.json").exists() and load_model(folder, device="cpu").calibration is None

@pytest.fixture(scope="module")
def folder(tmp_path_factory, vqa):
    return load_model("sample", device="cpu").save(tmp_path_factory.mktemp("kept"))

@pytest.mark.parametrize("content, says", [
    (b"", "calibration"), (b"[]", "must hold a JSON object"), (b"{}", "has no method"), (b"\xff\x00", "calibration"), (b"["*100_000, "calibration"),
    (b'{"method": "temperature", "parameters": {"temperature": NaN}}', "calibration"), (b" "*1_000_001, "1,000,000"), (None, "a link"), ("folder", "calibration"),
], ids=["empty", "list", "nothing in it", "no text", "deep", "nan", "large", "link", "folder"])
def test_anybodys_file_beside_the_weights_is_left_out(folder, content, says, tmp_path):
    path = folder/"calibration.json"
    if content is None: path.symlink_to(tmp_path)
    elif content == "folder": path.mkdir()
    else: path.write_bytes(content)
    try: found = load_model(folder, device="cpu")
    finally: path.rmdir() if content == "folder" else path.unlink()
    assert found.calibration is None and len(found.notes) == 1 and "calibration.json beside the weights is left out" in found.notes[0]
    assert says in found.notes[0] and len(found.notes[0]) < 700

def test_notes_of_a_calibration_are_told_when_it_is_given(known, caplog):
    own = known.calibration
    known.calibration = replace(own, notes=("The checkpoint has seen these pictures.",))
    assert "calibration: The checkpoint has seen these pictures." in caplog.text
    known.calibration = own

def test_the_bound_is_kept_where_the_truth_is_known():
    "120 runs of 600 answers; the risk at the least confidence, by the truth, exceeds what was asked in 5 % of them at most."
    broken = {.1: 0, .2: 0}
    grid = np.linspace(-8, 16, 4001)
    density = np.exp(-(grid - 3)**2/8)
    truth = 1/(1 + np.exp(-grid/1.5))
    for seed in range(120):
        draw = np.random.default_rng(seed)
        z = draw.normal(3, 2, 600)
        accuracy = (draw.random(600) < 1/(1 + np.exp(-z/1.5))).astype(float)
        levels, bounds = risk_bounds(np.round(1/(1 + np.exp(-z)), 5), accuracy, np.repeat(np.arange(150), 4).tolist(), 100, seed)
        for risk in broken:
            least = [level for level, bound in zip(levels, bounds) if bound <= risk]
            if not least: continue
            taken = 1/(1 + np.exp(-grid)) >= least[-1]
            broken[risk] += np.average(1 - truth[taken], weights=density[taken]) > risk
    assert max(broken.values()) <= 6, broken


# a calibration follows its weights, and no others

@pytest.fixture
def own(known):
    "The sample's model, loaded anew, with its calibration."
    found = load_model("sample", device="cpu")
    found.calibration = known.calibration
    return found

def nudge(vqa):
    with torch.no_grad(): vqa.model.head[0].weight.mul_(1.5)

def replace_weights(vqa): vqa.model.load_state_dict({name: tensor + .01 for name, tensor in vqa.model.state_dict().items()}, assign=True)

def another_model(vqa): vqa.model = load_model("sample", device="cpu").model

@pytest.mark.parametrize("change", [nudge, replace_weights, another_model], ids=lambda f: f.__name__)
def test_weights_that_were_changed_in_memory_have_no_calibration(own, new, change, tmp_path, caplog):
    kept = own.calibration
    assert not own.is_changed
    change(own)
    assert own.is_changed
    with pytest.raises(UserError, match="are not those that were loaded any more"): own.ask(new[0][0], new[0][1], at_risk=.05)
    with pytest.raises(UserError, match="are not those that were loaded any more"): own.calibration = kept # nor is it given to them
    assert own.ask(new[0][0], new[0][1]) # without a risk it answers
    folder = own.save(tmp_path/"changed")
    assert not (folder/"calibration.json").exists() and "calibration.json is left out: the weights were changed" in caplog.text
    assert load_model(folder, device="cpu").calibration is None

def test_another_device_dtype_or_form_changes_no_weights(own, new, tmp_path):
    picture, question, _ = new[0]
    for use in (lambda: own.expect(10**6), lambda: own.model.to("cpu"), lambda: own.model.double(), lambda: own.model.float(), lambda: own.model.requires_grad_(False), own.model.eval,
                lambda: own.attention(picture, question), lambda: own.ask(picture, question), lambda: own.logits(torch.zeros(1, 192, 192, 3, dtype=torch.uint8), torch.tensor([[0, 2]]))):
        use()
        assert not own.is_changed
    assert own.ask(picture, question, at_risk=1e-9)[0].answer == DOES_NOT_KNOW
    assert load_model(own.save(tmp_path/"kept"), device="cpu").calibration is not None

@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bfloat16+float32"])
def test_a_model_in_another_dtype_may_have_it_and_is_watched_as_well(known, new, dtype):
    found = load_model("sample", device="cpu", dtype=dtype)
    found.calibration = known.calibration
    assert found.ask(new[0][0], new[0][1], at_risk=1e-9)[0].answer == DOES_NOT_KNOW
    with torch.no_grad(): (found.rough or found.model).head[0].bias.add_(1.)
    with pytest.raises(UserError, match="are not those that were loaded any more"): found.ask(new[0][0], new[0][1], at_risk=.05)

def test_a_conversion_takes_it_along(known, own, new, tmp_path, caplog):
    source = own.save(tmp_path/"source")
    caplog.clear()
    again = load_model(convert(source, tmp_path/"target"), device="cpu")
    assert again.calibration == replace(known.calibration, weights_sha256=again.hash_weights()) and again.notes == () and "left behind" not in caplog.text
    assert asked(again, new[:4], at_risk=.02) == asked(known, new[:4], at_risk=.02)
    config, answers = json.loads((source/"config.json").read_text()), load_model(source, device="cpu").answers
    same = convert(source, tmp_path/"same", config={"num_heads": config["num_heads"]}, answers=answers, tokenizer=source/"sentencepiece.model") # what it has anyway
    assert (same/"calibration.json").exists()
    convert("sample", same) # over it: of other weights nothing is left there
    assert not (same/"calibration.json").exists() and "left behind" not in caplog.text

def others_weights(source): (source/"calibration.json").write_text(json.dumps(json.loads((source/"calibration.json").read_text()) | {"weights_sha256": "0"*64}))

def damage(source): (source/"calibration.json").write_bytes(b"[]")

@pytest.mark.parametrize("options, change, says", [
    (dict(answers=True), None, "the new model has another list of answers"), (dict(config={"num_heads": 2}), None, "the new model has another configuration"),
    ({}, others_weights, "it is of other weights"), ({}, damage, "must hold a JSON object")], ids=["answers", "configuration", "weights", "damaged"])
def test_a_conversion_says_why_it_is_left_behind(own, tmp_path, caplog, options, change, says):
    source = own.save(tmp_path/"source")
    if change: change(source)
    if options.get("answers"): options = dict(answers=own.answers[::-1])
    caplog.clear()
    target = convert(source, tmp_path/"target", **options)
    assert not (target/"calibration.json").exists()
    assert "calibration.json beside the weights is left behind" in caplog.text and says in caplog.text

def test_the_official_format_has_no_place_for_it_and_that_is_said(own, tmp_path, caplog):
    source = own.save(tmp_path/"source")
    caplog.clear()
    convert(source, tmp_path/"official.pth")
    assert "calibration.json beside the weights is left behind: the official format holds weights alone" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["official.pth", "source"]
