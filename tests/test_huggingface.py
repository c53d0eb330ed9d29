"Checkpoint folders through transformers' own classes, with the version that is installed and with an older one."
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForVisualQuestionAnswering, AutoProcessor, AutoTokenizer, pipeline

import beit3_colab.huggingface as huggingface # noqa: E402 - tells the Auto classes
from beit3_colab import UserError, convert, load_model
from beit3_colab.data.answer_list import soft_labels
from beit3_colab.model.checkpoint import build_model, read_answers
from beit3_colab.model.weights_file import read_weights
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.description import make_scene

GOLDEN, OLDER = Path(__file__).parent/"golden", ("transformers==4.49.0", "tokenizers>=0.21,<0.22", "huggingface_hub>=0.26,<1")
V5 = int(transformers.__version__.split(".")[0]) >= 5
FLOAT32 = {"dtype" if V5 else "torch_dtype": torch.float32}
ANSWERS = [f"answer {i}" for i in range(40)]


@pytest.fixture(scope="module")
def golden(): return load_file(GOLDEN/"tiny_beit3_vqa.safetensors")

@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "The reference's small checkpoint, converted."
    return convert(GOLDEN/"tiny_beit3_vqa.pth", tmp_path_factory.mktemp("tiny")/"folder", GOLDEN/"tiny_beit3_vqa.config.json", ANSWERS, GOLDEN/"tiny.spm")

@pytest.fixture(scope="module")
def sample(): return AutoModelForVisualQuestionAnswering.from_pretrained(sample_folder(), **FLOAT32)

def test_this_version(): assert transformers.__version__.startswith(os.environ.get("BEIT3_COLAB_TRANSFORMERS", ""))

def logits_of(model, golden, size):
    with torch.no_grad(): return model(pixel_values=golden[f"image_{size}"], input_ids=golden["input_ids"], attention_mask=1 - golden["padding_mask"]).logits


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("loader", [AutoModelForVisualQuestionAnswering, huggingface.Beit3ForVisualQuestionAnswering])
def test_logits_equal_the_reference(tiny, golden, loader, size):
    model = loader.from_pretrained(tiny, **FLOAT32) if size == 64 else loader.from_pretrained(tiny, image_size=size, **FLOAT32)
    assert not model.training and model.config.image_size == size
    logits = logits_of(model, golden, size)
    assert (logits - golden[f"logits_{size}"]).abs().max() < 1e-4
    ours = build_model(read_weights(GOLDEN/"tiny_beit3_vqa.pth"), {"num_heads": 4}, image_size=size)
    with torch.no_grad(): assert (logits - ours(golden[f"image_{size}"], golden["input_ids"], golden["padding_mask"])).abs().max() < 1e-5

def test_padded_batches_equal_predict(sample, vqa):
    processor = AutoProcessor.from_pretrained(sample_folder())
    scenes = [draw_scene(make_scene(seed)) for seed in (1, 2, 3)]
    questions = ["Why?", "What is the color of the bird on the left of the tree?", "Is it day or night?"]
    inputs = processor(images=scenes, text=questions, return_tensors="pt")
    assert set(inputs) == {"pixel_values", "input_ids", "attention_mask"} and 0 in inputs["attention_mask"]
    with torch.no_grad(): logits = sample(**inputs).logits
    for scene, question, row in zip(scenes, questions, logits):
        image = processor.image_processor(scene)["pixel_values"]
        with torch.no_grad():
            alone = vqa.model(image, torch.tensor([vqa.tokenizer.encode(question)]))[0]
            single = sample(**processor(scene, question)).logits[0]
        assert (single - alone).abs().max() < 1e-5
        assert (row - alone).abs().max() < 1e-5*alone.abs().max() # these logits reach -47, where float32 itself has steps of 4e-6
        assert sample.config.id2label[int(row.argmax())] == vqa.ask(scene, question)[0].answer
    one = processor(images=scenes[0], text=questions)
    assert one["pixel_values"].shape == (3, 3, 192, 192)
    with pytest.raises(UserError, match="2 pictures but 3 questions"): processor(images=scenes[:2], text=questions)

