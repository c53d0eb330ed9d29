"What a server, a link or a note on the disk can do to a download at most: bounds, least rates, versions, addresses."
import json
import os
import socket
import stat
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest
import requests
from file_server import Fault, FileServer

from beit3_colab.data.vqav2_online import official_file
from beit3_colab.downloads import fetching
from beit3_colab.downloads.fetching import fetch, read_url, refresh
from beit3_colab.downloads.records import is_stored, locked, read_record
from beit3_colab.machine.addresses import seal_address
from beit3_colab.machine.messages import UserError
from beit3_colab.model.weights import download_address
from beit3_colab.progress.choosing import showing

QUICK = dict(backoff=0.001, timeout=(1., 0.15)) # as a minute, so that nobody waits for one
fetch = partial(fetch, **QUICK)
CONTENT = bytes(range(256))*1000


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "BEIT3_COLAB_MIRROR", "BEIT3_COLAB_LIMITS"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "")
    monkeypatch.setenv("BEIT3_COLAB_CACHE", str(tmp_path/"cache"))
    with showing(False): yield

@contextmanager
def says(*pieces, pause=0., again=False):
    "A server that sends these pieces to everybody, the last one for ever if `again`, and then hangs up."
    count = []
    def answer(connection):
        with connection:
            connection.recv(1 << 16)
            try:
                for piece in pieces: connection.sendall(piece), time.sleep(pause)
                while again: connection.sendall(pieces[-1]), time.sleep(pause)
            except OSError: pass # the client has gone
    def serve():
        while True:
            try: connection, _ = listener.accept()
            except OSError: return
            count.append(1)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    try: yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights.pth", count
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()

ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8000\r\n" + b"PK"*(1 << 14) + b"\r\n"

def files(folder): return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


# how much

def test_a_body_without_end_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("BEIT3_COLAB_LIMITS", "download_bytes=3e6; picture_bytes=1e6")
    with says(*ENDLESS, again=True) as (url, count):
        with pytest.raises(UserError, match="gives more than the 3.0 MB that it may have; .*BEIT3_COLAB_LIMITS=download_bytes=NUMBER"): fetch(url, tmp_path/"a.pth")
        with pytest.raises(UserError, match="gives more than the 1.0 MB"): read_url(url, tmp_path/"a.png", **QUICK)
        (tmp_path/"b.png").write_bytes(b"old")
        with pytest.raises(UserError, match="gives more than the 1.0 MB"): refresh(url, tmp_path/"b.png", timeout=(1, 1))
        assert len(count) == 3 and files(tmp_path) == ["b.png"] # asked once each, nothing left

def test_a_known_size_is_the_limit(tmp_path):
    with says(*ENDLESS, again=True) as (url, _), pytest.raises(UserError, match="gives more than the 5.0 kB"): fetch(url, tmp_path/"a.pth", size=5000)

def test_an_official_zip_has_a_limit_of_its_own(tmp_path, monkeypatch):
    with says(*ENDLESS, again=True) as (url, _):
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", "https://s3.amazonaws.com=" + url.removesuffix("/weights.pth"))
        monkeypatch.setenv("BEIT3_COLAB_LIMITS", "download_small_bytes=2e6")
        with pytest.raises(UserError, match="gives more than the 2.0 MB .*download_small_bytes"): official_file("v2_OpenEnded_mscoco_val2014_questions.json")
    assert not list((tmp_path/"cache").rglob("*.part"))

@pytest.mark.parametrize("length", ["9"*5000, "9"*19, "1" + "0"*30])
def test_a_length_beyond_all_measure(length, tmp_path):
    with FileServer({"/a": CONTENT}) as server:
        server.fail("/a", *[Fault(headers={"Content-Length": length})]*9)
        for ask in (lambda: fetch(f"{server.url}/a", tmp_path/"a"), lambda: read_url(f"{server.url}/a", tmp_path/"a", **QUICK)):
            with pytest.raises(UserError, match="gives more than the") as error: ask()
            assert len(str(error.value)) < 500

@pytest.mark.parametrize("span", ["bytes {0}-{0}/" + "9"*5000, "bytes " + "0"*5000 + "-1/2", "bytes ٣-٤/٥", "bytes", ""])
def test_a_range_that_is_none(span, tmp_path):
    target = tmp_path/"a"
    with FileServer({"/a": CONTENT}) as server:
        server.fail("/a", Fault(cut=.5), Fault(headers={"Content-Range": span.encode("utf-8").decode("latin-1")}))
        assert fetch(f"{server.url}/a", target).read_bytes() == CONTENT


