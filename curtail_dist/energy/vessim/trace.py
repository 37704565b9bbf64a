"""A trace played through Vessim, so that a run and a Vessim scenario see the same carbon intensity.

Vessim's `Trace` counts from its first row and knows no end of its last one: run time is shifted to the first
row, and a closing row is added where our reading of the file ends.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd  # pyright: ignore[reportMissingTypeStubs]  (neither ships types)
import vessim  # pyright: ignore[reportMissingTypeStubs]

from curtail_dist.clock import Clock
from curtail_dist.config.signals import Basis
from curtail_dist.energy.signals import OutsideTrace, Reading
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import Trace
from curtail_dist.units import GramsCO2PerKWh, Seconds


def played(series: StepFunction, *, label: str) -> vessim.Trace:
    """Return the series as a Vessim signal; its elapsed time 0 is the series's start.

    Vessim also answers at the very end of the series, where ours no longer does: ask ours first.
    """
    offsets = [edge - series.start for edge in series.edges]
    frame: Any = pd.Series([*series.values, series.values[-1]], index=offsets, dtype=float)
    return vessim.Trace(frame, repr_=label)


def vessim_trace(trace: Trace) -> vessim.Trace:
    """Return the trace as a Vessim signal; its elapsed time 0 is the trace's first row."""
    return played(trace.series(trace.times[0]), label=str(trace.path))


class VessimSignal:
    """The readings of a Vessim trace at the run's time. A `Signal`."""

    def __init__(self, trace: Trace, *, start: datetime, clock: Clock) -> None:
        """Play `trace`, where `start` (aware) is run time 0."""
        self._trace = trace
        self._rows = trace.series(start)
        self._clock = clock
        self._vessim = vessim_trace(trace)

    @property
    def source(self) -> str:
        """The file, and that Vessim plays it."""
        return f"vessim {self._trace.path}"

    @property
    def synthetic(self) -> bool:
        """Whether the trace says so."""
        return self._trace.synthetic

    @property
    def basis(self) -> Basis:
        """What the trace holds."""
        return self._trace.basis

    def _read(self, now: Seconds) -> GramsCO2PerKWh:
        return float(self._vessim.at(now - self._rows.start))

    def latest(self) -> Reading:
        """Return what Vessim says for now. Raises OutsideTrace before the first row and from the end on."""
        now = self._clock.now()
        if not self._rows.covers(now, now):
            raise OutsideTrace(
                f"{self.source} covers run time {self._rows.start:g} to {self._rows.end:g} s; "
                f"it is {now:g} s: give a trace that covers it"
            )
        return Reading(value=self._read(now), measured_at=self._rows.since(now), basis=self.basis)

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what Vessim will say from now on."""
        first, now = self.latest(), self._clock.now()
        later = (at for at, _, _ in self._rows.pieces(now, now + horizon) if at > now)
        return [first, *(replace(first, value=self._read(at), measured_at=at) for at in later)]

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return what Vessim says over run time 0 to `until`, or to the trace's end."""
        known = self._rows.clipped(0.0, until)
        if known is None:
            raise OutsideTrace(f"{self.source} says nothing between run time 0 and {until:g} s")
        values = [self._read(at) for at in known.edges[:-1]]
        return list(zip(known.edges, (*values, values[-1]), strict=True))

    def close(self) -> None:
        """Nothing to let go of."""