def test_token_ids_equal_the_reference(tiny):
    rows = json.loads((GOLDEN/"tokenizer.json").read_text())["rows"]
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert len(rows) == 75 and type(tokenizer) is huggingface.Beit3Tokenizer
    for row in rows:
        found = tokenizer(row["text"], padding="max_length", truncation=True)
        assert found["input_ids"] == row["input_ids"], row["text"]
        assert found["attention_mask"] == [1 - m for m in row["padding_mask"]]
        assert tokenizer.convert_tokens_to_ids(tokenizer.tokenize(row["text"])) == row["ids"]
    batch = tokenizer([r["text"] for r in rows], padding="max_length", truncation=True)
    assert batch["input_ids"] == [r["input_ids"] for r in rows]

def test_one_format_both_ways(tiny, golden, tmp_path):
    model, processor = AutoModelForVisualQuestionAnswering.from_pretrained(tiny, **FLOAT32), AutoProcessor.from_pretrained(tiny)
    model.save_pretrained(tmp_path/"saved")
    processor.save_pretrained(tmp_path/"saved")
    ours, theirs = load_file(tiny/"model.safetensors"), load_file(tmp_path/"saved"/"model.safetensors")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    vqa = load_model(tmp_path/"saved", device="cpu")
    assert vqa.answers == ANSWERS and vqa.tokenizer.sha256 == load_model(tiny, device="cpu").tokenizer.sha256 and vqa.config == build_model(ours, {"num_heads": 4}).config
    vqa.save(tmp_path/"again")
    convert(tmp_path/"saved", tmp_path/"official.pth")
    assert all(torch.equal(t, read_weights(GOLDEN/"tiny_beit3_vqa.pth")[n]) for n, t in read_weights(tmp_path/"official.pth").items())
    for folder in ("saved", "again"):
        again = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path/folder, **FLOAT32)
        assert torch.equal(logits_of(again, golden, 64), logits_of(model, golden, 64)) and again.config.id2label == dict(enumerate(ANSWERS)) and again.config.label2id["answer 7"] == 7
        assert type(AutoProcessor.from_pretrained(tmp_path/folder)) is huggingface.Beit3Processor
        assert AutoImageProcessor.from_pretrained(tmp_path/"again").size == {"height": 64, "width": 64}
        assert AutoProcessor.from_pretrained(tmp_path/folder).image_processor.size == {"height": 64, "width": 64}
    assert type(AutoConfig.from_pretrained(tmp_path/"saved")) is huggingface.Beit3Config

def test_loss_is_that_of_the_reference(sample):
    inputs = AutoProcessor.from_pretrained(sample_folder())(draw_scene(make_scene(1)), ["Why?", "Where was this drawn?"])
    people = [[sample.config.id2label[3]]*2 + [sample.config.id2label[5]]*8, ["yes"]*10]
    labels = torch.zeros(2, sample.config.num_labels)
    for row, answers in zip(labels, people):
        for label, value in zip(*soft_labels(answers, sample.config.label2id)): row[label] = value
    model = AutoModelForVisualQuestionAnswering.from_pretrained(sample_folder(), **FLOAT32)
    output = model(**inputs, labels=labels)
    p = output.logits.detach().double().sigmoid()
    expected = -(labels*p.log() + (1 - labels)*(1 - p).log()).mean()*labels.shape[1]
    assert labels.sum().item() == pytest.approx(2.6) and output.loss.item() == pytest.approx(expected.item(), rel=1e-4)
    output.loss.backward()
    last = model.layers[-1].text # its attention and feed-forward change no answer
    idle = {id(p) for part in (last.out_norm, last.out, last.ffn_norm, last.fc1, last.hidden_norm, last.fc2) for p in part.parameters()} | {id(model.image_embedding.mask_token)}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if id(p) not in idle)

