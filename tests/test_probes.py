"What a probe asks: that the model is given what the probe says, part of a probe is part of the whole, and nothing is lost or mixed up."
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from built import ROOT # noqa: F401 - the tests' own folder is importable

from beit3_colab import UserError, evaluate, load_model, open_results, open_run
from beit3_colab.look.report_evidence import evidence_sections
from beit3_colab.model.beit3 import Beit3Config, Beit3ForVQA, init_weights
from beit3_colab.model.vqa import VQA
from beit3_colab.pictures.alterations import GREY
from beit3_colab.pictures.reading import ImageError, preprocess
from beit3_colab.pictures.sources import FolderPictures
from beit3_colab.progress.display import Display, StopAsked, Stopped
from beit3_colab.run import probing
from beit3_colab.run.journal import Journal
from beit3_colab.run.probe_results import open_probes
from beit3_colab.run.probes import Partners, PROBES, SHARES, VARIANTS, unpack_patches
from beit3_colab.run.probing import Pictureless, answer_without_picture, probe_run
from beit3_colab.scenes import write_scenes
from beit3_colab.scenes.description import make_scene
from beit3_colab.scenes.drawing import draw_scene

COVERINGS = [v for v in VARIANTS.values() if v.source == "covered"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, vqa):
    "A checkpoint folder of a model of 16 patches, whose answers differ from question to question, with the sample's words and answers."
    torch.manual_seed(0)
    config = Beit3Config(image_size=64, embed_dim=32, num_heads=2, num_layers=2, ffn_dim=64, num_classes=vqa.config.num_classes,
                         vocab_size=vqa.config.vocab_size, max_text_positions=vqa.config.max_text_positions)
    model = init_weights(Beit3ForVQA(config)).eval()
    with torch.no_grad():
        for p in model.parameters(): p.mul_(3 if p.ndim > 1 else 1)
    return VQA(model, vqa.answers, vqa.tokenizer).save(tmp_path_factory.mktemp("tiny")/"tiny")

@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    "The folder of a run about the sample, with that model."
    return evaluate(tiny, output_dir=tmp_path_factory.mktemp("probed")/"run", limit=60, device="cpu", progress=False).folder

@pytest.fixture
def run(finished, tiny, tmp_path):
    "The run opened again, in a folder of its own, with its model."
    run = open_run(shutil.copytree(finished, tmp_path/"run"))
    run.vqa = load_model(tiny, device="cpu")
    return run

def probe(run, probes=None, **options): return probe_run(run, probes, **dict(dict(progress=False, limit=12), **options))

def records(results): return {name: kept.records for name, kept in results.kept.items()}

def answers(results): return {(name, i): (r["answers"][0], r.get("covered"), r.get("asked")) for name, kept in records(results).items() for i, r in kept.items()}

def near(a, b): # records of two probes; batches may differ, and with them the last digit
    assert {name: set(kept) for name, kept in a.items()} == {name: set(kept) for name, kept in b.items()}
    for name, kept in a.items():
        for i, record in kept.items():
            other = b[name][i]
            assert np.allclose(record["confidences"], other["confidences"], atol=2e-5), (name, i)
            assert (record.get("covered"), record.get("asked")) == (other.get("covered"), other.get("asked")), (name, i)
            if record["confidences"][0] - record["confidences"][1] > 1e-4: assert record["answers"][0] == other["answers"][0], (name, i)


@pytest.fixture
def given(run, monkeypatch):
    "What the model was given in each variant: (variant, question_id) → picture or None, and tokens. Batches have one question."
    asked, found = [], {}
    def spy(kind):
        logits = kind.logits
        def watch(self, images, input_ids, rows=None, counts=None):
            asked.append((None if kind is Pictureless else images[rows if rows is not None else slice(None)][0].numpy().copy(), input_ids[0].tolist()))
            return logits(self, images, input_ids, rows, counts)
        monkeypatch.setattr(kind, "logits", watch)
    spy(VQA)
    spy(Pictureless)
    write = Journal.write
    def watch(self, new):
        assert len(new) == len(asked) == 1
        found[self.path.parent.name, new[0]["question_id"]] = asked.pop()
        write(self, new)
    monkeypatch.setattr(Journal, "write", watch)
    return found

