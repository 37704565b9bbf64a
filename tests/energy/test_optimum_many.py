"""The optimum of more sites than a price alone can divide the work among."""

import random
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from test_optimum_milp import POWER, SLOT, cheapest_kg

from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.oracle import optimum
from curtail_dist.energy.programme import Programme
from curtail_dist.energy.slots import Slots
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.synthetic import flat, solar_heavy, wind_heavy

DAY_H, JOIN_S = 30, 345.0
HOUR = 3600.0


def constant_sites(values):
    until = DAY_H * HOUR
    return {
        str(value): Grid(intensity=StepFunction(edges=(0.0, until), values=(float(value),)), power=POWER)
        for value in values
    }


def hourly_means(sites):
    """Return a day of synthetic grids as an hourly feed gives them."""
    start = datetime(2026, 3, 21, tzinfo=UTC)
    edges = tuple(HOUR * hour for hour in range(DAY_H + 1))
    found = {}
    for site in range(sites):
        make = (solar_heavy, wind_heavy, flat)[site % 3]
        series = make(days=2, seed=site + 1, start=start).series(start)
        means = tuple(series.integral(low, high) / HOUR for low, high in pairwise(edges))
        found[str(site)] = Grid(intensity=StepFunction(edges=edges, values=means), power=POWER)
    return found


def cleanest_first_kg(sites, work_s):
    """Return what the obvious schedule emits: the cleanest sites on throughout, the last one for the rest."""
    power, kg, left = POWER, 0.0, work_s
    for site in sites.values():
        slots = min(np.ceil((left + JOIN_S) / SLOT), DAY_H * HOUR / SLOT)
        trained = slots * SLOT - JOIN_S
        joules = JOIN_S * power.join_w + trained * power.train_w
        kg += joules / 3.6e6 * site.intensity.values[0] / 1000
        left -= trained
        if left <= 0:
            return kg
    raise AssertionError("the work does not fit")


@pytest.mark.parametrize(("sites", "work_h"), [(5, 10.0), (5, 45.0), (5, 130.0), (12, 45.0)])
def test_constant_sites_train_from_the_cleanest_on_and_do_no_more_than_they_must(sites, work_h):
    grids = constant_sites(60 + 20 * site for site in range(sites))
    best = optimum(grids, work_s=work_h * HOUR, deadline_s=DAY_H * HOUR, join_s=JOIN_S)
    assert best is not None
    assert best.schedule_kg <= cleanest_first_kg(grids, work_h * HOUR) * (1 + 1e-9)
    assert work_h * HOUR <= best.schedule_work_s + 1e-6
    assert best.schedule_work_s < work_h * HOUR + SLOT
    assert best.emissions_kg <= best.schedule_kg


def test_sites_that_are_all_alike_do_not_all_train_where_one_is_enough():
    grids = {str(site): grid for site in range(7) for grid in constant_sites([60]).values()}
    best = optimum(grids, work_s=4 * HOUR, deadline_s=8 * HOUR, join_s=JOIN_S, pair_efficiency=0.8)
    assert best is not None
    assert best.schedule_work_s < 4 * HOUR + SLOT
    assert best.schedule_kg < 1.02 * best.emissions_kg


@pytest.mark.parametrize("efficiency", [1.0, 0.8])
@pytest.mark.parametrize("work_h", [15.0, 45.0])
def test_a_day_of_five_sites_has_the_cheapest_schedule_or_one_close_to_its_bound(efficiency, work_h):
    best = optimum(
        hourly_means(5),
        work_s=work_h * HOUR,
        deadline_s=DAY_H * HOUR,
        join_s=JOIN_S,
        pair_efficiency=efficiency,
    )
    assert best is not None
    assert best.emissions_kg <= best.schedule_kg
    assert best.exact or best.schedule_kg <= 1.003 * best.emissions_kg
    assert 0 <= best.schedule_work_s - work_h * HOUR + 1e-6 < SLOT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sites", "efficiency"), [(5, 0.8), (7, 0.8), (12, 1.0)])
def test_the_schedule_of_many_sites_is_nearly_that_of_the_mixed_integer_programme(seed, sites, efficiency):
    chance, slots, join_s = random.Random(100 * sites + seed), 8, 150.0
    values = [
        [chance.choice((10.0, 60.0, 300.0, 450.0)) + chance.random() for _ in range(slots)]
        for _ in range(sites)
    ]
    work_s = chance.uniform(0.1, 0.6) * sites * slots * SLOT * efficiency
    edges = tuple(SLOT * t for t in range(slots + 1))
    grids = {
        str(site): Grid(intensity=StepFunction(edges=edges, values=tuple(row)), power=POWER)
        for site, row in enumerate(values)
    }
    best = optimum(grids, work_s=work_s, deadline_s=slots * SLOT, join_s=join_s, pair_efficiency=efficiency)
    least = cheapest_kg(values, work_s=work_s, join_s=join_s, efficiency=efficiency)
    assert best is not None
    assert best.emissions_kg <= least * (1 + 1e-6)
    assert least * (1 - 1e-6) <= best.schedule_kg <= 1.02 * least
    assert not best.exact or best.schedule_kg == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("efficiency", [1.0, 0.7])
def test_a_part_of_a_programme_costs_and_does_in_each_state_what_the_whole_does(efficiency):
    chance = random.Random(3)
    slots = Slots.even(0.0, 6 * SLOT, slot_s=SLOT, join_s=JOIN_S)
    capped = PowerModel(
        train_w=2000.0, idle_w=0.0, join_w=600.0, sync_w=400.0, capped_w=900.0, capped_speed=0.6
    )
    edges = tuple(SLOT * t for t in range(7))
    grids = [
        Grid(intensity=StepFunction(edges=edges, values=tuple(chance.choices(range(500), k=6))), power=power)
        for power in (POWER, capped, POWER)
    ]
    whole = Programme.of([grids], slots, efficiency=efficiency)
    price = 0.05
    plan = whole.best(price)
    part = whole.part((2,), plan.states, price=price)
    value = (whole.cost - price * whole.work).min(axis=-1)
    own = (part.cost - price * part.work).min(axis=-1)
    for slot, (first, second, _) in enumerate(plan.states):
        assert own[slot, 0] == pytest.approx(value[slot, 0, first, second])
    at_price = sum(value[slot, 0, *state] for slot, state in enumerate(plan.states))
    assert plan.cost - price * plan.work == pytest.approx(at_price)
