"The browser of several runs: what it opens on, what its filters find, the figures of what fits, the models it asks."
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from beit3_colab.evaluation import evaluate
from beit3_colab.look.compared import clustered_interval, ComparedFilter, ComparedIndex
from beit3_colab.look.comparison_browser import intervals_text, said_once, subset_texts
from beit3_colab.look.comparison_detail import models_of
from beit3_colab.look.comparison_page import plot_agreement
from beit3_colab.look.run import compare, Run
from beit3_colab.machine.messages import UserError
from beit3_colab.model.vqa import load_model
from beit3_colab.run.comparison import paired_intervals, signed, signed_interval
from beit3_colab.scenes import draw_scene, make_scene
from hostile import every_html

SIZES = (96, 112, 128, 160, 192)
TEXT = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Five runs of one model, with pictures of other sizes."
    place = tmp_path_factory.mktemp("runs")
    return {f"{size} px": evaluate("sample", device="cpu", output_dir=place/str(size), limit=100, image_size=size, progress=False) for size in SIZES}

@pytest.fixture(scope="module")
def two(runs): return compare(runs["128 px"], runs["192 px"])
@pytest.fixture(scope="module")
def many(runs): return compare(runs)

def change(browser, **values):
    "Set controls as a person would, and give the rows that fit."
    for name, value in values.items(): browser.controls[name].value = value
    assert browser.status.value == ""
    return browser.rows

def open_first(browser): browser.grid._cards[0].button.click()
def shown_text(part): return re.sub("<[^>]*>", "", part)


def test_two_runs_open_on_what_became_wrong_and_then_on_what_became_right(two):
    kinds = two.table["change"].iloc[two.browse().rows].tolist()
    n, m = two.changes["right → wrong"], two.changes["wrong → right"]
    assert m > 3 and kinds[:n] == ["right → wrong"]*n and kinds[n:n + m] == ["wrong → right"]*m
    assert kinds[-1] == "both right" and not {"right → wrong", "wrong → right"} & set(kinds[n + m:])

def test_many_runs_open_on_what_they_are_furthest_apart_in(many, runs):
    worth = many.table[[f"accuracy_{name}" for name in runs]].to_numpy()
    apart = np.ptp(worth, axis=1)[many.browse().rows]
    assert apart[0] == 100 and apart[-1] == 0 and (np.diff(apart) <= 0).all()

def test_without_people_the_order_is_that_of_the_questions(runs):
    bare = [Run(run.folder, run.questions, None, None) for run in runs.values()]
    for given in (bare[:2], bare): assert compare(*given).browse().rows.tolist() == list(range(len(bare[0].records)))

def test_every_field_filters_as_the_table_says(many, runs):
    browser, table, names = many.browse(), many.table, list(runs)
    def rows(mask): return set(np.flatnonzero(mask))
    said = table[[f"answer_{name}" for name in names]]
    sure = table[[f"confidence_{name}" for name in names]].to_numpy(np.float32)
    worth = table[[f"accuracy_{name}" for name in names]].to_numpy()
    cases = [
        (dict(answer="Yes"), (said == "yes").any(axis=1)), (dict(image=str(table["image_id"][7])), table["image_id"] == table["image_id"][7]),
        (dict(question_type=table["question_type"][5]), table["question_type"] == table["question_type"][5]),
        (dict(min_confidence=.3, max_confidence=.6), ((sure >= np.float32(.3)) & (sure <= np.float32(.6))).any(axis=1)),
        ({"of-0": "wrong", "of-4": "right"}, (worth[:, 0] == 0) & (worth[:, 4] >= 100)),
        (dict(right="some right"), (worth >= 100).any(axis=1) & ~(worth >= 100).all(axis=1)),
        (dict(right="all wrong"), (worth == 0).all(axis=1)), (dict(words="answer:no"), (said == "no").any(axis=1)),
    ]
    for values, mask in cases:
        assert 0 < mask.sum() < len(table) or "all wrong" in values.values()
        assert set(change(browser, **values)) == rows(mask), values
        browser.controls["reset"].click()
        assert len(browser.rows) == len(table)

