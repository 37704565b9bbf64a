"""What schedules of some sites cost and do at given prices of work: a dynamic programme over slots of time.

A site's local state in a slot is 0 (off), 1..m (joining; the slot in which joining ends is trained in for the
rest) or m + 1 (training). From any state a site may go off; from off it goes to 1, and on from there as
joining takes its time. A joint state is one local state for each site. What a slot costs and does depends on
its joint state, so the least over all ways on is taken one site after the other.

Several futures are solved side by side (scenarios), and several prices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.pace import paces
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import JOULES_PER_KWH, SECONDS_PER_DAY, Seconds

Array = NDArray[np.float64]
State = tuple[int, ...]
"""One local state a site."""
_FINE_S: Seconds = SECONDS_PER_DAY
_COARSE_S: Seconds = 1800.0
"""Slots further off than `_FINE_S` are this long: what is planned for then is planned again before."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Time cut into slots, and what a start takes of it."""

    edges: tuple[Seconds, ...]
    """Slot i is [edges[i], edges[i + 1]). Later slots may be longer than the first, and the last shorter."""
    join_s: Seconds
    """What a start takes before training begins."""

    @classmethod
    def even(cls, start: Seconds, stop: Seconds, *, slot_s: Seconds, join_s: Seconds) -> "Slots":
        """Cut [start, stop) into slots of `slot_s`; what is left over is a slot of its own."""
        count = math.floor((stop - start) / slot_s + 1e-9)
        edges = [start + index * slot_s for index in range(count + 1)]
        if stop - edges[-1] > 1e-6:
            edges.append(stop)
        return cls(edges=tuple(edges), join_s=join_s)

    @classmethod
    def widening(cls, start: Seconds, stop: Seconds, *, slot_s: Seconds, join_s: Seconds) -> "Slots":
        """Cut [start, stop) finely where it matters now, and more coarsely beyond the next hours."""
        fine = min(stop, start + _FINE_S)
        near = cls.even(start, fine, slot_s=slot_s, join_s=join_s).edges
        if stop - fine < 1.0:
            return cls(edges=near, join_s=join_s)
        coarse_s = slot_s * max(1, round(_COARSE_S / slot_s))
        far = cls.even(fine, stop, slot_s=coarse_s, join_s=join_s).edges
        return cls(edges=(*near, *far[1:]), join_s=join_s)

    @property
    def joining(self) -> int:
        """How many of the first slots a start takes, m."""
        return math.ceil(self.join_s / (self.edges[1] - self.edges[0]) - 1e-9)

    @property
    def training(self) -> int:
        """The local state of a site that trains, m + 1."""
        return self.joining + 1

    def joins_s(self, own: int) -> Seconds:
        """Return what is left of joining at the begin of a slot in local state `own`."""
        if not 1 <= own <= self.joining:
            return 0.0
        return self.join_s - (own - 1) * (self.edges[1] - self.edges[0])

    @cached_property
    def following(self) -> tuple[list[int], ...]:
        """By slot: the local state in it of a site that goes on, by its local state in the slot before."""
        first = self.edges[1] - self.edges[0]
        lengths = [first, *(stop - start for start, stop in pairwise(self.edges))]
        by_length = {length: self._after(length) for length in set(lengths)}
        return tuple(by_length[length] for length in lengths[:-1])

    def _after(self, length: Seconds) -> list[int]:
        """The local state after a slot of this length of a site that goes on, by its state in that slot."""
        passed = max(1, round(length / (self.edges[1] - self.edges[0])))

        def after(own: int) -> int:
            joined = own == self.training or self.joins_s(own) <= length + 1e-9
            return self.training if joined else min(own + passed, self.joining)

        return [1, *(after(own) for own in range(1, self.training + 1))]

    def local(self, *, on: bool, joins_s: Seconds = 0.0) -> int:
        """Return the local state before the first slot; `joins_s` is what is left of joining."""
        if not on:
            return 0
        left = math.ceil(joins_s / (self.edges[1] - self.edges[0]) - 1e-9)
        return self.training if left <= 0 else max(1, self.joining - left)


