import pytest

from curtail_dist.config import PowerConfig
from curtail_dist.energy.emissions import Grid, Interval, PowerModel, account
from curtail_dist.energy.stepfunction import StepFunction

POWER = PowerModel(train_w=2000.0, idle_w=500.0, join_w=600.0, sync_w=400.0)
INTENSITY = StepFunction(edges=(0.0, 3600.0, 7200.0), values=(50.0, 200.0))


def during(start, stop, phase):
    return Interval(start=start, stop=stop, phase=phase)


def test_emissions_are_power_times_intensity_in_every_phase():
    done = account(
        [
            during(0, 900, "join"),
            during(900, 5400, "train"),
            during(5400, 6300, "sync"),
            during(6300, 7200, "idle"),
        ],
        POWER,
        INTENSITY,
        threshold=100.0,
    )
    assert done.energy_kwh == pytest.approx({"join": 0.15, "train": 2.5, "sync": 0.1, "idle": 0.125})
    grams = 0.15 * 50 + 1.5 * 50 + 1.0 * 200 + 0.1 * 200 + 0.125 * 200
    assert done.emissions_kg == pytest.approx(grams / 1000)
    assert done.of_which_kwh["leave_delay"] == pytest.approx(1.225)
    assert done.share_in_window == pytest.approx(1.65 / 2.875)
    assert done.train_s == 4500
    assert done.unknown_kwh == 0


def test_parked_ranks_draw_idle_power_and_count_as_idle():
    done = account([during(0, 1800, "parked"), during(1800, 2700, "idle")], POWER, INTENSITY, threshold=100.0)
    assert done.energy_kwh == pytest.approx({"idle": 0.375, "train": 0, "join": 0, "sync": 0})
    assert done.total_kwh == pytest.approx(0.375)
    assert done.emissions_kg == pytest.approx(0.375 * 50 / 1000)
    assert done.train_s == 0


def test_off_draws_nothing():
    done = account([during(0, 7200, "off")], POWER, INTENSITY)
    assert (done.total_kwh, done.emissions_kg, done.share_in_window) == (0, 0, 0)


def test_wasted_energy_is_counted_once_where_stretches_overlap():
    done = account([during(0, 3600, "train")], POWER, INTENSITY, wasted=[(0, 900), (450, 1800), (9000, 9999)])
    assert done.of_which_kwh["wasted"] == pytest.approx(1.0)
    assert done.total_kwh == pytest.approx(2.0)


def test_energy_where_the_trace_says_nothing_counts_at_its_highest_value():
    done = account([during(5400, 9000, "train")], POWER, INTENSITY, threshold=300.0)
    assert done.unknown_kwh == pytest.approx(1.0)
    assert done.emissions_kg == pytest.approx(2.0 * 200 / 1000)
    assert done.share_in_window == pytest.approx(0.5)
    assert done.of_which_kwh["leave_delay"] == pytest.approx(1.0)


def test_phases_that_overlap_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        account([during(0, 100, "train"), during(50, 150, "sync")], POWER, INTENSITY)


def test_an_unknown_phase_is_refused():
    with pytest.raises(ValueError, match="'asleep'"):
        account([during(0, 100, "asleep")], POWER, INTENSITY)


def test_joining_and_exchanging_draw_idle_power_unless_told_otherwise():
    power = PowerModel.from_config(PowerConfig(train_w=2024.0, idle_w=468.0, sync_w=0.0))
    assert (power.join_w, power.sync_w) == (468.0, 0.0)


def test_a_grid_holds_what_a_reckoning_needs():
    assert Grid(intensity=INTENSITY, power=POWER).power.watts("train") == 2000.0
