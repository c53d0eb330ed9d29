"""Pictures for training: the same whoever reads them, in order, ahead of the model; pictures that cannot be read."""
import gc
import io
import os
import threading
import zipfile
from dataclasses import replace
from itertools import count, islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from beit3_colab.data.dataset import Dataset, Question
from beit3_colab.data.own import open_questions
from beit3_colab.machine.messages import UserError
from beit3_colab.pictures.given import ImageError
from beit3_colab.pictures.reading import preprocess, read_image
from beit3_colab.pictures.sources import FolderPictures, PictureSource, ServerPictures, ZipPictures
from beit3_colab.training import loader as loading
from beit3_colab.training.augmentation import Augmentation, draws_of
from beit3_colab.training.loader import Loader
from file_server import Fault, FileServer

PICTURES, SIZE = 12, 40
NAMES = [f"train2014/COCO_train2014_{i:012d}.jpg" for i in range(PICTURES)]
KINDS = ["threads", "processes"] if hasattr(os, "memfd_create") else ["threads"]

def jpeg(number):
    rng = np.random.default_rng(number)
    soft = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64 + number, 56), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    soft.save(buffer, "JPEG")
    return buffer.getvalue()

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    (root/"train2014").mkdir()
    for i, name in enumerate(NAMES): (root/name).write_bytes(jpeg(i))
    return root

def questions(names=NAMES): return [Question(100 + i, i, "what is it", name) for i, name in enumerate(names)]

@pytest.fixture
def data(folder): return Dataset("train", questions(), None, folder)

@pytest.fixture
def kind(request, monkeypatch):
    "Threads or processes, whatever the device."
    monkeypatch.setattr(loading, "use_processes", lambda *_: request.param == "processes")
    return request.param

def read(data, order, workers=2, augmentation=Augmentation(), seed=7, **options):
    "All batches' pictures and errors."
    with Loader(data, data.questions, SIZE, augmentation, seed, workers, **options) as loader:
        batches = list(loader.batches(order))
    return torch.cat([pictures for pictures, _ in batches]), [error for _, errors in batches for error in errors]

def by_hand(data, epoch, rows, seed=7):
    found = [Augmentation().apply(data.read_image(q), SIZE, draws_of(seed, epoch, q.question_id)) for q in (data.questions[row] for row in rows)]
    return torch.from_numpy(np.stack(found))

both = pytest.mark.parametrize("kind", KINDS, indirect=True)


# --- the same pixels

@both
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 5, 12])
def test_pixels_follow_from_seed_epoch_and_question(data, kind, workers, batch):
    order = [(epoch, list(range(i, min(i + batch, PICTURES)))) for epoch in (0, 3) for i in range(0, PICTURES, batch)]
    pictures, errors = read(data, order, workers)
    assert pictures.dtype == torch.uint8 and pictures.shape == (2*PICTURES, SIZE, SIZE, 3) and not errors
    assert torch.equal(pictures, torch.cat([by_hand(data, epoch, range(PICTURES)) for epoch in (0, 3)]))

@both
def test_order_is_kept_and_a_training_can_go_on_anywhere(data, kind):
    rng = np.random.default_rng(0)
    order = [(epoch, rows) for epoch in range(4) for rows in np.array_split(rng.permutation(PICTURES), 4)]
    whole, _ = read(data, order)
    at = sum(len(rows) for _, rows in order[:5])
    assert torch.equal(whole[at:], read(data, order[5:], workers=1)[0])
    assert torch.equal(whole[:at], torch.cat([by_hand(data, epoch, rows) for epoch, rows in order[:5]]))

@both
def test_seeds_and_epochs_differ_and_ids_decide(data, kind):
    whole, _ = read(data, [(0, range(PICTURES))])
    for other in (read(data, [(1, range(PICTURES))])[0], read(data, [(0, range(PICTURES))], seed=8)[0]):
        assert all((a != b).any() for a, b in zip(whole, other))
    renamed = replace(data, questions=[replace(q, question_id=str(q.question_id)) for q in data.questions])
    assert all((a != b).any() for a, b in zip(whole, read(renamed, [(0, range(PICTURES))])[0]))
    moved = replace(data, questions=data.questions[::-1]) # a row is only where a question stands
    assert torch.equal(whole, read(moved, [(0, range(PICTURES - 1, -1, -1))])[0])