class Programme:
    """Sites and slots, ready to be solved at any price. Immutable."""

    def __init__(
        self,
        scenarios: Sequence[Sequence[Grid]],
        slots: Slots,
        *,
        efficiency: float,
        accompanied: bool = False,
    ) -> None:
        """Reckon every joint state in every slot.

        Args:
            scenarios: Equally likely futures, each with intensity and power of every site.
            slots: The slots.
            efficiency: Share of a slot that a site trains while another does; else it exchanges.
            accompanied: Whether some site besides these trains all the time.
        """
        self.slots = slots
        sites = len(scenarios[0])
        self._shape = (slots.training + 1,) * sites
        local = [_locals([future[site] for future in scenarios], slots) for site in range(sites)]
        self.options = list(product(*(range(own[0].paces) for own in local)))
        """The pace of each site (an index into `paces`), by the last axis of cost and work."""
        size = (len(slots.edges) - 1, len(scenarios), *self._shape, len(self.options))
        self.cost: Array = np.zeros(size)
        """Emissions in g, by slot, scenario, joint state, and pace of each site; infinite where unknown."""
        self.work: Array = np.zeros(size)
        """Site-seconds of training at full speed, likewise."""
        for state in product(range(self._shape[0]), repeat=sites):
            busy = [(local[site][own], site) for site, own in enumerate(state) if own]
            training = sum((one.trains for one, _ in busy), start=np.full(size[:2], float(accompanied)))
            share = np.where(training >= 2, efficiency, 1.0)
            for number, option in enumerate(self.options):
                for one, site in busy:
                    cost, work = one.at(option[site], share)
                    self.cost[:, :, *state, number] += cost
                    self.work[:, :, *state, number] += work

    def to_go(self, prices: Array, *, change_s: Seconds = 0.0) -> tuple[Array, list[Array]]:
        """Return what is least in emissions - price x work, from the begin and from each slot on.

        Args:
            prices: Grams a site-second, (P, 1), or (P, scenarios) where each has its own.
            change_s: Seconds of training, valued at the price, that a start is charged besides.

        Returns:
            From the begin by state before it, (P, scenarios, *state); and for each slot, with this
            slot in a joint state and the best after it, the same shape.
        """
        sites = len(self._shape)
        by_price = prices.reshape(*prices.shape, *(1,) * sites)
        least: Array = np.zeros((len(prices), self.cost.shape[1], *self._shape))
        rest: list[Array] = []
        value = _least_option(self.cost, self.work, by_price)
        off = [(slice(None),) * axis + (slice(0, 1),) for axis in range(2, 2 + sites)]
        for slot in reversed(range(len(self.slots.edges) - 1)):
            least = value[slot] + least
            rest.append(least)
            following = self.slots.following[slot]
            for axis, is_off in enumerate(off, start=2):
                on = least.take(following, axis=axis)
                if change_s:
                    on[is_off] += by_price * change_s
                least = np.minimum(least[is_off], on)
        return least, rest[::-1]

    def ways_on(self, state: State, slot: int) -> list[State]:
        """Return the joint states in `slot` that may follow `state` in the slot before."""
        following = self.slots.following[slot]
        return list(product(*((0, following[own]) for own in state)))


@dataclass(frozen=True, kw_only=True)
class _Local:
    """One site, or one for each scenario, in one local state: arrays by slot and scenario."""

    join_g: Array
    grid_g: Array
    """What a watt drawn over the trained part emits; infinite where the slot is unknown."""
    train_s: Array
    sync_w: Array
    """By scenario."""
    watts: Array
    speed: Array
    """By pace and scenario."""

    @property
    def paces(self) -> int:
        return len(self.watts)

    @property
    def trains(self) -> Array:
        return (self.train_s > 0).astype(float)

    def at(self, pace: int, share: Array) -> tuple[Array, Array]:
        """Return emissions and work while it trains for `share` of the time."""
        drawn = share * self.watts[pace] + (1 - share) * self.sync_w
        with np.errstate(invalid="ignore"):
            cost = self.join_g + drawn * self.grid_g
        return np.where(np.isnan(cost), np.inf, cost), share * self.speed[pace] * self.train_s


def _locals(futures: Sequence[Grid], slots: Slots) -> list[_Local]:
    """One site, or one for each scenario, in every local state."""
    starts, stops = np.array(slots.edges[:-1]), np.array(slots.edges[1:])
    integrals = [_Integrals(future.intensity, slots.edges[0], slots.edges[-1]) for future in futures]
    ways = [paces(future.power) for future in futures]
    most = max(len(way) for way in ways)
    padded = [[*way, *[way[0]] * (most - len(way))] for way in ways]
    join_w = np.array([future.power.join_w for future in futures])
    sync_w = np.array([future.power.sync_w for future in futures])
    watts = np.array([[pace.watts for pace in way] for way in padded]).T
    speed = np.array([[pace.speed for pace in way] for way in padded]).T

    def local(own: int) -> _Local:
        middle = np.minimum(starts + slots.joins_s(own), stops)
        before = [each.over(starts, middle, stops) for each in integrals]
        after = [each.over(middle, stops, stops) for each in integrals]
        return _Local(
            join_g=np.stack(before, axis=1) * (join_w / JOULES_PER_KWH),
            grid_g=np.stack(after, axis=1) / JOULES_PER_KWH,
            train_s=np.repeat((stops - middle)[:, None], len(futures), axis=1),
            sync_w=sync_w,
            watts=watts,
            speed=speed,
        )

    return [local(own) for own in range(slots.training + 1)]


class _Integrals:
    """Of what is known of a series between two moments."""

    def __init__(self, series: StepFunction, start: Seconds, stop: Seconds) -> None:
        self._series = series
        known = series.clipped(start - 1.0, stop + 1.0)
        self._edges = np.array([start] if known is None else known.edges)
        values: Array = np.array([] if known is None else known.values)
        self._sums = np.concatenate([[0.0], np.cumsum(np.diff(self._edges) * values)])

    def over(self, starts: Array, stops: Array, slot_stops: Array) -> Array:
        """Return the integral over each [start, stop); infinite where its slot is not all known."""
        sums = np.interp(stops, self._edges, self._sums) - np.interp(starts, self._edges, self._sums)
        return np.where((starts >= self._series.start) & (slot_stops <= self._series.end), sums, np.inf)


def _least_option(cost: Array, work: Array, by_price: Array) -> Array:
    """Return cost - price x work of the best pace, (slots, P, scenarios, *state)."""
    best: Array | None = None
    for option in range(cost.shape[-1]):
        value = cost[:, None, ..., option] - by_price * work[:, None, ..., option]
        best = value if best is None else np.minimum(best, value)
    assert best is not None, "there is always full power"
    return best
