"Bad input from end to end: the command ends with status 2 and one line that helps, and nothing that was answered is lost."
import ast
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import beit3_colab
from beit3_colab import evaluate, load_model, soft_score
from beit3_colab.data.answer_list import soft_labels
from beit3_colab.model.weights_file import read_weights
from beit3_colab.commands.cli import main, make_parser
from beit3_colab.machine.messages import UserError
from beit3_colab.run.journal import read_journals
from beit3_colab.scenes.sample import open_sample
from beit3_colab.data.vqav2 import annotations_file, questions_file

GOLDEN = Path(__file__).parent/"golden"


@pytest.fixture
def folder(tmp_path):
    "Six pictures of the sample in the official layout."
    data = open_sample()
    keep = sorted({q.image_id for q in data.questions})[:6]
    questions = [dict(question_id=q.question_id, image_id=q.image_id, question=q.question) for q in data.questions if q.image_id in keep]
    people = [data.annotations[q["question_id"]] for q in questions]
    annotations = [dict(question_id=a.question_id, image_id=a.image_id, question_type=a.question_type, answer_type=a.answer_type,
                        multiple_choice_answer=a.multiple_choice_answer, answers=[dict(answer=x) for x in a.answers]) for a in people]
    for sub in ("vqa", "val2014"): (tmp_path/"data"/sub).mkdir(parents=True)
    (tmp_path/"data"/"vqa"/questions_file("val")).write_text(json.dumps({"questions": questions}))
    (tmp_path/"data"/"vqa"/annotations_file("val")).write_text(json.dumps({"annotations": annotations}))
    for q in data.questions:
        if q.image_id in keep: (tmp_path/"data"/q.image).write_bytes(data.image_path(q).read_bytes())
    return tmp_path/"data"

def pictures(folder): return sorted((folder/"val2014").iterdir())

def rewrite(folder, change):
    "Change the questions file."
    path = folder/"vqa"/questions_file("val")
    content = json.loads(path.read_text())
    change(content["questions"])
    path.write_text(json.dumps(content))

def run(folder, **more): return evaluate("sample", "val", folder, output_dir=folder.parent/"run", device="cpu", progress=False, **more)

def fails(capsys, *arguments):
    "The message of a command that ends with status 2."
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err
    return err

def jpeg(image, **more):
    out = io.BytesIO()
    image.save(out, "JPEG", **more)
    return out.getvalue()

def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()

COLORS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
TURNED = Image.Exif()
TURNED[0x0112] = 6
READABLE = {"grayscale": png(COLORS.convert("L")), "palette": png(COLORS.convert("P")), "CMYK": jpeg(COLORS.convert("CMYK")), "16-bit": png(Image.fromarray(np.full((9, 9), 40000, np.uint16))),
            "EXIF-rotated": jpeg(COLORS, exif=TURNED), "1x1": png(COLORS.resize((1, 1))), "20,000 pixels wide": png(COLORS.resize((20000, 2)))}
BROKEN = {"empty": b"", "truncated": jpeg(COLORS)[:1500], "not a picture": b"GIF? no, words", "a web page": b"<!DOCTYPE html>"}


@pytest.mark.parametrize("kind", READABLE)
def test_unusual_pictures_are_read(folder, kind):
    pictures(folder)[0].write_bytes(READABLE[kind])
    done = run(folder)
    assert len(done.records) == len(done.questions) and not done.report().warnings

@pytest.mark.parametrize("kind", BROKEN)
def test_broken_picture_stops_the_run_and_names_its_questions(folder, kind):
    picture = pictures(folder)[3]
    whole = picture.read_bytes()
    picture.write_bytes(BROKEN[kind])
    with pytest.raises(UserError) as error: run(folder, batch_size=1)
    assert picture.name in str(error.value) and "bad_images='blank'" in str(error.value)
    asked = [str(q["question_id"]) for q in json.loads((folder/"vqa"/questions_file("val")).read_text())["questions"] if f"{q['image_id']:012}" in picture.name]
    assert asked and all(i in str(error.value) for i in asked)
    picture.write_bytes(whole)
    assert len(run(folder, batch_size=1).records) == len(run(folder, batch_size=1).questions) # mended, it goes on

