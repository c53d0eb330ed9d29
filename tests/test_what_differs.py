"What makes two runs two, in words: a folder that holds another run, runs that cannot be compared, names that there are not."
import json
import re
from dataclasses import asdict, replace

import pytest
import torch

from beit3_colab import UserError, compare, evaluate, open_run
from beit3_colab.data.dataset import Dataset, Question
from beit3_colab.run.comparison import count_renumbered
from beit3_colab.run.journal import Identity, check_same_run, describe_differences, open_folder
from beit3_colab.run.plan import Plan
from beit3_colab.run.task import dataset_name, find_dataset
from beit3_colab.model.vqa import load_model, VQA
from beit3_colab.run.run_list import read_runs
from beit3_colab.scenes import draw_scene, make_scene

ASKED = Identity("sample", "w"*64, "a"*64, "t"*64, "sample", "q"*64, 53, 192, "float32")
KEPT = dict(data_path="/data", images="auto", limit=50, seed=0, question_ids=[*range(53)])
OTHER = dict(questions_sha256="r"*64)


def told(info=None, kept=KEPT, **changed):
    return "; ".join(describe_differences(dict(kept, identity=asdict(ASKED)), replace(ASKED, **changed), info))

@pytest.mark.parametrize("changed, says", [
    ({}, ""),
    (dict(dtype="bfloat16"), "dtype float32 there, bfloat16 now"),
    (dict(image_size=1024), "image_size 192 there, 1,024 now"),
    (dict(weights_sha256="v"*64), "other weights under the same name"),
    (dict(checkpoint="mine", weights_sha256="v"*64), "checkpoint sample there, mine now"),
    (dict(checkpoint="mine"), "checkpoint sample there, mine now (the same weights)"),
    (dict(weights_sha256="in memory"), "weights from a file there, in memory now"),
    (dict(weights_sha256=f"{'v'*64}, in memory"), "weights from a file there, in memory now"),
    (dict(weights_sha256=f"{'v'*64}, changed in memory"), "weights from a file there, changed in memory now"),
    (dict(weights_sha256=f"{'v'*64}, model_ema"), "other weights under the same name"),
    (dict(answers_sha256="b"*64), "another answer list"),
    (dict(tokenizer_sha256="u"*64), "another tokenizer"),
    (dict(tokenizer_sha256=None), "a tokenizer there, none now"),
    (dict(split="val", num_questions=214_354, **OTHER), "split sample there, val now"),
    (dict(num_questions=22, **OTHER), "limit 50 there, 53 questions; 22 now"),
    (OTHER, "a picture or a question has changed, or their order"),
    (dict(weights_sha256="v"*64, dtype="float16"), "other weights under the same name; dtype float32 there, float16 now")])
def test_each_difference_has_its_words(changed, says):
    assert told(**changed) == says

@pytest.mark.parametrize("info, changed, says", [
    (dict(KEPT, limit=20, question_ids=[*range(22)]), dict(num_questions=22, **OTHER), "limit 50 there, 20 now"),
    (dict(KEPT, limit=None, question_ids=None), dict(num_questions=1093, **OTHER), "limit 50 there, none now"),
    (dict(KEPT, limit=20, seed=3), dict(num_questions=22, **OTHER), "limit 50 there, 20 now; seed 0 there, 3 now"),
    (dict(KEPT, seed=3), OTHER, "seed 0 there, 3 now"),
    (dict(KEPT, data_path="/mnt"), OTHER, "data_path /data there, /mnt now"),
    (dict(KEPT, question_ids=[*range(1, 54)]), OTHER, "other questions (53 there and now)"),
    (KEPT, OTHER, "a picture or a question has changed, or their order"),
    (KEPT, dict(num_questions=54, **OTHER), "other questions (53 there, 54 now)")])
def test_how_questions_were_chosen_is_told_where_it_is_known(info, changed, says):
    assert told(info, **changed) == says

def test_a_limit_of_nobody_is_not_told():
    whole = dict(KEPT, limit=None, question_ids=None)
    assert told(kept=whole, num_questions=54, **OTHER) == told(dict(whole, seed=9), whole, num_questions=54, **OTHER) == "other questions (53 there, 54 now)"

