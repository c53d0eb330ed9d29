"""float16 ends at 65,504: what goes beyond is noticed for each question, answered again in float32, and counted. Weights with which it would
not be noticed are not run in float16.

Where there is no GPU the model runs in float16 on the CPU, plain and laid out as for a GPU."""
import copy
import json
import logging

import pytest
import torch
import torch.nn.functional as F

from beit3_colab import evaluate, open_run
from beit3_colab.machine.messages import UserError
from beit3_colab.model import batching, fused
from beit3_colab.model import overflow
from beit3_colab.model import vqa as predict
from beit3_colab.model.folded import FoldedBeit3
from beit3_colab.model.fused import FastBeit3
from beit3_colab.model.kernels import triton
from beit3_colab.model.overflow import largest_output, widened
from beit3_colab.model.vqa import load_model, VQA
from beit3_colab.run.probing import Pictureless, probe_run
from beit3_colab.scenes.sample import open_sample
from beit3_colab.training import validation

SPOILT = {"feed-forward": ("image", 5, "fc2", 2**13), "attention": ("image", 5, "out", 2**13), "question": ("text", 0, "fc2", 2**10)} # powers of two round nothing
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
FEW = dict(limit=60, batch_size=8, progress=False)


def spoil(vqa, which):
    "Make one product of a loaded model so large that some questions overflow in float16, and others do not."
    side, layer, name, factor = SPOILT[which]
    for parameter in getattr(getattr(vqa.model.layers[layer], side), name).parameters(): parameter.mul_(factor)
    return vqa


def pair(folder, which, device="cpu"):
    "The spoilt sample in float16, and the same weights in float32: both from files, as anybody loads them."
    load_model("sample", device="cpu", dtype="float16").save(folder/"rounded") # both begin with the same rounded numbers
    spoil(load_model(folder/"rounded", device="cpu", dtype="float32"), which).save(folder/"spoilt")
    return (load_model(folder/"spoilt", device=device, dtype=dtype) for dtype in ("float16", "float32"))


def answers(run): return {i: (r["answers"], r["confidences"]) for i, r in run.records.items()}
def again(run): return {i for i, r in run.records.items() if "answered_in" in r}


