"""The cheapest schedule that does the work, found exactly where that is possible.

A price of work gives a bound and a schedule that does a little more than it must. Between the two lies the
schedule that is really the cheapest. The search goes through the slots with all partial schedules (labels)
that could still become it: one is dropped when another in the same joint state has done no less for no more,
or when even the best way on, at the bound's price, would not undercut the best schedule known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.programme import Array, Programme, State
from curtail_dist.units import Grams, Seconds

_MOST_LABELS = 20_000
"""Partial schedules kept a slot; beyond, the least promising are dropped and the search is not exact."""
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule of a group of sites."""

    cost: Grams
    work: Seconds
    states: tuple[State, ...]
    """By slot."""
    exact: bool = False
    """Whether no schedule on the slots does the work for less."""


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


def cheapest(programme: Programme, known: Plan, *, work_s: Seconds, price: float) -> Plan:
    """Return the cheapest schedule of one scenario that does `work_s`, beginning with every site off.

    Args:
        programme: Sites and slots, one scenario.
        known: A schedule that does the work.
        work_s: Site-seconds of training.
        price: The price of the bound, g a site-second.
    """
    states = list(product(*(range(size) for size in programme.cost.shape[2:-1])))
    number = {state: index for index, state in enumerate(states)}
    _, rest = programme.to_go(np.array([[price]]))
    slack = 1e-9 * (1.0 + known.cost)
    labels = _Labels(state=np.array([0]), cost=np.array([0.0]), work=np.array([0.0]), parent=np.array([0]))
    history: list[_Labels] = []
    exact = True
    for slot, onwards in enumerate(rest):
        ways = _ways(programme, states, number, slot)
        cost = programme.cost[slot, 0].reshape(len(states), -1)
        work = programme.work[slot, 0].reshape(len(states), -1)
        value = onwards[0, 0].reshape(-1)
        labels = _extended(labels, ways, cost, work)
        # What it has cost, and the best of the rest at the price, the rest including this slot.
        at_price = (cost - price * work).min(axis=1)
        later = np.subtract(value, at_price, out=np.zeros_like(value), where=np.isfinite(value))
        promise = labels.cost - price * (labels.work - work_s) + later[labels.state]
        labels = labels.take(promise <= known.cost + slack)
        labels = labels.take(_undominated(labels, work_s))
        if len(labels.state) > _MOST_LABELS:
            exact = False
            order = labels.cost - price * labels.work + later[labels.state]
            labels = labels.take(np.sort(np.argpartition(order, _MOST_LABELS)[:_MOST_LABELS]))
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


def _ways(programme: Programme, states: Sequence[State], number: dict[State, int], slot: int) -> Numbers:
    """Return the states that may follow each state in `slot`, (state, way)."""
    return np.array([[number[after] for after in programme.ways_on(state, slot)] for state in states])


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
