"""A man in the middle: hands on what two sides say, and keeps all of it."""

import contextlib
import socket
import threading


class Middle:
    """Listens before `port`; owns a socket and its threads until `close`."""

    def __init__(self, port):
        self._target = port
        self.heard = bytearray()
        """What was said, by either side."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._open = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target), timeout=10)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._hand_on, args=(source, sink)))
                self._threads[-1].start()

    def _hand_on(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.heard += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for end in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(timeout=10)