def test_the_model_is_given_what_each_probe_says(run, given):
    "Ground truth: the alterations themselves, of the picture as it lies in its file and of the question's own words."
    results, S = probe(run, batch_size=1, seed=3), 64
    questions = {q.question_id: q for q in run.questions}
    pictures = {q.image_id: preprocess(run.data.read_image(q), S) for q in {q.image_id: q for q in run.data.questions}.values()}
    assert {name for name, _ in given} == set(VARIANTS)
    for (name, i), (picture, tokens) in given.items():
        question, variant, record = questions[i], VARIANTS[name], results.kept[name].records[i]
        own = pictures[question.image_id]
        assert tokens == run.vqa.tokenizer.encode(record.get("asked", question.question)), (name, i)
        if name == "without_picture": assert picture is None
        elif name == "another":
            same = [image_id for image_id, other in pictures.items() if (other == picture).all()]
            assert same and question.image_id not in same
        elif variant.source == "covered":
            mask = unpack_patches(record, S)
            pixels = mask.repeat(16, 0).repeat(16, 1)
            assert (picture[pixels] == GREY).all() and (picture[~pixels] == own[~pixels]).all()
            assert mask.sum() == int(variant.strength*16 + .5)
        elif name == "blank": assert (picture == GREY).all()
        elif name == "flipped": assert (picture == own[:, ::-1]).all()
        elif variant.source == "drawn":
            assert (picture == np.asarray(results[name].data.read_image(question))).all() and (picture != own).any(), (name, i)
        else: assert (picture == own).all()
        if name in ("shuffled", "reworded", "capitals", "typo"): assert record["asked"] != question.question
        if name == "shuffled": assert sorted(record["asked"].rstrip("?").split()) == sorted(question.question.rstrip("?").split())

@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_picture_that_is_browsed_is_the_one_that_was_given(run, given, name):
    results = probe(run, [name], batch_size=1, limit=4)
    for question in results[name].questions:
        picture, _ = given[name, question.question_id]
        if picture is None:
            with pytest.raises(ImageError, match="no picture"): results[name].data.read_image(question)
        else: assert (preprocess(results[name].data.read_image(question), 64) == picture).all()

def test_coverings_follow_the_map_and_nest(run):
    "Ground truth: the map of each answer by itself, and its reverse; the first tenth is part of the first quarter."
    from beit3_colab.model.relevance import answer_maps
    results, by_id = probe(run, ["covered", "uncovered"]), {q.question_id: q for q in run.questions}
    def mask(name, i): return unpack_patches(results.kept[name].records[i], 64).ravel()
    for i in results.kept["covered-10"].records:
        q = by_id[i]
        image = torch.from_numpy(preprocess(run.data.read_image(q), 64))[None]
        label = run.vqa.answers.index(run.records[i]["answers"][0])
        relevance = answer_maps(run.vqa, image, [0], [run.vqa.tokenizer.encode(q.question)], [label])[0]
        for stem in ("covered", "covered-last", "covered-random"):
            masks = [mask(f"{stem}-{round(100*share)}", i) for share in SHARES]
            assert all((a <= b).all() and a.sum() < b.sum() for a, b in zip(masks, masks[1:]))
        for share in (10, 50):
            first, last = mask(f"covered-{share}", i), mask(f"covered-last-{share}", i)
            assert relevance[first].min() >= relevance[~first].max() - 1e-6*abs(relevance).max()
            assert relevance[last].max() <= relevance[~last].min() + 1e-6*abs(relevance).max()
    random = [mask("covered-random-50", i).tobytes() for i in results.kept["covered-random-50"].records]
    assert len(set(random)) > len(random)//2 # each question has its own

def test_part_of_a_probe_is_part_of_the_whole(run, finished, tiny, tmp_path):
    few = probe(run, limit=8)
    assert 8 <= len(few.kept["unchanged"].records) < 20
    first = records(few)
    grown = records(probe(run, limit=24))
    other = open_run(shutil.copytree(finished, tmp_path/"other"))
    other.vqa = load_model(tiny, device="cpu")
    whole = probe(other, limit=24)
    near(grown, records(whole))
    for name, kept in first.items(): assert kept == {i: grown[name][i] for i in kept}, name # what was there is not asked again
    near(records(probe(run, limit=8)), first) # less is a part again
    assert set(records(open_probes(run))["noise-3"]) == set(grown["noise-3"]) # and all is still there

