"VQAv2 by name: questions, annotations, answer list and pictures from a local server under the official paths, which has every fault that a network and a disk can have."
import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from file_server import PROXIES, Fault, FileServer
from official_standin import (ANSWERS, PICTURES, QUESTIONS, make_checkpoint, mirror, sample_folder_once, serve_json, zipped)
from official_standin import official_json as all_json, serve_picture_zip as all_in_a_zip, serve_pictures as all_pictures
from processes import wait_until

from beit3_colab import evaluate, load_model, open_run
from beit3_colab.data import vqav2_online
from beit3_colab.pictures import sources as picture_sources
from beit3_colab.data.answer_list import NUM_VQAV2_ANSWERS
from beit3_colab.model.checkpoint import convert, read_answers
from beit3_colab.commands.cli import main
from beit3_colab.pictures.decoding import Decoders
from beit3_colab.downloads.records import locked
from beit3_colab.machine.messages import UserError
from beit3_colab.machine.files import atomic_write
from beit3_colab.pictures.reading import ImageError
from beit3_colab.data.vqav2 import open_official
from beit3_colab.data.vqav2_online import ANNOTATIONS, official_answers, official_folder
from beit3_colab.pictures.sources import FolderPictures, ServerPictures, ZipPictures

NAME = "beit3_base_patch16_480_vqa"
VAL_QUESTIONS, VAL_ANNOTATIONS = f"{QUESTIONS}/v2_Questions_Val_mscoco.zip", f"{QUESTIONS}/v2_Annotations_Val_mscoco.zip"
PICTURE = "val2014/COCO_val2014_000000000001.jpg"

SOME, COUNT = 40, 218 # pictures of the sample, and their questions
official_json, serve_pictures, serve_picture_zip = (partial(f, pictures=SOME) for f in (all_json, all_pictures, all_in_a_zip))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory): return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), NAME)

@pytest.fixture(scope="module")
def served(checkpoint): return {**checkpoint, **serve_json(official_json()), **serve_pictures()}

@pytest.fixture(scope="module")
def vqa(checkpoint): return load_model(next(p for p in checkpoint.values() if p.suffix == ".pth"), device="cpu")

@pytest.fixture
def server(served, tmp_path, monkeypatch):
    for name in PROXIES: monkeypatch.delenv(name, raising=False)
    with FileServer(served) as s:
        monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", mirror(s))
        monkeypatch.setattr(vqav2_online, "ServerPictures", partial(ServerPictures, backoff=0.001))
        monkeypatch.setattr(vqav2_online, "fetch", partial(vqav2_online.fetch, backoff=0.001))
        yield s

def asked_times(server): return Counter(r.path for r in server.requests)
def pictures_asked(server): return [r.path for r in server.requests if r.path.startswith(f"{PICTURES}/val2014/")]

def kept():
    "The pictures in the cache; every one is whole, and nothing half-written lies beside them."
    folder = official_folder()/"val2014"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in names: assert (folder/name).read_bytes() == (sample_folder_once()/"val2014"/name).read_bytes(), name
    return names

def run_val(checkpoint, tmp_path, **options): return evaluate(checkpoint, split="val", **{"limit": 60, "output_dir": tmp_path/"run", "device": "cpu", "progress": False, **options})


# --- the plain way

def test_a_split_by_name(server, tmp_path):
    run = run_val(NAME, tmp_path)
    assert len(run.records) == len(run.questions) >= 60 and 0 < run.accuracy.overall < 100
    label = f"BEiT-3 base, {run.identity.image_size} px on VQAv2 val, {len(run.questions)} questions"
    assert run.label == label and f"\n{label}\nOfficial VQA accuracy, {len(run.questions)} questions, " in str(run.accuracy)
    assert str(run.soft_score).startswith(label) and str(run.report()).startswith(label)
    assert run.submission.name == f"partial_vqav2_val_{len(run.questions)}.json" and "not be submitted" in run.evalai
    times = asked_times(server)
    assert set(times.values()) == {1} and len(pictures_asked(server)) == len({q.image for q in run.questions}) == len(kept()) < SOME/2
    info = json.loads((run.folder/"run.json").read_text())
    assert (info["data_path"], info["images"], info["identity"]["split"]) == (None, "auto", "val")
    assert run.vqa.ask(run.data.image_path(run.questions[0]), "What is it?")[0].answer in ANSWERS

