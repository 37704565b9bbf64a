"""The least that the same work could have emitted by the deadline, had the day been known: the optimum.

Time is cut into slots. In each slot a site is off, joining, or training; joining costs energy and does no
work. For a price p in grams per second of training, the schedule that is least in

    emissions - p * work

comes from a dynamic programme over the slots. The price is then raised until the work W is done; by duality

    bound = max over p of  (min over schedules of  emissions - p * work) + p * W

is at most the emissions of any schedule on these slots that does W, and the schedule of that price is made
the cheapest of all by search (`search.py`). Few sites are weighed together, since trained time counts less
where sites exchange (pair efficiency below 1); many decide each for itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.programme import Programme, Slots, State
from curtail_dist.energy.search import Plan, cheapest
from curtail_dist.units import Grams, Seconds, kilograms

MOST_TOGETHER = 5000
"""Joint states up to which sites are weighed together where a pair is worth less than two."""
SLOT_S: Seconds = 300.0
"""Length of a slot where none is given; what is emitted within one is beyond what the bound can resolve."""
_MOST_SEARCHED = 300
"""Joint states up to which the cheapest schedule is searched for."""
_MOST_PRICES = 200
"""Prices tried; some ten suffice. Every one gives a valid bound, so stopping early only loosens it."""
_ANY_PRICE = 1e9
"""g/s beyond which price emissions do not matter: as much work as possible."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The bound, and the schedule that comes closest to it."""

    emissions_kg: float
    """The bound: no schedule on these slots that does the work by the deadline emits less."""
    schedule: Mapping[str, list[tuple[Seconds, Seconds]]]
    """On-periods of each site, joining included, that do at least the work."""
    schedule_kg: float
    """What that schedule emits."""
    schedule_work_s: Seconds
    """Site-seconds of training that it does."""
    exact: bool
    """Whether it is known that no schedule on these slots emits less than that one."""
    pair_efficiency: float
    """What the bound assumed; 1, which only lowers it, where there are too many sites to weigh together."""


def optimum(
    sites: Mapping[str, Grid],
    *,
    work_s: Seconds,
    deadline_s: Seconds,
    join_s: Seconds,
    slot_s: Seconds = SLOT_S,
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
    if deadline_s <= 0:
        return None  # no planned period: no agent said one
    slots = Slots.even(0.0, deadline_s, slot_s=slot_s, join_s=join_s)
    joint = (slots.joining + 2) ** len(sites)
    together = joint <= (MOST_TOGETHER if pair_efficiency < 1 else _MOST_SEARCHED)
    efficiency = pair_efficiency if together else 1.0
    groups = [tuple(sites)] if together else [(name,) for name in sites]
    programmes = [
        Programme([[sites[name] for name in group]], slots, efficiency=efficiency) for group in groups
    ]
    found = _price_search(programmes, work_s)
    if found is None:
        return None
    bound, price, plans = found
    if together and joint <= _MOST_SEARCHED:
        plans = [cheapest(programmes[0], plans[0], work_s=work_s, price=price)]
    schedule = {
        name: _periods([state[index] for state in plan.states], slots.edges)
        for group, plan in zip(groups, plans, strict=True)
        for index, name in enumerate(group)
    }
    return Optimum(
        emissions_kg=kilograms(bound),
        schedule=schedule,
        schedule_kg=kilograms(_cost(plans)),
        schedule_work_s=_work(plans),
        exact=all(plan.exact for plan in plans),
        pair_efficiency=efficiency,
    )


def fraction(baseline_kg: float, run_kg: float, oracle_kg: float) -> float | None:
    """Return the share of the possible saving that a run made; None where nothing was to be saved."""
    possible = baseline_kg - oracle_kg
    return (baseline_kg - run_kg) / possible if possible > 0 else None


def _periods(states: list[int], edges: Sequence[Seconds]) -> list[tuple[Seconds, Seconds]]:
    periods: list[tuple[Seconds, Seconds]] = []
    previous = 0
    for slot, state in enumerate(states):
        if state != 0 and previous == 0:
            periods.append((edges[slot], edges[slot + 1]))
        elif state != 0:
            periods[-1] = (periods[-1][0], edges[slot + 1])
        previous = state
    return periods


def _price_search(programmes: list[Programme], work_s: Seconds) -> tuple[Grams, float, list[Plan]] | None:
    """Move the price until no plan undercuts the line through one plan below W and one that does W.

    Returns the bound, its price and the plans that do W, or None where none does.
    """
    above = [_plan(programme, _ANY_PRICE) for programme in programmes]
    if _work(above) < work_s - 1e-6:
        return None
    below_g, below_s, bound, best = 0.0, 0.0, 0.0, 0.0
    for _ in range(_MOST_PRICES):
        if _work(above) <= below_s:
            break
        price = (_cost(above) - below_g) / (_work(above) - below_s)
        plans = [_plan(programme, price) for programme in programmes]
        cost, work = _cost(plans), _work(plans)
        if cost - price * (work - work_s) >= bound:
            bound, best = cost - price * (work - work_s), price
        line = below_g - price * below_s
        if cost - price * work >= line - 1e-9 * (1.0 + abs(line)):
            break
        if work >= work_s - 1e-6:
            above = plans
        else:
            below_g, below_s = cost, work
    return bound, best, above


def _plan(programme: Programme, price: float) -> Plan:
    """Return the schedule that is least in emissions - price x work, beginning with every site off."""
    _, rest = programme.to_go(np.array([[price]]))
    state: State = (0,) * (programme.cost.ndim - 3)
    cost, work, states = 0.0, 0.0, list[State]()
    for slot, onwards in enumerate(rest):
        state = min(programme.ways_on(state, slot), key=lambda way: onwards[0, 0, *way])
        costs, works = programme.cost[slot, 0, *state], programme.work[slot, 0, *state]
        option = int(np.argmin(costs - price * works))
        cost, work = cost + float(costs[option]), work + float(works[option])
        states.append(state)
    return Plan(cost=cost, work=work, states=tuple(states))


def _cost(plans: list[Plan]) -> Grams:
    return math.fsum(plan.cost for plan in plans)


def _work(plans: list[Plan]) -> Seconds:
    return math.fsum(plan.work for plan in plans)