# how slowly

DRIPS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "header": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "line": (b"HTTP/1.1 200 OK\r\nX:", b"y"),
    "greetings": (b"HTTP/1.1 100 Continue\r\n\r\n",)}

@pytest.mark.parametrize("kind", DRIPS)
def test_a_byte_now_and_then_is_given_up(kind, tmp_path):
    (tmp_path/"old").write_bytes(b"old")
    with says(*DRIPS[kind], pause=0.03, again=True) as (url, count):
        begun = time.monotonic()
        for ask in (partial(fetch, url, tmp_path/"a", retries=1), partial(read_url, url, tmp_path/"a", **QUICK, retries=1), partial(refresh, url, tmp_path/"old", timeout=(1., .15))):
            with pytest.raises(UserError, match="sends less than 1,000 bytes a second|broke or stood still"): ask()
        assert time.monotonic() - begun < 3 and len(count) == 5
    assert (tmp_path/"old").read_bytes() == b"old" and not (tmp_path/"a").exists()

def test_what_is_too_slow_is_tried_once_more_and_no_more(tmp_path):
    with says(*DRIPS["body"], pause=0.03, again=True) as (url, count), pytest.raises(UserError, match="sends less than"): fetch(url, tmp_path/"a")
    assert len(count) == 2

def test_a_slow_line_passes(tmp_path):
    body = [b"z"*100]*30
    with says(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n", *body, pause=0.02) as (url, _): # for half a second 5,000 bytes a second
        assert fetch(url, tmp_path/"a").read_bytes() == b"z"*3000 and read_url(url, tmp_path/"b", **QUICK) == b"z"*3000

def test_hanging_up_after_a_byte_is_no_progress(tmp_path):
    "Each try brings a byte more, which would go on for ever."
    with FileServer({"/a": CONTENT}) as server:
        server.fail("/a", *[Fault(cut=.000005, delay=.01)]*50)
        with pytest.raises(UserError, match="connection to .* broke|connection broke"): fetch(f"{server.url}/a", tmp_path/"a")
        assert len(server.requests) <= 7
        server.faults.clear()
        assert fetch(f"{server.url}/a", tmp_path/"a").read_bytes() == CONTENT

def test_waiting_has_an_end(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(fetching.time, "sleep", slept.append)
    with FileServer({"/a": CONTENT}) as server:
        for ask in (partial(fetch, f"{server.url}/a", tmp_path/"a", retries=99), partial(read_url, f"{server.url}/a", tmp_path/"a", **QUICK, retries=99)):
            server.faults["/a"] = [Fault(status=503, headers={"Retry-After": "250"}) for _ in range(20)]
            slept.clear()
            with pytest.raises(UserError, match="asks to come back in 250 s"): ask()
            assert sum(slept) == 500 # and not 5,000


# which version

@pytest.mark.parametrize("known, mixed", [("ETag", True), ("Last-Modified", True), ("ETag", False)])
def test_the_rest_of_another_version(known, mixed, tmp_path):
    "A server that ignores If-Range sends the end of B behind the beginning of A."
    a, b = b"A"*1_000_000, b"B"*1_000_000
    names = {"ETag": ('"a"', '"b"'), "Last-Modified": ("Wed, 21 Oct 2015 07:28:00 GMT", "Thu, 22 Oct 2015 07:28:00 GMT")}[known]
    hidden = {"Last-Modified": None} if known == "ETag" else {"ETag": None}
    with FileServer({"/a": b if mixed else a}) as server:
        rest = {**hidden, known: names[mixed], "Content-Range": "bytes 400000-999999/1000000"}
        server.fail("/a", Fault(content=a, cut=.4, headers={**hidden, known: names[0]}), Fault(status=206, body=(b if mixed else a)[400000:], headers=rest))
        found = fetch(f"{server.url}/a", tmp_path/"a").read_bytes()
        assert found == (b if mixed else a) and [r.start for r in server.requests] == [0, 400000] + [0]*mixed


# what lies on the disk

BAD_NOTES = ["[]", "1", "null", "{}", "[" * 100_000, '{"url": 1, "validator": null, "size": null}', '{"url": "URL", "validator": "\\"x\\"", "size": "9"}', '{"url": "URL", "validator": 7, "size": 9}', '{"url": "URL", "validator": "\\"x\\"", "size": ' + "9"*5000 + "}",
             '{"url": "URL", "validator": "\\"x\\"", "size": -1}', '{"url": "URL", "validator": "a\\r\\nX: y", "size": 256000}', '{"url": "URL", "validator": "\\"x\\"", "size": true}', '{"url": "URL", "validator": "\\"x\\"", "size": 1.5}', '{"url": ["URL"], "validator": "\\"x\\"", "size": 9}', '"' + "x"*1_100_000 + '"', "\ud83d"]

@pytest.mark.parametrize("note", BAD_NOTES, ids=range(len(BAD_NOTES)))
def test_a_note_that_cannot_be_meant_is_forgotten(note, tmp_path):
    target = tmp_path/"a"
    with FileServer({"/a": CONTENT}) as server:
        (tmp_path/"a.part").write_bytes(b"rubbish")
        (tmp_path/"a.part.json").write_bytes(note.replace("URL", f"{server.url}/a").encode("utf-8", "surrogatepass"))
        assert fetch(f"{server.url}/a", target).read_bytes() == CONTENT
        (tmp_path/"a.json").write_bytes((tmp_path/"a.part.json").read_bytes() if (tmp_path/"a.part.json").exists() else note.encode("utf-8", "surrogatepass"))
        assert read_record(target) == {} and fetch(f"{server.url}/a", target).read_bytes() == CONTENT
        assert refresh(f"{server.url}/a", target) is False and read_record(target)["size"] == len(CONTENT)

@pytest.mark.parametrize("field, value", [("sha256", "x"*64), ("sha256", None), ("mtime_ns", "1"), ("size", "256000"), ("etag", {"a": 1}), ("changed", "a\nb"), ("fetched", 7), ("url", None)])
def test_a_record_with_a_field_of_another_type_is_forgotten(field, value, tmp_path):
    with FileServer({"/a": CONTENT}) as server:
        target = fetch(f"{server.url}/a", tmp_path/"a")
        (tmp_path/"a.json").write_text(json.dumps(read_record(target) | {field: value}))
        assert read_record(target) == {} and is_stored(f"{server.url}/a", target) and read_record(target)["size"] == len(CONTENT)

def test_a_link_in_a_locks_place_is_not_followed(tmp_path):
    mine = tmp_path/"mine"
    mine.write_text("letter")
    os.symlink(mine, tmp_path/".a.lock")
    with locked(tmp_path/"a", 1): pass
    assert mine.read_text() == "letter" and not (tmp_path/".a.lock").is_symlink()
    os.symlink(tmp_path/"nothing", tmp_path/".b.lock")
    with locked(tmp_path/"b", 1): pass
    assert not (tmp_path/"nothing").exists()

@pytest.mark.parametrize("make, told", [(os.mkfifo, "is a pipe, not a file"), (os.mkdir, "is a folder, where a lock file belongs")])
def test_what_stands_in_a_locks_place(make, told, tmp_path):
    make(tmp_path/".a.lock")
    with FileServer({"/a": CONTENT}) as server, pytest.raises(UserError, match=told): fetch(f"{server.url}/a", tmp_path/"a")

@pytest.mark.parametrize("name", ["a.part", "a.part.json", "a.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink(path.parent/"mine", path), os.mkdir], ids=["pipe", "link", "folder"])
def test_what_stands_in_the_place_of_a_part(make, name, tmp_path):
    (tmp_path/"mine").write_text("letter")
    make(tmp_path/name)
    with FileServer({"/a": CONTENT}) as server:
        if (tmp_path/name).is_dir():
            with pytest.raises(UserError, match="is a folder"): fetch(f"{server.url}/a", tmp_path/"a")
        else: assert fetch(f"{server.url}/a", tmp_path/"a").read_bytes() == CONTENT
    assert (tmp_path/"mine").read_text() == "letter"

def test_a_linked_part_is_not_continued(tmp_path):
    (tmp_path/"mine").write_bytes(CONTENT[:1000])
    os.symlink(tmp_path/"mine", tmp_path/"a.part")
    with FileServer({"/a": CONTENT}) as server:
        (tmp_path/"a.part.json").write_text(json.dumps(dict(url=f"{server.url}/a", size=len(CONTENT), validator=server.etag(CONTENT))))
        assert fetch(f"{server.url}/a", tmp_path/"a").read_bytes() == CONTENT
        assert [r.start for r in server.requests] == [0] and (tmp_path/"mine").read_bytes() == CONTENT[:1000]


# where addresses lead, and what is kept of them

def lead(monkeypatch, **names):
    "Let names lead to addresses, one after the other at each look."
    real = socket.getaddrinfo
    def look(host, port, *args, **more):
        if host not in names: return real(host, port, *args, **more)
        found = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port or 0))]
    monkeypatch.setattr(socket, "getaddrinfo", look)

WAYS = {"fetch": lambda url, path: fetch(url, path, public_only=True), "read_url": lambda url, path: read_url(url, path, public_only=True, **QUICK), "refresh": lambda url, path: refresh(url, path, public_only=True)}

@pytest.mark.parametrize("way", WAYS)
def test_an_address_of_a_file_does_not_lead_home(way, tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT}) as server:
        for host in ("127.0.0.1", "localhost", "innocent"):
            lead(monkeypatch, innocent=["127.0.0.1"])
            with pytest.raises(UserError, match="leads to .*stands in a file: set BEIT3_COLAB_PRIVATE_HOSTS="): WAYS[way](server.url.replace("127.0.0.1", host) + "/a", tmp_path/"a")
        assert not server.requests
        monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "innocent")
        WAYS[way](server.url.replace("127.0.0.1", "innocent") + "/a", tmp_path/"a")
        assert len(server.requests) == 1

