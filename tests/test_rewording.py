"""Questions changed: each function changes what it says, gives None where it cannot, and takes any text.

Whether a rule keeps the answer was judged by reading (the notebook tells how); the readings that matter are held here.
"""
import json
import random
import re
from collections import Counter

import numpy as np
import pytest

from beit3_colab.data import rewording
from beit3_colab.data.rewording import RULES, capitals, exchange_answer, exchange_sides, reword, rewordings, shuffle_words, typing_error
from beit3_colab.model.checkpoint import sample_folder
from beit3_colab.model.tokenizer import Tokenizer
from beit3_colab.pictures.alterations import draws_for
from beit3_colab.scenes.questions import TEMPLATES
from beit3_colab.scenes.sample import sample_data_folder

CHANGES = {
    "shuffled": lambda text, seed=0: shuffle_words(text, draws_for(seed, 7, "shuffled")),
    "typo": lambda text, seed=0: typing_error(text, draws_for(seed, 7, "typo")),
    "capitals": lambda text, seed=0: capitals(text),
    "reworded": lambda text, seed=0: reword(text),
    "flipped": lambda text, seed=0: exchange_sides(text),
}
VQA_LIKE = """
    What is the man holding?|Is this a zoo?|How many people are in the photo?|What color are her eyes?|Is there a dog on the couch?|What does the sign say?|Is the woman to the left of the bus wearing a hat?
    |Can you see the moon?|What's on the plate?|Which hand is he using?|Are these animals wild?|Does the man have a beard?|Where was this taken?|What room is this?|Why is he jumping?|Is it raining?
""".strip().split("|")


@pytest.fixture(scope="module")
def sample_questions():
    path = sample_data_folder()/"vqa"/"v2_OpenEnded_mscoco_val2014_questions.json"
    return [(q["question_id"], q["question"]) for q in json.loads(path.read_text())["questions"]]

@pytest.fixture(scope="module")
def tokenizer(): return Tokenizer(sample_folder()/"sentencepiece.model")

def hostile_texts():
    rng = random.Random(0)
    alphabet = "aZ é left right ?.!'’\"\ud800\udfff\u200b\u0301猫ж\x00\n\t-/%{}\\[(*+ß" + "İıſ"
    fuzzed = ["".join(rng.choices(alphabet, k=rng.choice([0, 1, 5, 40, 300]))) for _ in range(300)]
    words = "is there a left right of the cat how many what color ? . in picture's you can see do it".split()
    fuzzed += [" ".join(rng.choices(words, k=rng.randrange(1, 30))) for _ in range(700)]
    long = ["left "*2000, "right?"*1700, "? "*5000, "a"*10_000, "aa "*3300, "'"*10_000, "What color is " + "the "*2500, "\ud800"*10_000, " "*10_000 + "x", "x" + " ?"*5000]
    return ["", " ", "?", "什么颜色？", "ما لون القطة؟", "Какого цвета кошка?", "😀 😀", "a", "left", "right", *long, *fuzzed]

@pytest.mark.parametrize("name", CHANGES)
def test_any_text_gives_a_text_or_none(name, tokenizer):
    for text in hostile_texts():
        changed = CHANGES[name](text)
        assert changed is None or isinstance(changed, str) and len(changed) <= 3*len(text) + 30
        assert CHANGES[name](text) == changed # the same again
        if changed is not None and name != "flipped": assert changed != text
        if changed is not None: tokenizer.encode(changed)
    for text in hostile_texts(): assert isinstance(exchange_answer(text), str)

@pytest.mark.parametrize("name", CHANGES)
def test_the_model_gets_other_tokens_wherever_a_change_is_claimed(name, sample_questions, tokenizer):
    claimed = [(text, new) for question_id, text in sample_questions for new in [CHANGES[name](text, question_id)] if new not in (None, text)]
    assert len(claimed) > (50 if name == "flipped" else 900)
    assert not [pair for pair in claimed if tokenizer.encode(pair[0]) == tokenizer.encode(pair[1])]


