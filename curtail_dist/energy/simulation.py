"""A policy's day on traces known in advance, reckoned beside its baselines and the offline optimum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig, SignalConfig
from curtail_dist.energy.baselines import Baseline, all_baselines, always_on, reference_kg
from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import DRAWN, Grid, PowerModel, SiteEnergy, account, drawn_as
from curtail_dist.energy.feeds import Feeds
from curtail_dist.energy.oracle import Optimum, fraction, optimum
from curtail_dist.energy.planner import Planner
from curtail_dist.energy.play import Played
from curtail_dist.energy.policy import build_policy
from curtail_dist.energy.rehearsal import Event, Manner, Rehearsal, Rehearsed
from curtail_dist.energy.signals import open_signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.energy.windows import check_threshold_opens
from curtail_dist.errors import ConfigError, SignalUnavailable, TraceError
from curtail_dist.units import SECONDS_PER_HOUR, GramsCO2PerKWh, Seconds, kilograms, kwh

FORECASTS = ("perfect", "history", "none")
PAIR_ROUND_S: Seconds = 600.0
"""Length of a shared round where the run file gives only the efficiency of a pair."""
FORESEEN_S: Seconds = 3600.0
"""For how long a forecast stands in for a signal that was lost: to stay on by, not to start by."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a simulation takes for given besides the run file."""

    work_s: Seconds | None = None
    """Site-seconds of training after which the run is complete; by default what one site that is always on
    does in the planned period."""
    drains_s: Sequence[Seconds] = field(default=(0.0,))
    """What the first drains take; the last of these holds for all further ones."""
    blocking: bool = False
    """Whether a site that joins keeps all others waiting, as in the published prototype."""
    forecast: str = "history"
    """What a work price plans by: `perfect`, the trace itself; `history`, the trace before now; `none`: that
    what is now goes on."""
    outage: tuple[Seconds, Seconds] | None = None
    """No site's signal answers on [start, stop): the last reading is believed for `policy.max_age_s`, and a
    perfect forecast for an hour."""

    def __post_init__(self) -> None:
        if self.forecast not in FORECASTS:
            raise ConfigError(f"the forecast is {self.forecast!r}; it must be one of {', '.join(FORECASTS)}")
        if any(drain < 0 for drain in self.drains_s) or not self.drains_s:
            raise ConfigError(f"drains take {list(self.drains_s)} s; give one or more, each at least 0")


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulated run and what it is compared with."""

    start: datetime
    """Run time 0."""
    synthetic: bool
    """Whether a trace says that it was made up."""
    grids: Mapping[str, Grid]
    """Intensity over run time, and power, of each site."""
    asked_s: Seconds
    """Site-seconds of training that were to be done."""
    windows: Mapping[str, Sequence[tuple[Seconds, Seconds]]]
    """On-periods, from the decision to start until the ranks are gone."""
    events: Sequence[Event]
    """Each decision, with the reading it rests on."""
    played: Played
    energy: Mapping[str, SiteEnergy]
    by_cause_kg: Mapping[str, float]
    """Emissions by phase; `leave_delay` is the part of them at or above the threshold."""
    baselines: Mapping[str, Baseline]
    missing: Mapping[str, str]
    """Why a baseline is missing."""
    pair_efficiency: float
    """Share of a shared round in which a site trains: in the run, its baselines and its optimum alike."""
    oracle: Optimum | None
    oracle_fraction: float | None
    """Share of the saving that was possible, against the mean always-on site."""

    @property
    def emissions_kg(self) -> float:
        """The run's emissions, all sites."""
        return sum(site.emissions_kg for site in self.energy.values())


def simulate(config: RunConfig, assumptions: Assumptions | None = None) -> Simulation:
    """Play the policy over each site's trace for the planned period.

    Args:
        config: The run. `clock.join_s` is what a start takes; `round.steps`, `clock.step_s` and
            `clock.sync_s` give the rhythm of shared rounds, or `policy.pair_efficiency` does. Without
            run.start the run starts when all traces have.
        assumptions: What else is taken for given.

    Raises:
        ConfigError: The threshold opens no window, or a value is wrong.
        TraceError: A trace cannot be read, or knows nothing of the planned period.
    """
    given = assumptions or Assumptions()
    until = config.run.deadline_h * SECONDS_PER_HOUR
    asked_s = until if given.work_s is None else given.work_s
    start = config.run.start or _first_common_row(config)
    grids, synthetic = _grids(config, start, max(until, asked_s))
    check_threshold_opens(config.policy, {name: grid.intensity for name, grid in grids.items()}, until)
    rhythm = rhythm_of(config)
    planner = _planner(config, grids, start, rhythm, given.forecast)
    played = Rehearsal(
        dict.fromkeys(grids, build_policy(config.policy)),
        read=Feeds(
            grids=grids,
            outage=given.outage,
            max_age_s=config.policy.max_age_s,
            foreseen_s=FORESEEN_S if given.forecast == "perfect" else 0.0,
        ).read,
        manner=Manner(
            poll_s=config.policy.poll_s, rhythm=rhythm, drains_s=given.drains_s, blocking=given.blocking
        ),
        work_s=asked_s,
        plan=planner.plan if planner else None,
        replan_s=config.policy.replan_s,
        speeds={name: grid.power.capped_speed for name, grid in grids.items()},
    ).play(until)
    return _reckoned(config, start, grids, played, asked_s=asked_s, synthetic=synthetic)