@pytest.mark.parametrize("kind", [*BROKEN, "missing"])
def test_broken_picture_can_be_answered_blank(folder, kind):
    picture = pictures(folder)[0]
    if kind == "missing": picture.unlink()
    else: picture.write_bytes(BROKEN[kind])
    done = run(folder, bad_images="blank")
    assert len(json.loads(done.submission.read_text())) == len(done.questions)
    marked = [r for r in done.records.values() if "image_error" in r]
    assert marked and len(marked) == sum(q.image.endswith(picture.name) for q in done.questions)
    assert any(picture.name in w for w in done.report().warnings)

def test_missing_picture_is_told_before_anything_is_computed(folder):
    pictures(folder)[2].unlink()
    with pytest.raises(UserError, match=r"\d+ questions have no picture: question \d+"): run(folder)
    assert not (folder.parent/"run").exists()

@pytest.mark.parametrize("text", ["why " * 500, "   ", "\x00\x07\x1b[31m", "🐈 what color? 🐈"])
def test_odd_questions_are_answered(folder, text):
    rewrite(folder, lambda questions: questions[0].update(question=text))
    done = run(folder)
    assert len(done.records) == len(done.questions) and done.answers.question[0] == text

@pytest.mark.parametrize("content, says", [("<!DOCTYPE html><html>", "web page"), ('{"questions": [{"quest', "cut short"), ('{"questions": []}', "0 questions"),
                                           ('{"questions": [{"question_id": 1, "question": "?"}]}', "image_id"),
                                           ('{"questions": [{"question_id": 1, "image_id": 1, "question": "?"}, {"question_id": 1, "image_id": 1, "question": "!"}]}', "repeats question_id 1")])
def test_bad_questions_file(folder, capsys, content, says):
    (folder/"vqa"/questions_file("val")).write_text(content)
    assert says in fails(capsys, "evaluate", "--split", "val", "--data-path", folder, "--output-dir", folder.parent/"run", "--device", "cpu")

def test_annotations_of_another_split(folder, capsys):
    rewrite(folder, lambda questions: [q.update(question_id=q["question_id"] + 7) for q in questions])
    assert "another split" in fails(capsys, "evaluate", "--data-path", folder, "--device", "cpu")

def test_answer_list_of_the_wrong_length(folder, capsys):
    (folder/"answers.txt").write_text("yes\nno\n")
    assert "2 answers, but the head has 60" in fails(capsys, "evaluate", "--data-path", folder, "--answers", folder/"answers.txt", "--device", "cpu")

class Code:
    def __reduce__(self): return os.system, ("touch ran",)

def make_checkpoint(kind, path):
    weights = read_weights(GOLDEN/"tiny_beit3_vqa.pth")
    if kind == "zip error page":
        with zipfile.ZipFile(path, "w") as z: z.writestr("index.html", "<html>404</html>")
    elif kind == "code": torch.save({"model": weights, "hook": Code()}, path)
    elif kind == "bare pickle with code": path.write_bytes(pickle.dumps(Code()))
    elif kind == "pretraining": torch.save({"model": {k: v for k, v in weights.items() if not k.startswith(("head", "pooler"))}}, path)
    elif kind == "part": torch.save({"model": {k: v for k, v in weights.items() if "layers.1.ffn.B.fc1" not in k}}, path)

@pytest.mark.parametrize("kind, says", [("zip error page", "not a PyTorch"), ("code", "contains code"), ("bare pickle with code", "without running what it names"),
                                        ("pretraining", "head.3.weight is missing: this is a pretraining checkpoint"), ("part", "layers.1.ffn.B.fc1.bias")])
def test_bad_checkpoint(tmp_path, monkeypatch, capsys, kind, says):
    monkeypatch.chdir(tmp_path)
    make_checkpoint(kind, tmp_path/"bad.pth")
    assert says in fails(capsys, "evaluate", "--checkpoint", tmp_path/"bad.pth", "--device", "cpu")
    assert not (tmp_path/"ran").exists()

def test_float16_checkpoint_is_read(tmp_path):
    torch.save({k: v.half() for k, v in read_weights(GOLDEN/"tiny_beit3_vqa.pth").items()}, tmp_path/"half.pth")
    vqa = load_model(tmp_path/"half.pth", config=GOLDEN/"tiny_beit3_vqa.config.json", device="cpu")
    assert vqa.dtype == torch.float32 and vqa.config.num_classes == 40

