"""Where the streams of a site's groups arrive: one port, for the site's whole life.

    caller: the wire's handshake, which shows that it belongs to the run
    caller: a greeting: which stream of which group this is to be
    member: one byte, once it is forming that group

A caller that has greeted is kept for a while: the member it calls may not have begun to wait for it yet.
"""

import socket
import threading
from dataclasses import asdict, dataclass
from typing import Any, Self

from curtail_dist.security.gate import Gate
from curtail_dist.security.wire import Wire
from curtail_dist.state.wire import receive_message, send_message
from curtail_dist.units import Seconds

SCHEMA = 1
"""Of greetings, and of what follows them."""
_GREETING_BYTES = 1024
_STREAMS = 1024
"""Connections that are kept or in use, of members of the run; more are turned away, and call again."""
_KEPT_S: Seconds = 60.0


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """Which stream a connection is to be: of a group, between two of its ranks, on a lane."""

    group: str
    caller: int
    called: int
    lane: int

    def send(self, connection: socket.socket) -> None:
        """Send it. Raises OSError."""
        send_message(connection, {"schema": SCHEMA, **asdict(self)})


def receive_greeting(connection: socket.socket, within: Seconds) -> Greeting:
    """Return the greeting that comes within so many seconds. Raises OSError, ValueError."""
    message = receive_message(connection, limit_bytes=_GREETING_BYTES, within=within)
    schema, group = message.get("schema"), message.get("group")
    if schema != SCHEMA or not isinstance(group, str):
        raise ValueError(f"this is no greeting of schema {SCHEMA}")
    caller, called, lane = (_number(message.get(key)) for key in ("caller", "called", "lane"))
    return Greeting(group=group, caller=caller, called=called, lane=lane)


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a greeting's ranks and lane must be whole numbers from 0")
    return value


class Arrival:
    """A connection that came with a greeting, and never blocks. Owned by who takes it, until `close`."""

    def __init__(self, connection: socket.socket) -> None:
        """Nobody has taken it."""
        self.connection = connection
        self.over = threading.Event()
        """Set by `close`: the thread that keeps the connection open for its owner waits for it."""

    def close(self) -> None:
        """Close the connection; idempotent, never blocks."""
        self.connection.close()
        self.over.set()


class StreamMeeting:
    """Listens for the streams of a site's groups. Owns a port, and a thread for each connection."""

    def __init__(self, host: str, wire: Wire) -> None:
        """Listen on a free port of `host`, until `close`; who comes has to pass `wire`."""
        self._lock = threading.Lock()
        self._closed = False
        self._kept: dict[Greeting, Arrival] = {}
        self._gate: Gate[Greeting] = Gate(
            host=host,
            wire=wire,
            hear=receive_greeting,
            serve=self._keep,
            places=_STREAMS,
            name="stream-meeting",
        )
        self.port = self._gate.port
        """Port it listens on."""

    def take(self, greeting: Greeting) -> Arrival | None:
        """Return what came with this greeting last, which waits for an answer; None if nothing came."""
        with self._lock:
            return self._kept.pop(greeting, None)

    def close(self) -> None:
        """Stop listening; idempotent, within seconds. Groups are left before: what they took ends, too."""
        with self._lock:
            self._closed = True
            left = list(self._kept.values())
            self._kept.clear()
        for arrival in left:
            arrival.close()
        self._gate.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _keep(self, connection: socket.socket, greeting: Greeting) -> None:
        """Keep a connection open until its owner closes it, or nobody takes it in time."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        arrival = Arrival(connection)
        with self._lock:
            if self._closed:
                return
            former = self._kept.pop(greeting, None)
            self._kept[greeting] = arrival
        if former is not None:
            former.close()
        if not arrival.over.wait(_KEPT_S):
            with self._lock:
                taken = self._kept.get(greeting) is not arrival
                if not taken:
                    del self._kept[greeting]
            if taken:
                arrival.over.wait()
