"Pictures, zips, downloads, what is noted of them, and servers."
import hashlib
import io
import json
import os
import signal
import stat
import struct
import time
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from types import SimpleNamespace

from .children import Attempt, Format
from .mutations import LENGTHS, change_bytes, change_json, is_calm


# --- pictures

_KINDS = (("PNG", "RGB", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("PNG", "RGBA", {}), ("JPEG", "RGB", {}),
          ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"progressive": True}),
          ("GIF", "P", {}), ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("BMP", "RGB", {}),
          ("TIFF", "RGB", {"compression": "tiff_lzw"}),
          ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "jpeg"}), ("PPM", "RGB", {}), ("TGA", "RGB", {}),
          ("ICO", "RGBA", {}), ("JPEG2000", "RGB", {}),
          ("PCX", "RGB", {}), ("AVIF", "RGB", {}), ("EPS", "RGB", {}), ("ICNS", "RGBA", {}))

_USUAL = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")

def prepare_pictures(folder):
    from PIL import Image, features
    from beit3_colab.pictures.reading import open_picture, preprocess
    image = Image.frombytes("RGB", (40, 30), bytes((x*7) % 256 for x in range(40*30*3)))
    good = SimpleNamespace(files=[])
    for kind, mode, options in _KINDS:
        if kind == "AVIF" and not features.check("avif"): continue
        saved = io.BytesIO()
        picture = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
        try: picture.save(saved, kind, **options)
        except (OSError, KeyError, ValueError): continue # this Pillow cannot write it
        good.files.append((f"{kind} {mode}", saved.getvalue()))
    preprocess(open_picture(good.files[0][1]), 192)
    _stand_in_for_ghostscript(folder/"bin")
    return good

def _stand_in_for_ghostscript(folder):
    "Pillow would hand PostScript to it; here it says that it was."
    folder.mkdir()
    (folder/"gs").write_text("#!/bin/sh\nexit 0\n")
    (folder/"gs").chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"

def _png(width, height, depth, colour, data):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")

def _bomb(rng):
    "A small file that says it is large."
    kind = rng.randrange(4)
    sides = rng.choice(((1, 10**8), (10**8, 1), (13_000, 13_000), (2**31 - 1, 1), (65_535, 1_500), (3, 60_000_000),
                        (0, 5), (9_000, 9_000), (100_000, 100_000)))
    if kind < 2:
        return f"PNG of {sides}", _png(*sides, rng.choice((1, 8)), rng.choice((0, 3, 2)),
                                       b"\0"*rng.choice((10, 20_000_000)))
    width, height = (min(side, 16_383 if kind == 2 else 65_535) for side in sides)
    if kind == 2:
        bits = struct.pack("<I", max(width - 1, 0) | max(height - 1, 0) << 14)
        head = b"VP8L" + struct.pack("<I", 9) + b"\x2f" + bits + b"\0"*5
        return f"WEBP of {(width, height)}", b"RIFF" + struct.pack("<I", len(head) + 4) + b"WEBP" + head
    screen = struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0"*6
    frame = b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0"
    return f"GIF of {sides}", b"GIF89a" + screen + frame + b"\x02\x02\x44\x01\0;"

def attempt_picture(good, rng, place):
    from beit3_colab.pictures.reading import check_image, open_picture, preprocess, read_image
    if rng.random() < .08 and not is_calm(): what, content = _bomb(rng)
    else:
        sure = [f for f in good.files if f[0].split()[0] in _USUAL] # the others may be refused for what they are
        name, content = rng.choice(sure if is_calm() else good.files)
        what, content = change_bytes(rng, content, [other for _, other in good.files])
        what = f"{name}: {what}"
    path = place/"photo.jpg"
    path.write_bytes(content)
    way = rng.choice((lambda: open_picture(content), lambda: open_picture(path), lambda: read_image(path),
                      lambda: read_image(content)))
    def read():
        if rng.random() < .3: check_image(content, "photo.jpg")
        image = way()
        return image, preprocess(image, 192)
    def judge(found):
        image, pixels = found
        return "" if image.mode == "RGB" and pixels.shape == (192, 192, 3) else f"{image.mode} {pixels.shape}"
    return Attempt(what, read, judge)


