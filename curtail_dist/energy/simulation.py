"""A policy's day on traces known in advance, reckoned beside its baselines and the offline optimum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig, SignalConfig
from curtail_dist.energy.baselines import Baseline, all_baselines, always_on, reference_kg
from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import Grid, PowerModel, SiteEnergy, account
from curtail_dist.energy.oracle import Optimum, fraction, optimum
from curtail_dist.energy.play import Played, play
from curtail_dist.energy.policy import build_policy
from curtail_dist.energy.signals import open_signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.energy.windows import check_threshold_opens, windows
from curtail_dist.errors import ConfigError, SignalUnavailable, TraceError
from curtail_dist.units import SECONDS_PER_HOUR, Seconds


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulated run and what it is compared with."""

    start: datetime
    """Run time 0."""
    synthetic: bool
    """Whether a trace says that it was made up."""
    asked_s: Seconds
    """Site-seconds of training that were to be done."""
    windows: Mapping[str, Sequence[tuple[Seconds, Seconds]]]
    """On-periods over the whole planned period, whether or not there was work left."""
    played: Played
    energy: Mapping[str, SiteEnergy]
    baselines: Mapping[str, Baseline]
    missing: Mapping[str, str]
    """Why a baseline is missing."""
    oracle: Optimum | None
    oracle_fraction: float | None
    """Share of the saving that was possible, against the mean always-on site."""

    @property
    def emissions_kg(self) -> float:
        """The run's emissions, all sites."""
        return sum(site.emissions_kg for site in self.energy.values())


def simulate(config: RunConfig, *, work_s: Seconds | None = None) -> Simulation:
    """Play the policy over each site's trace for the planned period.

    Args:
        config: The run. `clock.join_s` is what a start takes; `round.steps`, `clock.step_s` and
            `clock.sync_s` give the rhythm of shared rounds. Without run.start the run starts when all traces
            have.
        work_s: Site-seconds of training after which the run is complete; by default what one site that is
            always on does in the planned period.

    Raises:
        ConfigError: The threshold opens no window, or a value is wrong.
        TraceError: A trace cannot be read, or knows nothing of the planned period.
    """
    until = config.run.deadline_h * SECONDS_PER_HOUR
    asked_s = until if work_s is None else work_s
    start = config.run.start or _first_common_row(config)
    grids, synthetic = _grids(config, start, max(until, asked_s))
    check_threshold_opens(config.policy, {name: grid.intensity for name, grid in grids.items()}, until)
    policy = build_policy(config.policy)
    periods = {
        name: windows(policy, grid.intensity, until, config.policy.poll_s) for name, grid in grids.items()
    }
    clock = config.clock
    rhythm = Rhythm(train_s=config.round.steps * clock.step_s, sync_s=clock.sync_s, join_s=clock.join_s)
    played = play(periods, work_s=asked_s, rhythm=rhythm)
    threshold = config.policy.threshold_g_per_kwh
    energy = {
        name: account(played.intervals[name], grid.power, grid.intensity, threshold=threshold)
        for name, grid in grids.items()
    }
    baselines, missing = _baselines(config, start, grids, played.work_s, rhythm.efficiency)
    reference = reference_kg({name: found for name, found in baselines.items() if name in grids})
    bound = optimum(
        grids,
        work_s=played.work_s,
        deadline_s=until,
        join_s=rhythm.join_s,
        pair_efficiency=rhythm.efficiency,
    )
    emitted = sum(site.emissions_kg for site in energy.values())
    return Simulation(
        start=start,
        synthetic=synthetic,
        asked_s=asked_s,
        windows=periods,
        played=played,
        energy=energy,
        baselines=baselines,
        missing=missing,
        oracle=bound,
        oracle_fraction=None
        if reference is None or bound is None
        else fraction(reference, emitted, bound.emissions_kg),
    )


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
        grids[name] = Grid(intensity=series, power=PowerModel.from_config(site.power))
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
