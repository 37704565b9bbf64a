"""What an agent measures, and what it tells a signal of its site's power."""

import threading
from itertools import pairwise

from hand import DIRTY, GREEN, WAIT_S, eventually

from curtail_dist.energy.meters.spans import Metering
from curtail_dist.energy.signals import SeriesSignal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import MeterUnavailable
from curtail_dist.membership.agent.controller import COMPLETE


class Counter:
    """A meter that the test turns; a reading may be held, or fail."""

    source = "a counter"
    covers = "one rack"
    stated = 0.0

    def __init__(self) -> None:
        self.joules = 0.0
        self.error = ""
        self.held = threading.Event()
        self.held.set()
        self.closed = False

    def read(self) -> float:
        assert self.held.wait(WAIT_S)
        if self.error:
            raise MeterUnavailable(self.error)
        self.joules += 100.0
        return self.joules

    def close(self) -> None:
        self.closed = True


def metered(stage, hand) -> Counter:
    meter = Counter()
    stage.metering = Metering(meter, clock=hand.clock)
    return meter


def test_what_was_measured_goes_on_record_without_a_gap(stage, hand):
    meter = metered(stage, hand)
    running = hand.begin_on()
    eventually(lambda: len(stage.events("energy")) > 5)
    stage.finish_run()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    spans = stage.events("energy")
    assert stage.events("meter")[0]["covers"] == "one rack"
    assert all(before["until"] == after["since"] for before, after in pairwise(spans))
    assert sum(span["joules"] for span in spans) == meter.joules - 100.0
    ended = stage.events("phase")[-1].t
    assert spans[-1]["until"] >= ended, "it is read once more after the ranks have gone"


def test_a_meter_that_is_slow_holds_nothing_up(stage, hand):
    meter = metered(stage, hand)
    hand.begin_on()
    meter.held.clear()
    hand.polls_on()
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "draining")
    meter.held.set()


def test_a_meter_that_fails_is_shown_and_what_it_missed_is_no_span(stage, hand):
    meter = metered(stage, hand)
    hand.begin_on()
    eventually(lambda: stage.events("energy"))
    meter.error = "it is down"
    eventually(lambda: hand.shows(lambda state: state.troubles.get("meter") == "it is down"))
    lost = stage.events("energy")[-1]["until"]
    meter.error = ""
    eventually(lambda: stage.events("energy")[-1]["until"] > lost)
    after = next(span for span in stage.events("energy") if span["since"] >= lost)
    assert after["since"] > lost
    eventually(lambda: stage.events("trouble_over"))


def test_a_signal_that_depends_on_it_is_told_what_the_site_draws(stage, hand):
    fed: list[float] = []
    hand.grid.feed = fed.append
    hand.begin()
    eventually(lambda: 50.0 in fed)  # joining draws what it draws idle
    stage.be_seated()
    eventually(lambda: 300.0 in fed)
    assert fed[0] == 0.0


def test_a_measured_power_is_told_in_place_of_the_stated_one(stage, hand):
    fed: list[float] = []
    hand.grid.feed = fed.append
    metered(stage, hand)
    hand.begin_on()
    eventually(lambda: any(watts not in (0.0, 50.0, 300.0) for watts in fed))


def test_the_average_intensity_goes_on_record(stage, hand):
    series = StepFunction.from_points([(0.0, 200.0), (7200.0, 200.0)])
    stage.average = SeriesSignal(series, clock=hand.clock, source="average", synthetic=False)
    hand.begin()
    eventually(lambda: stage.events("site_started"))
    assert stage.events("site_started")[0]["average"] == [[0.0, 200.0], [7200.0, 200.0]]
    assert stage.events("site_started")[0]["outlook"][0] == [0.0, GREEN]
