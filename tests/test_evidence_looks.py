"What evidence looks like: maps by answer and method, confidences that can be told apart, plots whose figures are those of the tables, sections of a report."
import base64
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from beit3_colab.evaluation import evaluate
from beit3_colab.look.attention_view import AttentionControls, Explained, explore_attention
from beit3_colab.look.cards import confidence_text, scores_html
from beit3_colab.look.evidence_plots import calibration_fit_table, coverage_table, deletion_table, pairs_table, people_table, plot_calibration_fit
from beit3_colab.look.evidence_plots import plot_coverage, plot_deletion, plot_pairs, plot_people, plot_probes, probe_table
from beit3_colab.look.figures import show_attention
from beit3_colab.look.evidence import Evidence
from beit3_colab.look.report_evidence import evidence_sections, pairs_section
from beit3_colab.look.run import open_results, Run, open_run
from beit3_colab.machine.messages import UserError
from beit3_colab.model.attention import METHODS, attention_map, attention_share
from beit3_colab.model.vqa import load_model
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene
from beit3_colab.scenes.questions import ask_scene
from beit3_colab.scenes.sample import open_sample
from beit3_colab.data.pairs import read_pairs


@pytest.fixture(scope="module")
def model(): return load_model("sample", device="cpu")

@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    found = evaluate(model, output_dir=tmp_path_factory.mktemp("looks")/"run", progress=False)
    found.probe(["covered", "uncovered", "noise-5", "shuffled", "unchanged"], limit=30, vqa=model, progress=False)
    return found

@pytest.fixture(scope="module")
def sections(run):
    "The evidence of that run in a report: (name, title) → HTML."
    return evidence_sections(run)

def texts(figure): return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


# confidences

@pytest.mark.parametrize("confidence", [*np.random.default_rng(0).random(200).round(5), .99, .995, .999, .9995, .99995, .99999, 0., 1.])
def test_a_confidence_is_near_what_is_written_and_only_1_reads_as_1(confidence):
    text = confidence_text(confidence)
    digits = len(text.partition(".")[2])
    assert 2 <= digits <= 5 and abs(float(text) - confidence) <= .5*10**-digits + 1e-9
    assert (float(text) == 1) == (confidence == 1)
    assert (float(text) == 0) == (confidence == 0)
    if .01 <= confidence <= .99: assert digits == 2

def test_neighbors_near_one_are_told_apart():
    written = [confidence_text(c) for c in (.98, .99, .995, .998, .9985, .9998, .99985, .99998, 1.)]
    assert len(set(written)) == len(written) and written == sorted(written, key=float)

@pytest.mark.parametrize("row, own, expected", [
    (dict(calibrated=.785), True, ["Calibrated: 0.79", "need not add up to 1"]), (dict(calibrated=float("nan")), True, ["sigmoids"]), (dict(), False, []), (dict(calibrated=.5), False, ["Calibrated: 0.50"])])
def test_scores_are_explained_where_they_are_a_models_own(row, own, expected):
    said = scores_html(SimpleNamespace(**row), own)
    assert all(part in said for part in expected) and bool(said) == bool(expected) and "nan" not in said


# maps

def named_questions(count): # picture, question, answer, and the box of the one object that the question names
    for seed in range(1, 400):
        scene = make_scene(seed)
        for q in ask_scene(scene):
            if len(q["objects"]) == 1 and (o := scene.objects[q["objects"][0]]).name in q["question"].strip("?").split():
                yield draw_scene(scene), q["question"], q["answer"], o.box, scene.size
                count -= 1
                break
        if not count: return

def test_what_is_shown_at_first_lies_on_the_object_and_more_so_than_what_was_shown_before(model):
    shares = {"gradient": [], "rollout": []}
    for picture, question, _, box, size in named_questions(25):
        explained = Explained(model, picture, question)
        for method in shares: shares[method].append(attention_share(attention_map(explained.attention(), method=method), box, size).attention)
    assert AttentionControls(6, print).method == "gradient"
    assert np.mean(shares["gradient"]) > .4 > .2 > np.mean(shares["rollout"])

