"""The short form of `benchmarks/fuzz.py`: every format that is read, damaged by seeded mutations.

And the fuzz itself: that it finds broken readers out, that what is whole passes, that a seed repeats its input.
"""
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import mutations
from fuzzing.children import FAULTS, count
from fuzzing.command import all_formats, describe, make_chunks, share_out
from fuzzing.questions import unsound_line, unsound_records, unsound_results
from fuzzing.runs import is_record, sound_journal
from fuzzing.weights import unsound_config
from processes import Forks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and peaks of memory are read from Linux")
ROOT = Path(__file__).parent.parent
TRIES = 900
REFUSED_WHOLE = {"checkpoint folder"} # no change of which may be accepted


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    "Run the command in a fork of a process that has the library in memory; its results by format, and how it ended."
    begin = f"sys.path[:0] = {[str(ROOT/'tests'), str(ROOT)]}\nfrom fuzzing.command import main, warm_up\nwarm_up()"
    forks = Forks(tmp_path_factory.mktemp("forks"), begin)
    def run(folder, *arguments):
        path = folder/"results.json"
        words = [*map(str, ("--json", path, *arguments))]
        done = forks(f"import sys\nfrom fuzzing.command import main\nsys.exit(main({words}))")
        assert path.exists(), done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads(path.read_text()), done
    yield run
    forks.close()

@pytest.fixture(scope="module")
def short_form(fuzz, tmp_path_factory):
    "Results of the short form by format."
    return fuzz(tmp_path_factory.mktemp("fuzz"), "--tries", TRIES)[0]

FORGOTTEN = {"download records, part notes"} # what is damaged there only means that nothing is known

@pytest.mark.parametrize("name", all_formats())
def test_short_form(short_form, name):
    results = short_form[name]
    bad = [describe(name, r) for r in results if r["outcome"] in (*FAULTS, "tool")]
    assert not bad, f"{len(bad)} of {len(results)}; python benchmarks/fuzz.py --format …:\n" + "\n".join(bad[:10])
    assert (count(results)["own error"] > 0) != (name in FORGOTTEN)

def test_damage_that_nobody_can_know_is_accepted(short_form):
    accepted = {name for name, results in short_form.items() if count(results)["accepted"]}
    assert set(all_formats()) - accepted <= REFUSED_WHOLE | {".pth, bytes"} # nearly all of which is under a check sum

def test_what_is_whole_is_accepted(fuzz, tmp_path):
    found, done = fuzz(tmp_path, "--unchanged", "--tries", 200)
    odd = [describe(name, r) for name, results in found.items() for r in results if r["outcome"] != "accepted"]
    assert not odd and set(found) == set(all_formats()) and done.returncode == 0

BROKEN = {
    "traceback": "traceback",
    "crash": "crash",
    "over memory": "over memory",
    "over memory, explained": "over memory",
    "silently accepted": "silently accepted",
    "harm": "silently accepted",
    "program": "silently accepted",
    "server": "silently accepted",
    "file": "silently accepted",
    "unclean message": "unclean text",
    "unclean output": "unclean text",
    "long message": "unclean text",
    "own error": "own error",
    "accepted": "accepted"}

def test_broken_readers_are_found_out(fuzz, tmp_path):
    names = [f"broken: {name}" for name in BROKEN]
    options = [part for name in names for part in ("--format", name)]
    found, done = fuzz(tmp_path, "--tries", len(names), "--memory", .3, *options)
    assert {name: [r["outcome"] for r in results] for name, results in found.items()} == {f"broken: {name}": [how]
            for name, how in BROKEN.items()}
    assert done.returncode == 1 and "broken: traceback --seed 1: traceback: KeyError: 'a'" in done.stdout

def test_one_that_hangs_is_tried_again_alone_and_ended(fuzz, tmp_path):
    found, _ = fuzz(tmp_path, "--tries", 2, "--format", "broken: hang", "--seconds", .5)
    assert [(r["outcome"], r["message"]) for r in found["broken: hang"]] == [("hang", "no end after 1 s")]*2

def test_others_are_tried_after_one_that_crashes(fuzz, tmp_path):
    found, _ = fuzz(tmp_path, "--tries", 4, "--format", "broken: crash")
    assert [(r["seed"], r["outcome"]) for r in found["broken: crash"]] == [(i, "crash") for i in range(1, 5)]

