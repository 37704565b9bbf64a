"""Hands a version of the state from a living site to a joining one, over TCP, in hashed chunks.

The bytes of a version are those of its tensors, one after the other in the order of their names. A joiner
asks for one chunk after the other, so what it has when a connection breaks it need not ask for again: equal
hashes mean equal bytes, whoever gives them. Both sides work in the tensors' own memory.

    joiner: GET <schema> <run> <number> <hash>      member: OK <length of the header>, header | NO <reason>
    joiner: CHUNK <index>                           member: SHA-256 (32 bytes), then the chunk
    joiner: HELLO <schema> <run>                    member: YES | NO <reason>

Lines end with a newline. The header is JSON: the tensors' names, types and shapes, and the size of a chunk.
"""

import contextlib
import hashlib
import json
import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from curtail_dist.errors import PeerLost
from curtail_dist.state.version import Version
from curtail_dist.units import Seconds

SCHEMA = 2
CHUNK_BYTES = 8 << 20
_LINE_BYTES = 512
_HEADER_BYTES = 64 << 20
_IDLE_S = 30.0
_TRIES = 2
_AHEAD = 2
"""Chunks asked for before they are waited for, so that a long link is never empty."""
_JOIN_S = 5.0
_DIGEST_BYTES = 32


class StateServer:
    """Serves the version this site holds. Owns a socket, and a thread for each joiner, until `close`."""

    def __init__(
        self,
        *,
        run: str,
        host: str,
        current: Callable[[], Version | None],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Listen on a free port of `host`; `current` gives the version held, or None."""
        self._run = run
        self._current = current
        self._chunk_bytes = chunk_bytes
        self._socket = socket.create_server((host, 0))
        self.port: int = self._socket.getsockname()[1]
        """Port it listens on."""
        self._closed = False
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._thread = threading.Thread(target=self._accept, name="state-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving, in mid-transfer too; idempotent."""
        self._closed = True
        with self._lock:
            connections = dict(self._open)
        for connection in (self._socket, *connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in (self._thread, *connections.values()):
            thread.join(timeout=_JOIN_S)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="state-transfer", daemon=True
            )
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(_IDLE_S)
            self._answer(connection)
        with self._lock:
            self._open.pop(connection, None)

    def _answer(self, connection: socket.socket) -> None:
        verb, schema, run, *rest = _read_line(connection).split()
        if schema != str(SCHEMA) or run != self._run or verb not in ("GET", "HELLO"):
            connection.sendall(f"NO this is run {self._run}, schema {SCHEMA}\n".encode())
            return
        if verb == "HELLO":
            connection.sendall(b"YES\n")
            return
        number, hash = rest
        held = self._current()
        if held is None or (held.number, held.hash) != (int(number), hash):
            connection.sendall(f"NO version {held.number if held else 'none'} is held\n".encode())
            return
        layout = _Layout.of(held, self._chunk_bytes)
        header = layout.header()
        connection.sendall(f"OK {len(header)}\n".encode() + header)
        while (line := _read_line(connection)) != "":
            verb, _, index = line.partition(" ")
            if verb != "CHUNK":
                return
            pieces = list(layout.chunk(int(index)))
            connection.sendall(_digest(pieces))
            for piece in pieces:
                connection.sendall(piece)


class _Layout:
    """Where the bytes of a version lie: its tensors' memory, cut into chunks."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], chunk_bytes: int) -> None:
        self.tensors = {name: tensors[name] for name in sorted(tensors)}
        self.chunk_bytes = chunk_bytes
        self._views = [_bytes_of(tensor) for tensor in self.tensors.values()]
        self._size = sum(len(view) for view in self._views)

    @classmethod
    def of(cls, version: Version, chunk_bytes: int) -> Self:
        return cls({name: tensor.contiguous() for name, tensor in version.tensors.items()}, chunk_bytes)

    @classmethod
    def parse(cls, header: bytes) -> Self:
        """Make room for what a header describes. Raises ValueError for what is no header."""
        raw = json.loads(header)
        tensors = {name: torch.empty(shape, dtype=_dtype(kind)) for name, kind, shape in raw["tensors"]}
        chunk_bytes = int(raw["chunk_bytes"])
        if chunk_bytes < 1:
            raise ValueError(f"a chunk has {chunk_bytes} bytes; it must have at least 1")
        return cls(tensors, chunk_bytes)

    def header(self) -> bytes:
        described = [
            [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            for name, tensor in self.tensors.items()
        ]
        return json.dumps({"tensors": described, "chunk_bytes": self.chunk_bytes}).encode()

    @property
    def chunks(self) -> int:
        return math.ceil(self._size / self.chunk_bytes)

    def chunk(self, index: int) -> Iterator[memoryview]:
        """Yield the pieces of memory of one chunk, in order. Raises ValueError for one that is not there."""
        if not 0 <= index < self.chunks:
            raise ValueError(f"chunk {index} is asked for; there are {self.chunks}")
        first, last = index * self.chunk_bytes, (index + 1) * self.chunk_bytes
        start = 0
        for view in self._views:
            end = start + len(view)
            if start < last and end > first:
                yield view[max(0, first - start) : min(len(view), last - start)]
            start = end


def pull(
    peers: Sequence[tuple[str, int]],
    *,
    run: str,
    number: int,
    hash: str,
    timeout: Seconds,
    progress: Callable[[], None] = lambda: None,
) -> Version:
    """Fetch one version from the first of these peers that can give it.

    Args:
        peers: Host and port of members, in the order in which they are asked.
        run: Name of the run.
        number: Of the version.
        hash: Of the version; what is returned has it.
        timeout: Real seconds that a peer may be silent.
        progress: Called at each chunk.

    Raises PeerLost, naming each reason, when it cannot be had from any of them. What one gave before it broke
    off is kept while the others are asked.
    """
    partial = _Partial()
    reasons: list[str] = []
    for host, port in [*peers] * _TRIES:
        try:
            with socket.create_connection((host, port), timeout=timeout) as connection:
                connection.sendall(f"GET {SCHEMA} {run} {number} {hash}\n".encode())
                partial.fill(connection, progress)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reasons.append(f"{host}:{port} does not give version {number}: {error}")
            continue
        version = Version(number=number, tensors=partial.tensors)
        if version.hash == hash:
            return version
        reasons.append(f"{host}:{port} gave bytes that are not version {number} with hash {hash[:8]}")
        partial = _Partial()
    raise PeerLost("; ".join(reasons[: len(peers)]) or f"no living member holds version {number}")


class _Partial:
    """A version of which some chunks are here."""

    def __init__(self) -> None:
        self._header = b""
        self._layout = _Layout({}, CHUNK_BYTES)
        self._missing: list[int] = []

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self._layout.tensors

    def fill(self, connection: socket.socket, progress: Callable[[], None]) -> None:
        """Get what is missing. Raises OSError, ValueError; what came whole is kept."""
        answer, _, detail = _read_line(connection).partition(" ")
        if answer != "OK":
            raise ValueError(detail)
        header = bytearray(_bounded(int(detail), _HEADER_BYTES))
        _read_into(connection, memoryview(header))
        if bytes(header) != self._header:
            self._header, self._layout = bytes(header), _Layout.parse(bytes(header))
            self._missing = list(range(self._layout.chunks))
        asked = 0
        while self._missing:
            while asked < min(_AHEAD, len(self._missing)):
                connection.sendall(f"CHUNK {self._missing[asked]}\n".encode())
                asked += 1
            expected = bytearray(_DIGEST_BYTES)
            _read_into(connection, memoryview(expected))
            pieces = list(self._layout.chunk(self._missing[0]))
            for piece in pieces:
                _read_into(connection, piece)
            if _digest(pieces) != expected:
                raise ValueError(f"chunk {self._missing[0]} does not have its hash")
            self._missing.pop(0)
            asked -= 1
            progress()


def probe(host: str, port: int, *, run: str, timeout: Seconds) -> bool:
    """Return whether a site of this run serves state there."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(f"HELLO {SCHEMA} {run}\n".encode())
            return _read_line(connection) == "YES"
    except (OSError, ValueError):
        return False


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if isinstance(found, torch.dtype):
        return found
    raise ValueError(f"{name!r} is no tensor type")


def _digest(pieces: Sequence[memoryview]) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _bounded(size: int, most: int) -> int:
    if not 0 <= size <= most:
        raise ValueError(f"{size} bytes are announced; at most {most} are taken")
    return size


def _read_line(connection: socket.socket) -> str:
    """Read up to a newline; empty at the end of the connection before a line began."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte and not line:
            return ""
        if not byte or len(line) > _LINE_BYTES:
            raise ValueError("the connection ended within a line")
        line += byte
    return line.decode().strip()


def _read_into(connection: socket.socket, view: Any) -> None:
    while len(view):
        read = connection.recv_into(view)
        if not read:
            raise ValueError(f"the connection ended {len(view)} bytes early")
        view = view[read:]