def test_the_map_of_another_answer_is_that_of_its_gradient(model):
    picture, question, *_ = next(named_questions(1))
    view = explore_attention(model, picture, question)
    answers = [answer for _, answer in view.controls["explained"].options]
    assert answers[:2] == [answer for answer, _ in model.ask(picture, question, 2)]
    for answer in answers:
        view.controls["explained"].value = answer
        drawn = view.part.draw(view.explained).jpeg
        again = explore_attention(model, picture, question, answer=answer)
        assert again.part.draw(again.explained).jpeg == drawn and f"what “{answer}” rests on" in repr(view)

def test_the_model_is_asked_once_for_an_answer_and_again_when_it_was_dropped(model):
    picture, question, *_ = next(named_questions(1))
    asked = []
    def attention(image, text, answer): asked.append(answer); return model.attention(image, text, answer)
    explained = Explained(SimpleNamespace(answers=model.answers, attention=attention, ask=model.ask), picture, question)
    a, b, c = (answer for answer, _ in explained.answers[:3])
    for answer in (a, b, a, None, b, None, a): explained.attention(answer)
    assert asked == [a, b]
    for answer in (c, a, b): explained.attention(answer)
    assert asked == [a, b, c, b] # two are kept: c took the place of b, and b that of c

@pytest.mark.parametrize("method", METHODS)
def test_a_figure_says_for_which_answer_and_how(model, method):
    picture, question, answer, *_ = next(named_questions(1))
    figure = show_attention(model, picture, question, "cls", method=method, answer="yes")
    title = " ".join(figure._suptitle.get_text().split())
    assert f"({method}, all 6 layers)" in title and ("what “yes” rests on" in title) == (method in ("gradient", "propagated"))
    assert figure.axes[0].get_title().startswith(model.ask(picture, question, 1)[0].answer) # what the model says, whatever is explained

@pytest.mark.parametrize("options, message", [(dict(method="lime"), "method must be"), (dict(answer="mauve"), "has no answer 'mauve'"), (dict(layer=6), "layer 6 does not exist"),
                                              (dict(layer=2, method="rollout"), "rollout follows all layers")], ids=str)
def test_figures_refuse_what_cannot_be_meant(model, options, message):
    picture, question, *_ = next(named_questions(1))
    with pytest.raises(UserError, match=message): show_attention(model, picture, question, **options)

@pytest.mark.parametrize("method", ["rollout", "propagated"])
@pytest.mark.parametrize("layer", [0, 2, -1])
def test_a_widget_refuses_one_layer_of_what_follows_all(model, layer, method):
    picture, question, *_ = next(named_questions(1))
    with pytest.raises(UserError, match=f"{method} follows all layers"): explore_attention(model, picture, question, layer, method)
    assert explore_attention(model, picture, question, method=method).part.method == method
    assert explore_attention(model, picture, question, layer, "gradient").part.layer == layer % 6

def test_heading_and_map_follow_a_question_of_ones_own_and_back(run, model):
    browser = run.browse(vqa=model)
    browser.grid.cards.children[0].children[1].click()
    of_run = browser.detail.heading.value
    browser.controls["attention"].value = True
    first = browser.detail.large.frame.value
    for question in ("Is it raining?", "What is the weather like?"): browser.controls["ask-text"].value = question
    assert "What is the weather like?" in browser.detail.heading.value and browser.detail.large.frame.value != first
    assert [text for text, _ in browser.controls["whose"].options] == ["the run’s question", "Is it raining?", "What is the weather like?"]
    browser.controls["whose"].index = 1
    assert "Is it raining?" in browser.detail.heading.value and f"what “{model.ask(browser.detail.large.read(), 'Is it raining?')[0].answer}” rests on" in browser.detail.large.frame.value
    browser.controls["whose"].index = 0
    assert (browser.detail.heading.value, browser.detail.large.frame.value, browser.status.value) == (of_run, first, "")
    browser.controls["next-answer"].click()
    assert browser.controls["whose"].layout.display == "none"

