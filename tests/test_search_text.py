"A search text finds what its grammar says, whatever it is made of, and says what it cannot mean."
import random
import time

import numpy as np
import pandas as pd
import pytest

from beit3_colab.look.facets import why_nothing
from beit3_colab.look.query import FIELDS, parse_query, without_part
from beit3_colab.look.search import AnswerIndex, Filter, default_sort, make_filter
from beit3_colab.machine.messages import UserError

WORDS = ["red", "reddish", "blue", "table", "tea", "not sure"]


@pytest.fixture(scope="module")
def table():
    draw = random.Random(1)
    n = 300
    return pd.DataFrame(dict(
        question_id=[f"q{i}" if i % 3 else str(i) for i in range(n)], image_id=[f"im{i % 7}" for i in range(n)],
        question=[" ".join(draw.choices(WORDS, k=3)) + "?" for _ in range(n)], answer=[draw.choice([*WORDS, "Yes"]) for _ in range(n)],
        correct_answer=[draw.choice([*WORDS, "yes"]) for _ in range(n)], confidence=[draw.random() for _ in range(n)],
        accuracy=[draw.choice([0., 30., 100.]) for _ in range(n)], answer_type=[draw.choice(["yes/no", "number"]) for _ in range(n)], question_type=[draw.choice(["is it", "how many"]) for _ in range(n)]))

@pytest.fixture(scope="module")
def index(table): return AnswerIndex(table)


def begins(word, text): return any(part.startswith(word) for part in text.split())

def fits(row, field, value):
    "What a term means, in the plainest words."
    whole, value = not value.endswith("*"), value.removesuffix("*").lower()
    def same(text): return text.lower() == value if whole else text.lower().startswith(value)
    if field == "": return begins(value, row.question.lower()) or begins(value, row.answer.lower())
    if field == "question": return begins(value, row.question.lower())
    if field == "type": return same(row.answer_type) or same(row.question_type)
    return same(getattr(row, {"answer": "answer", "people": "correct_answer", "image": "image_id", "id": "question_id"}[field]))

VALUES = {"": ["red", "tab", "te", "TEA", "zebra", "not"], "question": ["red", "tea*", "blue"], "answer": ["red", "re*", "yes", '"not sure"', "no*"],
          "people": ["yes", "red", "t*"], "type": ["number", '"how many"', "how*", "yes/no"], "image": ["im3", "IM1", "im*"], "id": ["q1", "q1*", "3"]}

def test_random_texts_find_what_their_parts_mean(table, index):
    draw, found = random.Random(2), 0
    rows = list(table.itertuples(index=False))
    for _ in range(250):
        parts, typed = [], []
        for _ in range(draw.randint(1, 3)):
            field, without = draw.choice(list(VALUES)), draw.random() < .3
            values = draw.choices(VALUES[field], k=draw.choice([1, 1, 2, 3]))
            parts.append((without, [(field, value.strip('"')) for value in values]))
            typed.append("-"*without + (f"{field}:" if field else "") + draw.choice(["|", " | ", " OR "]).join(values))
        text = draw.choice([" ", "  "]).join(typed)
        expected = [i for i, row in enumerate(rows) if all(any(fits(row, *term) for term in terms) != without for without, terms in parts)]
        assert index.select(Filter(words=text)).tolist() == expected, text
        found += 0 < len(expected) < len(rows)
    assert found > 100 # it has tried something

@pytest.mark.parametrize("text", ["", "  ", '"', "((", "-", "|", "||", "- -", '""', "-|", "| |", '" "', "OR"])
def test_marks_alone_ask_for_nothing(index, text):
    assert len(index.select(Filter(words=text))) == (len(index) if text != "OR" else 0)