# --- zips

MEMBERS = {"val2014/a.png": None, "val2014/b.png": None, "x.json": b'{"questions": []}'*20}

def prepare_zips(folder):
    from PIL import Image
    saved = io.BytesIO()
    Image.frombytes("RGB", (20, 20), bytes((x*5) % 256 for x in range(1_200))).save(saved, "PNG")
    good = SimpleNamespace(members={name: content or saved.getvalue() for name, content in MEMBERS.items()})
    good.zips = [_zip(good.members, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    return good

def _zip(members, method=zipfile.ZIP_DEFLATED, change=lambda info: None):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as z:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = method, (stat.S_IFREG | 0o644) << 16
            change(info)
            z.writestr(info, content)
    return packed.getvalue()

def _odd_zip(rng, good):
    "A zip that is whole, and has a member that nobody wants."
    name = rng.choice(("../out", "/tmp/out-of-fuzz", "C:\\out", "..\\out", "a\0b", "/".join(["a"*200]*30), "a"*5_000,
                       "", ".", "..", "val2014/a.png/x", "\x1b[31mred", "x/../../out", "a/"*300 + "x", "con",
                       "\u202eb"))
    kind = rng.choice((0, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFREG | 0o4755))
    def change(info):
        if info.filename == name or kind and info.filename == "x.json":
            info.external_attr = (kind or stat.S_IFREG) << 16
    return f"a member {name[:40]!r}, kind {kind:o}", _zip({**good.members,
                                                           **({name: b"content"} if rng.random() < .7 else {})},
                                                           change=change)

def _changed_entry(rng, content):
    "One field of one entry of a zip's list, or of a file's own head."
    at = rng.choice([i for i in range(len(content)) if content[i:i + 4] in (b"PK\1\2", b"PK\3\4", b"PK\5\6")])
    field = at + rng.choice((4, 6, 8, 10, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 38, 42))
    size = rng.choice((1, 2, 4))
    value = rng.choice(LENGTHS + (rng.getrandbits(32),)) % 2**(8*size)
    return f"number {value} at {field - at} of the entry at {at}", content[:field] + value.to_bytes(size,
            "little") + content[field + size:]

def attempt_zip(good, rng, place):
    from beit3_colab.downloads.zips import read_zip_member
    from beit3_colab.pictures.sources import ZipPictures
    whole = rng.choice(good.zips)
    kind = 0 if is_calm() else rng.randrange(3)
    what, content = (lambda: change_bytes(rng, whole, good.zips), lambda: _odd_zip(rng, good),
                     lambda: _changed_entry(rng, whole))[kind]()
    path, way = place/"z.zip", rng.choice(("read", "pictures"))
    path.write_bytes(content)
    def read():
        if way == "read": return {"x.json": read_zip_member(path, "x.json")}
        source = ZipPictures(path)
        return {name: source.read(name).size for name in good.members if name.endswith(".png") and source.has(name)}
    def judge(found):
        if way == "pictures": return "" if all(size == (20, 20) for size in found.values()) else f"pictures of {found}"
        wrong = [name for name in found if name in good.members and found[name] != good.members[name]]
        return f"another content of {wrong}" if wrong else ""
    def after(error):
        there = {p.name for p in place.iterdir()} - {"z.zip"}
        return f"files were left: {there}" if there or os.path.lexists("/tmp/out-of-fuzz") else ""
    return Attempt(f"{way}: {what}", read, judge, after)


# --- a server, and what is noted of its files

BODY = {"a": bytes(range(256))*400, "b": bytes(reversed(range(256)))*400} # two versions of a file

class _Handler(BaseHTTPRequestHandler):
    "Serves /SEED/name; what goes wrong follows from the seed and from how often it was asked. Seed 0: nothing."
    protocol_version = "HTTP/1.1"
    asked = {}
    def log_message(self, *args): pass

    def do_GET(self):
        seed = int(self.path.split("/")[1])
        times = self.asked[seed] = self.asked.get(seed, 0) + 1
        self.close_connection = True
        try:
            if seed == 0: self.honest(BODY["a"], '"a"')
            else: self.faulty(Random(f"{seed} {times}"), times)
        except OSError: pass # the client has gone

    def head(self, status, **headers):
        self.send_response_only(status)
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def honest(self, body, etag):
        span = self.headers.get("Range", "")
        if span.startswith("bytes=") and self.headers.get("If-Range", etag) == etag:
            first = int(span[6:].partition("-")[0])
            self.head(206, Content_Length=len(body) - first, ETag=etag,
                      Content_Range=f"bytes {first}-{len(body) - 1}/{len(body)}")
            return self.wfile.write(body[first:])
        self.head(200, Content_Length=len(body), ETag=etag)
        self.wfile.write(body)

    def faulty(self, rng, times):
        body, size = BODY["a"], len(BODY["a"])
        at = rng.randrange(size)
        if times > 1 and rng.random() < .5: # of the rest
            first = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0] or 0)
            version, begin = rng.choice((("b", first), ("a", first + 1), ("a", 0), ("b", first)))
            told = rng.choice((f"bytes {begin}-{size - 1}/{size}", f"bytes {first}-{size - 1}/{size}",
                               f"bytes {first}-{size}/*", "bytes */0", "x", f"bytes {'9'*5_000}-1/2"))
            self.head(206, ETag=rng.choice((f'"{version}"', '"a"')) if version == "a" else '"b"', Content_Range=told,
                      Content_Length=size - begin)
            return self.wfile.write(BODY[version][begin:])
        rng.choice((
            lambda: self.honest(body, '"a"'),
            lambda: (self.head(200, Content_Length=size, ETag='"a"'), self.wfile.write(body[:at])),
            lambda: (self.head(200, Content_Length=rng.choice(("9"*5_000, "-1", "x", "1e3", "٣", str(2**64), "0",
                                                               str(size - 1), str(size + 1)))), self.wfile.write(body)),
            lambda: self.head(rng.choice((301, 302, 307, 308)),
                              Location=rng.choice((self.path, "file:///etc/passwd", "ftp://x/y", "//", "", "http://[",
                                                   "/0/f", "http://127.0.0.1:1/", "javascript:1", "x"*70_000)),
                                                   Content_Length=0),
            lambda: (self.head(rng.choice((400, 401, 403, 404, 410, 416, 429, 500, 502, 503, 504, 206, 204, 304, 999)),
                               Content_Length=5, Retry_After=rng.choice(("0", "1", "9"*400, "-1", "x", "1e999",
                                       "Wed, 21 Oct 2015 07:28:00 GMT"))), self.wfile.write(b"\x1b[31m")),
            lambda: (self.head(200, Transfer_Encoding="chunked"),
                     self.wfile.write(rng.choice((b"zz\r\n", b"-1\r\n", b"ffffffffffffffff\r\nx",
                                                  b"5\r\nhello\r\n0\r\n\r\n", b"f"*70_000)))),
            lambda: (self.head(200, Content_Encoding=rng.choice(("gzip", "deflate", "br", "x")), ETag='"a"'),
                     self.wfile.write(rng.choice((zlib.compress(b"\0"*50_000_000, 9), b"\x1f\x8b\x08", body)))),
            lambda: (self.head(200, Content_Type="text/html", Content_Length=40),
                     self.wfile.write(b"<html>\x1b]0;x\x07 please log in</html>      ")),
            lambda: (self.head(200),
                     [self.wfile.write(b"\0"*1_000_000)
                      for _ in range(300)]), # more than there may be, without a length
            lambda: self.wfile.write(rng.choice((b"", b"\0"*100, b"HTTP/1.1 200\r\n\r\n", b"HTTP/9.9 abc\r\n\r\n",
                                                 b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n"*5_000 + b"\r\n",
                                                 b"HTTP/1.1 200 OK\r\nx: " + b"y"*10**6 + b"\r\n\r\n")))))()

