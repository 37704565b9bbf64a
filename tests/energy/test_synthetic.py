import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from statistics import correlation, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.energy.synthetic import (
    FlatClimate,
    SolarClimate,
    WindClimate,
    flat,
    solar_heavy,
    wind_heavy,
)
from curtail_dist.energy.traces import read_trace

START = datetime(2026, 3, 1, 8, tzinfo=UTC)  # midnight by the sun of the solar climate
GENERATORS = [solar_heavy, wind_heavy, flat]
SEEDS = range(1, 9)
DAY = 288

every = pytest.mark.parametrize("generator", GENERATORS)


def values(generator, days=28, seed=1, **other):
    return generator(days=days, seed=seed, start=START, **other).values


def by_day(rows):
    return [rows[at : at + DAY] for at in range(0, len(rows), DAY)]


def low(rows):
    return sum(value < 100 for value in rows)


@every
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path, generator):
    one, again, other = (
        generator(days=3, seed=seed, start=START).write_trace(tmp_path / name).read_bytes()
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again
    assert one.split(b"\n", 1)[1] != other.split(b"\n", 1)[1]


@given(
    generator=st.sampled_from(GENERATORS),
    seed=st.integers(),
    days=st.floats(0.1, 3.0),
    more=st.floats(0.0, 2.0),
    step_s=st.integers(60, 3600),
)
def test_values_are_intensities_and_a_longer_trace_begins_as_a_shorter_one(
    generator, seed, days, more, step_s
):
    short, long = (
        generator(days=length, seed=seed, start=START, step_s=step_s) for length in (days, days + more)
    )
    assert all(math.isfinite(value) and value >= 0 for value in long.values)
    assert long.values[: len(short.values)] == short.values
    assert long.times[: len(short.times)] == short.times
    assert len(short.values) == round(days * 86400 / step_s)


@every
def test_what_is_written_reads_back_as_the_same_synthetic_trace(tmp_path, generator):
    made = generator(days=2, seed=5, start=datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    path = made.write_trace(tmp_path / "deeper" / "made.csv")
    read = read_trace(path)
    assert made.synthetic
    assert read.synthetic
    assert (read.times, read.values, read.end) == (made.times, made.values, made.end)
    assert read.times[0] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    first, _, row = path.read_text().splitlines()[:3]
    assert row.startswith("2026-03-01T10:00:00+00:00,")
    assert first.startswith(f"# synthetic: made up, not measured; {generator.__name__}, seed 5, version 1")


def test_sun_is_curtailed_at_midday_and_gas_burns_at_night():
    for seed in SEEDS:
        for day in by_day(values(solar_heavy, seed=seed)):
            night = day[:60] + day[-24:]
            assert min(night) > 300
            assert max(night) < 620
            assert all(value <= 80 or value > 200 for value in day)
            assert low(day[: DAY // 4]) == low(day[-DAY // 4 :]) == 0


def test_most_solar_days_have_a_window_of_hours_and_some_have_none():
    for seed in SEEDS:
        days = [low(day) for day in by_day(values(solar_heavy, days=56, seed=seed))]
        assert sum(count >= 3 * 12 for count in days) > len(days) / 2
        assert min(days) == 0


def test_the_evening_ramp_is_the_peak_of_a_solar_grid():
    days = by_day(values(solar_heavy))
    hours = [fmean(fmean(day[hour * 12 : hour * 12 + 12]) for day in days) for hour in range(24)]
    assert max(hours) == max(hours[18:21])


def test_the_sun_of_a_place_further_east_comes_earlier():
    west, east = (
        values(solar_heavy, days=2, climate=SolarClimate(noon_utc_h=noon, clear_share=1.0))
        for noon in (20.0, 17.0)
    )
    first = [next(at for at, value in enumerate(rows) if value < 100) for rows in (west, east)]
    assert 2.0 < (first[0] - first[1]) / 12 < 4.0


@pytest.mark.parametrize(("generator", "climate"), [(solar_heavy, SolarClimate), (wind_heavy, WindClimate)])
def test_windows_have_interruptions_of_a_few_minutes(generator, climate):
    def gaps(**knobs):
        rows = [value < 100 for value in values(generator, days=56, climate=climate(**knobs))]
        starts = [at for at in range(1, len(rows) - 3) if rows[at - 1] and not rows[at]]
        return sum(any(rows[at + 1 : at + 4]) for at in starts)

    assert gaps() > gaps(interruption_every_h=0.0) + 20


def test_wind_swings_slowly_between_windows_and_calm_days():
    low_shares, hour, two_days = [], [], []
    for seed in SEEDS:
        rows = values(wind_heavy, days=56, seed=seed)
        below = [float(value < 100) for value in rows]
        low_shares.append(fmean(below))
        hour.append(correlation(below[12:], below[:-12]))
        two_days.append(correlation(below[2 * DAY :], below[: -2 * DAY]))
        days = by_day(rows)
        assert any(fmean(day) > 400 and low(day) == 0 for day in days)
        assert any(low(day) > DAY / 2 for day in days)
        assert all(value < 100 or value > 250 for value in rows)
    assert 0.25 < fmean(low_shares) < 0.45
    assert fmean(hour) > 0.6
    assert abs(fmean(two_days)) < 0.25


def test_a_windier_climate_has_more_windows():
    calm, windy = (low(values(wind_heavy, climate=WindClimate(windy_share=share))) for share in (0.1, 0.6))
    assert calm < windy / 2


def test_a_flat_grid_has_few_low_hours_and_a_mild_shape():
    total = 0
    for seed in SEEDS:
        rows = values(flat, seed=seed)
        assert low(rows) <= 0.03 * len(rows)
        total += low(rows)
        assert 370 < fmean(value for value in rows if value >= 100) < 390
        assert all(value < 100 or 300 < value < 460 for value in rows)
    assert total > 0
    assert low(values(flat, climate=FlatClimate(dips_per_week=0.0))) == 0


@every
def test_what_is_no_trace_is_refused(generator):
    with pytest.raises(ValueError, match="aware"):
        generator(days=1, seed=1, start=START.replace(tzinfo=None))
    with pytest.raises(ValueError, match="at least 2 rows"):
        generator(days=0.001, seed=1, start=START)


def test_the_generators_import_nothing_heavy():
    code = "import sys, curtail_dist.energy.synthetic; "
    code += "sys.exit(any(n in sys.modules for n in ('numpy', 'pandas', 'torch', 'vessim')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0