@pytest.mark.parametrize("identity", [{}, None, 7, dict(asdict(ASKED), checkpoint="x"*100_000, split="y"*100_000, num_questions=None, questions_sha256=[1]*9999)])
def test_a_run_file_that_somebody_changed(identity, tmp_path):
    (tmp_path/"run.json").write_text(json.dumps(dict(KEPT, identity=identity)))
    with pytest.raises(UserError, match="run.json.* identity.* must be .*is damaged or was changed: .*start the run in another one") as error: open_folder(tmp_path, ASKED)
    assert len(str(error.value)) < 700 and not re.search("[0-9a-f]{40}", str(error.value).replace(str(tmp_path), ""))
    (tmp_path/"run.json").write_text(json.dumps([1, 2]))
    with pytest.raises(UserError, match=r"run.json must hold a JSON object, not \[1, 2\]"): check_same_run(tmp_path, ASKED)

def test_no_hash_is_told_to_a_person(tmp_path):
    (tmp_path/"run.json").write_text(json.dumps(dict(KEPT, identity=asdict(ASKED))))
    changed = replace(ASKED, weights_sha256="v"*64, answers_sha256="b"*64, tokenizer_sha256="u"*64, **OTHER)
    with pytest.raises(UserError) as error: open_folder(tmp_path, changed)
    assert "sha256" not in str(error.value) and "vvvv" not in str(error.value)

def test_a_run_in_the_folder_of_another(vqa, tmp_path):
    evaluate(vqa, output_dir=tmp_path/"run", limit=9, progress=False)
    with pytest.raises(UserError, match=r"holds another run \(limit 9 there, .*\); choose"): evaluate(vqa, output_dir=tmp_path/"run", limit=30, progress=False)
    evaluate(vqa, output_dir=tmp_path/"run", limit=9, progress=False) # itself again


# runs that cannot be compared

def own_run(vqa, folder, scenes, text="Where was this drawn?", **more):
    rows = [dict(image=folder.parent/f"{seed}.png", question=text, answers="lake", **{name: values[i] for name, values in more.items()}) for i, seed in enumerate(scenes)]
    for seed in scenes: draw_scene(make_scene(seed)).save(folder.parent/f"{seed}.png")
    return evaluate(vqa, questions=rows, output_dir=folder, progress=False)

def test_rows_in_another_order_are_not_other_data(vqa, tmp_path):
    first, turned, fewer = (own_run(vqa, tmp_path/name, scenes) for name, scenes in (("a", (1, 2, 3)), ("b", (3, 1, 2)), ("c", (2, 9))))
    with pytest.raises(UserError, match=r"question_id 1 is 'Where was this drawn\?' about picture .*/1.png.* in A and .*/3.png.* in B: 3 questions about the same pictures "
                       r"are in both under different numbers; give the table a column question_id"): compare(first, turned)
    with pytest.raises(UserError, match="one question about the same picture is in both under different numbers"): compare(first, fewer)
    assert len(compare(first, own_run(vqa, tmp_path/"d", (3, 1, 2), question_id=(3, 1, 2))).table) == 3 # the remedy
    with pytest.raises(UserError, match="no question is answered in both .* 3 questions about the same pictures are in both under different numbers"):
        compare(first, own_run(vqa, tmp_path/"e", (1, 2, 3), question_id=(11, 12, 13)))

def test_other_data_is_called_so(vqa, tmp_path):
    first = own_run(vqa, tmp_path/"a", (1, 2))
    for name, scenes, text in (("b", (4, 5), "Where was this drawn?"), ("c", (1, 2), "Is it day or night?" + "?"*5000)):
        with pytest.raises(UserError, match="the runs are of different data; compare runs of the same questions") as error: compare(first, own_run(vqa, tmp_path/name, scenes, text))
        assert len(str(error.value)) < 600
    with pytest.raises(UserError, match="no question is answered in both .*compare runs of the same split"): compare(first, own_run(vqa, tmp_path/"d", (6,), question_id=(60,)))

