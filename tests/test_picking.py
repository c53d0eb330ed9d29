"Look, pick, work on: what is ticked comes out as tables, as code, and goes into what asks for questions."
import html
import random
import re

import numpy as np
import pandas as pd
import pytest

from beit3_colab.evaluation import evaluate
from beit3_colab.look.plots import accuracy_table, calibration_table, show_answers
from beit3_colab.look.run import compare, open_run
from beit3_colab.look.search import SORTS
from beit3_colab.machine.messages import UserError
from beit3_colab.run.answered import CHOSEN
from beit3_colab.run.chosen import is_changed, question_ids
from beit3_colab.run.plan import Plan
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
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
    assert table["confidence"].is_monotonic_increasing and list(table)[-3:] == ["tags", "note", "top5"] # the widest comes last
    assert table.drop(columns=["tags", "note"]).equals(run.answers.loc[table.index]) # they are rows of run.answers

def test_a_browser_makes_the_widest_columns_of_what_is_looked_at_alone(run):
    fresh = open_run(run.folder)
    browser = fresh.browse(sort="margin")
    some = browser.answers.iloc[:7]
    assert "answers" not in vars(fresh) # of 400,000 answers that is 230 MB and a second
    assert some.drop(columns=["tags", "note"]).equals(fresh.answers.loc[some.index]) and len(some.top5.iloc[0]) > 1
    margins = run.answers.top5.map(lambda top: top[0][1] - top[1][1])
    assert ids_of(browser) == run.answers["question_id"][(margins.astype("float32")).sort_values(kind="stable").index].tolist() \
        or np.allclose(margins[browser.rows], sorted(margins))
    browser.open(some.question_id.iloc[3])
    assert browser.detail._row.top5 == some.top5.iloc[3] and browser.detail._row.calibrated == some.calibrated.iloc[3]

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

def test_a_note_that_comes_after_the_answer_was_left_takes_nobody_elsewhere(run):
    browser = run.browse(sort="order")
    shown = ids_of(browser)
    browser.open(shown[1])
    browser.step(1)
    browser.back() # Escape in the field: what was typed is sent when the field is gone
    browser.controls["note-field"].value = "why?"
    def marked(): return [card.question_id for card in browser.grid._cards if "beit3-return" in card.widget._dom_classes]
    assert run.remarks.notes == {shown[2]: "why?"} and marked() == [shown[2]]
    browser.grid.turn(2)
    assert marked() == []

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

def test_code_says_how_cards_are_shown_and_is_read_at_once(run):
    browser = run.browse()
    for name, value in dict(cards="one a picture", size="small", **{"per-page": 24}).items():
        browser.controls[name].value = value
        assert browser.status.value == "" and html.escape(browser.code()) in browser.pick_bar.call.value, name
    assert browser.code() == "run.browse(per_page=24, cards='one a picture', card_size='small')"
    same = eval(browser.code(), {"run": run})
    assert same.code() == browser.code() and same.grid.groups(1) and [list(g) for g in same.grid.groups(1)] == [list(g) for g in browser.grid.groups(1)]
    assert same.grid.cards.layout.grid_template_columns == browser.grid.cards.layout.grid_template_columns != run.browse().grid.cards.layout.grid_template_columns
    for wrong in (dict(cards="picture"), dict(card_size="huge")):
        with pytest.raises(UserError, match=f"{next(iter(wrong))} must be"): run.browse(**wrong)

def test_code_of_other_browsers_says_how_cards_are_shown(run, tmp_path):
    part = evaluate(device="cpu", limit=20, image_size=128, output_dir=tmp_path/"small", progress=False)
    comparison = compare(run, part)
    browser = comparison.browse(cards="one a picture", card_size="large")
    assert eval(browser.code(), dict(comparison=comparison)).code() == browser.code() == "comparison.browse(cards='one a picture', card_size='large')"
    probes = part.probe("blank", limit=5, progress=False)
    assert probes.browse(card_size="small").browser.code() == "probes.browse(variant='blank', card_size='small')"
    with pytest.raises(UserError, match="its cards show two pictures each"): probes.browse(cards="one a picture")

