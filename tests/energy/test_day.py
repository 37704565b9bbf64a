from datetime import UTC, datetime

import pytest
from curtail_launch.demo.day import DAYS, MARGIN_S, START, write_day
from playing import windows

from curtail_dist.config import PolicyConfig, SignalConfig
from curtail_dist.energy import build_policy, open_signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.energy.windows import check_threshold_opens
from curtail_dist.errors import ConfigError

DAY_S = 18 * 3600.0

# Seconds after 17:00 UTC of the published windows below 100 g/kWh.
PUBLISHED = {
    "california": [(300, 7500), (8400, 23100)],
    "texas": [(36300, 36900), (37200, 59100), (59400, 61500)],
    "south-australia": [(16800, 54600)],
}
# The same with 600 s of leave delay: gaps shorter than that are bridged.
ON = {
    "california": [(300, 8100), (8400, 23700)],
    "texas": [(36300, 62100)],
    "south-australia": [(16800, 55200)],
}


@pytest.fixture
def day(tmp_path):
    return write_day(tmp_path)


def series(path):
    return read_trace(path).series(START)


def test_the_published_day_is_below_the_threshold_exactly_in_its_windows(day):
    for site, path in day.items():
        below = [(low, high) for low, high, value in series(path).pieces(0, DAY_S) if value < 100]
        joined = []
        for low, high in below:
            if joined and joined[-1][1] == low:
                joined[-1] = (joined[-1][0], high)
            else:
                joined.append((low, high))
        assert joined == PUBLISHED[site]


def test_the_traces_start_with_the_day_and_cover_its_margin(day):
    assert datetime(2026, 3, 21, 17, 0, tzinfo=UTC) == START
    for path in day.values():
        assert series(path).start == 0
        assert series(path).end == DAY_S + MARGIN_S
        assert read_trace(path).synthetic


def test_values_are_plausible_and_clear_of_the_threshold(day):
    for path in day.values():
        values = series(path).values
        assert all(0 <= value <= 60 or 150 <= value <= 600 for value in values)
        assert max(values) > 400


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path, day):
    again = write_day(tmp_path / "again")
    other = write_day(tmp_path / "other", seed=2)
    for site, path in day.items():
        assert path.read_bytes() == again[site].read_bytes()
        assert path.read_bytes() != other[site].read_bytes()


@pytest.mark.parametrize("name", DAYS)
def test_every_day_covers_its_length_and_margin(tmp_path, name):
    for path in write_day(tmp_path, name).values():
        assert series(path).end == DAYS[name].length_s + MARGIN_S


@pytest.mark.parametrize("kind", ["trace", "vessim"])
@pytest.mark.parametrize("poll_s", [10.0, 60.0])
def test_the_rule_has_the_sites_on_in_the_published_windows_and_the_delay(day, clock, kind, poll_s):
    policy = build_policy(PolicyConfig(threshold_g_per_kwh=100.0, leave_delay_s=600.0))
    for site, path in day.items():
        signal = open_signal(SignalConfig(kind=kind, path=path), clock=clock, start=START, site=site)
        known = StepFunction.from_points(signal.outlook(DAY_S))
        assert windows(policy, known, DAY_S, poll_s) == ON[site]


def test_vessim_reads_every_moment_of_the_day_as_the_csv_does(day, clock):
    for site, path in day.items():
        plain, played = (
            open_signal(SignalConfig(kind=kind, path=path), clock=clock, start=START, site=site)
            for kind in ("trace", "vessim")
        )
        for clock.at in range(0, 20 * 3600, 97):
            assert played.latest() == plain.latest()
        assert played.outlook(1e9) == plain.outlook(1e9)


def test_a_coarse_poll_starts_late_and_still_leaves_by_the_clock_of_the_grid(day):
    policy = build_policy(PolicyConfig(threshold_g_per_kwh=100.0, leave_delay_s=600.0))
    assert windows(policy, series(day["south-australia"]), DAY_S, 700.0) == [(16800, 55300)]


def test_a_site_is_off_where_the_series_says_nothing():
    policy = build_policy(PolicyConfig(kind="always"))
    known = StepFunction(edges=(100.0, 500.0), values=(10.0,))
    assert windows(policy, known, 1000.0, 100.0) == [(200.0, 500.0)]  # two readings to resume
    assert windows(policy, known, 300.0, 100.0) == [(200.0, 300.0)]


def test_a_threshold_that_never_opens_is_refused_with_the_lowest_intensity():
    sites = {
        "texas": StepFunction(edges=(0.0, 300.0, 600.0), values=(80.0, 61.2)),
        "california": StepFunction(edges=(0.0, 600.0), values=(70.0,)),
    }
    with pytest.raises(ConfigError) as caught:
        check_threshold_opens(PolicyConfig(threshold_g_per_kwh=10.0), sites, 600.0)
    assert str(caught.value).startswith(
        "policy.threshold_g_per_kwh is 10; the lowest intensity of any site is 61.2 (texas)"
    )
    with pytest.raises(ConfigError, match=r"is 70 \(california\)"):
        check_threshold_opens(PolicyConfig(threshold_g_per_kwh=65.0), sites, 300.0)
    check_threshold_opens(PolicyConfig(threshold_g_per_kwh=65.0), sites, 600.0)
    check_threshold_opens(PolicyConfig(kind="always", threshold_g_per_kwh=10.0), sites, 600.0)