@both
def test_ids_of_numpy_are_numbers_too(data, kind):
    numbered = replace(data, questions=[replace(q, question_id=np.int64(q.question_id)) for q in data.questions])
    assert torch.equal(read(numbered, [(np.int64(2), np.arange(3))], seed=np.int64(7))[0], by_hand(data, 2, range(3)))

@both
def test_clean_pictures_are_those_of_an_evaluation(data, kind):
    pictures, _ = read(data, [(0, [3, 1]), (5, [2])], augmentation=None)
    assert (pictures.numpy() == np.stack([preprocess(data.read_image(data.questions[row]), SIZE) for row in (3, 1, 2)])).all()

@both
def test_the_references_overflows_reach_the_readers(data, kind):
    theirs = Augmentation(faithful=True)
    changed = [row for row in range(PICTURES) if {"AutoContrast", "Sharpness"} & {name for name, *_ in theirs.draw(64, 56, draws_of(7, 6, 100 + row)).operations}]
    assert changed
    right, wrong = (read(data, [(6, changed)], augmentation=a)[0] for a in (Augmentation(), theirs))
    assert (right != wrong).any()
    assert torch.equal(wrong[0], torch.from_numpy(theirs.apply(data.read_image(data.questions[changed[0]]), SIZE, draws_of(7, 6, 100 + changed[0]))))


# --- from anywhere

@both
def test_a_zip_gives_what_its_folder_gives(data, folder, kind, tmp_path):
    with zipfile.ZipFile(tmp_path/"train2014.zip", "w") as z:
        for name in NAMES: z.write(folder/name, name)
    zipped = replace(data, source=ZipPictures(tmp_path/"train2014.zip"))
    assert torch.equal(read(zipped, [(1, range(PICTURES))])[0], by_hand(data, 1, range(PICTURES)))

@both
def test_a_server_is_asked_once_for_each_picture_and_ahead(data, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "_FETCHED", 4) # asked for together
    with FileServer({f"/{name}": jpeg(i) for i, name in enumerate(NAMES)}) as server:
        online = replace(data, source=ServerPictures(tmp_path, server.url, backoff=.001))
        order = [(epoch, [row, (row + 5) % PICTURES]) for epoch in range(2) for row in range(PICTURES)]
        pictures, _ = read(online, order, workers=1)
        assert sorted(r.path for r in server.requests) == [f"/{name}" for name in NAMES]
    assert torch.equal(pictures, torch.cat([by_hand(data, *batch) for batch in order]))

@both
def test_a_server_that_fails_ends_the_training_with_its_reason(data, kind, tmp_path):
    with FileServer({f"/{name}": jpeg(i) for i, name in enumerate(NAMES)}) as server:
        server.fail(f"/{NAMES[3]}", *[Fault(status=503)]*50)
        online = replace(data, source=ServerPictures(tmp_path, server.url, retries=1, backoff=.001))
        with Loader(online, online.questions, SIZE, Augmentation(), workers=2, bad_images="blank") as loader, pytest.raises(UserError, match="503") as raised:
            list(loader.batches((0, [row]) for row in range(PICTURES)))
    assert not isinstance(raised.value, ImageError)

@both
def test_a_training_that_stops_waits_for_no_server(data, kind, tmp_path):
    with FileServer({f"/{name}": jpeg(i) for i, name in enumerate(NAMES)}) as server:
        gate = threading.Event()
        server.fail(f"/{NAMES[5]}", Fault(gate=gate)) # stands still
        online = replace(data, source=ServerPictures(tmp_path, server.url))
        with Loader(online, online.questions, SIZE, Augmentation(), workers=2) as loader:
            batches = loader.batches((0, [row]) for row in range(PICTURES))
            assert len(list(islice(batches, 2))) == 2
        gate.set()

