"A device that works on its own, played by stand-ins: nothing that it still reads is written, what it has not finished is waited for, and nobody waits for ever."
import os
import threading
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from processes import wait_until

from beit3_colab import evaluate
from beit3_colab.run import answering
from beit3_colab.model import batching
from beit3_colab.run import windows as reading
from beit3_colab.run.runner import exclusively
from beit3_colab.pictures.decoding import Decoders
from beit3_colab.machine.messages import UserError
from beit3_colab.model.fused import FastBeit3
from beit3_colab.model.batching import to_device
from beit3_colab.model.vqa import VQA, load_model
from beit3_colab.run.journal import Journal
from beit3_colab.scenes.sample import open_sample
from beit3_colab.data.dataset import group_by_image


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="decoding processes are for Linux")
def test_pictures_are_not_overwritten_while_the_device_copies_them(monkeypatch):
    data, told, shown = open_sample(), [], []
    groups = group_by_image(data.questions)[:11]
    windows = [groups[i:i + 2] for i in range(0, 11, 2)] # six
    class Event:
        def __init__(self): self.number = len(shown) - 1
        def synchronize(self): # the copy is late: it ends when somebody waits for it
            pictures, before = shown[self.number]
            assert torch.equal(pictures, before)
            told.append(self.number)
    monkeypatch.setattr(reading, "use_processes", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(record_event=Event))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: told.append("idle"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: told.append("memory is gone")))
    vqa = SimpleNamespace(device=torch.device("cuda"), config=SimpleNamespace(image_size=32), tokenizer=load_model("sample", device="cpu").tokenizer)
    for window in reading.read_windows(windows, data.questions, data, vqa, workers=2):
        assert window.images.float().std() > 1
        shown.append((window.images, window.images.clone()))
    assert told == [0, 1, 2, "idle", "memory is gone"] # windows 3, 4 and 5 took the places of 0, 1 and 2
    assert len({pictures.sum().item() for _, pictures in shown}) == 6


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="decoding processes are for Linux")
@pytest.mark.parametrize("early", [True, False])
def test_decoding_processes_end_with_the_windows(early, monkeypatch):
    "Started beforehand or not, read to the end or left; and memory that could not be registered is not let go of."
    data, told = open_sample(), []
    groups = group_by_image(data.questions)[:6]
    monkeypatch.setattr(reading, "use_processes", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(record_event=lambda: SimpleNamespace(synchronize=lambda: None)))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaHostRegister=lambda *_: told.append("refused") or 1, cudaHostUnregister=lambda *_: pytest.fail("it was never registered")))
    vqa = SimpleNamespace(device=torch.device("cuda"), config=SimpleNamespace(image_size=32), tokenizer=load_model("sample", device="cpu").tokenizer)
    kept, real = [], reading.DecodingProcesses
    monkeypatch.setattr(reading, "DecodingProcesses", lambda count: kept.append(real(count)) or kept[-1])
    started = reading.start_decoding(data, "cuda", 6, 2) if early else None
    for most in (1, 9): # left after the first window, and read to the end
        coming = reading.read_windows([groups[:3], groups[3:]], data.questions, data, vqa, workers=2, started=started)
        for _, window in zip(range(most), coming): assert window.images.float().std() > 1 and not window.errors
        coming.close()
        assert len(kept) == len(told) and all(process.poll() is not None for process in kept[-1].processes)
        if early: started = reading.start_decoding(data, "cuda", 6, 2)
    if early:
        kept[-1].close() # nobody read
        kept[-1].close()
        assert all(process.poll() is not None for process in kept[-1].processes)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="decoding processes are for Linux")
def test_threads_that_wait_for_a_decoding_process_end_with_it(tmp_path):
    os.mkfifo(tmp_path/"stalled.jpg") # a picture on a disk that does not answer
    data = open_sample()
    decoders, question, ended = Decoders(data, 32, processes=1, capacity=1), replace(data.questions[0], image=str(tmp_path/"stalled.jpg")), []
    def load():
        try: decoders.load(question, 0)
        except (RuntimeError, ValueError) as error: ended.append(error)
    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads: thread.start()
    wait_until(decoders.free.empty)
    decoders.close()
    for thread in threads: thread.join(60)
    assert len(ended) == 3 and all(process.returncode for process in decoders.processes)