def test_keywords_and_controls_mean_the_same(two):
    given = dict(change="wrong->right", right="only B", correctness={"A": "wrong"}, answer_type="number", min_confidence=.1, words="how")
    browser = two.browse(**given)
    assert browser.filters.filter == ComparedFilter("how", "wrong → right", "only B right", None, (("A", "wrong"),), None, "number", "", .1)
    t = two.table
    assert set(browser.answers["question_id"]) == set(t[(t["change"] == "wrong → right") & (t["answer_type"] == "number") & t["question"].str.startswith("How")]["question_id"])
    assert browser.chosen_ids() == browser.answers["question_id"].tolist()

def test_figures_of_what_fits(two):
    browser = two.browse()
    change(browser, answer_type="number")
    part = two.table[two.table["answer_type"] == "number"]
    shown = shown_text(browser.result.value)
    assert f"A {part['accuracy_a'].mean():.1f} %" in shown and f"B {part['accuracy_b'].mean():.1f} %" in shown and f"{len(part)} scored" in shown
    assert f"B − A {part['difference'].mean():+.2f} (" in shown
    change(browser, change="wrong → right")
    assert "chosen by their answers: no interval" in browser.result.value and "+100.00" in browser.result.value and "+100.00 (" not in browser.result.value

def answering(run, right):
    "The run, but that it answers these questions as most people do, and all others wrongly."
    other = Run(run.folder, run.questions, run.annotations, run.data)
    said = {i: note.multiple_choice_answer if i in right else "nothing of the kind" for i, note in run.annotations.items()}
    other.__dict__["records"] = {i: dict(r, answers=[said[i]]) for i, r in run.records.items()}
    return other

def test_an_accuracy_is_rounded_once(runs):
    run = runs["192 px"]
    ids = list(run.records)[:17]
    found = compare(answering(run, ids[:14]), run, questions=ids) # 14 of 17: 82.3529 %, of which 82.35 would make 82.3
    assert f"{100*14/17:.1f}" == "82.4" and f"{round(100*14/17, 2):.1f}" == "82.3"
    browser = found.browse(sort="order")
    assert "A 82.4 %" in shown_text(browser.result.value) and "A: 82.4 % (" in shown_text(browser.widget.children[1].value)
    assert "A 82.4 %" in shown_text(browser.saved_view())
    joint = compare({"some": answering(run, ids[:14]), "none": answering(run, []), "all": answering(run, ids)}, questions=ids)
    assert "some 82.4 %" in shown_text(joint.browse().result.value) and "some: 82.4 % (" in shown_text(joint.browse().widget.children[1].value)
    assert joint.agreement.loc["some", "all"] == 82.35 # in the table, with two decimals
    assert "82.4" in [text.get_text() for text in plot_agreement(joint).axes[0].texts]

@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_what_fits_is_that_of_resampled_images(seed):
    rng = np.random.default_rng(seed)
    images, own = rng.integers(0, 400, 3000), rng.normal(0, 25, 400) # questions about one image go together
    gaps = np.round(np.clip(4 + own[images] + rng.normal(0, 40, 3000), -100, 100), 2)
    near, exact = clustered_interval(images, gaps), paired_intervals(images.tolist(), gaps, {None: np.arange(3000)})[None]
    width = exact[1] - exact[0]
    assert width > 4 and max(abs(a - b) for a, b in zip(near, exact)) < .08*width
    assert near[1] - near[0] > 1.3*2*1.96*gaps.std()/np.sqrt(3000) # wider than if images did not matter

def test_the_interval_of_few_pictures_is_students_t_and_possible(runs):
    "Three questions about three pictures, of which B loses two: mean −66.67, s/√3 = 33.33, t(2) = 4.3027."
    clip = clustered_interval(np.array([0, 1, 2]), np.array([-100., -100., 0.]))
    assert clip == (-100., round(-200/3 + 4.302653*100/3, 2)) == (-100., 76.76)
    # images of unequal size: the mean of all questions, and the squares of what each image's sum lacks of it
    images, gaps = np.array([4, 4, 4, 7, 9, 9]), np.array([0., 100., 0., 30., 0., 60.])
    mean = 190/6
    left = [100 - 3*mean, 30 - mean, 60 - 2*mean]
    reach = 4.302653*(sum(x*x for x in left)*3/2)**.5/6
    assert clustered_interval(images, gaps) == pytest.approx((mean - reach, mean + reach), abs=.01)
    ids = list({q.image_id: q.question_id for q in runs["192 px"].questions}.values())[:3] # about three pictures
    found = compare(answering(runs["192 px"], ids), answering(runs["192 px"], ids[2:]))
    browser = found.browse(sort="order")
    some = browser.index.subset(np.flatnonzero(found.table["question_id"].isin(ids)))
    assert subset_texts(some, browser.index, "")[2] == "B − A −66.67 (−100.00 – +76.76)" and not some.drawn
    assert "Student" in intervals_text(some)

