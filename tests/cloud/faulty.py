"""An HTTP server on loopback that answers as its owner says, records what it is asked, fails on order."""

import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

DRIP_S = 0.05
IDLE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float
    """When it came, on the monotonic clock."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is answered: a status, a JSON value (None: nothing), headers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with the next `times` requests of a method (empty: any) whose path contains a text."""

    kind: Literal["status", "done", "torn", "slow", "silent", "dropped", "lost"]
    """`status`: another answer; `done`: another answer, and what was asked is done; `torn`: the body is cut
    in its middle; `slow`: it comes byte after byte; `silent`: nothing comes; `dropped`: the connection is
    closed, nothing was done; `lost`: it was done, and the connection is closed without an answer."""
    method: str = ""
    path: str = ""
    times: int = 1
    answer: Answer = field(default_factory=lambda: Answer(status=500))
    then: list["Fault"] = field(default_factory=list)
    """What goes wrong from then on."""


class FaultyServer:
    """Owns a server and its threads between `__enter__` and `__exit__`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.fired: list[Fault] = []
        self.met: dict[int, Asked] = {}
        """The newest request that met a fault, by the fault's id."""
        self._ending = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = IDLE_S

            def _handle(self) -> None:
                server._serve(self)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle

            def log_message(self, *given: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *given: Any) -> None:
                pass  # a client that has given up on us

        self._http = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="double")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, asked: Asked) -> Answer:
        """Do what is asked. Overridden."""
        raise NotImplementedError

    def fail(self, kind: Any, **given: Any) -> Fault:
        """Have something go wrong."""
        fault = Fault(kind=kind, **given)
        with self.lock:
            self.faults.append(fault)
        return fault

    def count(self, method: str, path: str = "") -> int:
        with self.lock:
            return sum(one.method == method and path in one.path for one in self.asked)

    def pause_after(self, fault: Fault) -> float:
        """How long after a request that met this fault the next one came, once it has."""
        deadline = time.monotonic() + IDLE_S
        while True:
            with self.lock:
                met = [index for index, one in enumerate(self.asked) if one is self.met.get(id(fault))]
                if met and len(self.asked) > met[0] + 1:
                    return self.asked[met[0] + 1].at - self.asked[met[0]].at
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._http.shutdown()
        self._thread.join(10)
        self._http.server_close()

    def _fault(self, asked: Asked) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("", asked.method) and fault.path in asked.path:
                fault.times -= 1
                self.fired.append(fault)
                self.met[id(fault)] = asked
                self.faults += fault.then
                return fault
        return None

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        asked = Asked(
            method=handler.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=json.loads(body) if body else None,
            at=time.monotonic(),
        )
        with self.lock:
            self.asked.append(asked)
            fault = self._fault(asked)
            if fault is None or fault.kind in ("torn", "slow", "lost"):
                answer = self.answer(asked)
            else:
                if fault.kind == "done":
                    self.answer(asked)
                answer = fault.answer
        kind = "" if fault is None else fault.kind
        if kind == "silent":
            self._ending.wait(IDLE_S)
        if kind in ("silent", "dropped", "lost"):
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(handler, answer, kind)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, kind: str) -> None:
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if kind == "torn":
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "slow":
            for index in range(len(body)):
                handler.wfile.write(body[index : index + 1])
                handler.wfile.flush()
                if self._ending.wait(DRIP_S):
                    return
        else:
            handler.wfile.write(body)
