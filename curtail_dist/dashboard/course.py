"""What one site did, in columns of run time: bounded however long the run is."""

import math
from dataclasses import dataclass, field
from typing import Any

from curtail_dist.units import GramsCO2PerKWh, Seconds

COLUMNS = 2_048
"""At most so many; when the run outgrows them, two become one, so that a picture has one a pixel or so."""
PHASES = ("join", "idle", "train", "sync", "parked")
"""Phases that are drawn, in the order in which a column tells them; `off` is what is left."""


def _no_time() -> list[Seconds]:
    return [0.0] * len(PHASES)


@dataclass(kw_only=True, slots=True)
class Column:
    """What happened at a site in one column of time; sums, but for the last four."""

    phase_s: list[Seconds] = field(default_factory=_no_time)
    read_s: Seconds = 0.0
    """Time in which the intensity was known."""
    below_s: Seconds = 0.0
    """Part of it below the threshold."""
    intensity: float = 0.0
    """Intensity, integrated over read_s."""
    loss: float = 0.0
    losses: int = 0
    bytes_sent: int = 0
    stall_s: Seconds = 0.0
    kg: float | None = None
    """Kilograms of CO2 so far, at the column's last event."""
    version: int = 0
    epoch: int = 0
    rev: int = 0
    """Revision of the board at which this column was last changed."""

    def merge(self, later: "Column") -> None:
        """Take in the next column."""
        self.phase_s = [a + b for a, b in zip(self.phase_s, later.phase_s, strict=True)]
        self.read_s += later.read_s
        self.below_s += later.below_s
        self.intensity += later.intensity
        self.loss += later.loss
        self.losses += later.losses
        self.bytes_sent += later.bytes_sent
        self.stall_s += later.stall_s
        self.kg = self.kg if later.kg is None else later.kg
        self.version, self.epoch = max(self.version, later.version), max(self.epoch, later.epoch)
        self.rev = max(self.rev, later.rev)

    def told(self, index: int, width: Seconds) -> list[Any]:
        """Return what the page reads: see `COLUMN` in chart.js for the order."""
        known = self.read_s > 0.005 * width
        return [
            index,
            finite(self.intensity / self.read_s, 1) if known else None,
            percent(self.below_s, self.read_s) if known else 0,
            [percent(seconds, width) for seconds in self.phase_s],
            finite(self.loss / self.losses, 4) if self.losses else None,
            finite(self.kg, 5),
            self.version,
            self.epoch,
            self.bytes_sent,
            finite(self.stall_s, 3),
        ]


def finite(value: float | None, digits: int) -> float | None:
    """Return a rounded number; None for what is unknown or no number, which JSON cannot say."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


def percent(part: float, whole: float) -> int:
    """Return a share as a whole number from 0 to 100."""
    return max(0, min(100, round(100 * part / whole))) if whole > 0 else 0


@dataclass(kw_only=True, slots=True)
class _Span:
    """A phase or a reading that holds now, and up to where it is in the columns."""

    value: float | None = None
    since: Seconds = 0.0
    painted: Seconds = 0.0


class Course:
    """The columns of one site. Owned by a board, which says how wide they are and which revision it is at."""

    def __init__(self) -> None:
        """Nothing is known."""
        self.columns: dict[int, Column] = {}
        self.threshold_g_per_kwh: GramsCO2PerKWh | None = None
        self.width: Seconds = 1.0
        self.rev = 0
        self._phase = _Span()
        self._reading = _Span()

    def widen(self, width: Seconds) -> None:
        """Make columns twice as wide until they are `width`; all of them count as changed."""
        while self.width < width:
            self.width *= 2
            merged: dict[int, Column] = {}
            for index in sorted(self.columns):
                if index // 2 in merged:
                    merged[index // 2].merge(self.columns[index])
                else:
                    merged[index // 2] = self.columns[index]
            self.columns = merged
            for column in merged.values():
                column.rev = self.rev

    def at(self, t: Seconds) -> Column:
        """Return the column of a moment, to be changed."""
        return self._column(int(max(0.0, t) // self.width))

    def _column(self, index: int) -> Column:
        column = self.columns.get(index)
        if column is None:
            column = self.columns[index] = Column()
        column.rev = self.rev
        return column

    def enter(self, t: Seconds, phase: str) -> None:
        """Let a phase hold from `t` on; what was taken to hold after `t` is mended."""
        self._change(self._phase, t, PHASES.index(phase) if phase in PHASES else None)

    def read(self, t: Seconds, g_per_kwh: GramsCO2PerKWh | None) -> None:
        """Let an intensity hold from `t` on; None: none is known."""
        self._change(self._reading, t, g_per_kwh)

    def extend(self, t: Seconds) -> None:
        """Let what holds now hold up to `t`."""
        for span in (self._phase, self._reading):
            self._paint(span, span.painted, t, 1)
            span.painted = max(span.painted, t)

    def _change(self, span: _Span, t: Seconds, value: float | None) -> None:
        t = max(t, span.since)
        self._paint(span, t, span.painted, -1)
        self._paint(span, span.painted, t, 1)
        span.value, span.since, span.painted = value, t, t

    def _paint(self, span: _Span, start: Seconds, stop: Seconds, sign: int) -> None:
        if span.value is None or stop <= start:
            return
        below = self.threshold_g_per_kwh is not None and span.value < self.threshold_g_per_kwh
        low, index = start, int(start // self.width)
        while low < stop:
            high = min(stop, (index + 1) * self.width)
            column, seconds = self._column(index), sign * (high - low)
            if span is self._phase:
                column.phase_s[int(span.value)] += seconds
            else:
                column.read_s += seconds
                column.intensity += seconds * span.value
                column.below_s += seconds if below else 0.0
            low, index = high, index + 1
