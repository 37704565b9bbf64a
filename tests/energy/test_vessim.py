import math
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from curtail_dist.config import SignalConfig
from curtail_dist.config.microgrid import MicrogridConfig, ProductionConfig, StorageConfig
from curtail_dist.energy import OutsideTrace, open_signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.energy.vessim import MicrogridSignal, Scenario, open_microgrid
from curtail_dist.errors import ConfigError, TraceError

START = datetime(2026, 3, 21, 17, 0, tzinfo=UTC)
TRAIN_W = 2000.0
GRID = StepFunction(edges=(-600.0, 0.0, 3600.0, 7200.0, 14400.0), values=(100.0, 400.0, 300.0, 500.0))
PRODUCTION = StepFunction(
    edges=(0.0, 1800.0, 3000.0, 5400.0, 9000.0, 14400.0), values=(0.0, 1000.0, 5000.0, 2000.0, 0.0)
)
NEARLY = pytest.approx


def battery(**changes):
    return StorageConfig(**{"capacity_wh": 2000.0, "initial_soc": 0.0, **changes})


def signal(clock, production=PRODUCTION, g_per_kwh=0.0, **config):
    made = ProductionConfig(path=Path("sun.csv"), g_per_kwh=g_per_kwh)
    given = {"train_w": TRAIN_W, "production": made, **config}
    scenario = Scenario.between("texas", MicrogridConfig(**given), GRID, production)
    return MicrogridSignal(scenario, clock=clock, source="texas", synthetic=False)


def value(signal, clock, at):
    clock.at = at
    return signal.latest().value


def test_enough_surplus_is_as_green_as_what_is_produced(clock):
    assert value(signal(clock), clock, 3000.0) == 0.0
    assert value(signal(clock), clock, 5400.0) == 0.0  # exactly enough
    dear = signal(clock, g_per_kwh=12.0)
    assert value(dear, clock, 3000.0) == 12.0


def test_without_production_the_value_is_the_grid_s(clock):
    assert value(signal(clock), clock, 0.0) == 400.0
    assert value(signal(clock), clock, 10000.0) == 500.0


def test_in_between_the_value_is_the_mean_weighted_by_share(clock):
    assert value(signal(clock), clock, 1800.0) == NEARLY(0.5 * 400.0)
    dear = signal(clock, g_per_kwh=12.0)
    assert value(dear, clock, 1800.0) == NEARLY(0.5 * 400.0 + 0.5 * 12.0)


def test_what_else_is_consumed_is_served_first(clock):
    assert value(signal(clock, base_load_w=500.0), clock, 1800.0) == NEARLY(0.75 * 400.0)
    assert value(signal(clock, base_load_w=1500.0), clock, 1800.0) == 400.0
    assert value(signal(clock, base_load_w=500.0), clock, 5400.0) == NEARLY(0.25 * 300.0)


def test_a_start_does_not_close_the_window_that_it_rests_on(clock):
    fed = signal(clock)
    assert value(fed, clock, 5400.0) == 0.0
    fed.feed(TRAIN_W)
    assert value(fed, clock, 5460.0) == 0.0


def test_a_site_that_draws_more_than_its_train_power_needs_more(clock):
    fed = signal(clock)
    clock.at = 5400.0
    fed.feed(4000.0)
    assert value(fed, clock, 5460.0) == NEARLY(0.5 * 300.0)
    fed.feed(468.0)
    assert value(fed, clock, 5520.0) == 0.0


def test_the_intensity_measure_is_the_grid_s_own_series(clock):
    played = signal(clock, measure="intensity")
    for at in range(0, 14400, 97):
        assert value(played, clock, float(at)) == GRID.at(at)
        assert played.latest().measured_at == max(GRID.since(at), 0.0)
    assert StepFunction.from_points(played.outlook(1e9)) == GRID.clipped(0.0, 14400.0)
    assert [reading.value for reading in played.forecast(1e9)] == [500.0]


def test_a_reading_says_since_when_it_holds(clock):
    readings = signal(clock)
    seen = []
    for clock.at in (0.0, 1799.0, 1800.0, 3700.0, 5400.0):
        seen.append(readings.latest().measured_at)
    assert seen == [0.0, 0.0, 1800.0, 3600.0, 5400.0]
    clock.at = 3719.0
    assert signal(clock, storage=battery()).latest().measured_at == 3660.0


