"What a probe says, beside what can be counted by hand: answers are written into the journals as they should come out."
import json
import random
import shutil

import numpy as np
import pytest

from beit3_colab import UserError, compare, evaluate, open_run
from beit3_colab.look.probe_browser import Probes
from beit3_colab.run.journal import Journal, journal_path
from beit3_colab.run.probe_results import kept_seeds, open_probes, probe_fingerprint, probed_part, ProbeNote, probes_folder
from beit3_colab.run.probes import SHARES, VARIANTS
from beit3_colab.scoring.rules import find_rule

ANSWERS = ("yes", "no", "2", "red", "left", "right", "a dog")


@pytest.fixture(scope="module")
def finished(vqa, tmp_path_factory):
    return evaluate(vqa, output_dir=tmp_path_factory.mktemp("probed")/"run", limit=50, progress=False).folder

@pytest.fixture
def run(finished, tmp_path): return open_run(shutil.copytree(finished, tmp_path/"run"))

def write(run, name, answers, left_out=None, limit=None, way="float32 on cpu", **more):
    "Keep answers as if a variant had been asked; `answers` has a text for each question_id."
    folder, note = probes_folder(run.folder, 0), None
    (folder/name).mkdir(parents=True, exist_ok=True)
    journal = Journal(journal_path(folder/name, 0), probe_fingerprint(run.identity, name, 0))
    journal.write([dict(question_id=i, answers=[text, "other"], confidences=[.5, .1]) | more for i, text in answers.items()])
    journal.close()
    note = ProbeNote.read(folder)
    note.widen(name, limit)
    note.left_out[name] = left_out or {}
    note.tell(name, way)
    note.write(folder)

def said(run): return {q.question_id: run.records[q.question_id]["answers"][0] for q in run.questions}

def changed(run, share, seed=0):
    "The run's answers, some of them others."
    draws = random.Random(seed)
    return {i: draws.choice(ANSWERS) if draws.random() < share else text for i, text in said(run).items()}

def worth(run, answers): # percent, of the questions that are there
    rule = find_rule(run.metric)
    return 100*np.mean([rule(text, run.annotations[i].answers) for i, text in answers.items()])


@pytest.mark.parametrize("seed", range(4))
def test_a_row_is_what_can_be_counted(run, seed):
    answers = dict(random.Random(seed).sample(sorted(changed(run, .5, seed).items()), 33))
    left_out = {i: "it cannot be changed so" for i in said(run) if i not in answers}
    write(run, "reworded", answers, left_out)
    before = {i: said(run)[i] for i in answers}
    row = open_probes(run).table.iloc[0]
    assert (row.variant, row.questions, row.left_out) == ("reworded", 33, len(run.questions) - 33)
    assert row.before == pytest.approx(worth(run, before), abs=.005) and row.after == pytest.approx(worth(run, answers), abs=.005)
    assert row.difference == pytest.approx(worth(run, answers) - worth(run, before), abs=.005)
    assert row.low <= row.difference <= row.high and 0 < row.p <= 1
    share = 100*np.mean([before[i] != answers[i] for i in answers])
    assert row.changed == pytest.approx(share, abs=.005) and row.changed_low <= row.changed <= row.changed_high

def test_consistency_by_answer_type(run):
    answers = changed(run, .4)
    write(run, "noise-3", answers)
    table = open_probes(run).consistency.set_index("answer_type")
    for kind in ("yes/no", "number", "other"):
        ids = [i for i in answers if run.annotations[i].answer_type == kind]
        assert table.loc[kind, "questions"] == len(ids) > 0
        assert table.loc[kind, "same"] == pytest.approx(100*np.mean([said(run)[i] == answers[i] for i in ids]), abs=.005)
        assert table.loc[kind, "low"] <= table.loc[kind, "same"] <= table.loc[kind, "high"]
    assert table.loc["overall", "questions"] == len(answers)

def test_the_same_answer_in_other_letters_has_not_changed(run):
    write(run, "capitals", {i: f" The {text.upper()}. " for i, text in said(run).items()})
    assert open_probes(run).table["changed"].iloc[0] == 0

