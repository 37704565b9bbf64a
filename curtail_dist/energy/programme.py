"""What schedules of some sites cost and do at given prices of work: a dynamic programme over slots of time.

A joint state is one local state for each site (`slots.py`). What a slot costs and does depends on its joint
state, so the least over all ways on is taken one site after the other.

Several futures are solved side by side (scenarios), and several prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.pace import paces
from curtail_dist.energy.slots import Slots
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import JOULES_PER_KWH, Grams, Seconds

Array = NDArray[np.float64]
State = tuple[int, ...]
"""One local state a site."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A schedule of a group of sites."""

    cost: Grams
    work: Seconds
    states: tuple[State, ...]
    """By slot."""
    exact: bool = False
    """Whether it is known that no schedule on the slots does the work for less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Programme:
    """Sites and slots, ready to be solved at any price."""

    slots: Slots
    efficiency: float
    """Share of a slot that a site trains while another does; else it exchanges."""
    local: tuple["_Site", ...]
    """The sites whose states are open."""
    company: "_Company"
    """What goes on besides, whatever these sites do."""

    @classmethod
    def of(
        cls,
        scenarios: Sequence[Sequence[Grid]],
        slots: Slots,
        *,
        efficiency: float,
        accompanied: bool = False,
    ) -> Self:
        """Prepare sites.

        Args:
            scenarios: Equally likely futures, each with intensity and power of every site.
            slots: The slots.
            efficiency: Share of a slot that a site trains while another does; else it exchanges.
            accompanied: Whether some site besides these trains all the time; it costs and does nothing here.
        """
        local = [_Site.of([future[site] for future in scenarios], slots) for site in range(len(scenarios[0]))]
        nothing = np.zeros((len(slots.edges) - 1, len(scenarios)))
        company = _Company(
            trains=nothing + accompanied, join_g=nothing, train_g=nothing, sync_g=nothing, work_s=nothing
        )
        return cls(slots=slots, efficiency=efficiency, local=tuple(local), company=company)

    def part(self, free: Sequence[int], states: Sequence[State], *, price: float) -> "Programme":
        """Return the programme of the sites `free` alone, while the others do as in a schedule.

        What those cost and do is in every joint state of the part, so that its schedules can be compared with
        the whole one.

        Args:
            free: Indices of sites; none of them leaves what the schedule itself comes to.
            states: The schedule, a joint state of all sites for each slot.
            price: Grams a site-second, at which the others choose their pace.
        """
        own = np.array(states, dtype=np.int64).reshape(len(states), len(self.local))
        company = self.company
        for site, local in enumerate(self.local):
            if site not in free:
                company = company.joined(local, own[:, site], price)
        local = tuple(self.local[site] for site in free)
        return Programme(slots=self.slots, efficiency=self.efficiency, local=local, company=company)

    @cached_property
    def options(self) -> list[State]:
        """The pace of each site (an index into `paces`), by the last axis of cost and work."""
        return list(product(*(range(len(site.watts)) for site in self.local)))

    @property
    def cost(self) -> Array:
        """Emissions in g, by slot, scenario, joint state, and pace of each site; infinite where unknown."""
        return self._table[0]

    @property
    def work(self) -> Array:
        """Site-seconds of training at full speed, likewise."""
        return self._table[1]

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        company = self.company
        size = (*company.trains.shape, *self._shape, len(self.options))
        costs, works = np.zeros(size), np.zeros(size)
        for state in product(range(self.slots.training + 1), repeat=len(self.local)):
            busy = [(index, self.local[index], own) for index, own in enumerate(state) if own]
            training = sum((site.train_s[own] > 0 for _, site, own in busy), start=company.trains)
            share = np.where(training >= 2, self.efficiency, 1.0)
            base_g, base_s = company.at(share)
            for number, option in enumerate(self.options):
                here = (slice(None), slice(None), *state, number)
                costs[here], works[here] = base_g, base_s
                for index, site, own in busy:
                    cost, work = site.at(own, option[index], share)
                    costs[here] += cost
                    works[here] += work
        return costs, works

    @property
    def _shape(self) -> State:
        return (self.slots.training + 1,) * len(self.local)

    def to_go(self, prices: Array, *, change_s: Seconds = 0.0) -> tuple[Array, list[Array]]:
        """Return what is least in emissions - price x work, from the begin and from each slot on.

        Args:
            prices: Grams a site-second, (P, 1), or (P, scenarios) where each has its own.
            change_s: Seconds of training, valued at the price, that a start is charged besides.

        Returns:
            From the begin by state before it, (P, scenarios, *state); and for each slot, with this
            slot in a joint state and the best after it, the same shape.
        """
        sites = len(self.local)
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

    def best(self, price: float) -> Plan:
        """Return the schedule that is least in emissions - price x work, beginning with every site off.

        Of one scenario, the only one; so does `reckoned`.
        """
        _, rest = self.to_go(np.array([[price]]))
        state, states = (0,) * len(self.local), list[State]()
        for slot, onwards in enumerate(rest):
            state = min(self.ways_on(state, slot), key=lambda way: onwards[0, 0, *way])
            states.append(state)
        return self.reckoned(states, price)

    def reckoned(self, states: Sequence[State], price: float) -> Plan:
        """Return what a schedule comes to, with the pace of each site that suits the price."""
        settled = self.part((), states, price=price)
        return Plan(cost=float(settled.cost.sum()), work=float(settled.work.sum()), states=tuple(states))

    def ways_on(self, state: State, slot: int) -> list[State]:
        """Return the joint states in `slot` that may follow `state` in the slot before."""
        following = self.slots.following[slot]
        return list(product(*((0, following[own]) for own in state)))


@dataclass(frozen=True, kw_only=True)
class _Site:
    """One site, or one for each scenario: arrays by local state, slot and scenario."""

    join_g: Array
    """What joining emits; infinite where the slot is not all known, whatever is drawn in it."""
    grid_g: Array
    """What a watt drawn over the trained part emits, as far as is known."""
    train_s: Array
    sync_w: Array
    """By scenario."""
    watts: Array
    speed: Array
    """By pace and scenario."""

    @classmethod
    def of(cls, futures: Sequence[Grid], slots: Slots) -> Self:
        starts, stops = np.array(slots.edges[:-1]), np.array(slots.edges[1:])
        joins_s = np.array([slots.joins_s(own) for own in range(slots.training + 1)])
        middle = np.minimum(starts + joins_s[:, None], stops)
        integrals = [_Integrals(future.intensity, slots.edges[0], slots.edges[-1]) for future in futures]
        ways = [paces(future.power) for future in futures]
        most = max(len(way) for way in ways)
        padded = [[*way, *[way[0]] * (most - len(way))] for way in ways]
        join_w = np.array([future.power.join_w for future in futures])
        known = np.stack([each.known(starts, stops) for each in integrals], axis=1)
        before = np.stack([each.over(starts, middle) for each in integrals], axis=2)
        after = np.stack([each.over(middle, stops) for each in integrals], axis=2)
        return cls(
            join_g=np.where(known, before * (join_w / JOULES_PER_KWH), np.inf),
            grid_g=after / JOULES_PER_KWH,
            train_s=np.repeat((stops - middle)[:, :, None], len(futures), axis=2),
            sync_w=np.array([future.power.sync_w for future in futures]),
            watts=np.array([[pace.watts for pace in way] for way in padded]).T,
            speed=np.array([[pace.speed for pace in way] for way in padded]).T,
        )

    def at(self, own: int, pace: int, share: Array) -> tuple[Array, Array]:
        """Return emissions and work in a local state while it trains for `share` of the time."""
        drawn = share * self.watts[pace] + (1 - share) * self.sync_w
        return self.join_g[own] + drawn * self.grid_g[own], share * self.speed[pace] * self.train_s[own]


@dataclass(frozen=True, kw_only=True)
class _Company:
    """What other sites do, whatever is open: sums over them, by slot and scenario."""

    trains: Array
    """How many train."""
    join_g: Array
    train_g: Array
    """Emissions of training for all of the time in which they train or exchange, and of exchanging."""
    sync_g: Array
    work_s: Array
    """Site-seconds at full speed that training for all of that time would be."""

    def joined(self, site: _Site, own: NDArray[np.int64], price: float) -> "_Company":
        """Return what it is with one site more, which is in these states and whose pace suits the price."""
        rows = np.arange(len(own))
        on = (own > 0)[:, None]

        def there(values: Array) -> Array:
            return np.where(on, values[own, rows], 0.0)

        grid_g, train_s = there(site.grid_g), there(site.train_s)
        by_pace = site.watts[:, None] * grid_g - price * site.speed[:, None] * train_s
        pace = by_pace.argmin(axis=0)
        scenario = np.arange(len(site.sync_w))
        return _Company(
            trains=self.trains + (train_s > 0),
            join_g=self.join_g + there(site.join_g),
            train_g=self.train_g + site.watts[pace, scenario] * grid_g,
            sync_g=self.sync_g + site.sync_w * grid_g,
            work_s=self.work_s + site.speed[pace, scenario] * train_s,
        )

    def at(self, share: Array) -> tuple[Array, Array]:
        """Return emissions and work while they train for `share` of the time."""
        return self.join_g + share * self.train_g + (1 - share) * self.sync_g, share * self.work_s


class _Integrals:
    """Of what is known of a series between two moments."""

    def __init__(self, series: StepFunction, start: Seconds, stop: Seconds) -> None:
        self._series = series
        known = series.clipped(start - 1.0, stop + 1.0)
        self._edges = np.array([start] if known is None else known.edges)
        values: Array = np.array([] if known is None else known.values)
        self._sums = np.concatenate([[0.0], np.cumsum(np.diff(self._edges) * values)])

    def known(self, starts: Array, stops: Array) -> NDArray[np.bool_]:
        """Return whether all of each [start, stop) is known."""
        return (starts >= self._series.start) & (stops <= self._series.end)

    def over(self, starts: Array, stops: Array) -> Array:
        """Return the integral over what is known of each [start, stop)."""
        return np.interp(stops, self._edges, self._sums) - np.interp(starts, self._edges, self._sums)


def _least_option(cost: Array, work: Array, by_price: Array) -> Array:
    """Return cost - price x work of the best pace, (slots, P, scenarios, *state)."""
    best: Array | None = None
    for option in range(cost.shape[-1]):
        value = cost[:, None, ..., option] - by_price * work[:, None, ..., option]
        best = value if best is None else np.minimum(best, value)
    assert best is not None, "there is always full power"
    return best
