"unilm's fine-tuning commands for VQAv2: what their arguments mean, what comes out in its form, and how a stopped one goes on."
import json
import re
import subprocess
import sys

import pytest
import torch
from processes import BIN, environment, free_port

from beit3_colab import load_model
from beit3_colab.commands.unilm_training import check_training, list_training_arguments, make_plan, make_recipe, OfficialFiles, tell_idle, training_notes
from beit3_colab.evaluation.finetuning import open_training
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.model.tokenizer import Tokenizer
from beit3_colab.model.weights import to_official
from beit3_colab.run_beit3_finetuning import key_in_finetune, list_arguments, main, parse_arguments
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.training.log import read_log
from beit3_colab.training.recipe import Recipe

# as microsoft/unilm, beit3/get_started/get_started_for_vqav2.md has them, but for places
BASE = """--model beit3_base_patch16_480 --input_size 480 --task vqav2 --batch_size 16 --layer_decay 1.0 --lr 3e-5 --update_freq 1 --randaug --epochs 10
    --warmup_epochs 1 --drop_path 0.1 --sentencepiece_model beit3.spm --finetune beit3_base_patch16_224.pth --data_path data --output_dir out --log_dir out/log
    --weight_decay 0.01 --seed 42 --save_ckpt_freq 5 --task_head_lr_weight 20 --opt_betas 0.9 0.98 --enable_deepspeed"""
LARGE = BASE.replace("base", "large").replace("--drop_path 0.1", "--drop_path 0.15").replace("3e-5", "2e-5") + " --checkpoint_activations"
CONFIG = Beit3Config(image_size=32, patch_size=16, embed_dim=768, num_heads=12, num_layers=2, ffn_dim=16, vocab_size=185, num_classes=3, max_text_positions=70)
ANSWERS = ["yes", "no", "red"]
TABLE = list_training_arguments(list_arguments())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "unilm's index of a few pictures, and a pretraining checkpoint in float16."
    place = tmp_path_factory.mktemp("unilm")
    tokenizer, data = Tokenizer(sample_folder()/"sentencepiece.model"), place/"data"
    splits = {"train": ("train2014", range(1, 9)), "trainable_val": ("val2014", range(9, 12)), "rest_val": ("val2014", range(12, 16)), "test": ("test2015", range(16, 18))}
    asked = ["Is it raining?", "Is there a house?", "What color is the car?"]
    for split, (folder, pictures) in splits.items():
        (data/folder).mkdir(parents=True, exist_ok=True)
        with open(data/f"vqa.{split}.jsonl", "w") as index:
            for i in pictures:
                name = f"{folder}/COCO_{folder}_{i:012d}.jpg"
                draw_scene(make_scene(i)).resize((64, 48)).save(data/name)
                for n, question in enumerate(asked):
                    labels = {} if split == "test" else dict(labels=[(i + n) % 3], scores=[1. if i % 2 else .6])
                    index.write(json.dumps(dict(image_path=name, text_segment=tokenizer.encode(question)[1:-1], qid=i*1000 + n, **(labels or dict(labels=[], scores=[])))) + "\n")
    (data/"answer2label.txt").write_text("".join(json.dumps(dict(answer=a, label=i)) + "\n" for i, a in enumerate(ANSWERS)))
    torch.manual_seed(0)
    weights = to_official(init_weights(Beit3ForVQA(CONFIG)).state_dict())
    encoder = {name: tensor.half() for name, tensor in weights.items() if not name.startswith(("pooler.", "head."))}
    torch.save({"model": encoder}, place/"beit3_base_patch16_224.pth")
    return place

def command(place, out, *more):
    "The documented command for base, small: the last of two equal arguments counts."
    here = {"beit3_base_patch16_480": "beit3_base_patch16_32", "480": "32", "beit3.spm": sample_folder()/"sentencepiece.model", "data": place/"data", "out": out, "out/log": out/"log",
            "beit3_base_patch16_224.pth": place/"beit3_base_patch16_224.pth"}
    words = [here.get(word, word) for word in BASE.split()]
    return list(map(str, [*words, "--device", "cpu", "--num_workers", "0", *more]))

SHORT = ("--epochs", 3, "--batch_size", 8, "--save_ckpt_freq", 2, "--lr", "1e-3")

