"""A listening port at which strangers are kept apart from those who belong to the run.

A connection is a stranger's until it has passed the wire and said something that makes sense. Strangers have
few places and little time. When their places are taken, the oldest of them goes, from the address that has
most: so a flood from one address pushes out itself and not a member that is about to prove itself.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from curtail_dist.security.refusals import Refusals
from curtail_dist.security.wire import Wire
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
STRANGERS = 64
"""Places for connections that have not proved themselves."""
PROOF_S: Seconds = 5.0
"""Time in which a connection must have proved itself, and said what it wants."""
_BACKLOG = 1024
"""Connections that the system holds until they are accepted: where it has no room for one, that one is told
nothing and tries again after a second."""
_GOING_S = 0.2
"""A connection that is turned out ends at once; so long is waited for it."""
_RETRY_S = 0.05
_CLOSE_S = 5.0

T = TypeVar("T")


class _TurnedAwayError(Exception):
    """There is no place for this connection, or nobody to serve it any more."""


@dataclass(eq=False, kw_only=True)
class _Guest:
    """One connection, as the gate sees it."""

    handle: socket.socket
    """Of the same connection, whatever the wire makes of it: to end it from another thread."""
    source: str
    thread: threading.Thread = field(init=False)
    belongs: bool = False

    def turn_out(self) -> None:
        """End the connection: whoever reads or writes it gets an error."""
        with contextlib.suppress(OSError):
            self.handle.shutdown(socket.SHUT_RDWR)


def listen(host: str) -> socket.socket:
    """Return a socket that listens on a free port of `host`, an IPv6 address too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=_BACKLOG)


class Gate(Generic[T]):
    """Listens, and serves whoever belongs, each connection in a thread of its own, until `close`."""

    def __init__(
        self,
        *,
        host: str,
        wire: Wire,
        hear: Callable[[socket.socket, Seconds], T],
        serve: Callable[[socket.socket, T], None],
        places: int,
        name: str,
    ) -> None:
        """Listen on a free port of `host`. Raises OSError.

        Args:
            host: Address of this machine.
            wire: What a connection has to pass.
            hear: Reads what a connection that passed wants, within so many seconds. It raises OSError,
                ValueError, KeyError or TypeError for what makes no sense: the connection is a stranger's.
            serve: Does it; what it raises of these ends the connection.
            places: How many are served at once; more are turned away.
            name: Of the threads, and in the log.
        """
        self._wire, self._hear, self._serve = wire, hear, serve
        self._places = places
        self._name = name
        self._refusals = Refusals(name)
        self._lock = threading.Lock()
        self._guests: dict[_Guest, None] = {}
        self._closed = False
        self._socket = listen(host)
        self.port: int = self._socket.getsockname()[1]
        """Port it listens on."""
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, in the middle of serving too; idempotent, bounded by some 5 s."""
        with self._lock:
            self._closed = True
            guests = list(self._guests)
            for guest in guests:
                guest.turn_out()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        deadline = time.monotonic() + _CLOSE_S
        for thread in (self._thread, *(guest.thread for guest in guests)):
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self._refusals.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(_RETRY_S)  # out of file descriptors, or a connection that was gone at once
                continue
            turned_out = self._let_in(connection, str(address[0]))
            if turned_out is not None:
                turned_out.thread.join(timeout=_GOING_S)

    def _let_in(self, connection: socket.socket, source: str) -> _Guest | None:
        """Begin with a connection; return the one that had to go for it."""
        with self._lock:
            if self._closed:
                connection.close()
                return None
            crowded = self._crowding()
            try:
                guest = self._begin(connection, source)
            except (OSError, RuntimeError) as error:  # no more descriptors, no more threads
                connection.close()
                self._refusals.note(source, error)
            else:
                self._guests[guest] = None
        return crowded

    def _begin(self, connection: socket.socket, source: str) -> _Guest:
        guest = _Guest(handle=connection.dup(), source=source)
        name = f"{self._name}-{guest.handle.fileno()}"
        guest.thread = threading.Thread(target=self._attend, args=(guest, connection), name=name, daemon=True)
        try:
            guest.thread.start()
        except RuntimeError:
            guest.handle.close()
            raise
        return guest

    def _crowding(self) -> _Guest | None:
        """Turn out the stranger who has to go for the next, if one has to."""
        strangers = [guest for guest in self._guests if not guest.belongs]
        if len(strangers) < STRANGERS:
            return None
        held = Counter(guest.source for guest in strangers)
        most = max(held.values())
        crowded = next(guest for guest in strangers if held[guest.source] == most)
        crowded.turn_out()
        del self._guests[crowded]
        return crowded

    def _attend(self, guest: _Guest, connection: socket.socket) -> None:
        try:
            self._meet(guest, connection)
        except _TurnedAwayError as reason:
            _LOG.debug("%s: a connection from %s: %s", self._name, guest.source, reason)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not guest.belongs and not self._closed:
                self._refusals.note(guest.source, error)
        finally:
            with self._lock:
                self._guests.pop(guest, None)
                guest.turn_out()
                guest.handle.close()

    def _meet(self, guest: _Guest, connection: socket.socket) -> None:
        deadline = time.monotonic() + PROOF_S
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            connection.settimeout(PROOF_S)
            if not connection.recv(1, socket.MSG_PEEK):
                raise _TurnedAwayError("it went without a word, as one does who asks whether anybody listens")
            passed = self._wire.accept(connection, timeout=max(0.001, deadline - time.monotonic()))
            stack.enter_context(passed)
            wanted = self._hear(passed, max(0.001, deadline - time.monotonic()))
            self._welcome(guest)
            self._serve(passed, wanted)

    def _welcome(self, guest: _Guest) -> None:
        with self._lock:
            if self._closed or guest not in self._guests:
                raise _TurnedAwayError("too late")
            if sum(one.belongs for one in self._guests) >= self._places:
                raise _TurnedAwayError("all places are taken")
            guest.belongs = True
