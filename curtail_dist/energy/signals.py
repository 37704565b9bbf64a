"""What a site's grid emits now, as readings of marginal carbon intensity.

A signal says a value or raises SignalUnavailable; it never says a value that it does not know. What was last
known, and for how long it may still be believed, is the matter of `freshness`.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from curtail_dist.clock import Clock
from curtail_dist.config import SignalConfig
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.errors import SignalUnavailable, TraceError
from curtail_dist.units import GramsCO2PerKWh, Seconds


class OutsideTrace(SignalUnavailable):
    """The source is in order and has no value for this moment: nothing earlier may stand in for it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A marginal carbon intensity. Raises SignalUnavailable for a value that is none (nan, negative)."""

    value: GramsCO2PerKWh
    measured_at: Seconds
    """Run time from which the value holds."""
    from_forecast: bool = False
    """Whether an earlier forecast says it, since the source does not answer: good enough to stay on for, not
    to start."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0 and math.isfinite(self.measured_at)):
            raise SignalUnavailable(
                f"a reading says {self.value} g/kWh at {self.measured_at} s; it must be finite and at least 0"
            )


class Signal(Protocol):
    """A site's carbon intensity over run time. Owned by one thread."""

    @property
    def source(self) -> str:
        """Where the readings come from, for people and for the record."""
        ...

    @property
    def synthetic(self) -> bool:
        """Whether the source says of itself that it was made up."""
        ...

    def latest(self) -> Reading:
        """Return what holds now.

        Raises SignalUnavailable where the source does not answer; a value held over from an earlier answer is
        never returned. Raises OutsideTrace where the source knows that it has none.
        """
        ...

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what is expected from now for `horizon` seconds, in order.

        Each reading holds until the next; the first is what holds now, and its `measured_at` may lie in the
        past. The list ends where the source's knowledge does. Raises SignalUnavailable where there is no
        forecast.
        """
        ...

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return the series known over run time 0 to `until`, as (run time from which, value), in order.

        The last pair repeats the value before it and only marks where the knowledge ends (at most `until`),
        so that `StepFunction.from_points` gives the series back. Raises SignalUnavailable where nothing is
        known.
        """
        ...


class SeriesSignal:
    """A series known in advance, read at the run's time."""

    def __init__(self, series: StepFunction, *, clock: Clock, source: str, synthetic: bool) -> None:
        """Read `series`, whose times are run times, as `clock` goes on; the clock stays its owner's."""
        self._series = series
        self._clock = clock
        self._source = source
        self._synthetic = synthetic

    @property
    def source(self) -> str:
        """The file, or the constant."""
        return self._source

    @property
    def synthetic(self) -> bool:
        """Whether the trace says so."""
        return self._synthetic

    def latest(self) -> Reading:
        """Return what the series says for now. Raises OutsideTrace before its start and from its end on."""
        return reading_at(self._series, self._clock.now(), source=self._source)

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what the series says from now, which for a trace is the truth."""
        now = self._clock.now()
        first = reading_at(self._series, now, source=self._source)
        later = self._series.pieces(now, now + horizon)
        return [first, *(Reading(value=value, measured_at=at) for at, _, value in later if at > now)]

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return the series from run time 0 to `until`, or to its end."""
        points = self._series.clipped(0.0, until)
        if points is None:
            raise OutsideTrace(f"{self._source} says nothing between run time 0 and {until:g} s")
        return points.points()


def reading_at(series: StepFunction, now: Seconds, *, source: str) -> Reading:
    """Return the series's reading for `now`. Raises OutsideTrace where it has none."""
    if not series.covers(now, now):
        raise OutsideTrace(
            f"{source} covers run time {series.start:g} to {series.end:g} s; it is {now:g} s: "
            "give a trace that covers it"
        )
    since = series.since(now)
    return Reading(value=series.at(now), measured_at=since if math.isfinite(since) else min(now, 0.0))


def open_signal(config: SignalConfig, *, clock: Clock, start: datetime, site: str) -> Signal:
    """Open the signal of `site` as the run file says; `start` (aware) is run time 0.

    Raises TraceError for a trace that cannot be read, or that ends before the run starts.
    """
    if config.value is not None:
        if not (math.isfinite(config.value) and config.value >= 0):
            raise TraceError(
                f"signal.value of {site} is {config.value}; it must be finite and at least 0 g/kWh"
            )
        series = StepFunction(edges=(-math.inf, math.inf), values=(config.value,))
        return SeriesSignal(series, clock=clock, source=f"constant {config.value:g} g/kWh", synthetic=False)
    assert config.path is not None, "checked by SignalConfig"
    trace = read_trace(config.path, time_column=config.time_column, value_column=config.value_column)
    series = trace.series(start)
    if series.end <= 0:
        raise TraceError(
            f"{config.path} ends at {trace.end.isoformat()}, the run of {site} starts at "
            f"{start.isoformat()}; give a trace that covers the run, or set run.start"
        )
    if config.kind == "vessim":
        from curtail_dist.energy.vessim import (  # pandas is slow to import and rarely wanted
            VessimSignal,
            open_microgrid,
        )

        if config.microgrid is not None:
            return open_microgrid(config.microgrid, trace, clock=clock, start=start, site=site)
        return VessimSignal(trace, start=start, clock=clock)
    return SeriesSignal(series, clock=clock, source=str(config.path), synthetic=trace.synthetic)
