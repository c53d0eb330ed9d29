"Look, pick, work on: what is ticked comes out as tables, as code, and goes into what asks for questions."
import random

import numpy as np
import pandas as pd
import pytest

from beit3_colab.evaluation import evaluate
from beit3_colab.look.plots import show_answers
from beit3_colab.look.run import compare, open_run
from beit3_colab.look.search import SORTS
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import CHOSEN
from beit3_colab.run.plan import Plan
from hostile import every_html


@pytest.fixture(scope="module")
def run(tmp_path_factory): return evaluate(device="cpu", limit=300, output_dir=tmp_path_factory.mktemp("run"), progress=False)

@pytest.fixture(autouse=True)
def without_remarks(run):
    yield
    (run.folder/"notes.jsonl").unlink(missing_ok=True)


def ids_of(browser): return browser.index.table["question_id"].iloc[browser.rows].tolist()

def test_answers_are_the_rows_that_fit_in_the_order_shown(run):
    browser = run.browse(answer_type="number", sort="unsure")
    table = browser.answers
    assert table["question_id"].tolist() == ids_of(browser) and (table["answer_type"] == "number").all()
    assert table["confidence"].is_monotonic_increasing and list(table)[-2:] == ["tags", "note"]
    assert table.drop(columns=["tags", "note"]).equals(run.answers.loc[table.index]) # they are rows of run.answers

def test_ticks_are_selected_in_the_order_shown_and_those_that_do_not_fit_come_last(run):
    browser = run.browse(sort="order")
    shown = ids_of(browser)
    for i in (9, 2, 5): browser.picks.set(shown[i], True)
    assert browser.selected["question_id"].tolist() == [shown[2], shown[5], shown[9]] and "3 picked)" in repr(browser)
    browser.controls["image"].value = str(run.questions[2].image_id)
    fit = [i for i in (shown[2], shown[5], shown[9]) if i in ids_of(browser)]
    assert browser.selected["question_id"].tolist()[:len(fit)] == fit and len(browser.selected) == 3
    assert f"({3 - len(fit):,} outside the filters)" in repr(browser) and "outside the filters" in browser.pick_bar.count.value
    browser.controls["pick-none"].click()
    assert not len(browser.selected) and browser.pick_bar.count.value == "" and browser.status.value == ""

def test_all_that_fit_are_picked_tagged_and_found_again(run):
    browser = run.browse(correctness="wrong")
    wrong = ids_of(browser)
    assert f"{len(wrong):,} that fit" in browser.controls["pick-all"].description
    browser.controls["pick-all"].click()
    browser.controls["pick-tag"].value = "error"
    browser.controls["tag-add"].click()
    assert browser.status.value == "" and set(run.remarks.ids("error")) == set(wrong) and browser.controls["pick-tag"].options == ("error",)
    assert "".join(every_html(browser.grid.widget)).count(">error<") or "error" in "".join(every_html(browser.grid.widget))
    again = open_run(run.folder).browse(tag="error")
    assert sorted(ids_of(again)) == sorted(wrong) and again.answers["tags"].tolist() == [["error"]]*len(wrong)
    browser.controls["tag-remove"].click()
    assert run.remarks.tags == {}

def test_tags_of_another_notebook_are_seen_at_the_next_search(run):
    browser = run.browse()
    open_run(run.folder).remarks.tag(run.questions[0], "theirs")
    browser.controls["words"].value = "is"
    browser.controls["reset"].click()
    assert "theirs" in [value for _, value in browser.controls["tag"].options]
    browser.controls["tag"].value = "theirs"
    assert ids_of(browser) == [run.questions[0].question_id]

def test_tick_tags_and_note_of_an_open_answer(run):
    browser = run.browse(sort="order")
    first = ids_of(browser)[0]
    browser.open(first)
    browser.controls["picked"].value = True
    browser.controls["tag-field"].value = "hard, odd"
    browser.controls["note-field"].value = "why?"
    assert "kept" in browser.remark_fields.state.value and browser.status.value == ""
    assert (run.remarks.tags[first], run.remarks.notes[first], browser.picks.ids) == (("hard", "odd"), "why?", [first])
    browser.controls["tag-field"].value = "odd"
    browser.controls["next-answer"].click()
    assert (browser.controls["tag-field"].value, browser.controls["note-field"].value, browser.controls["picked"].value) == ("", "", False)
    browser.back()
    assert "odd" in browser.grid._cards[0].facts.value and "hard" not in browser.grid._cards[0].facts.value

def test_an_answer_that_no_longer_fits_stays_open_until_it_is_left(run):
    run.remarks.tag(run.questions[:2], "todo")
    browser = run.browse(tag="todo")
    browser.open(run.questions[0].question_id)
    browser.controls["tag-field"].value = ""
    assert browser.question_id == run.questions[0].question_id and len(browser.rows) == 2
    browser.controls["back"].click()
    assert ids_of(browser) == [run.questions[1].question_id]

