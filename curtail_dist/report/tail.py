"""Follows the event files of a run that is still going on."""

import json
from pathlib import Path

from curtail_dist.errors import DataError
from curtail_dist.telemetry.record import Record, parse


class EventTail:
    """Reads what was appended to `directory/events/*.jsonl` since it was last asked.

    Owns no file between two polls. Files may appear later; a line without its end is left for the next poll.
    """

    def __init__(self, directory: Path) -> None:
        """Follow the run in `directory`, which need not exist yet."""
        self._folder = directory / "events"
        self._read: dict[Path, int] = {}

    def poll(self) -> list[Record]:
        """Return the new records in order of run time, then of wall time.

        A record may be older than one of an earlier poll, since each process writes its own file. Raises
        DataError for a line that is no event or has another schema.
        """
        records: list[Record] = []
        for file in sorted(self._folder.glob("*.jsonl")):
            records.extend(self._poll_file(file))
        return sorted(records, key=lambda record: (record.t, record.wall, record.process, record.seq))

    def _poll_file(self, file: Path) -> list[Record]:
        offset = self._read.get(file, 0)
        with file.open("rb") as stream:
            stream.seek(offset)
            appended = stream.read()
        whole = appended.rpartition(b"\n")[0]
        if not whole:
            return []
        self._read[file] = offset + len(whole) + 1
        process = file.stem.partition(".")[2]
        return [_record(line, process, file) for line in whole.splitlines() if line]


def _record(line: bytes, process: str, file: Path) -> Record:
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise DataError(f"{file} has a line that is no event; it was changed by something else") from error
    return parse(raw, process=process, place=str(file))
