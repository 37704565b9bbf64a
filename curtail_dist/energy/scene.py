"""What a simulation plays on: the run file's grids over run time, and what is taken for given besides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig, SignalConfig
from curtail_dist.config.signals import Basis
from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import Grid, Interval, PowerModel
from curtail_dist.energy.prices import price_series
from curtail_dist.energy.provisioning import Provisioning
from curtail_dist.energy.responsive import Lived, Responsive, fed_power
from curtail_dist.energy.signals import open_signal, trace_of
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import Trace
from curtail_dist.errors import ConfigError, SignalUnavailable, TraceError
from curtail_dist.units import SECONDS_PER_HOUR, Seconds

FORECASTS = ("perfect", "history", "none")
PAIR_ROUND_S: Seconds = 600.0
"""Length of a shared round where the run file gives only the efficiency of a pair."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a simulation takes for given besides the run file."""

    work_s: Seconds | None = None
    """Site-seconds of training after which the run is complete; by default what the run file says
    (`RunConfig.work_h`)."""
    drains_s: Sequence[Seconds] = (0.0,)
    """What the first drains take; the last of these holds for all further ones."""
    blocking: bool = False
    """Whether a site that joins keeps all others waiting, as in the published prototype."""
    forecast: str = "history"
    """What a work price plans by: `perfect`, the trace itself; `history`, the trace before now; `none`: that
    what is now goes on."""
    provisioning: Provisioning = field(default_factory=Provisioning)
    """How starts go."""
    outage: tuple[Seconds, Seconds] | None = None
    """No site's signal answers on [start, stop): the last reading is believed for `policy.max_age_s`, and a
    perfect forecast for an hour."""

    def __post_init__(self) -> None:
        if self.forecast not in FORECASTS:
            raise ConfigError(f"the forecast is {self.forecast!r}; it must be one of {', '.join(FORECASTS)}")
        if not self.drains_s or not all(0 <= drain < math.inf for drain in self.drains_s):
            raise ConfigError(f"drains take {list(self.drains_s)} s; give one or more, each at least 0")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A run file's sites, their traces read once."""

    config: RunConfig
    given: Assumptions
    start: datetime
    """Run time 0."""
    synthetic: bool
    """Whether a site's trace says that it was made up."""
    grids: Mapping[str, Grid]
    """Intensity over run time, and power, of each site; at a responsive one the intensity if it trains
    throughout."""
    bases: Mapping[str, Basis]
    """What each site's intensity is that of."""
    responsive: Mapping[str, Responsive]
    """Signals that depend on what their sites draw."""

    @classmethod
    def of(cls, config: RunConfig, given: Assumptions) -> "Scene":
        """Read the traces. Raises ConfigError and TraceError as `simulate` does."""
        until = config.run.deadline_h * SECONDS_PER_HOUR
        start = config.run.start or _first_common_row(config)
        found = {
            name: series_of(site.signal, start, name, max(until, _asked_s(config, given)))
            for name, site in config.sites.items()
        }
        return cls(
            config=config,
            given=given,
            start=start,
            synthetic=any(known.synthetic for known in found.values()),
            grids={
                name: Grid(
                    intensity=known.series,
                    power=PowerModel.from_config(
                        config.sites[name].power, pue=config.sites[name].footprint.pue
                    ),
                )
                for name, known in found.items()
            },
            bases={name: known.basis for name, known in found.items()},
            responsive={name: known.responsive for name, known in found.items() if known.responsive},
        )

    def lived(self) -> Mapping[str, Lived]:
        """Return the responsive signals anew, to be lived through once from run time 0 on."""
        sites = self.config.sites
        return {name: Lived(signal, fed_power(sites[name].power)) for name, signal in self.responsive.items()}

    def as_done(self, did: Mapping[str, Sequence[Interval]]) -> Mapping[str, Grid]:
        """Return the grids as they are if sites do so: a responsive one is as green as they leave it."""
        found = dict(self.grids)
        for name, signal in self.responsive.items():
            own, until = found[name], found[name].intensity.end
            power = fed_power(self.config.sites[name].power)
            found[name] = replace(own, intensity=signal.drawing(did.get(name, ()), power, until))
        return found

    @cached_property
    def greenest(self) -> Mapping[str, Grid]:
        """The grids as green as each moment can be, whatever sites did before."""
        found = dict(self.grids)
        for name, signal in self.responsive.items():
            own = found[name]
            found[name] = replace(own, intensity=signal.greenest(own.intensity.end))
        return found

    @property
    def swayed(self) -> Sequence[str]:
        """The sites whose intensity depends on what they did before: those with a battery."""
        return [
            name for name in self.responsive if self.greenest[name].intensity != self.grids[name].intensity
        ]

    @cached_property
    def histories(self) -> Mapping[str, StepFunction]:
        """The whole traces, what was before run time 0 included, where a plan goes by them.

        A microgrid has none: its grid's past is not its own.
        """
        if self.given.forecast != "history":
            return {}
        return {
            name: _trace(site.signal).series(self.start)
            for name, site in self.config.sites.items()
            if site.signal.path is not None and site.signal.microgrid is None
        }

    @cached_property
    def prices(self) -> Mapping[str, StepFunction]:
        """The price of electricity per kWh, where the run file gives one."""
        sites = self.config.sites.items()
        return {name: price_series(site.price, self.start) for name, site in sites if site.price is not None}

    @property
    def gaps(self) -> Mapping[str, Sequence[tuple[Seconds, Seconds]]]:
        """By site: where in the planned period rows of its trace are missing, so that an old value holds."""
        found: dict[str, list[tuple[Seconds, Seconds]]] = {}
        for name, site in self.config.sites.items():
            if site.signal.path is not None:
                spans = [
                    ((since - self.start).total_seconds(), (until - self.start).total_seconds())
                    for since, until in _trace(site.signal).gaps
                ]
                within = [(max(a, 0.0), min(b, self.deadline_s)) for a, b in spans]
                found[name] = [(a, b) for a, b in within if a < b]
        return found

    @property
    def deadline_s(self) -> Seconds:
        """Run time at which the planned period ends."""
        return self.config.run.deadline_h * SECONDS_PER_HOUR

    @property
    def asked_s(self) -> Seconds:
        """Site-seconds of training that are to be done."""
        return _asked_s(self.config, self.given)

    @property
    def rhythm(self) -> Rhythm:
        """The rhythm of shared rounds that the run file gives."""
        clock, efficiency = self.config.clock, self.config.policy.pair_efficiency
        train_s, sync_s = self.config.round.steps * clock.step_s, clock.sync_s
        if efficiency is not None:
            whole = train_s + sync_s or PAIR_ROUND_S
            train_s, sync_s = efficiency * whole, (1 - efficiency) * whole
        return Rhythm(train_s=train_s, sync_s=sync_s, join_s=clock.join_s)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a signal knows in advance."""

    series: StepFunction
    """Intensity over run time."""
    synthetic: bool
    """Whether its source says that it was made up."""
    basis: Basis
    responsive: Responsive | None
    """The signal, where the series is that of a site which trains throughout, and would be another else."""


def series_of(signal: SignalConfig, start: datetime, name: str, until: Seconds) -> Known:
    """Return what is known of a signal up to `until`.

    Raises TraceError where nothing is known.
    """
    clock = SystemClock(start)
    opened = open_signal(signal, clock=clock, start=start, site=name)
    try:
        return Known(
            series=StepFunction.from_points(opened.outlook(until)),
            synthetic=opened.synthetic,
            basis=opened.basis,
            responsive=opened.afresh(clock) if isinstance(opened, Responsive) else None,
        )
    except SignalUnavailable as error:
        raise TraceError(f"the signal of {name}: {error}") from error
    finally:
        opened.close()


def _asked_s(config: RunConfig, given: Assumptions) -> Seconds:
    return config.work_h * SECONDS_PER_HOUR if given.work_s is None else given.work_s


def _first_common_row(config: RunConfig) -> datetime:
    rows = [_trace(site.signal).times[0] for site in config.sites.values() if site.signal.path is not None]
    if not rows:
        raise ConfigError("run.start is not given and no site has a trace to take it from; give run.start")
    return max(rows)


def _trace(signal: SignalConfig) -> Trace:
    return trace_of(signal)
