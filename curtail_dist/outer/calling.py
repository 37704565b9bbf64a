"""Calls members of a group at their meetings, all at once and again and again, until they answer."""

import contextlib
import socket
import threading
import time
from typing import Self

from curtail_dist.outer.meeting import Greeting
from curtail_dist.security.wire import Wire
from curtail_dist.units import Seconds

HERE = b"!"
"""The answer to a greeting, by who forms the group too."""
_CONNECT_S = 5.0
_AGAIN_S = 0.1
_LOOK_S = 0.05
_JOIN_S = 0.5


class Calls:
    """Streams that are being opened. Owns a thread for each, and its connection until it is answered."""

    def __init__(self, wire: Wire, *, timeout: Seconds) -> None:
        """Give up each call after `timeout` seconds of real time."""
        self._wire = wire
        self._deadline = time.monotonic() + timeout
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._answered: dict[Greeting, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self.troubles: dict[int, str] = {}
        """By rank called, why the last attempt failed."""

    def call(self, greeting: Greeting, address: tuple[str, int]) -> None:
        """Begin to call `address`."""
        name = f"stream-call-{greeting.called}-{greeting.lane}"
        thread = threading.Thread(target=self._call, args=(greeting, address), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def answered(self) -> dict[Greeting, socket.socket]:
        """Return what was answered since this was asked last, the caller's from now on."""
        with self._lock:
            found, self._answered = self._answered, {}
        return found

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the calls that are not answered.

        A thread that waits for a host which says nothing cannot be woken: it is left, ends by itself within
        seconds, and closes what it opened.
        """
        with self._lock:
            self._over.set()
            left = list(self._answered.values())
        for connection in left:
            connection.close()
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _call(self, greeting: Greeting, address: tuple[str, int]) -> None:
        while not self._over.is_set() and (left := self._deadline - time.monotonic()) > 0:
            try:
                with contextlib.ExitStack() as stack:
                    opened = self._wire.connect(address, timeout=min(_CONNECT_S, left))
                    connection = stack.enter_context(opened)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    greeting.send(connection)
                    if self._is_answered(connection) and self._hand_over(greeting, connection):
                        stack.pop_all()
                        return
            except OSError as error:
                self.troubles[greeting.called] = str(error)
                self._over.wait(_AGAIN_S)

    def _is_answered(self, connection: socket.socket) -> bool:
        """Wait for the answer; say whether it came before the end of all calls. Raises OSError."""
        connection.settimeout(_LOOK_S)
        while not self._over.is_set() and time.monotonic() < self._deadline:
            try:
                answer = connection.recv(1)
            except TimeoutError:
                continue
            if answer != HERE:
                raise ConnectionError("the greeting was not answered")
            return True
        return False

    def _hand_over(self, greeting: Greeting, connection: socket.socket) -> bool:
        connection.setblocking(False)
        with self._lock:
            if self._over.is_set():
                return False
            self._answered[greeting] = connection
            return True
