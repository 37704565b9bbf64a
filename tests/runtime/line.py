"""A TCP line from a joiner to a member's state server, which a test lets through piece by piece or cuts."""

import contextlib
import socket
import threading

ALL = 2**40


class Line:
    """Hands bytes to and from `port`. Owns a socket and its threads until `close`.

    What goes to the joiner passes as far as `allowed` bytes go; then the line waits for more, or with `cuts`
    breaks for ever.
    """

    def __init__(self, port, *, allowed=ALL, cuts=False):
        self._target = port
        self._allowed = allowed
        self._cuts = cuts
        self._changed = threading.Condition()
        self._closed = False
        self.passed = 0
        self.connections = 0
        self.stalled = threading.Event()
        self.hung_up = threading.Event()
        """Set when the joiner has closed a connection."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open = []
        self._threads = []
        self._start(self._accept)

    def allow(self, more=ALL):
        """Let so many bytes more pass."""
        with self._changed:
            self._allowed += more
            self._changed.notify_all()

    def close(self):
        """Break off what is open and listen no more; idempotent."""
        self._end()
        for thread in self._threads:
            thread.join(timeout=10)
        for end in self._open:
            end.close()

    def _end(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for end in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target), timeout=20)
            self._open += [near, far]
            self.connections += 1
            self._start(self._ask, near, far)
            self._start(self._answer, near, far)

    def _ask(self, near, far):
        with contextlib.suppress(OSError):
            while data := near.recv(4096):
                far.sendall(data)
        if not self._closed:
            self.hung_up.set()
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)

    def _answer(self, near, far):
        with contextlib.suppress(OSError):
            while data := far.recv(4096):
                while data and (count := self._pass(len(data))):
                    near.sendall(data[:count])
                    data = data[count:]
                if data:
                    break
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)

    def _pass(self, wanted):
        """Return how many of `wanted` bytes may pass now, waiting for one at least; 0 at the end."""
        with self._changed:
            if not self._allowed:
                self.stalled.set()
                if self._cuts:
                    self._end()
            self._changed.wait_for(lambda: self._allowed or self._closed)
            count = 0 if self._closed else min(wanted, self._allowed)
            self._allowed -= count
            self.passed += count
            return count
