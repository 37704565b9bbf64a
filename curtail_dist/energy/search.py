"""The cheapest schedule that does the work, found exactly where that is possible.

A price of work gives a bound; between it and a schedule that is known to do the work lies the one that is
really the cheapest. The search goes through the slots with all partial schedules (labels)
that could still become it: one is dropped when another in the same joint state has done no less for no more,
or when even the best way on, at the bound's price, would not undercut the best schedule known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.programme import Array, Plan, Programme, State
from curtail_dist.units import Seconds

MOST_TRIED = 250_000
"""Ways on from partial schedules that are looked at in a slot, where none is said."""
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Labels:
    """Partial schedules up to a slot, as columns."""

    state: Numbers
    cost: Array
    work: Array
    parent: Numbers

    def take(self, which: NDArray[np.bool_] | Numbers) -> "_Labels":
        return _Labels(
            state=self.state[which], cost=self.cost[which], work=self.work[which], parent=self.parent[which]
        )


def cheapest(
    programme: Programme, known: Plan, *, work_s: Seconds, price: float, most_tried: int = MOST_TRIED
) -> Plan:
    """Return the cheapest schedule of one scenario that does `work_s`, beginning with every site off.

    Args:
        programme: Sites and slots, one scenario.
        known: A schedule that does the work.
        work_s: Site-seconds of training.
        price: The price of the bound, g a site-second.
        most_tried: Ways on from partial schedules that are looked at in a slot. Of partial schedules that
            would lead to more, the least promising are dropped, and the search is not exact.
    """
    states = list(product(*(range(size) for size in programme.cost.shape[2:-1])))
    _, rest = programme.to_go(np.array([[price]]))
    slack = 1e-9 * (1.0 + known.cost)
    labels = _Labels(state=np.array([0]), cost=np.array([0.0]), work=np.array([0.0]), parent=np.array([0]))
    history: list[_Labels] = []
    exact, ways = True, _Ways(programme, states)
    most = most_tried // (2 ** len(programme.local) * len(programme.options))
    for slot, onwards in enumerate(rest):
        cost = programme.cost[slot, 0].reshape(len(states), -1)
        work = programme.work[slot, 0].reshape(len(states), -1)
        value = onwards[0, 0].reshape(-1)
        labels = _extended(labels, ways.on(slot), cost, work)
        # What it has cost, and the best of the rest at the price, the rest including this slot.
        at_price = (cost - price * work).min(axis=1)
        later = np.subtract(value, at_price, out=np.zeros_like(value), where=np.isfinite(value))
        promise = labels.cost - price * (labels.work - work_s) + later[labels.state]
        labels = labels.take(promise <= known.cost + slack)
        labels = labels.take(_undominated(labels, work_s))
        if len(labels.state) > most:
            exact = False
            order = labels.cost - price * labels.work + later[labels.state]
            labels = labels.take(np.sort(np.argpartition(order, most)[:most]))
        history.append(labels)
    done = np.flatnonzero(labels.work >= work_s - 1e-6)
    if len(done) == 0 or labels.cost[done].min() > known.cost + slack:
        return Plan(cost=known.cost, work=known.work, states=known.states, exact=exact)
    best = int(done[np.argmin(labels.cost[done])])
    return Plan(
        cost=float(labels.cost[best]),
        work=float(labels.work[best]),
        states=_traced(history, states, best),
        exact=exact,
    )


class _Ways:
    """Which states may follow which: the same numbers for all slots that are alike, made once."""

    def __init__(self, programme: Programme, states: Sequence[State]) -> None:
        self._programme = programme
        self._states = states
        self._number = {state: index for index, state in enumerate(states)}
        self._made: dict[tuple[int, ...], Numbers] = {}

    def on(self, slot: int) -> Numbers:
        """Return the states that may follow each state in `slot`, (state, way)."""
        alike = tuple(self._programme.slots.following[slot])
        if alike not in self._made:
            ways = [self._programme.ways_on(state, slot) for state in self._states]
            self._made[alike] = np.array([[self._number[after] for after in row] for row in ways])
        return self._made[alike]


def _extended(labels: _Labels, ways: Numbers, cost: Array, work: Array) -> _Labels:
    """Return every label gone on in every way at every pace, but for those where nothing is known."""
    after = ways[labels.state]
    options = cost.shape[1]
    state = np.repeat(after[:, :, None], options, axis=2)
    parent = np.broadcast_to(np.arange(len(labels.state))[:, None, None], state.shape)
    found = _Labels(
        state=state.ravel(),
        cost=(labels.cost[:, None, None] + cost[after]).ravel(),
        work=(labels.work[:, None, None] + work[after]).ravel(),
        parent=parent.ravel(),
    )
    return found.take(np.isfinite(found.cost))


def _undominated(labels: _Labels, work_s: Seconds) -> Numbers:
    """Return the labels that no other of the same state makes needless."""
    enough = np.minimum(labels.work, work_s)
    order = np.lexsort((-enough, labels.cost, labels.state))
    span = work_s + 1.0
    height = enough[order] + labels.state[order] * span
    before = np.concatenate([[-np.inf], np.maximum.accumulate(height)[:-1]])
    first = np.concatenate([[True], labels.state[order][1:] != labels.state[order][:-1]])
    return order[first | (height > before + 1e-9)]


def _traced(history: Sequence[_Labels], states: Sequence[State], last: int) -> tuple[State, ...]:
    found: list[State] = []
    for labels in reversed(history):
        found.append(states[int(labels.state[last])])
        last = int(labels.parent[last])
    return tuple(found[::-1])