@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_leads_home_at_the_second_look(way, tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT}) as server:
        lead(monkeypatch, **{"rebinds.example": ["93.184.216.34", "127.0.0.1"]})
        with pytest.raises(UserError, match="rebinds.example stands in a file and leads to 127.0.0.1"): WAYS[way](server.url.replace("127.0.0.1", "rebinds.example") + "/a", tmp_path/"a")
        assert not server.requests

@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("home", ["http://localhost:1/keys", "http://169.254.169.254/latest/meta-data", "//[::1]/x", "http://10.0.0.1/"])
def test_a_redirect_does_not_lead_home(way, home, tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT}) as server:
        lead(monkeypatch, outside=["127.0.0.1"])
        monkeypatch.setenv("BEIT3_COLAB_PRIVATE_HOSTS", "outside")
        server.fail("/a", Fault(status=302, headers={"Location": home}))
        with pytest.raises(UserError, match="a redirect to .* leads to"): WAYS[way](server.url.replace("127.0.0.1", "outside") + "/a", tmp_path/"a")
        assert len(server.requests) == 1

def test_a_mirror_of_ones_own_may_be_near(tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT}) as server:
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://files.example={server.url}")
        assert fetch("https://files.example/a", tmp_path/"a", public_only=True).read_bytes() == CONTENT

