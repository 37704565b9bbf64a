"""A server of files on loopback that does as it is told, and remembers what it was asked for."""

import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """A request and what became of it."""

    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Files:
    """What is served, and how the next requests for a path are answered."""

    content: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Path -> ETag; without one none is sent."""
    ranges: bool = True
    heeds_if_range: bool = True
    faults: dict[str, list[Callable[["Handler", Seen], bool]]] = field(default_factory=dict)
    """Path -> what happens at its first, second, ... request; a fault returns whether it has answered."""
    seen: list[Seen] = field(default_factory=list)
    address: str = ""

    def put(self, name: str, content: bytes, tag: str | None = None) -> None:
        self.content[f"/{name}"] = content
        self.tags[f"/{name}"] = tag or f'"{hash(content):x}"'

    def fail(self, name: str, *faults: Callable[["Handler", Seen], bool]) -> None:
        self.faults[f"/{name}"] = list(faults)

    def asked(self, name: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == f"/{name}"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self):
        files = self.server.files
        seen = Seen(self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        files.seen.append(seen)
        self.close_connection = True
        faults = files.faults.get(self.path)
        if faults and faults.pop(0)(self, seen):
            return
        if self.path not in files.content:
            self.begin(seen, 404, 0)
            return
        self.give(seen, len(files.content[self.path]))

    def give(self, seen, most, tag=None):
        """Send what was asked for, but at most so many bytes."""
        files = self.server.files
        content = files.content[self.path]
        tag = tag or files.tags.get(self.path)
        start = self.start_of(seen, tag)
        if start and start >= len(content):
            self.begin(seen, 416, 0, {"Content-Range": f"bytes */{len(content)}"})
            return
        headers = {"ETag": tag} if tag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.begin(seen, 206 if start else 200, len(content) - start, headers)
        part = content[start : start + most]
        self.wfile.write(part)
        seen.sent = len(part)

    def start_of(self, seen, tag):
        files = self.server.files
        found = re.fullmatch(r"bytes=(\d+)-", seen.range or "")
        if not files.ranges or found is None:
            return 0
        if files.heeds_if_range and seen.if_range is not None and seen.if_range != tag:
            return 0
        return int(found[1])

    def begin(self, seen, status, length, headers=None):
        seen.status = status
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files

    def handle_error(self, request, client_address):
        pass  # who asked has gone away, as some tests have it


@contextmanager
def serving(files):
    """Serve while the block runs; `files.address` is where, without a slash at its end."""
    server = Server(files)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), name="file-server")
    thread.start()
    files.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def breaks_off(after):
    """Promise the whole, send so many bytes, close."""

    def fault(handler, seen):
        handler.give(seen, after)
        return True

    return fault


def answers(status, headers=None):
    def fault(handler, seen):
        handler.begin(seen, status, 0, headers)
        return True

    return fault


def gives(content, headers=None):
    """Other bytes than those that are served."""

    def fault(handler, seen):
        handler.begin(seen, 200, len(content), headers)
        handler.wfile.write(content)
        seen.sent = len(content)
        return True

    return fault


def meets(barrier):
    """Wait for another request; an answer that nothing is there where none comes."""

    def fault(handler, seen):
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            handler.begin(seen, 404, 0)
            return True
        return False

    return fault


def hangs(after, until, sent=None):
    """Send so many bytes, set `sent`, and then send nothing until an event."""

    def fault(handler, seen):
        handler.give(seen, after)
        if sent is not None:
            sent.set()
        until.wait(timeout=30)
        return True

    return fault