def test_pictures_in_memory_in_another_order(vqa, tmp_path, monkeypatch):
    "They are called picture 1, picture 2, ... : only their contents tell that they changed places."
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    def run(name, scenes):
        rows = [dict(image=draw_scene(make_scene(seed)), question="Where was this drawn?") for seed in scenes]
        return evaluate(vqa, questions=rows, output_dir=tmp_path/name, progress=False)
    first, turned, another = run("a", (1, 2)), run("b", (2, 1)), run("c", (1, 7))
    with pytest.raises(UserError, match="2 questions about the same pictures are in both under different numbers"): compare(first, turned)
    assert "the pictures' contents are not" in str(compare(first, another))

def test_what_is_asked_twice_has_no_number_of_its_own():
    def asked(*ids): return [Question(i, 7, "Is it?", "7.jpg") for i in ids]
    assert count_renumbered(asked(1), asked(2)) == 1 and count_renumbered(asked(1, 2), asked(2, 3)) == count_renumbered(asked(1), asked(1)) == 0
    silent = [Question(i, 7, "", "7.jpg", (0, i, 2)) for i in (1, 2)] # token ids alone
    assert count_renumbered(silent[:1], silent[1:]) == 0


# names that there are not

@pytest.mark.parametrize("typed, meant", [("sampel", "sample"), ("Sample", "sample"), ("validation", "val"), ("valid", "val"), ("VAL", "val"), ("testdev", "test-dev"),
                                          ("test_dev", "test-dev"), ("trian", "train"), ("val2015", "val2014"), ("minival", "val"), ("vqav-2", "vqav2")])
def test_the_split_that_is_meant(typed, meant):
    with pytest.raises(UserError, match=f"split '{typed}' is unknown: use one of train, val, test, test-dev, .*; did you mean '{meant}'"): dataset_name(Plan(split=typed))

@pytest.mark.parametrize("split", ["zebra", "x"*100_000, 7, ["val"], "\n"*500])
def test_a_split_like_no_other(split):
    with pytest.raises(UserError, match="is unknown: use one of train, val") as error: dataset_name(Plan(split=split))
    assert len(str(error.value)) < 250 and "did you mean" not in str(error.value).replace("did you mean 'val'", "" if split == ["val"] else "did you mean")

@pytest.mark.parametrize("split, name", [("val", "vqav2"), ("val2014", "vqav2"), ("test-dev2015", "vqav2"), ("sample", "sample"), ("", "sample"), (None, "sample")])
def test_splits_that_there_are(split, name):
    assert dataset_name(Plan(split=split)) == name

@pytest.mark.parametrize("typed, near", [("vqa-v2", "did you mean 'vqav2'"), ("Sample", "did you mean 'sample'"), (["own"], ""), ("q"*9999, "")])
def test_the_data_set_that_is_meant(typed, near):
    with pytest.raises(UserError, match="is unknown: use one of vqav2, sample, own.*" + near) as error: find_dataset(typed)
    assert len(str(error.value)) < 200

@pytest.fixture(scope="module")
def run(vqa, tmp_path_factory):
    return evaluate(vqa, output_dir=tmp_path_factory.mktemp("looked")/"run", limit=20, progress=False)

@pytest.mark.parametrize("look, says", [
    (lambda run: run.browse(sort="mistake"), "did you mean 'mistakes'"),
    (lambda run: run.browse(sort=["order"]), "is not known; use one of order"),
    (lambda run: run.browse(correctness="partially right"), "did you mean 'partly right'"),
    (lambda run: run.browse(answer_type="yes_no"), "did you mean 'yes/no'"),
    (lambda run: run.browse(corectness="wrong"), "did you mean 'correctness'"),
    (lambda run: run.browse(min_confidence="9"*9999), "a number from 0 to 1, not '999"),
    (lambda run: run.browse(per_page="9"*9999), "a whole number from 1 to 100"),
    (lambda run: run.browse(questions=["q"*9999]), "is not in this run"),
    (lambda run: run.browse().open("q"*9999), "is not among these answers"),
    (lambda run: run.to_html("x"*9999), "must end in .html"),
    (lambda run: run.to_html("a.html", n="x"*9999), "n must be a whole number"),
    (lambda run: run.to_html("a.html", n=1, seed="x"*9999), "seed must be a whole number"),
    (lambda run: compare(run, run).browse(answer_type="nmber"), "did you mean 'number'"),
    (lambda run: compare(run, run).changed("wrong to right"), "did you mean 'wrong → right'"),
    (lambda run: compare(run, run).changed("x"*9999), "is not known; use one of"),
    (lambda run: open_run("x"*5 + "/y"*9999), "does not exist")])
