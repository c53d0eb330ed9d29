"Folders that transformers' classes cannot use: what is said of them."
import json

import pytest
import torch

transformers = pytest.importorskip("transformers")
from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor, AutoTokenizer # noqa: E402

from beit3_colab import huggingface, load_model # noqa: E402
from beit3_colab.machine.messages import UserError # noqa: E402

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab"*32 + b"\nsize 906001234\n"


@pytest.fixture
def folder(tmp_path): return load_model("sample", device="cpu").save(tmp_path/"model")

@pytest.mark.parametrize("loader", [AutoProcessor, AutoTokenizer, huggingface.Beit3Processor, huggingface.Beit3Tokenizer])
def test_a_folder_without_a_tokenizer(folder, loader):
    (folder/"sentencepiece.model").unlink()
    with pytest.raises(UserError, match="the folder has no sentencepiece.model, by which questions are read: copy beit3.spm there"): loader.from_pretrained(folder)

@pytest.mark.parametrize("loader", [AutoModelForVisualQuestionAnswering, huggingface.Beit3ForVisualQuestionAnswering])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content, says", [(POINTER, "is a Git LFS pointer, not weights: "), (b"<!DOCTYPE html><html>", "is a web page, not weights: "), (b"", "is empty; ")])
def test_a_file_that_is_no_weights(folder, loader, name, content, says):
    (folder/"model.safetensors").unlink()
    (folder/name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} {says}"): loader.from_pretrained(folder)

def test_a_sum_stays_with_the_weights_that_it_is_of(folder, tmp_path):
    "Weights that transformers saves are others: no sum of older ones comes with them."
    assert "sha256" in json.loads((folder/"config.json").read_text())
    model = AutoModelForVisualQuestionAnswering.from_pretrained(folder)
    with torch.no_grad(): model.head[3].bias += 1
    model.save_pretrained(tmp_path/"other")
    assert "sha256" not in json.loads((tmp_path/"other"/"config.json").read_text())
    for again in (tmp_path/"other", folder):
        model.save_pretrained(again) # onto our own folder, too
        assert load_model(again, device="cpu").config.num_classes == model.config.num_labels

@pytest.mark.parametrize("change", [dict(layernorm_eps=float("nan")), dict(layernorm_eps=1e300), dict(num_layers=10**9)])
def test_ranges_are_the_same_through_transformers(folder, change):
    values = json.loads((folder/"config.json").read_text()) | change
    (folder/"config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=next(iter(change))): AutoModelForVisualQuestionAnswering.from_pretrained(folder)
