"A training's log: numbers to the bit, rows of what was undone cut off, torn lines, TensorBoard's files, unilm's log.txt."
import errno
import json
import math
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from beit3_colab.machine.messages import UserError
from beit3_colab.training import log as module
from beit3_colab.training.log import append_official, decode_row, encode_row, epoch_means, EventFile, masked_crc, official_row, read_log, tensorboard_in, TrainingLog

STEP, EPOCH = dict(kind="step", step=1, epoch=.25, loss=2.), dict(kind="epoch", step=4, epoch=1, loss=2., accuracy=50., interval=(40., 60.), metric="official")

def rows(count, epoch_of=4):
    for step in range(1, count + 1):
        yield dict(kind="step", step=step, epoch=step/epoch_of, loss=9.7/step, learning_rate=1e-5*step, grad_norm=.1*step)
        if step % epoch_of == 0: yield dict(EPOCH, step=step, epoch=step//epoch_of)

def write(folder, *found, **more):
    with TrainingLog(folder, **more) as log:
        for row in found: log.write(row)
    return read_log(folder)


@pytest.mark.parametrize("seed", range(3))
def test_any_number_comes_back_to_the_bit(tmp_path, seed):
    draws = random.Random(seed)
    numbers = [x for x in (struct.unpack("d", draws.randbytes(8))[0] for _ in range(300)) if math.isfinite(x)] + [5e-324, -0., 1/3, 1.7976931348623157e308]
    found = write(tmp_path, *(dict(STEP, step=n, loss=x, learning_rate=x, grad_norm=x) for n, x in enumerate(numbers)))
    for row, x in zip(found, numbers, strict=True):
        for name in ("loss", "learning_rate", "grad_norm"): assert struct.pack("d", row[name]) == struct.pack("d", x)

@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_still_json(tmp_path, value):
    found, = write(tmp_path, dict(STEP, grad_norm=value))
    assert struct.pack("d", found["grad_norm"]) == struct.pack("d", value) or math.isnan(found["grad_norm"]) and math.isnan(value)
    def refuse(name): raise AssertionError(name)
    json.loads((tmp_path/"log.jsonl").read_text(), parse_constant=refuse) # no NaN, no Infinity in the file

@pytest.mark.parametrize("value, kept", [(np.float32(.1), float(np.float32(.1))), (np.float64(.1), .1), (torch.tensor(.1), torch.tensor(.1).item()), (np.int64(7), 7), (3, 3)])
def test_numbers_of_other_libraries(value, kept):
    row = decode_row(encode_row(dict(STEP, loss=value)), "x")
    assert row["loss"] == kept and type(row["loss"]) is type(kept)

@pytest.mark.parametrize("wrong, says", [(dict(kind="batch"), "kind must be step or epoch"), (dict(step=1.5), "step must be a whole number"), (dict(step=None), "step must be"), (dict(loss="low"), "loss must be a number, not 'low'"), (dict(loss=True), "loss must be"),
                                         (dict(interval=(1., math.nan)), "interval must be two numbers"), (dict(accuracy=math.nan), "accuracy must be a number"), (dict(best="yes"), "best must be true or false"), (dict(samples=-1), "samples must be")])
def test_a_row_that_is_none_is_not_written(tmp_path, wrong, says):
    with TrainingLog(tmp_path) as log:
        with pytest.raises(UserError, match=says): log.write({**STEP, **wrong})
    assert (tmp_path/"log.jsonl").read_bytes() == b""


# Going on

@pytest.mark.parametrize("cut", [0, 1, 3, 4, 7, 8, 11])
def test_going_on_cuts_what_was_undone_and_no_more(tmp_path, cut):
    whole = write(tmp_path, dict(EPOCH, step=0, epoch=0), *rows(8))
    found = write(tmp_path, resume_at=cut)
    assert found == [row for row in whole if row["step"] <= cut]
    assert write(tmp_path, *(row for row in rows(8) if row["step"] > cut), resume_at=cut) == whole

def test_a_new_training_begins_a_new_log(tmp_path):
    write(tmp_path, *rows(8))
    assert write(tmp_path, STEP) == [STEP]

@pytest.mark.parametrize("torn", range(1, 70, 6))
def test_a_line_that_was_cut_anywhere_is_no_fault(tmp_path, torn):
    whole = write(tmp_path, *rows(4))
    content = (tmp_path/"log.jsonl").read_bytes()
    (tmp_path/"log.jsonl").write_bytes(content[:-torn])
    assert read_log(tmp_path) == whole[:-1]
    assert write(tmp_path, *list(rows(4))[-1:], resume_at=4) == whole

def test_a_reader_meets_whole_rows_while_another_writes(tmp_path):
    with TrainingLog(tmp_path) as log:
        for number, row in enumerate(rows(6), 1):
            log.write(row)
            assert len(read_log(tmp_path)) == number

def test_the_later_of_two_rows_of_one_moment_counts(tmp_path):
    found = write(tmp_path, *rows(4), dict(EPOCH, accuracy=51.))
    assert [row["accuracy"] for row in found if row["kind"] == "epoch"] == [51.] and len(found) == 5

@pytest.mark.parametrize("line, says", [(b"{", "line 2 is cut short"), (b"", "line 2 is empty"), (b"\xff\xfe", "line 2"), (b"[]", "line 2 must hold a JSON object"), (b'{"kind": "step", "step": 1}', "line 2 has no epoch"), (b'{"kind": ["step"], "step": 1, "epoch": 1}', "line 2: kind must be"),
                                        (b'{"kind": "step", "step": 1, "epoch": 1, "loss": "1e5"}', "line 2: loss must be a number"), (b'{"kind": "step", "step": 1, "epoch": 1e999}', "line 2: epoch must be"), (b"[" * 100_000, "line 2"), (b'{"step": ' + b"9" * 5000 + b"}", "line 2")])
def test_a_damaged_line_is_named(tmp_path, line, says):
    write(tmp_path, *rows(3))
    lines = (tmp_path/"log.jsonl").read_bytes().split(b"\n")
    (tmp_path/"log.jsonl").write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    for use in (lambda: read_log(tmp_path), lambda: TrainingLog(tmp_path, 2)):
        with pytest.raises(UserError, match=says) as caught: use()
        assert len(str(caught.value)) < 600

def test_what_is_no_log_is_refused(tmp_path):
    (tmp_path/"elsewhere").write_text("mine\n")
    os.symlink(tmp_path/"elsewhere", tmp_path/"log.jsonl")
    for use in (lambda: read_log(tmp_path), lambda: TrainingLog(tmp_path)):
        with pytest.raises(UserError, match="is a link, and is not followed"): use()
    assert (tmp_path/"elsewhere").read_text() == "mine\n"
    os.unlink(tmp_path/"log.jsonl")
    os.mkfifo(tmp_path/"log.jsonl")
    for use in (lambda: read_log(tmp_path), lambda: TrainingLog(tmp_path)):
        with pytest.raises(UserError, match="is a pipe, not a file"): use()
    with pytest.raises(UserError, match="is no folder of a training"): read_log(tmp_path/"elsewhere")
    assert read_log(tmp_path/"nowhere") == []

@pytest.mark.parametrize("taken", [0, 1, 30])
def test_a_full_disk_leaves_no_half_row(tmp_path, monkeypatch, taken):
    log = TrainingLog(tmp_path)
    log.write(STEP)
    whole, append = (tmp_path/"log.jsonl").read_bytes(), log._append
    def full(data):
        append(data[:taken])
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(log, "_append", full)
    with pytest.raises(UserError, match="is on a full disk: free some space"): log.write(STEP)
    assert (tmp_path/"log.jsonl").read_bytes() == whole
    monkeypatch.undo()
    log.write(dict(STEP, step=2))
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2]

