import math
import random
from dataclasses import replace
from itertools import product

import pytest

from curtail_dist.energy.emissions import Grid, Interval, PowerModel, account
from curtail_dist.energy.oracle import optimum
from curtail_dist.energy.stepfunction import StepFunction

SLOT = 100.0
POWER = PowerModel(train_w=2000.0, idle_w=500.0, join_w=600.0, sync_w=400.0)


def grid(values, step=SLOT, power=POWER):
    return Grid(
        intensity=StepFunction(edges=tuple(i * step for i in range(len(values) + 1)), values=tuple(values)),
        power=power,
    )


def on_periods(row, least):
    """Return the slots [first, last) of a row of on and off, or None where one is too short to join in."""
    spans, first = [], None
    for slot, on in enumerate((*row, 0)):
        if on and first is None:
            first = slot
        elif not on and first is not None:
            spans.append((first, slot))
            first = None
    return spans if all(last - first >= least for first, last in spans) else None


def every_schedule(sites, slots, join_s, efficiency):
    """Return (kg, work) of every schedule on the slots, by accounting for its phases one by one."""
    least = math.ceil(join_s / SLOT)
    rows = [spans for row in product((0, 1), repeat=slots) if (spans := on_periods(row, least)) is not None]
    found = []
    for chosen in product(rows, repeat=len(sites)):
        training = [
            [(max(a * SLOT + join_s, s * SLOT), (s + 1) * SLOT) for a, b in spans for s in range(a, b)]
            for spans in chosen
        ]
        training = [[(low, high) for low, high in spans if high > low] for spans in training]
        kg = work = 0.0
        for index, (site, spans) in enumerate(zip(sites, chosen, strict=True)):
            joins = [Interval(start=a * SLOT, stop=a * SLOT + join_s, phase="join") for a, _ in spans]
            kg += account(joins, site.power, site.intensity).emissions_kg
            for low, high in training[index]:
                slot = math.floor(low / SLOT)
                others = sum(
                    any(math.floor(a / SLOT) == slot for a, _ in t)
                    for i, t in enumerate(training)
                    if i != index
                )
                share = efficiency if others else 1.0
                for phase, part in (("train", share), ("sync", 1 - share)):
                    whole = [Interval(start=low, stop=high, phase=phase)]
                    kg += part * account(whole, site.power, site.intensity).emissions_kg
                work += share * (high - low)
        found.append((kg, work))
    return found


def lower_hull(found, work):
    """Return the least kg of any mixture of two schedules that does the work."""
    best = min((kg for kg, done in found if done >= work - 1e-9), default=math.inf)
    below = [(kg, done) for kg, done in found if done < work]
    above = [(kg, done) for kg, done in found if done >= work]
    for (kg_a, done_a), (kg_b, done_b) in product(below, above):
        best = min(best, kg_a + (kg_b - kg_a) * (work - done_a) / (done_b - done_a))
    return best


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("join_s", [0.0, 60.0, 100.0, 130.0])
def test_one_site_s_bound_is_that_of_all_its_schedules(seed, join_s):
    chance = random.Random(seed)
    site = grid([chance.choice((0.0, 20.0, 80.0, 300.0)) for _ in range(8)])
    found = every_schedule([site], 8, join_s, 1.0)
    for work in (30.0, 170.0, 400.0):
        best = optimum({"a": site}, work_s=work, deadline_s=800.0, join_s=join_s, slot_s=SLOT)
        assert best is not None
        assert best.emissions_kg == pytest.approx(lower_hull(found, work), abs=1e-9)
        assert best.emissions_kg <= best.schedule_kg + 1e-12
        assert best.schedule_work_s >= work - 1e-6
        assert any(
            kg == pytest.approx(best.schedule_kg) and done == pytest.approx(best.schedule_work_s)
            for kg, done in found
        )


