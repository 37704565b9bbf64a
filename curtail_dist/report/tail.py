"""Follows the event files of a run that is still going on."""

import json
from pathlib import Path

from curtail_dist.errors import DataError
from curtail_dist.telemetry.record import Record, parse


class EventTail:
    """Reads what was appended to `events/*.jsonl` of some directories since it was last asked.

    Owns no file between two polls. Files may appear later; a line without its end is left for the next poll.
    """

    def __init__(self, *directories: Path) -> None:
        """Follow one run in `directories`, which need not exist yet."""
        self._folders = [directory / "events" for directory in directories]
        self._read: dict[Path, int] = {}

    def poll(self) -> list[Record]:
        """Return the new records in order of run time, then of wall time.

        A record may be older than one of an earlier poll, since each process writes its own file. Raises
        DataError for a line that is no event or has another schema; then nothing counts as read, and the next
        poll tells of all of it again.
        """
        read, records = dict(self._read), list[Record]()
        for folder in self._folders:
            for file in sorted(folder.glob("*.jsonl")):
                appended = _appended(file, read.get(file, 0))
                read[file] = read.get(file, 0) + len(appended)
                process = file.stem.partition(".")[2]
                records += [_record(line, process, file) for line in appended.splitlines() if line]
        self._read = read
        return sorted(records, key=lambda record: record.order)


def _appended(file: Path, offset: int) -> bytes:
    """Return the whole lines from an offset on, each with its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        whole, end, _ = stream.read().rpartition(b"\n")
    return whole + end


def _record(line: bytes, process: str, file: Path) -> Record:
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise DataError(f"{file} has a line that is no event; it was changed by something else") from error
    return parse(raw, process=process, place=str(file))