def test_a_browser_of_chosen_questions_says_of_how_many(run):
    ids = run.answers["question_id"].iloc[[5, 2, 9]].tolist()
    browser, total = run.browse(questions=ids), len(run.answers)
    assert browser.count_text() == f"3 chosen of {total:,} answers" and "3 chosen of" in browser.result.value and "3 chosen of" in browser.saved_view()
    browser.controls["image"].value = str(browser.index.table["image_id"].iloc[0])
    assert re.fullmatch(rf"[12] of these 3 chosen of {total:,} answers", browser.count_text())
    assert run.browse(questions=run.answers).count_text() == f"{total:,} answers"

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

def test_answers_are_drawn_for_any_table_that_names_questions(run):
    run.remarks.tag(run.questions[3], "drawn")
    texts = lambda figure: [ax.get_title() for ax in figure.axes]
    rows = run.answers.iloc[[3]]
    tables = [run.remarks.table, compare(run, run).table.iloc[[3]], rows[["question_id"]], rows.set_index("question_id")]
    for table in tables: assert texts(show_answers(run, table)) == texts(show_answers(run, rows)), list(table)
    for wrong, message in [(str(run.questions[0].question_id), "there it is a number"), (-1, "-1 is not in this run"), (rows[["answer"]], "without a column question_id")]:
        with pytest.raises(UserError, match=message): show_answers(run, wrong)

@pytest.fixture(scope="module")
def two_of_own(tmp_path_factory):
    "Runs of two tables of one's own: questions of both are numbered 1, 2, 3, of other pictures and of the same."
    place = tmp_path_factory.mktemp("own")
    found = []
    for name, questions in (("n", ["Where was this drawn?", "What is red?", "Is it day?"]), ("m", ["Is there a ball?", "What is red?", "How many are there?"])):
        rows = []
        for i, question in enumerate(questions):
            image = place/(f"same{i}.png" if i else f"{name}.png")
            if not image.exists(): draw_scene(make_scene(i)).save(image)
            rows.append(dict(image=str(image), question=question))
        found.append(evaluate("sample", questions=rows, device="cpu", output_dir=place/name, progress=False))
    return found

PICKS = (lambda t: t, lambda t: t.head(1), lambda t: t.iloc[0], lambda t: t.to_dict("records"), lambda t: list(t.itertuples()), lambda t: t.set_index("question_id"),
         lambda t: t[["question_id", "question"]], lambda t: t[["question_id", "image_id"]])

@pytest.mark.parametrize("way", PICKS)
def test_rows_of_other_questions_under_the_same_number_are_refused(two_of_own, way, tmp_path):
    n, m = two_of_own
    assert [q.question_id for q in n.questions] == [q.question_id for q in m.questions] == [1, 2, 3]
    given = way(n.answers)
    for use in (lambda: m.browse(questions=given), lambda: m.to_html(tmp_path/"a.html", questions=given), lambda: m.probe("blank", questions=given, progress=False),
                lambda: compare(m, m, questions=given), lambda: show_answers(m, given), lambda: m.remarks.tag(given, "red")):
        with pytest.raises(UserError, match="question_id 1 is .* in (questions|rows) and .* in this run: these are rows of other data"): use()
    assert not (m.folder/"probes").exists() and not m.remarks.counts and len(n.browse(questions=given).rows)
    assert len(m.browse(questions=question_ids(given)).rows) # numbers alone, where they are meant

def test_questions_and_browsers_of_other_questions_are_refused(two_of_own, run):
    n, m = two_of_own
    browser = n.browse()
    browser.picks.add([3])
    for given in (browser, compare(n, n).browse(), n.questions, n.questions[2], n.answers.iloc[[2]]):
        for use in (lambda: m.browse(questions=given), lambda: m.remarks.note(given, "a note")):
            with pytest.raises(UserError, match="rows of other data"): use()
        assert len(n.browse(questions=given).rows)
    assert ids_of(m.browse(questions=n.answers.iloc[[1]])) == [2] # the same question about the same picture
    assert ids_of(open_run(n.folder).browse(questions=browser)) == [3]