@pytest.mark.parametrize("form", ["plain", "fast", "mixed", "folded"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("which", SPOILT)
def test_questions_that_overflow_are_answered_by_float32(tmp_path, monkeypatch, which, device, form):
    narrow, wide = pair(tmp_path, which, device)
    exact = evaluate(wide, output_dir=tmp_path/"exact", **FEW)
    if form != "plain":
        if device == "cuda": monkeypatch.setattr(predict, "repays_compilation", lambda config, questions: True)
        else:
            def fast(self):
                if form == "folded": return FoldedBeit3(self.model, fused=False)
                found = FastBeit3(self.model, fused=False)
                found.mixes = form == "mixed"
                return found
            monkeypatch.setattr(VQA, "fast", property(fast))
    run = evaluate(narrow, output_dir=tmp_path/"run", **FEW)
    lost = again(run)
    assert 0 < len(lost) < len(run.records), len(lost)
    assert {run.records[i]["answered_in"] for i in lost} == {"float32"}
    for i in lost: # as float32 says it: the same numbers, but for the order of sums in batches of other sizes
        assert run.records[i]["answers"][0] == exact.records[i]["answers"][0]
        assert run.records[i]["confidences"] == pytest.approx(exact.records[i]["confidences"], abs=2e-4)
    # the others were answered in float16, with no infinity on the way
    held = [i for i in run.records if i not in lost]
    assert sum(run.records[i]["answers"][0] == exact.records[i]["answers"][0] for i in held) >= len(held) - 1


def test_exactly_those_whose_stream_is_infinite(tmp_path):
    "Of each question the residual stream is looked at, layer by layer."
    narrow, _ = pair(tmp_path, "question")
    run, seen = evaluate(narrow, output_dir=tmp_path/"run", **FEW), {}
    for expert in (e for layer in narrow.model.layers for e in (layer.image, layer.text)):
        for part in (expert.out, expert.fc1, expert.fc2, expert.qkv): part.register_forward_hook(lambda module, given, out: streams.append(bool(out.isfinite().all())))
    for q in run.questions:
        streams = seen[q.question_id] = []
        predict.predict_logits(narrow.model, torch.from_numpy(predict.preprocess(run.data.read_image(q), narrow.config.image_size))[None], torch.tensor([narrow.tokenizer.encode(q.question)]))
    assert again(run) == {i for i, streams in seen.items() if not all(streams)} and again(run)


def test_the_count_is_in_report_summary_and_journal_also_after_a_stop(tmp_path, capsys):
    narrow, _ = pair(tmp_path, "feed-forward")
    run = evaluate(narrow, output_dir=tmp_path/"run", **{**FEW, "progress": "log"})
    count, sentence = len(again(run)), f"{len(again(run))} questions overflowed in float16 and were answered again in float32"
    assert capsys.readouterr().err.count(sentence) == 1
    assert run.report().setup["answered again"] == sentence and sentence in str(run.report())
    assert sentence in json.loads((tmp_path/"run"/"run.json").read_text())["report"]["setup"].values()
    opened = open_run(tmp_path/"run")
    assert len(again(opened)) == count and sentence in str(opened.report())
    journal = tmp_path/"run"/"answers-0.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:len(lines)//2])) # as after a stop
    continued = evaluate(narrow, output_dir=tmp_path/"run", **FEW)
    assert journal.read_bytes() == b"".join(lines) and continued.report().setup["answered again"] == sentence


def test_a_model_with_room_says_nothing(tmp_path):
    run = evaluate(load_model("sample", device="cpu", dtype="float16"), output_dir=tmp_path, **FEW)
    assert not again(run) and "answered again" not in run.report().setup and "overflow" not in str(run.report())


def test_float16_rounds_the_weights_and_no_answer_changes(tmp_path):
    "What an answer in float32 of float16's weights is worth, on all the sample."
    rounded = widened(load_model("sample", device="cpu", dtype="float16").model)
    vqa = load_model("sample", device="cpu")
    exact = evaluate(vqa, output_dir=tmp_path/"exact", progress=False)
    run = evaluate(VQA(rounded, vqa.answers, vqa.tokenizer), output_dir=tmp_path/"rounded", progress=False)
    assert json.loads(run.submission.read_bytes()) == json.loads(exact.submission.read_bytes()) and len(run.records) == 1093


def test_asking_and_maps_and_probes_do_the_same(tmp_path, caplog):
    narrow, wide = pair(tmp_path, "feed-forward")
    run = evaluate(narrow, output_dir=tmp_path/"run", **FEW)
    lost = next(q for q in run.questions if q.question_id in again(run))
    with caplog.at_level(logging.WARNING): asked = narrow.ask(run.data.image_path(lost), [lost.question]*2)
    assert [text for _, _, text in caplog.record_tuples if "overflowed" in text] == ["2 questions overflowed in float16 and were answered again in float32"]
    assert [[a.answer for a in each] for each in asked] == [[a.answer for a in each] for each in wide.ask(run.data.image_path(lost), [lost.question]*2)]
    found, exact = (vqa.attention(run.data.image_path(lost), lost.question) for vqa in (narrow, wide))
    assert torch.allclose(found.relevance, exact.relevance, atol=1e-5) and found.answer == exact.answer and found.relevance.isfinite().all()
    assert narrow.trace(lambda model: model.pooler.dense.weight.dtype) == torch.float16 # nothing is copied where nothing overflows


def test_probes_do_the_same(tmp_path):
    narrow, wide = pair(tmp_path, "feed-forward")
    run = evaluate(narrow, output_dir=tmp_path/"run", **FEW)
    found = probe_run(run, ["covered-50", "blank"], vqa=narrow, progress=False)
    assert any("answered_in" in r for kept in found.kept.values() for r in kept.records.values())
    plain, exact = Pictureless(narrow), Pictureless(wide)
    assert plain.widen().widen() is None and exact.widen() is None
    ids = torch.tensor([narrow.tokenizer.encode("Is it raining?")])
    assert torch.allclose(plain.widen().logits(None, ids), exact.logits(None, ids), atol=1e-3)


def test_a_model_that_is_nan_in_float32_too_is_refused(tmp_path):
    vqa = load_model("sample", device="cpu", dtype="float16")
    vqa.model.pooler.dense.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="the model gives NaN"): evaluate(vqa, output_dir=tmp_path/"run", **FEW)
    with pytest.raises(UserError, match="the model gives NaN"): vqa.ask(torch.zeros(3, 20, 20), "Is it?")
    with pytest.raises(UserError, match="the model gives NaN"): vqa.attention(torch.zeros(3, 20, 20), "Is it?")


def test_the_wide_copy_follows_the_weights_and_is_not_kept():
    vqa = load_model("sample", device="cpu", dtype="float16")
    first = vqa.widen()
    with torch.no_grad(): vqa.model.head[3].bias.add_(1)
    assert torch.equal(vqa.widen().model.head[3].bias, vqa.model.head[3].bias.float()) and not torch.equal(first.model.head[3].bias, vqa.widen().model.head[3].bias)
    assert load_model("sample", device="cpu").widen() is None and load_model("sample", device="cpu", dtype="bfloat16").widen() is None
    assert vqa.model.head[3].bias.dtype == torch.float16


def test_no_memory_for_the_copy_is_said(monkeypatch):
    vqa = load_model("sample", device="cpu", dtype="float16")
    def full(model): raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(predict, "widened", full)
    with pytest.raises(UserError, match="does not hold the weights in float32 beside it: use dtype='bfloat16'"): vqa.widen()


# weights that must not run in float16

@pytest.mark.parametrize("part", ["query", "key"])
def test_attention_may_hide_an_infinity_so_such_weights_are_refused(tmp_path, part):
    "One channel of the queries or keys overflows for some patches, and what it is multiplied with is negative: with PyTorch 2.14 on a CPU the logits are finite and wrong."
    wide = load_model("sample", device="cpu")
    d, layer, (channel, factor) = wide.config.embed_dim, wide.model.layers[2], (40, 4e4) if part == "query" else (1, 4e4)
    ours, theirs = (channel, d + channel) if part == "query" else (d + channel, channel)
    layer.image.qkv.weight[ours] *= factor/layer.image.qkv.weight[ours].norm()
    layer.image.qkv.bias[ours] = 0
    for expert in (layer.image, layer.text): expert.qkv.weight[theirs], expert.qkv.bias[theirs] = 0, -1e-4
    wide.save(tmp_path/"spoilt")
    data, narrow, overflowing = open_sample(), copy.deepcopy(wide.model).half(), []
    question = data.questions[0]
    pixels, ids = torch.from_numpy(predict.preprocess(data.read_image(question), wide.config.image_size))[None], torch.tensor([wide.tokenizer.encode(question.question)])
    narrow.layers[2].image.qkv.register_forward_hook(lambda module, given, out: overflowing.append(not bool(out.isfinite().all())))
    logits, exact = predict.predict_logits(narrow, pixels, ids), predict.predict_logits(wide.model, pixels, ids)
    assert overflowing[0] and exact.isfinite().all()
    assert not logits.isfinite().all() or (logits - exact).abs().max() > 1
    with pytest.raises(UserError, match="queries and keys up to .* float16 ends at 65,504; use dtype='float32'"): load_model(tmp_path/"spoilt", device="cpu", dtype="float16")
    with pytest.raises(UserError, match="too large for float16"): VQA(narrow, wide.answers, wide.tokenizer)
    assert load_model(tmp_path/"spoilt", device="cpu", dtype="bfloat16").logits(pixels, ids).isfinite().all()


def test_who_asks_for_no_format_gets_one_that_holds_the_weights(tmp_path, monkeypatch, caplog):
    wide = load_model("sample", device="cpu")
    wide.model.layers[0].image.fc2.weight[0, 0] = 70_000.
    wide.save(tmp_path/"spoilt")
    with pytest.raises(UserError, match="larger than float16 can hold; use another dtype"): load_model(tmp_path/"spoilt", device="cpu", dtype="float16")
    monkeypatch.setattr(predict, "choose_dtype", lambda device, dtype=None: torch.float16 if dtype is None else getattr(torch, dtype)) # as on a GPU
    vqa = load_model(tmp_path/"spoilt", device="cpu")
    assert vqa.dtype == torch.float32 and vqa.notes[0].startswith("float32 is used, and not float16: layers.0.image.fc2.weight holds numbers that are larger than float16 can hold")
    assert any("float32 is used" in text for _, _, text in caplog.record_tuples)
    assert load_model("sample", device="cpu").dtype == torch.float16


@pytest.mark.parametrize("seed", range(3))
def test_no_row_exceeds_the_bound(seed):
    torch.manual_seed(seed)
    norm, linear = torch.nn.LayerNorm(24), torch.nn.Linear(24, 12)
    with torch.no_grad():
        for p in (*norm.parameters(), *linear.parameters()): p.normal_()
        most = largest_output(norm, linear.weight, linear.bias)
        best = F.normalize((linear.weight*norm.weight)[:, :] - (linear.weight*norm.weight).mean(1, keepdim=True), dim=1) # the rows that each output likes best
        rows = torch.cat([scale*each for each in (best, -best, torch.randn(1000, 24), torch.eye(24)) for scale in (1e-3, 1., 1e4)])
        outputs = linear(norm(rows))
        assert outputs.abs().max() <= most
        parts = (norm(rows)[:, None]*linear.weight).cumsum(-1) # every partial sum too
        assert parts.abs().max() <= most
        norm.weight[0] = 60_000.
        assert largest_output(norm, linear.weight, linear.bias) == torch.inf


# the batch

class Fake:
    "A model that gives what it is told, on a device that waits for nothing."
    mixes, at_once, answers_in = False, 16, "float32"
    def __init__(self, logits, device="cpu", wide=None): self.rows, self.device, self.wide, self.fast, self.asked = logits, torch.device(device), wide, None, []
    def logits(self, images, ids, rows, counts):
        self.asked.append((images, ids, rows))
        return self.rows[:len(ids)].clone()
    def widen(self): return self.wide


NARROW = torch.tensor([[torch.nan, 1.], [3., 1.], [torch.inf, 0.], [-torch.inf, 9.], [0., 2.]])

def test_nan_and_both_infinities_are_asked_again_with_their_own_pictures_and_words():
    wide = Fake(torch.tensor([[0., 5.], [0., 5.], [0., 5.]]))
    images, ids = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 2, 3), torch.arange(20).view(5, 4)
    counts = torch.tensor([4, 4, 4, 2, 3])
    found = batching.finish_batch(batching.start_batch(Fake(NARROW, wide=wide), images, [2, 0, 1, 0, 0], ids, print, counts=counts), ["a", "b"])
    assert [f.answers[0] for f in found] == ["b", "a", "b", "b", "b"] and [f.answered_in for f in found] == ["float32", "", "float32", "float32", ""]
    (_, long, rows), (_, short, row) = wide.asked # those of a length together, without padding
    assert long.tolist() == ids[[0, 2]].tolist() and rows.tolist() == [2, 1] and short.tolist() == ids[[3], :2].tolist() and row.tolist() == [0]


