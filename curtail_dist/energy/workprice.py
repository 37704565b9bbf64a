"""What each site is to do now so that the work is done by the deadline for the least emissions.

A price of work, in grams a site-second, ties sites and hours together: at a price, each takes what is least
in emissions - price x work, and pays for joining. In one future the right price is where

    (least emissions at price p  -  p * work)  +  p * W

is greatest, which is the dual of the least emissions that do the work W by the deadline. Of several futures
each has a price; their mean is what a site-second of work saves, on average, if it is done now. At that price
the first slot of the plan says what is done; some minutes later, with new readings, all is planned anew.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.pace import paces
from curtail_dist.energy.policy import Advice, Wanted
from curtail_dist.energy.programme import Array, Programme, State
from curtail_dist.energy.slots import Slots
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import JOULES_PER_KWH, Seconds

MOST_TOGETHER = 300
"""Joint states up to which sites are weighed together. More sites than that decide each for itself, and take
it that some other one trains, too."""
_PRICES = 16
"""Prices tried side by side, in each of `_PASSES` passes."""
_PASSES = 3


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """One site, as it stands and as its grid may become."""

    futures: tuple[StepFunction, ...]
    """Its intensity from now on, in futures that are equally likely and the same ones for every site. The
    site is off where one is unknown."""
    power: PowerModel
    on: bool
    """Whether it joins or trains now."""
    joins_s: Seconds = 0.0
    """What is left of its joining."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """All that a plan rests on."""

    now: Seconds
    deadline_s: Seconds
    work_s: Seconds
    """Site-seconds of training at full speed that are left."""
    sites: Mapping[str, Prospect]
    join_s: Seconds
    pair_efficiency: float = 1.0
    """Share of the time in which a site trains while another does."""
    slot_s: Seconds = 300.0
    change_s: Seconds = 0.0
    """Seconds of training that a start must be worth beyond its cost: a commitment, against flapping."""


def advise(question: Question) -> Advice:
    """Plan, and return what the plan wants of each site now. Pure.

    Without a site that knows its intensity there is nothing to plan, and nothing is said of any.
    """
    if not question.sites:
        return Advice(price=0.0, wanted={})
    if question.work_s <= 0 or question.deadline_s - question.now < 1.0:
        late = "late" if question.work_s > 0 else "off"
        return Advice(
            price=math.inf if question.work_s > 0 else 0.0, wanted=dict.fromkeys(question.sites, late)
        )
    slots = Slots.widening(question.now, question.deadline_s, slot_s=question.slot_s, join_s=question.join_s)
    group = _Group.of(question, slots)
    prices = _prices(group, question)
    price = float(prices.mean())
    wanted = group.wanted(price, question.change_s)
    if prices.min() >= _highest_price(question):  # even all that there is does not do it
        price, wanted = math.inf, {name: _late(word) for name, word in wanted.items()}
    return Advice(price=price, wanted=wanted)


def _late(word: Wanted) -> Wanted:
    return "late" if word == "on" else word


def _prices(group: "_Group", question: Question) -> Array:
    """Return the price of work in each future, (K,): the least at which not less than the work is done."""
    futures = np.arange(group.futures)
    grid = np.repeat(np.geomspace(1e-4, 1.0, _PRICES)[:, None], group.futures, axis=1)
    grid *= _highest_price(question)
    below = above = np.zeros_like(futures)
    for narrowed in range(_PASSES):
        if narrowed:
            grid = np.linspace(grid[below, futures], grid[above, futures], _PRICES)
        dual = group.least(grid, question.change_s) + grid * question.work_s
        best = dual.argmax(axis=0)
        below, above = np.maximum(best - 1, 0), np.minimum(best + 1, _PRICES - 1)
    return grid[above, futures]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The sites of a question, as a programme: weighed together, or each for itself.

    Each for itself, the scenarios of the programme are the futures of the first site, then of the second...
    """

    names: tuple[str, ...]
    programme: Programme
    befores: tuple[State, ...]
    """The joint state before the first slot, or one for each site."""
    futures: int

    @classmethod
    def of(cls, question: Question, slots: Slots) -> "_Group":
        sites, efficiency = question.sites, question.pair_efficiency
        grids = [
            [Grid(intensity=future, power=site.power) for future in site.futures] for site in sites.values()
        ]
        before = [slots.local(on=site.on, joins_s=site.joins_s) for site in sites.values()]
        if (slots.training + 1) ** len(sites) <= MOST_TOGETHER:
            programme = Programme.of(list(zip(*grids, strict=True)), slots, efficiency=efficiency)
            befores: tuple[State, ...] = (tuple(before),)
        else:
            each = [(grid,) for futures in grids for grid in futures]
            programme = Programme.of(each, slots, efficiency=efficiency, accompanied=True)
            befores = tuple((own,) for own in before)
        return cls(names=tuple(sites), programme=programme, befores=befores, futures=len(grids[0]))

    def least(self, prices: Array, change_s: Seconds) -> Array:
        """Return the least of emissions - price x work of all sites, by price and future, (P, K)."""
        each = np.tile(prices, (1, len(self.befores)))
        values, _ = self.programme.to_go(each, change_s=change_s)
        split = values.reshape(len(prices), len(self.befores), self.futures, *values.shape[2:])
        return sum(
            (split[:, part, :, *before] for part, before in enumerate(self.befores)),
            start=np.zeros_like(prices),
        )

    def wanted(self, price: float, change_s: Seconds) -> dict[str, Wanted]:
        """Return what the first slot of the plan at a price wants of each site."""
        _, rest = self.programme.to_go(np.array([[price]]), change_s=change_s)
        split = rest[0].reshape(len(self.befores), self.futures, *rest[0].shape[2:]).mean(axis=1)
        found: list[Wanted] = []
        for part, before in enumerate(self.befores):

            def value(way: State, part: int = part, before: State = before) -> float:
                return float(split[part, *way]) + price * change_s * _starts(before, way)

            state = min(self.programme.ways_on(before, 0), key=value)
            found += self._words(price, part, state)
        return dict(zip(self.names, found, strict=True))

    def _words(self, price: float, part: int, state: State) -> list[Wanted]:
        futures = slice(part * self.futures, (part + 1) * self.futures)
        cost = self.programme.cost[0, futures, *state].mean(axis=0)
        work = self.programme.work[0, futures, *state].mean(axis=0)
        option = self.programme.options[int(np.argmin(cost - price * work))]
        return [
            "off" if own == 0 else "capped" if pace else "on" for own, pace in zip(state, option, strict=True)
        ]


def _starts(before: State, after: State) -> int:
    return sum(1 for own, then in zip(before, after, strict=True) if own == 0 and then != 0)


def _highest_price(question: Question) -> float:
    """Return a price beyond which any known slot is worth training in."""
    highest = max(max(future.values) for site in question.sites.values() for future in site.futures)
    watts = max(pace.watts for site in question.sites.values() for pace in paces(site.power))
    return 20.0 * (highest + 1.0) * (watts + 1.0) / JOULES_PER_KWH
