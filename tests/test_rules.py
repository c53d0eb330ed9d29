"""Other tools' and other data sets' rules and figures, against what their own programs gave (tests/golden/rules).

The golden files hold made-up cases and the scores of the reference programs, run as they are: source and commit stand in
each file. Where a program raised an error, ours must refuse with a sentence."""

import json, math
from pathlib import Path
import pytest
from beit3_colab.data.dataset import Annotation
from beit3_colab.machine.messages import UserError
from beit3_colab.scoring.answerability import answerability, average_precision, f1_score, multiple_choice
from beit3_colab.scoring.figures import Figure, figures_of, figures_table, format_figure, PROGRAMS
from beit3_colab.scoring.gqa import gqa_figures, gqa_grounding, gqa_scores, gqa_totals
from beit3_colab.scoring.intervals import bootstrap_intervals
from beit3_colab.scoring.normalisers import NORMALISERS
from beit3_colab.scoring.rules import find_rule, METRICS, RULES, rules_for
from beit3_colab.scoring.score import score

GOLDEN = Path(__file__).parent/"golden"/"rules"/"rules"
NOT_RULES = {"all_gqa", "all_rules", "normalisers", "official_vqa_without_answer_id", "vizwiz_answerability",
             "gqa_official", "gqa_official_grounding", "gqa_official_no_choices", "aokvqa_mc"}
SINGLE = sorted({p.stem for p in GOLDEN.glob("*.json")} - NOT_RULES)

def golden(name): return json.loads((GOLDEN/f"{name}.json").read_text(encoding="utf-8"))

def seen(case): # people's answers as the tool sees them
    return next(case[key] for key in ("answer_field", "answers", "gold") if key in case)

def is_error(expected): return isinstance(expected, dict)


# ---- each rule, case by case

def test_all_rules_of_the_golden_files_are_there():
    assert set(SINGLE) | {"aokvqa_mc", "gqa_official"} == set(RULES) - {"official", "exact", "exact_match"}
    assert RULES["official_vqa"] is RULES["official"] and RULES["exact_match"] is RULES["exact"]
    assert set(METRICS) == {"official", "exact"} # the command line's --metric

@pytest.mark.parametrize("name", SINGLE)
def test_rule(name):
    found, rule = golden(name), find_rule(name)
    assert len(found["cases"]) == 300 == len(found["expected"])
    off = 0
    for case, expected in zip(found["cases"], found["expected"]):
        if is_error(expected):
            with pytest.raises(UserError, match="no answer to compare|needs ten answers"): rule(case["prediction"], seen(case))
        elif expected is not None: # A-OKVQA's difficult ones: `Annotation.counted` is not the rule's business
            value = rule(case["prediction"], seen(case))
            assert 0 <= value <= 1 and type(value) is float
            assert math.isclose(value, expected, rel_tol=0, abs_tol=1e-12), (case, expected, value)
            off += value != expected
    assert off == 0 or name in ("aokvqa_da", "lavis_aokvqa") # whose files hold differences of totals

@pytest.mark.parametrize("name", [n for n in SINGLE if n in golden("all_rules")["expected"]])
def test_rule_in_all_rules(name):
    found, rule = golden("all_rules"), find_rule(name)
    expected = found["expected"][name]
    for case, value in zip(found["cases"], expected):
        if is_error(value):
            with pytest.raises(UserError): rule(case["prediction"], case["answers"])
        else: assert math.isclose(rule(case["prediction"], case["answers"]), value, rel_tol=0, abs_tol=1e-12), case
    both = [(v, o) for v, o in zip(expected, found["expected"]["official_vqa"]) if not is_error(v) and not is_error(o)]
    assert sum(abs(v - o) > 1e-9 for v, o in both) == found["totals"]["disagreement_with_official"][name]["differ"]

@pytest.mark.parametrize("name", ["gqa_official", "lavis_gqa", "vlmeval_gqa", "lmms_gqa"])
def test_rule_in_all_gqa(name):
    found, rule = golden("all_gqa"), find_rule(name)
    values = [rule(case["prediction"], case["gold"]) for case in found["cases"]]
    assert values == found["expected"][name]
    assert math.isclose(sum(values)/300, found["totals"]["disagreement_with_official"][name]["mean"], abs_tol=1e-12)

