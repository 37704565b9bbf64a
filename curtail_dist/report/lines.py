"""Tells a run's notable events as short plain lines, each fact once."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from curtail_dist.report.joins import cause_text
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable


def clock_text(t: Seconds, start: datetime | None) -> str:
    """Return run time as UTC HH:MM, or in hours since the start while `start` is unknown."""
    if start is None:
        return f"{t / 3600:5.2f} h"
    return (start + timedelta(seconds=t)).strftime("%H:%M")


def printable(text: object) -> str:
    """Return a text without control characters and without what turns the direction of writing."""
    said = str(text)
    return said if said.isprintable() else "".join(c if c.isprintable() else " " for c in said)


class Teller:
    """Turns records into lines. What every member records is told once."""

    def __init__(self, *, commit_every: int, start: datetime | None = None) -> None:
        """Mention every `commit_every`-th version; `start` is run time 0 where it is known beforehand."""
        self._commit_every = commit_every
        self._told: set[tuple[str, object]] = set()
        self._start = start
        self._rows = 0
        self._tell: dict[str, Callable[[Record], str | None]] = {
            "run_started": self._run_started,
            "epoch": self._epoch,
            "decided": self._decided,
            "joined": self._joined,
            "drained": self._drained,
            "phase": self._phase,
            "rewound": self._rewound,
            "store_lost": self._store_lost,
            "store_found": self._store_found,
            "ranks_died": self._died,
            "round_discarded": self._discarded,
            "fault": self._fault,
            "signal_lost": self._signal_lost,
            "ordered": self._ordered,
            "trouble": self._trouble,
            "trouble_over": self._trouble_over,
            "commit": self._commit,
            "run_finished": self._finished,
        }

    def line(self, record: Record) -> str | None:
        """Return a line without control characters, or None where the record is not notable."""
        text = self.told(record)
        return None if text is None else f"{clock_text(record.t, self._start)}  {text}"

    def told(self, record: Record) -> str | None:
        """Return the same without the time of day."""
        tell = self._tell.get(record.event)
        text = tell(record) if tell else None
        return None if text is None else printable(text)

    def _once(self, *fact: object) -> bool:
        key = (str(fact[0]), fact[1:])
        new = key not in self._told
        self._told.add(key)
        return new

    def _run_started(self, record: Record) -> str:
        self._start = datetime.fromisoformat(record["start"])
        self._rows = record["rows"]
        return f"run {record['run']} begins: {record['rows']:,} rows, seed {record['seed']}"

    def _epoch(self, record: Record) -> str | None:
        if not self._once("epoch", record.epoch, tuple(record["members"])):
            return None
        return f"epoch {record.epoch}: {', '.join(record['members']) or 'nobody'} ({record['reason']})"

    def _decided(self, record: Record) -> str | None:
        if record["action"] == "keep":
            return None
        return f"{record.site}: {record['action']}: {record['reason']}"

    def _joined(self, record: Record) -> str:
        line = f"{record.site} joined at version {record['version']} ({record['how']})"
        causes = record.fields.get("causes", {})
        return f"{line} in {cause_text(causes)}" if causes else line

    def _drained(self, record: Record) -> str:
        return f"{record.site} left in order after version {record['version']}"

    def _phase(self, record: Record) -> str | None:
        if record["phase"] != "parked":
            return None
        return f"{record.site} is parked: its ranks wait in memory at idle power"

    def _rewound(self, record: Record) -> str | None:
        if not self._once("rewound", record["base"], record["hash"], record.epoch):
            return None
        return (
            f"rewound to version {record['base']}: {record['dropped']} later versions are dropped, "
            "their rows go back to the pool"
        )

    def _store_lost(self, record: Record) -> str:
        return f"{record.site} trains on without the coordination store: {record['reason']}"

    def _store_found(self, record: Record) -> str:
        return f"{record.site} has the coordination store back after {record['away_s']:.1f} s"

    def _died(self, record: Record) -> str:
        return f"{record.site} DIED: {record['reason']}; its open round goes back to the pool"

    def _discarded(self, record: Record) -> str:
        return (
            f"{record.site} discarded {record['steps']} steps, {record['rows']:,} rows go back to the pool: "
            f"{record['reason']}"
        )

    def _fault(self, record: Record) -> str:
        return f"fault on purpose: {record['kind']} {record['target']}"

    def _signal_lost(self, record: Record) -> str:
        return f"{record.site} has no fresh reading: {record['reason']}"

    def _ordered(self, record: Record) -> str:
        if record["order"] == "release":
            return f"{record.site} is released: there is no order for it any more"
        until = f" until {record['until']}" if record.fields.get("until") else ""
        return f"{record.site} is ordered to {record['order']}{until} by {record['by']}: {record['reason']}"

    def _trouble(self, record: Record) -> str:
        return f"{record.site} goes on without its {record['part']}: {record['reason']}"

    def _trouble_over(self, record: Record) -> str:
        return f"{record.site} has its {record['part']} back after {record['after_s']:.1f} s"

    def _commit(self, record: Record) -> str | None:
        version = record["version"]
        if version % self._commit_every or not self._once("commit", version, record["hash"]):
            return None
        share = f" ({record['rows'] / self._rows:.0%})" if self._rows else ""
        loss = "" if record["loss"] is None else f", loss {record['loss']:.3f}"
        sites = ", ".join(sorted({entry["site"] for entry in record["work"]}))
        return f"version {version} by {sites}: {record['rows']:,} rows{share}{loss}"

    def _finished(self, record: Record) -> str | None:
        if not self._once("finished"):
            return None
        return f"run complete at version {record['version']}: {record['tokens']:,} tokens"
