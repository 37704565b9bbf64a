"""A site's events as points of curves, each beside tokens, run time and real time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from curtail_dist.telemetry.record import Record
from curtail_dist.units import hours

if TYPE_CHECKING:
    from datetime import datetime

RUN_H, REAL_H, TOKENS = "run_h", "real_h", "tokens"
"""What a curve can be drawn over: hours on the run's clock, real or virtual; real hours since the site's
first event; tokens in the newest version that the site knows, with its own since then."""

OVER: Mapping[str, str] = {
    "step": TOKENS,
    "commit": TOKENS,
    "evaluated": TOKENS,
    "throughput": REAL_H,
    "round": REAL_H,
    "joined": REAL_H,
    "reading": RUN_H,
    "round_discarded": RUN_H,
}
"""What a group of curves is drawn over where nobody chooses; every point has all three."""

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "step": ("loss", "tokens"),
    "commit": ("version", "tokens", "rows", "bytes_sent"),
    "evaluated": ("val_bpb", "version"),
    "throughput": ("tokens_per_s", "mfu"),
    "reading": ("g_per_kwh",),
    "round_discarded": ("steps", "rows"),
}
_IF_TOLD: Mapping[str, tuple[str, ...]] = {"step": ("lr_factor", "momentum", "weight_decay")}
"""Fields that not every optimizer has, nor every event of an older run."""


class Curves:
    """Turns the records of one site into points. Owns what a point needs of the records before it."""

    def __init__(self, *, rows: int = 0, shards: int = 0) -> None:
        """Begin before the site's first record.

        Args:
            rows: Rows in all passes; 0: not known here.
            shards: Shards that they are done from, one after the other, in all passes.
        """
        self._rows, self._shards = rows, shards
        self._first: datetime | None = None
        self._base = self._own = 0
        self._round_from: datetime | None = None

    def point(self, record: Record) -> dict[str, float]:
        """Return the record's figures as `<group>/<name>` beside what they are drawn over; {}: it has none.

        To be called for every record of the site, in order.
        """
        self._first = self._first or record.wall
        self._count(record)
        found = {f"{record.event}/{name}": record[name] for name in _FIELDS.get(record.event, ())}
        told = _IF_TOLD.get(record.event, ())
        found |= {f"{record.event}/{name}": record.fields.get(name) for name in told}
        found |= self._commit(record) if record.event == "commit" else {}
        found |= _join(record) if record.event == "joined" else {}
        known = {name: float(value) for name, value in found.items() if value is not None}
        if not known:
            return {}
        real_h = hours((record.wall - self._first).total_seconds())
        return {**known, TOKENS: float(self._base + self._own), RUN_H: hours(record.t), REAL_H: real_h}

    def _count(self, record: Record) -> None:
        if record.event == "round_started":
            self._round_from = record.wall
        elif record.event == "step":
            self._own += int(record["tokens"])
        elif record.event == "round_discarded":
            self._own = 0
        elif record.event == "commit":
            self._base, self._own = int(record["tokens"]), 0

    def _commit(self, record: Record) -> dict[str, float]:
        """How far the run is, and where the real time of the site's round went."""
        stall_s = float(record["stall_s"])
        found = {"round/stall_s": stall_s}
        if self._round_from is not None:
            whole_s = (record.wall - self._round_from).total_seconds()
            found |= {"round/s": whole_s, "round/train_s": max(0.0, whole_s - stall_s)}
            self._round_from = None
        if self._rows:
            share = float(record["rows"]) / self._rows
            found |= {"commit/share": share, "commit/shards": share * self._shards}
        return found


def _join(record: Record) -> dict[str, float]:
    causes: Mapping[str, float] = record.fields.get("causes", {})
    return {"joined/s": record["wall_s"], **{f"joined/{cause}_s": told for cause, told in causes.items()}}