def test_code_shows_the_same_rows(run):
    rng, browser = random.Random(7), run.browse()
    run.remarks.tag(run.questions[:9], "a 'tag'")
    browser.search()
    words = ["", "is", '"in the"', "it's", "-no", "red|blue", "\u202eb", "answer:yes", "\\d"]
    menus = ("correctness", "answer_type", "question_type", "people", "tag")
    for _ in range(60):
        browser.controls["reset"].click()
        browser.controls["words"].value = rng.choice(words)
        for name in menus:
            if rng.random() < .3: browser.controls[name].value = rng.choice([value for _, value in browser.controls[name].options])
        low, high = sorted((round(rng.random(), 2), round(rng.random(), 2)))
        if rng.random() < .3: browser.filters.set_filter(min_confidence=low, max_confidence=high)
        browser.controls["sort"].value = rng.choice([value for _, value in browser.controls["sort"].options])
        browser.controls["per-page"].value = rng.choice([12, 24, 48])
        code = browser.code()
        assert code.isprintable()
        same = eval(code, {"run": run})
        assert ids_of(same) == ids_of(browser) and same.grid.pager.per_page == browser.grid.pager.per_page and same.code() == code, code
    assert set(SORTS) >= {browser.filters.sort}

def test_code_of_some_questions_names_them(run):
    browser = run.browse(questions=run.answers.iloc[[5, 2]], sort="order")
    assert sorted(ids_of(eval(browser.code(), {"run": run}))) == sorted(ids_of(browser)) and len(browser.rows) == 2
    assert "run.browse()" in run.browse().pick_bar.call.value

WAYS = (lambda t: t, lambda t: t["question_id"], lambda t: t["question_id"].tolist(), lambda t: t["question_id"].to_numpy(), lambda t: set(t["question_id"]), lambda t: list(t.itertuples()), lambda t: t.to_dict("records"))

@pytest.mark.parametrize("way", WAYS)
def test_questions_may_be_given_as_they_are_at_hand(run, way, tmp_path):
    rows = run.answers.iloc[[3, 8, 1]]
    given, ids = way(rows), set(rows["question_id"])
    assert set(ids_of(run.browse(questions=given))) == ids
    assert set(compare(run, run, questions=given).table["question_id"]) == ids
    assert run.to_html(tmp_path/"a.html", questions=given).read_text(encoding="utf-8").count("<article") == 3
    assert show_answers(run, given) is not None

def test_one_question_and_wrong_ones(run):
    first = run.answers["question_id"].iloc[0]
    for one in (int(first), first, run.answers.iloc[0], run.questions[0]): assert ids_of(run.browse(questions=one)) == [first]
    for wrong, message in [("accuracy", "question_id 'accuracy' is not in this run"), (-1, "-1 is not in this run"), (run.answers["accuracy"] < 100, r"run\.answers\["), (run.answers[["answer"]], "without a column question_id"),
                           (str(first), f"there it is a number: {first}"), (2.5, "2.5"), (object(), "which questions are meant")]:
        with pytest.raises(UserError, match=message): run.browse(questions=wrong)

def test_what_is_picked_is_asked_of_another_model(run, tmp_path):
    browser = run.browse(answer_type="number")
    browser.picks.add(browser.chosen_ids()[:4])
    new = evaluate("sample", questions=browser.selected, device="cpu", image_size=128, output_dir=tmp_path/"a", progress=False)
    assert [q for q in new.questions] == [q for q in run.questions if browser.picks.has(q.question_id)] and new.metric == run.metric
    assert open_run(tmp_path/"a").answers.equals(new.answers) and compare(run, new).table["question_id"].isin(browser.picks.ids).all()
    again = evaluate("sample", questions=browser, device="cpu", image_size=128, output_dir=tmp_path/"a", progress=False) # it is the same run
    assert again.answers.equals(new.answers)

def test_own_questions_that_are_picked_keep_their_pictures_and_answers(run, tmp_path):
    picture = run.data.read_image(run.questions[0])
    own = evaluate("sample", questions=[dict(image=picture, question=f"Is it {w}?", answers=["no"]*3) for w in ("red", "blue", "big")], device="cpu", output_dir=tmp_path/"own", progress=False)
    part = evaluate("sample", questions=own.answers.tail(2), device="cpu", image_size=128, output_dir=tmp_path/"part", progress=False)
    assert part.answers["question"].tolist() == ["Is it blue?", "Is it big?"] and part.accuracy is not None
    assert len(compare(own, part).table) == 2 and len(open_run(tmp_path/"part").answers) == 2