def test_calibrated_confidence_stands_beside_the_models_own(run, model):
    browser = run.browse(vqa=model)
    row = run.answers.iloc[0]
    browser.open(row.question_id)
    assert f"({confidence_text(row.confidence)}, calibrated {confidence_text(row.calibrated)})" in browser.detail.heading.value
    assert f"Calibrated: {confidence_text(row.calibrated)}" in browser.detail.answers.value


# plots

def test_deletion_and_insertion_are_the_same_questions_from_both_ends(run):
    table, points = deletion_table(run.probes()), run.probes().curves
    deletion, insertion = ({(r.order, round(r.share, 6)): r.value for r in table[table["curve"] == curve].itertuples()} for curve in ("deletion", "insertion"))
    turned = {"map": "reverse", "reverse": "map", "random": "random"}
    assert len(deletion) == len(points) == 21 and all(insertion[turned[order], round(100 - share, 6)] == value for (order, share), value in deletion.items())
    assert all(deletion[r.order, round(100*r.share, 6)] == r.accuracy for r in points.itertuples())
    assert deletion["map", 25] < deletion["random", 25] # a map that says nothing would not be below

def test_deletion_draws_each_point_and_tells_the_areas(run):
    results = run.probes()
    figure = plot_deletion(results)
    for axes, curve in zip(figure.axes, ("deletion", "insertion")):
        table = deletion_table(results).query("curve == @curve")
        lines = {line.get_label().partition(":")[0]: line for line in axes.get_lines()}
        for order, name in (("map", "in the map’s order"), ("random", "in random order"), ("reverse", "in the map’s reverse order")):
            rows = table[table["order"] == order]
            assert np.array_equal(lines[name].get_xdata(), rows["share"]) and np.array_equal(lines[name].get_ydata(), rows["value"])
            area, = results.areas.query("curve == @curve and order == @order and measure == 'accuracy'")["area"]
            assert lines[name].get_label().endswith(f"area {area:.1f}")
    assert len({line.get_linestyle() for line in figure.axes[0].get_lines()}) == 3 # without colors, too

def test_probes_are_drawn_as_they_stand_in_the_table(run):
    results = run.probes()
    table, figure = probe_table(results), plot_probes(results)
    assert not set(table["probe"]) & {"covered", "uncovered"} and {"unchanged", "noise-5", "shuffled", "blank"} <= set(table["variant"])
    drawn = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert np.array_equal(drawn[0].get_xdata(), table["difference"]) and [t.get_text() for t in figure.axes[0].get_yticklabels()] == [f"{title} ({n:,})" for title, n in zip(table["title"], table["questions"])]
    assert any("Asking again without any change" in text for text in texts(figure))

def test_coverage_marks_what_the_table_says(run):
    confidence = run.confidence()
    table, figure = coverage_table(confidence).set_index("figure"), plot_coverage(confidence)
    curve = next(line for line in figure.axes[0].get_lines() if line.get_label() == "the surest answers first")
    assert np.allclose(curve.get_xdata(), 100*confidence.curve["coverage"]) and np.allclose(curve.get_ydata(), 100*confidence.curve["risk"])
    assert f"1 % risk: {table.loc['coverage at 1 % risk', 'value']:.1f} % answered" in texts(figure)
    marked = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert [tuple(line.get_xdata()) for line in marked] == [(table.loc["coverage at 1 % risk", "value"],)] # the others need no threshold

