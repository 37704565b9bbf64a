"""What a site's grid emits now, as readings of marginal carbon intensity.

A signal says a value or raises SignalUnavailable; it never says a value that it does not know. What was last
known, and for how long it may still be believed, is the matter of `freshness`.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, runtime_checkable

from curtail_dist.clock import Clock, SystemClock
from curtail_dist.config import SignalConfig
from curtail_dist.config.signals import LIVE, Basis
from curtail_dist.energy.own import make_own
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import Trace, read_trace
from curtail_dist.errors import ConfigError, SignalUnavailable, TraceError
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts

CONSTANT = "constant "
"""What the source of a signal begins with whose value the run file states: nothing is read anywhere."""


class OutsideTrace(SignalUnavailable):
    """The source is in order and has no value for this moment: nothing earlier may stand in for it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A marginal carbon intensity. Raises SignalUnavailable for a value that is none (nan, negative)."""

    value: GramsCO2PerKWh
    measured_at: Seconds
    """Run time from which the value holds."""
    from_forecast: bool = False
    """Whether a forecast says it, the source having said nothing of this moment since: good enough to stay on
    for, not to start."""
    basis: Basis = "marginal"
    source: str = ""
    """Who says it, where that is not simply the signal's source."""
    answered_at: Seconds | None = None
    """Run time at which the source gave it, where it was not asked for this reading itself."""

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

    @property
    def basis(self) -> Basis:
        """What its outlook is the intensity of; each reading says so for itself."""
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

    def close(self) -> None:
        """Let go of what it holds; idempotent. It is not read afterwards."""
        ...


MEMBERS = ("latest", "forecast", "outlook", "source", "synthetic", "basis", "close")
"""What makes a `Signal`."""


@runtime_checkable
class Fed(Protocol):
    """A signal that depends on what the site itself draws: a microgrid's."""

    def feed(self, watts: Watts) -> None:
        """Say what the site draws from now on, measured or modelled."""
        ...


class SeriesSignal:
    """A series known in advance, read at the run's time."""

    def __init__(
        self,
        series: StepFunction,
        *,
        clock: Clock,
        source: str,
        synthetic: bool,
        basis: Basis = "marginal",
    ) -> None:
        """Read `series`, whose times are run times, as `clock` goes on; the clock stays its owner's."""
        self._basis: Basis = basis
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

    @property
    def basis(self) -> Basis:
        """What the file's columns are known to hold, or what the run file says."""
        return self._basis

    def latest(self) -> Reading:
        """Return what the series says for now. Raises OutsideTrace before its start and from its end on."""
        return reading_at(self._series, self._clock.now(), source=self._source, basis=self._basis)

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what the series says from now, which for a trace is the truth."""
        now = self._clock.now()
        first = reading_at(self._series, now, source=self._source, basis=self._basis)
        later = self._series.pieces(now, now + horizon)
        return [first, *(replace(first, value=value, measured_at=at) for at, _, value in later if at > now)]

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return the series from run time 0 to `until`, or to its end."""
        points = self._series.clipped(0.0, until)
        if points is None:
            raise OutsideTrace(f"{self._source} says nothing between run time 0 and {until:g} s")
        return points.points()

    def close(self) -> None:
        """Nothing to let go of."""


def reading_at(series: StepFunction, now: Seconds, *, source: str, basis: Basis = "marginal") -> Reading:
    """Return the series's reading for `now`. Raises OutsideTrace where it has none."""
    if not series.covers(now, now):
        raise OutsideTrace(
            f"{source} covers run time {series.start:g} to {series.end:g} s; it is {now:g} s: "
            "give a trace that covers it"
        )
    since = series.since(now)
    measured_at = since if math.isfinite(since) else min(now, 0.0)
    return Reading(value=series.at(now), measured_at=measured_at, basis=basis)


def open_signal(config: SignalConfig, *, clock: Clock, start: datetime, site: str) -> Signal:
    """Open the signal of `site` as the run file says; `start` (aware) is run time 0. The caller closes it.

    Raises:
        TraceError: A trace cannot be read, or ends before the run starts.
        ConfigError: A credential or a package is missing, a virtual clock is to follow a real feed, or a
            signal of the user's own fails.
    """
    first = _open_one(config, clock=clock, start=start, site=site)
    if not config.live:
        return first
    from curtail_dist.energy.providers import Chain

    signals = [first]
    try:
        following = config.fallback
        while following is not None:
            signals.append(_open_one(following, clock=clock, start=start, site=site))
            following = following.fallback
    except BaseException:
        for signal in signals:
            signal.close()
        raise
    return Chain(signals)


def _open_one(config: SignalConfig, *, clock: Clock, start: datetime, site: str) -> Signal:
    """Open a signal without what it falls back on."""
    if config.own:
        key = f"the signal.kind of {site}"
        return make_own(
            key, config.kind, config.options, members=MEMBERS, clock=clock, start=start, site=site
        )
    if config.kind in LIVE:
        if not isinstance(clock, SystemClock):
            raise ConfigError(
                f"the signal of {site} is {config.kind}, which tells of now; a run with a virtual clock must "
                "have a trace, vessim or constant signal"
            )
        from curtail_dist.energy.providers import open_live  # HTTP is slow to import and not always wanted

        return open_live(config, start=start, site=site)
    if config.value is not None:
        series = StepFunction(edges=(-math.inf, math.inf), values=(config.value,))
        said = f"{CONSTANT}{config.value:g} g/kWh"
        return SeriesSignal(
            series, clock=clock, source=said, synthetic=False, basis=_basis(config.basis, "marginal")
        )
    return _open_trace(config, clock=clock, start=start, site=site)


def _open_trace(config: SignalConfig, *, clock: Clock, start: datetime, site: str) -> Signal:
    trace = trace_of(config)
    series = trace.series(start)
    if series.end <= 0:
        raise TraceError(
            f"{config.path} ends at {trace.end.isoformat()}, the run of {site} starts at "
            f"{start.isoformat()}; give a trace that covers the run, or set run.start"
        )
    basis = _basis(config.basis, trace.basis)
    if config.kind == "vessim":
        from curtail_dist.energy.vessim import (  # pandas is slow to import and rarely wanted
            VessimSignal,
            open_microgrid,
        )

        trace = replace(trace, basis=basis)
        if config.microgrid is not None:
            return open_microgrid(config.microgrid, trace, clock=clock, start=start, site=site)
        return VessimSignal(trace, start=start, clock=clock)
    return SeriesSignal(series, clock=clock, source=str(config.path), synthetic=trace.synthetic, basis=basis)


def trace_of(config: SignalConfig) -> Trace:
    """Read the trace that a run file names. Raises TraceError."""
    assert config.path is not None, "checked by SignalConfig"
    return read_trace(
        config.path, time_column=config.time_column, value_column=config.value_column, unit=config.unit
    )


def _basis(given: str, otherwise: Basis) -> Basis:
    return otherwise if not given else "average" if given == "average" else "marginal"