def test_rows_that_do_not_say_whose_they_are_are_not_taken_for_own_questions(run):
    lost = pd.DataFrame(run.answers.to_dict("records"))
    with pytest.raises(UserError, match="do not say of which data"): Plan(questions=lost)
    with pytest.raises(UserError, match="do not say of which data"): Plan(questions=[1, 2])
    named = Plan(questions=lost.head(2), split="sample")
    assert named.questions is None and named.question_ids == lost["question_id"].tolist()[:2]
    kept = Plan(questions=run.answers[run.answers["accuracy"] < 50])
    assert (kept.dataset, kept.questions) == ("sample", None) and all(type(i) is int for i in kept.question_ids)
    with pytest.raises(UserError, match="empty"): Plan(questions=run.answers.head(0))
    with pytest.raises(UserError, match="leave one of them out"): Plan(questions=run.answers.head(2), limit=5)
    with pytest.raises(UserError, match="is not in sample"): evaluate(question_ids=[-5], progress=False)

def test_a_tick_on_a_card_is_told_and_one_elsewhere_is_shown(run):
    browser = run.browse(sort="order")
    shown, ticks = ids_of(browser), [card.tick for card in browser.grid._cards]
    ticks[1].value = True
    assert browser.picks.ids == [shown[1]] and "1 picked" in browser.pick_bar.count.value and browser.status.value == ""
    browser.controls["pick-all"].click()
    assert all(tick.value for tick in ticks) and len(browser.picks) == len(shown)
    browser.controls["pick-none"].click()
    assert not any(tick.value for tick in ticks)

def test_the_card_of_a_picture_ticks_all_its_answers(run):
    browser = run.browse(sort="order")
    browser.controls["cards"].value = "one a picture"
    browser.grid._cards[0].tick.value = True
    images = run.answers["image_id"]
    assert browser.selected["question_id"].tolist() == run.answers["question_id"][images == images[0]].tolist() and browser.status.value == ""

def test_a_report_of_what_was_picked_says_so_and_tells_tags(run, tmp_path):
    run.remarks.tag(run.questions[0], "<i>odd").note(run.questions[0], "see & tell")
    page = run.to_html(tmp_path/"a.html", questions=run.questions[:2]).read_text(encoding="utf-8")
    assert "2 answers, of" in page and "chosen by whoever made this page" in page and "&lt;i&gt;odd" in page and "see &amp; tell" in page
    with pytest.raises(UserError, match="questions is empty"): run.to_html(tmp_path/"a.html", questions=[])

def test_a_probe_of_what_was_picked_asks_no_more_and_notes_nothing_of_all(run, tmp_path):
    part = evaluate(device="cpu", limit=20, output_dir=tmp_path/"run", progress=False)
    rows = part.answers.head(3)
    found = part.probe("blank", questions=rows, vqa=part.vqa, progress=False)
    assert "of 3 answers" in str(found)
    with pytest.raises(UserError, match="nothing is kept"): part.probes() # of a part that was drawn
    with pytest.raises(UserError, match="leave one of them out"): part.probe("blank", limit=5, questions=rows, progress=False)

def test_figures_of_chosen_questions_say_so(run, tmp_path):
    "Questions that one run answered wrongly are no fair measure of it, nor of a difference."
    wrong = run.answers.query("accuracy < 100")
    other = evaluate("sample", image_size=128, questions=wrong, device="cpu", output_dir=tmp_path/"other", progress=False)
    assert CHOSEN in other.accuracy.notes and open_run(other.folder).hand_picked and not run.hand_picked and CHOSEN not in run.accuracy.notes
    whole = compare(run, run)
    for found in (compare(run, other), compare(run, run, questions=wrong), compare({"a": run, "b": run, "c": other})):
        assert str(found).count(CHOSEN) == 1, found
    assert CHOSEN not in str(whole)
    drawn = evaluate("sample", limit=10, device="cpu", output_dir=tmp_path/"drawn", progress=False)
    assert not drawn.hand_picked # by the seed

def test_rows_with_another_question_or_picture_are_questions_of_ones_own(run, tmp_path):
    "What the rows say is asked, and not what the run once asked."
    rows = run.answers.head(6)
    files = [str(tmp_path/f"{i}.png") for i in range(6)]
    for question, path in zip(run.questions, files): run.data.read_image(question).save(path)
    other = evaluate("sample", questions=rows.assign(image=files, question="Is there a dog?"), device="cpu", output_dir=tmp_path/"other", progress=False)
    assert set(other.answers["question"]) == {"Is there a dog?"} and other.annotations is None
    same = evaluate("sample", questions=rows, device="cpu", output_dir=tmp_path/"same", progress=False)
    assert same.answers["question"].tolist() == rows["question"].tolist() and same.metric == "official"
