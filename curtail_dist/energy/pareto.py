"""What time is worth: emissions against the hour at which the work is done, for policies and the optimum."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curtail_dist.config import RunConfig
from curtail_dist.energy.simulation import Assumptions, Simulation, simulate
from curtail_dist.errors import ConfigError
from curtail_dist.units import hours

DEADLINES = 6
THRESHOLDS = (0.15, 0.25, 0.35, 0.5, 0.7, 0.95)
"""Thresholds tried, as quantiles of all sites' intensities over the planned period."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of the work."""

    finished_h: float
    emissions_kg: float
    setting: float
    """The deadline in hours, or the threshold in g/kWh."""


def pareto(config: RunConfig, given: Assumptions, base: Simulation) -> Mapping[str, list[Point]]:
    """Return points of `work-price` and `optimum` over deadlines, and of `threshold` over thresholds.

    Args:
        config: The run; its deadline is the latest.
        given: What is assumed. The work is that of `base`.
        base: The run as it was simulated.
    """
    given = replace(given, work_s=base.asked_s)
    found: dict[str, list[Point]] = {"work-price": [], "optimum": [], "threshold": []}
    sites = len(base.windows)
    shared = base.pair_efficiency if sites > 1 else 1.0
    least = hours(base.asked_s / (sites * shared)) * 1.1
    span = config.run.deadline_h - least
    for step in range(DEADLINES if span > 0 else 0):
        deadline = least + span * (step + 1) / DEADLINES
        played = _played(_at(config, run={"deadline_h": deadline}, policy={"kind": "work-price"}), given)
        found["work-price"] += _point(played, deadline)
        if played is not None and played.oracle is not None and played.played.finished_at is not None:
            kg = played.oracle.schedule_kg
            found["optimum"].append(Point(finished_h=deadline, emissions_kg=kg, setting=deadline))
    for threshold in sorted({config.policy.threshold_g_per_kwh, *_thresholds(base)}):
        policy = {"kind": "threshold", "threshold_g_per_kwh": threshold, "leave_at_g_per_kwh": None}
        found["threshold"] += _point(_played(_at(config, run={}, policy=policy), given), threshold)
    return found


def _at(config: RunConfig, *, run: Mapping[str, Any], policy: Mapping[str, Any]) -> RunConfig:
    return replace(config, run=replace(config.run, **run), policy=replace(config.policy, **policy))


def _played(config: RunConfig, given: Assumptions) -> Simulation | None:
    try:
        return simulate(config, given)
    except ConfigError:  # a threshold that lets no site in
        return None


def _point(found: Simulation | None, setting: float) -> Iterator[Point]:
    if found is not None and found.played.finished_at is not None:
        yield Point(
            finished_h=hours(found.played.finished_at), emissions_kg=found.emissions_kg, setting=setting
        )


def _thresholds(base: Simulation) -> set[float]:
    values = sorted(value for grid in base.grids.values() for value in grid.intensity.values)
    return {values[min(int(share * len(values)), len(values) - 1)] + 1e-6 for share in THRESHOLDS}