@pytest.mark.parametrize("worse", [.1, .5, .9])
def test_intervals_of_few_pictures_cover_what_they_claim(worse):
    dice = np.random.default_rng(4)
    for number in (3, 8):
        hits = 0
        for _ in range(400):
            sizes = dice.integers(1, 4, number)
            gaps = np.where(dice.random(sizes.sum()) < worse, -100., 0.)
            low, high = clustered_interval(np.repeat(np.arange(number), sizes), gaps)
            assert -100 <= low <= high <= 100
            hits += low <= -100*worse <= high
        assert hits >= .93*400

def test_all_questions_have_the_interval_of_the_table(two, many):
    browser = two.browse()
    low, high = two.overall.interval
    assert signed_interval((low, high)) in shown_text(browser.result.value) and "by resampling images, as in the table" in browser.result.value
    assert "by resampling images, as in the table" in shown_text(browser.saved_view())
    change(browser, answer_type="number")
    assert "Student&#x27;s t" in browser.result.value and "Student" in shown_text(browser.saved_view())
    change(browser, change="wrong → right")
    assert "95 % interval" not in browser.result.value
    told, first = shown_text(many.browse().result.value), many.names[0]
    for row in many.pairs[many.pairs["a"] == first].itertuples():
        assert f"{row.b} − {first} {signed(row.difference)} ({signed_interval((row.low, row.high))})" in told

def test_chips_take_a_filter_away_and_say_what_finds_nothing(two):
    browser = two.browse(words="cat", right="only B")
    chips = browser.filters.chips.widget.children
    assert [chip.description for chip in chips] == ["words “cat” ×", "only B right ×"]
    chips[0].click()
    alone = int(((two.table["accuracy_b"] >= 100) & (two.table["accuracy_a"] < 100)).sum())
    assert browser.controls["words"].value == "" and len(browser.rows) == alone
    change(browser, words="nosuchword")
    way_out = browser.filters.remedies.widget.children[0]
    assert "No question fits" in browser.grid.empty.value and way_out.description == f"without words “nosuchword”: {alone}"
    way_out.click()
    assert len(browser.rows) > 0

def test_tags_of_any_run_filter(two, runs):
    ids = two.table["question_id"].tolist()
    runs["192 px"].remarks.tag([ids[4], ids[9]], "odd")
    try:
        browser = two.browse(tag="odd", sort="order")
        assert browser.rows.tolist() == [4, 9] and browser.controls["tag"].value == "odd"
        with pytest.raises(UserError, match="tag 'even' is not given to any of these questions"): two.browse(tag="even")
    finally: runs["192 px"].remarks.untag([ids[4], ids[9]], "odd")

def test_maps_of_each_model_and_one_question_to_all(two, runs):
    a, b = load_model("sample", device="cpu"), runs["192 px"].vqa
    browser = two.browse(vqa={"A": a, "B": b})
    open_first(browser)
    detail = browser.detail
    assert list(detail.large.frames) == ["A", "B"] and detail.large.side_by_side.layout.display == "none"
    change(browser, attention=True)
    maps = {name: frame.value for name, frame in detail.large.frames.items()}
    assert all("data:image/jpeg" in value for value in maps.values()) and detail.large.side_by_side.layout.display is None
    assert all("beit3-scale" in scale.value for scale in detail.large.scales.values())
    change(browser, method="rollout", layer="all")
    assert all(frame.value != maps[name] for name, frame in detail.large.frames.items())
    change(browser, **{"ask-text": "Is it raining?"})
    reply = shown_text(detail.ask.field.reply.value)
    assert "A answers" in reply and "B answers" in reply and "Is it raining?" in detail.heading.value
    browser.step(1)
    assert detail.ask.field.reply.value == "" and "raining" not in detail.heading.value