@pytest.mark.parametrize("text", ["Is the red cat left of the dog?", "what is it", "Is  it ?", "A a b?", "Où est le chat noir ?"])
def test_every_other_order_comes_and_the_same_never(text):
    marks = re.search(r"\W*$", text)[0].strip()
    words = text.removesuffix("?").split()
    orders = [CHANGES["shuffled"](text, seed) for seed in range(400)]
    for order in orders:
        assert order.endswith(marks) and Counter(order.removesuffix("?").split()) == Counter(words)
        assert order.casefold().removesuffix("?").split() != [w.casefold() for w in words]
    if len({w.casefold() for w in words}) == 3: assert min(Counter(orders).values()) > 40 and len(set(orders)) == 5 # each as often: 80 of 400 on average

@pytest.mark.parametrize("text", ["", "?", "Why?", "no no no", "No NO no?", "这是什么？", "  \n "])
def test_fewer_than_two_words_have_no_other_order(text): assert CHANGES["shuffled"](text) is None


def edits(a, b):
    "How a word became another by one typing error; None: it did not."
    if len(b) == len(a) - 1: return "dropped" if any(a[:i] + a[i + 1:] == b for i in range(1, len(a) - 1)) else None
    if len(b) == len(a) + 1: return "doubled" if any(a[:i] + a[i] + a[i:] == b for i in range(1, len(a) - 1)) else None
    where = [i for i, (x, y) in enumerate(zip(a, b)) if x != y]
    if len(where) == 2 and where[1] == where[0] + 1 and 0 < where[0] and where[1] < len(a) - 1: return "swapped" if a[where[0]] == b[where[1]] and a[where[1]] == b[where[0]] else None
    if len(where) == 1 and 0 < where[0] < len(a) - 1: return "beside" if b[where[0]].lower() in rewording._BESIDE[a[where[0]].lower()] else None

def test_a_typing_error_is_one_of_four_inside_one_word(sample_questions):
    kinds = Counter()
    for question_id, text in [*sample_questions, *enumerate(VQA_LIKE)]:
        changed = CHANGES["typo"](text, question_id)
        if changed is None:
            assert not re.search(r"[A-Za-z]{5,}", text)
            continue
        before, after = (re.findall(r"\w+|\W+", each) for each in (text, changed))
        different = [(a, b) for a, b in zip(before, after) if a != b]
        assert len(before) == len(after) and len(different) == 1 and len(different[0][0]) >= 4
        assert different[0][1].lower() not in rewording._WORDS
        kinds[edits(*different[0])] += 1
    assert set(kinds) == {"swapped", "dropped", "doubled", "beside"} and min(kinds.values()) > 150

@pytest.mark.parametrize("text", ["", "Is it a cat?", "12345678", "abcd1efgh", "a_big_dog", "Is it" + "x"*50])
def test_no_word_of_four_letters_has_no_error(text): assert CHANGES["typo"](text) is None

def test_an_error_keeps_capitals_and_never_makes_a_common_word():
    assert all(CHANGES["typo"]("GIRAFFE", seed).isupper() for seed in range(100))
    made = {CHANGES["typo"](word, seed) for word in ("boat", "there", "from", "coat", "many") for seed in range(200)}
    assert len(made) > 20 and not made & {"bat", "boot", "bolt", "three", "form", "cat", "cot", "cost", "may", "than"}
    made = {CHANGES["typo"](word, seed) for word in ("plate", "chair", "bike", "board", "time", "horse", "skirt", "playing", "skateboard") for seed in range(200)}
    assert len(made) > 40 and not made & {"pate", "char", "bile", "bard", "tome", "tine", "tide", "tie", "horde", "skit", "plating", "playing"}

def test_keys_lie_beside_each_other_both_ways():
    beside = rewording._BESIDE
    assert all(a in beside[b] for a in beside for b in beside[a]) and set(beside["g"]) == set("ftyhbv") and set(beside["q"]) == set("wa")


