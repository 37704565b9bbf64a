"""What the same work would have emitted at sites that never switch off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from curtail_dist.energy.emissions import Grid
from curtail_dist.errors import TraceError
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts, hours, kilograms, kwh


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An always-on run of the same work, from run time 0 until it is done, past the deadline if need be.

    It pays for no joining.
    """

    emissions_kg: float
    hours: float
    energy_kwh: float
    share_in_window: float
    """Share of its energy drawn below the threshold."""


def always_on(name: str, grid: Grid, work_s: Seconds, *, threshold: GramsCO2PerKWh | None = None) -> Baseline:
    """Train `work_s` seconds at one site without a break and without exchanging.

    Raises TraceError where the intensity is not known until the work is done.
    """
    return _run({name: (grid, grid.power.train_w)}, work_s, threshold)


def always_on_pair(
    sites: Mapping[str, Grid], work_s: Seconds, *, efficiency: float, threshold: GramsCO2PerKWh | None = None
) -> Baseline:
    """Share `work_s` site-seconds of training between sites that are all on.

    Each trains for the share `efficiency` of the time and exchanges for the rest, at that power. Raises
    TraceError as `always_on` does.
    """
    drawn = {
        name: (grid, efficiency * grid.power.train_w + (1 - efficiency) * grid.power.sync_w)
        for name, grid in sites.items()
    }
    return _run(drawn, work_s / (len(sites) * efficiency), threshold)


def all_baselines(
    sites: Mapping[str, Grid],
    work_s: Seconds,
    *,
    pair_efficiency: float = 1.0,
    threshold: GramsCO2PerKWh | None = None,
) -> tuple[dict[str, Baseline], dict[str, str]]:
    """Return each site alone (by name) and each pair (`a+b`), and why those that are missing are."""
    found: dict[str, Baseline] = {}
    missing: dict[str, str] = {}
    for group in [*combinations(sites, 1), *combinations(sites, 2)]:
        name = "+".join(group)
        members = {member: sites[member] for member in group}
        efficiency = 1.0 if len(group) == 1 else pair_efficiency
        try:
            found[name] = always_on_pair(members, work_s, efficiency=efficiency, threshold=threshold)
        except TraceError as error:
            missing[name] = str(error)
    return found, missing


def reference_kg(baselines: Mapping[str, Baseline]) -> float | None:
    """Return the mean emissions of the single always-on sites; None where there is none."""
    singles = [baseline.emissions_kg for name, baseline in baselines.items() if "+" not in name]
    return math.fsum(singles) / len(singles) if singles else None


def _run(
    drawn: Mapping[str, tuple[Grid, Watts]], duration: Seconds, threshold: GramsCO2PerKWh | None
) -> Baseline:
    pieces: list[tuple[float, GramsCO2PerKWh]] = []
    for name, (grid, watts) in drawn.items():
        known = grid.intensity
        if duration > 0 and not known.covers(0.0, duration):
            raise TraceError(
                f"the intensity of {name} is known from {hours(known.start):.2f} h to "
                f"{hours(known.end):.2f} h; always on, the work takes until {hours(duration):.2f} h: "
                "give a longer trace"
            )
        pieces += [(kwh(watts * (high - low)), value) for low, high, value in known.pieces(0.0, duration)]
    energy = math.fsum(drawn_kwh for drawn_kwh, _ in pieces)
    inside = math.fsum(drawn_kwh for drawn_kwh, value in pieces if threshold is None or value < threshold)
    return Baseline(
        emissions_kg=kilograms(math.fsum(drawn_kwh * value for drawn_kwh, value in pieces)),
        hours=hours(duration),
        energy_kwh=energy,
        share_in_window=inside / energy if energy > 0 else 0.0,
    )
