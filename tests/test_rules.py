"""Other tools' and other data sets' rules and figures, against what their own programs gave (tests/golden/rules).

The golden files hold made-up cases and the scores of the reference programs, run as they are: source and commit stand in
each file. Where a program raised an error, ours must refuse with a sentence."""

import json, math
from pathlib import Path
import pytest
from beit3_colab.data.dataset import Annotation
from beit3_colab.machine.messages import UserError
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
    assert ("not official VQA accuracy" in rule.title) == (name not in ("official", "official_vqa"))
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
    ("['a']*10", None), ("['a', open('x')]", None), ("[" * 90_000, None), ("[" + "-"*90_000 + "1]", None), ("(['a'])", None),
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
    assert not {"gqa_official", "aokvqa_mc", "lmms_vizwiz", "lmms_textvqa", "lavis_aokvqa"} & set(found)

def test_rules_for_other_counts():
    assert names([asked(1)], "gqa_official", "gqa")[:4] == ["gqa_official", "lmms_gqa", "lavis_gqa", "vlmeval_gqa"]
    assert names([asked(10), asked(9)])[0] == "exact" and "official" not in names([asked(10), asked(9)])
    assert names([asked(10)], "mmf_textvqa", "textvqa")[:3] == ["mmf_textvqa", "lmms_textvqa", "vlmeval_vqa_score"]
    assert "mmf_textvqa" not in names([asked(11)]) and names([]) == names({}) == []
    assert names([asked(10)], "aokvqa_da", "aokvqa")[:2] == ["aokvqa_da", "lavis_aokvqa"]
    with pytest.raises(UserError, match="metric must be"): rules_for([asked(10)], "bleu")

def test_every_rule_that_applies_can_score():
    for count in (1, 2, 3, 9, 10, 11, 20):
        for rule in rules_for([asked(count)]): assert 0 <= rule("red", asked(count).answers) <= 1

@pytest.mark.parametrize("name", [None, 5, ["official"], {}, "", "Official", "exact_matc"])
def test_no_such_rule(name):
    with pytest.raises(UserError, match="metric must be 'official' or 'exact', not "): find_rule(name)