def test_every_rule_has_its_turn_in_the_sample_or_vqa_like_questions(sample_questions):
    first = {next(iter(rewordings(text)), None) for _, text in [*sample_questions, *enumerate(VQA_LIKE)]}
    assert first >= {rule.name for rule in RULES} and len({rule.name for rule in RULES}) == len(RULES)

def test_every_sentence_of_the_scenes_was_read():
    "What was read of the drawn scenes: these forms are left out, and all others are reworded."
    words = dict(a_thing="a kite", thing="kite", things="kites", other="mug", others="mugs", color="red", texture="striped", side="left", weather="sunny", time="night", place="zoo")
    forms = [form.format(**words) for group in TEMPLATES.values() for form in group]
    assert [form for form in forms if reword(form) is None] == [
        "Does the picture show a zoo?", "On which side of the picture is the kite?", "Where was this drawn?", "Which room was drawn here?", "What covers the ground?"]

@pytest.mark.parametrize("text, expected", [
    ("What color is the man on the left wearing?", "Which color is the man on the left wearing?"),
    ("Which colours are the flags?", "What colours are the flags?"),
    ("What number is on the bus?", "Which number is on the bus?"),
    ("what sort of vehicle is that?", "what kind of vehicle is that?"),
    ("How many birds can you see?", "How many birds do you see?"),
    ("Do you see a cat ?", "Can you see a cat?"),
    ("Are there more men than women?", "Are there more men than women in the picture?"),
    ("Is there a cat in the photograph", "Is there a cat"),
    ("How many zebras are there in this image?", "How many zebras are there?"),
    ("Whats on the bed?", "What is on the bed?"),
    ("Where’s the dog?", "Where is the dog?"),
    ("Who is on the skateboard?", "Who's on the skateboard?"),
    ("Is this an airport?", "Would you say that this is an airport?"),
    ("Is this man smiling?", "In the picture, is this man smiling?"),
    ("is the man surfing?", "in this picture, is the man surfing?"),
    ("Which bear is bigger?", "In this picture, which bear is bigger?"),
])
def test_questions_are_reworded_by_the_first_rule_that_fits(text, expected): assert reword(text) == expected

@pytest.mark.parametrize("text", [
    "Can you see in the dark?", # whether one is able to
    "What do cows eat?", "Where are giraffes usually found?", "Are all zebras striped?", "How many legs do zebras have?", # of cows, not of these
    "What is it?", "Where is he? Or she?", # "What's it?" is no sentence; two questions
    "Who's car is this?", "What's the cat got in its mouth?", # whose; has
    "Who took this photo?", "Is the camera on?", "Is this picture blurry?", "Was this taken at night?", # about the photo itself
    "Would you eat this?", "Will he fall?", "Can the man fly?",
    "IS IT A DOG?", "¿De qué color es?", "The sign says: what is it?", "Is it 3.5 or 4. Which one?", "Is the dog " + "very "*70 + "big?"])
def test_what_a_rule_could_change_is_left_alone(text): assert reword(text) is None

@pytest.mark.parametrize("text", ["Is there a picture in this image?", "How many pictures are in this image?", "Is there anyone not in the picture?", "Are there more cats than in this picture?"])
def test_the_picture_stays_where_the_question_would_be_another(text):
    assert not {"there", "are there"} & set(rewordings(text)) and "in th" in reword(text)

def test_a_rule_changes_no_word_that_carries_the_answer(sample_questions):
    "Beyond the words that rules exchange, a reworded question has every word of the first, and none of its own."
    exchanged = set("how where who what which what's whats who's where's how's is kind type sort can do in this the picture image photo photograph there would you say that a".split())
    for text in [*(text for _, text in sample_questions), *VQA_LIKE]:
        for new in rewordings(text).values():
            before, after = (Counter(re.findall(r"[\w'’]+", each.lower())) for each in (text, new))
            assert set((before - after) + (after - before)) <= exchanged, (text, new)

def test_rules_reword_there_and_back(sample_questions):
    for _, text in sample_questions:
        found = rewordings(text)
        for name in ("which color", "see", "what you see"):
            if name in found: assert rewordings(found[name])[name] == text


