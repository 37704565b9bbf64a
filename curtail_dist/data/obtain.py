"""Puts a file in its place by its hash, from the first source that has it.

What comes goes into a part file beside the place, FILE.part. The next try goes on with it, whichever source
it asks: the hash over the whole says whether it was right. Only one process of a host fetches a file; the
others wait for it.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from curtail_dist.data.manifest import sha256_of
from curtail_dist.errors import DataError

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.1
"""How often is looked whether another process is done with a file."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file that is to be here."""

    path: Path
    """Its place."""
    file: str
    """Its name at a source that knows names."""
    sha256: str
    """Of its bytes."""
    limit_bytes: int
    """What is longer is refused, whoever gives it."""


class Source(Protocol):
    """Somewhere that files come from."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def read(self, wanted: Wanted, start: int) -> Iterator[bytes]:
        """Yield the file's bytes from byte `start` on. Raises OSError if it has none, or goes silent."""
        ...


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """What it took to get a file."""

    source: str
    """Name of the source that gave its last bytes."""
    size_bytes: int
    came_bytes: int
    """Bytes that came in this call; less than the size where a part was there."""
    seconds: float
    """Real time."""


def obtain(wanted: Wanted, sources: Sequence[Source], *, progress: Callable[[], None]) -> Obtained | None:
    """Have a file in its place; return what it took, None where it was there already.

    Args:
        wanted: Which, and where to.
        sources: Asked in this order, each once; not at all where the file is there.
        progress: Called at every piece that comes, and while another process fetches the file; what it raises
            ends the work, and the part that has come stays.

    Raises:
        DataError: No source has it, or what each gave has another hash; says why for each. What stood in the
            place before is as it was.
    """
    if _is_there(wanted):
        return None
    began = time.monotonic()
    with _alone(wanted.path, progress):
        if _is_there(wanted):
            return None
        reasons: list[str] = []
        for source in sources:
            try:
                came = _fetch(wanted, source, progress)
            except (OSError, ValueError) as error:
                reasons.append(f"{source.name}: {error}")
                _LOG.info("%s does not come from %s: %s", wanted.path.name, source.name, error)
                continue
            size = wanted.path.stat().st_size
            return Obtained(
                source=source.name, size_bytes=size, came_bytes=came, seconds=time.monotonic() - began
            )
    raise DataError(_lack(wanted, reasons))


def _lack(wanted: Wanted, reasons: Sequence[str]) -> str:
    corrupt = "is corrupt: it has another hash than the manifest says"
    what = corrupt if wanted.path.exists() else "is not here"
    asked = "; ".join(reasons) or "there is nobody to ask: no member of the run, and no url in the manifest"
    return (
        f"{wanted.path} {what} (SHA-256 {wanted.sha256[:12]} is wanted) and does not come from anywhere "
        f"({asked}): copy it there, prepare the data set again, or give the manifest a url"
    )


def _is_there(wanted: Wanted) -> bool:
    try:
        return sha256_of(wanted.path) == wanted.sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(
            f"{wanted.path} cannot be read ({error.strerror}); it must be a file: mend or remove it"
        ) from error


@contextmanager
def _alone(path: Path, progress: Callable[[], None]) -> Iterator[None]:
    """Be the only process of this host that fetches a file; a holder that dies frees its lock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise DataError(
            f"{path} is not here and {path.parent} cannot be written ({error.strerror}): "
            "copy it there, or make the directory writable"
        ) from error
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress()
                time.sleep(_LOOK_S)
            else:
                break
        yield


def _fetch(wanted: Wanted, source: Source, progress: Callable[[], None]) -> int:
    """Get what is missing from one source; return how many bytes came. Raises OSError, ValueError."""
    part = wanted.path.with_name(f"{wanted.path.name}.part")
    came = 0
    with part.open("ab+") as file:
        size = start = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256()
        file.seek(0)
        while piece := file.read(1 << 20):
            digest.update(piece)
        for piece in source.read(wanted, start):
            size += len(piece)
            if size > wanted.limit_bytes:
                part.unlink()
                raise ValueError(f"it gives more than {wanted.limit_bytes} bytes")
            file.write(piece)
            digest.update(piece)
            came += len(piece)
            progress()
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != wanted.sha256:
        part.unlink()
        if start:  # who gave the beginning is not known: this source may have given nothing wrong
            return _fetch(wanted, source, progress)
        raise ValueError(f"what it gives has SHA-256 {digest.hexdigest()[:12]}")
    part.replace(wanted.path)
    _sync(wanted.path.parent)
    return came


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
