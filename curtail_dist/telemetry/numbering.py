"""Numbers a site's records once and for all, so that who hands them on can do it again and say nothing twice.

    {"id": "5f0c..."}
    {"process": "rank-4711.1", "from": 0, "to": 41}

The first line names the numbering; each further one gives the next numbers to a process's lines, by `seq`. A
number is on disk before anybody is told of it.
"""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from curtail_dist.errors import DataError
from curtail_dist.telemetry.record import Record


class Numbering:
    """The numbers of one site's records, kept in a file. Owned by one process at a time."""

    def __init__(self, file: Path) -> None:
        """Go on with the numbering in `file`, or begin one there. Raises DataError where it holds none."""
        self._file = file
        self._numbers: dict[tuple[str, int], int] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        whole, end, torn = file.read_bytes().rpartition(b"\n") if file.exists() else (b"", b"", b"")
        if torn:  # written by a process that died over it: nobody was told of these numbers
            file.write_bytes(whole + end)
        if not whole:
            self._append(json.dumps({"id": secrets.token_hex(8)}))
        try:
            first, *others = map(json.loads, file.read_text(encoding="utf-8").splitlines())
            self.id = str(first["id"])
            """Names this numbering; another run directory has another one."""
            for line in others:
                self._give(line["process"], line["from"], line["to"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} is no numbering of events; delete it to begin another") from error

    def numbered(self, records: Iterable[Record]) -> list[tuple[int, Record]]:
        """Return records with their numbers, in the order of these; unknown ones get the next numbers."""
        records = list(records)
        spans = list[tuple[str, int, int]]()
        for record in records:
            if (record.process, record.seq) in self._numbers:
                continue
            process, first, last = spans[-1] if spans else ("", 0, -1)
            if (process, last + 1) == (record.process, record.seq):
                spans[-1] = (process, first, record.seq)
            else:
                spans.append((record.process, record.seq, record.seq))
        if spans:
            told = ({"process": process, "from": first, "to": last} for process, first, last in spans)
            self._append("\n".join(map(json.dumps, told)))
        for span in spans:
            self._give(*span)
        numbered = [(self._numbers[record.process, record.seq], record) for record in records]
        return sorted(numbered, key=lambda pair: pair[0])

    def _give(self, process: str, first: int, last: int) -> None:
        for seq in range(first, last + 1):
            self._numbers[process, seq] = len(self._numbers)

    def _append(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
