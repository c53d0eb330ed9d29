"A search text finds what its grammar says, whatever it is made of, and says what it cannot mean."
import random
import time

import numpy as np
import pandas as pd
import pytest

from beit3_colab.look.facets import why_nothing
from beit3_colab.look.filters import check_filter
from beit3_colab.look.query import FIELDS, parse_query, without_part
from beit3_colab.look.search import AnswerIndex, Filter, check_sort_of, default_sort, make_filter
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

@pytest.mark.parametrize("text", ['"', "((", "-", "|", "||", "- -", '""', "-|", "| |", '" "', "question:(", "-()"])
def test_marks_alone_are_no_search_that_fits_everything(index, text):
    with pytest.raises(UserError, match="nothing in .* can be searched.*type a word"): make_filter(index, words=text)

def test_an_accent_is_the_same_however_it_is_written():
    whole, parted = "caf\u00e9 \u00c9t\u00e9", "cafe\u0301 E\u0301te\u0301"
    rows = [dict(question_id=i, image_id=f"{text}.png", question=f"is it a {text}?", answer=text, correct_answer=text, confidence=.5, accuracy=100., answer_type="other", question_type="is it")
            for i, text in enumerate((whole, parted, "cafe ete"))]
    index = AnswerIndex(pd.DataFrame(rows))
    for text in (whole, parted):
        asked = dict(words=f'"{text}"'), dict(words=f'"{text.upper()}"'), dict(words=f'answer:"{text}"'), dict(words=f'people:"{text}"'), dict(words=f'image:"{text}.png"'), dict(answer=text), dict(correct_answer=text), dict(image=f"{text}.png")
        for each in asked:
            check_filter(index, Filter(**each))
            assert index.select(make_filter(index, **each)).tolist() == [0, 1], each
    assert index.select(Filter(words="cafe")).tolist() == [2]

def test_nothing_typed_asks_for_nothing_and_a_word_beside_marks_is_found(index):
    for text in ("", "  ", "\0", "\n"): assert len(index.select(Filter(words=text))) == len(index)
    assert len(index.select(Filter(words="OR"))) == 0
    assert index.select(Filter(words="(( red - |")).tolist() == index.select(Filter(words="red")).tolist()

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

def test_what_goes_by_accuracy_is_refused_where_nobodys_answers_are_known(table):
    index = AnswerIndex(table.drop(columns=["accuracy", "correct_answer"]))
    for sort in ("best", "worst", "mistakes"):
        with pytest.raises(UserError, match=f"sort '{sort}' goes by accuracy, and these answers have no accuracy.*order"): check_sort_of(index, sort)
    with pytest.raises(UserError, match="correct_answer cannot be asked for"): make_filter(index, correct_answer="red")

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
    for column in index.columns.values(): assert len(column)
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

SPACED = ["red\n", " red", "red ", "\tred", "red\r\n", "red\u00a0", "red\u2028\u2029", "red", "RED"]

def test_spaces_and_line_ends_around_an_answer_hide_nothing(table):
    "Other tools' models write them. Whatever is counted under an answer is found by it."
    spaced = table.head(len(SPACED) + 1).assign(answer=[*SPACED, "re d"], correct_answer=[*SPACED, "blue"])
    index = AnswerIndex(spaced)
    for text in SPACED:
        assert index.mask(make_filter(index, answer=text)).sum() == len(SPACED), ascii(text)
        assert index.mask(make_filter(index, correct_answer=text)).sum() == len(SPACED), ascii(text)
    assert index.mask(Filter(words="answer:red")).sum() == index.mask(Filter(words="people:red")).sum() == len(SPACED)
    assert dict(index.counts("answer")) == {"red": len(SPACED) - 1, "RED": 1, "re d": 1} and index.table["answer"].tolist() == [*SPACED, "re d"]
    assert index.mask(Filter(answer="re d")).sum() == 1
def test_what_needs_peoples_answers_is_refused_without_them():
    table = pd.DataFrame(dict(question_id=[1], image_id=[1], question=["Is it?"], answer=["yes"], confidence=[.5], margin=[.1], top5=[[]], image_error=[None]))
    index = AnswerIndex(table)
    for sort in ("mistakes", "best", "worst"):
        with pytest.raises(UserError, match=f"sort '{sort}' goes by accuracy, and these answers have no accuracy.*use one of order"): check_sort_of(index, sort)
    for values in (dict(correct_answer="yes"), dict(words="people:yes"), dict(words="-people:yes cat")):
        with pytest.raises(UserError, match="these answers have no accuracy"): make_filter(index, **values)
    make_filter(index, words="answer:yes", correct_answer="")
    check_sort_of(index, "confident")