def test_calibration_fit_draws_both(run):
    confidence = run.confidence()
    table, figure = calibration_fit_table(confidence), plot_calibration_fit(confidence)
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["the model’s own", "calibrated"]
    for axes, which in zip(figure.axes, ("before", "after")):
        points = sorted((x, y) for line in axes.get_lines() if line.get_marker() == "o" for x, y in zip(line.get_xdata(), line.get_ydata()))
        rows = table[table["which"] == which]
        assert np.allclose(points, sorted(zip(rows["confidence"], 100*rows["accuracy"])))

def test_people_and_pairs_are_drawn_as_they_stand_in_their_tables(run):
    people, pairs = run.people(), run.pairs()
    figure, table = plot_people(people, top=3), people_table(people, top=3)
    assert (table["group"] == "question type").sum() == 3 and table["name"].iloc[0] == "all"
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    for name, column in (("the model", "accuracy"), ("a person", "person"), ("the best answer", "best")): assert np.array_equal(lines[name].get_xdata(), table[column])
    figure, table = plot_pairs(pairs, top=2), pairs_table(pairs, top=2)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    for name in ("both right", "each on its own", "the same answer to both"): assert np.array_equal(lines[name].get_xdata(), table[table["figure"] == name]["value"])

@pytest.mark.parametrize("draw, what", [(plot_deletion, "probes"), (plot_probes, "probes"), (plot_coverage, "confidence"), (plot_calibration_fit, "confidence"), (plot_people, "people"), (plot_pairs, "pairs")])
def test_every_figure_carries_its_run_and_what_must_be_said_of_it(run, draw, what, tmp_path, monkeypatch):
    class Noted(Run): notes = ("Most of these $questions$ were part of its training.",)
    noted = Noted(run.folder, run.questions, run.annotations, run.data)
    figure = draw(getattr(noted, what)(), path=tmp_path/"figure.svg")
    assert any(noted.label in text for text in texts(figure)) and any("Most of these $questions$ were" in text for text in texts(figure))
    assert not any(t.get_parse_math() for t in figure.findobj(Text) if "$" in t.get_text()) and (tmp_path/"figure.svg").stat().st_size > 8000


# report

def test_a_report_has_the_evidence_with_its_tables(run, model, tmp_path):
    page = run.to_html(tmp_path/"report.html", n=4, vqa=model).read_text(encoding="utf-8")
    for name in ("confidence", "people", "pairs", "probes"): assert f"<h2 id='{name}'>" in page and f"<a href=#{name}>" in page
    assert page.count("<figure") == 3 + 2 + 1 + 1 + 2 == page.count("<details><summary>As a table") and "Not in this report" not in page
    row = run.probes().table.set_index("variant").loc["noise-5"]
    assert f">{row.after:.2f}<" in page and "Show what the answers rest on" in page and str(tmp_path) not in page and str(run.folder) not in page

def test_a_report_says_what_could_be_had_and_is_silent_about_what_cannot(run, tmp_path):
    folder = tmp_path/"run"
    folder.mkdir()
    for name in ("run.json", "answers-0.jsonl"): (folder/name).write_bytes((run.folder/name).read_bytes())
    part = open_run(folder)
    part.__dict__["records"] = dict(list(part.records.items())[:25])
    sections = evidence_sections(part)
    told = re.sub("<[^>]*>", "", sections["more", ""])
    assert "run.probe(…) asks them" in told and "25 of 1,093 questions are answered: the same call again continues it" in told and "without limit" not in told and str(tmp_path) not in told
    hidden = Run(run.folder, run.questions, None, run.data)
    assert [name for name, _ in evidence_sections(hidden)] == ["probes"]
    unknown = SimpleNamespace(records={}, label="x")
    assert evidence_sections(unknown) == {}

def test_probes_that_nobody_can_score_still_say_what_changes(run):
    hidden = Run(run.folder, run.questions, None, run.data)
    section = evidence_sections(hidden)["probes", "Probes"]
    assert "answers changed" in section and "before" not in re.sub("<[^>]*>", "", section).lower().split("what each probe does")[0].split("as a table")[1][:60]
    assert isinstance(probe_table(hidden.probes()), pd.DataFrame) and len(plot_probes(hidden.probes()).axes) == 1