def test_which_models_are_there_is_said(two, runs):
    first = runs["128 px"].vqa
    try:
        runs["128 px"].vqa = None
        browser = two.browse()
        hint = browser.detail.hint.value
        assert list(browser.models) == ["B"] and "loaded: <b><bdi>B</bdi></b>" in hint and "load_model(" in hint and "what <bdi>A</bdi> looks at" in hint
    finally: runs["128 px"].vqa = first
    for given, said in (({"C": first}, "'C' is none of the runs; use one of 'A', 'B'"), (first, "name the run of each model"), ({"A": "sample"}, "not its name")):
        with pytest.raises(UserError, match=said): models_of(two.runs, given)

def test_other_questions_of_the_picture_lead_on(many):
    browser = many.browse()
    open_first(browser)
    before, buttons = browser.question_id, browser.detail.others.list.children
    buttons[0].click()
    assert browser.question_id != before and browser.status.value == ""

def test_legend_tells_accuracy_with_interval(two, many):
    legend = shown_text(two.browse().widget.children[1].value)
    assert re.search(rf"A: {two.overall.a:.1f} % \(\d", legend) and re.search(rf"B: {two.overall.b:.1f} % \(\d", legend) and "image_size 128" in legend
    legend = shown_text(many.browse().widget.children[1].value)
    for row in many.overall.itertuples(): assert f"{row.run}: {row.accuracy:.1f} % ({row.low:.1f} – {row.high:.1f})" in legend

def test_identical_answers_are_told_as_such(runs):
    run = runs["192 px"]
    same, three = compare(run, run), compare(run, run, run)
    images = same.table["image_id"].nunique()
    told = f"no answer differs (at most ±{same.overall.interval[1]:.1f} with {images} images)"
    for found in (same, three):
        for text in (str(found), found._repr_html_()): assert told in text and "1.0000" not in text and "+0.00" not in text
    low, high = same.figures()["rows"][0]["interval"]
    assert -low == high == round(100*1.96**2/(images + 1.96**2), 2) and same.figures()["rows"][0]["p"] == 1
    assert all(pair["p"] == 1 and pair["interval"][1] == high for pair in three.figures()["pairs"] if pair["group"] == "overall")

def test_answers_that_differ_without_a_score_that_does(runs):
    run = runs["192 px"]
    other = Run(run.folder, run.questions, run.annotations, run.data)
    wrong = [i for i, r in run.records.items()][:5]
    def said(word): return {i: dict(r, answers=[word, *r["answers"][1:]]) if i in wrong else r for i, r in run.records.items()}
    first = Run(run.folder, run.questions, run.annotations, run.data)
    first.__dict__["records"], other.__dict__["records"] = said("nothing at all"), said("something else")
    assert "no score differs (at most" in str(compare(first, other)) and "no answer differs" in str(compare(first, first))

def test_what_a_notebook_shows_is_short_and_says_what_is_next(two, many):
    for found in (two, many):
        html = found._repr_html_()
        assert ".browse()" in html and ".to_html(&#x27;comparison.html&#x27;)" in html and html.partition("<details>")[0].count("<tr>") <= 18
    assert "wrong → right" in two._repr_html_() and "<details>" in many._repr_html_()

def test_markup_from_anywhere_is_inert(runs):
    run = runs["192 px"]
    hostile = Run(run.folder, [replace(q, question=TEXT) for q in run.questions], run.annotations, run.data)
    hostile.__dict__["records"] = {i: dict(r, answers=[TEXT, *r["answers"][1:]]) for i, r in run.records.items()}
    for found in (compare(hostile, hostile), compare({TEXT: hostile, "b": hostile, "c": hostile})):
        browser = found.browse(vqa={list(found.runs)[0]: run.vqa, list(found.runs)[1]: run.vqa})
        open_first(browser)
        change(browser, attention=True, words="img", answer=TEXT, **{"ask-text": TEXT})
        for html in (*every_html(browser.widget), browser.saved_view(), found._repr_html_()): assert "<img src=x" not in html