def test_a_device_with_its_own_clock_waits_once_and_pictures_in_main_memory_are_kept(monkeypatch):
    "Nothing is looked at before the event, and what a later window writes into the same memory is not asked about."
    waited = []
    class Event:
        def synchronize(self): waited.append(self)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: type("Stream", (), dict(record_event=lambda self: Event()))())
    wide = Fake(torch.tensor([[0., 5.]]*3), device="cuda")
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).repeat(1, 2, 2, 3)
    parts = batching.start_batch(Fake(NARROW, device="cuda", wide=wide), images, [2, 0, 1, 0, 0], torch.zeros(5, 4, dtype=torch.long), print)
    assert not waited and not wide.asked
    images.fill_(99)
    found = batching.finish_batch(parts, ["a", "b"])
    assert [f.answered_in for f in found] == ["float32", "", "float32", "float32", ""]
    (pictures, _, rows), = wide.asked
    assert pictures[rows][:, 0, 0, 0].tolist() == [2, 1, 0] and len(waited) == 2 # the batch and the second look


# float8 first

@pytest.fixture
def float8_products(monkeypatch):
    "PyTorch's products in float8 with a scale for each row want a GPU, or a CPU of its choice."
    def multiply(rows, weight, of_row, of_output, bias, out_dtype, use_fast_accum):
        return F.linear(rows.float()*of_row, (weight.float()*of_output).t(), bias if bias is None else bias.float()).to(out_dtype)
    monkeypatch.setattr(fused, "_multiply", multiply)