def test_outside_its_traces_a_microgrid_has_no_value(clock):
    short = StepFunction(edges=(100.0, 5000.0), values=(3000.0,))
    readings = signal(clock, production=short, storage=battery())
    for clock.at in (0.0, 119.0, 5000.0, 1e9):
        with pytest.raises(OutsideTrace, match="covers run time 120 to 5000 s"):
            readings.latest()
        with pytest.raises(OutsideTrace):
            readings.forecast(60.0)
        readings.feed(100.0)  # what the site draws is no matter of the traces
    with pytest.raises(OutsideTrace):
        readings.outlook(60.0)
    clock.at = 120.0
    assert readings.latest().value == 0.0
    points = signal(clock, production=short).outlook(1e9)
    assert points == [(120.0, 0.0), (3600.0, 0.0), (5000.0, 0.0)]


def test_traces_that_have_nothing_in_common_are_refused(clock):
    with pytest.raises(TraceError, match=r"set run\.start"):
        signal(clock, production=StepFunction(edges=(14400.0, 20000.0), values=(1.0,)))
    with pytest.raises(TraceError, match=r"set run\.start"):
        signal(clock, production=StepFunction(edges=(-60.0, 0.0), values=(1.0,)))


def test_a_battery_is_charged_by_surplus_while_the_site_is_off(clock):
    stored = signal(clock, storage=battery())
    assert value(stored, clock, 1740.0) == 400.0
    # 20 min at 1000 W are 333 Wh, which it could give for an hour; at 3000 s the surplus alone suffices.
    assert value(stored, clock, 2999.0) == NEARLY((1 - (1000.0 + 1000.0 * 19 / 60) / TRAIN_W) * 400.0)
    assert value(stored, clock, 9000.0) == 0.0  # full: 2000 Wh for an hour
    clock.at = 9000.0
    stored.feed(TRAIN_W)
    assert value(stored, clock, 9059.0) == 0.0
    assert value(stored, clock, 9000.0 + 1800.0) == NEARLY(0.5 * 500.0)
    assert value(stored, clock, 9000.0 + 3600.0) == NEARLY(500.0)


def test_a_feed_counts_from_the_next_tick_on(clock):
    def left(fed_at):
        stored = signal(clock, storage=battery(initial_soc=1.0))
        clock.at = fed_at
        stored.latest()
        stored.feed(TRAIN_W)
        return 1.0 - value(stored, clock, 1200.0) / 400.0

    assert left(600.0) == NEARLY(1 - 10 / 60)
    assert left(601.0) == left(660.0) == NEARLY(1 - 9 / 60)


def test_a_battery_s_limits_hold_each_for_itself(clock):
    slow = signal(clock, storage=battery(max_charge_w=300.0))
    assert value(slow, clock, 9000.0) == NEARLY((1 - 300.0 * 2 / TRAIN_W) * 500.0)
    weak = signal(clock, storage=battery(initial_soc=1.0, max_discharge_w=500.0))
    assert value(weak, clock, 0.0) == NEARLY(0.75 * 400.0)
    between = signal(clock, storage=battery(initial_soc=0.5, min_soc=0.25, max_soc=0.75))
    assert value(between, clock, 0.0) == NEARLY((1 - 500.0 / TRAIN_W) * 400.0)
    assert value(between, clock, 9000.0) == NEARLY((1 - 1000.0 / TRAIN_W) * 500.0)
    brief = signal(clock, storage=battery(initial_soc=0.25, sustain_s=900.0))
    assert value(brief, clock, 0.0) == 0.0


def test_readings_do_not_depend_on_when_the_clock_was_read(clock):
    feeds = {1234.0: 2000.0, 4321.0: 0.0, 6000.0: 468.0, 8000.0: 2400.0}
    asked = [1800.0, 3599.0, 6000.0, 7000.0, 9030.0, 14399.0]

    def readings(extra):
        stored = signal(clock, storage=battery(initial_soc=0.5))
        seen = []
        for moment in sorted({*feeds, *asked, *extra}):
            clock.at = moment
            if moment in extra:
                stored.latest()
            if moment in feeds:
                stored.feed(feeds[moment])
            if moment in asked:
                seen.append(stored.latest())
        return seen

    jumping = readings(())
    assert readings(range(0, 14400, 7)) == jumping
    assert readings(random.Random(1).sample(range(14400), 200)) == jumping
    assert len({reading.value for reading in jumping}) > 3
    assert {type(reading.value) for reading in jumping} == {float}


def test_a_forecast_begins_with_now_and_leaves_the_state_alone(clock):
    stored = signal(clock, storage=battery(initial_soc=0.5))
    clock.at = 4000.0
    before = stored.latest()
    ahead = stored.forecast(3600.0)
    assert ahead[0] == before
    assert all(4000.0 < reading.measured_at < 7600.0 for reading in ahead[1:])
    assert stored.forecast(3600.0) == ahead
    assert stored.latest() == before
    assert stored.forecast(0.0) == [before]