def test_an_answer_of_several_runs_has_zoom_full_window_and_ids_to_copy(two, many, runs):
    for found, vqa in ((two, None), (many, None), (two, {"A": runs["192 px"].vqa, "B": runs["192 px"].vqa})):
        browser = found.browse(vqa=vqa)
        open_first(browser)
        large, row = browser.detail.large, browser.index.table.iloc[browser.rows[0]]
        assert f"data-copy='{row.question_id}'" in browser.detail.heading.value and "data-copy='" in browser.detail.heading.value.split("picture")[1]
        assert browser.detail.scores.value.count("They need not add up to 1") == 1
        width, height = large.read().size
        change(browser, zoom=2)
        assert f"width:{2*width}px;height:{2*height}px" in large.single.value and "shown at 200 %" in large.zoomed.note.value
        browser.step(1)
        assert "beit3-original" in large.single.value # the size stays
        if large.models:
            change(browser, attention=True)
            assert all(f"width:{2*side}px" in frame.value for side in (large.read().width,) for frame in large.frames.values())
            assert len({frame.value for frame in large.frames.values()}) == len(large.frames) and large.zoomed.box.layout.display == "none"
        change(browser, zoom=0, **{"full-window": True})
        assert "beit3-full" in large.widgets[0]._dom_classes and browser.guard.status.value == "" and large.title.value.count("<div>") == 1
        browser.close()

def test_a_model_that_lacks_an_answer_says_so_in_its_place(two, runs):
    vqa = runs["192 px"].vqa
    browser = two.browse(vqa={"A": vqa, "B": vqa})
    open_first(browser)
    change(browser, attention=True)
    part = browser.detail.large
    options = part.part.controls["explained"].options
    part.part.controls["explained"].options = [*options, ("never heard of", "never heard of")]
    change(browser, explained="never heard of")
    assert all("role='alert'" in frame.value for frame in part.frames.values())

def test_index_of_two_and_of_many_agree(runs):
    pair = {name: runs[name] for name in ("128 px", "192 px")}
    a, b = ComparedIndex(compare(*pair.values())), ComparedIndex(compare(pair))
    assert a.different.tolist() == b.different.tolist() and list(a.right) == ["all right", "only A right", "only B right", "exactly 1 right", "none right", "all wrong", "some right"]
    assert [mask.tolist() for mask in a.right.values()] == [mask.tolist() for mask in b.right.values()]
    assert a.order("gain").tolist() == b.order("gain").tolist() and [s[0] for s in a.standings] == [s[0] for s in b.standings]
    assert a.standings == b.standings


def test_the_bars_of_the_overview_find_what_they_say(two, many):
    for found in (two, many):
        browser = found.browse()
        browser.controls["overview"].value = True
        parts, everything = browser.overview.parts, len(browser.rows)
        def bars(part): return [b for b in parts[part].buttons.children if b.layout.display is None]
        assert browser.status.value == "" and {part for part in parts if bars(part)} >= {"confidence", "right", "same", "answer_type", "question_type", "people"}
        assert bool(bars("change")) == (found is two)
        for part in parts:
            for i, button in enumerate(bars(part)):
                whole = int(re.search(r" · ([\d,]+)", button.description)[1])
                button.value = True
                assert len(browser.rows) == whole and bars(part)[i].value and browser.filters.chips.widget.layout.display is None, (part, button.description)
                bars(part)[i].value = False
                assert len(browser.rows) == everything and browser.status.value == ""

def test_a_bar_tells_the_accuracy_of_each_run(two, many, runs):
    browser = two.browse()
    browser.controls["overview"].value = True
    table = two.table[two.table["answer_type"] == "number"]
    said = next(b.description for b in browser.overview.parts["answer_type"].buttons.children if b.description.startswith("number"))
    assert said == f"number · {len(table)} · A {table['accuracy_a'].mean():.1f} · B {table['accuracy_b'].mean():.1f} %"
    browser = many.browse()
    browser.controls["overview"].value = True
    means = [many.table[f"accuracy_{name}"][many.table["answer_type"] == "number"].mean() for name in runs]
    assert any(b.description.endswith(f"{min(means):.1f} – {max(means):.1f} %") for b in browser.overview.parts["answer_type"].buttons.children)

def test_what_people_said_filters(two):
    rows = change(two.browse(), correct_answer="yes")
    assert set(rows) == set(np.flatnonzero(two.table["correct_answer"] == "yes"))
    assert set(two.browse(correct_answer="YES").rows) == set(rows)

def test_words_that_may_be_those_of_answers_leave_no_interval(two):
    browser = two.browse()
    for words, told in (("answer:yes", False), ("yes", False), ("question:is", True), ("type:number", True), ("people:yes", True), ("-answer:no", False)):
        change(browser, words=words)
        assert ("no interval" not in browser.result.value) == told, words