def test_another_seed_draws_anew(run):
    names = ["covered-random-25", "another", "shuffled", "typo", "noise-5", "capitals"]
    a, b = probe(run, names, limit=None), probe(run, names, limit=None, seed=1)
    def differ(name, field): return any(a.kept[name].records[i].get(field) != b.kept[name].records[i].get(field) for i in a.kept[name].records if i in b.kept[name].records)
    assert differ("covered-random-25", "covered") and differ("shuffled", "asked") and differ("typo", "asked")
    assert differ("another", "confidences") and differ("noise-5", "confidences") and not differ("capitals", "confidences")
    assert a.kept["unchanged"].records == b.kept["unchanged"].records

class Interrupted(Display):
    "Interrupts as a person does, after so many answers."
    def __init__(self, after, error=KeyboardInterrupt):
        super().__init__()
        self.after, self.error = after, error
    def show(self, snapshot, final=False):
        super().show(snapshot, final)
        if snapshot.state == "running" and snapshot.done - snapshot.resumed >= self.after: raise self.error

@pytest.mark.parametrize("after", [0, 1, 17, 60])
def test_an_interrupted_probe_goes_on(run, finished, tiny, tmp_path, after):
    names = ["blank", "noise-3", "another", "covered", "flipped", "typo", "without_picture"]
    with pytest.raises(Stopped, match="the same call continues") as caught: probe(run, names, progress=Interrupted(after), batch_size=4)
    kept = records(open_probes(run)) if after else {}
    assert sum(map(len, kept.values())) >= after and f"{sum(map(len, kept.values())):,} of" in str(caught.value)
    if after:
        torn = next(p for p in (run.folder/"probes"/"seed-0").rglob("answers-0.jsonl") if p.read_bytes().count(b"\n") > 1)
        torn.write_bytes(torn.read_bytes()[:-5]) # as a machine that lost its power leaves it
        assert "not asked yet" in str(open_probes(run))
    done = records(probe(run, names, batch_size=4))
    other = open_run(shutil.copytree(finished, tmp_path/"other"))
    other.vqa = load_model(tiny, device="cpu")
    near(done, records(probe(other, names, batch_size=4)))

def test_stop_gives_what_there_is(run):
    results = probe(run, ["blank", "noise"], progress=Interrupted(5, StopAsked), batch_size=2)
    assert 5 <= sum(map(len, records(results).values())) < 12*7 and any("not asked yet" in note for note in results.notes)

def test_silence_and_lines(run, capsys):
    probe(run, ["blank"])
    assert capsys.readouterr() == ("", "")
    probe(run, ["noise-1"], progress="log")
    told = "".join(capsys.readouterr())
    assert "answers (100 %)" in told and "questions" not in told and "noise, strength 1" in told

def test_a_second_call_asks_nothing(run, monkeypatch):
    first = records(probe(run, ["blank", "reworded"]))
    monkeypatch.setattr(probing, "read_windows", lambda *given: pytest.fail("pictures are read again"))
    assert records(probe(run, ["blank", "reworded"])) == first


@pytest.mark.parametrize("change, says", [
    (dict(model=lambda vqa: torch.nn.init.normal_(vqa.model.head[3].bias)), "other weights"),
    (dict(answers=lambda answers: answers[::-1]), "another answer list"),
    (dict(size=32), "pictures of 32 pixels instead of 64"),
])
def test_another_model_is_refused(run, tiny, tmp_path, change, says):
    other = load_model(tiny, device="cpu", image_size=change.get("size"))
    if "model" in change:
        with torch.no_grad(): change["model"](other)
        other = load_model(other.save(tmp_path/"tiny"), device="cpu")
    if "answers" in change: other.answers = change["answers"](other.answers)
    with pytest.raises(UserError, match=f"is not the model of .*{says}"): probe(run, ["blank"], vqa=other)
    assert not (run.folder/"probes").exists()

def test_weights_in_memory_are_told_by_their_numbers(tiny, tmp_path):
    def in_memory():
        loaded = load_model(tiny, device="cpu")
        return VQA(loaded.model, loaded.answers, loaded.tokenizer)
    run = evaluate(in_memory(), output_dir=tmp_path/"run", limit=6, progress=False)
    assert len(probe(run, ["blank"], limit=2).kept["blank"].records) >= 2
    other = in_memory()
    probe(run, ["blank"], limit=2, vqa=other) # the same
    with torch.no_grad(): other.model.head[3].bias[0] += 1
    with pytest.raises(UserError, match="is not the model of .*other weights"): probe(run, ["blank"], vqa=other)

