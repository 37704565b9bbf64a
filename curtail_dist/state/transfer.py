"""Hands a version of the state from a living site to a joining one, over TCP, in hashed chunks.

    joiner: what it wants: run, number, hash           member: the tensors' names, types, shapes | why not
    joiner: the SHA-256 of each chunk it has, or 0     member: for each chunk its SHA-256 and, where that is
                                                               another than the joiner's, its bytes

Both sides work in the tensors' own memory. Equal hashes mean equal bytes, whoever gives them: what a joiner
has when a connection breaks it need not pull again, and what one member gave is compared with the next one's.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from curtail_dist.errors import PeerLost
from curtail_dist.security.gate import Gate
from curtail_dist.security.wire import Wire
from curtail_dist.state.layout import CHUNK_BYTES, LIMIT_BYTES, Layout, digest_of
from curtail_dist.state.sources import give_file
from curtail_dist.state.version import Version
from curtail_dist.state.wire import (
    REQUEST_BYTES,
    SCHEMA,
    receive_into,
    receive_message,
    send_bytes,
    send_message,
)
from curtail_dist.units import Seconds

_CONNECTIONS = 128
"""How many are served at once; more are turned away and ask another member."""
_HEADER_BYTES = 2**23
"""Of a layout: some hundred bytes a tensor."""
_SEND_S = 30.0
_DIGEST_BYTES = 32
_NOTHING = bytes(_DIGEST_BYTES)
_NAME = "state-server"


class StateServer:
    """Serves the version and the files this site holds. Owns a port, and a thread for each joiner.

    A version that is being served stays in memory until its last chunk is sent, whatever is committed
    meanwhile.
    """

    def __init__(
        self,
        *,
        run: str,
        host: str,
        wire: Wire,
        current: Callable[[], Version | None],
        file_of: Callable[[str], Path | None] = lambda _: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Listen on a free port of `host`, until `close`, for who passes `wire`.

        `current` gives the version held, or None; `file_of` the place of the file with a SHA-256, or None.
        """
        self._run = run
        self._current = current
        self._file_of = file_of
        self._chunk_bytes = chunk_bytes
        self._digests: tuple[tuple[int, str], list[bytes]] = ((-1, ""), [])
        self._lock = threading.Lock()
        self._gate = Gate(
            host=host, wire=wire, hear=self._hear, serve=self._answer, places=_CONNECTIONS, name=_NAME
        )
        self.port: int = self._gate.port
        """Port it listens on."""

    def close(self) -> None:
        """Stop serving, in mid-transfer too; idempotent."""
        self._gate.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _hear(self, connection: socket.socket, within: Seconds) -> Mapping[str, Any]:
        """Read a request. Raises ValueError for one of another run or version of these messages."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = receive_message(connection, limit_bytes=REQUEST_BYTES, within=within)
        if (request["schema"], request["run"]) != (SCHEMA, self._run):
            connection.settimeout(within)
            send_message(connection, {"no": f"this is run {self._run}, schema {SCHEMA}"})
            raise ValueError("it asks for another run, or in another version's words")
        return request

    def _answer(self, connection: socket.socket, request: Mapping[str, Any]) -> None:
        connection.settimeout(_SEND_S)
        if request["want"] == "answer":
            send_message(connection, {"here": True})
        elif request["want"] == "tether":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            send_message(connection, {"here": True})
            connection.settimeout(None)
            connection.recv(1)  # until either side ends
        elif request["want"] == "file":
            start = request["start"]
            if type(start) is not int:
                raise ValueError(f"a file is to start at byte {start!r}")
            give_file(connection, self._file_of(str(request["sha256"])), start)
        else:
            self._give(connection, (request["number"], request["hash"]))

    def _give(self, connection: socket.socket, wanted: tuple[int, str]) -> None:
        held = self._current()
        if held is None or held.number != wanted[0] or held.hash != wanted[1]:
            shown = "none" if held is None else f"{held.number} with hash {held.hash[:8]}"
            send_message(connection, {"no": f"version {shown} is held"})
            return
        layout = Layout(held.tensors, self._chunk_bytes)
        send_message(connection, {"layout": layout.description})
        there = bytearray(layout.chunks * _DIGEST_BYTES)
        receive_into(connection, memoryview(there), deadline=time.monotonic() + _SEND_S)
        connection.settimeout(_SEND_S)
        digests = self._known_digests(wanted, layout.chunks)
        for index in range(layout.chunks):
            if digests[index] == _NOTHING:
                digests[index] = layout.digest(index)
            connection.sendall(digests[index])
            if there[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES] != digests[index]:
                for piece in layout.pieces(index):
                    send_bytes(connection, piece)

    def _known_digests(self, version: tuple[int, str], chunks: int) -> list[bytes]:
        """Return the hashes of the version's chunks as far as known, to be filled by who serves it."""
        with self._lock:
            if self._digests[0] != version:
                self._digests = (version, [_NOTHING] * chunks)
            return self._digests[1]