def test_rows_that_tell_the_same_question_are_taken(run, tmp_path):
    rows = run.answers.iloc[[3, 8, 1]]
    rows.to_csv(tmp_path/"rows.csv", index=False)
    reopened = open_run(run.folder)
    changed = rows.assign(question=rows["question"].str.upper()) # of the same data: its number says which it is
    for given in (pd.read_csv(tmp_path/"rows.csv"), pd.concat([rows, rows]), changed, compare(run, run).table.iloc[[3, 8, 1]], run.to_pandas().iloc[[3, 8, 1]], run.remarks.tag(rows, "x").table):
        assert set(ids_of(reopened.browse(questions=given))) == set(rows["question_id"])
    with pytest.raises(UserError, match="rows of other data"): run.browse(questions=changed.to_dict("records"))

def test_what_is_changed_in_place_in_the_answers_changes_nothing_else(run, tmp_path):
    "Figures, files and browsers are of the run's own answers, whatever somebody does to the table that it gave out."
    fresh = open_run(run.folder)
    def told():
        browser = fresh.browse(sort="order")
        fresh.to_csv(tmp_path/"a.csv")
        return (browser.count_text(), browser.result.value, ids_of(browser), ids_of(fresh.browse(correctness="wrong")), (tmp_path/"a.csv").read_bytes(), list(fresh)[:3],
                fresh.accuracy.overall, str(fresh.confidence(resamples=100)), accuracy_table(fresh).to_csv(), fresh.answers.to_csv(), calibration_table(fresh).to_csv())
    before = told()
    for again in (False, True): # what is made is made once, before or after
        table = fresh.answers
        table["accuracy"] = table["accuracy"].where(table["accuracy"] > 0, 100.)
        table.loc[:, "answer"] = "no"
        table.loc[table.index[:7], "confidence"] = .01
        table["correct_answer"] = "no"
        table.iloc[:9] = table.iloc[10:19].to_numpy()
        table.pop("top5")
        table.index = range(5, len(table) + 5)
        table.columns = [*table.columns[1:], "question_id"]
        table.attrs.clear()
        assert told() == before
        if not again: fresh.refresh()
    assert evaluate("sample", questions=fresh.answers.head(2), device="cpu", output_dir=tmp_path/"again", progress=False).answers["question_id"].tolist() == before[2][:2]
    changed = fresh.answers
    changed.loc[:, "question"] = "Is it day?" # rows that ask something else are questions of one's own
    assert is_changed(changed) and not is_changed(fresh.answers)

@pytest.mark.parametrize("version, deep", [("2.2.2", True), ("3.0.0", False)])
def test_an_older_pandas_shares_no_values_of_the_answers(run, monkeypatch, version, deep):
    monkeypatch.setattr(pd, "__version__", version)
    said = []
    monkeypatch.setattr(pd.DataFrame, "copy", lambda self, deep=True: said.append(deep) or self)
    assert run.answers is not None and said[-1] == deep