def test_output_folder_is_a_file(tmp_path, capsys):
    (tmp_path/"file").touch()
    assert "is a file" in fails(capsys, "evaluate", "--limit", "5", "--output-dir", tmp_path/"file", "--device", "cpu")

def test_output_folder_is_read_only(small_disk, capsys):
    assert "read-only" in fails(capsys, "evaluate", "--limit", "5", "--output-dir", small_disk("ro")/"run", "--device", "cpu")

def test_full_disk_keeps_what_was_answered(small_disk, capsys):
    folder = small_disk("size=48k")/"run"
    arguments = ["evaluate", "--output-dir", folder, "--device", "cpu", "--limit", "600", "--batch-size", "16", "--quiet"]
    err = fails(capsys, *arguments)
    assert "full disk" in err and "answers are kept" in err
    kept = len(read_journals(folder))
    assert kept > 0
    small_disk("size=4m")
    assert main(list(map(str, arguments))) == 0
    state = json.loads((folder/"run.json").read_text())
    assert state["report"]["questions"] == state["identity"]["num_questions"] - kept

def test_sample_in_the_shape_of_unilms_index(tmp_path):
    "Token ids in place of text, soft labels in place of annotations."
    data, vqa = open_sample(), load_model("sample", device="cpu")
    some, labels = data.questions[:60], {a: i for i, a in enumerate(vqa.answers)}
    (tmp_path/"val2014").symlink_to(data.image_root/"val2014")
    (tmp_path/"answer2label.txt").write_text("".join(json.dumps({"answer": a, "label": i}) + "\n" for i, a in enumerate(vqa.answers)))
    with open(tmp_path/"vqa.val.jsonl", "w") as f:
        for q in some: f.write(json.dumps(dict(image_path=q.image, text_segment=vqa.tokenizer.encode(q.question)[1:-1], qid=q.question_id,
                                                       **dict(zip(("labels", "scores"), soft_labels(data.annotations[q.question_id].answers, labels))))) + "\n")
    indexed = evaluate("sample", "val", tmp_path, output_dir=tmp_path/"run", device="cpu", progress=False)
    assert indexed.accuracy is None # soft labels do not tell the ten answers
    people = [data.annotations[q.question_id] for q in some if set(data.annotations[q.question_id].answers) & set(labels)]
    answered = {a.question_id: indexed.records[a.question_id]["answers"][0] for a in people}
    assert indexed.soft_score.soft_score == soft_score(people, answered).soft_score
    for q in some[:20]: assert indexed.records[q.question_id]["answers"][0] == vqa.ask(data.image_path(q), q.question)[0].answer

def test_blank_answers_are_counted_after_a_resume(folder):
    pictures(folder)[4].write_bytes(b"")
    with pytest.raises(UserError, match="with that output_dir continues"): run(folder, batch_size=1)
    done = run(folder, batch_size=1, bad_images="blank") # the advice works in the same folder
    marked = done.answers.image_error.notna().sum()
    assert marked and done.report().setup["answered with a grey picture"] == f"{marked} questions"
    before = done.report()
    assert run(folder, batch_size=1, bad_images="blank").report() == before # a finished run keeps its report

@pytest.mark.parametrize("arguments, says", [(dict(workers=-1), "workers must be"), (dict(split="sample", data_path="/somewhere"), "takes no data_path"), (dict(limit=0), "limit must be")])
def test_arguments_without_meaning_are_refused(arguments, says):
    with pytest.raises(UserError, match=says): evaluate(device="cpu", progress=False, **arguments)

def test_loaded_model_takes_no_loading_arguments():
    with pytest.raises(UserError, match="belong to load_model"): evaluate(load_model("sample", device="cpu"), image_size=96, progress=False)

def test_half_precision_model_takes_float32_pictures():
    vqa = load_model("sample", device="cpu", dtype="bfloat16")
    assert vqa.model(torch.zeros(1, 3, 192, 192), torch.tensor([[0, 5, 2]]), None).dtype == torch.bfloat16

def test_weights_of_nan_are_told(tmp_path):
    vqa = load_model("sample", device="cpu")
    vqa.model.pooler.dense.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="gives NaN"): evaluate(vqa, limit=5, output_dir=tmp_path, progress=False)

