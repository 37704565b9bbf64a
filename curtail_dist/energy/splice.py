"""A schedule that does the work, joined from one that does too little and one that does too much.

At the price of the bound both are as cheap as any. Followed up to some slot, the one leads over to the other:
what the result does beyond the work, and beyond the bound costs, is little more than the sites that start at
the seam.
"""

from collections.abc import Sequence

from curtail_dist.energy.programme import Plan, Programme, State
from curtail_dist.energy.slots import Slots
from curtail_dist.units import Seconds


def spliced(programme: Programme, below: Plan, above: Plan, *, work_s: Seconds, price: float) -> Plan:
    """Return the cheapest schedule found that does the work: one of the two, or the two joined.

    Args:
        programme: All sites, one scenario.
        below: A schedule that does less than `work_s`, or no more.
        above: A schedule that does it.
        work_s: Site-seconds of training.
        price: The price of the bound, g a site-second.
    """
    best = above if below.work < work_s - 1e-6 else below
    slots = len(above.states)
    for first, then in ((above, below), (below, above)):
        too_few, enough = 0, slots
        while enough - too_few > 1:
            taken = (too_few + enough) // 2  # slots of `above`
            seam = taken if first is above else slots - taken
            joined = programme.reckoned(_joined(first.states, then.states, seam, programme.slots), price)
            if joined.work < work_s - 1e-6:
                too_few = taken
                continue
            enough = taken
            best = min(best, joined, key=lambda plan: plan.cost)
    return best


def _joined(first: Sequence[State], then: Sequence[State], seam: int, slots: Slots) -> list[State]:
    """Return what follows `first` up to the slot `seam`, and from it on has sites on as `then` has."""
    states = list(first[:seam])
    before = states[-1] if states else (0,) * len(then[0])
    for slot in range(seam, len(then)):
        following = slots.following[slot]
        before = tuple(following[own] if on else 0 for own, on in zip(before, then[slot], strict=True))
        states.append(before)
    return states
