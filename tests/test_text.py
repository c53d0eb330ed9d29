"Ids of the reference's tokenizer (transformers 4.57.6, XLMRobertaTokenizer) for a small SentencePiece model."
import json
from pathlib import Path

import pytest

from beit3_colab.model.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent/"golden"
ROWS = json.loads((GOLDEN/"tokenizer.json").read_text())["rows"]
TOKENIZER = Tokenizer(GOLDEN/"tiny.spm")


def test_all_rows_are_there(): assert len(ROWS) == 75

@pytest.mark.parametrize("row", ROWS, ids=[repr(r["text"][:30]) for r in ROWS])
def test_equal_to_reference(row):
    encoding = TOKENIZER(row["text"])
    assert encoding.input_ids == row["input_ids"]
    assert encoding.padding_mask == row["padding_mask"]
    assert TOKENIZER.encode(row["text"])[1:-1] == row["ids"][:62]

def test_a_question_of_500_words_is_cut_to_64():
    encoding = TOKENIZER("color " * 500)
    assert len(encoding.input_ids) == 64 and encoding.input_ids[-1] == 2 and sum(encoding.padding_mask) == 0

@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_a_question_of_only_spaces_is_not_an_error(text): assert TOKENIZER.encode(text) == [0, 2]

@pytest.mark.parametrize("text", ["\x00\x07what\x1b", "🐈🐈‍⬛ color?", "\ud800 half a surrogate pair"])
def test_control_characters_and_emoji_do_not_crash(text):
    ids = TOKENIZER.encode(text)
    assert ids[0] == 0 and ids[-1] == 2 and all(0 <= i < len(TOKENIZER) for i in ids)