def test_a_model_that_is_nowhere_is_asked_for(run):
    run.vqa = None
    with pytest.raises(UserError, match="give it as vqa=load_model"): probe(run, ["blank"])
    with pytest.raises(UserError, match="must be a loaded model"): probe(run, ["blank"], vqa="tiny")

def test_the_sample_is_found_by_its_name(tmp_path):
    run = open_run(evaluate("sample", output_dir=tmp_path/"sample", limit=4, progress=False).folder)
    assert run.vqa is None
    assert len(probe(run, ["blank"], limit=2).kept["blank"].records) >= 2

def test_another_number_format_is_told(run, tiny):
    results = probe(run, ["blank"], vqa=load_model(tiny, device="cpu", dtype="bfloat16"))
    assert any("the run in float32 on cpu, this in bfloat16 on cpu" in note for note in results.notes)

def test_each_variant_knows_how_it_was_asked(run, tiny, monkeypatch):
    "Ground truth: three calls, the second in another number format; what has nothing left to ask is not asked in it."
    probe(run, ["noise-3"], limit=8)
    other = load_model(tiny, device="cpu", dtype="bfloat16")
    found = probe(run, ["noise-2", "noise-3"], limit=8, vqa=other)
    assert found.asked_with == {"unchanged": ["float32 on cpu"], "noise-3": ["float32 on cpu"], "noise-2": ["bfloat16 on cpu"]}
    assert any("noise-2 was asked in bfloat16 on cpu, the control was not" in note for note in found.notes) and not any("this in" in note for note in found.notes)
    shutil.rmtree(run.folder/"probes"/"seed-0"/"unchanged") # as the note says
    found = probe(run, ["noise-2"], limit=8, vqa=other)
    assert found.asked_with["unchanged"] == ["bfloat16 on cpu"] and any("(the run in float32 on cpu, this in bfloat16 on cpu)" in note for note in found.notes)
    assert not any("the control was not" in note for note in found.notes)
    assert any("noise-3 was asked in float32 on cpu, the control was not" in note for note in open_probes(run).notes)

def test_answers_of_a_run_that_was_not_finished_stay(run, tiny):
    journal = run.folder/"answers-0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:1] + lines[-16:]))
    run.refresh()
    before = records(probe(run, ["blank"], limit=20))["blank"]
    assert len(before) == 16
    journal.write_text("".join(lines))
    run.refresh()
    again = open_probes(run)
    assert again.kept["blank"].records == before and again.kept["blank"].waiting and list(again.table["questions"]) == [16, 16]
    probe(run, ["blank"], limit=20)
    grown = open_probes(run).kept["blank"]
    assert before.items() <= grown.records.items() and len(grown.records) > 20 and not grown.waiting

def test_picked_answers_are_no_part_of_what_is_told_of_drawn_ones(run):
    "Questions that somebody picked, such as the wrong ones, are no sample: neither of the probes, nor of the evidence, nor of the report."
    def figures(): return str(open_probes(run)), str(run.evidence()), re.sub("base64,[^']*", "", next(html for (name, _), html in evidence_sections(run).items() if name == "probes"))
    told = probe(run, ["blank"], limit=12)
    before = figures()
    picked = [q.question_id for q in run.questions if q.question_id not in told.kept["blank"].records][:9]
    found = probe(run, ["blank", "flipped"], limit=None, questions=picked)
    assert list(found.kept["blank"].records) == picked
    assert figures() == before and "17" in before[2]
    assert str(open_probes(run)) == str(told) and "flipped" not in open_probes(run).kept # of which nothing was drawn
    assert str(probe(run, ["blank"], limit=12)) == str(told)
    shutil.rmtree(run.folder/"probes")
    probe(run, ["blank"], limit=None, questions=picked) # the other way round
    probe(run, ["blank"], limit=12)
    assert str(open_probes(run)) == str(told)
    probe(run, ["blank"], limit=None) # all of them: here picked ones are part of the whole
    assert len(open_probes(run).kept["blank"].records) == len(run.questions)

