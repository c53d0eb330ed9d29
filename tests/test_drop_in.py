"unilm's evaluation command: which weights answer, and what every argument of its script does here."
import argparse
import json
import re

import pytest
import torch
from file_server import FileServer

from beit3_colab import convert, evaluate, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.model.weights import to_official
from beit3_colab.run_beit3_finetuning import choose_weights, list_arguments, main, make_parser, parse_arguments
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene

CONFIG = Beit3Config(image_size=32, patch_size=16, embed_dim=768, num_heads=12, num_layers=1, ffn_dim=16, vocab_size=185, num_classes=4, max_text_positions=70)
ANSWERS = ["raw", "averaged", "second", "prefixed"]


@pytest.fixture(scope="module")
def weights():
    "Official weights of a model that gives one answer whatever it is asked, by that answer."
    torch.manual_seed(0)
    state, found = init_weights(Beit3ForVQA(CONFIG)).state_dict(), {}
    for i, answer in enumerate(ANSWERS):
        bias = torch.full((len(ANSWERS),), -9.)
        bias[i] = 9.
        found[answer] = to_official({**state, "head.3.bias": bias})
    return found

@pytest.fixture(scope="module")
def place(tmp_path_factory, weights):
    "Two pictures of a test split, and the checkpoints of somebody who trained."
    place = tmp_path_factory.mktemp("unilm")
    for sub in ("data/vqa", "data/test2015", "ck/checkpoint-9"): (place/sub).mkdir(parents=True)
    for i in (1, 2): draw_scene(make_scene(i)).save(place/"data"/"test2015"/f"COCO_test2015_{i:012d}.jpg")
    questions = [dict(question_id=i*1000, image_id=i, question="What is the weather like?") for i in (1, 2)]
    (place/"data"/"vqa"/"v2_OpenEnded_mscoco_test2015_questions.json").write_text(json.dumps({"questions": questions}))
    (place/"ck"/"answers.json").write_text(json.dumps(ANSWERS))
    contents = {"best.pth": {"model": weights["raw"], "model_ema": weights["averaged"], "epoch": 9, "args": argparse.Namespace(model_ema=True)}, "second.pth": {"model": weights["second"], "model_ema": weights["averaged"]},
                "bare.pth": weights["raw"], "prefixed.pth": {"model": {**{"backbone." + n: t for n, t in weights["prefixed"].items()}, **{"teacher." + n: t for n, t in weights["second"].items()}}},
                "checkpoint-9/mp_rank_00_model_states.pt": {"module": weights["second"]}}
    for name, content in contents.items(): torch.save(content, place/"ck"/name)
    return place

def command(place, out, *more):
    return list(map(str, ["--model", "beit3_base_patch16_32", "--task", "vqav2", "--batch_size", 2, "--sentencepiece_model", sample_folder()/"sentencepiece.model",
                          "--data_path", place/"data", "--output_dir", out, "--eval", "--dist_eval", "--device", "cpu", *more]))

def answered(place, out, capsys, *more):
    "The one answer of a command, and its lines on standard error."
    assert main(command(place, out, *more)) == 0
    answers = {r["answer"] for r in json.loads((out/"submit_vqav2_test.json").read_text())}
    return answers.pop() if len(answers) == 1 else answers, capsys.readouterr().err

def refused(place, out, capsys, *more):
    assert main(command(place, out, *more)) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and len(err) < 900
    return err


@pytest.mark.parametrize("arguments, answer, says", [
    ("--finetune best.pth", "raw", ""), ("--finetune best.pth --model_key model_ema", "averaged", ""), ("--finetune best.pth --model-key=model_ema", "averaged", ""), ("--finetune best.pth --model_key ema|model_ema|model", "averaged", ""),
    ("--finetune best.pth --model_key model|module", "raw", ""), ("--finetune bare.pth --model_key model_ema", "raw", "bare.pth has no entry 'model_ema': its weights without such a key answer"), ("--finetune prefixed.pth --model_prefix backbone.", "prefixed", ""),
    ("--finetune prefixed.pth --model_prefix teacher.", "second", ""), ("--finetune prefixed.pth --model_key model --model_prefix backbone.", "prefixed", ""), ("--finetune best.pth --resume second.pth", "second", "best.pth is not used"),
    ("--resume second.pth", "second", "as unilm's --resume takes them"), ("--resume second.pth --model_key model_ema", "second", "ignored: --model_key (of --finetune, which is replaced"), ("--finetune best.pth --model_ema", "raw", "ignored: --model_ema (unilm evaluates the raw weights"),
    ("--finetune checkpoint-9 --enable_deepspeed --zero_stage 1", "second", "ignored: --zero_stage (of training)")])