def test_multiple_choice_rule():
    found = golden("aokvqa_mc")
    rule = RULES["aokvqa_mc"] # a question without a choice is no case of a rule; the program gives it 0
    values = [rule(c["prediction"] or "", [c["choices"][c["correct_choice_idx"]]]) for c in found["cases"]]
    assert values == found["expected"]

@pytest.mark.parametrize("name", NORMALISERS)
def test_normaliser(name):
    found = golden("normalisers")
    assert [NORMALISERS[name](text) for text in found["cases"]] == found["expected"][name]

def test_answers_without_ids_are_a_trap(): # the official program drops equal answers there; a list of texts is not so
    found = golden("official_vqa_without_answer_id")
    ours, theirs = [], []
    for case, expected in zip(found["cases"], found["expected"]):
        if is_error(expected): continue
        ours.append(RULES["official_vqa"](case["prediction"], case["answers"]))
        theirs.append(expected)
    assert round(100*sum(theirs)/len(theirs), 2) == found["totals"]["overall"] < 23
    assert 100*sum(ours)/len(ours) > 50 and all(a >= b - 1e-12 for a, b in zip(ours, theirs))


# ---- totals, by the functions that score a run

def scored(name, **more):
    "A golden file through `score`, as far as the program scored it."
    found, annotations, results = golden(name), [], {}
    for i, (case, expected) in enumerate(zip(found["cases"], found["expected"])):
        if is_error(expected) or expected is None: continue
        kinds = case.get("question_type", "what"), case.get("answer_type", "other")
        annotations.append(Annotation(i, i//3, *kinds, "", tuple(case["answers"])))
        results[i] = case["prediction"]
    return score(annotations, results, metric=name if name in RULES else None, resamples=100, **more), found["totals"]

@pytest.mark.parametrize("name", ["official_vqa", "lavis_vqa", "vizwiz_official"])
def test_totals_by_type(name):
    ours, totals = scored(name)
    assert (ours.overall, ours.per_answer_type) == (totals["overall"], totals["perAnswerType"])
    if "perQuestionType" in totals: assert ours.per_question_type == totals["perQuestionType"]
    if "per_case_rounded" in totals: assert list(ours.per_question.values()) == totals["per_case_rounded"]
    assert ours.num_questions == totals["cases"]

TOTALS = {"lmms_vqav2": "exact_match", "lmms_vqav2_v030": "exact_match", "lmms_vqav2_v040": "exact_match",
          "lmms_ok_vqa": "exact_match", "lmms_vizwiz": "exact_match", "lmms_textvqa": "exact_match", "lmms_gqa": "exact_match",
          "lavis_aokvqa": "agg_metrics", "lavis_gqa": "agg_metrics", "vlmeval_vqa_score": "Overall", "vlmeval_gqa": "Overall",
          "vlmeval_accuracy": "Overall", "vlmeval_anls": "Overall", "vlmeval_relaxed": "Overall", "aokvqa_da": "DA",
          "mmf_textvqa": "accuracy"}

@pytest.mark.parametrize("name, key", TOTALS.items())
def test_totals(name, key):
    found, rule = golden(name), find_rule(name)
    pairs = [(c, e) for c, e in zip(found["cases"], found["expected"]) if e is not None and not is_error(e)]
    mean = sum(rule(c["prediction"], seen(c)) for c, _ in pairs)/len(pairs)
    total, share = found["totals"][key], 1 if key in ("exact_match", "accuracy") else 100
    assert math.isclose(share*mean, total, rel_tol=0, abs_tol=1e-9)
    assert found["totals"].get("cases", found["totals"].get("counted", 300)) == len(pairs)


# ---- what a rule is given

@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_its_words(name):
    rule = RULES[name]
    assert rule.about.endswith(".") and rule.source and rule.axis_name and len(rule.short_name) < 35
    own = {"mmf_textvqa", "vizwiz_official", "aokvqa_da", "aokvqa_mc", "gqa_official"}
    assert rule.title.endswith("own rule)") == (name in own)
    assert ("not official VQA accuracy" in rule.title) == (name not in {"official", "official_vqa"} | own)
    with pytest.raises(UserError, match="the answer must be a text, not nan"): rule(float("nan"), ["red"]*10)
    with pytest.raises(UserError, match="must be a list of texts or one text, not None"): rule("red", None)
    with pytest.raises(UserError, match="must be texts, not None"): rule("red", [None]*10)

def test_names_and_titles_are_unique():
    rules = set(RULES.values())
    assert len({r.title for r in rules}) == len({r.short_name for r in rules}) == len({r.name for r in rules}) == len(rules)

@pytest.mark.parametrize("name", ["gqa_official", "lavis_gqa", "lmms_gqa", "vlmeval_gqa"])
def test_a_rule_for_one_answer_refuses_two(name):
    assert RULES[name]("yes", "yes") == RULES[name]("yes", ["yes"]) == 1
    with pytest.raises(UserError, match="needs one answer to a question, and there are 2 for 'yes'"): RULES[name]("yes", ["yes", "no"])

@pytest.mark.parametrize("name", ["vlmeval_vqa_score", "vlmeval_accuracy", "vlmeval_anls", "vlmeval_relaxed"])
@pytest.mark.parametrize("cell, answer", [
    ("['red', 'blue', 'red', 'red', 'red', 'red']", "red"), ("red", None), ("[red]", None), ("__import__('os').getcwd()", None),
    ("['a']*10", None), ("['a', open('x')]", None), ("[" * 90_000, None), ("[" + r"\'"*45_000, None), ("['" + r"\'"*45_000, None), ("[" + "-"*90_000 + "1]", None), ("(['a'])", None),
])
def test_a_column_is_read_without_running_it(name, cell, answer):
    rule = RULES[name]
    if answer is None and name == "vlmeval_vqa_score": assert rule(cell[:50], [cell[:50]]*10) == 1. # one answer is none of ten
    elif answer is None and len(cell) > 5_000: assert rule("red", cell) == 0.
    else: assert rule(answer or cell, cell) == 1.

@pytest.mark.parametrize("cell, said", [(5, "5.2"), (5.0, "5"), ("[5, 6]", "5.9"), ("['5%']", "0.05"), ("[0.5]", "50%")])
def test_relaxed_answers_may_be_numbers(cell, said): assert RULES["vlmeval_relaxed"](said, cell) == 1.

@pytest.mark.parametrize("cell", [float("nan"), float("inf"), True, None])
def test_no_number_is_no_answer(cell):
    with pytest.raises(UserError, match="must be a list of texts or one text"): RULES["vlmeval_relaxed"]("5", cell)

def test_long_answers_are_bounded_or_pass_at_once():
    assert RULES["vlmeval_anls"]("a"*80_000, ["red"]) == 0.
    assert RULES["vlmeval_anls"]("A"*80_000, ["a"*80_000]) == 1.
    with pytest.raises(UserError, match="of 9,000 characters; the limit is 5,000 characters .*anls_letters=NUMBER"):
        RULES["vlmeval_anls"]("a"*9_000, ["b"*9_000])
    with pytest.raises(UserError, match="characters; the limit is 100,000 .*cell_letters") as error:
        RULES["vlmeval_anls"]("a", "['" + "a"*200_000 + "']")
    assert len(str(error.value)) < 300


# ---- which rules apply

def asked(count, **more): return Annotation(0, 0, "what", "other", "red", ("red",)*count, **more)

def names(*args): return [r.name for r in rules_for(*args)]

def test_rules_for_ten_answers():
    found = names([asked(10)]*3, "", "vqav2")
    assert found[:5] == ["official", "lmms_vqav2", "lmms_vqav2_v040", "lmms_vqav2_v030", "lavis_vqa"] and "exact" in found
    assert len({(RULES[n].same_as or n) for n in found}) == len(found) # no two that say the same
    assert not {"gqa_official", "aokvqa_mc", "lmms_vizwiz", "lmms_textvqa", "lavis_aokvqa"} & set(found)

def test_rules_for_other_counts():
    assert names([asked(1)], "gqa_official", "gqa")[:4] == ["gqa_official", "lmms_gqa", "lavis_gqa", "vlmeval_gqa"]
    assert names([asked(10), asked(9)])[:2] == ["exact", "aokvqa_da"] and "official" not in names([asked(10), asked(9)])
    assert names([asked(10)], "mmf_textvqa", "textvqa")[:3] == ["mmf_textvqa", "lmms_textvqa", "vlmeval_vqa_score"]
    assert "lmms_ok_vqa" not in names([asked(10)], "mmf_textvqa", "textvqa") and "mmf_textvqa" not in names([asked(11)]) and names([]) == names({}) == []
    assert names([asked(10)], "aokvqa_da", "aokvqa")[:2] == ["aokvqa_da", "lavis_aokvqa"]
    with pytest.raises(UserError, match="metric must be"): rules_for([asked(10)], "bleu")

def test_every_rule_that_applies_can_score():
    for count in (1, 2, 3, 9, 10, 11, 20):
        for rule in rules_for([asked(count)]): assert 0 <= rule("red", asked(count).answers) <= 1

@pytest.mark.parametrize("name", [None, 5, ["official"], {}, "", "Official", "exact_matc"])
def test_no_such_rule(name):
    with pytest.raises(UserError, match="metric must be 'official' or 'exact', not "): find_rule(name)


# ---- GQA's figures

def step_count(semantic): # as the program counts: steps that only end in a name are none
    return sum(not any(o in f"{s['operation']}: {s['argument']}" for o in ("exist", "query: name", "choose name")) for s in semantic)

def gqa(name):
    "A golden file of GQA's program as annotations and records."
    found = golden(name)
    choices, annotations = found["cases"].get("choices") or {}, {}
    for q, asked in found["cases"]["questions"].items():
        facts = {**asked["types"], "group": asked["groups"]["global"], "entailed": tuple(asked["entailed"]),
                 "steps": step_count(asked["semantic"]), "words": len(asked["question"].split()),
                 "valid": choices.get(q, {}).get("valid"), "plausible": choices.get(q, {}).get("plausible")}
        annotations[q] = Annotation(q, asked["imageId"], "", "", "", (asked["answer"],), counted=asked["isBalanced"], facts=facts)
    records = {q: {"question_id": q, "answers": [said], "confidences": []} for q, said in found["cases"]["predictions"].items()}
    return found, annotations, records

GQA_FILES = ["gqa_official", "gqa_official_no_choices", "gqa_official_grounding"]
BY_TYPE = {"accuracyPerStructuralType": "structural type", "accuracyPerSemanticType": "semantic type",
           "accuracyPerSteps": "reasoning steps", "accuracyPerLength": "words"}
LONG = {"attr": "attribute", "cat": "category", "global": "scene", "obj": "object", "rel": "relation"}

@pytest.mark.parametrize("name", GQA_FILES)
def test_gqa_question_by_question(name):
    found, annotations, records = gqa(name)
    scores = gqa_scores(annotations, records)
    assert list(scores) == list(found["expected"])
    for q, expected in found["expected"].items():
        for key in ("accuracy", "consistency"): assert scores[q][key] == expected[key]
        for key in ("validity", "plausibility"): # the program gives 0 where it has no choices
            assert scores[q][key] == (None if "no_choices" in name else expected[key])

@pytest.mark.parametrize("name", GQA_FILES)
def test_gqa_totals(name):
    found, annotations, records = gqa(name)
    ours = gqa_totals(annotations, records)
    for key, value in found["totals"].items():
        if key in ("printed", "grounding"): continue
        assert value == ({str(t): v for t, v in ours[key].items()} if key in BY_TYPE else ours[key]), key

@pytest.mark.parametrize("name", GQA_FILES)
def test_gqa_figures(name):
    found, annotations, records = gqa(name)
    figures = figures_of("gqa", annotations, records, 200)
    assert figures == PROGRAMS["gqa"](annotations, records, 200, 0)
    alone, totals = {f.name: f for f in figures if not f.group}, found["totals"]
    assert list(alone) == ["accuracy", "binary", "open", "consistency", "validity", "plausibility", "distribution"]
    for key, figure in alone.items():
        if "no_choices" in name and key in ("validity", "plausibility"):
            assert figure.value is None and figure.interval is None and "choices file" in figure.note
            continue
        assert figure.value == totals[key]
        low, high = figure.interval
        assert low <= figure.value <= high and (low < high)
    assert (alone["distribution"].unit, alone["accuracy"].unit) == ("", "%") and "lower is better" in alone["distribution"].note
    for key, group in BY_TYPE.items():
        ours = {f.name: [f.value, f.questions] for f in figures if f.group == group}
        assert ours == {LONG.get(t, t): v for t, v in totals[key].items()}
    for f in figures: assert str(f) and format_figure(f)
    assert str(figures_table(figures)).count("\n") >= len(figures) and "<table>" in figures_table(figures)._repr_html_()

def test_gqa_intervals_resample_pictures():
    _, annotations, records = gqa("gqa_official")
    asked = [a for a in annotations.values() if a.counted]
    right = [float(records[a.question_id]["answers"][0] == a.answers[0]) for a in asked]
    expected = bootstrap_intervals([a.image_id for a in asked], right, {"all": list(range(len(asked)))}, 300, 5)["all"]
    figures = {f.name: f for f in gqa_figures(annotations, records, 300, 5)}
    assert figures["accuracy"].interval == expected
    assert figures_of("gqa", annotations, records, 300, 5) != figures_of("gqa", annotations, records, 300, 6)

def test_distribution_interval_of_another_way(): # drawn here question by question, without weights
    import random
    from collections import Counter
    _, annotations, records = gqa("gqa_official")
    known = [a for a in annotations.values() if a.counted and a.facts["group"]]
    def chi(drawn):
        gold, said = {}, {}
        for a in drawn:
            gold.setdefault(a.facts["group"], Counter())[a.answers[0]] += 1
            said.setdefault(a.facts["group"], Counter())[records[a.question_id]["answers"][0]] += 1
        sizes = {g: sum(c.values()) for g, c in gold.items()}
        return sum(sizes[g]*sum((said[g][x] - e)**2/e for x, e in c.items()) for g, c in gold.items())/sum(sizes.values())/100
    by_image, rng = {}, random.Random(1)
    for a in known: by_image.setdefault(a.image_id, []).append(a)
    images = list(by_image)
    draws = sorted(chi([a for i in rng.choices(images, k=len(images)) for a in by_image[i]]) for _ in range(400))
    figure = next(f for f in gqa_figures(annotations, records, 400) if f.name == "distribution")
    assert math.isclose(figure.value, chi(known), abs_tol=1e-12)
    moved = [d + figure.value - sum(draws)/400 for d in (draws[9], draws[389])]
    assert figure.interval == pytest.approx([max(0, moved[0]), moved[1]], abs=.25*(moved[1] - moved[0]))

def test_gqa_with_the_balanced_answers_alone():
    _, annotations, records = gqa("gqa_official")
    balanced = {q: r for q, r in records.items() if annotations[q].counted}
    figures = {f.name: f for f in gqa_figures(annotations, balanced, 100)}
    assert figures["consistency"].value is None and "needs answers to all questions" in figures["consistency"].note
    assert figures["accuracy"].value == sum(records[q]["answers"][0] == annotations[q].answers[0] for q in balanced)/len(balanced)*100
    with pytest.raises(UserError, match="of GQA's program have no answer"): gqa_totals(annotations, balanced)
    there = {q: a for q, a in annotations.items() if a.counted} # opened from the balanced file
    note = {f.name: f for f in gqa_figures(there, balanced, 100)}["consistency"].note
    assert "of these are not in the data" in note and len(note) < 300

def test_gqa_part_and_nothing():
    _, annotations, records = gqa("gqa_official")
    picture = next(iter(annotations.values())).image_id
    part = {q: r for q, r in records.items() if annotations[q].image_id == picture}
    figures = {f.name: f for f in gqa_figures(annotations, part, 100) if not f.group}
    count = sum(annotations[q].counted for q in part)
    assert figures["accuracy"].interval is None and figures["accuracy"].questions == count
    assert figures["accuracy"].note == f"{count} of 230 balanced questions {'has' if count == 1 else 'have'} an answer."
    assert gqa_figures(annotations, {}, 100) == figures_of("gqa", None, records) == figures_of("", annotations, records) == []
    with pytest.raises(UserError, match="program must be"): figures_of("bleu", annotations, records)

def test_gqa_without_facts():
    plain = {"1": Annotation("1", 1, "", "", "", ("yes",)), "2": Annotation("2", 2, "", "", "", ("no",), facts={})}
    figures = gqa_figures(plain, {"1": {"answers": ["yes"]}, "2": {"answers": [""]}}, 100)
    assert [(f.name, f.value) for f in figures] == [("accuracy", 50.), ("consistency", None), ("validity", None), ("plausibility", None), ("distribution", None)]

def test_a_record_without_an_answer_is_none():
    _, annotations, records = gqa("gqa_official")
    gone = next(q for q in records if annotations[q].counted)
    without, empty = ({q: r for q, r in records.items() if q != gone}, records | {gone: {"answers": []}})
    assert gqa_figures(annotations, empty, 100) == gqa_figures(annotations, without, 100)
    with pytest.raises(UserError, match=f"1 question of GQA's program has no answer: '{gone}'"): gqa_totals(annotations, empty)
    people = {i: Annotation(i, i, "", "other", "", ("red",)*10, facts={"answerable": i % 2}) for i in range(4)}
    told = {i: {"answers": ["red"] if i else [], "answerable": .5} for i in people}
    precision, _, other = figures_of("vizwiz", people, told, 100)
    assert (precision.questions, other.questions) == (4, 3)

def test_gqa_grounding():
    found = golden("gqa_official_grounding")
    cases = found["cases"]
    shares, figure = gqa_grounding(cases["questions"], cases["sceneGraphs"], cases["attentions"], resamples=200)
    for q, expected in found["expected"].items(): assert math.isclose(shares[q], expected["grounding"], abs_tol=1e-12)
    assert len(shares) == len(found["expected"]) == figure.questions
    assert math.isclose(figure.value, found["totals"]["grounding"], abs_tol=1e-12) and figure.interval[0] < figure.value < figure.interval[1]
    cells = [i/7 for i in range(7)] # the same map as boxes of objects
    boxes = {q: [[x, y, x + 1/7, y + 1/7, m[i][j]] for i, x in enumerate(cells) for j, y in enumerate(cells)] for q, m in cases["attentions"].items()}
    again, _ = gqa_grounding(cases["questions"], cases["sceneGraphs"], boxes, objects=True, resamples=100)
    assert again == pytest.approx(shares, abs=1e-12)
    with pytest.raises(UserError, match="which is not in its scene graph"):
        gqa_grounding(cases["questions"], {k: {**s, "objects": {}} for k, s in cases["sceneGraphs"].items()}, cases["attentions"])


# ---- VizWiz's and A-OKVQA's

def test_vizwiz_answerability():
    found = golden("vizwiz_answerability")
    for case, expected in zip(found["cases"], found["expected"]):
        ours = answerability([r["answerable"] for r in case], [r["predicted"] for r in case])
        assert {key: round(100*value, 2) for key, value in ours.items()} == expected

@pytest.mark.parametrize("index", [0, 3, 4, 8, 20, 22, 23])
def test_vizwiz_figures(index):
    found = golden("vizwiz_answerability")
    case, expected = found["cases"][index], found["expected"][index]
    annotations = {f"{i}.jpg": Annotation(f"{i}.jpg", f"{i}.jpg", "", "other", "", ("red",)*10, facts={"answerable": r["answerable"]}) for i, r in enumerate(case)}
    records = {f"{i}.jpg": {"answers": ["red" if i % 2 else "blue"], "answerable": r["predicted"]} for i, r in enumerate(case)}
    precision, f1, other = figures_of("vizwiz", annotations, records, 200)
    assert [round(precision.value, 2), round(f1.value, 2)] == [expected["average_precision"], expected["f1_score"]]
    assert (other.group, other.name, other.value) == ("answer type", "other", 100*(len(case)//2)/len(case))
    for figure in (precision, f1): assert 0 <= figure.interval[0] <= figure.value <= figure.interval[1] <= 100

def test_average_precision_counts_a_drawn_question_as_often_as_drawn():
    import numpy as np
    rng = np.random.default_rng(0)
    for _ in range(50):
        positive, scores, weights = rng.integers(0, 2, 30), rng.integers(0, 6, 30)/5, rng.integers(0, 4, 30)
        repeated = np.repeat(np.arange(30), weights)
        assert math.isclose(average_precision(positive, scores, weights), average_precision(positive[repeated], scores[repeated]), abs_tol=1e-12)
        assert math.isclose(f1_score(positive, scores > .5, weights), f1_score(positive[repeated], scores[repeated] > .5), abs_tol=1e-12)

def test_vizwiz_without_all_numbers():
    annotations = {i: Annotation(i, i, "", "other", "", ("red",)*10, facts={"answerable": i % 2}) for i in range(6)}
    told = {i: {"answers": ["red"], "answerable": .5} for i in range(6)}
    assert len(figures_of("vizwiz", annotations, {i: {"answers": ["red"]} for i in range(6)}, 100)) == 1 # accuracy alone
    precision, f1, _ = figures_of("vizwiz", annotations, told | {3: {"answers": ["red"]}}, 100)
    assert precision.value is None and f1.value is None and precision.note == "1 of 6 answers has no number in answerable: 3."
    precision, *_ = figures_of("vizwiz", annotations, {i: told[i] for i in (1, 3, 5)}, 100)
    assert precision.value is None and precision.note == "All of these questions can be answered."
    for odd in (1.5, -0.1, float("nan"), "0.5", [1]):
        with pytest.raises(UserError, match="answerable must be a number from 0 to 1"): figures_of("vizwiz", annotations, told | {0: {"answers": [""], "answerable": odd}}, 100)

def aokvqa():
    found = golden("aokvqa_mc")
    annotations = {c["question_id"]: Annotation(c["question_id"], i//2, "", "", "", tuple(c["direct_answers"]), counted=not c["difficult_direct_answer"],
        facts={"choices": tuple(c["choices"]), "correct_choice": c["correct_choice_idx"]}) for i, c in enumerate(found["cases"])}
    chosen = {c["question_id"]: c["prediction"] for c in found["cases"] if c["prediction"] is not None}
    return found, annotations, chosen

def test_aokvqa_multiple_choice():
    found, annotations, chosen = aokvqa()
    values = multiple_choice(annotations, chosen)
    assert list(values.values()) == found["expected"] and sum(values.values())/300*100 == found["totals"]["MC"]
    with pytest.raises(UserError, match="71 questions of 300 cannot be scored strictly"): multiple_choice(annotations, chosen, strict=True)
    valid = {q: annotations[q] for q, c in chosen.items() if c in annotations[q].facts["choices"]}
    strict = multiple_choice(valid, chosen, strict=True).values()
    assert math.isclose(100*sum(strict)/len(strict), found["totals"]["MC_strict_on_valid"], abs_tol=1e-12)

def test_aokvqa_figures():
    found, annotations, chosen = aokvqa()
    records = {q: {"answers": [""], **({"choice": chosen[q]} if q in chosen else {})} for q in annotations}
    lenient, valid, left = figures_of("aokvqa", annotations, records, 200)
    assert lenient.value == found["totals"]["MC"] and "30 of 300 questions without a choice and 41 with a text" in lenient.note
    assert math.isclose(valid.value, found["totals"]["MC_strict_on_valid"], abs_tol=1e-12) and valid.questions == 229
    assert (left.value, left.questions) == (100*54/300, 300) and "54 of 300 questions are marked difficult" in left.note
    assert [f.name for f in figures_of("aokvqa", annotations, {q: {"answers": ["red"]} for q in annotations}, 100)] == ["left out of direct answers"]

def test_a_figure_as_text():
    assert str(Figure("open", 68.13, (60., 75.5), 91)) == "open: 68.13 % (60.00 – 75.50), 91 questions"
    assert str(Figure("x\n\u202e", None, None, 0, note="No.")) == "x: not known. No."
    assert format_figure(Figure("d", 12.3456, None, 1, "")) == "12.35" and format_figure(Figure("d", .067878, None, 1, "")) == "0.0679"
    html = figures_table([Figure("<script>", 1., (0., 2.), 1, group="<b>", note="<i>")])._repr_html_()
    assert "<script>" not in html and "<b>:" not in html and "&lt;i&gt;" in html

def test_rules_that_know_only_right_and_wrong_say_so():
    said = ["yes", "no", "2", "two", "100", "100.0", "96", "98", "10%", "photograph", "photographs", "a cat", "cat", ""]
    for rule in dict.fromkeys(RULES.values()):
        counts = {"one answer": 1, "choices": 1, "three answers": 3, "any": 1}.get(rule.needs, 10)
        given = [[right]*counts for right in said[:-1]] if counts == 1 else [[right]*(counts - 2) + ["no"]*2 for right in said[:-1]] + [["yes"] + ["no"]*(counts - 1)]
        found = {rule(answer, people) for answer in said for people in given}
        assert (found <= {0., 1.}) == rule.all_or_nothing, rule.name