@pytest.mark.parametrize("text, says", [
    ("colour:red", "colour: is no field to search in; there are answer:, question:"), ("anwser:yes", "did you mean 'answer'?"), ("red -Colour:x", 'put it in quotes: "Colour:x"'),
    ("answer:", "answer: needs a value, such as answer:yes"), ("cat id:|x", "id: needs a value"), ("red|-blue", "- stands before the whole"), ("javascript:alert(1)", "javascript: is no field"),
])
def test_what_cannot_be_meant_is_said(index, text, says):
    with pytest.raises(UserError) as error: index.select(Filter(words=text))
    assert says in str(error.value)
    with pytest.raises(UserError): make_filter(index, words=text)

def test_addresses_times_and_hyphens_are_words(index):
    for text in ("http://example.org/a", "10:30", "t-shirt", "e-mail", ":)"):
        assert [part.text for part in parse_query(text)] == [text] and not any(term.field for part in parse_query(text) for term in part.terms)

def test_any_text_is_read_or_refused_and_parts_can_be_taken_away():
    draw = random.Random(3)
    pieces = ["red", "-", "|", '"', " ", "answer:", "OR", "*", ":", "id:", "狗", "\0", "(", "\u202e", "é", "-answer:yes", '"a b"']
    read = 0
    for _ in range(3000):
        text = "".join(draw.choices(pieces, k=draw.randint(1, 8)))
        try: parts = parse_query(text)
        except UserError: continue
        read += 1
        for i, part in enumerate(parts):
            rest = parse_query(without_part(text, part))
            first = parts.index(part)
            assert [p.terms for p in rest] == [p.terms for j, p in enumerate(parts) if j != first], (text, part)
    assert read > 1000

def test_fields_are_those_that_are_evaluated(index):
    for field in FIELDS: assert len(index.select(Filter(words=f"{field}:zebra"))) == 0

def test_the_default_order(index, table):
    assert default_sort(index) == "mistakes" and index.select(sort=None).tolist() == index.order("mistakes").tolist()
    assert default_sort(AnswerIndex(table.drop(columns="accuracy"))) == "order"

def test_which_part_finds_nothing_is_told(index):
    n = len(index.select(Filter(answer="red")))
    assert why_nothing(index, Filter(words="zebra*", answer="red")) == f"Nothing has ‘zebra*’. Without ‘zebra*’: {n}."
    assert why_nothing(index, Filter(answer="red", words="-answer:red")) == f"Without ‘-answer:red’: {n}; without answer: red: {len(index) - n}."
    assert why_nothing(index, Filter(answer="red")) == ""

def test_400_000_answers_are_searched_within_a_tenth_of_a_second():
    dice, n = np.random.default_rng(0), 400_000
    names = np.array([a + b for a in "bdfgklmnprst" for b in "aeiou"])
    words = np.array(["".join(dice.choice(names, dice.integers(1, 4))) for _ in range(4000)])
    rows = dice.integers(0, 4000, (n, 4))
    index = AnswerIndex(pd.DataFrame(dict(question_id=10*np.arange(n), image_id=np.arange(n)//5, question=[f"What is {' '.join(w)}?" for w in words[rows]],
        answer=words[dice.integers(0, 3000, n)], correct_answer=words[dice.integers(0, 3000, n)], confidence=dice.random(n), accuracy=dice.choice([0., 100.], n), answer_type="other", question_type="what is")))
    before = index.nbytes
    slow = {}
    for text in ("ka", "-ka", "ka|bo", "ka -bo", '"what is ka"', "answer:ka*", "people:ka|bo", "type:other", "image:4321", "id:43210", "-question:ka|bo", "ka|bo|mi -ti answer:b* people:b*", "ka|bo|mi|ti", "-ka -bo -mi -ti"):
        times = []
        for _ in range(4):
            index._words.clear()
            began = time.thread_time()
            index.mask(Filter(words=text))
            times.append(1000*(time.thread_time() - began))
        slow[text] = min(times)
    assert {text: t for text, t in slow.items() if t > 200} == {}, slow # twice as much as wanted: machines differ
    print({text: round(t) for text, t in slow.items()})
    assert index.nbytes - before < 40e6 # the last words and what most people said
