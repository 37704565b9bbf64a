"""One file from its address to its place: resumed, tried again where that may help, and checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.download.halt import Halt
from nanochat.download.part import Part
from nanochat.download.remote import Broken, Refused, remote_for
from nanochat.files import replacing
from nanochat.shards import COLUMN, DataProblem, Shard, measure, sha256_of

T = TypeVar("T")

PARTS = ".download"
"""Directory below the data set's, of parts and of what was measured."""


class Failed(Exception):
    """The network, a server or the disk did not do its part; one line that says what to do."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to have."""

    file: str
    """Path relative to the data set's directory."""
    split: str
    """`train` or `val`."""
    address: str
    known: Shard | None
    """What it must be, where that is known."""
    known_from: str = ""
    """Who says what it must be."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a connection that fails is tried again."""

    tries: int = 5
    """Tries in a row that bring nothing new, until the download fails."""
    first_s: float = 1.0
    """Wait after the first of them; each following wait is twice as long."""
    most_s: float = 30.0
    """Longest wait, also where a server asks for more."""


class Watcher(Protocol):
    """Is told how a download goes, by any thread."""

    def came(self, file: str, new: int, size: int, length: int | None) -> None:
        """So many new bytes of a file came; `size` are there, of `length` where that is known."""
        ...

    def note(self, line: str) -> None:
        """Something went otherwise than it should and is dealt with."""
        ...


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a fetch works with."""

    directory: Path
    """Of the data set."""
    patience: Patience
    halt: Halt
    watcher: Watcher


def fetch(wanted: Wanted, means: Means) -> Shard:
    """Have a file in its place; returns what it holds. One that is there and right is not fetched again.

    A file whose bytes are not what they must be is dropped and fetched once more. Whatever fails, the place
    holds what it held before, and what has come stays for the next call.

    Raises:
        Refused: There is no such file for us.
        DataProblem: What came is not what it must be, twice.
        Failed: The connection failed too often, or the disk.
        Halted: The work was called off.
    """
    target = means.directory / wanted.file
    if wanted.known is not None and target.exists():
        if sha256_of(target) == wanted.known.sha256:
            return replace(wanted.known, split=wanted.split)
        means.watcher.note(f"{wanted.file} here is not what it must be: it is fetched again")
    with writing(target):
        part = Part(means.directory / PARTS, wanted.file, wanted.address)
        shard = _right(wanted, part, means)
        with replacing(target) as temporary:
            part.path.rename(temporary)
        part.close()
    return shard


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk says while `path` is written into Failed."""
    try:
        yield
    except OSError as error:
        raise Failed(
            f"{path} cannot be written ({error.strerror}); make room or mend it and run the same again: "
            f"what has come is kept"
        ) from error


def read_small(address: str, *, most_bytes: int, means: Means) -> bytes:
    """The content of a small file, tried again where that may help.

    Raises:
        Refused: There is no such file for us, or it is longer than `most_bytes`.
        Failed: The connection failed too often.
        Halted: The work was called off.
    """

    def read() -> bytes:
        content = b""
        with (
            remote_for(address).open(address, start=0, tag="") as answer,
            means.halt.interrupting(answer.interrupt),
        ):
            for chunk in answer.chunks:
                content += chunk
                if len(content) > most_bytes:
                    raise Refused(f"is longer than {most_bytes} bytes: it is not a manifest")
        if answer.length is not None and len(content) != answer.length:
            raise Broken(f"ended after {len(content)} of {answer.length} bytes")
        return content

    return _patiently(read, lambda: 0, address, means)


def _right(wanted: Wanted, part: Part, means: Means) -> Shard:
    """Bring the whole file into the part, right at the first or second time."""
    for last in (False, True):
        if not part.is_whole:
            _patiently(lambda: _take(wanted, part, means), lambda: part.size, wanted.address, means)
        try:
            return _checked(wanted, part)
        except DataProblem as error:
            part.drop()
            if last:
                raise
            means.watcher.note(f"{error}; it is fetched once more")
    raise AssertionError("the second time returns or raises")


def _take(wanted: Wanted, part: Part, means: Means) -> None:
    remote = remote_for(wanted.address)
    with (
        remote.open(wanted.address, start=part.size, tag=part.tag) as answer,
        means.halt.interrupting(answer.interrupt),
    ):

        def came(new: int, size: int) -> None:
            means.halt.check()
            means.watcher.came(wanted.file, new, size, answer.length)

        part.take(answer, came)


def _checked(wanted: Wanted, part: Part) -> Shard:
    known = wanted.known
    if known is None:
        try:
            return measure(part.path, file=wanted.file, split=wanted.split)
        except DataProblem as error:
            raise DataProblem(
                f"what came from {wanted.address} is no shard ({_cause(error)}); it must be Parquet with a "
                f"column {COLUMN}"
            ) from error
    found = sha256_of(part.path)
    if found != known.sha256:
        raise DataProblem(
            f"what came from {wanted.address} has SHA-256 {found}; it must be {known.sha256}, as "
            f"{wanted.known_from} says"
        )
    rows = _rows(part.path, wanted)
    if rows != known.rows:
        raise DataProblem(f"{wanted.address} has {rows} rows; {wanted.known_from} says {known.rows}")
    return replace(known, split=wanted.split)


def _rows(path: Path, wanted: Wanted) -> int:
    try:
        with pq.ParquetFile(path) as file:
            if COLUMN not in file.schema_arrow.names:
                raise DataProblem(f"{wanted.address} has no column {COLUMN}; it must have one")
            return file.metadata.num_rows
    except pa.ArrowException as error:
        raise DataProblem(f"{wanted.address} is not Parquet, whatever {wanted.known_from} says") from error


def _cause(error: DataProblem) -> str:
    return str(error.__cause__ or error).splitlines()[0]


def _patiently(attempt: Callable[[], T], reached: Callable[[], int], address: str, means: Means) -> T:
    """Attempt until it works, waiting longer each time; only those that get no further than before count."""
    patience, halt = means.patience, means.halt
    best, futile = reached(), 0
    while True:
        halt.check()
        try:
            return attempt()
        except Refused as error:
            raise Refused(f"{address} {error}") from error
        except Broken as error:
            halt.check()  # it may be broken because it was called off
            best, futile = (reached(), 0) if reached() > best else (best, futile + 1)
            if futile >= patience.tries:
                raise Failed(
                    f"{address} failed {futile} times ({error}); look at the network or the address and run "
                    f"the same again: what has come is kept"
                ) from error
            wait = max(patience.first_s * 2 ** max(futile - 1, 0), error.wait_s or 0)
            wait = min(wait, patience.most_s)
            means.watcher.note(f"{address}: {error}; again in {wait:g} s")
            halt.sleep(wait)
