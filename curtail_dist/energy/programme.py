"""The cheapest schedule of some sites at a given price of work: a dynamic programme over slots of time.

A site's local state in a slot is 0 (off), 1..m (the m slots of joining; the last may end in training) or m +
1 (training). From off it goes to off or to the first joining slot, from a joining slot to the next, from the
last of these and from training to training or off. A joint state is one local state for each site. What a
slot costs and does depends on its joint state alone, so the least cost over all predecessors is taken one
site after the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.emissions import Grid
from curtail_dist.units import Grams, Seconds, kwh

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule of a group of sites."""

    cost: Grams
    work: Seconds
    """Site-seconds of training."""
    states: tuple[tuple[int, ...], ...]
    """By slot, then by site; 0 is off."""


@dataclass(frozen=True, kw_only=True)
class _Local:
    """What one site does in each slot (rows) in each local state (columns)."""

    join_g: Array
    train_g: Array
    """Emissions of the training part at train power."""
    sync_g: Array
    """Emissions of the training part at sync power."""
    train_s: Array
    known: Array
    """1 where the intensity of the slot is known, by slot."""


class Programme:
    """The slots and sites, ready to be solved at any price. Immutable."""

    def __init__(
        self,
        sites: Sequence[Grid],
        edges: Sequence[Seconds],
        *,
        join_s: Seconds,
        joining: int,
        efficiency: float,
    ) -> None:
        """Reckon every joint state in every slot.

        Args:
            sites: Intensity and power of each site.
            edges: Slot i is [edges[i], edges[i + 1]); all but the last have the same length.
            join_s: What a start takes.
            joining: In how many slots, m.
            efficiency: Share of a slot that a site trains while another trains; else it exchanges.
        """
        self._last = joining + 1
        self._shape = (joining + 2,) * len(sites)
        locals_ = [_local(grid, edges, join_s, joining) for grid in sites]
        slots = len(edges) - 1
        self._cost: Array = np.zeros((slots, *self._shape))
        self._work: Array = np.zeros((slots, *self._shape))
        for state in product(range(joining + 2), repeat=len(sites)):
            busy = [(local, own) for local, own in zip(locals_, state, strict=True) if own]
            trains: Array = np.zeros(slots)
            for local, own in busy:
                trains += np.where(local.train_s[:, own] > 0, 1.0, 0.0)
            share = np.where(trains >= 2, efficiency, 1.0)
            for local, own in busy:
                train_g, sync_g = local.train_g[:, own], local.sync_g[:, own]
                cost = local.join_g[:, own] + share * train_g + (1 - share) * sync_g
                self._cost[:, *state] += np.where(local.known > 0, cost, np.inf)
                self._work[:, *state] += share * local.train_s[:, own]

    def solve(self, *, price: float, cost_weight: float = 1.0) -> Plan:
        """Return the plan that is least in `cost_weight` x emissions (g) - `price` (g/s) x work (s).

        With weight 0 and price 1 it is a plan that does the most work.
        """
        with np.errstate(invalid="ignore"):
            value = cost_weight * self._cost - price * self._work
        value[np.isinf(self._cost)] = np.inf
        best: list[Array] = []
        least: Array = np.full(self._shape, np.inf)
        least[(0,) * len(self._shape)] = 0.0
        for slot in value:
            for axis in range(len(self._shape)):
                least = self._step(least, axis)
            least = least + slot
            best.append(least)
        states = self._trace_back(best)
        picked = list(enumerate(states))
        return Plan(
            cost=math.fsum(float(self._cost[slot, *state]) for slot, state in picked),
            work=math.fsum(float(self._work[slot, *state]) for slot, state in picked),
            states=tuple(states),
        )

    def _before(self, own: int) -> tuple[int, ...]:
        """Return the local states that may precede `own`."""
        if self._last == 1:
            return (0, 1)
        if own == 0:
            return (0, self._last - 1, self._last)
        if own == self._last:
            return (self._last - 1, self._last)
        return (own - 1,)

    def _step(self, least: Array, axis: int) -> Array:
        moved = np.moveaxis(least, axis, 0)
        after = np.stack([moved[list(self._before(own))].min(axis=0) for own in range(self._last + 1)])
        return np.moveaxis(after, 0, axis)

    def _trace_back(self, best: list[Array]) -> list[tuple[int, ...]]:
        flat = int(np.argmin(best[-1]))
        state = tuple(int(index) for index in np.unravel_index(flat, self._shape))
        states = [state]
        for values in reversed(best[:-1]):
            state = min(product(*(self._before(own) for own in state)), key=lambda before: values[before])
            states.append(state)
        return states[::-1]


def _local(grid: Grid, edges: Sequence[Seconds], join_s: Seconds, joining: int) -> _Local:
    slots, length = len(edges) - 1, edges[1] - edges[0]
    join_g, train_g, sync_g, train_s = (np.zeros((slots, joining + 2)) for _ in range(4))
    known = np.zeros(slots)
    power = grid.power
    for slot, (start, stop) in enumerate(pairwise(edges)):
        if not grid.intensity.covers(start, stop):
            continue
        known[slot] = 1
        for own in range(1, joining + 2):
            joins_s = min(max(join_s - (own - 1) * length, 0.0), length) if own <= joining else 0.0
            middle = min(start + joins_s, stop)
            trained = grid.intensity.integral(middle, stop)
            join_g[slot, own] = kwh(power.join_w * grid.intensity.integral(start, middle))
            train_g[slot, own] = kwh(power.train_w * trained)
            sync_g[slot, own] = kwh(power.sync_w * trained)
            train_s[slot, own] = stop - middle
    return _Local(join_g=join_g, train_g=train_g, sync_g=sync_g, train_s=train_s, known=known)
