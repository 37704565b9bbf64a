"""Run time 0: who comes first writes it, and it is no time to come."""

from datetime import UTC, datetime, timedelta

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.errors import ConfigError
from curtail_dist.membership.run_start import run_start

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 300.0, "idle_w": 50.0}}


def config(start=None, **sections):
    run = {"name": "day", "start": start}
    tree = {"run": run, "sites": {"texas": SITE}, "data": {"manifest": "data.json"}, **sections}
    return RunConfig.from_mapping(tree)


@pytest.fixture
def store():
    return MemoryStore(MemoryCluster())


def test_the_first_one_writes_when_it_is_and_the_others_go_by_that(store):
    assert run_start(config(), store, NOW) == NOW
    assert run_start(config(), store, NOW + timedelta(hours=1)) == NOW
    assert run_start(config("2026-03-21"), store, NOW) == NOW


def test_a_start_that_has_passed_is_taken(store):
    assert run_start(config("2026-03-21"), store, NOW) == datetime(2026, 3, 21, tzinfo=UTC)


def test_a_start_that_is_to_come_is_refused_and_nothing_is_written(store):
    with pytest.raises(
        ConfigError, match=r"run\.start is 2026-11-10T00:00:00\+00:00, which is to come; .* leave it"
    ):
        run_start(config("2026-11-10"), store, NOW)
    assert run_start(config(), store, NOW) == NOW


def test_a_start_by_a_clock_that_is_a_little_ahead_has_passed(store):
    ahead = NOW + timedelta(seconds=30)
    assert run_start(config(ahead.isoformat()), store, NOW) == ahead


def test_a_virtual_clock_may_begin_at_any_time(store):
    virtual = config("2030-01-01", clock={"kind": "virtual", "endpoint": "127.0.0.1:1"})
    assert run_start(virtual, store, NOW) == datetime(2030, 1, 1, tzinfo=UTC)
