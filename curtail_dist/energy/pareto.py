"""What time is worth: emissions against the hour at which the work is done, for policies and the optimum."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.scene import Scene
from curtail_dist.energy.simulation import best, energy_of, rehearse
from curtail_dist.units import Seconds, hours

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


def pareto(scene: Scene) -> Mapping[str, list[Point]]:
    """Return points of `work-price` and `optimum` over deadlines, and of `threshold` over thresholds.

    Whatever the threshold, sites leave where the run file says, or where they join if that is higher.
    """
    found: dict[str, list[Point]] = {"work-price": [], "optimum": [], "threshold": []}
    policy = scene.config.policy
    for deadline_s in _deadlines(scene):
        deadline_h = hours(deadline_s)
        priced = replace(policy, kind="work-price")
        points = list(_points(scene, priced, deadline_s=deadline_s, setting=deadline_h))
        found["work-price"] += points
        optimum = best(scene, work_s=scene.asked_s, deadline_s=deadline_s) if points else None
        if optimum is not None:
            # What is done by one deadline is done by a later one, too, whose slots may end elsewhere.
            least = min([optimum.schedule_kg, *(point.emissions_kg for point in found["optimum"])])
            found["optimum"].append(Point(finished_h=deadline_h, emissions_kg=least, setting=deadline_h))
    for threshold in sorted({policy.threshold_g_per_kwh, *_thresholds(scene)}):
        leave_at = policy.leave_at_g_per_kwh
        leave_at = None if leave_at is None else max(leave_at, threshold)
        rule = replace(policy, kind="threshold", threshold_g_per_kwh=threshold, leave_at_g_per_kwh=leave_at)
        found["threshold"] += _points(scene, rule, deadline_s=scene.deadline_s, setting=threshold)
    return found


def _points(scene: Scene, policy: PolicyConfig, *, deadline_s: Seconds, setting: float) -> Iterator[Point]:
    """Yield what a policy comes to, if it does the work in time."""
    played = rehearse(scene, policy, deadline_s=deadline_s).played
    if played.finished_at is not None:
        kg = sum(site.emissions_kg for site in energy_of(scene, played).values())
        yield Point(finished_h=hours(played.finished_at), emissions_kg=kg, setting=setting)


def _deadlines(scene: Scene) -> Iterator[Seconds]:
    """Yield deadlines from a tenth more than the work takes at least up to the run's."""
    sites = len(scene.grids)
    shared = scene.rhythm.efficiency if sites > 1 else 1.0
    least = scene.asked_s / (sites * shared) * 1.1
    span = scene.deadline_s - least
    for step in range(1, DEADLINES + 1 if span > 0 else 1):
        yield least + span * step / DEADLINES


def _thresholds(scene: Scene) -> set[float]:
    values = sorted(value for grid in scene.grids.values() for value in grid.intensity.values)
    return {values[min(int(share * len(values)), len(values) - 1)] + 1e-6 for share in THRESHOLDS}