def test_what_somebody_tagged_is_hand_picked_and_has_no_interval(two, runs):
    run = next(iter(two.runs.values()))
    run.remarks.tag(run.questions[:9], "odd")
    try:
        browser = two.browse(tag="odd")
        assert "chosen by their tags: no interval" in browser.result.value and len(browser.rows) == 9
        change(browser, tag="no tag")
        assert "chosen by their tags: no interval" in browser.result.value
        change(browser, tag="")
        assert "no interval" not in browser.result.value and "chosen by" not in browser.result.value
    finally: run.remarks.untag(run.questions[:9], "odd")

def test_code_shows_the_same_rows_of_a_comparison(two, many, runs):
    dice = np.random.default_rng(3)
    for found in (two, many):
        browser = found.browse()
        assert browser.code() == "comparison.browse()"
        names = [n for n in ("change", "right", "same", "question_type", "answer_type", "people", *(f"of-{i}" for i in range(5))) if n in browser.controls]
        for _ in range(25):
            browser.controls["reset"].click()
            for name in names:
                if dice.random() < .25: browser.controls[name].value = str(dice.choice([value for _, value in browser.controls[name].options]))
            change(browser, words=str(dice.choice(["", "is", "answer:yes", "it's", "-no"])), min_confidence=float(dice.choice([0, .5])), correct_answer=str(dice.choice(["", "", "no"])))
            browser.controls["sort"].value = str(dice.choice([value for _, value in browser.controls["sort"].options]))
            browser.controls["per-page"].value = int(dice.choice([12, 24]))
            same = eval(browser.code(), {"comparison": found})
            assert same.rows.tolist() == browser.rows.tolist() and same.code() == browser.code() and same.grid.pager.per_page == browser.grid.pager.per_page

def test_ticks_come_out_of_a_comparison_and_go_on(two, runs, tmp_path):
    browser = two.browse(right="only B")
    shown = browser.answers
    assert shown["question_id"].tolist() == two.table["question_id"].iloc[browser.rows].tolist() and list(shown)[-2:] == ["tags", "note"]
    browser.grid._cards[1].tick.value = True
    browser.grid._cards[0].tick.value = True
    picked = shown["question_id"].tolist()[:2]
    assert browser.selected["question_id"].tolist() == picked == browser.chosen_ids() and "2 picked" in browser.pick_bar.count.value
    new = evaluate("sample", questions=browser.selected, device="cpu", output_dir=tmp_path/"new", progress=False)
    assert sorted(new.answers["question_id"]) == sorted(picked)
    first, second = list(runs.values())[:2]
    assert sorted(compare(first, second, questions=browser.selected).table["question_id"]) == sorted(picked)
    assert first.to_html(tmp_path/"a.html", questions=browser.selected).read_text(encoding="utf-8").count("<article") == 2
    browser.controls["pick-all"].click()
    assert len(browser.selected) == len(shown) and browser.status.value == ""

def test_tags_and_notes_of_a_comparison_are_kept_with_every_run(two):
    browser, (a, b) = two.browse(), two.runs.values()
    ids = two.table["question_id"].tolist()
    try:
        a.remarks.tag(ids[0], "mine"), b.remarks.tag(ids[0], "theirs").note(ids[1], "look")
        browser.search()
        assert browser.index.tag_counts["mine"] == 1 and {"mine", "theirs"} <= {value for _, value in browser.controls["tag"].options}
        browser.open(ids[0])
        assert browser.controls["tag-field"].value == "mine, theirs"
        browser.controls["tag-field"].value = "both"
        browser.controls["note-field"].value = "see this"
        assert a.remarks.tags == b.remarks.tags == {ids[0]: ("both",)} and a.remarks.notes[ids[0]] == b.remarks.notes[ids[0]] == "see this"
        browser.controls["back"].click()
        change(browser, tag="both")
        assert browser.answers["tags"].tolist() == [["both"]] and "both" in "".join(every_html(browser.grid.widget)) and ">both<" in browser.saved_view()
        assert str(a.folder) in "".join(every_html(browser.widget))
        a.folder.joinpath("notes.jsonl").chmod(0o644)
        browser.open(ids[0])
        browser.controls["tag-field"].value = ""
        assert a.remarks.tags == b.remarks.tags == {}
    finally:
        for run in (a, b): (run.folder/"notes.jsonl").unlink(missing_ok=True)