def test_rows_of_another_run_show_what_this_run_answered(run, tmp_path):
    "The figure has the run's name above it, and no answer of another's below."
    coarse = evaluate("sample", image_size=96, questions=run.answers.head(60), device="cpu", output_dir=tmp_path/"coarse", progress=False)
    rows = coarse.answers[coarse.answers["answer"] != run.answers["answer"].head(60)].head(3)
    labels = lambda figure: [ax.get_xlabel() for ax in figure.axes]
    own = run.answers[run.answers["question_id"].isin(rows["question_id"])]
    assert len(rows) == 3 and labels(show_answers(run, rows)) == labels(show_answers(run, own)) != labels(show_answers(coarse, rows))
    assert labels(show_answers(run, own.assign(answer="made up"))) == labels(show_answers(run, own))

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
    with pytest.raises(UserError, match="do not say of which data.*run.browse\\(tag='…'\\).answers"): Plan(questions=[1, 2])
    named = Plan(questions=lost.head(2), split="sample")
    assert named.questions is None and named.question_ids == lost["question_id"].tolist()[:2]
    kept = Plan(questions=run.answers[run.answers["accuracy"] < 50])
    assert (kept.dataset, kept.questions) == ("sample", None) and all(type(i) is int for i in kept.question_ids)
    with pytest.raises(UserError, match="empty"): Plan(questions=run.answers.head(0))
    with pytest.raises(UserError, match="leave one of them out"): Plan(questions=run.answers.head(2), limit=5)
    with pytest.raises(UserError, match="is not in sample"): evaluate(question_ids=[-5], progress=False)

def test_what_has_a_tag_is_asked_again_as_the_message_says(run):
    run.remarks.tag(run.questions[:3], "odd")
    with pytest.raises(UserError, match="those with a tag"): evaluate(questions=run.remarks.ids("odd"), progress=False)
    plan = Plan(questions=run.browse(tag="odd").answers)
    assert plan.dataset == "sample" and sorted(plan.question_ids) == sorted(q.question_id for q in run.questions[:3])
    assert list(run.to_pandas())[-3:] == ["tags", "note", "top5"]

def test_what_the_checkpoint_saw_is_not_taken_for_what_people_wrote(run):
    for kind in type(run).__mro__[:-1]:
        if "notes" in vars(kind): assert vars(kind)["notes"].__doc__.startswith("Not what people wrote, which is in `remarks`"), kind

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
    with pytest.raises(UserError, match=r"only about picked questions, and those are kept in .*: unchanged \(3 answers\), blank \(3 answers\)"): part.probes()
    shown = part.probe("blank", questions=rows, vqa=part.vqa, progress=False) # as the message says
    assert str(shown) == str(found)
    drawn = part.probe("blank", limit=4, vqa=part.vqa, progress=False)
    assert part.probes().table["questions"].tolist() == drawn.table["questions"].tolist() and str(part.probes()) == str(drawn) # no picked ones among them
    with pytest.raises(UserError, match="leave one of them out"): part.probe("blank", limit=5, questions=rows, progress=False)

def test_one_pick_after_another_is_probed_in_the_same_folder(run, tmp_path):
    "Answers to questions that are not picked now are no damage: they are another pick's, and are kept."
    part = evaluate(device="cpu", limit=20, output_dir=tmp_path/"run", progress=False)
    rows, journal = part.answers, tmp_path/"run"/"probes"/"seed-0"/"blank"/"answers-0.jsonl"
    def asked(questions): return list(part.probe("blank", questions=questions, vqa=part.vqa, progress=False)["blank"].records)
    def lines(): return len(journal.read_text().splitlines()) - 1 # the first says whose they are
    ids = rows["question_id"].tolist()
    assert asked(rows.head(4)) == ids[:4] and asked(rows.iloc[2:6]) == ids[2:6] and lines() == 6
    assert asked(ids[9]) == [ids[9]] and asked(ids[:2]) == ids[:2] and lines() == 7 # those that are there are not asked again
    assert len(part.probe("blank", vqa=part.vqa, progress=False)["blank"].records) == len(ids) == lines()
    assert asked(ids[3:5]) == ids[3:5] and lines() == len(ids)
    with open(journal, "a") as file: file.write('{"question_id":-5,"answers":["yes"],"confidences":[0.5]}\n')
    with pytest.raises(UserError, match="none of this run"): asked(ids[:1]) # of no question of the whole run