@both
def test_own_pictures_upright_and_in_memory(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = read_image(jpeg(3))
    lying.save(tmp_path/"lying.png", exif=exif)
    rows = [dict(image=str(tmp_path/"lying.png"), question="what?"), dict(image=np.asarray(lying), question="and now?")]
    own = open_questions(rows)
    clean, _ = read(own, [(0, [0, 1])], augmentation=None)
    for pixels, picture in zip(clean, (lying.transpose(Image.Transpose.ROTATE_270), lying)): assert (pixels.numpy() == preprocess(picture, SIZE)).all()
    assert torch.equal(read(own, [(2, [0, 1])])[0], by_hand(own, 2, [0, 1]))

def test_pictures_that_only_this_process_can_read_are_read_here(data, folder, monkeypatch):
    "A source or a data set of one's own: no process is started, even beside a GPU."
    monkeypatch.setattr(loading, "use_processes", lambda *_: True)
    monkeypatch.setattr(loading, "Decoders", lambda *_, **__: pytest.fail("processes were started"))
    class Upside(FolderPictures):
        def read(self, name): return super().read(name).rotate(180)
    class Drawn(Dataset):
        def read_image(self, question): return read_image(jpeg(question.image_id)).rotate(180)
    expected = None
    for own in (replace(data, source=Upside(folder)), Drawn("train", data.questions, None, folder)):
        pictures, _ = read(own, [(0, range(4))])
        assert torch.equal(pictures, by_hand(own, 0, range(4)))
        assert expected is None or torch.equal(pictures, expected)
        expected = pictures

def test_threads_do_where_the_system_gives_no_processes(data, monkeypatch):
    def refused(*_, **__): raise OSError("no more processes")
    monkeypatch.setattr(loading, "use_processes", lambda *_: True)
    monkeypatch.setattr(loading, "Decoders", refused)
    assert torch.equal(read(data, [(0, range(4))])[0], by_hand(data, 0, range(4)))

@pytest.mark.parametrize("device_type, count, processes", [("cpu", 10_000, False), ("mps", 10_000, False), ("cuda", 10_000, True), ("cuda", 30, True), ("cuda", 3, False)])
def test_processes_serve_beside_a_gpu(data, monkeypatch, device_type, count, processes):
    started = []
    monkeypatch.setattr(loading, "Decoders", lambda *args, **_: started.append(args[2]) or SimpleNamespace(pictures=np.zeros((4, 1)), close=lambda: None))
    monkeypatch.setattr(loading.os, "cpu_count", lambda: 16)
    with Loader(data, data.questions*(count//PICTURES) + data.questions[:count % PICTURES], SIZE, device_type=device_type): pass
    assert started == ([8] if processes and hasattr(os, "memfd_create") else [])


# --- what cannot be read

@pytest.fixture
def bad(data, folder, tmp_path):
    "Rows 1 to 4 are damaged, each in its way."
    (tmp_path/"cut.jpg").write_bytes(jpeg(1)[:400])
    (tmp_path/"page.jpg").write_text("<!DOCTYPE html><p>Sign in")
    (tmp_path/"empty.jpg").write_bytes(b"")
    names = [str(folder/NAMES[0]), *(str(tmp_path/f"{name}.jpg") for name in ("gone", "cut", "page", "empty")), str(folder/NAMES[5])]
    return Dataset("train", questions(names), None, tmp_path)

@both
def test_unreadable_pictures_end_the_training_by_name(bad, kind):
    with pytest.raises(ImageError) as raised: read(bad, [(0, range(6))])
    said = str(raised.value)
    for part in ("gone.jpg does not exist (question 101)", "cut.jpg cannot be read", "(question 102)", "page.jpg is a web page", "(question 103)",
                 "empty.jpg is empty", "(question 104)", "Correct them", "bad_images='blank' (--bad-images blank)", "in their place"): assert part in said
    assert "question 100" not in said and "question 105" not in said

@both
def test_unreadable_pictures_can_be_grey_and_are_told(bad, kind):
    pictures, errors = read(bad, [(0, [0, 1, 2]), (0, [3, 4, 5])], bad_images="blank")
    assert [question_id for question_id, _ in errors] == [101, 102, 103, 104] and all(".jpg" in why for _, why in errors)
    assert (pictures[1:5] == 128).all() and torch.equal(pictures[[0, 5]], by_hand(bad, 0, [0, 5]))

def test_a_message_about_many_pictures_is_short(folder):
    lost = Dataset("train", questions([f"{'long'*40}{i}.jpg" for i in range(500)]), None, folder)
    with pytest.raises(ImageError, match="and 490 more questions") as raised: read(lost, [(0, range(500))])
    assert len(str(raised.value)) < 4000
    with pytest.raises(ImageError, match=r"\(question 100\)\. Correct it, .* in its place$"): read(lost, [(0, [0])])

class Given(Dataset):
    "A data set of somebody's own whose pictures are in memory."
    def read_image(self, question): return PICTURES_IN_MEMORY[question.image_id]

GREY = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
def spoiled(value, at=(2, 3)):
    array = GREY.copy()
    array[at] = value
    return array
PICTURES_IN_MEMORY = {
    0: GREY, 1: spoiled(np.nan), 2: spoiled(np.inf), 3: torch.from_numpy(spoiled(-np.inf))[None], 4: Image.fromarray(spoiled(np.nan)), 5: GREY*2 - 1,
    6: Image.fromarray(np.rint(GREY*255).astype(np.uint8)), 7: Image.fromarray(np.rint(GREY*65535).astype(np.uint16)), 8: None}

@pytest.mark.parametrize("number, says", [(1, "holds NaN or infinite numbers (1 of 48)"), (2, "holds NaN or infinite numbers (1 of 48)"), (3, "NaN or infinite"), (4, "NaN or infinite"),
                                          (5, "numbers from -1 to 1"), (8, "there is no picture (None)")])
@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_floats_that_are_no_picture_are_refused_with_the_question(folder, number, says, augmentation):
    data = Given("train", [Question(f"q{number}", number, "what?")], None, folder)
    with pytest.raises(ImageError) as raised: read(data, [(0, [0])], augmentation=augmentation)
    assert says in str(raised.value) and f"(question 'q{number}')" in str(raised.value)
    pictures, errors = read(data, [(0, [0])], augmentation=augmentation, bad_images="blank")
    assert (pictures == 128).all() and errors[0][0] == f"q{number}" and says in errors[0][1]

@pytest.mark.parametrize("number", [0, 6, 7])
def test_floats_and_greys_that_are_pictures_are_taken(folder, number):
    data = Given("train", [Question(1, number, "what?")], None, folder)
    pictures, errors = read(data, [(0, [0])], augmentation=None)
    expected = preprocess(Image.fromarray(np.rint(GREY*255).astype(np.uint8)).convert("RGB"), SIZE)
    assert not errors and abs(pictures[0].numpy().astype(int) - expected).max() <= 1

@both
def test_a_float_file_with_nan_is_refused_with_the_question(kind, tmp_path):
    Image.fromarray(GREY).save(tmp_path/"depth.tiff")
    own = open_questions([dict(image=str(tmp_path/"depth.tiff"), question="how far?")])
    Image.fromarray(spoiled(np.nan)).save(tmp_path/"depth.tiff") # since it was looked at
    with pytest.raises(ImageError, match=r"depth.tiff holds NaN or infinite numbers.*\(question "): read(own, [(0, [0])])

@pytest.mark.parametrize("wrong, says", [(dict(bad_images="skip"), r"bad_images \(--bad-images\) must be 'stop' or 'blank', not 'skip'"), (dict(workers=0), r"workers \(--workers\) must be a whole number of 1 or more, not 0"),
                                         (dict(workers=1.5), "not 1.5"), (dict(workers=True), "not True")])
def test_loaders_that_cannot_be(data, wrong, says):
    with pytest.raises(UserError, match=says): Loader(data, data.questions, SIZE, **wrong)


# --- reading ahead, and its end

@both
def test_batches_are_made_ahead_and_not_without_end(data, kind):
    taken = []
    def order():
        for epoch in count():
            taken.append(epoch)
            yield epoch, [epoch % PICTURES]
    with Loader(data, data.questions, SIZE, Augmentation(), workers=2) as loader:
        batches = loader.batches(order(), ahead=7)
        next(batches)
        assert len(taken) == 7
        for _ in range(20): next(batches)
        assert len(taken) == 27
        large = loader.batches(((epoch, range(PICTURES)) for epoch in taken), ahead=1) # two batches at least
        assert len(next(large)[0]) == PICTURES

def test_a_step_of_the_published_recipe_is_there_when_the_last_one_is_done(data):
    "A step takes eight micro-batches of 16 at once; while it is at work, all of the next one's are in the making."
    taken = []
    def order():
        for number in count():
            taken.append(number)
            yield 0, [number % PICTURES]*16
    with Loader(data, data.questions, SIZE, Augmentation(), workers=2) as loader:
        batches = loader.batches(order())
        for step in range(1, 4):
            assert len(list(islice(batches, 8))) == 8
            assert len(taken) >= 8*(step + 1)

@both
def test_a_batch_stays_what_it_is(data, kind):
    "Whoever keeps batches finds in them what was there: their memory is not used again."
    kept = []
    with Loader(data, data.questions, SIZE, Augmentation(), workers=2) as loader:
        for pictures, _ in loader.batches((epoch, range(4)) for epoch in range(12)): kept.append((pictures, pictures.clone()))
    gc.collect()
    assert all(torch.equal(pictures, then) for pictures, then in kept) and len({then.sum().item() for _, then in kept}) > 9

@both
def test_nothing_is_left_when_a_training_ends_early(data, kind):
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        with Loader(data, data.questions, SIZE, Augmentation(), workers=2) as loader:
            decoders = loader._readers.decoders
            for _ in loader.batches((epoch, range(4)) for epoch in count()): raise KeyboardInterrupt
    assert not {t for t in threading.enumerate() if t.name.startswith("beit3-training")} - threads
    assert (decoders is None) == (kind == "threads") and all(p.returncode is not None for p in (decoders.processes if decoders else ()))
    with pytest.raises(RuntimeError, match="inside a with statement"): next(loader.batches([(0, [0])]))

@both
def test_one_loader_serves_again_and_side_by_side(data, kind):
    with Loader(data, data.questions, SIZE, Augmentation(), 7, workers=2) as loader:
        next(loader.batches((0, [row]) for row in range(PICTURES))) # left off
        orders = [(0, [0, 1]), (1, [2])], [(2, [5]), (3, [4, 3])]
        for *found, first, second in zip(*map(loader.batches, orders), *orders):
            for (pictures, _), batch in zip(found, (first, second)): assert torch.equal(pictures, by_hand(data, *batch))
    with loader: assert torch.equal(next(loader.batches([(0, [0])]))[0], by_hand(data, 0, [0]))

def test_empty_batches_and_no_batches(data):
    pictures, errors = read(data, [(0, []), (0, [1])])
    assert pictures.shape == (1, SIZE, SIZE, 3) and not errors
    with Loader(data, data.questions, SIZE) as loader: assert list(loader.batches([])) == []

@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="reading processes are for Linux")
def test_a_process_that_dies_ends_the_training(data, monkeypatch):
    monkeypatch.setattr(loading, "use_processes", lambda *_: True)
    with Loader(data, data.questions, SIZE, Augmentation(), workers=2) as loader, pytest.raises(RuntimeError, match="a decoding process died"):
        for number, _ in enumerate(loader.batches((epoch, range(4)) for epoch in count())):
            if number == 2: loader._readers.decoders.processes[0].kill()

@both
def test_what_was_waited_for_is_told(data, kind):
    with Loader(data, data.questions, SIZE, Augmentation(), workers=1) as loader:
        for _ in loader.batches([(0, range(PICTURES))]*2): pass
    assert 0 < loader.decoding_seconds and 0 < loader.file_seconds and 0 < loader.waited < 60

def test_a_source_of_ones_own_needs_only_a_path(folder):
    class Mine(PictureSource):
        def path(self, name): return folder/name
    mine = Dataset("train", questions(), None, folder, source=Mine())
    assert torch.equal(read(mine, [(0, [2])])[0], by_hand(mine, 0, [2]))