def test_a_folder_that_takes_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be made|is a file"): TrainingLog(tmp_path/"nowhere")


# TensorBoard

def read_events(path):
    "Step and scalars of each record, decoded by hand; check sums are looked at."
    content, at, found = Path(path).read_bytes(), 0, []
    def varint(data, i):
        value = shift = 0
        while True:
            value, shift, i = value | (data[i] & 0x7F) << shift, shift + 7, i + 1
            if not data[i - 1] & 0x80: return value, i
    def fields(data):
        i, found = 0, []
        while i < len(data):
            key, i = varint(data, i)
            if key & 7 == 0: value, i = varint(data, i)
            elif key & 7 == 1: value, i = struct.unpack_from("<d", data, i)[0], i + 8
            elif key & 7 == 5: value, i = struct.unpack_from("<f", data, i)[0], i + 4
            else:
                size, i = varint(data, i)
                value, i = data[i:i + size], i + size
            found.append((key >> 3, value))
        return found
    while at < len(content):
        size, crc = struct.unpack_from("<QI", content, at)
        data = content[at + 12:at + 12 + size]
        assert crc == masked_crc(content[at:at + 8]) and struct.unpack_from("<I", content, at + 12 + size)[0] == masked_crc(data)
        event = dict(fields(data))
        scalars = {(v := dict(fields(part)))[1].decode(): v[2] for _, part in fields(event.get(5, b""))}
        found.append((event.get(2), scalars, event))
        at += 16 + size
    return found