def rhythm_of(config: RunConfig) -> Rhythm:
    """Return the rhythm of shared rounds that a run file gives."""
    clock, efficiency = config.clock, config.policy.pair_efficiency
    train_s, sync_s = config.round.steps * clock.step_s, clock.sync_s
    if efficiency is not None:
        whole = train_s + sync_s or PAIR_ROUND_S
        train_s, sync_s = efficiency * whole, (1 - efficiency) * whole
    return Rhythm(train_s=train_s, sync_s=sync_s, join_s=clock.join_s)


def _planner(
    config: RunConfig, grids: Mapping[str, Grid], start: datetime, rhythm: Rhythm, forecast: str
) -> Planner | None:
    if config.policy.kind != "work-price":
        return None
    histories = {name: _history(config.sites[name].signal, start) for name in grids}
    return Planner(
        grids,
        policy=config.policy,
        deadline_s=config.run.deadline_h * SECONDS_PER_HOUR,
        rhythm=rhythm,
        forecast=forecast,
        histories=histories,
    )


def _history(signal: SignalConfig, start: datetime) -> StepFunction | None:
    """Return the whole of a trace, what was before run time 0 included; None where there is no trace."""
    if signal.path is None:
        return None
    trace = read_trace(signal.path, time_column=signal.time_column, value_column=signal.value_column)
    return trace.series(start)


def _reckoned(
    config: RunConfig,
    start: datetime,
    grids: Mapping[str, Grid],
    rehearsed: Rehearsed,
    *,
    asked_s: Seconds,
    synthetic: bool,
) -> Simulation:
    played, rhythm, threshold = rehearsed.played, rhythm_of(config), config.policy.threshold_g_per_kwh
    energy = {
        name: account(
            played.intervals[name],
            grid.power,
            grid.intensity,
            threshold=threshold,
            average=_average(config.sites[name].average, start, name, config.run.deadline_h),
        )
        for name, grid in grids.items()
    }
    baselines, missing = _baselines(config, start, grids, played.work_s, rhythm.efficiency)
    reference = reference_kg({name: found for name, found in baselines.items() if name in grids})
    bound = optimum(
        grids,
        work_s=played.work_s,
        deadline_s=config.run.deadline_h * SECONDS_PER_HOUR,
        join_s=rhythm.join_s,
        pair_efficiency=rhythm.efficiency,
    )
    emitted = sum(site.emissions_kg for site in energy.values())
    return Simulation(
        start=start,
        synthetic=synthetic,
        grids=grids,
        asked_s=asked_s,
        windows=rehearsed.windows,
        events=rehearsed.events,
        played=played,
        energy=energy,
        by_cause_kg=_by_cause(grids, played, threshold),
        baselines=baselines,
        missing=missing,
        pair_efficiency=rhythm.efficiency,
        oracle=bound,
        oracle_fraction=None
        if reference is None or bound is None
        else fraction(reference, emitted, bound.emissions_kg),
    )


def _average(signal: SignalConfig | None, start: datetime, name: str, until_h: float) -> StepFunction | None:
    return None if signal is None else _series(signal, start, name, until_h * SECONDS_PER_HOUR)[0]


def _by_cause(grids: Mapping[str, Grid], played: Played, threshold: GramsCO2PerKWh) -> dict[str, float]:
    """Return kg by phase, all sites, and of these what was emitted at or above the threshold."""
    found: dict[str, float] = dict.fromkeys((*DRAWN, "leave_delay"), 0.0)
    for name, grid in grids.items():
        for interval in played.intervals[name]:
            for low, high, value in grid.intensity.pieces(interval.start, interval.stop):
                mass = kilograms(kwh(grid.power.watts(interval.phase) * (high - low)) * value)
                found[drawn_as(interval.phase)] += mass
                found["leave_delay"] += mass if value >= threshold else 0.0
    return found


def _first_common_row(config: RunConfig) -> datetime:
    rows = [
        read_trace(signal.path, time_column=signal.time_column, value_column=signal.value_column).times[0]
        for signal in (site.signal for site in config.sites.values())
        if signal.path is not None
    ]
    if not rows:
        raise ConfigError("run.start is not given and no site has a trace to take it from; give run.start")
    return max(rows)


def _series(signal: SignalConfig, start: datetime, name: str, until: Seconds) -> tuple[StepFunction, bool]:
    """Return what is known of a signal up to `until`, and whether it is synthetic."""
    opened = open_signal(signal, clock=SystemClock(start), start=start, site=name)
    try:
        return StepFunction.from_points(opened.outlook(until)), opened.synthetic
    except SignalUnavailable as error:
        raise TraceError(f"the signal of {name}: {error}") from error


def _grids(config: RunConfig, start: datetime, until: Seconds) -> tuple[dict[str, Grid], bool]:
    grids: dict[str, Grid] = {}
    synthetic = False
    for name, site in config.sites.items():
        series, made_up = _series(site.signal, start, name, until)
        power = PowerModel.from_config(site.power, pue=site.footprint.pue)
        grids[name] = Grid(intensity=series, power=power)
        synthetic = synthetic or made_up
    return grids, synthetic


def _baselines(
    config: RunConfig, start: datetime, grids: Mapping[str, Grid], work_s: Seconds, efficiency: float
) -> tuple[dict[str, Baseline], dict[str, str]]:
    """Reckon the sites, their pairs, and the run file's further grids, which get a site of mean power."""
    threshold = config.policy.threshold_g_per_kwh
    baselines, missing = all_baselines(grids, work_s, pair_efficiency=efficiency, threshold=threshold)
    power = PowerModel.mean([grid.power for grid in grids.values()])
    for name, signal in config.baselines.items():
        try:
            series, _ = _series(signal, start, name, work_s)
            grid = Grid(intensity=series, power=power)
            baselines[name] = always_on(name, grid, work_s, threshold=threshold)
        except TraceError as error:
            missing[name] = str(error)
    return baselines, missing