def test_the_stream_that_is_waited_for_is_of_the_models_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(record_event=lambda: f"event of {device}"))
    second = SimpleNamespace(device=torch.device("cuda:1"), fast=None, logits=lambda images, ids, rows, counts: torch.zeros(len(ids), 7))
    (_, labels, event, _), = batching.start_batch(second, torch.zeros(1, 8, 8, 3, dtype=torch.uint8), [0, 0], torch.zeros(2, 4, dtype=torch.long), print)
    assert event == "event of cuda:1" and labels.shape == (2, 5)


def test_only_cuda_copies_without_waiting():
    tensor = SimpleNamespace(to=lambda device, non_blocking: non_blocking)
    assert [to_device(tensor, torch.device(name)) for name in ("cuda:1", "mps", "cpu")] == [True, False, False]


def test_a_model_at_work_is_left_as_it_is(tmp_path):
    vqa = load_model("sample", device="cpu")
    vqa.compiles = "as another run wants it"
    with exclusively(vqa, "another run"), pytest.raises(UserError, match="answering for another run"): evaluate(vqa, limit=5, output_dir=tmp_path, progress=False)
    assert vqa.compiles == "as another run wants it"


def mixing(vqa):
    "The fast layout with its plain forms, where questions of different lengths share a batch, as where the kernel for attention runs."
    model = FastBeit3(vqa.model, fused=False)
    model.mixes = True
    return model

def test_the_fast_layout_answers_a_run_alike(tmp_path, monkeypatch):
    "As on a GPU each picture goes in once for its questions; here with the kernels' plain forms."
    vqa = load_model("sample", device="cpu")
    plain = evaluate(vqa, limit=60, output_dir=tmp_path/"plain", progress=False, batch_size=8)
    monkeypatch.setattr(VQA, "fast", property(lambda self: FastBeit3(self.model, fused=False)))
    fast = evaluate(vqa, limit=60, output_dir=tmp_path/"fast", progress=False, batch_size=8)
    assert fast.submission.read_bytes() == plain.submission.read_bytes()
    sizes, start = [], answering.start_batch
    def counted(vqa, images, rows, ids, warn, counts=None):
        sizes.append((len(rows), counts is None))
        return start(vqa, images, rows, ids, warn, counts=counts)
    monkeypatch.setattr(VQA, "fast", property(mixing))
    monkeypatch.setattr(answering, "start_batch", counted)
    mixed = evaluate(vqa, limit=60, output_dir=tmp_path/"mixed", progress=False, batch_size=8)
    assert mixed.submission.read_bytes() == plain.submission.read_bytes()
    assert min(size for size, _ in sizes[:-1]) > 4 and sizes[0][0] == 8 and False in {alone for _, alone in sizes} # full batches, some of several lengths


def test_windows_of_a_model_that_mixes_make_whole_batches(tmp_path, monkeypatch):
    "Over many windows, with pictures that cannot be read, continued after a stop: each question is answered once, in the batch that it would be in anyway."
    vqa, real, batches, start = load_model("sample", device="cpu"), reading.load_image, [], answering.start_batch
    def counted(vqa, images, rows, ids, warn, counts=None):
        batches.append((len(rows), ids.sum().item()))
        return start(vqa, images, rows, ids, warn, counts=counts)
    data, bad = open_sample(), {}
    def load(data, question, size, target):
        found = real(data, question, size, target)
        if question.image not in bad: return found
        target[:] = 128
        return f"{question.image}: damaged", *found[1:]
    monkeypatch.setattr(reading, "load_image", load)
    how = dict(progress=False, batch_size=8, limit=500)
    bad.update(dict.fromkeys(list(dict.fromkeys(q.image for q in data.questions))[::9]))
    plain = evaluate(vqa, output_dir=tmp_path/"plain", bad_images="blank", **how)
    monkeypatch.setattr(VQA, "fast", property(mixing))
    monkeypatch.setattr(answering, "start_batch", counted)
    mixed = evaluate(vqa, output_dir=tmp_path/"mixed", bad_images="blank", **how)
    same = ["question_id", "answer", "image", "image_error"]
    assert mixed.submission.read_bytes() == plain.submission.read_bytes()
    assert mixed.answers[same].equals(plain.answers[same]) and mixed.answers.image_error.notna().any()
    assert (mixed.answers.confidence - plain.answers.confidence).abs().max() < 1e-3
    assert mixed.report().images == plain.report().images and sum(size for size, _ in batches) == len(mixed.answers)
    whole, windows = list(batches), reading.plan_windows(mixed.questions, 8, fill=8)
    assert min(size for size, _ in whole[:-1]) > 4 and 4 < len(windows) < 60
    assert sum(8 - size for size, _ in whole[:-1]) < .03*len(mixed.answers)
    bad.clear()
    bad[mixed.questions[windows[4][0][0]].image] = None
    batches.clear()
    with pytest.raises(UserError, match="damaged"): evaluate(vqa, output_dir=tmp_path/"stopped", bad_images="stop", **how)
    assert sum(size for size, _ in batches) == sum(len(group) for window in windows[:4] for group in window)
    bad.clear()
    evaluate(vqa, output_dir=tmp_path/"stopped", **how)
    assert batches == whole