def _serve(pipe):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    os.write(pipe, struct.pack("<I", server.server_port))
    server.serve_forever()

def start_server():
    "A server in a process of its own, which ends when this one does; its address."
    parent = os.getpid()
    r, w = os.pipe()
    if os.fork() == 0:
        try:
            import threading
            def watch(): # ends with whoever started it
                while os.getppid() == parent: time.sleep(.2)
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=watch, daemon=True).start()
            _serve(w)
        finally: os._exit(1)
    port, = struct.unpack("<I", os.read(r, 4))
    return f"http://127.0.0.1:{port}"

def prepare_server(folder):
    import requests # noqa: F401 - in memory from now on
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    os.environ["BEIT3_COLAB_LIMITS"] = "download_wait=2,download_rate=20000" # the rate times the wait is a piece: a thousandth of it would cost seconds a try
    os.environ["BEIT3_COLAB_PRIVATE_HOSTS"] = "127.0.0.1"
    from beit3_colab.downloads.fetching import fetch
    good = SimpleNamespace(url=start_server())
    url = f"{good.url}/0/f"
    fetch(url, folder/"f")
    good.record = json.loads((folder/"f.json").read_text()) | dict(fetched="2026-01-01T00:00:00+00:00",
                                                                   url="http://127.0.0.1:54321/0/f")
    good.note = dict(url=good.record["url"], size=len(BODY["a"]), etag='"a"', changed=None, validator='"a"')
    return good

