"The page of cards at its full size, and with what a notebook does not show: hostile text, ticks, many messages."
import time
from functools import partial

import ipywidgets
import numpy as np
import pandas as pd
import pytest

from beit3_colab.data.dataset import Question
from beit3_colab.look.grid import Grid, group_by_picture, Groups, ONE_A_PICTURE, ONE_AN_ANSWER
from beit3_colab.look.search import AnswerIndex
from beit3_colab.look.widgets import control, Guard
from beit3_colab.pictures.thumbnails import Thumbnails
from hostile import every_html

NASTY = '"><script>a()</script><img src=x onerror=alert(1)>'


class Picked(set):
    def has(self, question_id): return question_id in self
    def set(self, question_id, value): (self.add if value else self.discard)(question_id)


def make_index(n, a_picture=5, text="How many?", seed=0):
    accuracy = np.random.default_rng(seed).choice([0., 30., 100.], n)
    return AnswerIndex(pd.DataFrame(dict(question_id=np.arange(n), image_id=np.arange(n)//a_picture, question=text, answer=text, confidence=.5,
                                         correct_answer=text, accuracy=accuracy)))

def make_grid(index, per_page=12, **more):
    def load(rows):
        found = index.table.iloc[rows].itertuples(index=False)
        return [(row.question, row, Question(row.question_id, row.image_id, row.question)) for row in found]
    grid = Grid(Thumbnails(None), per_page, Guard(), load, print, group=partial(group_by_picture, index), **more)
    grid.show(np.arange(len(index)))
    return grid

@pytest.fixture()
def messages(monkeypatch):
    "Every message that a widget sends to the page while the test runs."
    sent, send = [], ipywidgets.Widget._send
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda self, *a, **k: (sent.append(self), send(self, *a, **k))[1])
    return sent


def test_groups_are_those_of_pandas():
    index, random = make_index(1000), np.random.default_rng(1)
    rows = random.permutation(1000)[:700]
    expected = [group.to_list() for _, group in pd.Series(rows).groupby(index.table["image_id"].to_numpy()[rows], sort=False)]
    groups = group_by_picture(index, rows)
    assert [group.tolist() for group in groups[:]] == expected and len(groups) == len(expected)
    for i in (0, 57, len(expected) - 1): assert {groups.place_of(row) for row in expected[i]} == {i}
    assert [g.tolist() for g in Groups.from_list([np.array(g) for g in expected])[3:5]] == expected[3:5]

def test_the_first_answer_of_a_page_stays_on_it_when_cards_change():
    grid = make_grid(make_index(1000))
    grid.turn(30) # answers 348 to 359, of pictures 69 to 71
    grid.controls["cards"].value = ONE_A_PICTURE
    assert (grid.page, grid.pager.pages) == (69//12 + 1, -(-200//12))
    first = grid.groups(grid.page)[0][0]
    grid.controls["cards"].value = ONE_AN_ANSWER
    assert first in np.arange(1000)[(grid.page - 1)*12:grid.page*12] and grid.pager.pages == 84

def test_an_open_answer_is_returned_to_where_cards_are_pictures():
    grid = make_grid(make_index(1000))
    grid.controls["cards"].value = ONE_A_PICTURE
    grid.turn_to(998)
    assert grid.page == grid.pager.pages
    marked = [i for i, card in enumerate(grid.cards.children) if "beit3-return" in card._dom_classes]
    assert marked == [199 % 12]
    grid.turn(1)
    assert not any("beit3-return" in card._dom_classes for card in grid.cards.children)

def test_cards_of_pictures_tell_five_answers_and_tick_all():
    picked = Picked()
    grid = make_grid(make_index(40, 8), ticks=picked)
    grid.controls["cards"].value = ONE_A_PICTURE
    card = grid.cards.children[1]
    assert "and 3 more" in card.children[2].value and card.children[2].value.count("How many?</bdi> <b>") == 4
    card.children[3].value = True
    assert picked == set(range(8, 16))
    picked.discard(15)
    grid.show_ticks()
    assert not card.children[3].value and 14 in picked # the program's own change picks nothing
    grid.controls["cards"].value = ONE_AN_ANSWER
    assert [each.children[3].value for each in grid.cards.children] == [False]*8 + [True]*4

def test_hostile_text_is_inert():
    grid = make_grid(make_index(30, text=NASTY), ticks=Picked())
    grid.controls["cards"].value = ONE_A_PICTURE
    shown = "".join(every_html(grid.widget))
    assert "&lt;script&gt;" in shown and "<script" not in shown and "<img src=x" not in shown
    assert {card.children[3].description for card in grid.cards.children} == {"pick"} # version 7 takes it for HTML

def test_every_control_has_a_tooltip():
    grid = make_grid(make_index(30))
    for name, each in grid.controls.items(): assert each.tooltip, name
    assert control({}, "x-y", ipywidgets.Text).tooltip == "x y"

def test_400_000_answers_turn_as_fast_as_few(messages):
    grid = make_grid(make_index(400_000), 48, ticks=Picked())
    for kind, pages in ((ONE_AN_ANSWER, -(-400_000//48)), (ONE_A_PICTURE, -(-80_000//48))):
        began = time.perf_counter()
        grid.controls["cards"].value = kind
        assert grid.pager.pages == pages and time.perf_counter() - began < 3
        for page in (2, 4000, pages):
            messages.clear()
            began = time.perf_counter()
            grid.turn(page)
            assert time.perf_counter() - began < 1, kind # 0.05 s on one core
            assert len(messages) <= 48*3 + 20, kind # button, facts, picture; ticks only where they change