def test_a_run_that_cannot_keep_remarks_is_passed_over(two, monkeypatch):
    browser, (a, b) = two.browse(), two.runs.values()
    ids = two.table["question_id"].tolist()
    try:
        b.remarks.tag(ids[2], "old")
        browser.search()
        def refuse(*given, **change): raise UserError("may not be written to")
        monkeypatch.setattr(browser.remarks.parts[1], "_write", refuse)
        browser.picks.add(ids[:2])
        browser.controls["pick-tag"].value = "new"
        browser.controls["tag-add"].click()
        assert a.remarks.tags == {ids[0]: ("new",), ids[1]: ("new",)} and browser.status.value == ""
        said = f"Kept with 1 of 2 runs, not in {b.remarks.path}: may not be written to."
        assert said in browser.pick_bar.warning.value and browser.pick_bar.warning.layout.display is None
        browser.open(ids[1])
        browser.controls["note-field"].value = "half"
        assert said in browser.remark_fields.state.value and a.remarks.notes == {ids[1]: "half"}
        browser.open(ids[2])
        browser.controls["tag-field"].value = ""
        assert "may not be written to" in browser.status.value # it is still there
        monkeypatch.setattr(browser.remarks.parts[0], "_write", refuse)
        browser.controls["note-field"].value = "lost"
        assert "may not be written to" in browser.status.value
    finally:
        for run in (a, b): (run.folder/"notes.jsonl").unlink(missing_ok=True)

def test_a_card_may_stand_for_a_picture(many):
    browser = many.browse(sort="order")
    browser.controls["cards"].value = "one a picture"
    images = many.table["image_id"]
    assert len(browser.grid._groups) == images.nunique() and browser.status.value == ""
    browser.grid._cards[0].tick.value = True
    assert browser.selected["question_id"].tolist() == many.table["question_id"][images == images[0]].tolist()

def own_run(place, scene, said):
    "Three questions about pictures of one's own, two of which ten people answered, five of them so and five otherwise."
    place.mkdir()
    rows = []
    for i in range(3):
        draw_scene(make_scene(scene + i)).save(place/f"x{i}.png")
        rows.append(dict(image=f"x{i}.png", question="Is it day?", **(dict(answers=said) if i < 2 else {})))
    (place/"q.json").write_text(json.dumps(rows))
    return evaluate("sample", questions=place/"q.json", output_dir=place/"run", device="cpu", progress=False)

def test_what_is_not_the_same_stands_above_the_answers(tmp_path):
    a, b = own_run(tmp_path/"a", 7000, ["yes"]*5 + ["sunny"]*5), own_run(tmp_path/"b", 8000, ["no"]*5 + ["rainy"]*5)
    c = own_run(tmp_path/"c", 7000, ["yes"]) # one answer: another rule
    contents, pictures = "The questions are the same, but the pictures' contents are not.", "The pictures shown are those of A."
    for found, them in ((compare(a, b), "both"), (compare(a, b, a), "all")):
        browser = found.browse()
        people = f"People's answers differ between the runs; {them} are judged by those of A."
        for shown in (browser.widget.children[1].value, browser.saved_view()):
            text = html.unescape(shown_text(shown))
            for told in (contents, people, pictures, "1 question without human answers: only their agreement is told."): assert told in text
        assert contents in str(found) and people in str(found) and "1 question without human answers" in str(found)
    same = html.unescape(shown_text(compare(a, a).browse().widget.children[1].value))
    assert contents not in same and pictures not in same and "People's answers differ" not in same
    found = compare(a, c)
    rule = "B: its own figure is by another rule, exact match."
    assert a.metric == "official" and c.metric == "exact" and rule in str(found) and rule in html.unescape(shown_text(found.browse().widget.children[1].value))
    assert rule not in str(compare(a, b))

def test_what_only_one_run_answered_is_said_to_be_left_out(runs):
    run = runs["192 px"]
    part = Run(run.folder, run.questions[:90], run.annotations, run.data)
    part.__dict__["records"] = {q.question_id: run.records[q.question_id] for q in part.questions}
    left = len(run.questions) - 90
    assert f"Left out: {left} questions more of A." in shown_text(compare(run, part).browse().widget.children[1].value)
    assert f"Left out: {left} questions of a" in shown_text(compare({"a": run, "b": part, "c": part}).browse().widget.children[1].value)