def test_events_hold_the_rows_figures(tmp_path):
    write(tmp_path, *rows(4), dict(STEP, step=300, epoch=9.), tensorboard=tmp_path/"board")
    file, = (tmp_path/"board").iterdir()
    version, start, *events = read_events(file)
    assert version[2][3] == b"brain.Event:2" and start[2][7] == b"\x08\x01" and start[0] == 0
    assert [step for step, *_ in events] == [1, 2, 3, 4, 4, 300]
    for (_, scalars, event), row in zip(events[:4], rows(3)):
        assert scalars == {"train/loss": np.float32(row["loss"]), "opt/lr": np.float32(row["learning_rate"]), "opt/grad_norm": np.float32(row["grad_norm"])} and event[1] > 1.7e9
    assert events[4][1] == {"perf/accuracy": 50.}

def test_a_second_file_says_from_where_it_counts(tmp_path):
    write(tmp_path, *rows(8), tensorboard=tmp_path/"board")
    write(tmp_path, *list(rows(8))[-3:], resume_at=5, tensorboard=tmp_path/"board")
    first, second = sorted((tmp_path/"board").iterdir())
    assert read_events(second)[1][0] == 6 and read_events(second)[2][0] == 7 and read_events(first)[1][0] == 0

@pytest.mark.parametrize("installed", [True, False])
def test_where_files_for_tensorboard_are_written(tmp_path, monkeypatch, installed):
    monkeypatch.setattr(module, "has_tensorboard", lambda: installed)
    with TrainingLog(tmp_path) as log: assert bool(log.note) == installed
    assert (tmp_path/"tensorboard").is_dir() == installed
    with tensorboard_in(tmp_path/"asked"), tensorboard_in(None), TrainingLog(tmp_path, 0) as log:
        assert log.note.startswith(f"tensorboard --logdir {tmp_path/'asked'}") and ("pip install" in log.note) == (not installed)
    assert len(list((tmp_path/"asked").iterdir())) == 1
    with TrainingLog(tmp_path, 0) as log: assert (log.events is not None) == installed # as before

def test_infinite_norms_are_events_too(tmp_path):
    events = EventFile(tmp_path)
    events.write(dict(STEP, grad_norm=math.inf, loss=math.nan))
    events.close()
    scalars = read_events(next(tmp_path.iterdir()))[-1][1]
    assert scalars["opt/grad_norm"] == math.inf and math.isnan(scalars["train/loss"])

def test_a_folder_for_tensorboard_that_cannot_be_is_named(tmp_path):
    (tmp_path/"file").touch()
    with pytest.raises(UserError, match="is a file, not a folder|inside a file"): TrainingLog(tmp_path, tensorboard=tmp_path/"file")

@pytest.mark.parametrize("data, crc", [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff"*32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)])
def test_check_sums_are_those_of_the_standard(data, crc):
    "CRC-32C of RFC 3720, B.4, before it is masked."
    assert masked_crc(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# unilm's log.txt

def test_a_row_of_unilms_log():
    steps = [dict(STEP, step=n, learning_rate=2.**-n, grad_norm=math.inf if n == 1 else n) for n in range(1, 9)]
    row = dict(EPOCH, metric="soft") | epoch_means(steps, 1, 4)
    found = official_row(row, 1000, (.5, 20.), .01, 65536.)
    assert found == dict(train_lr=20*.9375/4, train_min_lr=.5*.9375/4, train_loss=2., train_loss_scale=65536., train_weight_decay=.01, train_grad_norm=3., val_score=50., val_score_interval=[40., 60.], epoch=0, n_parameters=1000)
    assert list(found)[:6] == ["train_lr", "train_min_lr", "train_loss", "train_loss_scale", "train_weight_decay", "train_grad_norm"] # in unilm's order
    assert "val_score" not in official_row(EPOCH, 1) and official_row(EPOCH, 1)["val_accuracy"] == 50. # another figure has another name
    assert not [name for name in official_row(dict(EPOCH, accuracy=None, interval=None), 1) if name.startswith("val")]

@pytest.mark.parametrize("row", [STEP, dict(EPOCH, epoch=0)])
def test_what_is_no_epochs_end_has_no_row(row):
    with pytest.raises(ValueError, match="not an epoch's end"): official_row(row, 1)

def test_an_epoch_that_is_done_again_is_written_once(tmp_path):
    (tmp_path/"log.txt").write_text('not ours\n{"epoch": 0}\n{"epoch": 1}\n{"epoch": 2}\n{"epo')
    append_official(tmp_path, dict(official_row(dict(EPOCH, epoch=2), 5), train_grad_norm=math.inf))
    lines = (tmp_path/"log.txt").read_text().splitlines()
    assert lines[:2] == ["not ours", '{"epoch": 0}'] and len(lines) == 3 and json.loads(lines[2])["epoch"] == 1