def test_what_was_picked_and_then_drawn_stays_drawn_when_the_run_grows(run):
    journal = run.folder/"answers-0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:1] + lines[-16:]))
    run.refresh()
    early = list(run.records)
    probe(run, ["blank"], limit=None, questions=early[:6])
    drawn = probe(run, ["blank"], limit=20) # the sixteen that there are
    assert len(drawn.kept["blank"].records) == 16
    journal.write_text("".join(lines))
    run.refresh()
    assert open_probes(run).kept["blank"].records.keys() == set(early)
    later = next(q.question_id for q in run.questions if q.question_id not in open_probes(run).kept["blank"].asked)
    probe(run, ["blank"], limit=None, questions=[later])
    assert open_probes(run).kept["blank"].records.keys() == set(early)

@pytest.fixture
def read_only(monkeypatch):
    "A disk that takes nothing."
    import errno
    from beit3_colab.run import journal, probe_results
    def refuse(*given, **options): raise OSError(errno.EROFS, "Read-only file system")
    def switch():
        monkeypatch.setattr(journal, "_open_to_append", refuse)
        monkeypatch.setattr(probe_results, "atomic_write", refuse)
    return switch

def test_a_folder_that_may_not_be_written_to_is_read_where_all_is_kept(run, read_only):
    first = records(probe(run, ["blank", "reworded"]))
    read_only()
    assert records(probe(run, ["blank", "reworded"])) == first and records(probe(run, ["blank"], limit=4))
    with pytest.raises(UserError, match="kept in their run's folder, and .* may not be written to: .*copy the folder") as caught: probe(run, ["typo"])
    assert "choose another" not in str(caught.value)
    with pytest.raises(UserError, match="batch_size must be"): probe(run, ["blank"], batch_size=0)

def test_two_probes_at_once(run, monkeypatch):
    monkeypatch.setattr(Journal.__init__, "__defaults__", (0.1, *Journal.__init__.__defaults__[1:])) # seconds of patience
    folder = run.folder/"probes"/"seed-0"/"unchanged"
    folder.mkdir(parents=True)
    from beit3_colab.run.journal import journal_path
    from beit3_colab.run.probe_results import probe_fingerprint
    other = Journal(journal_path(folder, 0), probe_fingerprint(run.identity, "unchanged", 0))
    with pytest.raises(UserError, match="wait for it or stop it") as caught: probe(run, ["blank"])
    other.close()
    assert "output_dir" not in str(caught.value)
    assert probe(run, ["blank"]).kept["blank"].count

def test_answers_from_elsewhere_are_refused(run, tmp_path):
    path = run.save_answers(tmp_path/"answers.json")
    with pytest.raises(UserError, match="cannot be probed: a probe asks the model again"): probe(open_results(path, dataset="sample"))
    with pytest.raises(UserError, match="cannot be probed"): probe(probe(run, ["blank"])["blank"])

def test_a_run_that_goes_on_is_refused(run):
    run.running = True
    with pytest.raises(UserError, match="the run still goes on"): probe(run)

def test_an_unfinished_run_is_probed_as_far_as_it_is(run):
    journal = run.folder/"answers-0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:21]))
    run.refresh()
    assert len(probe(run, ["blank"], limit=None).kept["blank"].records) == 20
    journal.write_text("".join(lines[:1]))
    run.refresh()
    with pytest.raises(UserError, match="nothing to probe"): probe(run, ["blank"])

@pytest.mark.parametrize("options, says", [
    (dict(probes=["nose"]), "did you mean 'noise'"), (dict(limit=0), "limit must be"), (dict(seed=-1), "seed must be"), (dict(batch_size=0), "batch_size must be"),
    (dict(probes=[]), "a list of names"), (dict(seed=1.5), "seed must be"), (dict(workers=-2), "workers must be"), (dict(workers="x"), "workers must be"), (dict(workers=0), "workers must be"), (dict(progress="loud"), "progress='loud'")])
def test_what_cannot_be_meant(run, options, says):
    with pytest.raises(UserError, match=says): probe(run, **options)


@pytest.fixture
def own(tiny, tmp_path):
    "A run about six picture files, two questions each."
    for i in range(6): draw_scene(make_scene(i)).save(tmp_path/f"{i}.png")
    rows = [dict(image=str(tmp_path/f"{i}.png"), question=asked) for i in range(6) for asked in ("Is it night?", "What is on the left?")]
    run = evaluate(tiny, questions=rows, output_dir=tmp_path/"own", device="cpu", progress=False)
    return run

