import pytest

from curtail_dist.energy.meters import MeterUnavailable
from curtail_dist.energy.meters.area import Area
from curtail_dist.energy.meters.rising import Rising


def rising(**keys):
    return Rising(what="the counters", **keys)


def test_a_counter_that_falls_was_reset_and_its_energy_since_is_unknown():
    counter = rising()
    assert counter.advance({"a": 100.0}, 0.0) == 0.0
    assert counter.advance({"a": 130.0}, 10.0) == 30.0
    with pytest.raises(MeterUnavailable, match="a fell from 130 to 20 J"):
        counter.advance({"a": 20.0}, 20.0)
    assert counter.advance({"a": 25.0}, 30.0) == 35.0


def test_a_counter_that_goes_and_comes_back_does_not_bring_its_whole_life():
    counter = rising()
    counter.advance({"a": 100.0, "b": 1e9}, 0.0)
    with pytest.raises(MeterUnavailable, match=r"are now a; before they were a, b"):
        counter.advance({"a": 110.0}, 10.0)
    assert counter.advance({"a": 115.0}, 20.0) == 5.0
    with pytest.raises(MeterUnavailable):
        counter.advance({"a": 120.0, "b": 1e9}, 30.0)
    assert counter.advance({"a": 121.0, "b": 1e9 + 2}, 40.0) == 8.0


def test_a_counter_that_stands_still_for_long_is_not_a_machine_that_draws_nothing():
    counter = rising(max_gap_s=60.0)
    counter.advance({"a": 5.0}, 0.0)
    assert counter.advance({"a": 5.0}, 50.0) == 0.0
    with pytest.raises(MeterUnavailable, match="stood still for 100 s"):
        counter.advance({"a": 5.0}, 100.0)
    assert counter.advance({"a": 6.0}, 110.0) == 1.0


@pytest.mark.parametrize("adds_up", [rising(), Area(what="the powers", max_gap_s=60.0)])
@pytest.mark.parametrize("values", [{}, {"a": float("nan")}, {"a": float("inf")}, {"a": -1.0}])
def test_what_is_no_energy_and_no_power_is_unknown(adds_up, values):
    with pytest.raises(MeterUnavailable):
        adds_up.advance(values, 0.0)


def test_powers_count_as_the_trapezoids_between_readings():
    area = Area(what="the powers", max_gap_s=60.0)
    assert area.advance({"a": 100.0, "b": 10.0}, 0.0) == 0.0
    assert area.advance({"a": 200.0, "b": 10.0}, 10.0) == 1600.0
    assert area.advance({"a": 0.0, "b": 10.0}, 40.0) == 1600.0 + 30 * 110.0


def test_over_a_gap_a_power_is_unknown_and_its_energy_in_no_total():
    area = Area(what="the powers", max_gap_s=60.0)
    area.advance({"a": 100.0}, 0.0)
    with pytest.raises(MeterUnavailable, match="not read for 61 s"):
        area.advance({"a": 100.0}, 61.0)
    assert area.advance({"a": 100.0}, 71.0) == 1000.0
    with pytest.raises(MeterUnavailable, match="are now b"):
        area.advance({"b": 100.0}, 81.0)
