"""The optimum's search against a mixed-integer programme of the same day, solved by HiGHS."""

import random

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.oracle import optimum
from curtail_dist.energy.stepfunction import StepFunction

SLOT = 300.0
POWER = PowerModel(train_w=2024.0, idle_w=468.0, join_w=600.0, sync_w=500.0)


class Programme:
    """Variables by name and index, rows of constraints, and a cost."""

    def __init__(self):
        self.names, self.rows, self.low, self.high = {}, [], [], []

    def variable(self, *name):
        return self.names.setdefault(name, len(self.names))

    def require(self, terms, low=-np.inf, high=np.inf):
        self.rows.append(terms)
        self.low.append(low)
        self.high.append(high)

    def solve(self, cost, integral):
        size = len(self.names)
        matrix = np.zeros((len(self.rows), size))
        for row, terms in enumerate(self.rows):
            for name, factor in terms:
                matrix[row, self.names[name]] += factor
        costs, whole, top = np.zeros(size), np.zeros(size), np.ones(size)
        for name, factor in cost:
            costs[self.names[name]] += factor
        for name, index in self.names.items():
            whole[index] = name[0] in integral
            top[index] = SLOT if name[0] in ("train", "shared") else 1.0
        found = milp(
            costs,
            integrality=whole,
            bounds=Bounds(np.zeros(size), top),
            constraints=LinearConstraint(matrix, self.low, self.high),
            options={"mip_rel_gap": 0.0},
        )
        return found.fun if found.success else None


def cheapest_kg(values, *, work_s, join_s, efficiency):
    """Return the least kg of any schedule on the slots that does the work; None where it does not fit."""
    p, cost = Programme(), []
    sites, slots = range(len(values)), range(len(values[0]))
    joins = [min(max(join_s - k * SLOT, 0.0), SLOT) for k in range(int(np.ceil(join_s / SLOT)))]
    for s in sites:
        for t in slots:
            for kind in ("on", "start", "train", "shared"):
                p.variable(kind, s, t)
            before = [(("on", s, t - 1), 1.0)] if t else []
            p.require([(("start", s, t), 1.0), (("on", s, t), -1.0), *before], low=0.0)
            p.require([(("start", s, t), 1.0), (("on", s, t), -1.0)], high=0.0)
            p.require([(("start", s, t), 1.0), *before], high=1.0)
            begun = [(k, ("start", s, t - k)) for k in range(len(joins)) if t - k >= 0]
            for _, start in begun:  # who joins stays until it has joined
                p.require([(("on", s, t), 1.0), (start, -1.0)], low=0.0)
            p.require(
                [(("train", s, t), 1.0), (("on", s, t), -SLOT), *((start, joins[k]) for k, start in begun)],
                low=0.0,
                high=0.0,
            )
            grams = values[s][t] / 3.6e6
            cost += [(start, joins[k] * POWER.join_w * grams) for k, start in begun]
            cost.append((("train", s, t), POWER.train_w * grams))
            cost.append((("shared", s, t), (1 - efficiency) * (POWER.sync_w - POWER.train_w) * grams))
    for t in slots:
        p.variable("pair", t)
        trains = []
        for s in sites:
            trains.append((("on", s, t), 1.0))
            trains += [
                (("start", s, t - k), -1.0) for k, join in enumerate(joins) if join == SLOT and t - k >= 0
            ]
        p.require([(("pair", t), float(len(values))), *((name, -f) for name, f in trains)], low=-1.0)
        p.require([(("pair", t), 2.0), *((name, -f) for name, f in trains)], high=0.0)
        for s in sites:
            p.require([(("shared", s, t), 1.0), (("pair", t), -SLOT)], high=0.0)
            p.require([(("shared", s, t), 1.0), (("train", s, t), -1.0)], high=0.0)
            p.require([(("shared", s, t), 1.0), (("train", s, t), -1.0), (("pair", t), -SLOT)], low=-SLOT)
    everything = [(("train", s, t), 1.0) for s in sites for t in slots]
    everything += [(("shared", s, t), efficiency - 1) for s in sites for t in slots]
    p.require(everything, low=work_s)
    grams = p.solve(cost, integral=("on", "start", "pair"))
    return None if grams is None else grams / 1000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("sites", "efficiency"), [(1, 1.0), (2, 1.0), (2, 0.8), (3, 0.8)])
def test_the_optimum_s_schedule_is_that_of_the_mixed_integer_programme(seed, sites, efficiency):
    chance = random.Random(100 * sites + seed)
    slots = 14 if sites < 3 else 8
    values = [
        [chance.choice((10.0, 60.0, 300.0, 450.0)) + chance.random() for _ in range(slots)]
        for _ in range(sites)
    ]
    join_s = chance.choice((0.0, 150.0, 345.0))
    work_s = chance.uniform(0.2, 0.6) * sites * slots * SLOT * efficiency
    grids = {
        str(site): Grid(
            intensity=StepFunction(edges=tuple(SLOT * t for t in range(slots + 1)), values=tuple(row)),
            power=POWER,
        )
        for site, row in enumerate(values)
    }
    best = optimum(grids, work_s=work_s, deadline_s=slots * SLOT, join_s=join_s, pair_efficiency=efficiency)
    expected = cheapest_kg(values, work_s=work_s, join_s=join_s, efficiency=efficiency)
    assert (best is None) == (expected is None)
    if best is not None:
        assert best.exact
        assert best.emissions_kg <= best.schedule_kg + 1e-12
        assert best.schedule_kg == pytest.approx(expected, rel=1e-6)