def test_a_flipped_answer_is_read_back(run):
    "A model that says “right” of the mirrored picture where it said “left” of the picture has not changed its mind."
    run.records # noqa: B018 - read before it is changed
    for i, record in run.records.items(): record["answers"][0] = "left" if i % 2 else "yes"
    write(run, "flipped", {i: "right" if i % 2 else "yes" for i in run.records})
    results = open_probes(run)
    assert results.table["changed"].iloc[0] == 0
    assert {r["answers"][0] for r in results["flipped"].records.values()} == {"left", "yes"}
    one = next(i for i in run.records if i % 2)
    assert results["flipped"].records[one]["said"][0] == "right" and "said: right" in results["flipped"].was_asked(one)

CURVES = dict(map="covered", reverse="covered-last", random="covered-random")

@pytest.fixture
def curves(run):
    "Coverings of which is known how many answers stay: fewer by the map, most in reverse; and two questions that were not covered by half."
    stay = {"map": (.5, .3, .2, .1, .05), "reverse": (1., .95, .9, .6, .4), "random": (.9, .8, .6, .3, .2)}
    left = dict(list(said(run).items())[:2])
    for order, shares in stay.items():
        for share, kept in zip(SHARES, shares):
            answers = {i: text if random.Random(f"{i} {order}").random() < kept else "nothing" for i, text in said(run).items()}
            if order == "random" and share == .5: answers = {i: text for i, text in answers.items() if i not in left}
            write(run, f"{CURVES[order]}-{round(100*share)}", answers)
    write(run, "blank", {i: "nothing" for i in said(run)})
    return run

def test_curves_and_areas_are_what_can_be_counted(curves):
    results = open_probes(curves)
    ids = [i for i in said(curves) if i in results.kept["covered-random-50"].records]
    assert len(ids) == len(curves.questions) - 2 and set(results.curves["questions"]) == {len(ids)}
    points = (0., *SHARES, 1.)
    same, right = {}, {}
    for order, stem in CURVES.items():
        told = results.curves[results.curves["order"] == order]
        assert tuple(told["share"]) == points
        at = [said(curves), *(({i: r["answers"][0] for i, r in results.kept[f"{stem}-{round(100*s)}"].records.items()}) for s in SHARES), {i: "nothing" for i in ids}]
        same[order] = [100*np.mean([answers[i] == said(curves)[i] for i in ids]) for answers in at]
        right[order] = [worth(curves, {i: answers[i] for i in ids}) for answers in at]
        assert told["same"].tolist() == pytest.approx(same[order], abs=.005) and told["accuracy"].tolist() == pytest.approx(right[order], abs=.005)
        assert (told["same_low"] <= told["same"]).all() and (told["accuracy"] <= told["accuracy_high"]).all()
    def area(values): return sum((b - a)*(u + v)/2 for a, b, u, v in zip(points, points[1:], values, values[1:]))
    for row in results.areas.itertuples():
        values = {"accuracy": right, "same answer": same}[row.measure]
        flipped = {"map": "reverse", "reverse": "map", "random": "random"}[row.order]
        y = values[row.order] if row.curve == "deletion" else values[flipped][::-1] # what is uncovered first is covered last
        assert row.area == pytest.approx(area(y), abs=.02) and row.low <= row.area <= row.high and row.questions == len(ids)
        if row.order == "random": assert np.isnan(row.to_random)
        else:
            assert row.to_random == pytest.approx(area(y) - area(values["random"]), abs=.02)
            assert row.to_random_low <= row.to_random <= row.to_random_high
    assert len(results.areas) == 12
    assert "deletion by the map, accuracy" in str(results) and "Areas below the curves" in results._repr_html_()

def test_a_curve_that_lacks_a_point_is_not_drawn(curves):
    shutil.rmtree(curves.folder/"probes"/"seed-0"/"covered-75")
    results = open_probes(curves)
    assert set(results.curves["order"]) == {"reverse", "random"} and set(results.areas["order"]) == {"map", "reverse", "random"}
    shutil.rmtree(curves.folder/"probes"/"seed-0"/"blank")
    assert not len(open_probes(curves).curves) and not len(open_probes(curves).areas)

def test_what_is_not_asked_yet_is_said(run):
    ids = list(said(run))
    write(run, "blank", {i: "x" for i in ids[:10]}, {ids[-1]: "no file"})
    results = open_probes(run)
    assert results.kept["blank"].waiting == len(ids) - 11
    assert any(f"{len(ids) - 11} questions of blank are not asked yet" in note for note in results.notes)
    assert results.left_out.values.tolist() == [["blank", ids[-1], "no file"]]