@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    "An undisturbed training: its folder, and what it said."
    out = tmp_path_factory.mktemp("trained")/"out"
    done = subprocess.run([sys.executable, "-m", "beit3_colab.run_beit3_finetuning", *command(place, out, *SHORT)], capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout, done.stderr

def weights_of(path): return torch.load(path, weights_only=True)["model"]


# What comes out

def test_the_documented_command_leaves_unilms_files(trained):
    out, shown, err = trained
    assert sorted(p.name for p in out.glob("checkpoint-*")) == ["checkpoint-1.pth", "checkpoint-2.pth", "checkpoint-best.pth"]
    for name, epoch in (("1", 1), ("2", 2), ("best", "best")):
        content = torch.load(out/f"checkpoint-{name}.pth", weights_only=True)
        assert set(content) == {"model", "epoch"} and content["epoch"] == epoch and "beit3.encoder.layers.1.ffn.B.fc2.weight" in content["model"]
    lines = [json.loads(line) for line in (out/"log.txt").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert {"train_lr", "train_min_lr", "train_loss", "train_weight_decay", "train_grad_norm", "val_score", "epoch", "n_parameters"} <= set(lines[0])
    assert "val_accuracy" not in lines[0] # the index has labels: unilm's own score
    for said in ("a step is of 8 questions: --batch_size 8 × --update_freq 1 × 1 process", "--enable_deepspeed: mixed precision", "pooler and head are made anew"): assert said in err, said
    assert err.count("--enable_deepspeed") == 1 and f"checkpoint: {out}/checkpoint-best.pth" in shown and "--eval --dist_eval" in shown and "ignored" not in err

def test_the_figures_of_its_log_are_means_of_the_steps(trained):
    rows = [row for row in read_log(trained[0]) if row["kind"] == "step"]
    lines = [json.loads(line) for line in (trained[0]/"log.txt").read_text().splitlines()]
    steps = len(rows)//3
    assert steps == 33//8 == 4 # of 11 pictures with 3 questions; what is left over is thrown away, as there
    for i, line in enumerate(lines):
        own = rows[i*steps:(i + 1)*steps]
        assert line["train_min_lr"] == pytest.approx(sum(row["learning_rate"] for row in own)/steps, rel=1e-12)
        assert line["train_lr"] == pytest.approx(20*line["train_min_lr"], rel=1e-12) # the head's
        assert line["train_loss"] == pytest.approx(sum(row["loss"] for row in own)/steps, rel=1e-12)
        assert line["train_grad_norm"] == pytest.approx(sum(row["grad_norm"] for row in own)/steps, rel=1e-12)
    assert rows[0]["learning_rate"] == 0 and max(row["learning_rate"] for row in rows) == 1e-3 # unilm's schedule begins at 0
    assert lines[0]["train_weight_decay"] == .01 and lines[0]["n_parameters"] == sum(t.numel() for t in weights_of(trained[0]/"checkpoint-2.pth").values())

def test_the_best_checkpoint_is_the_best_epochs(trained):
    training = open_training(trained[0])
    best = max(training.results, key=lambda r: (r.accuracy, -r.epoch))
    assert training.best.epoch == best.epoch and training.finished
    ours = to_official(load_model(trained[0], device="cpu", dtype="float32").model.state_dict())
    theirs = weights_of(trained[0]/"checkpoint-best.pth")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

def test_tensorboards_files_lie_in_log_dir(trained):
    file, = (trained[0]/"log").iterdir()
    assert file.name.startswith("events.out.tfevents.") and file.read_bytes().count(b"train/loss") == 12
    assert not (trained[0]/"tensorboard").exists()

@pytest.mark.parametrize("name", ["checkpoint-best.pth", "checkpoint-2.pth"])
def test_its_eval_command_reads_them(place, trained, tmp_path, capsys, name):
    words = ["--model", "beit3_base_patch16_32", "--input_size", "32", "--task", "vqav2", "--batch_size", "16", "--sentencepiece_model", sample_folder()/"sentencepiece.model",
             "--finetune", trained[0]/name, "--data_path", place/"data", "--output_dir", tmp_path, "--eval", "--dist_eval", "--device", "cpu"]
    assert main(list(map(str, words))) == 0, capsys.readouterr().err
    found = json.loads((tmp_path/"submit_vqav2_test.json").read_text())
    assert len(found) == 6 and {row["answer"] for row in found} <= set(ANSWERS)

def test_unilms_own_script_could_load_them(trained):
    "Its names, its shapes, float32: `load_state_dict` of its model with these sizes."
    names = weights_of(trained[0]/"checkpoint-2.pth")
    assert all(t.dtype == torch.float32 for t in names.values()) and names["head.3.weight"].shape == (3, 1536) and names["beit3.encoder.embed_positions.A.weight"].shape == (7, 768)


# Going on

@pytest.mark.parametrize("when", ["before the files", "after the files"])
def test_a_killed_training_goes_on_to_the_same_checkpoints(place, trained, tmp_path, capsys, monkeypatch, when):
    write, out = OfficialFiles.write, tmp_path/"out"
    def killed(self, trainer, row, is_best):
        if when == "after the files": write(self, trainer, row, is_best)
        if row["epoch"] == 2: raise MemoryError("killed") # nothing is saved on the way out
        if when == "before the files": write(self, trainer, row, is_best)
    monkeypatch.setattr(OfficialFiles, "write", killed)
    with pytest.raises(MemoryError): main(command(place, out, *SHORT))
    assert (out/"checkpoint-1.pth").exists() == (when == "after the files")
    monkeypatch.setattr(OfficialFiles, "write", write)
    assert main(command(place, out, *SHORT)) == 0, capsys.readouterr().err
    for name in ("1", "2", "best"):
        ours, theirs = weights_of(out/f"checkpoint-{name}.pth"), weights_of(trained[0]/f"checkpoint-{name}.pth")
        assert all(torch.equal(ours[n], theirs[n]) for n in theirs), name
    assert (out/"log.txt").read_text() == (trained[0]/"log.txt").read_text()

def test_the_same_command_after_the_end_changes_nothing(place, trained, capsys):
    before = {p: p.stat().st_mtime_ns for p in trained[0].glob("checkpoint-*")}
    assert main(command(place, trained[0], *SHORT)) == 0
    assert {p: p.stat().st_mtime_ns for p in trained[0].glob("checkpoint-*")} == before and "checkpoint-best.pth" in capsys.readouterr().out

@pytest.mark.parametrize("more, says", [(["--epochs", 4], "holds another training (epochs 3 there, 4 now)"), (["--lr", "2e-3"], "learning_rate 0.001 there, 0.002 now"), (["--seed", 1], "seed 42 there, 1 now"),
                                        (["--no_auto_resume"], "holds a training, which --no_auto_resume would begin anew")])
def test_another_training_in_that_folder_is_refused(place, trained, capsys, more, says):
    assert main(command(place, trained[0], *SHORT, *more)) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


# Launchers

@pytest.mark.parametrize("launcher", ["torchrun", "torch.distributed.launch"])
def test_two_processes_train_as_one_with_twice_the_batch(place, trained, tmp_path, launcher):
    start = [str(BIN/"torchrun")] if launcher == "torchrun" else [sys.executable, "-m", "torch.distributed.launch"]
    module = ["-m", "beit3_colab.run_beit3_finetuning"]
    words = command(place, tmp_path/"out", *SHORT, "--batch_size", 4)
    done = subprocess.run([*start, "--nproc_per_node=2", f"--master_port={free_port()}", *module, *words], capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "a step is of 8 questions: --batch_size 4 × --update_freq 1 × 2 processes" in done.stderr and done.stdout.count("checkpoint: ") == 1
    ours, theirs = weights_of(tmp_path/"out"/"checkpoint-2.pth"), weights_of(trained[0]/"checkpoint-2.pth")
    assert max((ours[n] - theirs[n]).abs().max().item() for n in theirs) < 2e-4 # AdamW's steps of 1e-3 turn on the sign of tiny gradients
    losses = [[row["loss"] for row in read_log(folder) if row["kind"] == "step"] for folder in (tmp_path/"out", trained[0])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# Arguments

def test_the_documented_commands_are_the_published_recipes():
    assert make_recipe(parse_arguments(BASE.split()), 8) == Recipe() and make_recipe(parse_arguments(LARGE.split()), 8) == Recipe(learning_rate=2e-5, drop_path=.15)
    for words, on in ((BASE, "auto"), (LARGE, True)):
        plan = make_plan(parse_arguments(words.split()), 8, "x.pth", None, 480)
        assert (plan.faithful, plan.seed, plan.checkpoint_activations, plan.image_size, plan.dataset, plan.trainable) == (True, 42, on, 480, "vqav2", "all")

@pytest.mark.parametrize("words, field, value", [
    ("", "learning_rate", 5e-4), ("", "layer_decay", .9), ("", "head_lr_scale", 1), ("", "weight_decay", .05), ("", "betas", (.9, .999)), ("", "warmup_epochs", 5), ("", "epochs", 20), ("", "batch_size", 128),
    ("", "drop_path", .1), ("", "randaug", False), ("", "flip", True), ("", "smallest_crop", .5), ("", "ema", None), ("", "clip_grad", None), ("", "eps", 1e-8), ("", "min_learning_rate", 1e-6),
    ("--batch_size 16 --update_freq 3", "batch_size", 96), ("--weight_decay 0", "weight_decay", 0), ("--clip_grad 1", "clip_grad", 1), ("--model_ema", "ema", .9999), ("--model-ema --model-ema-decay=.99", "ema", .99),
    ("--task_head_lr_weight 20", "head_lr_scale", 1), ("--task_head_lr_weight 20 --layer_decay 1", "head_lr_scale", 20), ("--task_head_lr_weight 0.5 --layer_decay 1", "head_lr_scale", 1), ("--opt_eps 1e-6", "eps", 1e-6),
    ("--min_lr 0", "min_learning_rate", 0), ("--drop_path 0", "drop_path", 0), ("--warmup_epochs 0", "warmup_epochs", 0), ("--opt_betas .8 .9", "betas", (.8, .9))])
def test_a_number_and_the_default_of_unilms_parser(words, field, value):
    assert getattr(make_recipe(parse_arguments(words.split()), 2), field) == value

def test_every_argument_is_meant_ignored_with_a_reason_or_refused():
    names = [name for name, *_ in TABLE]
    assert names == [name for name, *_ in list_arguments() if name != "eval"] and all(there and here for _, there, here in TABLE)
    here = {name: text for name, _, text in TABLE}
    deciding = "lr min_lr epochs update_freq batch_size layer_decay task_head_lr_weight weight_decay opt opt_betas opt_eps clip_grad drop_path randaug model_ema seed warmup_epochs warmup_steps resume"
    assert not [name for name in deciding.split() if here[name].startswith("ignored")] and "ignored: of training" not in here.values()

def test_what_is_ignored_is_named_once_with_its_reason():
    idle = [name for name, _, here in TABLE if here.startswith("ignored")]
    switches = {name for name in idle if getattr(parse_arguments([f"--{name}", "1"] if name not in SWITCHES else [f"--{name}"]), name) is True}
    told = tell_idle(parse_arguments([word for name in idle for word in ([f"--{name}"] if name in switches else [f"--{name}", "1"])]), TABLE)
    assert not [name for name in idle if len(re.findall(rf"--{name}\b", told)) != 1] and told.count("ignored: ") == 1
    assert "of SGD" in told and "unilm's script does not read it" in told and tell_idle(parse_arguments(BASE.split()), TABLE) == tell_idle(parse_arguments(LARGE.split()), TABLE) == ""

SWITCHES = "dist_eval model_ema_force_cpu pin_mem no_pin_mem dist_on_itp resplit deepspeed deepspeed_mpi deepscale".split()

@pytest.mark.parametrize("words, says", [
    ("--opt sgd", "--opt sgd is not offered"), ("--train_interpolation random", "use bicubic"), ("--warmup_steps 100", "give --warmup_epochs"), ("--resume a.pth", "give them as --finetune"), ("--start_epoch 2", "goes on where it was"),
    ("--save_ckpt --no_save_ckpt", "contradict each other"), ("--save_ckpt_freq 0", "--save_ckpt_freq must be 1 or more, not 0"), ("--lr fast", "--lr must be a number, not fast"), ("--lr 3", "--lr must be a number above 0"),
    ("--epochs 0", "epochs must be a whole number"), ("--layer_decay 2", "--layer_decay must be above 0 and up to 1"), ("--opt_betas 0.9", "--opt_betas must be two numbers"), ("--clip_grad 0", "--clip_grad must be a number above 0"),
    ("--batch_size 0", "--batch_size must be 1 or more"), ("--update_freq 0", "--update_freq must be 1 or more"), ("--seed -1", "--seed must be 0 or more"), ("--lr 1e-8", "--lr 1e-08"), ("--model_ema --model_ema_decay 2", "--model_ema_decay must be"),
    ("--task nlvr2", "--task nlvr2 is not offered"), ("--num_max_bpe_tokens 32", "--num_max_bpe_tokens 32 is not offered"), ("--model beit3_large_patch16_480", "--model is large but the weights are base"), ("--vocab_size 64010", "64010"),
    ("--finetune nowhere.pth", "nowhere.pth does not exist"), ("--data_path nowhere", "nowhere"), ("--num_workers -1", "--num_workers must be 0 or more"), ("--device cuda:77", "cuda:77")])
def test_what_cannot_be_meant_is_refused_with_one_line(place, tmp_path, capsys, words, says):
    assert main(command(place, tmp_path/"out", *SHORT, *words.split())) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run_beit3_finetuning: ")]
    assert len(lines) == 1 and says in lines[0] and len(lines[0]) < 900 and not (tmp_path/"out"/"training.json").exists()

def test_a_training_of_unilms_script_is_not_gone_on_with(tmp_path):
    (tmp_path/"checkpoint-9.pth").touch()
    words = ["--output_dir", str(tmp_path)]
    with pytest.raises(UserError, match="holds checkpoint-9.pth of another training.*add --no_auto_resume"): check_training(parse_arguments(words))
    check_training(parse_arguments([*words, "--no_auto_resume"]))

def test_what_is_missing_is_named(capsys):
    assert main(["--task", "vqav2", "--model", "beit3_base_patch16_480"]) == 2
    assert "--sentencepiece_model, --finetune, --data_path, --output_dir missing" in capsys.readouterr().err

def test_keys_choose_the_weights_to_start_from():
    assert [key_in_finetune(parse_arguments(words.split())) for words in ("", "--model_key model_ema", "--model_prefix net.")] == [None, "model_ema|", "model.net|module.net|net"]

def test_averages_are_in_the_checkpoints_beside_the_weights(place, tmp_path, capsys):
    assert main(command(place, tmp_path/"out", *SHORT, "--epochs", 1, "--model_ema", "--model_ema_decay", ".5", "--no_save_ckpt")) == 0
    assert not list((tmp_path/"out").glob("checkpoint-*")) and (tmp_path/"out"/"log.txt").exists()
    assert main(command(place, tmp_path/"two", *SHORT, "--epochs", 1, "--model_ema", "--model_ema_decay", ".5")) == 0
    content = torch.load(tmp_path/"two"/"checkpoint-0.pth", weights_only=True)
    assert content["model"].keys() == content["model_ema"].keys() and not torch.equal(content["model"]["head.3.weight"], content["model_ema"]["head.3.weight"])
    assert "--model_ema: the averaged weights are validated" in capsys.readouterr().err

def test_what_is_said_without_an_index(place, tmp_path):
    notes = training_notes(parse_arguments([*BASE.split(), "--data_path", str(tmp_path)]), 8)
    assert notes[0] == "a step is of 128 questions: --batch_size 16 × --update_freq 1 × 8 processes" and "no unilm index" in notes[-1]
    assert "no unilm index" not in " ".join(training_notes(parse_arguments([*BASE.split(), "--data_path", str(place/"data")]), 8))

def test_the_number_of_parameters_is_unilms():
    "As counted in its base model for pictures of 480 pixels (beit3_base_patch16_480_vqav2)."
    config = Beit3Config(image_size=480, patch_size=16, embed_dim=768, num_heads=12, num_layers=12, ffn_dim=3072, vocab_size=64010, num_classes=3129)
    with torch.device("meta"): model = Beit3ForVQA(config)
    assert sum(t.numel() for t in to_official(model.state_dict()).values()) == 228_110_649