def test_another_head_is_made_and_the_rest_kept(tiny, tmp_path):
    answers = {0: "yes", 1: "no", 2: "maybe"}
    model = AutoModelForVisualQuestionAnswering.from_pretrained(tiny, id2label=answers, label2id={a: i for i, a in answers.items()}, ignore_mismatched_sizes=True, **FLOAT32)
    ours = load_file(tiny/"model.safetensors")
    changed = {n for n, t in model.state_dict().items() if t.shape != ours[n].shape or not torch.equal(t, ours[n])}
    assert changed == {"head.3.weight", "head.3.bias"} and 0.01 < model.head[3].weight.std() < 0.03 and not model.head[3].bias.any()
    model.save_pretrained(tmp_path/"three")
    assert load_model(tmp_path/"three", device="cpu").answers == ["yes", "no", "maybe"]
    model.config.id2label = {0: "yes", 1: "no"}
    with pytest.raises(Exception, match="size mismatch|ignore_mismatched_sizes"): AutoModelForVisualQuestionAnswering.from_pretrained(tiny, num_labels=2, **FLOAT32)

def test_two_answers_stay_two(tmp_path):
    "Two is transformers' own default, which it does not write down."
    config = huggingface.Beit3Config(image_size=32, embed_dim=16, num_heads=2, num_layers=1, ffn_dim=32, vocab_size=50, num_classes=2)
    model = huggingface.Beit3ForVisualQuestionAnswering(config)
    model.save_pretrained(tmp_path)
    assert AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path).config.num_labels == 2 and read_answers(tmp_path) is None
    assert load_model(tmp_path, device="cpu").config == config.architecture

def test_half_precision_attention_and_tuples(tiny, golden):
    name, = FLOAT32
    half = AutoModelForVisualQuestionAnswering.from_pretrained(tiny, **{name: torch.bfloat16})
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16} and (logits_of(half, golden, 64).float() - golden["logits_64"]).abs().max() < 0.1
    model = AutoModelForVisualQuestionAnswering.from_pretrained(tiny, **FLOAT32)
    inputs = dict(pixel_values=golden["image_64"], input_ids=golden["input_ids"], attention_mask=1 - golden["padding_mask"])
    with torch.no_grad():
        output = model(**inputs, output_attentions=True)
        assert len(output.attentions) == 3 and output.attentions[0].shape == (len(output.logits), 4, 33, 33) and (output.logits - golden["logits_64"]).abs().max() < 1e-4
        plain, = model(**inputs, return_dict=False)
    assert (plain - output.logits).abs().max() < 1e-5
    with pytest.raises(UserError, match="32×32 given to a model for 64×64|32×32 pixels"): model(golden["image_64"][..., :32, :32], golden["input_ids"])

def test_every_weight_is_initialised():
    config = huggingface.Beit3Config(image_size=32, embed_dim=16, num_heads=2, num_layers=1, ffn_dim=32, vocab_size=50, num_classes=3)
    weights = huggingface.Beit3ForVisualQuestionAnswering(config).state_dict()
    assert all(t.isfinite().all() for t in weights.values()) and len({id(t) for t in weights.values()}) == len(weights)
    assert {n for n, t in weights.items() if not t.any()} == {n for n in weights if n.endswith("bias")} | {"image_embedding.mask_token"}

def test_pipeline(sample, vqa):
    scene, question = draw_scene(make_scene(7)), "What is the weather like?"
    if V5: # transformers 5 has no such pipeline any more
        with pytest.raises(KeyError, match="removed|Unknown task"): pipeline("visual-question-answering", model=str(sample_folder()))
        return
    ask = pipeline("visual-question-answering", model=str(sample_folder()), device="cpu", torch_dtype=torch.float32)
    found = ask(scene, question, top_k=3)
    assert [(f["answer"], round(f["score"], 4)) for f in found] == [(a.answer, round(a.confidence, 4)) for a in vqa.ask(scene, question, 3)]