def test_the_control_is_told(run):
    ids = list(said(run))
    write(run, "unchanged", said(run))
    assert any("Asking again without any change changes none of" in note for note in open_probes(run).notes)
    shutil.rmtree(run.folder/"probes")
    write(run, "unchanged", said(run) | {ids[0]: "something else"})
    share = 100/len(ids)
    assert any(f"changes {share:.2f} %" in note and "no smaller effect means anything" in note for note in open_probes(run).notes)

def test_the_control_speaks_of_its_own_answers_alone(run):
    "Another variant's number format is none of the control's, and the control says nothing of that variant."
    write(run, "unchanged", said(run))
    write(run, "noise-3", said(run))
    write(run, "noise-2", said(run), way="bfloat16 on cpu")
    notes = open_probes(run).notes
    control, = (note for note in notes if "Asking again" in note)
    assert control.endswith(f"changes none of {len(said(run))} answers.") and "bfloat16" not in control
    other, = (note for note in notes if "bfloat16" in note)
    assert other.startswith("noise-2 was asked in bfloat16 on cpu, the control was not: it says nothing of it; delete probes/seed-0/unchanged") and "noise-3" not in other
    note = ProbeNote.read(probes_folder(run.folder, 0))
    note.tell("unchanged", "bfloat16 on cpu")
    note.write(probes_folder(run.folder, 0))
    control, = (note for note in open_probes(run).notes if "bfloat16" in note)
    assert "(the run in float32 on cpu, this in float32 on cpu and bfloat16 on cpu)" in control

def test_another_device_is_told_at_the_same_number_format(run):
    write(run, "unchanged", said(run), way="float32 on Tesla T4")
    assert any("(the run in float32 on cpu, this in float32 on Tesla T4)" in note for note in open_probes(run).notes)
    run.info["report"] = None # not finished: its device is not known
    assert any("(the run in float32, this in float32 on Tesla T4)" in note for note in open_probes(run).notes)

def test_accuracy_stands_beside_the_questions_it_is_of(curves):
    known = dict(list(curves.annotations.items())[::3])
    curves.annotations = known
    results = open_probes(curves)
    ids = {name: list(kept.records) for name, kept in results.kept.items()}
    judged = {name: [i for i in found if i in known] for name, found in ids.items()}
    for row in results.table.itertuples():
        assert (row.questions, row.scored) == (len(ids[row.variant]), len(judged[row.variant])) and row.scored < row.questions
        assert row.before == pytest.approx(worth(curves, {i: said(curves)[i] for i in judged[row.variant]}), abs=.005)
    shared = set.intersection(*map(set, ids.values()))
    assert set(results.curves["scored"]) == {len(shared & known.keys())} and set(results.curves["questions"]) == {len(shared)}
    assert set(results.areas.query("measure == 'accuracy'")["questions"]) == {len(shared & known.keys())}
    most, scored = len(ids["blank"]), len(judged["blank"])
    note, = (note for note in results.notes if "have no human answers" in note)
    assert note.startswith(f"{most - scored} of {most} questions have") and f"of the other {scored} (so in" in note and note in str(results) and note in results._repr_html_()
    effect, = (f for f in curves.evidence().part("probes").figures if f.name == "blank picture")
    assert effect.questions == scored and effect.unit == "points"

def test_where_all_are_scored_nothing_is_said_of_it(curves):
    results = open_probes(curves)
    assert results.table["scored"].equals(results.table["questions"]) and not any("human answers" in note for note in results.notes)

def test_a_variant_that_could_not_be_asked_is_told(run):
    ids = list(said(run))
    write(run, "blank", said(run))
    write(run, "another", {}, dict.fromkeys(ids, "there is no other picture in the split"))
    write(run, "typo", {}, dict.fromkeys(ids[:3], "it cannot be changed so")) # the others wait
    results = open_probes(run)
    assert list(results) == ["blank"] and f"another: none of {len(ids)} questions could be asked (there is no other picture in the split)." in results.notes
    assert not any("typo: none" in note for note in results.notes) and "another: none of" in str(results)

