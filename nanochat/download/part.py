"""What has come of a file so far, and of which file it is."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from nanochat.download.remote import Answer, Broken
from nanochat.files import write_text


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose bytes a part holds."""

    address: str
    tag: str
    """State of the file at the address, as in Answer."""
    length: int
    """Bytes of the whole file."""


class Part:
    """Owns the part of one file, below a directory, and the note beside it that names its origin.

    The note is written before the first byte is. So bytes without a note, or under another file's note, are
    never gone on with; nor are those of a file that says neither its state nor its length.
    """

    def __init__(self, directory: Path, file: str, address: str) -> None:
        """Take up what there is of `file` from `address`; nothing is touched before `take` or `drop`."""
        name = quote(file, safe="")  # one name for each file, also of those in subdirectories
        self.path = directory / f"{name}.part"
        self._note = directory / f"{name}.json"
        self._address = address
        self._origin = self._read_note()

    @property
    def tag(self) -> str:
        """State of the file whose bytes these are; empty where they are of no use."""
        return self._origin.tag if self._origin is not None else ""

    @property
    def size(self) -> int:
        """Bytes that can be gone on from."""
        if self._origin is None or not self.path.exists():
            return 0
        size = self.path.stat().st_size
        return size if size <= self._origin.length else 0

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have come."""
        return self._origin is not None and self.size == self._origin.length

    def take(self, answer: Answer, came: Callable[[int, int], None]) -> None:
        """Write what an answer brings after what is there, or in its place where the answer begins anew.

        Args:
            answer: Asked for from byte `size` on, in state `tag`.
            came: Called after every write with the number of new bytes and of those that are there.

        Raises:
            Broken: The answer ended early or is of another file than the part; what fits is kept.
            OSError: The part cannot be written.
        """
        if answer.start == 0:
            self._begin(answer)
        elif self._origin is None or (answer.tag, answer.length) != (self.tag, self._origin.length):
            self.drop()
            raise Broken("has changed since its first part came")
        size = answer.start
        # Unbuffered: what has come is in the file, whatever becomes of this process.
        with self.path.open("ab", buffering=0) as file:
            for chunk in answer.chunks:
                _write(file.write, chunk)
                size += len(chunk)
                came(len(chunk), size)
        if answer.length is not None and size != answer.length:
            raise Broken(f"ended after {size} of {answer.length} bytes")

    def drop(self) -> None:
        """Remove what there is. Raises OSError."""
        self._origin = None
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the note of a part that was moved to its place."""
        self._origin = None
        self._note.unlink(missing_ok=True)

    def _begin(self, answer: Answer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._note.unlink(missing_ok=True)
        self._origin = None
        self.path.open("wb").close()
        if answer.tag and answer.length is not None:
            self._origin = Origin(address=self._address, tag=answer.tag, length=answer.length)
            write_text(self._note, json.dumps(asdict(self._origin)) + "\n")

    def _read_note(self) -> Origin | None:
        try:
            origin = Origin(**json.loads(self._note.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # an earlier version's or half of one: the file is fetched from its beginning
        return origin if origin.address == self._address else None


def _write(write: Callable[[memoryview], int | None], chunk: bytes) -> None:
    """Write all of a chunk; a write to a disk that is nearly full may take only some of it."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[write(rest) or 0 :]