def test_push_to_hub_sends_the_whole_folder(tiny, monkeypatch, tmp_path):
    "Against a stand-in for the Hub's client; the Hub itself was never asked."
    sent = {}
    class Hub:
        def create_repo(self, repo_id, **kwargs): return type("Url", (str,), {"repo_id": repo_id})(repo_id)
        def create_commit(self, repo_id, operations, **kwargs): sent.update({(repo_id, o.path_in_repo): Path(o.path_or_fileobj).read_bytes() if not isinstance(o.path_or_fileobj, bytes) else o.path_or_fileobj for o in operations})
        def __getattr__(self, name): raise AssertionError(f"unexpected call of the Hub: {name}")
    from transformers.utils import hub
    if hasattr(hub, "hf_api"): monkeypatch.setattr(hub, "_hf_api", Hub())
    else:
        for name in ("create_repo", "create_commit"): monkeypatch.setattr(hub, name, getattr(Hub(), name))
    def no_card(*args, **kwargs): raise EntryNotFoundError("no card yet")
    monkeypatch.setattr("huggingface_hub.ModelCard.load", no_card)
    AutoModelForVisualQuestionAnswering.from_pretrained(tiny, **FLOAT32).push_to_hub("somebody/tiny")
    AutoProcessor.from_pretrained(tiny).push_to_hub("somebody/tiny")
    assert {repo for repo, _ in sent} == {"somebody/tiny"}
    for (_, name), content in sent.items(): (tmp_path/name).write_bytes(content)
    assert load_model(tmp_path, device="cpu").answers == ANSWERS and type(AutoProcessor.from_pretrained(tmp_path)) is huggingface.Beit3Processor

@pytest.mark.parametrize("size", [{"shortest_edge": 480}, {"height": 480, "width": 384}, "480", 0])
def test_a_size_that_is_no_square_is_refused(size):
    with pytest.raises(UserError, match="BEiT-3 takes squares"): huggingface.Beit3ImageProcessor(size=size)

def test_with_transformers_4(tmp_path):
    "The same tests under an older version, fetched for it; that it cannot be had is a failure."
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path/"older", *OLDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path/"older"), str(Path(__file__).parent.parent)]), "BEIT3_COLAB_TRANSFORMERS": "4.49.0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", "not transformers_4", __file__], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0 and "28 passed, 1 deselected" in done.stdout, done.stdout[-4000:]

def test_the_processor_sees_what_people_see(tmp_path):
    "In every form that programs around transformers give pictures in."
    processor, scene = AutoProcessor.from_pretrained(sample_folder()), draw_scene(make_scene(4))
    pixels, expected = np.asarray(scene), processor(scene, "Why?")["pixel_values"]
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.transpose(Image.Transpose.ROTATE_90).save(tmp_path/"phone.png", exif=exif)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [tmp_path/"phone.png", str(tmp_path/"phone.png"), Image.open(tmp_path/"phone.png"), pixels, pixels/255, pixels.transpose(2, 0, 1), tensor, tensor/255, scene.convert("RGBA"),
             {"bytes": (tmp_path/"phone.png").read_bytes(), "path": None}, tensor[None], pixels[None], [[scene]], pixels.astype(np.uint16)*257]
    for number, form in enumerate(forms):
        assert torch.equal(processor(form, "Why?")["pixel_values"], expected), number
        assert torch.equal(AutoImageProcessor.from_pretrained(sample_folder())(form)["pixel_values"], expected), number
    assert torch.equal(processor(images=torch.stack([tensor]*2)/255, text="Why?")["pixel_values"], expected.repeat(2, 1, 1, 1))

@pytest.mark.parametrize("images, text, says", [
    ("What is it?", "cat.jpg", "pictures come first, then the text"), (["What?", "Why?"], [np.zeros((4, 4, 3))]*2, "the other way round"), ("Why?", {"bytes": b""}, "the other way round"),
    (None, Image.new("RGB", (4, 4)), "text must be a question or a list of them, not <PIL"), ([], "Why?", "no picture in an empty list"), ([[1, 2]], "Why?", "one picture at a time"), (float("nan"), "Why?", "there is no picture"),
    ([np.zeros((4, 4, 3)), np.full((4, 4, 3), -1.)], "Why?", "image 2: .*from -1 to -1")])
def test_what_the_processor_cannot_take_is_said(images, text, says):
    with pytest.raises(UserError, match=says): AutoProcessor.from_pretrained(sample_folder())(images, text)
