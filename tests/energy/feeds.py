"""Servers on loopback that speak as providers of carbon intensity do, and fail as they do."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What a server says next."""

    body: Any = None
    """JSON, or text that is sent as it is."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """What it was asked."""

    path: str
    headers: Message


class Feed:
    """A server whose answers the test gives, by path without query."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.replies: dict[str, Reply | Callable[[Asked], Reply]] = {}

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        path = asked.path.partition("?")[0]
        reply = next((one for known, one in self.replies.items() if path.startswith(known)), None)
        if reply is None:
            return Reply({"error": "no such path"}, status=404)
        return reply(asked) if callable(reply) else reply


@contextmanager
def serve() -> Iterator[Feed]:
    """Serve on a free port until the context ends."""
    feed = Feed("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = feed.answer(Asked(self.path, self.headers))
            body = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        feed.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield feed
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def dripping() -> Iterator[str]:
    """A server that sends a byte every now and then, for ever."""
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            while not ending.wait(0.05):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ending.set()
            server.shutdown()