def test_the_weights_that_the_command_names_answer(place, tmp_path, capsys, arguments, answer, says):
    words = [place/"ck"/word if word in ("best.pth", "second.pth", "bare.pth", "prefixed.pth", "checkpoint-9") else word for word in arguments.split()]
    found, err = answered(place, tmp_path, capsys, *words)
    assert found == answer and says in err

def in_training_folder(tmp_path, weights, folders=False):
    "An --output_dir in which a training left checkpoints."
    for number, answer in [(4, "raw"), (19, "second")]:
        path = tmp_path/f"checkpoint-{number}"/"mp_rank_00_model_states.pt" if folders else tmp_path/f"checkpoint-{number}.pth"
        path.parent.mkdir(exist_ok=True)
        torch.save({"module" if folders else "model": weights[answer]}, path)
    torch.save({"model": weights["raw"]}, tmp_path/"checkpoint-best.pth")
    (tmp_path/"answers.json").write_text(json.dumps(ANSWERS))

@pytest.mark.parametrize("more, answer", [(["--auto_resume", "--finetune", "best.pth"], "second"), ([], "second"), (["--no_auto_resume", "--finetune", "best.pth"], "raw"), (["--resume", "best.pth"], "raw"),
                                          (["--no-auto-resume", "--auto-resume", "--finetune", "best.pth"], "second")])
def test_checkpoints_in_the_output_folder(place, tmp_path, weights, capsys, more, answer):
    in_training_folder(tmp_path, weights)
    found, err = answered(place, tmp_path, capsys, *(place/"ck"/word if word == "best.pth" else word for word in more))
    assert found == answer and ("--auto_resume takes them" in err) == (answer == "second")

def test_two_files_that_may_be_meant_are_asked_about(place, tmp_path, weights, capsys):
    "unilm's script evaluates another file than --finetune names, without a word."
    in_training_folder(tmp_path, weights)
    err = refused(place, tmp_path, capsys, "--finetune", tmp_path/"checkpoint-best.pth")
    assert "--output_dir holds checkpoint-19.pth" in err and "add --no_auto_resume for --finetune" in err
    assert answered(place, tmp_path, capsys, "--finetune", tmp_path/"checkpoint-19.pth")[0] == "second" # it is that one

def test_folders_of_deepspeed_in_the_output_folder(place, tmp_path, weights, capsys):
    in_training_folder(tmp_path, weights, folders=True)
    assert answered(place, tmp_path, capsys, "--enable_deepspeed")[0] == "second"
    assert "is not read by unilm's script with --enable_deepspeed" in refused(place, tmp_path, capsys, "--enable_deepspeed", "--resume", place/"ck"/"second.pth")
    assert choose_weights(parse_arguments(["--finetune", "a.pth", "--output_dir", str(tmp_path)]))[0] == "a.pth" # without it folders are not looked at