# what a report tells, and what it does not

def words(html): return " ".join(re.sub("<[^>]*>", " ", html).split())

def near(low, high): return "none" if low != low else f"{low:.2f} – {high:.2f}"

def drawings(html): # the SVGs of a page, as text
    return "".join(base64.b64decode(part).decode() for part in re.findall(r"data:image/svg\+xml;base64,([^'\"]+)", html))

def test_the_place_of_a_list_of_pairs_is_told_to_nobody(run, tmp_path):
    place, pairs = tmp_path/"somebody"/"v2_mscoco_val2014_complementary_pairs.json", list(map(list, open_sample().complementary_pairs()))
    place.parent.mkdir()
    place.write_text(str([*pairs, pairs[0]]))
    class Listed(type(run.data)):
        def complementary_pairs(self): return read_pairs(place, self.questions)
    data = Listed(run.data.split, run.data.questions, run.data.annotations, run.data.image_root)
    section = pairs_section(Run(run.folder, run.questions, run.annotations, data))
    assert "left out 1 (the same pair again)" in words(section) and place.name in words(section)
    for shown in (section, drawings(section)): assert str(tmp_path) not in shown and "somebody" not in shown
    assert "the same pair again" in drawings(section)
    place.write_text("{}")
    with pytest.raises(UserError, match=re.escape(str(place))): data.complementary_pairs() # where it is to be mended

def test_tables_of_a_report_hold_what_the_plots_draw(run, sections):
    sections = {name: re.sub("</?bdi[^>]*>", "", html) for (name, _), html in sections.items()}
    for row in calibration_fit_table(run.confidence()).itertuples():
        assert f"<td>{100*row.accuracy:.2f}</td><td>{near(100*row.interval_low, 100*row.interval_high)}</td>" in sections["confidence"]
    for row in deletion_table(run.probes()).itertuples():
        assert f"<td>{row.share:.0f}</td><td>{row.value:.2f}</td><td>{row.low:.2f} – {row.high:.2f}</td>" in sections["probes"]
    for row in people_table(run.people(), 30).to_dict("records"):
        for name in ("accuracy", "person"): assert f"<td>{row[name]:.2f}</td><td>{row[name + '_low']:.2f} – {row[name + '_high']:.2f}</td>" in sections["people"]
    assert sections["confidence"].count("class=first") == 1 # the two panels, which are wide

def test_probes_in_a_report_say_what_their_columns_are(run, sections):
    section = words(sections["probes", "Probes"])
    assert f"p: sign-flip test by image, not corrected for {len(run.probes())} rows" in section
    assert "Before and after, in percent, difference in points" in section and "seed 0" in section

def test_what_a_report_says_of_the_best_answer_is_true(sections):
    section = words(sections["people", "People as the measure"])
    assert "where no answer was given by enough people it is below 100 %" in section and "where people disagree it" not in section

def test_what_a_checkpoint_saw_is_said_as_text_in_each_section(run, tmp_path):
    class Noted(Run): notes = ("Most of these questions were part of its training.",)
    noted = Noted(run.folder, run.questions, run.annotations, run.data)
    for html in evidence_sections(noted).values(): assert words(html).count(Noted.notes[0]) == 1
    noted.notes = run.notes
    page = noted.to_html(tmp_path/"r.html", n=1).read_text(encoding="utf-8")
    assert all(note in words(page) for note in run.notes)

def test_answers_without_confidences_say_why_a_section_is_not_there(run, tmp_path):
    path = tmp_path/"theirs.json"
    path.write_text(str([dict(question_id=i, answer=r["answers"][0]) for i, r in run.records.items()]).replace("'", '"'))
    sections = evidence_sections(open_results(path, dataset="sample"))
    assert [name for name, _ in sections] == ["people", "pairs", "more"] and "Not in this report: what confidence is worth (" in words(sections["more", ""])