def test_windows_start_small_fill_batches_and_keep_their_order():
    questions = [replace(q, image=f"{n}.jpg", image_id=n) for n, count in enumerate([3, 5, 4, 6, 5]*40) for q in open_sample().questions[:count]]
    windows = reading.plan_windows(questions, 16, fill=16)
    flat = [i for window in windows for group in window for i in group]
    assert flat == list(range(len(questions))) and [len(window) for window in windows][0] <= 8 and max(map(len, windows)) <= 64
    counts = [sum(map(len, window)) for window in windows]
    assert sum(-count % 16 for count in counts[:-1]) < .01*len(questions) and counts[0] < counts[2] < counts[4]
    assert [sum(map(len, window)) % 16 for window in reading.plan_windows(questions, 16)][0] # by itself it is no whole number of batches
    assert reading.plan_windows([], 16, fill=16) == []
    many = [replace(q, image="one.jpg", image_id=1) for q in open_sample().questions[:40]] + questions[:1]
    assert [list(map(len, window)) for window in reading.plan_windows(many, 1, fill=16)] == [[40, 1]]
    assert len(reading.plan_windows(many + questions, 1, fill=999)) > 1 # fewer than a batch, all the same


@pytest.fixture
def device(monkeypatch):
    "The sample's model on a device that pretends to be CUDA; gives it, the events of its batches, and the order in which they were waited for."
    events, waited = [], []
    class Event:
        def __init__(self): events.append(self)
        def synchronize(self): waited.append(self)
    class Pretending(VQA): device = torch.device("cuda")
    stream = SimpleNamespace(record_event=Event, wait_event=lambda event: None)
    cuda = dict(current_stream=lambda device=None: stream, Stream=lambda device=None: stream, stream=lambda which: nullcontext(), device=lambda which: nullcontext(), synchronize=lambda device=None: None, get_device_name=lambda device=None: "pretended",
                cudart=lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0), max_memory_allocated=lambda device=None: 0, reset_peak_memory_stats=lambda device=None: None)
    for name, what in cuda.items(): monkeypatch.setattr(torch.cuda, name, what)
    monkeypatch.setattr(reading, "use_processes", lambda kind, pictures: kind == "cuda")
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    monkeypatch.setattr(reading, "to_device", lambda pictures, device: pictures.clone())
    vqa = load_model("sample", device="cpu")
    return Pretending(vqa.model, vqa.answers, vqa.tokenizer, vqa.name, vqa.source), events, waited


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="decoding processes are for Linux")
def test_batches_ahead_keep_the_order_of_answers_through_a_stop_and_little_memory(tmp_path, monkeypatch, device):
    vqa, events, waited = device
    run = dict(limit=100, batch_size=2, progress=False, workers=2)
    evaluate(load_model("sample", device="cpu"), output_dir=tmp_path/"plain", **run)
    write, logits, calls, full = Journal.write, vqa.logits, [0, 0], [5, 25] # calls at which memory is short, one in each session
    def interrupted(self, records):
        calls[0] += 1
        if calls[0] == 12: raise KeyboardInterrupt
        write(self, records)
    def short(images, ids, rows, counts):
        calls[1] += 1
        if full and calls[1] >= full[0] and len(ids) > 1:
            full.pop(0)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return logits(images, ids, rows, counts)
    monkeypatch.setattr(Journal, "write", interrupted)
    vqa.logits = short
    with pytest.raises(KeyboardInterrupt, match="answered and kept"): evaluate(vqa, output_dir=tmp_path/"device", **run)
    assert len(events) - len(waited) >= 3 # they were under way, and are answered again
    before, first = len(events), len(full)
    done = evaluate(vqa, output_dir=tmp_path/"device", **run)
    plain, kept = (tmp_path/name/"answers-0.jsonl" for name in ("plain", "device"))
    assert [line.partition(b"confidences")[0] for line in kept.read_bytes().splitlines()[1:]] == [line.partition(b"confidences")[0] for line in plain.read_bytes().splitlines()[1:]]
    assert (tmp_path/"plain"/done.submission.name).read_bytes() == done.submission.read_bytes()
    assert any("ran out of memory with 2 questions" in text for text in done.report().warnings)
    assert first == 1 and not full
    assert len(set(waited)) == len(waited) and len([e for e in events[before:] if e not in waited]) <= 3 # each batch once; the places of the last windows are not written again


