"Downloads against a server with faults: after each of them the next try succeeds, and nothing corrupt is ever found under the final name."
import errno
import gzip
import hashlib
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from beit3_colab.machine import files
from beit3_colab.progress import display as progress_display
from beit3_colab.progress.choosing import showing
from beit3_colab.progress.display import Display
from beit3_colab.downloads import records as download_records
from beit3_colab.downloads import fetching as downloads
from beit3_colab.downloads import zips as zip_files
from beit3_colab.downloads.fetching import fetch, refresh
from beit3_colab.downloads.failures import Retry
from beit3_colab.downloads.job import mirrored
from beit3_colab.downloads.records import read_record
from beit3_colab.machine.messages import UserError
from beit3_colab.downloads.zips import read_zip_member
from file_server import PROXIES, Fault, FileServer, nobody
from processes import wait_until

FILE = "/files/weights.pth"
CONTENT = random.Random(0).randbytes(1_000_003)
CHANGED = random.Random(1).randbytes(1_000_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
fetch = partial(fetch, backoff=0.001, timeout=20.)


@pytest.fixture
def server():
    with FileServer({FILE: CONTENT}) as s: yield s

@pytest.fixture
def target(tmp_path): return tmp_path/"cache"/"weights.pth"

@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in (*PROXIES, "BEIT3_COLAB_MIRROR"): monkeypatch.delenv(name, raising=False)

@pytest.fixture(autouse=True)
def quiet():
    with showing(False): yield

class Recorder(Display):
    "Keeps what it would draw, and when."
    def __init__(self):
        super().__init__()
        self.drawn, self.closed = [], 0
    def draw(self, snapshot, final): self.drawn.append((progress_display.time.monotonic(), snapshot))
    def close(self): self.closed += 1
    def for_download(self): return self

def part(target): return target.with_name(target.name + ".part")

def assert_whole(target, content=CONTENT):
    "The file is right, its record fits, and nothing else lies around."
    assert target.read_bytes() == content
    record = read_record(target)
    assert (record["size"], record["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert sorted(p.name for p in target.parent.iterdir()) == sorted([f".{target.name}.lock", target.name, f"{target.name}.json"])


# --- what is kept, asked about again

@pytest.mark.parametrize("hidden, same", [((), 304), (("ETag",), 304), (("Last-Modified",), 304), (("ETag", "Last-Modified"), 200)])
def test_refresh_fetches_what_has_changed_and_nothing_else(server, target, hidden, same):
    def hide(): server.fail(FILE, Fault(headers=dict.fromkeys(hidden)))
    hide()
    fetch(server.url + FILE, target)
    for _ in range(2):
        hide()
        assert refresh(server.url + FILE, target) is False
        assert_whole(target)
    assert [r.status for r in server.requests[1:]] == [same]*2
    server.files[FILE], server.changed = CHANGED, server.changed + 60
    hide()
    assert refresh(server.url + FILE, target) is True
    assert_whole(target, CHANGED)
    fetch(server.url + FILE, target)
    assert len(server.requests) == 4

@pytest.mark.parametrize("fault, says, passing", [
    (Fault(status=503), "busy or failing", True), (Fault(cut=.5), "broke", True), (Fault(status=404), "does not exist", False), (Fault(status=403), "may not be read", False),
    (Fault(content=b"<!DOCTYPE html>", headers={"ETag": "x"}), "HTML page", False), (Fault(content=b"bad", headers={"ETag": "x"}), "no weights", False)])
def test_refresh_leaves_what_is_there(server, target, fault, says, passing):
    fetch(server.url + FILE, target)
    server.files[FILE] = CHANGED
    server.fail(FILE, fault)
    def check(content):
        if content == b"bad": raise UserError("no weights")
    with pytest.raises(UserError, match=says) as error: refresh(server.url + FILE, target, check)
    assert_whole(target)
    assert isinstance(error.value.__cause__, Retry) == passing and len(server.requests) == 2 # asked once
    assert refresh(server.url + FILE, target, check) is True

def test_many_refresh_at_once(server, target):
    fetch(server.url + FILE, target)
    server.files[FILE] = CHANGED
    with ThreadPoolExecutor(6) as pool: found = list(pool.map(lambda _: refresh(server.url + FILE, target), range(6)))
    assert found.count(True) == 1 and [r.status for r in server.requests].count(200) == 2
    assert_whole(target, CHANGED)


# --- the plain way

def test_record_and_second_use(server, target):
    assert fetch(server.url + FILE, target, sha256=SHA256, size=len(CONTENT)) == target
    assert_whole(target)
    record = read_record(target)
    assert record["url"] == server.url + FILE and record["etag"].startswith('"') and record["fetched"].startswith("20")
    for verify in (False, True): fetch(server.url + FILE, target, verify=verify)
    assert len(server.requests) == 1

def test_progress_is_throttled_and_ends_at_the_total(server, target, monkeypatch):
    clock = [0.]
    monkeypatch.setattr(progress_display, "time", namedtuple("Clock", "monotonic sleep")(lambda: clock.__setitem__(0, clock[0] + 0.01) or clock[0], time.sleep))
    with showing(Recorder()) as display: fetch(server.url + FILE, target)
    times, snapshots = zip(*display.drawn)
    done = [s.done for s in snapshots]
    assert done[-1] == len(CONTENT) and {s.total for s in snapshots} == {len(CONTENT)} and done == sorted(done)
    assert {(s.name, s.unit) for s in snapshots} == {("weights.pth", "B")} and snapshots[-1].state == "finished" and display.closed == 1
    assert 3 <= len(snapshots) < len(CONTENT) / 5_000 # fewer than there were pieces
    assert min(b - a for a, b in zip(times[:-2], times[1:-1])) >= 0.1 - 1e-9

def test_progress_as_text(server, target, capsys):
    with showing("bar"): fetch(server.url + FILE, target)
    assert "weights.pth: 100%" in capsys.readouterr().err

def test_progress_in_a_log(server, target, capsys):
    with showing("log"): fetch(server.url + FILE, target)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "weights.pth: 1.0 MB of 1.0 MB (100 %)" in lines[-1]

def test_progress_of_a_download_that_is_continued(server, target):
    server.fail(FILE, Fault(cut=0.5))
    with showing(Recorder()) as display, pytest.raises(UserError): fetch(server.url + FILE, target, retries=0)
    _, last = display.drawn[-1]
    assert last.state == "failed" and last.done == part(target).stat().st_size and "could not be fetched" in last.error and display.closed == 1
    with showing(Recorder()) as display: fetch(server.url + FILE, target)
    assert {s.resumed for _, s in display.drawn} == {last.done} and display.drawn[-1][1].state == "finished"

def test_nothing_is_shown_of_a_file_that_is_there(server, target):
    fetch(server.url + FILE, target)
    with showing(Recorder()) as display: fetch(server.url + FILE, target)
    assert display.drawn == []

def test_mirror(server, target, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://nowhere.invalid={server.url}/wrong;https://nowhere.invalid/releases={server.url}/files")
    official = "https://nowhere.invalid/releases/weights.pth"
    assert mirrored(official) == server.url + FILE
    fetch(official, target)
    assert_whole(target)
    monkeypatch.delenv("BEIT3_COLAB_MIRROR")
    assert read_record(target)["url"] == official
    fetch(official, target) # known without the mirror, and without the server

def test_empty_file(server, target):
    server.files[FILE] = b""
    fetch(server.url + FILE, target)
    assert_whole(target, b"")

def test_packed_on_the_way(server, target):
    server.fail(FILE, Fault(content=gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}, cut=0.5), Fault(content=gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert [r.start for r in server.requests] == [0, 0] # packed bytes are not continued


# --- broken connections

@pytest.mark.parametrize("known", [{}, {"sha256": SHA256, "size": len(CONTENT)}], ids=["unknown", "known"])
@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_dropped_at_a_quarter_is_continued_in_the_same_call(server, target, quarter, known):
    server.fail(FILE, Fault(cut=quarter / 4))
    fetch(server.url + FILE, target, **known)
    assert_whole(target)
    first, second = server.requests
    assert abs(second.start - len(CONTENT) * quarter / 4) <= 1 << 15 # at most one piece is fetched twice
    assert second.status == (206 if quarter else 200)

@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_dropped_at_a_quarter_is_continued_in_the_next_call(server, target, quarter):
    server.fail(FILE, Fault(cut=quarter / 4))
    with pytest.raises(UserError, match="could not be fetched: the connection"): fetch(server.url + FILE, target, retries=0)
    assert not target.exists()
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert (server.requests[1].start > 0) == (quarter > 0)

def test_tries_that_bring_something_do_not_count(server, target):
    server.fail(FILE, *[Fault(cut=0.2)] * 5)
    fetch(server.url + FILE, target, retries=1)
    assert_whole(target)
    assert len(server.requests) == 6

def test_tries_that_bring_nothing_do(server, target):
    server.fail(FILE, Fault(cut=0.5), *[Fault(cut=0.)] * 9)
    with pytest.raises(UserError, match="are kept; try again later"): fetch(server.url + FILE, target, retries=3)
    assert len(server.requests) == 4 and not target.exists()
    server.faults.clear()
    fetch(server.url + FILE, target)
    assert_whole(target)

@pytest.mark.parametrize("cut", [None, 0.5])
def test_length_not_told(server, target, cut):
    server.fail(FILE, Fault(chunked=True, cut=cut))
    with showing(Recorder()) as display: fetch(server.url + FILE, target)
    assert_whole(target)
    assert 0 in {s.total for _, s in display.drawn}

def test_stands_still(server, target):
    gate = threading.Event()
    server.fail(FILE, Fault(cut=0.5, gate=gate))
    fetch(server.url + FILE, target, timeout=2.) # enough for a server that is only slow
    gate.set()
    assert_whole(target)
    assert server.requests[1].status == 206

@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_process_killed_half_way(server, target):
    gate = threading.Event()
    server.fail(FILE, Fault(cut=0.5, gate=gate))
    process = subprocess.Popen([sys.executable, "-c", CHILD, server.url + FILE, str(target)])
    wait_until(lambda: part(target).exists() and part(target).stat().st_size > len(CONTENT) / 3, 60, process)
    process.kill()
    process.wait()
    gate.set()
    assert not target.exists()
    fetch(server.url + FILE, target, patience=5) # the lock went with its holder
    assert_whole(target)
    assert server.requests[1].status == 206 and server.requests[1].start > len(CONTENT) / 3


# --- continuing

def test_changed_between_two_calls_starts_over(server, target):
    server.fail(FILE, Fault(cut=0.5))
    with pytest.raises(UserError): fetch(server.url + FILE, target, retries=0)
    server.files[FILE] = CHANGED # of the same length
    fetch(server.url + FILE, target)
    assert_whole(target, CHANGED)
    assert server.requests[1].start > 0 and server.requests[1].headers["if-range"] and server.requests[1].status == 200

def test_became_shorter_starts_over(server, target):
    server.fail(FILE, Fault(cut=0.5, headers={"ETag": None, "Last-Modified": None}))
    with pytest.raises(UserError): fetch(server.url + FILE, target, retries=0, sha256=hashlib.sha256(b"short").hexdigest())
    server.files[FILE] = b"short"
    fetch(server.url + FILE, target, sha256=hashlib.sha256(b"short").hexdigest())
    assert_whole(target, b"short")
    assert [r.status for r in server.requests] == [200, 416, 200]

@pytest.mark.parametrize("headers, continued", [
    ({"ETag": None}, True),                                   # by its date
    ({"ETag": 'W/"weak"'}, False),                            # does not promise the same bytes
    ({"ETag": None, "Last-Modified": None}, False),
    ({"ETag": None, "Last-Modified": formatdate(time.time() + 3600, usegmt=True)}, False),
])
def test_continued_only_if_the_version_is_named(server, target, headers, continued):
    server.fail(FILE, Fault(cut=0.5, headers=headers), Fault(headers=headers))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert (server.requests[1].start > 0) == continued

def test_version_not_named_but_content_known(server, target):
    bare = {"ETag": None, "Last-Modified": None}
    server.fail(FILE, Fault(cut=0.5, headers=bare), Fault(headers=bare))
    fetch(server.url + FILE, target, sha256=SHA256)
    assert_whole(target)
    assert server.requests[1].status == 206 and "if-range" not in server.requests[1].headers

def test_continued_content_is_wrong_starts_over(server, target):
    bare = {"ETag": None, "Last-Modified": None}
    server.fail(FILE, Fault(cut=0.5, headers=bare, content=CHANGED), Fault(headers=bare))
    fetch(server.url + FILE, target, sha256=SHA256)
    assert_whole(target)
    assert [r.status for r in server.requests] == [200, 206, 200]

def test_range_ignored(server, target):
    server.fail(FILE, Fault(cut=0.75), Fault(ignore_range=True))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert [(r.start > 0, r.status) for r in server.requests] == [(False, 200), (True, 200)]

def test_range_ignored_and_dropped_again(server, target):
    server.fail(FILE, Fault(cut=0.75), Fault(ignore_range=True, cut=0.25))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert 0 < server.requests[2].start <= len(CONTENT) / 4

def test_other_range_sent(server, target):
    server.fail(FILE, Fault(cut=0.5), Fault(wrong_range=True))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert [(r.start > 0, r.status) for r in server.requests] == [(False, 200), (True, 206), (False, 200)]

def test_only_the_renaming_was_missed(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "sha256_of", lambda path: 1/0) # dies after the last byte
    with pytest.raises(ZeroDivisionError): fetch(server.url + FILE, target)
    monkeypatch.undo()
    assert not target.exists()
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert len(server.requests) == 1

@pytest.mark.parametrize("note", ["", "[1]", '{"url": 1}', None])
def test_part_without_a_usable_note_starts_over(server, target, note):
    target.parent.mkdir()
    part(target).write_bytes(b"x" * 5000)
    if note is not None: target.with_name("weights.pth.part.json").write_text(note)
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert server.requests[0].start == 0

def test_part_longer_than_the_file_starts_over(server, target):
    server.fail(FILE, Fault(cut=0.5))
    with pytest.raises(UserError): fetch(server.url + FILE, target, retries=0)
    with open(part(target), "ab") as f: f.write(CONTENT)
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert [r.start for r in server.requests] == [0, 0]


# --- wrong files

def test_wrong_length_known(server, target):
    server.fail(FILE, Fault(content=CONTENT + b"!"))
    with pytest.raises(UserError, match="has 1,000,004 bytes, expected 1,000,003"): fetch(server.url + FILE, target, size=len(CONTENT))
    assert not target.exists() and not part(target).exists()
    fetch(server.url + FILE, target, size=len(CONTENT))
    assert_whole(target)

@pytest.mark.parametrize("told", [len(CONTENT) + 1000, len(CONTENT) - 1000], ids=["too long", "too short"])
def test_wrong_length_told(server, target, told):
    server.fail(FILE, Fault(headers={"Content-Length": str(told)}))
    if told > len(CONTENT):
        with pytest.raises(UserError, match="the connection"): fetch(server.url + FILE, target, retries=0)
    else:
        with pytest.raises(UserError, match="expected 1,000,003"): fetch(server.url + FILE, target, size=len(CONTENT))
    assert not target.exists()
    fetch(server.url + FILE, target, size=len(CONTENT))
    assert_whole(target)

@pytest.mark.parametrize("content", [CONTENT[:-5], CONTENT + b"more!"], ids=["shorter", "longer"])
def test_wrong_length_not_told(server, target, content):
    server.fail(FILE, Fault(content=content, chunked=True))
    with pytest.raises(UserError): fetch(server.url + FILE, target, size=len(CONTENT), retries=0)
    assert not target.exists()
    fetch(server.url + FILE, target, size=len(CONTENT))
    assert_whole(target)

@pytest.mark.parametrize("told", [True, False])
def test_too_large(server, target, told):
    server.fail(FILE, Fault(chunked=not told))
    with pytest.raises(UserError, match="gives more than the 500 kB that it may have"): fetch(server.url + FILE, target, max_bytes=500_000)
    assert sorted(p.name for p in target.parent.iterdir()) == [".weights.pth.lock"]
    fetch(server.url + FILE, target, max_bytes=len(CONTENT))
    assert_whole(target)

def test_wrong_content(server, target):
    server.fail(FILE, Fault(content=CHANGED))
    with pytest.raises(UserError, match=f"its SHA-256 is {hashlib.sha256(CHANGED).hexdigest()}, expected {SHA256}"): fetch(server.url + FILE, target, sha256=SHA256)
    assert sorted(p.name for p in target.parent.iterdir()) == [".weights.pth.lock"]
    fetch(server.url + FILE, target, sha256=SHA256.upper())
    assert_whole(target)

def test_wrong_content_leaves_the_old_file(server, target):
    fetch(server.url + FILE, target)
    with pytest.raises(UserError, match="SHA-256"): fetch(server.url + FILE, target, sha256="0" * 64)
    assert_whole(target)

@pytest.mark.parametrize("body, kind", [(b"<!DOCTYPE html><title>Sign in</title>", "application/octet-stream"), (b"Sign in", "text/html; charset=utf-8"),
                                        (b"\xef\xbb\xbf\n <HTML>", "binary/octet-stream")])
@pytest.mark.parametrize("halfway", [False, True])
def test_html_page(server, target, body, kind, halfway):
    if halfway: server.fail(FILE, Fault(cut=0.5))
    server.fail(FILE, Fault(content=body, headers={"Content-Type": kind, "ETag": '"page"'}))
    with pytest.raises(UserError, match="HTML page.*put it at"): fetch(server.url + FILE, target)
    assert not target.exists() and part(target).exists() == halfway # the page costs nothing that was there
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert (server.requests[-1].start > 0) == halfway

def test_html_that_is_wanted(server, tmp_path):
    server.files["/page.html"] = b"<!DOCTYPE html>"
    server.fail("/page.html", Fault(headers={"Content-Type": "text/html"}))
    assert fetch(server.url + "/page.html", tmp_path/"page.html").read_bytes() == b"<!DOCTYPE html>"

@pytest.mark.parametrize("status, says", [(404, "does not exist"), (410, "does not exist"), (403, "may not be read"), (401, "may not be read"),
                                          (407, "HTTPS_PROXY"), (418, "unexpected status 418"), (204, "unexpected status 204"), (206, "unexpected status 206")])
def test_refused(server, target, status, says):
    server.fail(FILE, Fault(status=status))
    with pytest.raises(UserError, match=says) as caught: fetch(server.url + FILE, target)
    assert server.url + FILE in str(caught.value) or status == 407
    assert str(target) in str(caught.value)
    assert len(server.requests) == 1 # not tried again
    fetch(server.url + FILE, target)
    assert_whole(target)


# --- busy servers

@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_busy(server, target, status):
    server.fail(FILE, Fault(status=status, body=b"<html>busy</html>"), Fault(cut=0.5), Fault(status=status))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert [r.status for r in server.requests] == [status, 200, status, 206]

def test_busy_for_good(server, target):
    server.fail(FILE, *[Fault(status=500)] * 9)
    with pytest.raises(UserError, match="busy or failing .status 500.; try again later"): fetch(server.url + FILE, target, retries=3)
    assert len(server.requests) == 4
    server.faults.clear()
    fetch(server.url + FILE, target)
    assert_whole(target)

@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after, at_least", [("7", 7.), (lambda: formatdate(time.time() + 9, usegmt=True), 7.)], ids=["seconds", "date"])
def test_retry_after(server, target, monkeypatch, status, after, at_least):
    pauses = []
    monkeypatch.setattr(downloads.time, "sleep", pauses.append)
    server.fail(FILE, Fault(status=status, headers={"Retry-After": after() if callable(after) else after}), Fault(status=500))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert len(pauses) >= 2 and at_least <= max(pauses) <= 10

def test_retry_after_is_really_waited_for(server, target):
    server.fail(FILE, Fault(status=429, headers={"Retry-After": "1"}))
    begun = time.monotonic()
    fetch(server.url + FILE, target)
    assert time.monotonic() - begun >= 1

def test_retry_after_a_day(server, target):
    server.fail(FILE, Fault(status=429, headers={"Retry-After": "86400"}))
    with pytest.raises(UserError, match="come back in 86400 s"): fetch(server.url + FILE, target)

def test_pauses_grow():
    pauses = [[downloads._pause(n, 1.) for _ in range(200)] for n in (1, 2, 3)]
    for n, found in enumerate(pauses):
        assert 0.5 * 2**n <= min(found) < 0.75 * 2**n and 1.25 * 2**n < max(found) <= 1.5 * 2**n


# --- redirects and the network

def test_redirect(server, target):
    server.fail("/latest", Fault(status=302, headers={"Location": "/moved"}), Fault(status=302, headers={"Location": "/moved"}))
    server.fail("/moved", Fault(status=301, headers={"Location": server.url + FILE}), Fault(status=307, headers={"Location": server.url + FILE}))
    server.fail(FILE, Fault(cut=0.5))
    fetch(server.url + "/latest", target)
    assert_whole(target)
    assert [r.status for r in server.asked(FILE)] == [200, 206] # the range survives the redirects
    assert read_record(target)["url"] == server.url + "/latest"

def test_redirected_in_circles(server, target):
    server.fail("/latest", *[Fault(status=302, headers={"Location": "/latest"})] * 50)
    with pytest.raises(UserError, match="redirected in circles"): fetch(server.url + "/latest", target)
    assert len(server.requests) == 11

def test_server_is_not_there(target):
    with nobody() as url, pytest.raises(UserError, match="127.0.0.1 cannot be reached .offline, refused.*BEIT3_COLAB_MIRROR.*weights.pth"): fetch(url + FILE, target)

def test_name_is_not_found(target, monkeypatch):
    import socket
    def getaddrinfo(*args, **kwargs): raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(UserError, match="no server named files.example is found.*offline"): fetch("https://files.example/weights.pth", target)

def test_offline(target, monkeypatch):
    import socket
    def connect(self, address): raise OSError(errno.ENETUNREACH, "Network is unreachable")
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(UserError, match="127.0.0.1 cannot be reached .offline"): fetch("http://127.0.0.1:9/weights.pth", target)

@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_is_not_there(target, monkeypatch, scheme):
    monkeypatch.setenv("no_proxy", "")
    with nobody() as url, pytest.raises(UserError, match="proxy does not answer or lets nothing through to files.example; check HTTPS_PROXY"):
        monkeypatch.setenv(f"{scheme}_proxy", url)
        fetch(f"{scheme}://files.example/weights.pth", target)

def test_proxy_shows_a_page(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.files["/weights.pth"] = b"<html>Sign in to the hotel's network</html>"
    with pytest.raises(UserError, match="HTML page .from files.example"): fetch("http://files.example/weights.pth", target)

@pytest.mark.parametrize("url", ["files.example/weights.pth", "ftp://files.example/weights.pth", "http://", ""])
def test_no_address(target, url):
    with pytest.raises(UserError, match="https://"): fetch(url, target)

def test_https_from_a_server_without(server, target):
    with pytest.raises(UserError, match="certificate|connection"): fetch(server.url.replace("http:", "https:") + FILE, target)

def test_password_is_not_shown(server, target, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://files.example={server.url.replace('://', '://me:secret@')}")
    for fault in (Fault(status=404), Fault(content=b"<html>"), Fault(status=302, headers={"Location": "ftp://me:secret@x/"})):
        server.fail(FILE, fault)
        with pytest.raises(UserError) as caught: fetch("https://files.example" + FILE, target)
        assert "secret" not in str(caught.value)
    fetch("https://files.example" + FILE, target)
    assert "secret" not in target.with_name("weights.pth.json").read_text()


# --- the disk

def test_no_space_to_begin_with(server, target, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(1000))
    with pytest.raises(UserError, match=r"1.0 MB are needed under .*cache, and 1.0 kB are free"): fetch(server.url + FILE, target)
    assert not target.exists() and not part(target).exists()
    monkeypatch.undo()
    fetch(server.url + FILE, target)
    assert_whole(target)

class Disk:
    "Takes the place of an open file: `room` bytes fit, and `at_once` with one write."
    room, at_once, error = 10**9, 10**9, 0
    def __init__(self, *args, **kwargs): self.file = open(*args, **kwargs)
    def write(self, data):
        fits = min(len(data), Disk.room, Disk.at_once)
        if not fits: raise OSError(Disk.error, os.strerror(Disk.error))
        Disk.room -= fits
        return self.file.write(data[:fits])
    def __enter__(self): return self
    def __exit__(self, *error): self.file.close()
    def __getattr__(self, name): return getattr(self.file, name)

@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(downloads, "open", lambda path, mode="r", **kwargs: (open if mode == "rb" else Disk)(path, mode, **kwargs), raising=False)
    for name in ("room", "at_once", "error"): monkeypatch.setattr(Disk, name, getattr(Disk, name))
    return Disk

@pytest.mark.parametrize("code, says", [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EFBIG, "larger than the file system"), (errno.EROFS, "may not be written")])
def test_disk_full_half_way(server, target, disk, code, says):
    disk.room, disk.error = 500_000, code
    with pytest.raises(UserError, match=says): fetch(server.url + FILE, target)
    assert not target.exists() and part(target).stat().st_size == 500_000 and len(server.requests) == 1
    disk.room = 10**9
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert server.requests[1].start == 500_000

def test_disk_that_takes_a_little_at_a_time(server, target, disk):
    disk.at_once = 1000
    fetch(server.url + FILE, target)
    assert_whole(target)

@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs is Linux's")
def test_disk_really_full(server, small_disk, monkeypatch):
    target = small_disk("size=600k")/"weights.pth"
    with pytest.raises(UserError, match="are needed under"): fetch(server.url + FILE, target)
    monkeypatch.setattr(downloads, "check_space", lambda folder, needed: None) # it filled up meanwhile
    with pytest.raises(UserError, match="is full"): fetch(server.url + FILE, target)
    assert not target.exists() and part(target).stat().st_size > 500_000
    small_disk("size=3m")
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert server.requests[-1].start > 500_000

@pytest.mark.parametrize("make, says", [(lambda p: p.mkdir(parents=True), "is a folder"), (lambda p: p.parent.write_text("x"), "a file stands where a folder is needed")])
def test_target_in_the_way(server, target, make, says):
    make(target)
    with pytest.raises(UserError, match=says): fetch(server.url + FILE, target)


# --- what is there already

def test_damaged_file_is_fetched_again(server, target, caplog):
    fetch(server.url + FILE, target)
    target.write_bytes(CHANGED)
    os.utime(target, ns=(1, 1))
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert len(server.requests) == 2 and "does not hold what was downloaded" in caplog.text

def test_damage_that_keeps_size_and_time_needs_verify(server, target):
    fetch(server.url + FILE, target)
    before = target.stat().st_mtime_ns
    target.write_bytes(CHANGED)
    os.utime(target, ns=(before, before))
    fetch(server.url + FILE, target)
    assert len(server.requests) == 1
    fetch(server.url + FILE, target, verify=True)
    assert_whole(target)
    assert len(server.requests) == 2

def test_cut_file_is_fetched_again(server, target):
    fetch(server.url + FILE, target)
    target.write_bytes(CONTENT[:1000])
    fetch(server.url + FILE, target)
    assert_whole(target)

def test_copied_file_is_kept(server, target):
    fetch(server.url + FILE, target)
    os.utime(target)
    fetch(server.url + FILE, target)
    assert_whole(target)
    assert len(server.requests) == 1 and read_record(target)["mtime_ns"] == target.stat().st_mtime_ns

@pytest.mark.parametrize("known, taken", [({}, True), ({"size": len(CONTENT)}, True), ({"sha256": SHA256}, True), ({"size": 7}, False), ({"sha256": "0" * 64}, False)])
def test_file_put_there_by_hand(target, known, taken):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    with nobody() as url:
        if taken: assert read_record(fetch(url + FILE, target, **known))["sha256"] == SHA256
        else:
            with pytest.raises(UserError, match="cannot be reached"): fetch(url + FILE, target, **known)
    assert target.read_bytes() == CONTENT

def test_another_address_under_the_same_name(server, target):
    server.files["/other"] = CHANGED
    fetch(server.url + FILE, target)
    fetch(server.url + "/other", target)
    assert_whole(target, CHANGED)

@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"size": 1}', "\xff"])
def test_record_that_says_nothing(server, target, record):
    fetch(server.url + FILE, target)
    target.with_name("weights.pth.json").write_bytes(record.encode("latin-1"))
    fetch(server.url + FILE, target)
    assert_whole(target)


# --- several at once

CHILD = "import sys; from beit3_colab.downloads.fetching import fetch; fetch(sys.argv[1], sys.argv[2], backoff=0.01, timeout=60)"

def test_two_processes_make_one_transfer(server, target):
    gate = threading.Event()
    server.fail(FILE, Fault(gate=gate))
    start = lambda: subprocess.Popen([sys.executable, "-c", CHILD, server.url + FILE, str(target)], stderr=subprocess.PIPE, text=True)
    first = start()
    wait_until(lambda: server.requests, 60, first)
    second = start()
    assert "is being downloaded by another process; waiting" in second.stderr.readline()
    gate.set()
    assert [p.wait(60) for p in (first, second)] == [0, 0], [p.stderr.read() for p in (first, second)]
    for p in (first, second): p.stderr.close()
    assert_whole(target)
    assert len(server.requests) == 1

def test_eight_threads_make_one_transfer(server, target):
    server.fail(FILE, Fault(delay=0.2))
    threads = [threading.Thread(target=fetch, args=(server.url + FILE, target)) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join(60)
    assert_whole(target)
    assert len(server.requests) == 1

@pytest.mark.parametrize("error", [OSError(errno.ENOTSUP, "Operation not supported"), OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")])
def test_folder_without_locks(server, target, monkeypatch, tmp_path, error):
    import filelock
    real = filelock.FileLock.acquire
    def acquire(self, *args, **kwargs):
        if Path(self.lock_file).parent == target.parent: raise error
        return real(self, *args, **kwargs)
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    monkeypatch.setattr(download_records.tempfile, "tempdir", str(tmp_path))
    fetch(server.url + FILE, target)
    assert target.read_bytes() == CONTENT
    assert len(list(tmp_path.glob("beit3_colab-*.lock"))) == 1


# --- zips

QUESTIONS = json.dumps({"questions": [{"question_id": i, "question": f"What is {i}?"} for i in range(2000)]}).encode()

def make_zip(path, *members, **kwargs):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **kwargs) as z:
        for name, content in members: z.writestr(name, content)
    return path

@pytest.fixture
def good(tmp_path): return make_zip(tmp_path/"v2.zip", ("val.json", QUESTIONS), ("sub/train.json", b"{}"))

def refused(path, says, member="val.json"):
    "Reading fails; then a good zip of the same name is read."
    with pytest.raises(UserError, match=says) as error: read_zip_member(path, member)
    assert len(str(error.value)) < 600
    make_zip(path, ("val.json", QUESTIONS))
    assert read_zip_member(path, "val.json") == QUESTIONS

def test_zip(good): assert read_zip_member(good, "val.json") == QUESTIONS and read_zip_member(good, "sub/train.json") == b"{}"

@pytest.mark.parametrize("keep", [0, 10, 0.25, 0.5, 0.75, -1])
def test_zip_truncated(good, keep):
    data = good.read_bytes()
    good.write_bytes(data[:int(len(data) * keep) if isinstance(keep, float) else keep])
    refused(good, "damaged or cut short")

def test_zip_with_damaged_content(good):
    data = bytearray(good.read_bytes())
    for i in range(500, 600): data[i] ^= 0xff
    good.write_bytes(data)
    with pytest.raises(UserError, match="damaged"): read_zip_member(good, "val.json")
    refused(good, "damaged")

def test_zip_with_any_bit_flipped(good):
    data, seen = good.read_bytes(), set()
    chance = random.Random(0)
    places = [*range(60), *range(len(data) - 250, len(data)), *(chance.randrange(len(data)) for _ in range(100))]
    for at in places:
        damaged = bytearray(data)
        damaged[at] ^= 1 << chance.randrange(8)
        good.write_bytes(damaged)
        try: content = read_zip_member(good, "val.json")
        except UserError: seen.add("refused")
        else: seen.add("unpacked"); assert content == QUESTIONS # a date, an attribute, another file
    assert seen == {"refused", "unpacked"}

@pytest.mark.parametrize("name", ["../evil.json", "sub/../../evil.json", "/evil.json", "C:\\evil.json", "..\\evil.json", "\\\\server\\evil.json", "sub/.."])
def test_zip_with_names_that_lead_out(tmp_path, name):
    path = make_zip(tmp_path/"v2.zip", ("val.json", QUESTIONS), (name, b"evil"))
    with pytest.raises(UserError, match="leads out of the folder"): read_zip_member(path, "val.json") # nothing of such a file is trusted
    refused(path, "leads out of the folder")

@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_with_links(tmp_path, kind):
    info = zipfile.ZipInfo("latest")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(make_zip(tmp_path/"v2.zip", (info, "/etc/passwd")), "link or device")

def test_zip_bomb_declared(tmp_path, monkeypatch):
    path = make_zip(tmp_path/"v2.zip", ("zeros", bytes(20_000_000)))
    assert path.stat().st_size < 25_000
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "zip_bytes=10e6")
    refused(path, "would unpack to 20.0 MB: .*the limit is 10,000,000 bytes .*BEIT3_COLAB_LIMITS=zip_bytes=NUMBER", "zeros")

def test_zip_bomb_undeclared(tmp_path):
    path = make_zip(tmp_path/"v2.zip", ("zeros", bytes(20_000_000)))
    data = path.read_bytes() # say 1000 bytes in both headers
    assert data.count((20_000_000).to_bytes(4, "little")) == 2
    path.write_bytes(data.replace((20_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    refused(path, "damaged|has not the size", "zeros")

def test_zip_that_gives_more_than_declared():
    info = zipfile.ZipInfo("zeros")
    info.file_size = 1000
    zipped = namedtuple("Zip", "open")(lambda member: io.BytesIO(bytes(5_000_000)))
    with pytest.raises(UserError, match="has not the size"): list(zip_files._unpack(zipped, info, "v2.zip"))

def test_zip_of_many_small_ones(tmp_path):
    refused(make_zip(tmp_path/"v2.zip", *((f"{i}", b"") for i in range(10_001))), "10,001 files; the limit is 10,000 files")

@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["val.json", "./val.json"])
def test_zip_with_names_that_collide(tmp_path, second):
    refused(make_zip(tmp_path/"v2.zip", ("val.json", b"1"), (second, b"2")), "one name twice")

def test_zip_encrypted(good):
    data = bytearray(good.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    good.write_bytes(data)
    refused(good, "encrypted")

def test_zip_member_missing(good):
    with pytest.raises(UserError, match="holds no 'vall.json', but val.json"): read_zip_member(good, "vall.json")

def test_zip_that_is_none(tmp_path):
    with pytest.raises(UserError, match="does not exist"): read_zip_member(tmp_path/"v2.zip", "val.json")
    (tmp_path/"v2.zip").write_text("<html>")
    refused(tmp_path/"v2.zip", "no zip file at all")
    with pytest.raises(UserError, match="is a folder"): read_zip_member(tmp_path, "val.json")
    os.mkfifo(tmp_path/"pipe.zip")
    with pytest.raises(UserError, match="is a pipe, not a file"): read_zip_member(tmp_path/"pipe.zip", "val.json")


def test_fetch_and_unpack(server, good, tmp_path):
    server.files["/vqa/v2.zip"] = good
    server.fail("/vqa/v2.zip", Fault(cut=0.5), Fault(status=503))
    path = fetch(server.url + "/vqa/v2.zip", tmp_path/"cache"/"v2.zip")
    assert read_zip_member(path, "val.json") == QUESTIONS
