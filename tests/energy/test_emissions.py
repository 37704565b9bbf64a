import pytest

from curtail_dist.config import PowerConfig
from curtail_dist.energy.emissions import Grid, Interval, PowerModel, account, measured_share
from curtail_dist.energy.meters import Span
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


def test_wasted_work_emitted_what_the_grid_was_at_when_it_was_done():
    done = account([during(0, 7200, "train")], POWER, INTENSITY, wasted=[(2700, 4500)])
    assert done.wasted_kg == pytest.approx((0.5 * 50 + 0.5 * 200) / 1000)


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


def span(start, stop, joules, stated=0.0):
    return Span(start=start, stop=stop, joules=joules, stated=stated)


def test_where_a_meter_told_its_energy_counts_at_the_intensity_of_its_moment():
    metered = [span(0, 1800, 7.2e6), span(1800, 3600, 1.8e6), span(3600, 5400, 3.6e6)]
    done = account([during(0, 7200, "train")], POWER, INTENSITY, metered=metered, threshold=100.0)
    assert done.energy_kwh["train"] == pytest.approx(2.0 + 0.5 + 1.0 + 1.0)
    assert done.emissions_kg == pytest.approx((2.5 * 50 + 2.0 * 200) / 1000)
    assert done.modelled_kwh == pytest.approx(1.0)
    assert done.of_which_kwh["leave_delay"] == pytest.approx(2.0)


def test_without_a_meter_all_energy_is_modelled_and_none_of_it_apportioned():
    done = account([during(0, 3600, "train"), during(3600, 5400, "idle")], POWER, INTENSITY)
    assert done.modelled_kwh == pytest.approx(done.total_kwh) == pytest.approx(2.25)
    assert (done.apportioned_kwh, done.off_kwh) == (0, 0)


def test_a_reading_over_two_phases_keeps_its_sum_and_says_that_it_was_divided():
    phases = [during(0, 1800, "train"), during(1800, 3600, "sync")]
    done = account(phases, POWER, INTENSITY, metered=[span(0, 3600, 4.32e6)])
    assert done.energy_kwh == pytest.approx({"train": 1.0, "sync": 0.2, "idle": 0, "join": 0})
    assert done.apportioned_kwh == pytest.approx(0.2)
    assert done.modelled_kwh == 0


def test_what_a_meter_saw_while_the_site_was_off_is_told_and_not_counted():
    phases = [during(0, 600, "off"), during(3600, 5400, "train")]
    done = account(phases, POWER, INTENSITY, metered=[span(0, 600, 3.6e6), span(600, 3600, 7.2e6)])
    assert done.off_kwh == pytest.approx(3.0)
    assert done.total_kwh == pytest.approx(1.0) == pytest.approx(done.modelled_kwh)
    assert done.emissions_kg == pytest.approx(0.2)


def test_a_meter_s_spans_must_not_overlap():
    with pytest.raises(ValueError, match="overlap"):
        account([during(0, 100, "train")], POWER, INTENSITY, metered=[span(0, 60, 1), span(50, 100, 1)])


def test_average_emissions_stand_beside_the_marginal_ones():
    average = StepFunction(edges=(0.0, 1800.0, 7200.0), values=(400.0, 300.0))
    done = account([during(0, 3600, "train")], POWER, INTENSITY, average=average)
    assert done.emissions_kg == pytest.approx(0.1)
    assert done.average_kg == pytest.approx(0.7)


def test_average_emissions_are_unknown_where_the_average_is_not_known_throughout():
    average = StepFunction(edges=(0.0, 3000.0), values=(400.0,))
    assert account([during(0, 3600, "train")], POWER, INTENSITY, average=average).average_kg is None
    assert account([during(0, 3000, "train")], POWER, INTENSITY, average=average).average_kg is not None
    assert account([during(0, 3000, "train")], POWER, INTENSITY).average_kg is None


def test_the_pue_multiplies_modelled_and_metered_energy_alike():
    config = PowerConfig(train_w=2000.0, idle_w=500.0, capped_w=1000.0, capped_speed=0.6)
    plain, building = PowerModel.from_config(config), PowerModel.from_config(config, pue=1.5)
    phases = [during(0, 1800, "train"), during(1800, 3600, "idle"), during(3600, 7200, "capped")]
    metered = [span(0, 900, 1e6, stated=1e5)]
    alone = account(phases, plain, INTENSITY, metered=metered, average=INTENSITY)
    whole = account(phases, building, INTENSITY, metered=metered, average=INTENSITY)
    for name in ("total_kwh", "emissions_kg", "average_kg", "modelled_kwh"):
        assert getattr(whole, name) == pytest.approx(1.5 * getattr(alone, name)), name
    assert whole.train_s == alone.train_s
    assert building.capped_speed == 0.6


def test_a_site_is_on_in_every_phase_but_off():
    phases = [during(0, 900, "join"), during(900, 1000, "parked"), during(1000, 1500, "off")]
    assert account(phases, POWER, INTENSITY).on_s == 1000


def test_a_power_model_says_what_it_states():
    config = PowerConfig(train_w=2000.0, idle_w=500.0, capped_w=1000.0, capped_speed=0.6)
    assert PowerModel.from_config(config, pue=1.5).source == (
        "power model, stated and not measured: "
        "train 3000 W, idle 750 W, join 750 W, sync 750 W, capped 1500 W (PUE 1.5 included)"
    )


def test_phases_add_up_to_all_that_was_emitted_where_the_trace_says_nothing_too():
    done = account(
        [during(-900, 0, "join"), during(0, 7200, "train"), during(7200, 8100, "parked")],
        POWER,
        INTENSITY,
        threshold=100.0,
    )
    grams = {"join": 0.15 * 200, "train": 2.0 * 50 + 2.0 * 200, "idle": 0.125 * 200, "sync": 0.0}
    assert done.by_phase_kg == pytest.approx({phase: mass / 1000 for phase, mass in grams.items()})
    assert sum(done.by_phase_kg.values()) == pytest.approx(done.emissions_kg)
    assert done.leave_delay_kg == pytest.approx(done.emissions_kg - 0.1)


def test_what_sums_in_another_order_leave_of_a_share_is_no_share():
    whole = 0.1 + 0.2 + 0.3
    assert whole != 0.6
    assert measured_share(whole, 0.6) == measured_share(0.6, whole) == 0.0
    assert measured_share(1.0, 1.0 - 1e-9) == pytest.approx(1e-9)
