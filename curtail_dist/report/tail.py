"""Follows the event files of a run that is still going on."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curtail_dist.errors import DataError
from curtail_dist.telemetry.record import Record, event_files, parse, process_of

TOGETHER = 500
"""Lines decoded in one call, which is twice as fast as one by one."""


class EventTail:
    """Reads what was appended to `events/*.jsonl` of some directories since it was last asked.

    Owns no file between two polls. Files may appear later; a line without its end is left for the next poll.
    """

    def __init__(self, *directories: Path) -> None:
        """Follow one run in `directories`, which need not exist yet."""
        self._directories = directories
        self._read: dict[str, int] = {}

    def poll(self) -> list[Record]:
        """Return the new records in order of run time, then of wall time.

        A record may be older than one of an earlier poll, since each process writes its own file. Raises
        DataError for a line that is no event or has another schema; then nothing counts as read, and the next
        poll tells of all of it again.
        """
        read, records = dict(self._read), list[Record]()
        for key, file in event_files(*self._directories).items():
            appended = _appended(file, read.get(key, 0))
            read[key] = read.get(key, 0) + len(appended)
            process, place = process_of(key, file), str(file)
            records += [parse(raw, process=process, place=place) for raw in _decoded(appended, file)]
        self._read = read
        return sorted(records, key=lambda record: record.order)


def _appended(file: Path, offset: int) -> bytes:
    """Return the whole lines from an offset on, each with its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        whole, end, _ = stream.read().rpartition(b"\n")
    return whole + end


def _decoded(appended: bytes, file: Path) -> Iterator[Any]:
    lines = [line for line in appended.split(b"\n") if line]
    for at in range(0, len(lines), TOGETHER):
        part = lines[at : at + TOGETHER]
        yield from _together(part) or (_alone(line, file) for line in part)


def _together(lines: Sequence[bytes]) -> list[Any]:
    """Return what each line holds; nothing where not every line is JSON by itself."""
    try:
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        return []
    return found if len(found) == len(lines) else []


def _alone(line: bytes, file: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise DataError(f"{file} has a line that is no event; it was changed by something else") from error
