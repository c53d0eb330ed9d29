"Folders that transformers' classes cannot use: what is said of them."
import pytest

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