@pytest.mark.parametrize("efficiency", [1.0, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_two_sites_bound_is_that_of_all_their_schedules(seed, efficiency):
    chance = random.Random(seed)
    sites = {name: grid([chance.choice((5.0, 40.0, 250.0)) for _ in range(4)]) for name in "ab"}
    found = every_schedule(list(sites.values()), 4, 60.0, efficiency)
    for work in (90.0, 250.0, 410.0):
        best = optimum(
            sites, work_s=work, deadline_s=400.0, join_s=60.0, slot_s=SLOT, pair_efficiency=efficiency
        )
        assert best is not None
        assert best.pair_efficiency == efficiency
        assert best.emissions_kg == pytest.approx(lower_hull(found, work), abs=1e-9)


def test_the_schedule_of_the_bound_is_what_is_accounted_for():
    site = grid([300.0, 20.0, 20.0, 20.0, 300.0, 200.0, 200.0, 300.0])
    best = optimum({"a": site}, work_s=240.0, deadline_s=800.0, join_s=60.0, slot_s=SLOT)
    assert best is not None
    assert best.schedule == {"a": [(100.0, 400.0)]}
    done = [Interval(start=100, stop=160, phase="join"), Interval(start=160, stop=400, phase="train")]
    assert best.schedule_kg == pytest.approx(account(done, POWER, site.intensity).emissions_kg)


def test_work_that_does_not_fit_has_no_optimum():
    site = grid([10.0] * 4)
    assert optimum({"a": site}, work_s=341.0, deadline_s=400.0, join_s=60.0, slot_s=SLOT) is None
    assert optimum({"a": site}, work_s=340.0, deadline_s=400.0, join_s=60.0, slot_s=SLOT) is not None


def test_without_a_planned_period_there_is_no_optimum():
    assert optimum({"a": grid([10.0])}, work_s=1.0, deadline_s=0.0, join_s=60.0) is None


def test_a_planned_period_shorter_than_a_slot_is_one_slot():
    best = optimum({"a": grid([10.0])}, work_s=30.0, deadline_s=60.0, join_s=0.0, slot_s=SLOT)
    assert best is not None
    assert best.schedule == {"a": [(0.0, 60.0)]}


def test_no_work_emits_nothing():
    best = optimum({"a": grid([10.0] * 4)}, work_s=0.0, deadline_s=400.0, join_s=60.0, slot_s=SLOT)
    assert best is not None
    assert best.emissions_kg == 0.0


def test_a_site_is_off_where_its_intensity_is_unknown():
    late = Grid(intensity=StepFunction(edges=(200.0, 400.0), values=(0.0,)), power=POWER)
    best = optimum({"a": late}, work_s=200.0, deadline_s=400.0, join_s=0.0, slot_s=SLOT)
    assert best is not None
    assert best.schedule == {"a": [(200.0, 400.0)]}
    assert optimum({"a": late}, work_s=201.0, deadline_s=400.0, join_s=0.0, slot_s=SLOT) is None


@pytest.mark.parametrize("watts", [{"join_w": 0.0}, {"idle_w": 0.0, "sync_w": 0.0}, {"train_w": 0.0}])
def test_a_site_that_draws_nothing_is_off_too_where_its_intensity_is_unknown(watts):
    early = Grid(intensity=StepFunction(edges=(0.0, 250.0), values=(10.0,)), power=replace(POWER, **watts))
    sites = {"a": early, "b": early}
    best = optimum(sites, work_s=80.0, deadline_s=400.0, join_s=60.0, slot_s=SLOT, pair_efficiency=0.8)
    assert best is not None
    assert all(stop <= 200.0 for periods in best.schedule.values() for _, stop in periods)
    assert optimum({"a": early}, work_s=141.0, deadline_s=400.0, join_s=60.0, slot_s=SLOT) is None


def test_a_deadline_off_the_slots_is_used_to_the_end():
    best = optimum({"a": grid([10.0] * 4)}, work_s=350.0, deadline_s=350.0, join_s=0.0, slot_s=SLOT)
    assert best is not None
    assert best.schedule == {"a": [(0.0, 350.0)]}


def _bound(values, *, work=300.0, deadline=800.0, join=60.0, efficiency=1.0):
    sites = {"a": grid(values), "b": grid(values[::-1])}
    best = optimum(
        sites, work_s=work, deadline_s=deadline, join_s=join, slot_s=SLOT, pair_efficiency=efficiency
    )
    assert best is not None
    return best.emissions_kg


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_grows_with_work_and_joining_and_falls_with_time_and_efficiency(seed):
    chance = random.Random(seed)
    values = [chance.uniform(0, 500) for _ in range(8)]
    slack = 1e-12
    works = [_bound(values, work=work) for work in (100.0, 300.0, 500.0, 900.0)]
    assert works == sorted(works)
    assert _bound(values, join=90.0) >= _bound(values, join=30.0) - slack
    assert _bound(values, deadline=500.0) >= _bound(values, deadline=800.0) - slack
    assert _bound(values, efficiency=0.7) >= _bound(values, efficiency=1.0) - slack


def test_rows_that_do_not_fall_on_slots_from_run_time_0_are_taken_as_they_are():
    values = [500.0, 10.0, 500.0, 500.0, 10.0, 500.0, 10.0, 500.0]
    edges = (0.0, *(37.0 + SLOT * index for index in range(len(values))))
    site = Grid(intensity=StepFunction(edges=edges, values=tuple(values)), power=POWER)
    found = optimum({"a": site}, work_s=3 * SLOT, deadline_s=edges[-1], join_s=0.0, slot_s=SLOT)
    assert found is not None
    clean = [Interval(start=37.0 + SLOT * at, stop=137.0 + SLOT * at, phase="train") for at in (0, 3, 5)]
    least = account(clean, POWER, site.intensity).emissions_kg
    assert found.emissions_kg == pytest.approx(least)
    assert found.schedule_kg == pytest.approx(least)
    assert found.schedule["a"] == [(i.start, i.stop) for i in clean]
    assert found.exact


def test_a_window_before_the_first_row_is_not_given_away():
    site = Grid(intensity=StepFunction(edges=(0.0, 237.0, 1000.0), values=(10.0, 500.0)), power=POWER)
    found = optimum({"a": site}, work_s=2 * SLOT, deadline_s=1000.0, join_s=0.0, slot_s=SLOT)
    assert found is not None
    assert found.schedule["a"] == [(0.0, 2 * SLOT)]
    assert found.exact
