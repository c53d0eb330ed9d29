"A file server on 127.0.0.1 with ranges, and with faults that a test can order."
import socket
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy") # variables that would lead past the server


@dataclass
class Fault:
    "What happens to one request, instead of or besides sending the file."
    status: int = 0 # answer with this status and `body`, without the file
    body: bytes = b""
    headers: dict = field(default_factory=dict) # added to the answer; a value of None takes a header away
    content: bytes = None # send this as the file, under the headers of the right one
    cut: float = None # close the connection after this fraction of what was promised
    ignore_range: bool = False # send all, with status 200
    wrong_range: bool = False # send the rest, but from one byte later on
    chunked: bool = False # do not tell the length
    delay: float = 0. # seconds before answering
    gate: threading.Event = None # with `cut`: hold the connection open there until this is set; else before the body


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict
    status: int

    @property
    def start(self): return int(self.headers["range"].removeprefix("bytes=").partition("-")[0]) if "range" in self.headers else 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass

    def do_HEAD(self): self.do_GET()

    def do_GET(self):
        path, server = urlsplit(self.path).path, self.server.owner
        with server.lock: fault = server.faults[path].pop(0) if server.faults[path] else Fault()
        time.sleep(fault.delay)
        if fault.status: return self.answer(fault.status, {**fault.headers}, fault.body, fault)
        content = server.content(path)
        if content is None: return self.answer(404, {"Content-Type": "text/html"}, b"<html>no such file</html>", fault)
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": server.etag(content),
                   "Last-Modified": formatdate(server.changed, usegmt=True), **fault.headers}
        headers = {k: v for k, v in headers.items() if v is not None}
        if self.known(headers): return self.answer(304, headers, b"", fault)
        if fault.content is not None: content = fault.content
        begin, end = self.wanted(headers, len(content)) if not fault.ignore_range else (None, None)
        if begin is None: return self.answer(200, headers, content, fault)
        if begin >= len(content): return self.answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"", fault)
        begin += fault.wrong_range
        self.answer(206, {**headers, "Content-Range": f"bytes {begin}-{end-1}/{len(content)}"}, content[begin:end], fault)

    def known(self, headers):
        "Whether the client named the version that it would get."
        if named := self.headers.get("If-None-Match"): return named == headers.get("ETag")
        return "Last-Modified" in headers and self.headers.get("If-Modified-Since") == headers["Last-Modified"]

    def wanted(self, headers, size):
        "Begin and end of the range that was asked for, (None, None) if all is to be sent."
        kind, _, span = self.headers.get("Range", "").partition("=")
        if kind != "bytes" or "," in span: return None, None
        if self.headers.get("If-Range", headers.get("ETag")) not in (headers.get("ETag"), headers.get("Last-Modified")): return None, None
        first, _, last = span.partition("-")
        if not first: return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1) if last else size

    def answer(self, status, headers, body, fault):
        with self.server.owner.lock: self.server.owner.requests.append(Request(urlsplit(self.path).path, {k.lower(): v for k, v in self.headers.items()}, status))
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        if fault.chunked: self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in headers: self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD": return
        if fault.cut is not None: body, self.close_connection = body[:int(len(body) * fault.cut)], True
        elif fault.gate: fault.gate.wait(240)
        if "Content-Length" in headers: self.close_connection = True
        if fault.chunked: body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if fault.cut is None else b"")
        try: self.wfile.write(body)
        except ConnectionError: self.close_connection = True # the client has gone
        if fault.cut is not None and fault.gate: fault.gate.wait(240)


@contextmanager
def nobody():
    "An address on this machine where nobody listens, and nobody else can while it is open as a context."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{s.getsockname()[1]}"


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        "A client that hangs up is no fault of the server, and tests read what is printed; all else is shown."
        if not isinstance(sys.exc_info()[1], ConnectionError): super().handle_error(request, client_address)


class FileServer:
    "Serves `files` ({path: bytes or Path}) while it is open as a context; `requests` tells what was asked."
    def __init__(self, files=None):
        self.files, self.faults, self.requests, self.lock = dict(files or {}), defaultdict(list), [], threading.Lock()
        self.changed = 1_500_000_000 # Last-Modified of all files
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.owner, self.server.daemon_threads = self, True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self
    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def content(self, path):
        found = self.files.get(path)
        return found.read_bytes() if isinstance(found, Path) else found
    def etag(self, content): return f'"{sha256(content).hexdigest()[:16]}"'
    def fail(self, path, *faults): self.faults[path] += faults
    def asked(self, path): return [r for r in self.requests if r.path == path]