@pytest.mark.parametrize("mixes", [False, True])
def test_what_float8_leaves_in_doubt_is_answered_in_float16_and_what_overflows_there_in_float32(tmp_path, monkeypatch, mixes, float8_products):
    "With the forms that have no kernels, which run on a CPU too."
    def laid_out(model, float8=False, fold=True):
        found = FastBeit3(model, float8, fused=False)
        found.mixes = mixes
        return found
    monkeypatch.setattr(predict, "lay_out", laid_out)
    monkeypatch.setattr(predict, "can_fuse", lambda *_: True)
    half, rough, both = (load_model("sample", device="cpu", dtype="float16") for _ in range(3))
    rough, both = (VQA(m.model, m.answers, m.tokenizer, "sample", m.source, float8=True, in_doubt=margin) for m, margin in ((rough, 0.), (both, 8.)))
    assert str(both.dtype) == predict.FLOAT8_CHECK and str(rough.dtype) == "torch.float8_e4m3fn"
    run = dict(limit=120, batch_size=16, progress=False)
    exact, first, found = (evaluate(vqa, output_dir=tmp_path/name, **run) for vqa, name in ((half, "exact"), (rough, "rough"), (both, "both")))
    looked_at = {i for i, r in found.records.items() if r != first.records[i]}
    assert looked_at and len(found.records) - len(looked_at) > 20 # the others are float8's to the last digit
    for i in looked_at: assert found.records[i]["answers"][0] == exact.records[i]["answers"][0] and found.records[i]["confidences"] == pytest.approx(exact.records[i]["confidences"], abs=.02)
    assert found.identity.dtype == "float8+float16" and not again(found) # that is its format
    for parameter in both.model.layers[5].image.fc2.parameters(): parameter.mul_(2**13)
    both._fast = both._finer = None
    wide = evaluate(both, output_dir=tmp_path/"wide", **run)
    assert again(wide) and {r["answered_in"] for r in wide.records.values() if "answered_in" in r} == {"float32"}


