import logging
import math

import pytest

from curtail_dist.energy.emissions import Interval, PowerModel, account
from curtail_dist.energy.meters import Metering, MeterUnavailable, Span, merge
from curtail_dist.energy.stepfunction import StepFunction


class Script:
    """A meter whose answers are given: (joules, stated), or None for no answer."""

    source = "script"
    covers = "a script"

    def __init__(self, *answers):
        self._answers = list(answers)
        self.stated = 0.0
        self.closed = 0

    def read(self):
        answer = self._answers.pop(0)
        if answer is None:
            raise MeterUnavailable("the script is silent")
        joules, self.stated = answer if isinstance(answer, tuple) else (answer, 0.0)
        return joules

    def close(self):
        self.closed += 1


def spans(clock, *answers, every=10.0):
    metering = Metering(Script(*answers), clock=clock)
    found = []
    for index in range(len(answers)):
        clock.at = index * every
        found.append(metering.read())
    return found


def span(start, stop, joules, stated=0.0):
    return Span(start=start, stop=stop, joules=joules, stated=stated)


def test_each_reading_tells_what_was_drawn_since_the_one_before(clock):
    assert spans(clock, 0.0, 100.0, 250.0) == [None, span(0, 10, 100), span(10, 20, 150)]


def test_a_stretch_with_a_failed_reading_in_it_is_unknown(clock):
    assert spans(clock, 0.0, 100.0, None, 400.0, 500.0) == [
        None,
        span(0, 10, 100),
        None,
        None,
        span(30, 40, 100),
    ]


def test_a_meter_that_says_the_same_again_has_no_news_and_loses_no_energy(clock):
    assert spans(clock, 0.0, 0.0, 0.0, 600.0) == [None, None, None, span(0, 30, 600)]


def test_two_readings_at_one_moment_make_no_span(clock):
    assert spans(clock, 0.0, 5.0, 10.0, every=0.0) == [None, None, None]


def test_what_is_only_stated_is_told_apart(clock):
    assert spans(clock, (0.0, 0.0), (100.0, 30.0), (180.0, 60.0))[1:] == [
        span(0, 10, 100, 30),
        span(10, 20, 80, 30),
    ]


def test_a_meter_that_fails_is_logged_once_and_says_why_until_it_is_back(clock, caplog):
    metering = Metering(Script(0.0, None, None, 9.0), clock=clock)
    with caplog.at_level(logging.INFO):
        seen = []
        for _ in range(4):
            metering.read()
            seen.append(metering.lost)
    assert seen == ["", "the script is silent", "the script is silent", ""]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_meter_is_closed_by_its_owner(clock):
    meter = Script()
    Metering(meter, clock=clock).close()
    assert meter.closed == 1


@pytest.mark.parametrize(
    "values",
    [(0, 0, 1, 0), (5, 4, 1, 0), (0, 1, -1, 0), (0, 1, 1, 2), (0, 1, math.nan, 0), (0, math.inf, 1, 0)],
)
def test_what_cannot_be_is_no_span(values):
    with pytest.raises(ValueError, match="no span"):
        span(*values)


def test_of_two_readers_the_first_counts_and_the_other_fills_in():
    ranks = [span(20, 40, 5), span(40, 45, 6)]
    agent = [span(0, 10, 1), span(10, 20, 2), span(20, 30, 99), span(38, 50, 99), span(45, 55, 7)]
    assert merge([ranks, agent]) == [span(0, 10, 1), span(10, 20, 2), *ranks, span(45, 55, 7)]


def test_a_long_span_does_not_hide_a_later_one_that_overlaps_it():
    assert merge([[span(0, 100, 1)], [span(50, 60, 9), span(100, 101, 2)]]) == [
        span(0, 100, 1),
        span(100, 101, 2),
    ]


class Boards:
    """A meter of a machine whose power the test sets, and that fails when told to."""

    source = covers = "boards"
    stated = 0.0

    def __init__(self, clock):
        self._clock = clock
        self._drawn = 0.0
        self._at = clock.now()
        self.watts = 0.0
        self.fails = False

    def read(self):
        now = self._clock.now()
        self._drawn += self.watts * (now - self._at)
        self._at = now
        if self.fails:
            raise MeterUnavailable("told to")
        return self._drawn

    def close(self):
        pass


def test_read_at_each_change_of_phase_a_meter_gives_each_phase_its_own_and_a_failure_is_modelled(clock):
    power = PowerModel(train_w=2000.0, idle_w=500.0, join_w=500.0, sync_w=500.0)
    intensity = StepFunction(edges=(0.0, 3600.0), values=(100.0,))
    meter = Boards(clock)
    metering = Metering(meter, clock=clock)
    told, phases = [], []
    for phase, watts, fails in (
        ("join", 700.0, 0),
        ("train", 1800.0, 0),
        ("sync", 600.0, 1),
        ("train", 1900.0, 0),
    ):
        meter.fails = bool(fails)
        told.append(metering.read())
        meter.watts = watts
        phases.append(Interval(start=clock.at, stop=clock.at + 100.0, phase=phase))
        clock.at += 100.0
    told.append(metering.read())
    done = account(phases, power, intensity, metered=[span for span in told if span])
    joules = {name: 3.6e6 * value for name, value in done.energy_kwh.items()}
    # The reading at the end of the first train failed: that stretch and the next are the model's.
    assert joules == pytest.approx({"join": 70_000, "train": 200_000 + 190_000, "sync": 50_000, "idle": 0})
    assert done.modelled_kwh * 3.6e6 == pytest.approx(250_000)
    assert done.apportioned_kwh == 0
