"""The least that the same work could have emitted by the deadline, had the day been known: an offline bound.

Time is cut into slots. In each slot a site is off, joining, or training; joining costs energy and does no
work. For a price p in grams per second of training, the schedule that is least in

    emissions - p * work

comes from a dynamic programme over the slots. The price is then raised until the work W is done; by duality

    bound = max over p of  (min over schedules of  emissions - p * work) + p * W

is at most the emissions of any schedule on these slots that does W. Sites decide each for itself; where
trained time counts less because sites exchange (pair efficiency below 1), one programme runs over all sites
together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.programme import Plan, Programme
from curtail_dist.units import Grams, Seconds, kilograms

_MOST_STATES = 5000
"""Joint states up to which sites are weighed together."""
_MOST_PRICES = 200
"""Prices tried; some ten suffice. Every one gives a valid bound, so stopping early only loosens it."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The bound, and a schedule close to it."""

    emissions_kg: float
    """The bound: no schedule on these slots that does the work by the deadline emits less."""
    schedule: Mapping[str, list[tuple[Seconds, Seconds]]]
    """On-periods of each site, joining included, that do at least the work."""
    schedule_kg: float
    """What that schedule emits."""
    schedule_work_s: Seconds
    """Site-seconds of training that it does."""
    pair_efficiency: float
    """What the bound assumed; 1, which only lowers it, where there are too many sites to weigh together."""


def optimum(
    sites: Mapping[str, Grid],
    *,
    work_s: Seconds,
    deadline_s: Seconds,
    join_s: Seconds,
    slot_s: Seconds = 300.0,
    pair_efficiency: float = 1.0,
) -> Optimum | None:
    """Return the offline optimum, or None where the work does not fit before the deadline.

    Args:
        sites: Intensity and power of each site. Where an intensity is unknown its site is off.
        work_s: Site-seconds of training to be done.
        deadline_s: Run time by which it must be done.
        join_s: What a start takes before training begins, at join power.
        slot_s: Length of a slot; starts and stops fall on its multiples.
        pair_efficiency: Share of the time in which a site trains while others do; else it exchanges.
    """
    edges = _edges(deadline_s, slot_s)
    joining = math.ceil(join_s / slot_s - 1e-9)
    together = pair_efficiency < 1 and (joining + 2) ** len(sites) <= _MOST_STATES
    efficiency = pair_efficiency if together else 1.0
    groups = [tuple(sites)] if together else [(name,) for name in sites]
    programmes = [
        Programme(
            [sites[name] for name in group], edges, join_s=join_s, joining=joining, efficiency=efficiency
        )
        for group in groups
    ]
    found = _price_search(programmes, work_s)
    if found is None:
        return None
    bound, plans = found
    schedule = {
        name: _periods([state[index] for state in plan.states], edges)
        for group, plan in zip(groups, plans, strict=True)
        for index, name in enumerate(group)
    }
    return Optimum(
        emissions_kg=kilograms(bound),
        schedule=schedule,
        schedule_kg=kilograms(math.fsum(plan.cost for plan in plans)),
        schedule_work_s=math.fsum(plan.work for plan in plans),
        pair_efficiency=efficiency,
    )


def fraction(baseline_kg: float, run_kg: float, oracle_kg: float) -> float | None:
    """Return the share of the possible saving that a run made; None where nothing was to be saved."""
    possible = baseline_kg - oracle_kg
    return (baseline_kg - run_kg) / possible if possible > 0 else None


def _edges(deadline_s: Seconds, slot_s: Seconds) -> list[Seconds]:
    count = math.floor(deadline_s / slot_s + 1e-9)
    edges = [index * slot_s for index in range(count + 1)]
    return [*edges, deadline_s] if deadline_s - edges[-1] > 1e-6 else edges


def _periods(states: list[int], edges: list[Seconds]) -> list[tuple[Seconds, Seconds]]:
    periods: list[tuple[Seconds, Seconds]] = []
    previous = 0
    for slot, state in enumerate(states):
        if state != 0 and previous == 0:
            periods.append((edges[slot], edges[slot + 1]))
        elif state != 0:
            periods[-1] = (periods[-1][0], edges[slot + 1])
        previous = state
    return periods


def _price_search(programmes: list[Programme], work_s: Seconds) -> tuple[Grams, list[Plan]] | None:
    """Move the price until no plan undercuts the line through one plan below W and one that does W."""
    above = [programme.solve(cost_weight=0.0, price=1.0) for programme in programmes]
    if _work(above) < work_s - 1e-6:
        return None
    below_g, below_s, bound = 0.0, 0.0, 0.0
    for _ in range(_MOST_PRICES):
        if _work(above) <= below_s:
            break
        price = (_cost(above) - below_g) / (_work(above) - below_s)
        plans = [programme.solve(price=price) for programme in programmes]
        cost, work = _cost(plans), _work(plans)
        bound = max(bound, cost - price * (work - work_s))
        line = below_g - price * below_s
        if cost - price * work >= line - 1e-9 * (1.0 + abs(line)):
            break
        if work >= work_s - 1e-6:
            above = plans
        else:
            below_g, below_s = cost, work
    return bound, above


def _cost(plans: list[Plan]) -> Grams:
    return math.fsum(plan.cost for plan in plans)


def _work(plans: list[Plan]) -> Seconds:
    return math.fsum(plan.work for plan in plans)