def test_long_names_keep_their_numbers(run):
    people = run.people()
    table = people.by_type.assign(name=[f"what is the very long question number {i}" for i in range(len(people.by_type))])
    named = replace(people)
    named.__dict__["by_type"] = table
    labels = [t.get_text() for t in plot_people(named, top=3).axes[0].get_yticklabels()]
    assert len(labels) > 4 and all(label.endswith(f" ({n:,})") and "…" in label for label, n in zip(labels, people_table(named, 3)["questions"]))


# evidence

def test_probes_with_another_seed_are_named(run, tmp_path, model):
    other = evaluate(model, output_dir=tmp_path/"run", limit=30, progress=False)
    other.probe(["blank"], limit=5, seed=3, vqa=model, progress=False)
    assert "probes with seed 3 are: run.evidence(seed=3)" in str(other.evidence()) and "none are kept" not in str(other.evidence())
    with pytest.raises(UserError, match=r"kept are those with seed 3: seed=… looks"): other.probes()
    assert other.evidence(seed=3).part("probes").missing == ""

def test_evidence_says_how_much_of_a_run_it_is_about(run, tmp_path):
    folder = tmp_path/"run"
    folder.mkdir()
    for name in ("run.json", "answers-0.jsonl"): (folder/name).write_bytes((run.folder/name).read_bytes())
    part = open_run(folder)
    part.__dict__["records"] = dict(list(part.records.items())[:200])
    told = "Not finished: 200 of 1,093 questions are answered; all figures are about those."
    for text in (str(Evidence(part)), Evidence(part)._repr_html_()): assert told in text
    assert "Not finished" not in str(run.evidence())

def test_pairs_are_called_pairs_and_differences_have_signs(run):
    evidence = run.evidence()
    pairs = len(run.pairs())
    for text in (str(evidence), words(evidence._repr_html_())): assert re.search(rf"both right +[\d.]+ % +[\d. –]+ +{pairs} pairs", text)
    assert set(evidence.table.query("what == 'pair'")["part"]) == {"Complementary pairs"} and str(run.pairs().find("both right")).endswith(f", {pairs} pairs")
    off = run.people().find("model − person")
    assert re.search(r"model − person +[+−][\d.]+ points +[+−][\d.]+ – [+−][\d.]+ ", str(evidence)) and off.text()[0] in "+−"
    for f in (*run.people().figures, *run.pairs().figures, *run.confidence().figures, *run.confidence().difference):
        assert type(f.value) in (float, type(None)) and all(type(end) is float for end in f.interval or ())
    after = [f for f in run.confidence().difference]
    assert after and all(f.text()[0] in "+−" for f in after)

def test_answers_to_a_probe_are_ticked_tagged_and_come_out_as_code(run):
    probes, remarks = run.probes(), run.remarks
    whole = probes.browse("noise-5")
    browser = whole.browser
    try:
        assert browser.code() == "probes.browse(variant='noise-5')" and "cards" not in browser.controls
        for card in browser.grid._cards[:2]: card.tick.value = True
        assert browser.selected["question_id"].tolist() == browser.answers["question_id"].tolist()[:2]
        browser.controls["pick-tag"].value = "noisy"
        browser.controls["tag-add"].click()
        assert set(remarks.ids("noisy")) == set(browser.chosen_ids()) and browser.status.value == ""
        assert browser.remarks.places == [run.folder/"notes.jsonl"] # the run is where it is looked for
        browser.controls["tag"].value = "noisy"
        same = eval(browser.code(), {"probes": probes})
        assert same.browser.rows.tolist() == browser.rows.tolist() and len(browser.rows) == 2
        whole.show("blank")
        assert whole.browser.code() == "probes.browse(variant='blank')" and "noisy" in [value for _, value in whole.browser.controls["tag"].options]
        alone = probes.comparison("noise-5").browse()
        assert alone.code() == "comparison.browse()"
    finally: remarks.path.unlink(missing_ok=True)