class Listening(Display):
    def __init__(self):
        super().__init__()
        self.told = []
    def warn(self, text): self.told.append(text)

def test_pictures_that_cannot_be_read_are_left_out_and_counted(own, tmp_path):
    (tmp_path/"3.png").write_bytes(b"nothing")
    display = Listening()
    results = probe(own, ["blank", "another", "capitals"], limit=None, progress=display)
    gone = {q.question_id for q in own.questions if q.image_id == own.questions[6].image_id}
    assert len(gone) == 2 and any("3.png" in text and "left out" in text for text in display.told)
    for name in ("unchanged", "blank", "capitals"):
        assert set(results.kept[name].left_out) == gone and len(results.kept[name].records) == 10
    assert set(results.kept["another"].left_out) >= gone
    assert len(results.kept["another"].records) + len(results.kept["another"].left_out) == 12
    assert any("its other picture" in reason for reason in results.left_out["reason"]) == (len(results.kept["another"].left_out) > 2)
    again = open_probes(own)
    assert again.table.equals(results.table) and set(results.table["left_out"]) >= {2}
    draw_scene(make_scene(3)).save(tmp_path/"3.png") # mended
    assert len(probe(own, ["blank"], limit=None).kept["blank"].records) == 12 and not probe(own, ["blank"], limit=None).kept["blank"].left_out

def test_no_picture_at_all(own, tmp_path):
    for i in range(6): (tmp_path/f"{i}.png").unlink()
    with pytest.raises(UserError, match="nothing could be asked .*0.png"): probe(own, ["blank"])

def test_without_people_there_is_no_accuracy_but_consistency(own):
    results = probe(own, ["flipped", "noise-5"], limit=None)
    assert "before" not in results.table and {"changed", "changed_low"} <= set(results.table)
    assert "so there is no accuracy" in str(results) and set(results.consistency["answer_type"]) == {"overall"}

def test_a_split_of_one_picture_has_no_other(tiny, tmp_path):
    draw_scene(make_scene(1)).save(tmp_path/"1.png")
    run = evaluate(tiny, questions=[dict(image=str(tmp_path/"1.png"), question="Is it night?")], output_dir=tmp_path/"one", device="cpu", progress=False)
    results = probe(run, ["another", "blank"], limit=None)
    assert "another" not in results.kept and list(results.left_out["reason"]) == ["there is no other picture in the split"]
    assert "another: none of 1 question could be asked (there is no other picture in the split)." in results.notes

def test_questions_of_token_ids_alone(run, tiny):
    "As unilm's index has them: words come from the tokenizer, and without one those probes are refused by name, and left out of all."
    encode = run.vqa.tokenizer.encode
    run.questions = [replace(q, question="", token_ids=tuple(encode(q.question))) for q in run.questions]
    asked = probe(run, ["capitals"], limit=4).kept["capitals"].records
    assert asked and all(r["asked"] == r["asked"].upper() != "" for r in asked.values())
    run.vqa.tokenizer = None
    run.info["identity"]["tokenizer_sha256"] = None
    with pytest.raises(UserError, match="probe capitals changes words"): probe(run, ["capitals"], seed=1)
    assert set(probe(run, seed=1, limit=2)) == {v.name for v in VARIANTS.values() if not v.words}


@pytest.mark.parametrize("place", ["probes", "probes/seed-0", "probes/seed-0/blank", "probes/seed-0/probes.json", "probes/seed-0/blank/answers-0.jsonl"])
def test_nothing_is_written_or_read_through_a_link(run, tmp_path, place):
    elsewhere = tmp_path/"elsewhere"
    if place.rpartition("/")[2].count("."): elsewhere.write_text("{}")
    else: elsewhere.mkdir()
    path = run.folder/place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(UserError, match="link"): probe(run, ["blank"])
    assert (elsewhere.read_text() == "{}") if elsewhere.is_file() else not list(elsewhere.iterdir())

def test_answers_of_another_run_or_seed_are_not_taken(run):
    probe(run, ["blank"])
    seeds = run.folder/"probes"
    shutil.copytree(seeds/"seed-0", seeds/"seed-1")
    with pytest.raises(UserError, match="belongs to another run"): probe(run, ["blank"], seed=1)
    with pytest.raises(UserError, match="belongs to another run"): open_probes(run, seed=1)

