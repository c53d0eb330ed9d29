"What a question's text becomes: which file may be the tokenizer, what is said of a question that is too long, and of a model that gives NaN."
import json
import logging
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from beit3_colab import convert, evaluate, load_model
from beit3_colab.machine.messages import UserError
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.checkpoint import sample_folder, save_folder
from beit3_colab.model.tokenizer import Tokenizer
from beit3_colab.model.weights import to_official

SPM = sample_folder()/"sentencepiece.model"
LONG = "The sign says stop. " * 30 + "What color is it?"
PICTURE = np.full((9, 9, 3), 80, np.uint8)


def with_pieces(count):
    "The sample's SentencePiece model with so many unused pieces more that it has `count` ids."
    pieces = []
    for i in range(count - len(Tokenizer(SPM))):
        name = f"unused{i}".encode()
        piece = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", -100.) + b"\x18\x05"
        pieces.append(b"\x0a" + bytes([len(piece)]) + piece)
    return SPM.read_bytes() + b"".join(pieces)

@pytest.mark.parametrize("ids, rows, fits", [(64_002, 64_010, True), (64_010, 64_010, True), (60_000, 64_010, True), (32_002, 64_010, False), (32_130, 64_010, False), (50_000, 64_010, False), (185, 64_010, False), (64_011, 64_010, False),
                                             (250_002, 64_010, False), (185, 185, True), (185, 200, True), (62, 185, False), (73, 185, False), (82, 200, True), (185, 256, True), (185, 1000, False), (185, 184, False)])
def test_a_tokenizer_has_about_as_many_ids_as_the_model_has_rows(ids, rows, fits):
    tokenizer = Tokenizer(with_pieces(max(ids, 185)))
    if ids < 185: tokenizer = type("Small", (Tokenizer,), {"__len__": lambda self: ids})(SPM)
    assert len(tokenizer) == ids
    if fits: return tokenizer.check_vocab_size(rows)
    with pytest.raises(UserError, match=f"{ids} ids, but the model knows {rows}"): tokenizer.check_vocab_size(rows)

def make_model(tmp_path, rows, tokenizer=None):
    torch.manual_seed(0)
    config = Beit3Config(image_size=32, patch_size=16, embed_dim=4, num_heads=2, num_layers=1, ffn_dim=8, vocab_size=rows, num_classes=2, max_text_positions=70)
    return save_folder(tmp_path/"model", init_weights(Beit3ForVQA(config)).state_dict(), config, ["yes", "no"], tokenizer)

def test_every_way_to_a_model_refuses_another_models_tokenizer(tmp_path):
    folder, other = make_model(tmp_path, 64_010), tmp_path/"t5.model"
    other.write_bytes(with_pieces(32_002))
    for call in (lambda: load_model(folder, tokenizer=other, device="cpu"), lambda: convert(folder, tmp_path/"new", tokenizer=other),
                 lambda: evaluate(folder, questions=[{"image": PICTURE, "question": "Why?"}], tokenizer=other, device="cpu", progress=False, output_dir=tmp_path/"run")):
        with pytest.raises(UserError, match="t5.model has only 32002 ids, but the model knows 64010"): call()
    assert not (tmp_path/"new").exists() and not (tmp_path/"run").exists()
    other.write_bytes(with_pieces(64_002))
    assert len(load_model(folder, tokenizer=other, device="cpu").ask(PICTURE, "Why?")) == 2

