"""What each site is to do now so that the work is done by the deadline for the least emissions.

A price of work, in grams a site-second, ties sites and hours together: at a price, each takes what is least
in emissions - price x work, and pays for joining. The price is right when the work that is left gets done by
the deadline, on average over the futures that are thought possible. It is looked for where

    mean over futures of  (least emissions - p * work)  +  p * W

is greatest, which is the dual of the least expected emissions. What the first slot of that plan wants is what
is done; some minutes later, with new readings, all is planned anew.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.pace import paces
from curtail_dist.energy.policy import Advice
from curtail_dist.energy.programme import Array, Programme, Slots, State
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
    """Plan, and return what the plan wants of each site now. Pure; some 50 ms for three sites."""
    if question.work_s <= 0 or question.deadline_s - question.now < 1.0:
        late = "on" if question.work_s > 0 else "off"
        return Advice(
            price=math.inf if question.work_s > 0 else 0.0, wanted=dict.fromkeys(question.sites, late)
        )
    slots = Slots.widening(question.now, question.deadline_s, slot_s=question.slot_s, join_s=question.join_s)
    groups = _groups(question, slots)
    prices = np.geomspace(1e-4, 1.0, _PRICES) * _highest_price(question)
    for _ in range(_PASSES - 1):
        best = int(np.argmax(_dual(groups, prices, question)))
        prices = np.linspace(prices[max(best - 1, 0)], prices[min(best + 1, _PRICES - 1)], _PRICES)
    best = int(np.argmax(_dual(groups, prices, question)))
    price = float(prices[min(best + 1, _PRICES - 1)])  # at this one, not less than the work is done
    wanted = {name: state for group in groups for name, state in group.wanted(price, question.change_s)}
    return Advice(price=price, wanted={name: wanted[name] for name in question.sites})


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Sites that are weighed together, or one of those that are not; by their programme's scenarios."""

    names: tuple[str, ...]
    programme: Programme
    befores: tuple[State, ...]
    """The joint state before the first slot, one for each part."""
    parts: int
    """Into how many equal parts the scenarios fall: one where the sites are weighed together, else each is
    the futures of one site."""

    def least(self, prices: Array, change_s: Seconds) -> Array:
        """Return the least of emissions - price x work, the mean over futures, (P,)."""
        values, _ = self.programme.to_go(prices, change_s=change_s)
        split = values.reshape(len(prices), self.parts, -1, *values.shape[2:])
        return sum(
            (split[:, part, :, *before].mean(axis=1) for part, before in enumerate(self.befores)),
            start=np.zeros(len(prices)),
        )

    def wanted(self, price: float, change_s: Seconds) -> list[tuple[str, str]]:
        """Return what the first slot of the plan at a price wants of each site."""
        _, rest = self.programme.to_go(np.array([price]), change_s=change_s)
        split = rest[0].reshape(self.parts, -1, *rest[0].shape[2:]).mean(axis=1)
        found: list[tuple[str, str]] = []
        for part, before in enumerate(self.befores):
            ways = self.programme.ways_on(before, 0)
            charge = price * change_s
            state = min(ways, key=lambda way: split[part, *way] + charge * _starts(before, way))
            names = self.names if self.parts == 1 else (self.names[part],)
            found += zip(names, self._words(price, part, state), strict=True)
        return found

    def _words(self, price: float, part: int, state: State) -> list[str]:
        futures = slice(part * self._futures, (part + 1) * self._futures)
        cost = self.programme.cost[0, futures, *state].mean(axis=0)
        work = self.programme.work[0, futures, *state].mean(axis=0)
        option = self.programme.options[int(np.argmin(cost - price * work))]
        return [
            "off" if own == 0 else ("on", "capped")[pace] for own, pace in zip(state, option, strict=True)
        ]

    @property
    def _futures(self) -> int:
        return self.programme.cost.shape[1] // self.parts


def _starts(before: State, after: State) -> int:
    return sum(1 for own, then in zip(before, after, strict=True) if own == 0 and then != 0)


def _groups(question: Question, slots: Slots) -> list[_Group]:
    sites = question.sites
    grids = {
        name: [Grid(intensity=future, power=site.power) for future in site.futures]
        for name, site in sites.items()
    }
    before = {name: slots.local(on=site.on, joins_s=site.joins_s) for name, site in sites.items()}
    if (slots.training + 1) ** len(sites) <= MOST_TOGETHER:
        scenarios = list(zip(*grids.values(), strict=True))
        programme = Programme(scenarios, slots, efficiency=question.pair_efficiency)
        return [_Group(names=tuple(sites), programme=programme, befores=(tuple(before.values()),), parts=1)]
    programme = Programme(
        [(grid,) for futures in grids.values() for grid in futures],
        slots,
        efficiency=question.pair_efficiency,
        accompanied=True,
    )
    befores = tuple((own,) for own in before.values())
    return [_Group(names=tuple(sites), programme=programme, befores=befores, parts=len(sites))]


def _highest_price(question: Question) -> float:
    """Return a price beyond which any known slot is worth training in."""
    highest = max(max(future.values) for site in question.sites.values() for future in site.futures)
    watts = max(pace.watts for site in question.sites.values() for pace in paces(site.power))
    return 20.0 * (highest + 1.0) * (watts + 1.0) / JOULES_PER_KWH


def _dual(groups: Sequence[_Group], prices: Array, question: Question) -> Array:
    least = [group.least(prices, question.change_s) for group in groups]
    return sum(least, start=prices * question.work_s)