def test_a_seed_shows_its_traceback():
    "By the script itself."
    command = [sys.executable, ROOT/"benchmarks"/"fuzz.py", "--format", "broken: traceback", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "in lack" in done.stderr and '"outcome": "traceback"' in done.stdout and '"seed": 7' in done.stdout

TREE = {"a": [1, 2.5, None, {"b": "text", "c": []}], "d": {"e": True, "f": "ü"}, "g": {}}

@pytest.mark.parametrize("change, good", [
    (mutations.change_bytes, b"some bytes, enough to be cut"),
    (mutations.change_tree, TREE),
    (mutations.change_json, TREE),
    (mutations.change_lines, [b'{"a": 1}', b'{"b": [1, 2]}', b'{"c": "x"}'])],
    ids=lambda value: getattr(value, "__name__", ""))
def test_a_mutation_changes_its_input_and_a_seed_repeats_it(change, good):
    before = {bytes: good, dict: mutations.dump(good).encode() if isinstance(good, dict) else b"",
              list: b"".join(line + b"\n" for line in good) if isinstance(good, list) else b""}[type(good)]
    found = set()
    for seed in range(300):
        what, content = change(random.Random(seed), good)
        assert isinstance(content, bytes) and content != before and what
        assert change(random.Random(seed), good) == (what, content)
        found.add(content)
    assert len(found) > 150
    with mutations.unchanged(): assert change(random.Random(1), good) == ("nothing", before)

def test_trees_become_what_json_does_not_know():
    found = [mutations.change_tree(random.Random(seed), TREE)[1] for seed in range(2_000)]
    for piece in (b"NaN", b"Infinity", b"1e400", b"9"*5_000, b"["*100_000, b"\\u001b", b"\\ud800", b"null", b"true"):
        assert any(piece in content for content in found), piece[:20]
    twice = []
    def look(pairs): # at each object
        twice.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)
    for content in found:
        if mutations.parse(content)[1]: json.loads(content, object_pairs_hook=look)
    assert any(twice)

def test_journal_rules_of_our_own():
    header, record = b'{"run": "f"}\n', b'{"question_id": 1, "answers": ["a"], "confidences": [0.5]}\n'
    assert sound_journal(header + record, {1}, "f").keys() == {1}
    assert sound_journal(header + record + b'{"torn', {1}, "f").keys() == {1} and sound_journal(b"", {1}, "f") == {}
    for content in (record, record + header, header.replace(b"f", b"g") + record, header + b"1\n",
                    header + record.replace(b"1,", b"2,"),
                    header + record.replace(b"0.5", b"NaN"), header + record.replace(b'["a"]', b'"a"'),
                    header + record.replace(b"[0.5]", b"[0.5, 0.1]")):
        assert sound_journal(content, {1}, "f") is None, content
    assert not is_record(dict(question_id=True, answers=["a"], confidences=[1]), {1})

@pytest.mark.parametrize("rule, good, odd", [
    (lambda v: unsound_line(v, 3), dict(qid=1, image_path="a", text_segment=[1], labels=[2], scores=[.3]),
     (dict(labels=[None]), dict(labels=[3]), dict(scores=[2]), dict(scores=[]), dict(qid="1"), dict(qid=True),
      dict(text_segment=[1.5]))),
    (lambda v: unsound_results([v]), dict(question_id=1, answer="a"),
     (dict(answer=None), dict(answer=[]), dict(question_id=[]), dict(answer=True), dict(answer=1.5))),
    (lambda v: unsound_records([v], "questions"), dict(question_id=1, image_id=1, question="a"),
     (dict(question_id="1"), dict(image_id=None), dict(question=1))),
    (lambda v: unsound_config(v, type("Good", (), {"config": dict.fromkeys(("image_size", "patch_size", "embed_dim",
            "num_heads", "num_layers", "ffn_dim", "vocab_size", "num_classes", "max_text_positions"), 4)})),
     dict(num_layers=4), (dict(num_layers=5), dict(num_heads=True), dict(layernorm_eps=float("nan")),
                          dict(layernorm_eps=1e300))),
], ids=["index", "results", "questions", "configuration"])
def test_rules_of_our_own(rule, good, odd):
    assert rule(good) == ""
    for change in odd: assert rule(good | change), change

def test_tries_are_shared_out():
    formats = list(all_formats().values())
    counts = share_out(formats, 20_000)
    assert abs(sum(counts.values()) - 20_000) < len(formats) and min(counts.values()) > 150
    chunks = make_chunks({"a": 600, "b": 3}, 1)
    assert sorted(chunks) == [("a", 1, 201), ("a", 201, 401), ("a", 401, 601), ("b", 1, 4)]
