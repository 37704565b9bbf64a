"""The record of a run: typed, versioned events, one JSON object a line, one file a process.

    {"schema":1,"event":"commit","site":"texas","epoch":4,"round":17,"t":38110.0,"wall":"2026-...Z", ...}

`t` is run time in seconds, `wall` is UTC, `seq` grows by one for each line of a file. A line torn by a crash
is passed over by the reader if it is the last of its file. Reports, `status` and wandb read the record alone.
"""

import itertools
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from curtail_dist.clock import Timepiece
from curtail_dist.errors import DataError
from curtail_dist.telemetry.events import Event
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the record, read back."""

    event: str
    site: str
    epoch: int
    round: int
    t: Seconds
    wall: datetime
    seq: int
    process: str
    """The file's process part, so that lines of one process can be told from another's. Of files in several
    directories it says which one, too, since processes of two hosts may be called alike."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def order(self) -> tuple[Seconds, datetime, str, int]:
        """How the records of a run are sorted: by run time, then wall time; a process's as it wrote them."""
        return self.t, self.wall, self.process, self.seq

    def __getitem__(self, name: str) -> Any:
        """Return a field of the event."""
        return self.fields[name]


class EventLog:
    """Appends one process's events to `directory/events/<site>.<process>.jsonl`; thread-safe.

    Owned by that process. `epoch` and `round` are stamped on each line; their owner sets them with `place`.
    What a full disk does not take waits in memory, since nobody is to stop training for the record of it:
    that is little, as a run whose disk is full makes no commit, and ends after `round.outage_s` without one.
    """

    def __init__(self, directory: Path, *, site: str, process: str, clock: Timepiece) -> None:
        """Open a file of its own; `process` is a role and a pid, say.

        A container's processes may all have the same pid: where the file is there, a number is added.
        """
        folder = directory / "events"
        folder.mkdir(parents=True, exist_ok=True)
        self.site = site
        self._clock = clock
        self._lock = threading.Lock()
        self._seq = 0
        self._epoch = 0
        self._round = 0
        self._waiting = bytearray()
        """What the disk has not taken yet."""
        self._refused = ""
        """Why it did not; empty: it has taken everything."""
        self._file = _opened_anew(folder, f"{site}.{process}")

    def place(self, *, epoch: int | None = None, round: int | None = None) -> None:
        """Stamp further events with this epoch, this round, or both."""
        with self._lock:
            self._epoch = self._epoch if epoch is None else epoch
            self._round = self._round if round is None else round

    def emit(self, event: Event) -> None:
        """Append one event, which the operating system has when this returns, unless its disk is full."""
        now = self._clock.now()
        with self._lock:
            line: dict[str, Any] = {
                "schema": SCHEMA,
                "event": event.NAME,
                "site": self.site,
                "epoch": self._epoch,
                "round": self._round,
                "t": now,
                "wall": datetime.now(UTC).isoformat(),
                "seq": self._seq,
                **asdict(event),
            }
            self._seq += 1
            if not self._file.closed:
                self._waiting += f"{json.dumps(line)}\n".encode()
                self._write()

    def close(self) -> None:
        """Close the file; idempotent. What the disk does not take even now is lost, and told in the log."""
        with self._lock:
            if self._file.closed:
                return
            self._write()
            lines = self._waiting.count(b"\n")
            if lines:
                _LOG.error("site %s: %d events are lost: %s", self.site, lines, self._refused)
            with suppress(OSError):
                self._file.close()

    def _write(self) -> None:
        """Write as much of what waits as the disk takes."""
        try:
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]
        except OSError as error:
            if not self._refused:
                _LOG.warning("site %s: events wait for their disk: %s", self.site, error)
            self._refused = str(error)
            return
        if self._refused:
            _LOG.info("site %s: the disk has taken the events that waited", self.site)
            self._refused = ""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _opened_anew(folder: Path, name: str) -> FileIO:
    for number in itertools.count(1):
        file = folder / (f"{name}.jsonl" if number == 1 else f"{name}.{number}.jsonl")
        with suppress(FileExistsError):
            return file.open("xb", buffering=0)
    raise AssertionError("there is always a next number")


def read_events(*directories: Path) -> list[Record]:
    """Read the records of one run from one or more run directories, in order of run time, then of wall time.

    Raises DataError for a line that is not an event, unless it is the torn last line of a file.
    """
    for directory in directories:
        if not any((directory / "events").glob("*.jsonl")):
            raise DataError(f"{directory} holds no events/*.jsonl; give the directory of a run")
    files = event_files(*directories)
    records = [record for key, file in files.items() for record in read_file(file, process_of(key, file))]
    return sorted(records, key=lambda record: record.order)


def event_files(*directories: Path) -> dict[str, Path]:
    """Return the file of each process, by a key that stays: where there are copies of one, the longest.

    Sites' directories overlap where they are one, or where one was copied to go on from, or as a back-up.
    Files of one name with another first line are of processes that happen to be called alike.
    """
    named: dict[str, list[Path]] = {}
    for directory in directories:
        for file in sorted((directory / "events").glob("*.jsonl")):
            named.setdefault(file.name, []).append(file)
    files: dict[str, Path] = {}
    for name, alike in named.items():
        for file in sorted(alike, key=lambda one: one.stat().st_size):
            files[name if len(directories) == 1 else f"{name} {_first_line(file)}"] = file
    return files


def _first_line(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.readline().decode(errors="replace")


def process_of(key: str, file: Path) -> str:
    """Return the process whose file `event_files` has under a key: two hosts may call theirs alike."""
    process, told = file.stem.partition(".")[2], key.removeprefix(file.name)
    return f"{process} {crc32(told.encode()):08x}" if told else process


def read_file(file: Path, process: str) -> Iterator[Record]:
    """Read one process's events in the order they were written."""
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            raw = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                return
            raise DataError(
                f"{file}:{number + 1} is not an event; the file was changed by something else"
            ) from error
        yield parse(raw, process=process, place=f"{file}:{number + 1}")


def parse(raw: dict[str, Any], *, process: str, place: str) -> Record:
    """Turn one decoded line into a Record, which keeps `raw` for its fields.

    Raises DataError for another schema, and for what is no event.
    """
    try:
        if raw.get("schema") != SCHEMA:
            raise DataError(f"{place} has schema {raw.get('schema')!r}; this version reads {SCHEMA}")
        del raw["schema"]
        stamp = raw.pop
        # Past the __init__ of a frozen dataclass, which takes three times as long: people wait for this.
        record = object.__new__(Record)
        record.__dict__.update(
            event=stamp("event"),
            site=stamp("site"),
            epoch=stamp("epoch"),
            round=stamp("round"),
            t=stamp("t"),
            wall=datetime.fromisoformat(stamp("wall")),
            seq=stamp("seq"),
            process=process,
            fields=raw,
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{place} is no event; it was changed, or put there, by something else: take it away"
        ) from error
    return record