def test_messages_name_what_is_near_and_stay_short(run, look, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error: look(run)
    assert says in str(error.value) and len(str(error.value)) < 450, str(error.value)[:1000]

def test_missing_pictures_are_listed_in_short(tmp_path):
    data = Dataset("val", [Question("q"*500 + str(i), i, "Is it?", "p"*90 + f"{i}.jpg") for i in range(300)], None, tmp_path)
    with pytest.raises(UserError, match=r"300 questions have no picture: .* and 280 more") as error: data.check_pictures(data.questions)
    assert len(str(error.value)) < 1800
    with pytest.raises(UserError, match="is about VQAv2's pictures") as error: data.choose_pictures(data.questions, "z"*9999)
    assert len(str(error.value)) < 350

WRITERS = {
    "a step": lambda p: p.add_(.3*p.std()*torch.randn(p.shape, generator=torch.Generator().manual_seed(7))),
    "p.data": lambda p: p.data.add_(.3*p.std()*torch.randn(p.shape, generator=torch.Generator().manual_seed(7))), # counted by no version
}
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_model_that_was_changed_in_memory_is_another(write, tmp_path):
    usual = evaluate("sample", device="cpu", output_dir=tmp_path/"usual", limit=60, progress=False)
    vqa = load_model("sample", device="cpu")
    assert vqa.hash_weights() == usual.identity.weights_sha256 and not vqa.is_changed
    assert evaluate(vqa, output_dir=tmp_path/"usual", limit=60, progress=False).answers.equals(usual.answers)
    with torch.no_grad():
        for p in vqa.model.parameters(): write(p)
    assert vqa.is_changed
    with pytest.raises(UserError, match="holds another run.*weights from a file there, changed in memory now"):
        evaluate(vqa, output_dir=tmp_path/"usual", limit=60, progress=False)
    run = evaluate(vqa, output_dir=tmp_path/"changed", limit=60, progress=False)
    assert not run.answers.answer.equals(usual.answers.answer) and run.identity.is_changed and not usual.identity.is_changed
    assert "BEiT-3 sample model, changed in memory on the built-in sample" in open_run(tmp_path/"changed").label and run.loadable == ("sample", "")
    assert [each.model for each in read_runs(tmp_path).runs if each.folder.name == "changed"] == ["BEiT-3 sample model, changed in memory, 192 px"]
    again = evaluate(vqa, output_dir=tmp_path/"changed", limit=60, progress=False) # the same weights: the same run
    assert again.identity == run.identity
    with torch.no_grad(): next(vqa.model.parameters()).mul_(1.5)
    with pytest.raises(UserError, match="other weights under the same name"): evaluate(vqa, output_dir=tmp_path/"changed", limit=60, progress=False)

def test_models_in_memory_are_told_apart(tmp_path):
    loaded = load_model("sample", device="cpu")
    def made(): return VQA(loaded.model, loaded.answers, loaded.tokenizer)
    run = evaluate(made(), output_dir=tmp_path/"run", limit=20, progress=False)
    assert evaluate(made(), output_dir=tmp_path/"run", limit=20, progress=False).identity == run.identity
    with torch.no_grad(): loaded.model.head[3].bias[0] += 9
    with pytest.raises(UserError, match="other weights under the same name"): evaluate(made(), output_dir=tmp_path/"run", limit=20, progress=False)

def test_another_number_format_is_no_change():
    vqa = load_model("sample", device="cpu")
    vqa.model.to(torch.bfloat16)
    assert not vqa.is_changed
    vqa.model.to(torch.float32) # rounded by now
    assert vqa.is_changed