def test_typed_addresses_lead_anywhere(tmp_path):
    with FileServer({"/a": CONTENT}) as server: assert fetch(f"{server.url}/a", tmp_path/"a").read_bytes() == CONTENT

def test_records_hold_no_secret(tmp_path):
    with FileServer({"/a": CONTENT, "/b.pth": CONTENT}) as server:
        url = server.url.replace("://", "://bob:HUN/TER2@") + "/a?token=s3cr3t"
        server.fail("/a", Fault(cut=.5))
        with pytest.raises(UserError): fetch(url.replace("HUN/TER2", "HUNTER2"), tmp_path/"a", retries=0)
        note = tmp_path/"a.part.json"
        assert stat.S_IMODE(note.stat().st_mode) == 0o600 and not any(secret in note.read_text() for secret in ("bob", "HUN", "s3cr3t"))
        url = url.replace("HUN/TER2", "HUNTER2")
        target = fetch(url, tmp_path/"a")
        assert [r.start > 0 for r in server.requests] == [False, True] # the part was known again
        record = tmp_path/"a.json"
        assert stat.S_IMODE(record.stat().st_mode) == 0o600 and not any(secret in record.read_text() for secret in ("bob", "HUN", "s3cr3t"))
        assert is_stored(url, target) and is_stored(seal_address(url), target) and not is_stored(url.replace("s3cr3t", "other"), target)
        weights = download_address(server.url.replace("://", "://bob:HUNTER2@") + "/b.pth")
        assert "HUNTER2" not in "".join(p.read_text() for p in weights.parent.glob("*.json"))

