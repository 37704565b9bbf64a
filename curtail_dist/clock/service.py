"""The virtual clock as a service: JSON lines over TCP on loopback, one thread a connection.

A request is {"op": NAME, "id": N, ...}; its answer {"id": N, "now": T} comes once the request is fulfilled,
which for `claim` and `arrive` is when time has reached the moment. Whoever has not attached may ask for the
time and make and release reservations. Anything else that does not fit closes the connection, as does a newer
participant of the name.
"""

import json
import socket
import threading
from types import TracebackType
from typing import Any, Self, cast

from curtail_dist.clock.claims import Claims, Stance
from curtail_dist.errors import CoordinationError
from curtail_dist.units import Seconds

_JOIN_S = 5.0
_LINE_BYTES = 4096


def _shut(one: socket.socket) -> None:
    """Wake whoever reads or accepts on a socket; it may be shut already."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class _Connection:
    """One peer's socket, the name it attached under and the request it still waits for."""

    def __init__(self, peer: socket.socket) -> None:
        self.socket = peer
        self.name = ""
        self.pending: int | None = None

    def send(self, answer: dict[str, Any]) -> None:
        """Answer; a peer that is gone is noticed by its reader."""
        try:
            self.socket.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self.shut()

    def shut(self) -> None:
        """Wake the reader and the peer; idempotent."""
        _shut(self.socket)


class ClockService:
    """Serves one virtual clock until `stop`. Owns its listening socket, its connections and their threads."""

    def __init__(self, *, now: Seconds = 0.0, host: str = "127.0.0.1") -> None:
        """Listen on a free port of `host`, with the run time at `now`."""
        self._claims = Claims(now)
        self._lock = threading.Lock()
        self._connections: dict[_Connection, threading.Thread] = {}
        self._stopped = False
        self._listener = socket.create_server((host, 0), backlog=64)
        port = self._listener.getsockname()[1]
        self.endpoint = f"{host}:{port}"
        """HOST:PORT, as `clock.endpoint` of the run file wants it."""
        self._acceptor = threading.Thread(target=self._accept, name="clock-accept", daemon=True)
        self._acceptor.start()

    def now(self) -> Seconds:
        """Return the run time."""
        with self._lock:
            return self._claims.now

    def stop(self) -> None:
        """Close every connection and join the threads; idempotent. Participants then see the service lost."""
        with self._lock:
            self._stopped = True
            open_now = dict(self._connections)
            for connection in open_now:
                connection.shut()
            _shut(self._listener)
        self._acceptor.join(_JOIN_S)
        for thread in open_now.values():
            thread.join(_JOIN_S)
        self._listener.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _accept(self) -> None:
        while True:
            try:
                peer, address = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(peer)
            name = f"clock-{address[1]}"
            thread = threading.Thread(target=self._serve, args=(connection,), name=name, daemon=True)
            with self._lock:
                if self._stopped:
                    peer.close()
                    return
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: _Connection) -> None:
        """Read one connection's requests until it ends."""
        try:
            with connection.socket.makefile("rb") as lines:
                while line := lines.readline(_LINE_BYTES):
                    if not self._handle(connection, line):
                        break
        except OSError:
            connection.shut()
        with self._lock:
            self._connections.pop(connection, None)
            self._forget(connection, lost=True)
            connection.socket.close()

    def _handle(self, connection: _Connection, line: bytes) -> bool:
        """Do one request; return whether the connection goes on."""
        try:
            request: Any = json.loads(line)
            number = int(request["id"])
            with self._lock:
                goes_on = self._apply(connection, number, cast("dict[str, Any]", request))
                self._settle()
        except (ValueError, KeyError, TypeError, CoordinationError) as error:
            connection.send({"id": -1, "error": str(error)})
            return False
        return goes_on

    def _apply(self, connection: _Connection, number: int, request: dict[str, Any]) -> bool:
        op = request["op"]
        name = connection.name
        if op == "attach":
            self._attach(connection, str(request["name"]), str(request["kind"]))
        elif op == "claim":
            self._claims.claim(name, float(request["for"]))
        elif op == "arrive":
            self._claims.arrive(name)
        elif op in ("wait", "resume"):
            (self._claims.wait if op == "wait" else self._claims.resume)(name)
        elif op == "reserve":
            self._claims.reserve(str(request["name"]), float(request["for"]))
        elif op == "release":
            self._claims.release(str(request["name"]))
        elif op == "leave":
            self._forget(connection, lost=False)
        elif op != "now":
            raise CoordinationError(f"clock request {op!r} is unknown")
        connection.pending = number
        if op not in ("claim", "arrive"):
            self._answer(connection)
        return op != "leave"

    def _attach(self, connection: _Connection, name: str, kind: str) -> None:
        if connection.name:
            raise CoordinationError(f"this connection is attached as {connection.name!r}; open another")
        for other in self._connections:
            if other.name == name:
                self._forget(other, lost=True)
                other.shut()
        self._claims.attach(name, kind)
        connection.name = name

    def _forget(self, connection: _Connection, *, lost: bool) -> None:
        """Let the connection's participant go; caller holds the lock."""
        name, connection.name = connection.name, ""
        if name:
            self._claims.leave(name, lost=lost)
            self._settle()

    def _settle(self) -> None:
        """Move time and answer whoever has become busy; caller holds the lock."""
        self._claims.advance()
        for connection in self._connections:
            if connection.pending is not None and self._claims.stance(connection.name) is Stance.BUSY:
                self._answer(connection)

    def _answer(self, connection: _Connection) -> None:
        busy = self._claims.stance(connection.name) is Stance.BUSY
        connection.send({"id": connection.pending, "now": self._claims.now, "busy": busy})
        connection.pending = None