def test_all_questions_of_the_data_are_no_choice(run, tmp_path):
    "Whoever gives all rows asks about the whole, as without any; whoever leaves one out has chosen."
    rows = [dict(image=run.data.read_image(run.questions[i]), question="Is it day?", answers=["yes"]) for i in (0, 9)]
    base = evaluate("sample", questions=rows, device="cpu", output_dir=tmp_path/"base", progress=False)
    again = evaluate("sample", questions=base.answers, device="cpu", output_dir=tmp_path/"all", progress=False)
    for whole in (again, open_run(again.folder)):
        assert not whole.hand_picked and "chosen" not in whole.label and CHOSEN not in whole.accuracy.notes and whole.info.get("question_ids") is None
    some = evaluate("sample", questions=base.answers.head(1), device="cpu", output_dir=tmp_path/"some", progress=False)
    assert some.hand_picked and "chosen" in some.label
    assert len(evaluate("sample", questions=base.answers, device="cpu", output_dir=base.folder, progress=False)) == 2 # the same run

def test_figures_of_chosen_questions_say_so(run, tmp_path):
    "Questions that one run answered wrongly are no fair measure of it, nor of a difference."
    wrong = run.answers.query("accuracy < 100")
    other = evaluate("sample", image_size=128, questions=wrong, device="cpu", output_dir=tmp_path/"other", progress=False)
    assert CHOSEN in other.accuracy.notes and open_run(other.folder).hand_picked and not run.hand_picked and CHOSEN not in run.accuracy.notes
    for told in (str(other.rules()), str(open_run(other.folder).rules())): # beside the figures, above what the rules are
        assert told.count(CHOSEN) == 1 and told.index(CHOSEN) < told.index("official: ")
    shown = other.rules()._repr_html_()
    assert shown.count(CHOSEN) == 1 and shown.index("</table>") < shown.index(CHOSEN) < shown.index("<ul>")
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

def test_what_was_written_elsewhere_while_an_answer_was_open_stays(run):
    "The fields change what somebody changed in them, and nothing else."
    first = run.questions[0].question_id
    run.remarks.tag(first, "a")
    browser, elsewhere = run.browse(), open_run(run.folder).remarks
    def written(): return elsewhere.tags.get(first, ()), elsewhere.notes.get(first, "")
    browser.open(first)
    elsewhere.tag(first, "theirs").note(first, "seen by them")
    browser.controls["tag-field"].value = "a, c"
    assert written() == (("a", "theirs", "c"), "seen by them") and "elsewhere" in browser.remark_fields.state.value
    elsewhere.untag(first, "c").note(first, "their second")
    browser.controls["tag-field"].value = "theirs, c" # a goes; c was taken away elsewhere, and is not given again
    assert written() == (("theirs",), "their second")
    assert browser.controls["note-field"].value == "" # where somebody may be writing
    browser.controls["note-field"].value = "first"
    assert written()[1] == browser.controls["note-field"].value == "their second\nfirst"
    elsewhere.note(first, "their third")
    browser.controls["note-field"].value = "mine"
    assert written()[1] == browser.controls["note-field"].value == "their third\nmine"
    elsewhere.note(first, "their fourth")
    browser.controls["note-field"].value = "their third\nmine, too"
    assert written()[1] == "their fourth\ntheir third\nmine, too"
    elsewhere.note(first, "their fifth")
    browser.controls["note-field"].value = "" # not theirs, which nobody saw here
    assert written()[1] == browser.controls["note-field"].value == "their fifth"
    browser.controls["note-field"].value = ""
    assert written() == (("theirs",), "") and "elsewhere" not in browser.remark_fields.state.value and browser.status.value == ""

def test_tables_and_pages_have_what_was_written_elsewhere(run):
    browser = run.browse(sort="order", per_page=12)
    shown = ids_of(browser)
    open_run(run.folder).remarks.tag([shown[0], shown[12]], "theirs")
    assert browser.answers["tags"].tolist()[0] == ["theirs"] and browser.status.value == ""
    assert "theirs" in [value for _, value in browser.controls["tag"].options]
    open_run(run.folder).remarks.tag(shown[12], "later")
    browser.grid.turn(2)
    assert "later" in browser.grid._cards[0].facts.value