def test_an_address_is_fetched(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    with FileServer({"/best.pth": (place/"ck"/"best.pth").read_bytes()}) as server:
        assert main(command(place, tmp_path/"out", "--finetune", f"{server.url}/best.pth", "--model_key", "model_ema")) == 2
        err = capsys.readouterr().err.splitlines()[-1] # behind the progress of the download
        assert "best-model_ema was loaded without an answer list" in err # found, but no list lies beside an address
        assert len(server.asked("/best.pth")) == 1

@pytest.mark.parametrize("more, says", [
    (["--finetune", "best.pth", "--vocab_size", 64010], "vocab_size=64010, but the weights have 185"), (["--finetune", "best.pth", "--num_max_bpe_tokens", 32], "--num_max_bpe_tokens 32 is not offered"),
    (["--finetune", "best.pth", "--eval_batch_size", 0], "batch_size must be a whole number of 1 or more"), (["--finetune", "beit3_large_patch16_480_vqa.pth"], "--model is base but the weights are large by their name"),
    (["--finetune", "best.pth", "--device", "cuda:77"], "device 'cuda:77'"), (["--finetune", "prefixed.pth"], "several models: 'model.backbone', 'model.teacher'"), ([], "--finetune missing"),
    (["--finetune", "prefixed.pth", "--model_prefix", "student."], "no weights under 'model.student|module.student|student'"), (["--finetune", "best.pth", "--task", "x" * 5000], "is not offered")])
def test_what_is_refused(place, tmp_path, capsys, more, says):
    err = refused(place, tmp_path, capsys, *(place/"ck"/word if str(word).endswith(".pth") else word for word in more))
    assert says.split("'")[0] in err

def test_the_size_in_the_models_name_is_that_of_the_pictures(place, tmp_path, capsys):
    main(command(place, tmp_path, "--finetune", place/"ck"/"best.pth", "--model", "beit3_base_patch16_64_vqav2"))
    assert json.loads((tmp_path/"run.json").read_text())["identity"]["image_size"] == 64


# unilm's own parser: beit3/run_beit3_finetuning.py of microsoft/unilm; the last five are DeepSpeed's
UNILM = """
model task input_size drop_path checkpoint_activations sentencepiece_model vocab_size num_max_bpe_tokens model_ema model_ema_decay
model_ema_force_cpu opt opt_eps opt_betas clip_grad momentum weight_decay lr layer_decay task_head_lr_weight warmup_lr min_lr
warmup_epochs warmup_steps batch_size eval_batch_size epochs update_freq save_ckpt_freq randaug train_interpolation finetune model_key
model_prefix data_path output_dir log_dir device seed resume auto_resume no_auto_resume save_ckpt no_save_ckpt start_epoch eval dist_eval
num_workers pin_mem no_pin_mem world_size local_rank dist_on_itp dist_url task_cache_path nb_classes mixup cutmix cutmix_minmax mixup_prob
mixup_switch_prob mixup_mode color_jitter aa smoothing crop_pct reprob remode recount resplit captioning_mask_prob drop_worst_ratio
drop_worst_after num_beams length_penalty label_smoothing enable_deepspeed initial_scale_power zero_stage
deepspeed deepspeed_config deepscale deepscale_config deepspeed_mpi""".split()

def test_the_table_tells_of_every_argument():
    told = {name: (there, here) for name, there, here in list_arguments()}
    options = {option.lstrip("-") for action in make_parser()._actions for option in action.option_strings if "_" in option or "-" not in option[2:]} - {"h", "help"}
    assert sorted(told) == sorted(UNILM) == sorted(options) and len(list_arguments()) == len(told)
    assert all(there and here for there, here in told.values())
    deciding = "finetune model_key model_prefix resume auto_resume no_auto_resume enable_deepspeed vocab_size input_size"
    assert not [name for name in deciding.split() if told[name][1].startswith("ignored")]

def test_what_is_ignored_is_named_with_its_reason(place, tmp_path, capsys):
    ignored = [name for name, _, here in list_arguments() if here.startswith("ignored")]
    switches = {name for name in ignored for action in make_parser()._actions if f"--{name}" in action.option_strings and action.nargs == 0}
    words = [word for name in ignored for word in ([f"--{name}"] if name in switches else [f"--{name}", "1"])]
    answer, err = answered(place, tmp_path, capsys, "--finetune", place/"ck"/"best.pth", *words)
    assert answer == "raw" and not [name for name in ignored if not re.search(rf"--{name}\b", err)]
    assert err.count("ignored: ") == 1 and "of other tasks" in err and "nothing is drawn by chance" in err

def test_a_slip_is_named_with_the_nearest():
    for slip, right in [("--model_keys", "--model_key"), ("--no_autoresume", "--no_auto_resume"), ("--finetun", "--finetune")]:
        with pytest.raises(UserError, match=f"did you mean {right}"): parse_arguments([slip, "x"])


INDEX = ["second", "prefixed", "raw", "averaged"] # another order than the list beside the weights

@pytest.fixture
def listed(place):
    "Write an answer list into --data_path; it is gone afterwards."
    path = place/"data"/"answer2label.txt"
    yield lambda answers: path.write_text("".join(json.dumps({"answer": a, "label": i}) + "\n" for i, a in enumerate(answers)))
    path.unlink(missing_ok=True)

def test_the_list_of_the_index_answers_and_says_so(place, tmp_path, capsys, listed):
    listed(INDEX)
    found, err = answered(place, tmp_path/"a", capsys, "--finetune", place/"ck"/"best.pth")
    assert found == INDEX[0] and err.count("answer2label.txt") == 1 and "answers.json beside the weights differs, and is not used" in err
    listed(ANSWERS)
    found, err = answered(place, tmp_path/"b", capsys, "--finetune", place/"ck"/"best.pth")
    assert found == "raw" and "answer2label.txt" not in err
    (place/"ck"/"answer2label.txt").write_text(json.dumps({"answer": "x", "label": 0})) # two beside the weights
    found, err = answered(place, tmp_path/"d", capsys, "--finetune", place/"ck"/"best.pth")
    assert found == "raw" and "answer2label.txt, as in unilm's script; not used: the answer lists" in err
    (place/"data"/"answer2label.txt").unlink()
    assert "(4 answers and 1); pass answers=… (--answers), the one that the head was trained with, or remove the other" in refused(place, tmp_path/"e", capsys, "--finetune", place/"ck"/"best.pth")
    (place/"ck"/"answer2label.txt").unlink()
    listed(ANSWERS[:3])
    assert main(command(place, tmp_path/"c", "--finetune", place/"ck"/"best.pth")) == 2
    assert "the answer list has 3 answers, but the head has 4" in capsys.readouterr().err

def test_another_door_refuses_two_lists_unless_one_is_named(place, tmp_path, listed):
    listed(INDEX)
    common = dict(tokenizer=sample_folder()/"sentencepiece.model", device="cpu", progress=False)
    vqa = load_model(place/"ck"/"best.pth", tokenizer=common["tokenizer"], device="cpu")
    for checkpoint, more in ((place/"ck"/"best.pth", common), (vqa, dict(progress=False)), (convert(place/"ck"/"best.pth", tmp_path/"folder", answers=ANSWERS), common)):
        with pytest.raises(UserError, match=r"(answers|config).json and .*answer2label.txt differ .class 0 is 'raw' and 'second'.; pass answers="):
            evaluate(checkpoint, "test", place/"data", output_dir=tmp_path/"run", **more)
    for answers, says in ((INDEX, "second"), (ANSWERS, "raw")):
        run = evaluate(place/"ck"/"best.pth", "test", place/"data", answers=answers, output_dir=tmp_path/says, **common)
        assert {r["answer"] for r in json.loads(run.submission.read_text())} == {says}
    listed(ANSWERS)
    evaluate(vqa, "test", place/"data", output_dir=tmp_path/"equal", progress=False)

def test_a_size_that_is_not_the_models_is_told(place, tmp_path, capsys):
    _, err = answered(place, tmp_path/"a", capsys, "--finetune", place/"ck"/"best.pth", "--input_size", 64)
    assert "--input_size 64 is not the 32 of --model: the position table is resized" in err
    assert "resized" not in answered(place, tmp_path/"b", capsys, "--finetune", place/"ck"/"best.pth", "--input_size", 32)[1]

def test_what_belongs_to_finetune_is_ignored_where_it_is_replaced(place, tmp_path, weights, capsys):
    in_training_folder(tmp_path, weights)
    found, err = answered(place, tmp_path, capsys, "--auto_resume", "--finetune", place/"ck"/"best.pth", "--model_key", "model_ema", "--model-prefix", "net.")
    assert found == "second" and "ignored: --model_key --model_prefix (of --finetune, which is replaced" in err
    assert "no entry" not in err