def test_what_is_kept_is_seen_though_the_part_moved(run):
    "Answers to questions beyond the part that the limit draws now, as after a stopped run went on."
    part = {q.question_id for q in probed_part(run, 10)}
    beyond = [i for i in said(run) if i not in part][:12]
    write(run, "blank", {i: "x" for i in beyond[:9]}, {i: "no file" for i in beyond[9:]}, limit=10)
    results = open_probes(run)
    assert list(results.kept["blank"].records) == beyond[:9] and list(results.kept["blank"].left_out) == beyond[9:]
    assert results.kept["blank"].waiting == len(part) and results.table["questions"].tolist() == [9]

def test_there_is_nothing_to_browse_where_nothing_is_answered(run):
    write(run, "blank", {})
    with pytest.raises(UserError, match="nothing to browse"): Probes.of(open_probes(run)).browse()

def test_what_was_said_of_the_mirrored_picture_is_shown(run):
    from beit3_colab.look.probe_browser import before_html
    ids = list(said(run))
    write(run, "flipped", {i: "right" if i == ids[0] else "yes" for i in ids})
    probed = Probes.of(open_probes(run))["flipped"]
    assert probed.records[ids[0]]["answers"][0] == "left"
    assert "said: <b><bdi>right</bdi></b>" in before_html(probed, ids[0]) and "said:" not in before_html(probed, ids[1])
    assert "said: <b><bdi>right</bdi></b>" in probed.browse(questions=ids[:1]).saved_view()

def test_what_the_run_says_of_itself_stands_beside_every_figure(run):
    write(run, "blank", said(run))
    type(run).notes, kept = property(lambda self: ("It was trained on these.",)), type(run).notes
    try:
        results = open_probes(run)
        for told in (*results.notes, ): pass
        assert "It was trained on these." in results.notes and "It was trained on these." in str(results) and "It was trained on these." in results._repr_html_()
        assert "It was trained on these." in results["blank"].notes and any("It was trained on these." in note for note in results["blank"].compare().notes)
    finally: type(run).notes = kept

def test_very_many_answers_are_read_one_variant_at_a_time(curves, monkeypatch):
    from beit3_colab.run import probe_results
    whole = open_probes(curves)
    monkeypatch.setattr(probe_results, "MANY", 5)
    found = open_probes(curves)
    for name in ("table", "consistency", "curves", "areas"): assert getattr(found, name).equals(getattr(whole, name)), name
    assert not found._answers and not found._compared and not any("records" in kept.__dict__ for kept in found.kept.values())

def test_nothing_is_kept(run):
    with pytest.raises(UserError, match="nothing is kept of probes with seed 0"): open_probes(run)
    write(run, "blank", said(run))
    with pytest.raises(UserError, match="with seed 7"): open_probes(run, 7)
    with pytest.raises(UserError, match="did you mean 'blank'"): open_probes(run)["blan"]

def test_a_variant_is_a_run_like_others(run, tmp_path):
    write(run, "typo", changed(run, .5), asked="Wat is it?")
    probed = Probes.of(open_probes(run))["typo"]
    assert len(probed.answers) == len(run.questions) and set(probed.answers["question"]) == {"Wat is it?"}
    assert probed.accuracy.overall == pytest.approx(worth(run, changed(run, .5)), abs=.005)
    found = probed.compare()
    assert found.overall.a == pytest.approx(run.accuracy.overall, abs=.005) and len(found.table) == len(run.questions)
    assert set(found.table["question"]) == {q.question for q in run.questions}
    write(run, "blank", changed(run, .2))
    blank = open_probes(run)["blank"]
    assert len(compare(run, blank).table) == len(run.questions) # its words are the run's
    assert all("blank picture, question" in q.image for q in blank.questions)

def test_what_is_asked_is_shown_as_text(run):
    from beit3_colab.look.probe_browser import asked_html, before_html
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    write(run, "typo", {i: evil for i in said(run)}, asked=evil)
    results = Probes.of(open_probes(run))
    browser = results.browse("typo")
    browser.browser.open(run.questions[0].question_id)
    one = run.questions[0].question_id
    run.records[one]["answers"][0] = evil
    shown = [asked_html(results["typo"], one), before_html(results["typo"], one), results["typo"].browse().saved_view(), browser.saved_view(), results._repr_html_(),
             browser.browser.detail.heading.value, *(each.value for each in browser.browser.detail.answers)]
    assert not any("<script" in html or "<img src=x" in html for html in shown)

