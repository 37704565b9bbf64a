"""Where a data set's files come from: another site's state server, or an address.

    who lacks a file: SHA-256, from which byte on     the server: the file's size, then the bytes | why not

A server gives the files that its process names by their hashes, and no path.
"""

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from curtail_dist.data.obtain import Wanted
from curtail_dist.security.wire import Wire
from curtail_dist.state.shelf import as_os_errors
from curtail_dist.state.wire import REQUEST_BYTES, SCHEMA, receive_message, send_message
from curtail_dist.units import Seconds

_PIECE_BYTES = 1 << 20
_PARTIAL, _BEYOND_THE_END = 206, 416


def give_file(connection: socket.socket, path: Path | None, start: int) -> None:
    """Send a file from byte `start` on, or say that it is not here. Raises OSError."""
    try:
        file = path.open("rb") if path is not None else None
    except OSError:
        file = None
    if file is None:
        send_message(connection, {"no": "it does not have that file"})
        return
    with file:
        size = file.seek(0, 2)
        send_message(connection, {"bytes": size})
        if 0 <= start < size:
            file.seek(start)  # a secure connection sends from where the file stands, whatever the offset
            connection.sendfile(file, offset=start)


class PeerSource:
    """The files that another site's process gives."""

    def __init__(self, host: str, port: int, *, run: str, wire: Wire, timeout: Seconds) -> None:
        """Ask the state server at `host`:`port`; it may be silent for `timeout` seconds of real time."""
        self._peer = (host, port)
        self._run = run
        self._wire = wire
        self._timeout = timeout

    @property
    def name(self) -> str:
        """Its address."""
        return f"{self._peer[0]}:{self._peer[1]}"

    def read(self, wanted: Wanted, start: int) -> Iterator[bytes]:
        """See `Source`."""
        with self._wire.connect(self._peer, timeout=self._timeout) as connection:
            request = {"schema": SCHEMA, "run": self._run, "want": "file"}
            send_message(connection, {**request, "sha256": wanted.sha256, "start": start})
            answer = receive_message(connection, limit_bytes=REQUEST_BYTES, within=self._timeout)
            if not isinstance(answer.get("bytes"), int):
                raise OSError(str(answer.get("no", "it does not answer as a state server does")))
            connection.settimeout(self._timeout)
            left = answer["bytes"] - start
            while left > 0:
                piece = connection.recv(min(left, _PIECE_BYTES))
                if not piece:
                    raise ConnectionError(f"the connection ended {left} bytes early")
                left -= len(piece)
                yield piece


class UrlSource:
    """The files of a data set, each at BASE/FILE: `https://...`, `s3://...`, or a directory."""

    def __init__(self, base: str, *, timeout: Seconds) -> None:
        """Read below `base`; a web server may be silent for `timeout` seconds of real time."""
        self._base = base.rstrip("/")
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The address."""
        return self._base

    def read(self, wanted: Wanted, start: int) -> Iterator[bytes]:
        """See `Source`. Of what begins at the file's beginning all the same, the first bytes are dropped."""
        if self._base.startswith(("http://", "https://")):
            return self._over_http(f"{self._base}/{quote(wanted.file)}", start)
        return self._by_fsspec(f"{self._base}/{wanted.file}", start)

    def _over_http(self, address: str, start: int) -> Iterator[bytes]:
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                yield from _pieces(answer, 0 if answer.status == _PARTIAL else start)
                if answer.length:
                    raise ConnectionError(f"the connection ended {answer.length} bytes early")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != _BEYOND_THE_END:  # the part may be whole, and its hash will say
                raise OSError(f"{address} answers {error.code} {error.reason}") from error
        except http.client.HTTPException as error:  # no OSError, though it is the server that fails
            raise OSError(f"{address} broke off, or does not speak HTTP: {error!r}") from error

    def _by_fsspec(self, address: str, start: int) -> Iterator[bytes]:
        from fsspec.core import url_to_fs  # here: few data sets need it

        with as_os_errors():
            filesystem, path = url_to_fs(address)
            file = filesystem.open(path, "rb")
            with file:
                file.seek(start)
                yield from _pieces(file, 0)


def _pieces(file: Any, skip: int) -> Iterator[bytes]:
    while skip and (dropped := file.read(min(skip, _PIECE_BYTES))):
        skip -= len(dropped)
    while piece := file.read(_PIECE_BYTES):
        yield piece