def test_closeness():
    logits = torch.tensor([[1., 3.], [2.9, 3.], [torch.nan, 1.], [5., 5.]])
    assert batching.is_close(logits, .5).tolist() == [False, True, True, True]
    with pytest.raises(UserError, match="needs an NVIDIA GPU with float8"): load_model("sample", device="cpu", dtype="float8+float16")


@pytest.mark.parametrize("made", ["loaded", "for a training's validation", "in memory"])
def test_float16_weights_are_looked_at_once(monkeypatch, made):
    narrow, looks = load_model("sample", device="cpu", dtype="float16"), []
    monkeypatch.setattr(overflow, "largest_output", lambda *args: looks.append(1) or largest_output(*args))
    if made == "loaded": load_model("sample", device="cpu", dtype="float16")
    elif made == "in memory": VQA(narrow.model)
    else:
        monkeypatch.setattr(validation, "choose_dtype", lambda device: torch.float16)
        weights = {name: tensor.float() for name, tensor in narrow.model.state_dict().items()}
        validation.model_to_examine(weights, narrow.config, narrow.answers, None, "tuned", torch.device("cpu"))
    assert len(looks) == 1 + 2*narrow.config.num_layers # the pooler, and both experts of each layer


if triton is not None and torch.cuda.is_available(): # what only a GPU can show
    def test_on_a_gpu_the_default_is_float16_and_the_kernels_show_an_overflow(tmp_path, monkeypatch):
        assert load_model("sample").dtype == torch.float16
        narrow, wide = pair(tmp_path, "feed-forward", "cuda")
        monkeypatch.setattr(predict, "repays_compilation", lambda config, questions: True)
        run = evaluate(narrow, output_dir=tmp_path/"run", progress=False)
        monkeypatch.undo()
        exact = evaluate(wide, output_dir=tmp_path/"exact", progress=False)
        differ = [i for i in run.records if run.records[i]["answers"][0] != exact.records[i]["answers"][0]]
        print(len(again(run)), "of", len(run.records), "answered again;", len(differ), "differ")
        assert run.report().setup["form"] == "kernels" and 0 < len(again(run)) < 1093 and not again(run) & set(differ)

    def test_on_a_gpu_float8_shows_an_overflow(tmp_path):
        if torch.cuda.get_device_capability() < (8, 9): pytest.skip("no float8 products")
        pair(tmp_path, "feed-forward")
        run = evaluate(load_model(tmp_path/"spoilt", device="cuda", dtype="float8"), output_dir=tmp_path/"run", **FEW)
        assert again(run)

    def test_on_a_gpu_float8_with_a_second_look_gives_float32s_answers(tmp_path):
        if torch.cuda.get_device_capability() < (8, 9): pytest.skip("no float8 products")
        exact, run = (evaluate(device="cuda", dtype=dtype, output_dir=tmp_path/dtype, progress=False) for dtype in ("float32", "float8+float16"))
        assert json.loads(run.submission.read_bytes()) == json.loads(exact.submission.read_bytes())
