"""Hands a version of the state from a living site to a joining one, over TCP, verified by its hash.

Request: one line `GET <schema> <run> <number> <hash>`. Answer: one line `OK <size>` and that many bytes of
safetensors, or `NO <reason>`. The reader checks the hash of what it decoded, so a wrong or torn answer is
never taken.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from safetensors.torch import load as decode
from safetensors.torch import save as encode

from curtail_dist.errors import PeerLost
from curtail_dist.state.version import Version
from curtail_dist.units import Seconds

SCHEMA = 1
_LINE_LIMIT = 512


class StateServer:
    """Serves the newest version this site holds. Owns a listening socket and one thread until `close`."""

    def __init__(self, *, run: str, host: str, current: Callable[[], Version | None]) -> None:
        """Listen on a free port of `host`; `current` gives the version held, or None."""
        self._run = run
        self._current = current
        self._socket = socket.create_server((host, 0))
        self.port: int = self._socket.getsockname()[1]
        """Port it listens on."""
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="state-server", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, ValueError):
                connection.settimeout(10.0)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        verb, schema, run, number, hash = _read_line(connection).split()
        held = self._current()
        if verb != "GET" or schema != str(SCHEMA) or run != self._run:
            reason = f"this is run {self._run}, schema {SCHEMA}"
        elif held is None or (held.number, held.hash) != (int(number), hash):
            reason = f"version {held.number if held else 'none'} is held"
        else:
            payload = encode({name: tensor.contiguous() for name, tensor in held.tensors.items()})
            connection.sendall(f"OK {len(payload)}\n".encode())
            connection.sendall(payload)
            return
        connection.sendall(f"NO {reason}\n".encode())

    def close(self) -> None:
        """Stop serving; idempotent."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=11.0)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def pull(*, run: str, host: str, port: int, number: int, hash: str, timeout: Seconds) -> Version:
    """Fetch one version from a peer. Raises PeerLost when it cannot be had from there."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(f"GET {SCHEMA} {run} {number} {hash}\n".encode())
            answer, _, detail = _read_line(connection).partition(" ")
            if answer != "OK":
                raise PeerLost(f"{host}:{port} does not give version {number}: {detail}")
            payload = _read_exactly(connection, int(detail))
    except (OSError, ValueError) as error:
        raise PeerLost(f"{host}:{port} broke off while giving version {number}: {error}") from error
    version = Version(number=number, tensors=decode(payload))
    if version.hash != hash:
        raise PeerLost(f"{host}:{port} gave bytes that are not version {number} with hash {hash[:8]}")
    return version


def _read_line(connection: socket.socket) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > _LINE_LIMIT:
            raise ValueError("the connection ended within a line")
        line += byte
    return line.decode().strip()


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        read = connection.recv_into(view)
        if not read:
            raise ValueError(f"{len(view)} of {size} bytes are missing")
        view = view[read:]
    return bytes(data)