@dataclass(kw_only=True)
class Kept:
    """The chunks of one version that are here already. Give the same to each `pull` to go on from there."""

    most_bytes: int = LIMIT_BYTES
    """Of a version: for one that is announced with more no room is made."""
    received: int = 0
    """Chunks that ever came, of whatever version."""
    _wanted: tuple[int, str] = (-1, "")
    _layout: Layout = field(default_factory=lambda: Layout({}, CHUNK_BYTES))
    _digests: list[bytes] = field(default_factory=list[bytes])

    def aim(self, number: int, hash: str) -> None:
        """Say what is pulled next; chunks of anything else are let go."""
        if self._wanted != (number, hash):
            self.clear()
            self._wanted = (number, hash)

    def clear(self) -> None:
        """Let go of all chunks."""
        self._wanted, self._layout, self._digests = (-1, ""), Layout({}, CHUNK_BYTES), []

    def fill(self, connection: socket.socket, description: Any, progress: Callable[[], None]) -> Version:
        """Get what is missing into its place; what came whole is kept. Raises OSError, ValueError, ..."""
        if description != self._layout.description:
            self._layout = Layout.parse(description, limit_bytes=self.most_bytes)
            self._digests = [_NOTHING] * self._layout.chunks
        connection.sendall(b"".join(self._digests))
        expected = bytearray(_DIGEST_BYTES)
        for index in range(self._layout.chunks):
            receive_into(connection, memoryview(expected))
            if expected == self._digests[index]:
                continue
            self._digests[index] = _NOTHING
            pieces = list(self._layout.pieces(index))
            for piece in pieces:
                receive_into(connection, piece)
            if digest_of(pieces) != expected:
                raise ValueError(f"chunk {index} does not have its hash")
            self._digests[index] = bytes(expected)
            self.received += 1
            progress()
        return Version(number=self._wanted[0], tensors=self._layout.tensors)


class _RefusedError(Exception):
    """A peer does not have what is wanted; asking it again will not help."""


def pull(  # noqa: PLR0913 - what, from whom, and how
    peers: Sequence[tuple[str, int]],
    *,
    run: str,
    wire: Wire,
    number: int,
    hash: str,
    timeout: Seconds,
    progress: Callable[[], None] = lambda: None,
    kept: Kept | None = None,
) -> Version:
    """Fetch one version from the first of these peers that can give it.

    Whoever breaks off is asked again after the others, as long as chunks keep coming.

    Args:
        peers: Host and port of members, in the order in which they are asked.
        run: Name of the run.
        wire: By which they are connected to.
        number: Of the version.
        hash: Of the version; what is returned has it.
        timeout: Real seconds that a peer may be silent.
        progress: Called at each chunk that came.
        kept: Chunks from earlier calls; what comes now is added.

    Raises PeerLost, naming each peer's reason, when it cannot be had from any of them.
    """
    kept = Kept() if kept is None else kept
    kept.aim(number, hash)
    request = {"schema": SCHEMA, "run": run, "want": "version", "number": number, "hash": hash}
    reasons: dict[tuple[str, int], str] = {}
    candidates = list(dict.fromkeys(peers))
    before = -1
    while candidates and kept.received != before:
        before = kept.received
        for peer in list(candidates):
            try:
                with wire.connect(peer, timeout=timeout) as connection:
                    return _pull_by(connection, request, kept, timeout, progress)
            except _RefusedError as refusal:
                reasons[peer] = f"{_shown(peer)} {refusal}"
                candidates.remove(peer)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                reasons[peer] = f"{_shown(peer)} broke off while giving version {number}: {error}"
    raise PeerLost("; ".join(reasons.values()) or f"no member is known that holds version {number}")


def _pull_by(
    connection: socket.socket,
    request: Mapping[str, Any],
    kept: Kept,
    timeout: Seconds,
    progress: Callable[[], None],
) -> Version:
    number, hash = request["number"], request["hash"]
    send_message(connection, dict(request))
    answer = receive_message(connection, limit_bytes=_HEADER_BYTES, within=timeout)
    if "layout" not in answer:
        raise _RefusedError(f"does not give version {number}: {answer.get('no')}")
    connection.settimeout(timeout)
    version = kept.fill(connection, answer["layout"], progress)
    matches = version.hash == hash
    kept.clear()
    if matches:
        return version
    kept.aim(number, hash)
    raise _RefusedError(f"gave bytes that are not version {number} with hash {hash[:8]}")


def _shown(peer: tuple[str, int]) -> str:
    return f"{peer[0]}:{peer[1]}"
