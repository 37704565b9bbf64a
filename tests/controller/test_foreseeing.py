"""What an agent expects of its site's intensity, and what it remembers for that."""

from itertools import pairwise

import pytest

from curtail_dist.energy.futures import means
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.membership.agent.foreseeing import Foreseer

DAY = 86400.0


@pytest.fixture
def foreseer(make_config):
    """Make a foreseer; keywords are what it goes by."""

    def make(*, forecast=None, past=None, price=None, **policy) -> Foreseer:
        site = {
            "signal": {"kind": "constant", "value": 1.0},
            "power": {"train_w": 300.0, "idle_w": 50.0},
            "price": {"per_kwh": 0.1},
        }
        config = make_config(policy={"kind": "work-price", **policy}, sites={"texas": site})
        return Foreseer(config, "texas", forecast=forecast, past=past, price=price)

    return make


def reading(value, at=0.0, *, from_forecast=False):
    return Reading(value=value, measured_at=at, from_forecast=from_forecast)


def steps(*values, each=300.0):
    return StepFunction(edges=tuple(each * i for i in range(len(values) + 1)), values=tuple(values))


def test_without_anything_else_what_is_now_is_expected_for_ever(foreseer):
    (future,) = foreseer().futures(0.0, 3 * DAY, reading(70.0))
    assert set(future.values) == {70.0}
    assert (future.start, future.end) == (0.0, 3 * DAY)


def test_readings_become_the_days_that_are_expected(foreseer):
    made = foreseer()
    for hour in range(72):
        made.note(hour * 3600.0, reading(20.0 if hour % 24 < 12 else 300.0))
    futures = made.futures(3 * DAY, 4 * DAY, reading(20.0))
    assert len(futures) == 3
    assert all(future.at(3 * DAY + 6 * 3600.0) == pytest.approx(20.0) for future in futures)
    assert all(future.at(3 * DAY + 18 * 3600.0) == pytest.approx(300.0) for future in futures)


def test_a_forecast_that_stands_in_for_a_reading_is_no_history(foreseer):
    made = foreseer()
    for day in range(3):
        made.note(day * DAY, reading(100.0 + day, from_forecast=True))
    assert len(made.futures(3 * DAY, 4 * DAY, reading(50.0))) == 1


def test_what_is_remembered_is_bounded_by_days_and_by_changes(foreseer):
    made = foreseer()
    for hour in range(60 * 24):
        made.note(hour * 3600.0, reading(float(hour % 2)))
        made.note(hour * 3600.0 + 60.0, reading(float(hour % 2)))
    assert len(made._read) <= 8 * 24 + 1
    assert len(made.futures(60 * DAY, 61 * DAY, reading(1.0))) == 7


def test_the_next_day_is_expected_finely_and_what_is_far_off_as_its_mean(foreseer):
    past = steps(*[float(i % 2) * 100.0 for i in range(9 * 288)])
    future = foreseer(past=past).futures(8 * DAY, 11 * DAY, reading(0.0))[0]
    near = {after - before for before, after in pairwise(future.edges) if after <= 9 * DAY}
    far = {after - before for before, after in pairwise(future.edges) if after > 9 * DAY}
    assert (near, far) == ({300.0}, {1800.0})
    assert future.at(8 * DAY + 300.0) == pytest.approx(100.0)
    assert future.at(10 * DAY) == pytest.approx(50.0)


def test_a_price_that_counts_is_in_what_is_expected(foreseer):
    price = steps(0.4, 0.1, each=3600.0)
    counted = foreseer(price=price, g_per_currency=1000.0).futures(0.0, 7200.0, reading(50.0))[0]
    assert (counted.at(0.0), counted.at(3600.0)) == (450.0, 150.0)
    assert foreseer(price=price).futures(0.0, 7200.0, reading(50.0))[0].at(0.0) == 50.0


def test_a_mean_is_that_of_the_series_and_its_ends_hold():
    series = steps(10.0, 30.0)
    assert means(series, [0.0, 600.0]).values == (20.0,)
    assert means(series, [-300.0, 300.0, 450.0, 900.0]).values == pytest.approx((10.0, 30.0, 30.0))