def test_records_of_earlier_releases_are_known(tmp_path):
    with FileServer({"/a": CONTENT}) as server:
        for url in (f"{server.url}/a", server.url.replace("://", "://bob:HUNTER2@") + "/a"):
            target = fetch(url, tmp_path/"a")
            (tmp_path/"a.json").write_text(json.dumps(read_record(target) | {"url": url})) # in clear
            asked = len(server.requests)
            assert fetch(url, target) == target and len(server.requests) == asked

REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /weights.pth\r\n"

@pytest.mark.parametrize("head, piece", [(b"Transfer-Encoding: chunked\r\n\r\n", ENDLESS[1]), (b"Content-Length: 9000000000\r\n\r\n", b"x"*(1 << 15)), (b"\r\n", b"x")], ids=["chunks", "length", "drip"])
@pytest.mark.parametrize("own", [False, True])
def test_the_body_of_a_redirect_is_not_read(head, piece, own, tmp_path):
    seen = []
    session = requests.Session() if own else None
    if own: session.hooks["response"].append(lambda response, **more: seen.append(response.status_code))
    with says(REDIRECT + head, piece, again=True) as (url, count):
        begun = time.monotonic()
        for ask in (partial(fetch, url, tmp_path/"a", session=session), partial(read_url, url, tmp_path/"a", session=session, **QUICK)):
            with pytest.raises(UserError, match="is redirected in circles or too often"): ask()
        assert time.monotonic() - begun < 5 and len(count) == (62 if own else 22)
    assert set(seen) == ({302} if own else set()) # somebody's own hooks go on to work

def test_a_mirror_that_redirects_to_itself(tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT, "/b": CONTENT}) as server:
        monkeypatch.setenv("BEIT3_COLAB_MIRROR", f"https://files.example={server.url}")
        for session in (None, requests.Session()):
            server.fail("/a", Fault(status=302, headers={"Location": "/b"}))
            assert read_url("https://files.example/a", tmp_path/"a", public_only=True, session=session, **QUICK) == CONTENT
        server.fail("/a", Fault(status=302, headers={"Location": "http://10.0.0.1/"}))
        with pytest.raises(UserError, match="a redirect to http://10.0.0.1/ leads to"): read_url("https://files.example/a", tmp_path/"a", public_only=True, **QUICK)

@pytest.mark.parametrize("way", ["gzip, gzip", "br", "zstd", "x"*5000, "deflate,gzip"])
def test_packed_in_a_way_that_nobody_asked_for(way, tmp_path):
    with FileServer({"/a": CONTENT}) as server:
        server.fail("/a", *[Fault(headers={"Content-Encoding": way})]*2)
        for ask in (partial(fetch, f"{server.url}/a", tmp_path/"a"), partial(read_url, f"{server.url}/a", tmp_path/"a", **QUICK)):
            with pytest.raises(UserError, match="comes packed .*although plain bytes were asked for") as error: ask()
            assert len(str(error.value)) < 500

@pytest.mark.parametrize("pieces", [(b"1;", b"x"*65_536), (b"1\r\nx\r\n0\r\n", b"x"*65_536)], ids=["size", "trailer"])
def test_a_line_without_end_between_the_pieces(pieces, tmp_path):
    with says(ENDLESS[0] + pieces[0], pieces[1], again=True) as (url, _), pytest.raises(UserError, match="broke or stood still"): read_url(url, tmp_path/"a", **QUICK, retries=1)

def test_no_memory_for_a_body(tmp_path, monkeypatch):
    def refuse(*args): raise MemoryError
    monkeypatch.setattr(fetching, "paced", refuse)
    with FileServer({"/a": CONTENT}) as server, pytest.raises(UserError, match="needs more memory than there is"): read_url(f"{server.url}/a", tmp_path/"a", **QUICK)

@pytest.mark.parametrize("host", ["localhost.", "intranet", "nas.local", "a.internal", "x.home.arpa", "printer.lan."])
def test_a_proxy_is_not_asked_for_names_of_its_own_network(host, tmp_path, monkeypatch):
    with FileServer({"/a": CONTENT}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(UserError, match="stands in a file: set BEIT3_COLAB_PRIVATE_HOSTS="): read_url(f"http://{host}/a", tmp_path/"a", public_only=True, **QUICK)
        assert not proxy.requests

def test_two_tokens_of_one_short_digest_are_two_pictures():
    "In 40 bits these two would be one."
    a, b = (seal_address(f"https://h.example/a?token={value}") for value in ("0000000000000000002010884", "0000000000000000002083309"))
    assert a != b and len(a.rpartition("sealed-")[2]) == 32