def test_numbers_and_places_from_the_shell(tmp_path, capsys):
    folder, file = str(tmp_path/"run"), tmp_path/"file"
    file.touch()
    assert main(["evaluate", "--limit", "5", "--device", "cpu", "--quiet", "--output-dir", folder]) == 0
    for arguments, says in [(["evaluate", "--timeout", "-1", "--processes", "2"], "timeout must be a positive number"), (["report", folder, "--html", str(tmp_path/"x.html"), "--seed", "-1"], "seed must be a whole number of 0 or more"),
                            (["evaluate", "--timeout", "inf", "--processes", "2"], "timeout must be a positive number"), (["evaluate", "--processes", "²"], "processes must be a whole number"),
                            (["report", folder, "--n", "5"], "--n is about the page that --html writes"), (["report", folder, "--csv", str(tmp_path/"x.csv"), "--checkpoint", "sample"], "--checkpoint is about the page"),
                            (["report", folder, "--html", str(tmp_path/"x.html"), "--heat-maps", "3"], "--heat-maps is about the model that draws where it looks; name it with --checkpoint"),
                            (["report", folder, "--html", str(tmp_path/"x.html"), "--device", "cpu"], "--device is about the model"),
                            (["report", folder, "--html", str(tmp_path/"x.html"), "--checkpoint", "sample", "--heat-maps", "-1"], "heat_maps (--heat-maps) must be a whole number of answers, 0 or more, not -1"),
                            (["report", folder, "--spreadsheet"], "name its file with --csv"), (["evaluate", "--images", "zip"], "images='zip' is about VQAv2's pictures"),
                            (["convert", "sample", str(file)], "file is a file, but our format is a folder"), (["convert", "sample", str(tmp_path/"new.pt")], "new.pt would be a file"), (["convert", "sample", str(tmp_path/"none"/"x.pth")], "does not exist; make it first")]:
        capsys.readouterr()
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert says in told and told.count("\n") == 1

@pytest.mark.parametrize("call, says", [(lambda run: beit3_colab.load_model(None), "checkpoint must be a name or a path, not None"), (lambda run: beit3_colab.convert(5, "x"), "not 5"),
                                        (lambda run: beit3_colab.evaluate(output_dir=5, limit=5, progress=False), "output_dir must be a path, not 5"),
                                        (lambda run: beit3_colab.evaluate(seed=-1, limit=5, progress=False), "seed must be a whole number of 0 or more, not -1"),
                                        (lambda run: beit3_colab.open_run(None), "a run folder is a path, not None"), (lambda run: beit3_colab.compare(run, None), "a run folder is a path, not None"),
                                        (lambda run: beit3_colab.load_model("sample", config={"num_head": 4}), "config has 'num_head', which is no field of Beit3Config; did you mean 'num_heads'?"),
                                        (lambda run: beit3_colab.load_model("llava"), "'llava' is neither a file, a folder nor a published checkpoint; published are beit3_base_patch16_480_vqa, "),
                                        (lambda run: beit3_colab.look.figures.show_attention("sample", None, "?"), r"pass load_model\('sample'\)"), (lambda run: run.to_html("x.html", vqa="sample"), r"pass load_model\('sample'\)")], ids=range(10))
def test_values_of_the_wrong_kind(tmp_path, monkeypatch, call, says):
    monkeypatch.chdir(tmp_path)
    run = beit3_colab.evaluate(limit=1, output_dir="run", device="cpu", progress=False)
    with pytest.raises(UserError, match=says): call(run)
    assert beit3_colab.open_run("run/run.json").folder == Path("run")

def test_remedies_name_the_option_of_the_command_line_too():
    "A message that says `pass answers=…` is read in a shell as well, where it is --answers."
    options = {f"--{name.replace('_', '-')}" for name in vars(make_parser().parse_args(["evaluate"]))}
    assert {"--answers", "--tokenizer", "--config", "--images", "--data-path"} <= options
    seen = 0
    for path in sorted(Path(beit3_colab.__file__).parent.rglob("*.py")):
        if path.stem == "front_end": continue # what it says concerns Colab's notebooks
        source = path.read_text()
        for call in ast.walk(ast.parse(source)):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "UserError"): continue
            said = ast.get_source_segment(source, call)
            for name in re.findall(r"(?:pass|give|or) (\w+)=", said):
                option = f"--{name.replace('_', '-')}"
                seen += option in options
                assert option not in options or option in said, f"{path.name}: {said}"
    assert seen >= 8
