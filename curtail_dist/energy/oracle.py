"""The least that the same work could have emitted by the deadline, had the day been known: the optimum.

Time is cut into slots, from run time 0 on and, where a run does not start at a row of its traces, as their
rows fall, too; the better of the two counts. In each slot a site is off, joining, or training; joining costs
energy and does no work. For a price p in grams per second of training, the schedule that is least in

    emissions - p * work

comes from a dynamic programme over the slots. The price is then raised until the work W is done; by duality

    bound = max over p of  (min over schedules of  emissions - p * work) + p * W

is at most the emissions of any schedule on these slots that does W. At that price one schedule does too
little and one too much; they are joined (`splice.py`), the result is planned anew two sites at a time
(`pairs.py`) and, where few sites are weighed together, made the cheapest of all by search (`search.py`). Many
sites decide each for itself at a price, and their schedule is what the pairs make of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.pairs import improved
from curtail_dist.energy.programme import Plan, Programme
from curtail_dist.energy.search import cheapest
from curtail_dist.energy.slots import Slots
from curtail_dist.energy.splice import spliced
from curtail_dist.units import Grams, Seconds, kilograms

MOST_TOGETHER = 5000
"""Joint states up to which sites are weighed together: six sites whose joins take two slots."""
SLOT_S: Seconds = 300.0
"""Length of a slot where none is given; what is emitted within one is beyond what the bound can resolve."""
_MOST_PRICES = 200
"""Prices tried; some ten suffice. Every one gives a valid bound, so stopping early only loosens it."""
_ANY_PRICE = 1e9
"""g/s beyond which price emissions do not matter: as much work as possible."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The bound, and the schedule that comes closest to it."""

    emissions_kg: float
    """The bound: no schedule on these slots that does the work by the deadline emits less.
    One that starts and stops within slots may."""
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
        slot_s: Length of a slot; starts and stops fall on its multiples, from run time 0 on or from where
            most rows of the intensities fall.
        pair_efficiency: Share of the time in which a site trains while others do; else it exchanges.
    """
    if deadline_s <= 0:
        return None  # no planned period: no agent said one
    cuts = [
        Slots.even(start, deadline_s, slot_s=slot_s, join_s=join_s)
        for start in sorted({0.0, _first_row(sites, deadline_s, slot_s)})
    ]
    found = [best for slots in cuts if (best := _optimum(sites, slots, work_s, pair_efficiency)) is not None]
    if not found:
        return None
    bound_kg = min(best.emissions_kg for best in found)
    least = min(found, key=lambda best: best.schedule_kg)
    exact = all(best.exact for best in found) or _reaches(least.schedule_kg, bound_kg)
    return replace(least, emissions_kg=bound_kg, exact=exact)


def _first_row(sites: Mapping[str, Grid], deadline_s: Seconds, slot_s: Seconds) -> Seconds:
    """Return the first moment from which on slots begin where most rows do; 0 where none do.

    A run starts when it is founded, its traces have rows at full minutes: on slots from run time 0 on no
    schedule could take a row as it is.
    """
    places = Counter(
        round(at % slot_s, 3) % slot_s
        for grid in sites.values()
        for at in grid.intensity.edges
        if 0 < at < deadline_s
    )
    first = min(places, key=lambda place: (-places[place], place), default=0.0)
    return first if first < deadline_s else 0.0


def _optimum(
    sites: Mapping[str, Grid], slots: Slots, work_s: Seconds, pair_efficiency: float
) -> Optimum | None:
    """Return the optimum on these slots."""
    grids = list(sites.values())
    whole = Programme.of([grids], slots, efficiency=pair_efficiency)
    together = (slots.joining + 2) ** len(grids) <= MOST_TOGETHER
    found = _bracket(whole.best if together else _each(grids, whole), work_s)
    if found is None:
        return None
    bound = found.bound
    if not together and pair_efficiency < 1:
        bound = _bound_of_each(grids, slots, work_s)
    plan = spliced(whole, found.below, found.above, work_s=work_s, price=found.price)
    if len(grids) > 2 and (slots.joining + 2) ** 2 <= MOST_TOGETHER:
        plan = improved(whole, plan, work_s=work_s, price=found.price, bound=bound)
    if together:
        plan = cheapest(whole, plan, work_s=work_s, price=found.price)
    return Optimum(
        emissions_kg=kilograms(bound),
        schedule={
            name: _periods([state[index] for state in plan.states], slots.edges)
            for index, name in enumerate(sites)
        },
        schedule_kg=kilograms(plan.cost),
        schedule_work_s=plan.work,
        exact=plan.exact or _reaches(plan.cost, bound),
        pair_efficiency=pair_efficiency if together else 1.0,
    )


def _reaches(mass: float, bound: float) -> bool:
    return mass <= bound + 1e-9 * (1.0 + bound)


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


@dataclass(frozen=True, kw_only=True)
class _Bracket:
    """Two schedules, as cheap as any at a price of work, between which the work lies."""

    bound: Grams
    """Where the line through them meets the work: a bound, if they are the least of all schedules."""
    price: float
    """Grams a site-second."""
    below: Plan
    above: Plan
    """Does the work."""


def _bracket(best: Callable[[float], Plan], work_s: Seconds) -> _Bracket | None:
    """Move the price until no plan undercuts the line through one plan below W and one that does W.

    Returns None where no plan does W.
    """
    above = best(_ANY_PRICE)
    if above.work < work_s - 1e-6:
        return None
    below = Plan(cost=0.0, work=0.0, states=tuple((0,) * len(state) for state in above.states))
    bound = at = 0.0
    for _ in range(_MOST_PRICES):
        if above.work <= below.work:
            break
        price = (above.cost - below.cost) / (above.work - below.work)
        plan = best(price)
        if plan.cost - price * (plan.work - work_s) >= bound:
            bound, at = plan.cost - price * (plan.work - work_s), price
        line = below.cost - price * below.work
        if plan.cost - price * plan.work >= line - 1e-9 * (1.0 + abs(line)):
            break
        if plan.work >= work_s - 1e-6:
            above = plan
        else:
            below = plan
    return _Bracket(bound=bound, price=at, below=below, above=above)


def _each(grids: Sequence[Grid], whole: Programme) -> Callable[[float], Plan]:
    """Return what finds the best plan at a price where each site decides for itself.

    It takes it that some other one trains, too. What the plans come to is reckoned with all of them.
    """
    efficiency = whole.efficiency
    alone = [Programme.of([[grid]], whole.slots, efficiency=efficiency, accompanied=True) for grid in grids]

    def best(price: float) -> Plan:
        plans = [programme.best(price).states for programme in alone]
        return whole.reckoned([tuple(own for (own,) in states) for states in zip(*plans, strict=True)], price)

    return best


def _bound_of_each(grids: Sequence[Grid], slots: Slots, work_s: Seconds) -> Grams:
    """Return a bound where no site waits for another: a lower one, and the only one without joint states."""
    found = _bracket(_each(grids, Programme.of([grids], slots, efficiency=1.0)), work_s)
    assert found is not None, "what is done where sites wait is done where none does"
    return found.bound
