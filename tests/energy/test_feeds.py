import pytest

from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.feeds import Feeds
from curtail_dist.energy.stepfunction import StepFunction

POWER = PowerModel(train_w=1.0, idle_w=1.0, join_w=1.0, sync_w=1.0)
SERIES = StepFunction(edges=(0.0, 1000.0, 2000.0, 9000.0), values=(50.0, 60.0, 70.0))


def feeds(foreseen_s):
    return Feeds(
        grids={"a": Grid(intensity=SERIES, power=POWER)},
        outage=(1000.0, 8000.0),
        max_age_s=900.0,
        foreseen_s=foreseen_s,
    )


@pytest.mark.parametrize("foreseen_s", [0.0, 3600.0])
def test_the_last_reading_is_believed_for_a_while(foreseen_s):
    lost = feeds(foreseen_s)
    for now in (999.0, 1000.0, 1800.0):
        reading = lost.read("a", now)
        assert reading is not None
        assert (reading.value, reading.from_forecast) == (50.0, False)
    after = lost.read("a", 8000.0)
    assert after is not None
    assert (after.value, after.from_forecast) == (70.0, False)


def test_then_a_forecast_stands_in_for_it_and_then_nothing_does():
    assert feeds(0.0).read("a", 2000.0) is None
    foreseen = feeds(3600.0).read("a", 2000.0)
    assert foreseen is not None
    assert (foreseen.value, foreseen.from_forecast) == (70.0, True)
    assert feeds(3600.0).read("a", 5000.0) is None


def test_beyond_its_trace_a_site_knows_nothing():
    assert feeds(0.0).read("a", 9000.0) is None
