"""What `curtail report` made of a run for print, and what it was compared with."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ODD = "a_b & 50% <i>"
OLD_SUMMARY = {
    "finished": True,
    "virtual_h": 9.5,
    "tokens": 1_500_000,
    "emissions_kg": 2.25,
    "loss": {"first": 7.0, "last": 3.0, "val_bpb": 1.5},
}
"""As an earlier version wrote it, as far as a table of runs needs it."""


@dataclass(frozen=True)
class Reported:
    """What the verb made of a day of two sites, for print, beside a run that crashed and a summary alone."""

    directory: Path
    crashed: Path
    said: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.directory / "summary.json").read_text())

    def lines(self, name: str) -> list[dict[str, str]]:
        with (self.directory / name).open(newline="") as file:
            return list(csv.DictReader(file))


def crash(directory: Path, *, after_h: float) -> Path:
    """Cut all files of events as a crash would: nothing is said any more, and the last line is torn."""
    for file in (directory / "events").glob("*.jsonl"):
        lines = file.read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["t"] < after_h * 3600]
        file.write_text("\n".join([*kept, lines[-1][:50]]))
    return directory