def test_the_second_time_without_a_network(server, vqa, tmp_path):
    first = run_val(vqa, tmp_path)
    server.__exit__()
    again = run_val(vqa, tmp_path, output_dir=tmp_path/"again")
    assert again.submission.read_bytes() == first.submission.read_bytes()
    opened = open_run(first.folder)
    assert opened.accuracy == first.accuracy and opened.data.read_image(opened.questions[0]).size == first.data.read_image(first.questions[0]).size

def test_two_processes_download_each_thing_once(server, tmp_path):
    run = run_val(NAME, tmp_path, processes=2, batch_size=2)
    assert len(run.records) == len(run.questions) and set(asked_times(server).values()) == {1}
    assert [p.name for p in sorted(run.folder.glob("answers-*.jsonl"))] == ["answers-0.jsonl", "answers-1.jsonl"]
    assert all(len(p.read_text().splitlines()) > 10 for p in run.folder.glob("answers-*.jsonl"))

TWO = """from beit3_colab.data.vqav2 import open_official
from beit3_colab.data.vqav2_online import official_answers
data = open_official("val")
questions = data.questions[:40]
data = data.choose_pictures(questions)
with data.source.fetching([q.image for q in questions]):
    for q in questions: data.read_image(q)
print(len(official_answers(5)))"""