@pytest.mark.parametrize("content, says", [(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"), (b'{"version": "1.0", "model": {}}', "is JSON (such as tokenizer.json"), (b'{"version": "1.0",\n "added_tokens": [', "is JSON"),
                                           (b"[PAD]\n[unused0]\n[UNK]\nthe\nof\n", "is text (a list of words such as vocab.txt"), ("<unk>\t0\n▁the\t-3.1\n".encode(), "is text"), (b"", "is empty"), (b"<html>", "is a web page"),
                                           (b"PK\x03\x04" + b"\0" * 99, "zip"), (SPM.read_bytes()[:700], "or is cut short")])
@pytest.mark.parametrize("given", ["file", "bytes"])
def test_other_files_are_called_what_they_are(tmp_path, content, says, given):
    (tmp_path/"beit3.spm").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(says)): Tokenizer(tmp_path/"beit3.spm" if given == "file" else content)
    with pytest.raises(UserError, match=re.escape(says)) as error: convert("sample", tmp_path/"new", tokenizer=tmp_path/"beit3.spm")
    assert len(str(error.value)) < 400 and ("cut short" in str(error.value)) == ("cut short" in says)

def test_what_is_no_path(tmp_path):
    for wrong, says in [(tmp_path, "is a folder: give the file"), (7, "must be the path"), (tmp_path/"gone.spm", "does not exist"), ("x" * 300, "does not exist")]:
        with pytest.raises(UserError, match=says): Tokenizer(wrong)


@pytest.mark.parametrize("text, cut", [("What is it?", False), ("why " * 70, True), ("x" * 61, False), ("☃" * 200, False), ("㏂" * 40, True), (" " * 500, False), ("<pad>" * 62, False), ("<pad>" * 63, True), ("\ud83d" * 200, True)])
def test_a_question_that_is_cut_is_known(text, cut):
    tokenizer = Tokenizer(SPM)
    assert tokenizer.cuts(text) == cut == (len(Tokenizer(SPM, max_length=2000).encode(text)) > 64)
    assert len(tokenizer.encode(text)) <= 64

def test_ask_tells_once_for_a_call(vqa, caplog):
    with caplog.at_level(logging.WARNING, "beit3_colab.model"):
        vqa.ask(PICTURE, "Is it day?")
        assert not caplog.records
        vqa.ask([PICTURE]*3, ["Is it day?", LONG, "why " * 70])
        assert len(caplog.records) == 1 and caplog.records[0].message.startswith("2 questions are longer than the 62 tokens that the model reads, and their end is cut: the first is 'The sign")
        caplog.clear()
        vqa.ask([PICTURE]*20, LONG)
        assert len(caplog.records) == 1 and caplog.records[0].message.startswith("1 question is longer") and len(caplog.records[0].message) < 300
        caplog.clear()
        vqa.attention(PICTURE, LONG)
        assert len(caplog.records) == 1

def test_a_run_keeps_it_in_its_report(vqa, tmp_path):
    questions = [{"image": PICTURE, "question": text, "question_id": i} for i, text in enumerate(["Is it day?", LONG, "Is it day?", "why " * 70], 7)]
    run = evaluate(vqa, questions=questions, progress=False, output_dir=tmp_path)
    assert list(run.report().warnings) == ["2 questions are longer than the 62 tokens that the model reads, and their end is cut: the first is question 8. Put what is asked first, or ask more shortly"]
    assert not evaluate(vqa, questions=questions[::2], progress=False, output_dir=tmp_path/"short").report().warnings
    assert "question 8" in json.loads((tmp_path/"run.json").read_text())["report"]["warnings"][0]


@pytest.mark.parametrize("break_it", ["NaN", "infinite", "one class"])
def test_a_model_that_gives_nan_answers_nowhere(tmp_path, break_it):
    vqa = load_model("sample", device="cpu")
    bias = vqa.model.head[3].bias
    if break_it == "NaN": vqa.model.pooler.dense.bias.fill_(torch.nan)
    elif break_it == "infinite": bias.fill_(torch.inf)
    else: bias[-1] = -torch.inf
    for call in (lambda: vqa.ask(PICTURE, "Why?"), lambda: vqa.ask([PICTURE]*2, "Why?", top_k=1), lambda: vqa.attention(PICTURE, "Why?"), lambda: evaluate(vqa, limit=5, output_dir=tmp_path, progress=False)):
        with pytest.raises(UserError, match="the model gives NaN: its checkpoint is damaged"): call()

def test_nan_in_a_file_is_refused_by_every_way(tmp_path):
    vqa = load_model("sample", device="cpu")
    weights = to_official(vqa.model.state_dict())
    weights["pooler.dense.weight"][3, 5] = torch.nan
    torch.save({"model": weights}, tmp_path/"nan.pth")
    for call in (lambda path: load_model(path, {"num_heads": 4}, vqa.answers, tokenizer=SPM, device="cpu"),
                 lambda path: evaluate(str(path), config={"num_heads": 4}, answers=vqa.answers, tokenizer=SPM, limit=5, output_dir=tmp_path/"run", progress=False),
                 lambda path: convert(path, tmp_path/"converted", {"num_heads": 4}, vqa.answers)):
        with pytest.raises(UserError, match="pooler.dense.weight holds NaN or infinity"): call(tmp_path/"nan.pth")
    assert not (tmp_path/"converted").exists() and not (tmp_path/"run").exists()

def test_negative_ids_of_an_index_are_named(vqa, tmp_path):
    (tmp_path/"val2014").mkdir()
    (tmp_path/"vqa.val.jsonl").write_text(json.dumps(dict(image_path="val2014/a.jpg", text_segment=[5, -3], qid=1, labels=[0], scores=[1.])) + "\n")
    (tmp_path/"answer2label.txt").write_text("".join(json.dumps({"answer": a, "label": i}) + "\n" for i, a in enumerate(vqa.answers)))
    Path(tmp_path/"val2014"/"a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="line 1 is damaged .text_segment must be a list of whole numbers, 0 or more"): evaluate(vqa, "val", tmp_path, progress=False, output_dir=tmp_path/"run")
