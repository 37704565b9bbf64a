"""What a microgrid without a battery imported, reckoned exactly and without Vessim, which says the same.

Beside `emissions.account` and Vessim's `GridImportEmissions`, for the same site on the same traces:

- Without production, battery and base load all three are equal: draw x intensity of the grid.
- With production, Vessim's and this one are equal: import x intensity of the grid, where what is imported is
  what production leaves short. `account` is more: it knows of no production and counts all that was drawn.
- Vessim samples draw and traces at its ticks and holds them in between, here they are integrated exactly:
  they agree where every change falls on a tick.
- What is exported is credited nowhere: it saves no emissions in these accounts. Emissions of what is
  produced, `production.g_per_kwh`, are in the readings of `surplus` and in none of the accounts.
- A battery is Vessim's alone: `Scenario.environment` with Vessim's recorder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from curtail_dist.energy.emissions import Interval, PowerModel
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.vessim.scenario import Scenario
from curtail_dist.units import Seconds, kilograms, kwh


@dataclass(frozen=True, kw_only=True)
class GridImport:
    """What flowed through a grid connection."""

    imported_kwh: float
    exported_kwh: float
    """At least 0, and not set off against what was imported."""
    emissions_kg: float
    """Of what was imported."""


def drawn(intervals: Sequence[Interval], power: PowerModel, start: Seconds, stop: Seconds) -> StepFunction:
    """Return what a site draws on [start, stop), W; off where no interval is.

    Raises ValueError for intervals that overlap.
    """
    edges: list[Seconds] = [start]
    values: list[float] = []
    for interval in sorted(intervals, key=lambda i: i.start):
        low, high = max(interval.start, start), min(interval.stop, stop)
        if high <= low:
            continue
        if low < edges[-1]:
            raise ValueError(f"{interval} starts before {edges[-1]} s; a site is in one phase at a time")
        if low > edges[-1]:
            edges.append(low)
            values.append(0.0)
        edges.append(high)
        values.append(power.watts(interval.phase))
    if edges[-1] < stop:
        edges.append(stop)
        values.append(0.0)
    return StepFunction(edges=tuple(edges), values=tuple(values))


def grid_import(
    scenario: Scenario, intervals: Sequence[Interval], power: PowerModel, until: Seconds
) -> GridImport:
    """Account for the microgrid's imports, base load included, from the scenario's begin until `until`.

    Raises ValueError for a scenario with a battery, and for one that ends earlier.
    """
    if scenario.config.storage is not None or not scenario.begin < until <= scenario.end:
        raise ValueError(
            f"the imports of {scenario.site} until {until:g} s are asked for; it must have no battery (run "
            f"Vessim's environment for one) and be known until then: its traces cover {scenario.begin:g} to "
            f"{scenario.end:g} s"
        )
    draw = drawn(intervals, power, scenario.begin, until)
    series = [draw, scenario.intensity, *([scenario.production] if scenario.production else [])]
    moments = sorted({low for part in series for low, _, _ in part.pieces(scenario.begin, until)} | {until})
    flows: list[tuple[float, float]] = []
    for low, high in pairwise(moments):
        produced = scenario.production.at(low) if scenario.production else 0.0
        net = draw.at(low) + scenario.config.base_load_w - produced
        flows.append((kwh(net * (high - low)), scenario.intensity.at(low)))
    return GridImport(
        imported_kwh=math.fsum(energy for energy, _ in flows if energy > 0),
        exported_kwh=math.fsum(-energy for energy, _ in flows if energy < 0),
        emissions_kg=kilograms(math.fsum(energy * value for energy, value in flows if energy > 0)),
    )