@pytest.mark.parametrize("free, sharing, found", [(100e9, 1, 64), (100e9, 2, 32), (3e12, 1, 128), (1e9, 1, 1)]) # bytes; a question takes 1e9
def test_the_batch_size_follows_from_the_memory_that_is_free(monkeypatch, free, sharing, found):
    peak, size = [0], SimpleNamespace(image_size=8)
    def logits(images, ids):
        assert images.shape == (len(ids), 8, 8, 3)
        if len(ids)*1e9 > free: raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        peak[0] = 5 + len(ids)*10**9
    for name, what in dict(synchronize=None, memory_allocated=5, reset_peak_memory_stats=None, mem_get_info=(free, 4e12)).items(): monkeypatch.setattr(torch.cuda, name, lambda device, what=what: what)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    assert batching.find_batch_size(SimpleNamespace(device=torch.device("cuda"), config=size, logits=logits), sharing=sharing) == found


def test_a_window_too_large_for_the_device_is_copied_batch_by_batch(tmp_path, monkeypatch, device):
    vqa, _, _ = device
    run, copied = dict(limit=30, batch_size=2, progress=False, workers=2), []
    evaluate(load_model("sample", device="cpu"), output_dir=tmp_path/"plain", **run)
    def short(pictures, device):
        copied.append(len(pictures))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(reading, "to_device", short)
    done = evaluate(vqa, output_dir=tmp_path/"device", **run)
    assert copied and done.submission.read_bytes() == (tmp_path/"plain"/done.submission.name).read_bytes()


def test_memory_that_may_not_be_locked_is_used_as_it_is(tmp_path, monkeypatch, device):
    released = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "cudart", lambda: SimpleNamespace(cudaHostRegister=lambda *_: 2, cudaHostUnregister=released.append))
    done = evaluate(device[0], output_dir=tmp_path, limit=10, batch_size=2, progress=False, workers=2)
    assert done.submission.exists() and not released


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="decoding processes are for Linux")
def test_processes_that_were_started_early_end_where_nothing_is_read(tmp_path, monkeypatch, device):
    "A folder that holds another run, an interrupt before the first picture, a run that is finished."
    kept, real = [], reading.DecodingProcesses
    monkeypatch.setattr(reading, "DecodingProcesses", lambda count: kept.append(real(count)) or kept[-1])
    run = dict(batch_size=2, progress=False, workers=2, output_dir=tmp_path)
    done = evaluate(device[0], limit=10, **run)
    with pytest.raises(UserError, match="another run|other questions|limit"): evaluate(device[0], limit=20, **run)
    assert evaluate(device[0], limit=10, **run).submission.read_bytes() == done.submission.read_bytes()
    monkeypatch.setattr(answering, "read_windows", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): evaluate(device[0], limit=10, **{**run, "output_dir": tmp_path/"other"})
    assert len(kept) == 4 and all(process.poll() is not None for each in kept for process in each.processes)