def test_the_line_of_counts_adds_up(many, runs):
    for found in (many, compare(*list(runs.values())[:3]), compare(dict(list(runs.items())[:2]))):
        lines = [shown_text(line) for line in found.browse().widget.children[1].value.split("<div class='beit3-legend'>")]
        counts = next(line for line in lines if line.startswith("all right")).partition(" · ")[0]
        said = {name: int(n) for name, n in re.findall(r"(?:^|, )(.*?) (\d+)(?=,|$)", counts)}
        worth = np.stack([found.table[f"accuracy_{name}"] for name in found.names], 1)
        right = (worth == 100).sum(1)
        assert sum(said.values()) == len(found.table) and said["all right"] == (right == len(found.names)).sum()
        assert said["all wrong"] == (worth == 0).all(1).sum()
        assert said.get("none wholly right", 0) == ((right == 0) & (worth > 0).any(1)).sum()
        several = {5: "2 to 4 right", 3: "exactly 2 right"}.get(len(found.names))
        if several: assert said[several] == ((right > 1) & (right < len(found.names))).sum()

def test_a_chosen_part_is_called_so(runs):
    run, other = runs["192 px"], runs["96 px"]
    ids = list(run.records)[:30]
    few = Run(other.folder, other.questions, other.annotations, other.data)
    few.__dict__["records"] = {i: other.records[i] for i in ids[:20]}
    found = compare({"a": run, "b": other, "few": few}, questions=ids)
    text = str(found)
    assert "on all that were chosen" in text and "all of its own" not in text
    assert f"30 chosen of {len(run.questions)} questions" in text and f"30 chosen of {len(run.questions)} questions" in shown_text(found.browse().widget.children[1].value)
    own = run.answers.set_index("question_id")["accuracy"][ids].mean()
    assert found.overall.set_index("run").loc["a", ["own_accuracy", "own_questions"]].tolist() == [pytest.approx(own, abs=.006), 30]
    assert "on all of its own" in str(compare({"a": run, "few": few, "b": other})) and "chosen" not in str(compare({"a": run, "few": few, "b": other}))

def test_chosen_questions_that_nobody_answered(runs):
    run = runs["192 px"]
    some = Run(run.folder, run.questions, run.annotations, run.data)
    some.__dict__["records"] = {i: run.records[i] for i in list(run.records)[:20]}
    beyond = list(run.records)[50:51]
    with pytest.raises(UserError, match="none of the 1 chosen questions is answered by B"): compare(run, some, questions=beyond)
    with pytest.raises(UserError, match="questions is empty"): compare(run, some, questions=[])
    with pytest.raises(UserError, match="questions is empty"): run.probe("blank", questions=[])

def test_what_all_runs_share_is_said_once(many, two, runs):
    assert said_once(["a model on the sample, 9 questions, size 12 (x)", "a model on the sample, 9 questions, size 18 (y)"]) == ("a model on the sample, 9 questions", ["size 12 (x)", "size 18 (y)"])
    assert said_once(["a model on the sample, 90 questions (x)", "a model on the sample, 91 questions (y)"])[0] == "a model on the sample"
    assert said_once(["BEiT-3 base on x (a)", "BEiT-3 large on x (b)"]) == ("", ["BEiT-3 base on x (a)", "BEiT-3 large on x (b)"])
    assert said_once(["one and the same text, twice (a)"]*2) == ("one and the same text, twice", ["(a)", "(a)"])
    for found in (many, two):
        legend = html.unescape(shown_text(found.browse().widget.children[1].value))
        assert legend.count("BEiT-3 sample model on the built-in sample") == 1
        for name, run in found.runs.items(): assert f"image_size {run.identity.image_size}" in legend and str(run.folder) in legend
    run = runs["192 px"]
    probes = run.probe("blank", limit=20, progress=False)
    legend = html.unescape(shown_text(probes.browse().browser.widget.children[1].value))
    assert legend.count("BEiT-3 sample model") == 1 and legend.index("About this probe") < legend.index("Probe “blank picture”") and "Left out: " in legend

def test_questions_that_were_named_by_their_ids_have_no_interval(two):
    ids = two.table["question_id"].tolist()[:12]
    browser = two.browse(words=" | ".join(f"id:{i}" for i in ids))
    assert len(browser.rows) == 12 and "chosen by their ids: no interval" in browser.result.value and "95 % interval" not in browser.result.value
