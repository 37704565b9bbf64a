"""A schedule of many sites made cheaper by planning two of them anew at a time, while the others keep theirs.

Each step is exact, and two sites are the fewest that can hand work to each other, so what is left when no two
of them emit less is close to the cheapest of all.
"""

from itertools import combinations

from curtail_dist.energy.programme import Plan, Programme
from curtail_dist.energy.search import cheapest
from curtail_dist.units import Grams, Seconds

_MOST_PAIRS = 60
"""Pairs planned anew; a day of six sites takes some thirty."""
_TRIED = 4_000
"""Ways on that are looked at in a slot: more are not worth their time, since a pair's turn comes again."""
_CLOSE = 1e-4
"""Share of the bound above which a schedule may still be made cheaper."""


def improved(programme: Programme, known: Plan, *, work_s: Seconds, price: float, bound: Grams) -> Plan:
    """Return a schedule that does the work and emits no more than `known` does, which it begins with.

    Args:
        programme: All sites, one scenario.
        known: A schedule that does the work.
        work_s: Site-seconds of training.
        price: The price of the bound, g a site-second.
        bound: What no schedule undercuts.
    """
    sites = range(len(programme.local))
    pairs = sorted(combinations(sites, 2), key=lambda pair: pair[1] - pair[0])
    best, in_vain = known, 0
    for tried in range(_MOST_PAIRS):
        if in_vain == len(pairs) or best.cost <= (1 + _CLOSE) * bound:
            break
        found = _replanned(programme, best, pairs[tried % len(pairs)], work_s=work_s, price=price)
        in_vain = 0 if found.cost < best.cost * (1 - _CLOSE / 100) else in_vain + 1
        best = min(best, found, key=lambda plan: plan.cost)
    return best


def _replanned(
    programme: Programme, plan: Plan, pair: tuple[int, int], *, work_s: Seconds, price: float
) -> Plan:
    one, other = pair
    two = programme.part(pair, plan.states, price=price)
    own = Plan(cost=plan.cost, work=plan.work, states=tuple((s[one], s[other]) for s in plan.states))
    found = cheapest(two, own, work_s=work_s, price=price, most_tried=_TRIED)
    states = [list(state) for state in plan.states]
    for state, (first, second) in zip(states, found.states, strict=True):
        state[one], state[other] = first, second
    return Plan(cost=found.cost, work=found.work, states=tuple(tuple(state) for state in states))