QUICK = dict(retries=2, backoff=.01, timeout=(2., 3.), max_bytes=200_000_000)

def attempt_server(good, rng, place):
    from beit3_colab.downloads.fetching import fetch, read_url
    fault = 0 if is_calm() else rng.randrange(1, 10**9)
    url, target, way = f"{good.url}/{fault}/f.bin", place/"f.bin", rng.choice(("fetch", "fetch", "read"))
    def read():
        if way == "fetch": return fetch(url, target, **QUICK).read_bytes()
        return read_url(url, target, **{**QUICK, "max_bytes": 100_000_000})
    known = {hashlib.sha256(body).hexdigest() for body in BODY.values()}
    def judge(content):
        mixed = content not in BODY.values() and set(content[:1]) and len(content) == len(BODY["a"])
        is_known = hashlib.sha256(content).hexdigest() in known
        return "half of one version, half of another" if mixed and not is_known else ""
    def after(error):
        return "an error, and a file under the final name" if error is not None and target.exists() else ""
    return Attempt(f"{way} {url.rpartition('/')[0].rpartition('/')[2]}", read, judge, after)

def attempt_notes(good, rng, place):
    from beit3_colab.downloads.fetching import fetch
    kind, target = rng.choice(("record", "part note")), place/"f"
    url = f"{good.url}/0/f"
    here = json.loads(json.dumps(good.record if kind == "record" else good.note).replace("http://127.0.0.1:54321/0/f",
            url))
    body = BODY["a"]
    if kind == "record":
        target.write_bytes(body)
        here["mtime_ns"] = target.stat().st_mtime_ns if rng.random() < .7 else here["mtime_ns"]
    else: (place/"f.part").write_bytes(body[:rng.randrange(1, len(body) + 1)])
    what, content = change_json(rng, here)
    (place/("f.json" if kind == "record" else "f.part.json")).write_bytes(content)
    verify = rng.random() < .3
    def read(): return fetch(url, target, verify=verify, **QUICK).read_bytes(), fetch(url, target, **QUICK).read_bytes()
    def judge(found): return "" if found == (body, body) else "another content than the server has"
    return Attempt(f"{kind}: {what}", read, judge)


FORMATS = (
    Format("pictures", prepare_pictures, attempt_picture, 2.5),
    Format("zips", prepare_zips, attempt_zip),
    Format("download records, part notes", prepare_server, attempt_notes, .75),
    Format("faults of a server", prepare_server, attempt_server, .5))