def test_an_answer_that_no_model_gave(run):
    "The journal of a run that came from elsewhere says what it likes."
    journal = run.folder/"answers-0.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines[1:]: line["answers"][0] = "nobody's"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.refresh()
    with pytest.raises(UserError, match="none of the model's answers"): probe(run, ["covered"])


def test_without_a_picture_is_a_model_whose_patches_are_masked(run):
    "On the golden checkpoint, too: the reference's weights."
    golden = load_model(ROOT/"tests"/"golden"/"tiny_beit3_vqa.pth", device="cpu", config=ROOT/"tests"/"golden"/"tiny_beit3_vqa.config.json")
    model, ids = golden.model, torch.randint(3, 200, (3, 7), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        image, text = model.image_embedding(torch.randn(3, 3, 64, 64)), model.text_embedding(ids)
        keys = torch.ones(1, 1, 1, image.shape[1] + 7, dtype=torch.bool)
        keys[..., 1:image.shape[1]] = False
        for layer in model.layers: image, text = layer(image, text, keys)
        masked = model.head(model.pooler(image[:, 0]))
    assert (answer_without_picture(model, ids) - masked).abs().max() < 1e-5

def test_memory_that_runs_out_halves_the_batch(run, monkeypatch):
    logits, limits = VQA.logits, []
    def short(self, images, input_ids, rows=None, counts=None):
        limits.append(len(input_ids))
        if len(input_ids) > 2: raise RuntimeError("CUDA out of memory")
        return logits(self, images, input_ids, rows, counts)
    names = ["blank", "covered-random-50", "noise-2"]
    whole = records(probe(run, names, seed=1, limit=None))
    monkeypatch.setattr(VQA, "logits", short)
    display = Listening()
    found = probe(run, names, seed=2, limit=None, batch_size=8, progress=display)
    assert max(limits) > 2 and any("ran out of memory" in text for text in display.told)
    near({"unchanged": records(found)["unchanged"], "blank": records(found)["blank"]}, {"unchanged": whole["unchanged"], "blank": whole["blank"]})

def test_every_probe_says_what_it_is():
    assert [p.kind for p in PROBES.values()].count("picture") == 10
    assert all(p.about.endswith(".") and len(p.about) < 260 for p in PROBES.values())
    assert all(name == v.name and not set(name) & set("/\\. ") for name, v in VARIANTS.items())

class Far(FolderPictures):
    "Pictures of a server: only what was asked for ahead, or now, is there. `asked` says what, and in which order."
    remote = True
    def __init__(self, folder):
        super().__init__(folder)
        self.asked, self.opened = [], 0
    def fetching(self, names):
        self.opened += 1
        self.asked += [("ahead", name) for name in names]
        return nullcontext(lambda: self.asked.append(("given up", "")))
    def read(self, name):
        self.asked.append(("read", name))
        return super().read(name)

def test_pictures_of_a_server_are_asked_for_ahead_and_no_others(own):
    "Each window's, and the other picture of each question; nothing else of the split."
    far = Far(own.data.image_root)
    object.__setattr__(own, "data", replace(own.data, source=far))
    results = probe(own, ["another", "noise-1", "covered-50"], limit=4)
    part = [q for q in own.questions if q.question_id in results.kept["noise-1"].records]
    partners = {Partners(own.data.questions, 0).partner(q).image for q in part}
    assert {name for what, name in far.asked if what == "ahead"} == {q.image for q in part} | partners
    reads = [name for what, name in far.asked if what == "read"]
    assert len(reads) == len({q.image for q in part}) + len(part) # once a window, and one for each question's other picture
    assert far.asked[-1] == ("given up", "")

def test_pictures_of_a_zip(tiny, tmp_path):
    "Pictures that lie in no file of their own are read through their source, the other pictures too."
    write_scenes(tmp_path/"data", range(8))
    shutil.make_archive(tmp_path/"val2014", "zip", tmp_path/"data", "val2014")
    shutil.rmtree(tmp_path/"data"/"val2014")
    run = evaluate(tiny, split="val", data_path=tmp_path/"data", images=tmp_path/"val2014.zip", output_dir=tmp_path/"run", limit=10, device="cpu", progress=False)
    results = probe(run, ["another", "blur-2"], limit=None)
    assert not len(results.left_out) and set(results["another"].records) == set(run.records)
    assert results["another"].data.read_image(run.questions[0]).size == (64, 64)
