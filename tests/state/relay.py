"""A TCP relay before a state server: counts what it hands on, breaks off, falls silent, changes a byte."""

import contextlib
import socket
import threading


class Relay:
    """Hands bytes to and from `port`. Owns a socket and its threads until `close`."""

    def __init__(self, port, *, cut_after=None, flip_at=None, mute_after=None, serves=None):
        self._target = port
        self.cut_after = cut_after
        self.flip_at = flip_at
        self._mute_after = mute_after
        self._serves = serves
        self._closing = threading.Event()
        self.connections = 0
        self.received = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._open = []
        self._threads[0].start()

    @property
    def peer(self):
        return ("127.0.0.1", self.port)

    def _accept(self):
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            if self.connections == self._serves:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            self._open += [near, far]
            self.connections += 1
            for source, sink, counted in ((near, far, False), (far, near, True)):
                thread = threading.Thread(target=self._hand_on, args=(source, sink, counted))
                self._threads.append(thread)
                thread.start()

    def _hand_on(self, source, sink, counted):
        passed = 0
        with contextlib.suppress(OSError):
            while data := bytearray(source.recv(1000)):
                if counted:
                    if self.flip_at is not None and passed <= self.flip_at < passed + len(data):
                        data[self.flip_at - passed] ^= 1
                    if self.cut_after is not None:
                        data = data[: self.cut_after - passed]
                    if self._mute_after is not None:
                        data = data[: max(0, self._mute_after - passed)]
                    self.received += len(data)
                passed += len(data)
                sink.sendall(data)
                if counted and passed == self.cut_after:
                    break
        if counted and self._mute_after is not None:
            self._closing.wait(20)  # the connection stands, and nothing comes
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._closing.set()
        for end in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(timeout=10)
