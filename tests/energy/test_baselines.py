import pytest

from curtail_dist.energy.baselines import all_baselines, always_on, always_on_pair, reference_kg
from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import TraceError

POWER = PowerModel(train_w=2000.0, idle_w=500.0, join_w=500.0, sync_w=500.0)
GREEN_FIRST = Grid(intensity=StepFunction(edges=(0.0, 3600.0, 7200.0), values=(50.0, 200.0)), power=POWER)
BROWN = Grid(intensity=StepFunction(edges=(0.0, 7200.0), values=(400.0,)), power=POWER)
LATE = Grid(intensity=StepFunction(edges=(600.0, 7200.0), values=(10.0,)), power=POWER)


def test_one_site_trains_the_work_without_a_break():
    found = always_on("a", GREEN_FIRST, 5400.0, threshold=100.0)
    assert found.hours == 1.5
    assert found.energy_kwh == pytest.approx(3.0)
    assert found.emissions_kg == pytest.approx((2.0 * 50 + 1.0 * 200) / 1000)
    assert found.share_in_window == pytest.approx(2 / 3)


def test_a_pair_takes_longer_than_half_and_draws_less_while_it_exchanges():
    found = always_on_pair({"a": GREEN_FIRST, "b": BROWN}, 5760.0, efficiency=0.8, threshold=100.0)
    assert found.hours == pytest.approx(1.0)
    watts = 0.8 * 2000 + 0.2 * 500
    assert found.energy_kwh == pytest.approx(2 * watts / 1000)
    assert found.emissions_kg == pytest.approx(watts / 1000 * (50 + 400) / 1000)


def test_work_that_outlasts_the_trace_has_no_baseline():
    with pytest.raises(TraceError, match=r"a is known from 0.00 h to 2.00 h.*2.50 h: give a longer trace"):
        always_on("a", GREEN_FIRST, 9000.0)


def test_missing_baselines_come_with_their_reason():
    found, missing = all_baselines({"a": GREEN_FIRST, "b": BROWN, "c": LATE}, 7200.0)
    assert set(found) == {"a", "b", "a+b"}
    assert set(missing) == {"c", "a+c", "b+c"}
    assert "longer trace" in missing["c"]


def test_the_reference_is_the_mean_of_the_single_sites():
    found, _ = all_baselines({"a": GREEN_FIRST, "b": BROWN}, 3600.0)
    assert reference_kg(found) == pytest.approx((0.1 + 0.8) / 2)
    assert reference_kg({}) is None