def test_a_damaged_covering_is_named_where_it_is_shown(run):
    write(run, "covered-50", said(run), covered="AAAA", patches=144)
    results = Probes.of(open_probes(run))
    with pytest.raises(UserError, match="must hold a bit for each"): results["covered-50"].data.read_image(run.questions[0])
    browser = results.browse("covered-50")
    browser.browser.open(run.questions[0].question_id)
    assert "must hold a bit" in browser.browser.detail.two.pictures[1].frame.value and "<img" in browser.browser.detail.two.pictures[0].frame.value

@pytest.mark.parametrize("damage", [b"{}", b"[1]", b'{"variants": 3}', b"\xff\xfe", b'{"variants": {"blank": {"limit": "all", "left_out": {}, "asked_with": []}}}', b'{"variants": {"blank": {"left_out": {}}}}', b'{"variants": {"blank": {"left_out": {}, "asked_with": [1]}}}'])
def test_a_damaged_note_is_named(run, damage):
    write(run, "blank", said(run))
    (run.folder/"probes"/"seed-0"/"probes.json").write_bytes(damage)
    with pytest.raises(UserError, match="probes.json"): open_probes(run)

def test_a_note_may_name_variants_of_a_later_release(run):
    write(run, "blank", said(run))
    path = run.folder/"probes"/"seed-0"/"probes.json"
    note = json.loads(path.read_text())
    note["variants"]["../../elsewhere"] = note["variants"]["tomorrow"] = {"anything": 1}
    path.write_text(json.dumps(note))
    assert list(open_probes(run)) == ["blank"]

@pytest.mark.parametrize("seed", range(3))
def test_parts_nest_and_hold_whole_pictures(run, seed):
    parts = [[q.question_id for q in probed_part(run, limit, seed)] for limit in (1, 5, 20, 50, None)]
    assert all(set(a) < set(b) or a == b for a, b in zip(parts, parts[1:])) and parts[-1] == [q.question_id for q in run.questions]
    images = [q.image_id for q in probed_part(run, 20, seed)]
    assert len(images) >= 20 and len(images) == sum(q.image_id in set(images) for q in run.questions)

@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_run_is_probed_in_the_same_order(run, seed):
    "Of the pictures of both, the smaller run's part has all that the larger one's part has."
    def part(run, limit): return {q.image_id for q in probed_part(run, limit, seed)}
    whole, images = {limit: part(run, limit) for limit in (5, 15, 30)}, list(dict.fromkeys(q.image_id for q in run.questions))
    kept = set(images[::2])
    run.questions = [q for q in run.questions if q.image_id in kept][::-1] # in another order
    for limit, found in whole.items(): assert found & kept <= part(run, limit)

def test_every_variant_has_a_folder_that_is_a_plain_name(): assert all(name.replace("-", "").replace("_", "").isalnum() for name in VARIANTS)

def test_where_no_answer_changed_no_interval_suggests_one(run):
    write(run, "capitals", said(run))
    write(run, "typo", changed(run, .5))
    found = open_probes(run)
    table = found.table.set_index("variant")
    now = {name: {i: found[name].records[i]["answers"][0] for i in said(run)} for name in ("capitals", "typo")}
    assert table.loc["capitals", "changes"] == 0 and table.loc["typo", "changes"] == sum(now["typo"][i] != text for i, text in said(run).items()) > 0
    rows = {cells[0]: cells for cells in found.tables()[0].rows}
    where = found.tables()[0].head.index("difference") + 1
    assert rows[table.loc["capitals", "title"]][where] == "no answer changed" and " – " in rows[table.loc["typo", "title"]][where]
    for text in (str(found), found._repr_html_()): assert text.count("no answer changed") == 1

def test_seeds_that_are_kept_are_told(run):
    write(run, "capitals", said(run))
    (run.folder/"probes"/"seed-0").rename(run.folder/"probes"/"seed-7")
    (run.folder/"probes"/"seed-x").mkdir()
    assert kept_seeds(run) == [7]
    with pytest.raises(UserError, match=r"seed 0 in .*; kept are those with seed 7: seed=… looks at them"): open_probes(run)