@pytest.mark.parametrize("asked_at", [0.0, 730.0, 780.0])
def test_a_forecast_is_what_comes_if_the_site_trains_and_less_green_than_if_it_does_not(clock, asked_at):
    for watts, same in ((TRAIN_W, True), (0.0, False)):
        clock.at = 0.0
        stored = signal(clock, storage=battery(initial_soc=0.9))
        stored.feed(watts)
        clock.at = asked_at
        ahead = stored.forecast(14400.0)
        came = [value(stored, clock, reading.measured_at) for reading in ahead]
        assert all(now <= then.value + 1e-9 for now, then in zip(came, ahead, strict=True))
        assert all(now >= then.value - 1e-9 for now, then in zip(came, ahead, strict=True)) == same


def test_the_outlook_is_that_of_a_site_which_always_trains(clock):
    stored = signal(clock, storage=battery(initial_soc=0.9))
    clock.at = 9000.0
    stored.feed(0.0)
    outlook = StepFunction.from_points(stored.outlook(9000.0))
    assert (outlook.start, outlook.end) == (0.0, 9000.0)
    assert outlook.at(3599.0) < outlook.at(0.0) < 400.0
    without = StepFunction.from_points(signal(clock).outlook(1e9))
    assert (without.values, without.end) == ((400.0, 200.0, 0.0, 0.0, 0.0, 0.0, 500.0), 14400.0)


def test_live_an_unknown_draw_counts_as_training(clock):
    live = signal(clock, mode="live", storage=battery(initial_soc=1.0))
    assert value(live, clock, 1799.0) == NEARLY(400.0 * 29 / 60)
    off = signal(clock, mode="simulated", storage=battery(initial_soc=1.0))
    assert value(off, clock, 1799.0) == 0.0


def test_live_a_draw_expires_and_is_not_held_for_ever(clock):
    def after(mode, at):
        one = signal(clock, mode=mode, storage=battery(initial_soc=1.0), feed_max_age_s=600.0)
        clock.at = 0.0
        one.feed(0.0)
        return value(one, clock, at)

    assert after("simulated", 1799.0) == 0.0
    assert after("live", 660.0) == 0.0
    assert after("live", 1799.0) == NEARLY(
        400.0 * 18 / 60
    )  # taken to train from 660 s on, to the tick at 1740 s


@pytest.mark.parametrize("watts", [math.nan, math.inf, -1.0])
def test_what_is_no_power_cannot_be_fed(clock, watts):
    stored = signal(clock, storage=battery())
    stored.feed(500.0)
    with pytest.raises(ValueError, match="finite and at least 0"):
        stored.feed(watts)
    assert value(stored, clock, 60.0) == 400.0


def test_a_microgrid_is_opened_from_its_files(clock, write):
    grid = write("time,g_per_kwh\n2026-03-21T17:00:00Z,400\n2026-03-21T19:00:00Z,200\n", "grid.csv")
    sun = write("# synthetic: x\nwhen,kw\n2026-03-21T16:00:00Z,500\n2026-03-21T18:00:00Z,4000\n", "sun.csv")
    production = ProductionConfig(path=sun, time_column="when", value_column="kw")
    config = MicrogridConfig(train_w=TRAIN_W, production=production)
    section = SignalConfig(kind="vessim", path=grid, microgrid=config)
    opened = open_signal(section, clock=clock, start=START, site="texas")
    assert opened.source == f"vessim surplus of texas (grid {grid}, production {sun})"
    assert opened.synthetic
    assert value(opened, clock, 0.0) == NEARLY(300.0)
    assert value(opened, clock, 3600.0) == 0.0
    with pytest.raises(OutsideTrace):
        value(opened, clock, 3 * 3600.0)
    with pytest.raises(ConfigError, match="must be given"):
        SignalConfig(kind="vessim", microgrid=config)
    alone = MicrogridConfig(train_w=TRAIN_W, measure="intensity")
    opened = open_microgrid(alone, read_trace(grid), clock=clock, start=START, site="texas")
    assert not opened.synthetic
    assert value(opened, clock, 3 * 3600.0) == 200.0


def test_vessim_is_imported_only_where_it_is_used():
    code = "import sys, curtail_dist.energy, curtail_dist.config.microgrid; "
    code += "sys.exit(any(n in sys.modules for n in ('numpy', 'pandas', 'vessim')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0
