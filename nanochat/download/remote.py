"""A file at an address, read from any of its bytes on: by requests over http, by fsspec over all else."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import requests
import urllib3

CHUNK_BYTES = 1 << 20
CONNECT_S = 10.0
READ_S = 30.0
"""How long a server may say nothing."""
_PASSING = frozenset({408, 425, 429})
"""Answers that may be others soon, as all from 500 on."""


class Refused(Exception):
    """There is no such file for us, and asking again will not help; says why, without the address."""


class Broken(Exception):
    """The file did not come, or not whole; asking again may help. Says why, without the address."""

    def __init__(self, reason: str, *, wait_s: float | None = None) -> None:
        """`wait_s` is how long the server asks to be left alone, where it says so."""
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A file that is being sent."""

    start: int
    """The first byte that comes: the one asked for, or 0 where only the whole file can be had."""
    length: int | None
    """Bytes of the whole file, where it is known."""
    tag: str
    """Differs between two states of the file (ETag, time of change); empty where nothing tells."""
    chunks: Iterator[bytes]
    """The bytes, as they come. Raises Broken."""
    interrupt: Callable[[], None]
    """Ends the reading of `chunks` from another thread."""


class Remote(Protocol):
    """A way to read files at addresses; one thread's."""

    def open(self, address: str, *, start: int, tag: str) -> AbstractContextManager[Answer]:
        """Ask for a file from byte `start` on, if it is still in the state `tag`; else from its beginning.

        Raises:
            Refused: There is no such file for us.
            Broken: The connection failed, or the server cannot answer now.
        """
        ...


def remote_for(address: str) -> Remote:
    """The way to read an address: by its scheme."""
    return Web() if address.partition("://")[0].lower() in ("http", "https") else Filesystem()


class Web:
    """http and https; proxies, certificates and ~/.netrc as requests finds them.

    fsspec's own HTTP does not tell a server that ignores ranges from one that honours them.
    """

    @contextmanager
    def open(self, address: str, *, start: int, tag: str) -> Iterator[Answer]:
        """See Remote."""
        with requests.Session() as session:
            response = _get(session, address, start=start, tag=tag)
            if response.status_code == requests.codes.requested_range_not_satisfiable and start:
                response.close()
                response = _get(session, address, start=0, tag="")
            with closing(response):
                yield _answer(response, start)


def _get(session: requests.Session, address: str, *, start: int, tag: str) -> requests.Response:
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag.startswith('"'):  # only a strong ETag may stand in If-Range
            headers["If-Range"] = tag
    with _as_ours():
        return session.get(address, headers=headers, stream=True, timeout=(CONNECT_S, READ_S))


def _answer(response: requests.Response, asked: int) -> Answer:
    _check_status(response)
    headers = response.headers
    encoding = headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise Refused(f"is sent in the encoding {encoding}, though identity was asked for")
    start, length = 0, headers.get("Content-Length", "")
    if response.status_code == requests.codes.partial_content:
        described = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if described is None or int(described[1]) != asked:
            raise Broken(f"came from {headers.get('Content-Range')!r} on, asked for was byte {asked}")
        start, length = asked, described[2]
    return Answer(
        start=start,
        length=int(length) if length.isdecimal() else None,
        tag=headers.get("ETag") or headers.get("Last-Modified") or "",
        chunks=_chunks(response.raw),
        interrupt=lambda: _shut_down(response.raw),
    )


def _check_status(response: requests.Response) -> None:
    code = response.status_code
    said = f"{code} {response.reason}".strip()
    if code in (requests.codes.ok, requests.codes.partial_content):
        return
    if code in _PASSING or code >= 500:
        after = response.headers.get("Retry-After", "")
        raise Broken(f"the server answers {said}", wait_s=float(after) if after.isdecimal() else None)
    raise Refused(f"cannot be had: the server answers {said}")


def _chunks(raw: urllib3.HTTPResponse) -> Iterator[bytes]:
    while True:
        with _as_ours():
            chunk = raw.read1(CHUNK_BYTES, decode_content=False)
        if not chunk:
            return
        yield chunk


def _shut_down(raw: urllib3.HTTPResponse) -> None:
    try:
        raw.shutdown()
    except (OSError, ValueError, RuntimeError):
        return  # it has ended by itself


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.TooManyRedirects,
    ) as error:
        raise Refused(f"cannot be asked for: {error}") from error
    except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' own are OSErrors
        raise Broken(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """The first cause: what requests and urllib3 make of it is long and says no more."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return " ".join(str(error).split()) or type(error).__name__


class Filesystem:
    """Every scheme that fsspec knows and has what it needs for, such as s3, gs, file and memory."""

    @contextmanager
    def open(self, address: str, *, start: int, tag: str) -> Iterator[Answer]:
        """See Remote."""
        from fsspec.core import url_to_fs  # here: most addresses are http, and need none of it

        try:
            filesystem, path = url_to_fs(address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise Refused(f"cannot be opened: {error}") from error
        with _as_ours_too():
            filesystem.invalidate_cache()
            length, now = filesystem.info(path).get("size"), filesystem.ukey(path)
            opened = filesystem.open(path, "rb")
        with closing(opened):
            start = start if now == tag else 0
            yield Answer(
                start=start,
                length=length,
                tag=now,
                chunks=_chunks_of(opened, start),
                interrupt=lambda: None,
            )


def _chunks_of(opened: Any, start: int) -> Iterator[bytes]:
    with _as_ours_too():
        opened.seek(start)
    while True:
        with _as_ours_too():
            chunk = opened.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


@contextmanager
def _as_ours_too() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Refused("is not there") from error
    except PermissionError as error:
        raise Refused(f"may not be read: {error}") from error
    except Exception as error:  # each filesystem has errors of its own for what cannot be reached
        raise Broken(f"cannot be read: {error!r}") from error