SIDES = """on the left|to the left of the cat|the man on the right wearing|on the far right|in the top right corner|in the lower left part|his left hand|the dog's right ear|leftmost|on the right-hand side|left-handed|LEFT or Right
    |the man's left|the players' right|the dog's left looking|from left to right|facing left|looking to the right|turning right|on left|at right|her left foot|rightward|on the left side of the plate|the sign on the left saying|the cat and the dog left of the tree"""
DOUBTFUL = """How many are left?|Is anything left?|What is left of the pizza?|How much is left of the cake?|Is any food left of the plate?|Is he right?|Is he doing it right now?|Is it right behind the bus?|Is the umbrella right side up?
    |Is this the right time?|Is he wearing the right shoes?|Is the food left over?|Who was left behind?|The cat is red, right?|Is that the right way?|Is he all right?|Who has the right of way?|Is it a right angle?|Is the door left open?|How many are left, right?
    |Is the car on the right side of the road?|Is the car on the left side of the road?|Has the bird left the nest?|Is the arrow clockwise?|Is the pitcher a lefty?|Is it right or wrong?|Is the left one bigger?|Is the cat on the left, right now?
    |What's left on the plate?|What’s left on the plate?|What's left of the pizza?|Who's right?|Do you think it's right or wrong?|Is there anything that's left?|Who's left?|Where's right?|How's left?|Everyone's left?|WHAT'S LEFT ON IT?"""

@pytest.mark.parametrize("side", [each.strip() for each in SIDES.split("|")])
def test_sides_are_exchanged_there_and_back(side):
    text = f"What is {side}?"
    other = exchange_sides(text)
    assert other not in (None, text) and exchange_sides(other) == text
    swapped = re.sub(r"left|right", lambda m: {"left": "RIGHT", "right": "LEFT"}[m[0].lower()], text, flags=re.I)
    assert other.lower() == swapped.lower() and [w.isupper() for w in other.split()] == [w.isupper() for w in text.split()]

@pytest.mark.parametrize("text", [each.strip() for each in DOUBTFUL.split("|")])
def test_what_may_mean_something_else_is_left_out(text): assert exchange_sides(text) is None

def test_the_sample_says_left_and_right_as_sides_alone(sample_questions):
    for _, text in sample_questions:
        other = exchange_sides(text)
        assert (other == text) == (re.search(r"\b(left|right)\b", text) is None) and exchange_sides(other) == text

@pytest.mark.parametrize("text", ["", "Is it bright?", "Is he upright?", "alright", "copyright", "猫は左にいますか", "\ud800", "Is it day?"])
def test_questions_without_sides_stay(text): assert exchange_sides(text) == text

@pytest.mark.parametrize("answer, other", [("left", "right"), ("Right", "Left"), ("on left", "on right"), ("right side", "left side"), ("left and right", "right and left"), ("left handed", "right handed"), ("rightmost", "leftmost")])
def test_answers_are_read_back(answer, other): assert exchange_answer(answer) == other and exchange_answer(other) == answer

@pytest.mark.parametrize("answer", ["yes", "2", "", "right now", "all right", "alright", "leftover", "left over", "2 left", "nothing left", "bright", "right of way"])
def test_answers_that_name_no_side_stay(answer): assert exchange_answer(answer) == answer

def test_draws_are_asked_for_random_numbers_alone():
    "So that the changes are the same with every NumPy: other distributions may change."
    class OnlyRandom:
        def __init__(self): self.draws = np.random.Generator(np.random.Philox(7))
        def random(self, *size): return self.draws.random(*size)
    assert shuffle_words("one two three", OnlyRandom()) and typing_error("giraffe", OnlyRandom())

@pytest.mark.parametrize("change, text, expected", [
    ("shuffled", "What color is the cat?", "What the is cat color?"), ("typo", "What color is the giraffe?", "What coor is the giraffe?")])
def test_changes_that_may_never_change(change, text, expected): assert CHANGES[change](text, 3) == expected