def test_two_programs_at_once_download_each_thing_once(server):
    for path in [*pictures_of(server), VAL_QUESTIONS, VAL_ANNOTATIONS]: server.fail(path, Fault(delay=0.05))
    both = [subprocess.Popen([sys.executable, "-c", TWO], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate(timeout=300)[0] for p in both] == ["5\n"]*2
    assert set(asked_times(server).values()) == {1} and len(kept()) == len(pictures_asked(server)) > 5

def pictures_of(server): return [p for p in server.files if p.startswith(f"{PICTURES}/val2014/")]

def test_the_whole_test_split_has_its_name_and_its_phase(server, vqa, tmp_path, monkeypatch):
    monkeypatch.setattr("beit3_colab.data.vqa_files.TEST2015", COUNT)
    run = evaluate(vqa, split="test", output_dir=tmp_path/"run", device="cpu", progress=False, images="single", batch_size=64)
    assert run.submission.name == "submit_vqav2_test.json" and "test-dev and test-standard phases" in run.evalai
    assert run.accuracy is None and len(json.loads(run.submission.read_text())) == COUNT
    part = evaluate(vqa, split="test-dev", limit=5, output_dir=tmp_path/"dev", device="cpu", progress=False)
    assert part.submission.name.startswith("partial_vqav2_test-dev_")

def test_a_model_by_name_has_its_answers(server, tmp_path):
    vqa = load_model(NAME, device="cpu")
    assert vqa.answers is None # nothing is fetched before it is needed
    assert vqa.ask(sample_folder_once()/PICTURE, "What is it?")[0].answer in ANSWERS
    folder = convert(NAME, tmp_path/"converted")
    assert read_answers(folder) == ANSWERS
    server.__exit__()
    assert load_model(folder, device="cpu").ask(sample_folder_once()/PICTURE, "What is it?")[0].answer == vqa.ask(sample_folder_once()/PICTURE, "What is it?")[0].answer


# --- the official JSON files

BOMB = zipped({"v2_OpenEnded_mscoco_val2014_questions.json": bytes(3_000_000)})

@pytest.mark.parametrize("content, says", [
    (lambda good: good[:-40], "damaged or cut short"), (lambda good: good[:len(good)//2], "damaged or cut short"),
    (lambda good: zipped({"../../questions.json": "{}"}), "leads out of the folder"), (lambda good: BOMB, "would unpack to 3.0 MB: .*BEIT3_COLAB_LIMITS=zip_bytes"),
    (lambda good: zipped({"questions.json": "{}"}), "holds no 'v2_OpenEnded_mscoco_val2014_questions.json'"),
    (lambda good: zipped({"v2_OpenEnded_mscoco_val2014_questions.json": '{"questions": [{"question_id"'}), "cut short"),
    (lambda good: zipped({"v2_OpenEnded_mscoco_val2014_questions.json": '{"annotations": []}'}), "holds annotations"),
    (lambda good: b"<!DOCTYPE html><html>sign in</html>", "HTML page")], ids=["zip cut", "zip half", "name leads out", "bomb", "member missing", "json cut", "other json", "page"])
def test_a_bad_zip_is_not_kept(server, content, says, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "zip_bytes=2e6")
    server.fail(VAL_QUESTIONS, Fault(content=content(server.files[VAL_QUESTIONS])))
    with pytest.raises(UserError, match=says): open_official("val")
    assert len(open_official("val").questions) == COUNT # the next try
    assert not list(official_folder().parent.rglob("questions.json")) and not list(official_folder().rglob("*.part"))

def test_a_damaged_json_file_is_unpacked_again(server, caplog):
    data = open_official("val")
    path = official_folder()/"vqa"/"v2_mscoco_val2014_annotations.json"
    path.write_bytes(path.read_bytes()[:1000])
    requests = len(server.requests)
    assert open_official("val").annotations == data.annotations and len(server.requests) == requests
    assert "does not hold what was downloaded" in caplog.text

def test_annotations_of_other_questions_are_not_kept(server):
    server.fail(VAL_ANNOTATIONS, Fault(content=zipped({"v2_mscoco_val2014_annotations.json": json.dumps(official_json()["v2_mscoco_train2014_annotations.json"])})))
    with pytest.raises(UserError, match="have no annotation"): open_official("val")
    assert open_official("val").annotations

def test_disk_full_while_unpacking(server, monkeypatch):
    def full(path, data, **more): # what is unpacked comes as bytes, records as text
        if isinstance(data, bytes): raise OSError(errno.ENOSPC, "No space left on device")
        atomic_write(path, data)
    with monkeypatch.context() as m:
        m.setattr("beit3_colab.downloads.records.atomic_write", full)
        with pytest.raises(UserError, match="is full; free some space"): open_official("val")
    with monkeypatch.context() as m:
        m.setattr("beit3_colab.machine.files.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
        with pytest.raises(UserError, match="are needed under"): open_official("val")
    assert open_official("val").annotations

def test_drive_not_mounted(server, tmp_path, vqa, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_DRIVE", str(tmp_path/"drive"))
    with monkeypatch.context() as m:
        m.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"drive"/"MyDrive"/"cache"))
        with pytest.raises(UserError, match="which is not mounted"): open_official("val")
    with pytest.raises(UserError, match="which is not mounted"): run_val(vqa, tmp_path, output_dir=tmp_path/"drive"/"MyDrive"/"run")
    assert not (tmp_path/"drive").exists() # it would stand in the way of the mount
    (tmp_path/"drive"/"MyDrive").mkdir(parents=True)
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"drive"/"MyDrive"/"cache"))
    assert len(run_val(vqa, tmp_path, output_dir=tmp_path/"drive"/"MyDrive"/"run").records) >= 60


# --- the answer list

def test_answer_list_is_built_once(server, monkeypatch):
    assert official_answers(5) == ANSWERS
    monkeypatch.setattr(vqav2_online, "build_answer_list", None)
    assert official_answers(5) == ANSWERS
    for name in ANNOTATIONS: os.utime(official_folder()/"vqa"/name) # newer, and the same
    assert official_answers(5) == ANSWERS

def test_newer_annotations_make_a_new_list(server):
    assert official_answers(5) == ANSWERS
    changed = official_json({a["question_id"]: "no" for a in official_json()["v2_mscoco_val2014_annotations.json"]["annotations"]})
    changed["v2_mscoco_train2014_annotations.json"]["annotations"] = changed["v2_mscoco_train2014_annotations.json"]["annotations"][9:] # without “yes”
    server.files |= serve_json(changed)
    vqav2_online.discard_official(*ANNOTATIONS) # as when the official zips are replaced by a newer version
    assert official_answers(4) == ANSWERS[1:]

@pytest.mark.parametrize("damage", ["", "{", "[]", '{"made_from": []}', '{"answers": 3}'])
def test_a_damaged_list_is_built_again(server, damage):
    official_answers(5)
    (official_folder()/"answers_from_annotations.json").write_text(damage)
    assert official_answers(5) == ANSWERS

def test_a_list_of_another_length_is_refused(server):
    with pytest.raises(UserError, match="give 5 answers, but 7 are expected: the head was trained with another list"): official_answers(7)
    assert all((official_folder()/"vqa"/name).exists() for name in ANNOTATIONS) # the head may be the odd one
    with pytest.raises(UserError, match="give 5 answers, but 3,129 are expected: the files are cut short"): official_answers()
    assert not any((official_folder()/"vqa"/name).exists() for name in ANNOTATIONS)
    assert official_answers(5) == ANSWERS

def test_a_list_in_another_order_is_refused(server):
    answers = [f"a{i}" for i in range(NUM_VQAV2_ANSWERS)]
    with pytest.raises(UserError, match="begins with a0, a1, a2"): vqav2_online.check_official_answers(answers)

@pytest.mark.parametrize("content", ['{"annotations": [3]}', '{"annotations": [{"question_id": 1}]}', '{"annotations": {}}', '{"annotations": [{"multiple_choice_answer": 3}]}', "[]"])
def test_annotations_that_are_none(server, content):
    path = f"{QUESTIONS}/v2_Annotations_Train_mscoco.zip"
    server.fail(path, Fault(content=zipped({ANNOTATIONS[0]: content})))
    with pytest.raises(UserError, match="annotation"): official_answers(5)
    assert official_answers(5) == ANSWERS


# --- single pictures

@pytest.fixture
def source(server): return ServerPictures(official_folder(), vqav2_online.PICTURES, retries=2, backoff=0.001)

PASSING = { # made of the whole picture
           "cut at a quarter": lambda whole: Fault(cut=0.25), "cut at a half": lambda whole: Fault(cut=0.5), "cut at three quarters": lambda whole: Fault(cut=0.75), "cut at the end": lambda whole: Fault(cut=0.999), "busy": lambda whole: Fault(status=503),
           "failing": lambda whole: Fault(status=500), "too many": lambda whole: Fault(status=429, headers={"Retry-After": "0"}), "length told too large": lambda whole: Fault(headers={"Content-Length": str(len(whole) + 100)}),
           "length told too small": lambda whole: Fault(headers={"Content-Length": str(len(whole) - 100)}), "cut on the server": lambda whole: Fault(content=whole[:-1000]), "empty": lambda whole: Fault(content=b""),
           "another file": lambda whole: Fault(content=b"hello"), "cut without a length": lambda whole: Fault(chunked=True, cut=0.5), "moved": lambda whole: Fault(status=302, headers={"Location": f"{PICTURES}/val2014/moved.jpg"})}

@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass(server, source, fault):
    whole = (sample_folder_once()/PICTURE).read_bytes()
    server.files[f"{PICTURES}/val2014/moved.jpg"] = whole
    server.fail(f"{PICTURES}/{PICTURE}", PASSING[fault](whole))
    assert source.fetch(PICTURE).read_bytes() == whole
    assert kept() == [Path(PICTURE).name]

STAYING = {"gone": (Fault(status=404), ImageError, "status 404"), "cut on the server": (Fault(content=b"\xff\xd8\xff\xe0 cut"), ImageError, "is no whole picture"),
           "page": (Fault(content=b"<html>sign in</html>", headers={"Content-Type": "text/html"}), UserError, "HTML page"), "forbidden": (Fault(status=403), UserError, "may not be read"),
           "failing": (Fault(status=500), UserError, "busy or failing"), "come back tomorrow": (Fault(status=429, headers={"Retry-After": "86400"}), UserError, "come back in 86400 s"),
           "in circles": (Fault(status=302, headers={"Location": f"{PICTURES}/{PICTURE}"}), UserError, "circles")}

@pytest.mark.parametrize("fault", STAYING)
def test_faults_that_stay(server, source, fault):
    what, kind, says = STAYING[fault]
    server.fail(f"{PICTURES}/{PICTURE}", *[what]*20)
    with pytest.raises(UserError, match=says) as error: source.fetch(PICTURE)
    assert type(error.value) is kind and kept() == []
    server.faults.clear()
    source.fetch(PICTURE)
    assert kept() == [Path(PICTURE).name]

def test_disk_full_at_a_picture(server, vqa, tmp_path, monkeypatch):
    tries = itertools.count() # counts rightly in several threads
    def fills_up(path, data):
        if next(tries) >= 4: raise OSError(errno.ENOSPC, "No space left on device")
        time.sleep(0.2) # this one is slow, and the error of the next may come first
        return atomic_write(path, data)
    with monkeypatch.context() as m:
        m.setattr(picture_sources, "atomic_write", fills_up)
        with pytest.raises(UserError, match="is full; free some space"): run_val(vqa, tmp_path, batch_size=2)
    assert len(kept()) == 4
    assert len(run_val(vqa, tmp_path, batch_size=2).records) >= 60

def test_no_space_for_the_pictures(server, vqa, tmp_path, monkeypatch):
    open_official("val")
    monkeypatch.setattr("beit3_colab.machine.files.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 200_000}))
    with pytest.raises(UserError, match=r"\d\.\d MB are needed under"): run_val(vqa, tmp_path)
    assert pictures_asked(server) == []

def test_a_picture_that_the_server_does_not_have(server, vqa, tmp_path):
    data = open_official("val")
    gone = data.questions[-1].image
    server.fail(f"{PICTURES}/{gone}", *[Fault(status=404)]*20)
    ids = [q.question_id for q in data.questions if q.image == gone]
    with pytest.raises(UserError, match=f"status 404.*questions {', '.join(map(str, ids))}.*bad_images='blank'") as error: run_val(vqa, tmp_path, limit=None, batch_size=64)
    assert error.type is UserError
    run = run_val(vqa, tmp_path, limit=None, batch_size=64, bad_images="blank")
    assert {i for i, r in run.records.items() if "image_error" in r} == set(ids) and len(run.records) == COUNT
    assert len(pictures_asked(server)) == SOME + 1 # of the second run only the missing one

def test_a_network_that_fails_never_means_grey_pictures(server, vqa, tmp_path):
    for path in pictures_of(server): server.fail(path, *[Fault(status=500)]*20)
    with pytest.raises(UserError, match="busy or failing"): run_val(vqa, tmp_path, bad_images="blank")
    server.faults.clear()
    run = run_val(vqa, tmp_path, bad_images="blank")
    assert len(run.records) == len(run.questions) and not [r for r in run.records.values() if "image_error" in r]

def test_a_report_gives_up_a_server_that_is_out_of_reach(server, vqa, tmp_path):
    run = run_val(vqa, tmp_path, limit=None)
    shutil.rmtree(official_folder()/"val2014")
    for path in pictures_of(server): server.fail(path, *[Fault(status=500)]*20)
    before = len(pictures_asked(server))
    text = run.to_html(tmp_path/"report.html", n=COUNT).read_text()
    assert text.count("class='missing'") == COUNT and "busy or failing" in text
    assert len(pictures_asked(server)) - before <= 2 * picture_sources.CONNECTIONS * 6 # six tries each of those that were under way, not of all forty

def test_two_fetch_at_once(server, source):
    "A report on a run that goes on: the one ends, and the other's pictures still come, and its waiting can still be ended."
    names = [p.removeprefix(f"{PICTURES}/") for p in pictures_of(server)]
    first, second, gate = names[:8], names[8:12], threading.Event()
    for name in first: server.fail(f"{PICTURES}/{name}", Fault(gate=gate))
    failures = []
    def read(name):
        try: source.fetch(name)
        except UserError as error: failures.append(error)
    try:
        with source.fetching(first) as give_up:
            with source.fetching([first[0], *second]): # one of them is on its way already
                for name in second: source.fetch(name)
            waiting = [threading.Thread(target=read, args=[name], daemon=True) for name in first[:2]]
            for thread in waiting: thread.start()
            give_up()
            for thread in waiting: thread.join(60)
            assert len(failures) == 2 and all("has ended" in str(e) for e in failures)
    finally: gate.set()
    ended, errors = picture_sources._Batch(), []
    ended.end()
    for _ in range(2):
        with pytest.raises(UserError, match="has ended") as error, ended.writing(): pass
        errors.append(error.value)
    assert errors[0] is not errors[1] # one for all would keep the frames of every run
    assert source.missing(second) == []

def test_quiet_means_no_downloads_shown(server, tmp_path, capfd):
    for options in (dict(), dict(processes=2, batch_size=2), dict(background=True)):
        shutil.rmtree(tmp_path/"cache", ignore_errors=True)
        run = run_val(NAME, tmp_path, output_dir=tmp_path/str(len(options)), **options)
        if options.get("background"): run.wait()
        assert capfd.readouterr() == ("", "")
    shutil.rmtree(tmp_path/"cache")
    run_val(NAME, tmp_path, output_dir=tmp_path/"seen", progress="log", processes=2, batch_size=2)
    assert f"{NAME}.pth" in capfd.readouterr().err # fetched by the process that people see, not by those that it starts

def test_answers_come_before_the_last_picture(server, vqa, tmp_path, monkeypatch):
    monkeypatch.setattr("beit3_colab.run.runner.REMOTE_BATCH", 2) # 8 of the 40 pictures make a window
    open_official("val")
    gate, last = threading.Event(), open_official("val").questions[-1].image
    server.fail(f"{PICTURES}/{last}", Fault(gate=gate))
    run = run_val(vqa, tmp_path, limit=None, batch_size=64, background=True)
    try:
        wait_until(lambda: run.state != "preparing", 60)
        wait_until(lambda: run.refresh() or run.records, 60)
        assert 0 < len(run.records) < COUNT and run.running
    finally: gate.set()
    run.wait()
    assert len(run.records) == COUNT

def test_a_stopped_run_waits_for_nothing_and_asks_for_nothing_more(server, vqa, tmp_path):
    free, gate = 10, threading.Event()
    images = list(dict.fromkeys(q.image for q in open_official("val").questions))
    for name in images[free:]: server.fail(f"{PICTURES}/{name}", Fault(gate=gate))
    others = set(threading.enumerate())
    run = run_val(vqa, tmp_path, limit=None, batch_size=2, background=True)
    try:
        wait_until(lambda: len(pictures_asked(server)) == free + picture_sources.CONNECTIONS, 60) # the rest of the connections stand still
        run.stop()
        run.wait()
        assert len(kept()) == free
    finally: gate.set()
    wait_until(lambda: not [t for t in set(threading.enumerate()) - others if t.name.startswith("pictures")], 60) # those that were on their way come now
    assert len(kept()) == free and len(pictures_asked(server)) == free + picture_sources.CONNECTIONS < SOME # and nobody wants them

def test_connections_are_bounded_and_wait_when_asked(server, source):
    names = [p.removeprefix(f"{PICTURES}/") for p in pictures_of(server)][:20]
    active, most, content, changed = [0], [0], server.content, threading.Condition()
    def slow(path): # the first wait until all connections are used; one too many would come then
        with changed:
            active[0] += 1
            most[0] = max(most[0], active[0])
            changed.notify_all()
            changed.wait_for(lambda: most[0] >= picture_sources.CONNECTIONS, 30)
        time.sleep(0.01)
        with changed: active[0] -= 1
        return content(path)
    server.content = slow
    with source.fetching(names):
        for name in names: source.fetch(name)
    assert most[0] == picture_sources.CONNECTIONS == 8
    server.requests.clear()
    more = [p.removeprefix(f"{PICTURES}/") for p in pictures_of(server)][20:]
    server.fail(f"{PICTURES}/{more[0]}", Fault(status=429, headers={"Retry-After": "1"}))
    begun = time.monotonic()
    with source.fetching(more):
        for name in more: source.fetch(name)
    assert time.monotonic() - begun >= 1 and len(server.requests) == 21

def test_many_pictures_are_better_had_in_a_zip(server, vqa, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(vqav2_online, "MANY_PICTURES", 5)
    run_val(vqa, tmp_path)
    assert "are fetched one by one" in caplog.text and "--images zip" in caplog.text and "val2014.zip (6 GB)" in caplog.text

def test_decoding_processes_find_what_was_fetched(server):
    data = open_official("val")
    data = data.choose_pictures(data.questions)
    from beit3_colab.run.windows import _load_elsewhere
    decoders = Decoders(data, 32, processes=1, capacity=2)
    try:
        assert _load_elsewhere(data, decoders, data.questions[0], 0)[0] is None and decoders.pictures[0].std() > 1
        server.fail(f"{PICTURES}/{data.questions[-1].image}", *[Fault(status=404)]*9)
        assert "status 404" in _load_elsewhere(data, decoders, data.questions[-1], 1)[0] and (decoders.pictures[1] == 128).all()
    finally: decoders.close()
    assert len(pictures_asked(server)) == 2


# --- the zip of pictures

@pytest.fixture(scope="module")
def picture_zip(): return serve_picture_zip("val2014")

def test_the_official_zip_by_name(server, picture_zip, vqa, tmp_path):
    server.files |= picture_zip
    path, = picture_zip
    server.fail(path, Fault(cut=0.4)) # continued
    run = run_val(vqa, tmp_path, images="zip")
    assert [r.start > 0 for r in server.asked(path)] == [False, True] and pictures_asked(server) == []
    assert run.data.read_image(run.questions[0]).size and "the network" not in run.report().setup["limited_by"]
    server.__exit__()
    assert run_val(vqa, tmp_path, output_dir=tmp_path/"again").submission.read_bytes() == run.submission.read_bytes() # "auto" finds the zip
    assert open_run(run.folder).data.read_image(run.questions[0]).size

def test_a_damaged_official_zip_is_fetched_again(server, picture_zip, vqa, tmp_path):
    server.files |= picture_zip
    (path, content), = picture_zip.items()
    server.fail(path, Fault(content=content[:-1000]))
    with pytest.raises(UserError, match="damaged or cut short"): run_val(vqa, tmp_path, images="zip")
    assert len(run_val(vqa, tmp_path, images="zip").records) >= 60

def test_a_zip_on_a_disk_that_fails_is_kept(server, picture_zip, monkeypatch):
    server.files |= picture_zip
    path = vqav2_online.official_zip("val2014").zip_path
    def fail(*args, **kwargs): raise OSError(errno.EIO, os.strerror(errno.EIO)) # as Google Drive does now and then
    with monkeypatch.context() as m:
        m.setattr(picture_sources.zipfile, "ZipFile", fail)
        with pytest.raises(UserError, match="cannot be read: Input/output error"): vqav2_online.official_zip("val2014")
    assert path.is_file() and len(vqav2_online.official_zip("val2014")) > 0 and len(server.asked(*picture_zip)) == 1

def test_a_disk_that_times_out_ends_the_waiting(tmp_path, monkeypatch):
    source = ServerPictures(tmp_path, "https://nowhere.invalid", 1)
    def fail(name, batch): raise TimeoutError(errno.ETIMEDOUT, "the disk does not answer")
    monkeypatch.setattr(source, "_download", fail)
    with source.fetching([PICTURE]), pytest.raises(TimeoutError, match="does not answer"): source.fetch(PICTURE)

def test_waiting_for_another_process_ends_with_the_run(tmp_path):
    source, others = ServerPictures(tmp_path, "https://nowhere.invalid", 1), set(threading.enumerate())
    def fetchers(): return [t for t in set(threading.enumerate()) - others if t.name.startswith("pictures")]
    (tmp_path/".locks").mkdir()
    with locked(tmp_path/".locks"/f"{zlib.crc32(PICTURE.encode()) % picture_sources._LOCKS}"): # another process fetches it
        with source.fetching([PICTURE]): assert fetchers()
        wait_until(lambda: not fetchers(), 60)

@pytest.mark.parametrize("place", ["val2014.zip", "zips/val2014.zip", "given"])
def test_a_zip_of_ones_own(server, picture_zip, vqa, tmp_path, place):
    files = official_json()
    (tmp_path/"data"/"vqa").mkdir(parents=True)
    for name, content in files.items(): (tmp_path/"data"/"vqa"/name).write_text(json.dumps(content))
    path = tmp_path/"elsewhere.zip" if place == "given" else tmp_path/"data"/place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(*picture_zip.values())
    options = dict(data_path=tmp_path/"data", **({"images": path} if place == "given" else {}))
    run = run_val(vqa, tmp_path, **options)
    assert len(run.records) >= 60 and isinstance(run.data.source, ZipPictures) and server.requests == []
    assert open_run(run.folder).data.read_image(run.questions[0]).size
    assert run_val(vqa, tmp_path, **options).report() == run.report() # nothing was left to do
    path.unlink()
    assert open_run(run.folder).answers["answer"].tolist() == run.answers["answer"].tolist() # without its pictures

def test_pictures_of_ones_own_come_first(server, picture_zip, vqa, tmp_path):
    (tmp_path/"data"/"vqa").mkdir(parents=True)
    for name, content in official_json().items(): (tmp_path/"data"/"vqa"/name).write_text(json.dumps(content))
    with pytest.raises(UserError, match="images='single'"): run_val(vqa, tmp_path, data_path=tmp_path/"data")
    assert len(run_val(vqa, tmp_path, data_path=tmp_path/"data", images="single").records) >= 60 # the questions are one's own, the pictures COCO's
    (tmp_path/"data"/"val2014").symlink_to(sample_folder_once()/"val2014")
    (tmp_path/"data"/"val2014.zip").write_bytes(*picture_zip.values())
    before = len(server.requests)
    run = run_val(vqa, tmp_path, data_path=tmp_path/"data", output_dir=tmp_path/"own")
    assert type(run.data.source) is FolderPictures and len(server.requests) == before
    moved = run_val(vqa, tmp_path, data_path=tmp_path/"data", output_dir=tmp_path/"own2", images=sample_folder_once())
    assert moved.submission.read_bytes() == run.submission.read_bytes()

def test_command_line(server, tmp_path, capsys):
    arguments = ["evaluate", "--checkpoint", NAME, "--split", "val", "--limit", "20", "--device", "cpu", "--quiet", "--output-dir", str(tmp_path/"run")]
    assert main(arguments) == 0
    out = capsys.readouterr().out # the label as a person would write it, and whose training data it was
    assert out.startswith("BEiT-3 base, 64 px on VQAv2 val, ") and f"training data of {NAME}: a figure on val" in out
    assert main([*arguments[:-1], str(tmp_path/"other"), "--images", str(tmp_path/"no.zip")]) == 2
    assert "is neither 'auto', 'zip' or 'single'" in capsys.readouterr().err

def test_an_unknown_name_and_split(server, tmp_path):
    with pytest.raises(UserError, match=f"did you mean {NAME}"): run_val("beit3_base_patch16_480_vqq", tmp_path)
    assert server.requests == [] # told before anything is fetched for it
    with pytest.raises(UserError, match=f"did you mean {NAME}"): run_val("beit3_base_patch16_480_vqq", tmp_path, processes=2)
    assert server.requests == [] # also where others would do the work
    with pytest.raises(UserError, match="use one of train, val, test, test-dev, or “sample”"): evaluate(NAME, split="validation")
