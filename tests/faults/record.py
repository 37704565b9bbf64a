"""What the processes of a lab have said so far: their events, read as they grow."""

import json
from collections.abc import Iterator
from pathlib import Path

from nursery import Ranks

from curtail_dist.telemetry.record import Record, parse


class Events:
    """Follows all event files of a run directory."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "events"
        self._places: dict[Path, int] = {}
        self._records: dict[str, list[Record]] = {}

    def of(self, name: str, *, ranks: Ranks | None = None, site: str = "") -> list[Record]:
        """Events of a name, in the order they were read; of one process, or of one site."""
        self._read()
        return [
            record
            for record in self._records.get(name, [])
            if (ranks is None or record.process == ranks.stem) and (not site or record.site == site)
        ]

    def last(self, ranks: Ranks) -> Record:
        """The last event of a process."""
        self._read()
        every = [one for many in self._records.values() for one in many if one.process == ranks.stem]
        return max(every, key=lambda record: record.seq)

    def _read(self) -> None:
        for file in sorted(self._folder.glob("*.jsonl")):
            for line in self._lines(file):
                record = parse(json.loads(line), process=file.stem.partition(".")[2], place=str(file))
                self._records.setdefault(record.event, []).append(record)

    def _lines(self, file: Path) -> Iterator[str]:
        """Whole lines that were added; a torn one stays for later."""
        place = self._places.get(file, 0)
        if file.stat().st_size == place:
            return
        with file.open("rb") as stream:
            stream.seek(place)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._places[file] = place + len(whole)
        yield from whole.decode().splitlines()


def wall(record: Record) -> float:
    """The moment of an event (UTC, seconds)."""
    return record.wall.timestamp()
