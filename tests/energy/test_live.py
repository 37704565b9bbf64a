"""A provider as a signal: when it is asked, how long an answer holds, and what stands in for it."""

import threading
from datetime import UTC, datetime
from random import Random

import pytest
from feeds import Reply, serve

from curtail_dist.clock import SystemClock, VirtualClock
from curtail_dist.clock.service import ClockService
from curtail_dist.config import SignalConfig
from curtail_dist.energy import open_signal
from curtail_dist.energy.freshness import fresh, observe
from curtail_dist.energy.policy import PolicyMemory, Threshold
from curtail_dist.energy.providers import Chain, LiveSignal
from curtail_dist.energy.providers.answers import Answer, ProviderFailure
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError, SignalUnavailable

START = datetime(2026, 3, 21, 17, 0, tzinfo=UTC)
T0 = START.timestamp()


class Scripted:
    """A provider that says what it is told to."""

    every_s = 300.0
    stale_s = 1200.0
    basis = "marginal"

    def __init__(self, source: str = "feed") -> None:
        self.source = source
        self.says: Answer | Exception = ProviderFailure("not told yet")

    def ask(self, now: float) -> Answer:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Told:
    """A live signal at a moment that the test sets; it is asked when the test says so, without a thread."""

    def __init__(self, source: str = "feed") -> None:
        self.provider = Scripted(source)
        self.t = 0.0
        self.signal = LiveSignal(
            self.provider, start=START, unix_now=lambda: T0 + self.t, random=Random(1), timeout_s=5.0
        )

    def answers(self, *points: tuple[float, float]) -> float:
        first, *later = [(T0 + at, value) for at, value in points]
        self.provider.says = Answer.of(first, later)
        return self.signal.ask_once()

    def fails(self, error: Exception | None = None) -> float:
        self.provider.says = error or ProviderFailure("it is down")
        return self.signal.ask_once()


def test_before_its_first_answer_it_says_nothing():
    with pytest.raises(SignalUnavailable, match="feed: it has not answered yet"):
        Told().signal.latest()


def test_an_answer_is_a_reading_in_run_time():
    told = Told()
    told.t = 100.0
    assert told.answers((60.0, 50.0), (360.0, 70.0)) == 300.0
    reading = told.signal.latest()
    assert (reading.value, reading.measured_at, reading.answered_at) == (50.0, 60.0, 100.0)
    assert (reading.source, reading.basis, reading.from_forecast) == ("feed", "marginal", False)
    told.t = 380.0
    later = told.signal.latest()
    assert (later.value, later.measured_at, later.from_forecast) == (70.0, 360.0, True)


def test_an_answer_holds_until_the_next_could_have_come_and_no_longer():
    told = Told()
    told.answers((0.0, 50.0))
    told.t = 345.0
    assert told.signal.latest().value == 50.0
    told.t = 346.0
    with pytest.raises(SignalUnavailable, match="last asked 346 s ago"):
        told.signal.latest()


def test_after_a_failure_nothing_is_held_over_and_the_next_answer_counts():
    told = Told()
    told.answers((0.0, 50.0))
    told.fails()
    with pytest.raises(SignalUnavailable, match="feed: it is down"):
        told.signal.latest()
    told.t = 10.0
    told.answers((0.0, 60.0))
    assert told.signal.latest().value == 60.0


@pytest.mark.parametrize("error", [ValueError("hunter2"), KeyError("hunter2"), OSError("hunter2")])
def test_an_answer_that_breaks_the_parser_is_a_failure_and_its_text_is_not_shown(error, caplog):
    told = Told()
    told.fails(error)
    with pytest.raises(SignalUnavailable) as caught:
        told.signal.latest()
    assert type(error).__name__ in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caplog.text}"


def test_a_provider_that_fails_is_asked_ever_more_slowly_up_to_its_rhythm():
    told = Told()
    waits = [told.fails() for _ in range(12)]
    assert waits == sorted(waits[:7]) + waits[7:]
    assert 5.0 <= waits[0] <= 6.0
    assert all(300.0 <= wait <= 360.0 for wait in waits[7:])
    assert told.answers((0.0, 50.0)) == 300.0
    assert told.fails() <= 6.0


@pytest.mark.parametrize(
    ("failure", "wait"),
    [
        (ProviderFailure("429", retry_after_s=1000.0), 1000.0),
        (ProviderFailure("429", retry_after_s=0.0), 5.0),
        (ProviderFailure("429", retry_after_s=1e9), 3600.0),
        (ProviderFailure("401", refused=True), 300.0),
    ],
)
def test_who_asks_to_be_left_alone_is(failure, wait):
    assert Told().fails(failure) == wait


def test_data_that_is_stale_or_from_the_future_is_no_answer():
    told = Told()
    told.t = 2000.0
    told.answers((700.0, 50.0))
    with pytest.raises(SignalUnavailable, match="22 min old, which is stale"):
        told.signal.latest()
    told.answers((2601.0, 50.0))
    with pytest.raises(SignalUnavailable, match="compare the clocks"):
        told.signal.latest()
    told.answers((2599.0, 50.0))
    assert told.signal.latest().measured_at == 2000.0


def test_its_forecast_and_outlook_are_what_it_says_of_later():
    told = Told()
    told.t = 100.0
    told.answers((-200.0, 50.0), (400.0, 70.0), (700.0, 90.0))
    assert [(one.measured_at, one.value) for one in told.signal.forecast(600.0)] == [
        (-200.0, 50.0),
        (400.0, 70.0),
    ]
    assert told.signal.outlook(1e9) == [(0.0, 50.0), (400.0, 70.0), (700.0, 90.0), (1900.0, 90.0)]
    assert told.signal.outlook(500.0) == [(0.0, 50.0), (400.0, 70.0), (500.0, 70.0)]


def test_a_chain_goes_to_the_second_provider_and_back_to_the_first():
    first, second = Told("first"), Told("second")
    second.provider.basis = "average"
    chain = Chain([first.signal, second.signal])
    assert chain.basis == "marginal"
    first.answers((0.0, 50.0))
    second.answers((0.0, 60.0))
    assert chain.latest().source == "first"
    first.fails()
    assert (chain.latest().source, chain.latest().value) == ("second", 60.0)
    assert (chain.outlook(100.0)[0], chain.basis) == ((0.0, 60.0), "average")
    first.answers((0.0, 51.0))
    assert chain.latest().source == "first"


def test_for_an_hour_a_forecast_stands_in_and_is_marked_as_one():
    told = Told()
    chain = Chain([told.signal])
    told.answers((0.0, 50.0), (1800.0, 70.0), (5400.0, 90.0))
    told.t = 2000.0
    told.fails()
    reading = chain.latest()
    assert (reading.value, reading.from_forecast) == (70.0, True)
    told.t = 3599.0
    assert chain.latest().from_forecast
    told.t = 3600.0
    with pytest.raises(SignalUnavailable, match="it is down"):
        chain.latest()


def test_a_site_runs_on_for_that_hour_and_no_longer_and_is_not_started():
    told, sighting, seen = Told(), None, []
    chain, rule = Chain([told.signal]), Threshold(threshold=100.0, leave_delay_s=0.0)
    told.answers((0.0, 50.0), (1800.0, 70.0), (7200.0, 90.0))
    for told.t in (10.0, 900.0, 901.0, 2000.0, 3599.0, 3600.0):
        if told.t > 10.0:
            told.fails()
        sighting = observe(chain, sighting, now=told.t, max_age_s=900.0)
        reading = fresh(sighting, now=told.t, max_age_s=900.0)
        does = [
            rule.decide(PolicyMemory(), running=running, reading=reading, now=told.t)[0].action
            for running in (True, False)
        ]
        seen.append((reading and reading.value, *does))
    assert seen == [
        (50.0, "keep", "start"),
        (50.0, "keep", "start"),
        (50.0, "keep", "keep"),
        (70.0, "keep", "keep"),
        (70.0, "keep", "keep"),
        (None, "drain", "keep"),
    ]


def test_an_old_answer_is_stale_however_far_its_forecast_reaches():
    told = Told()
    told.t = 72_000.0
    told.answers((0.0, 50.0), (72_000.0, 70.0), (90_000.0, 90.0))
    with pytest.raises(SignalUnavailable, match="1200 min old, which is stale"):
        told.signal.latest()


def test_what_holds_now_is_what_was_said_of_now_and_not_a_forecast_of_it():
    told = Told()
    told.t = 700.0
    told.answers((0.0, 50.0), (600.0, 70.0))
    assert [(one.value, one.measured_at) for one in told.signal.forecast(1e4)] == [(50.0, 0.0)]


def test_a_forecast_that_has_come_true_since_it_was_asked_starts_no_site():
    told, rule, does = Told(), Threshold(threshold=100.0, leave_delay_s=600.0), []
    sighting, memory = None, PolicyMemory()
    told.provider.stale_s = 9000.0
    for minute in range(58, 90):
        told.t = minute * 60.0
        if minute % 5 == 3:  # the hour from 60 min on is published late, and is dirty as the one before
            hour = 0.0 if minute < 80 else 3600.0
            told.answers((hour, 302.0), (3600.0, 50.0), (7200.0, 320.0))
        sighting = observe(told.signal, sighting, now=told.t, max_age_s=900.0)
        reading = fresh(sighting, now=told.t, max_age_s=900.0)
        decision, memory = rule.decide(memory, running=False, reading=reading, now=told.t)
        does.append((reading and reading.value, decision.action))
        if minute in (60, 62):
            assert (told.signal.latest().value, told.signal.latest().from_forecast) == (50.0, True)
    assert set(does) == {(302.0, "keep")}


def test_what_it_says_of_now_its_forecast_and_its_outlook_say_too():
    told = Told()
    told.t = 610.0
    told.answers((0.0, 90.0), (300.0, 200.0), (600.0, 300.0), (900.0, 400.0))
    for told.t, value in ((610.0, 90.0), (899.0, 90.0), (900.0, 400.0)):
        known = StepFunction.from_points(told.signal.outlook(5000.0))
        assert told.signal.latest().value == known.at(told.t) == value
        assert [one.value for one in told.signal.forecast(1e4)] == [
            value,
            *([400.0] if value == 90.0 else []),
        ]


def test_a_single_value_is_no_forecast():
    told = Told()
    told.answers((0.0, 50.0))
    told.fails()
    with pytest.raises(SignalUnavailable):
        Chain([told.signal]).latest()


def section(url: str, **given) -> SignalConfig:
    return SignalConfig(kind="http", url=f"{url}/now", value_at="/value", **given)


def test_whoever_reads_never_waits_for_a_server_that_is_silent():
    answering, held = threading.Event(), threading.Event()

    def hold(_: object) -> Reply:
        answering.set()
        held.wait(30.0)
        return Reply({"value": 40.0})

    with serve() as feed:
        feed.replies["/now"] = hold
        signal = open_signal(
            section(feed.url, timeout_s=0.05), clock=SystemClock(START), start=START, site="texas"
        )
        assert answering.wait(10.0)
        with pytest.raises(SignalUnavailable):
            signal.latest()
        held.set()
        signal.close()


def test_the_thread_asks_again_and_again_until_it_is_closed():
    asked: list[float] = []
    thrice, now = threading.Event(), datetime.now(UTC)

    def say(_: object) -> Reply:
        asked.append(1.0)
        if len(asked) >= 3:
            thrice.set()
        return Reply({"value": float(len(asked))})

    with serve() as feed:
        feed.replies["/now"] = say
        signal = open_signal(section(feed.url, every_s=0.01), clock=SystemClock(now), start=now, site="texas")
        assert signal.latest().value >= 1.0
        assert thrice.wait(10.0)
        signal.close()
        count = len(asked)
        assert not any(thread.name == "signal" for thread in threading.enumerate())
        assert len(asked) == count


def test_a_run_file_names_a_fallback_that_is_opened_and_closed_with_it():
    now = datetime.now(UTC)
    with serve() as feed:
        feed.replies |= {"/now": Reply({}, status=500), "/other": Reply({"v": 77.0})}
        fallback = SignalConfig(kind="http", url=f"{feed.url}/other", value_at="/v", basis="average")
        signal = open_signal(
            section(feed.url, fallback=fallback), clock=SystemClock(now), start=now, site="texas"
        )
        reading = signal.latest()
        assert (reading.value, reading.basis) == (77.0, "average")
        signal.close()
        assert not any(thread.name == "signal" for thread in threading.enumerate())


@pytest.mark.parametrize("still", [{"kind": "constant", "value": 5.0}, {"kind": "trace", "path": "x.csv"}])
def test_what_cannot_know_of_now_is_no_fallback(still):
    with pytest.raises(ConfigError, match=r"signal\.fallback\.kind is '.*no file and no constant knows"):
        section("http://x", fallback=SignalConfig(**still))


def test_a_refusal_is_told_though_another_failure_came_before(caplog):
    told = Told()
    for error in (ProviderFailure("down"), ProviderFailure("down"), ProviderFailure("401", refused=True)):
        told.fails(error)
    assert [record.getMessage() for record in caplog.records] == ["feed: down", "feed: 401"]


def test_a_virtual_clock_cannot_follow_a_real_feed():
    with ClockService() as service, pytest.raises(ConfigError, match="virtual clock"):
        clock = VirtualClock(service.endpoint, "agent:texas", "poll")
        try:
            open_signal(section("http://127.0.0.1:1"), clock=clock, start=START, site="texas")
        finally:
            clock.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "watttime"}, "signal.region"),
        ({"kind": "trace", "path": "x.csv", "zone": "GB"}, "left out with kind trace"),
        ({"kind": "http", "url": "ftp://x", "value_at": "/v"}, "http"),
        ({"kind": "http", "url": "http://x", "value_at": "v"}, "JSON pointer"),
        ({"kind": "http", "url": "http://x", "value_at": "/v", "forecast_at": "/f"}, "its value and time"),
        ({"kind": "prometheus", "url": "http://x", "query": "q", "unit": "oz"}, "lb/MWh"),
        ({"kind": "carbonintensity", "every_s": 0}, "above 0"),
        ({"kind": "oracle"}, "one of trace"),
    ],
)
def test_a_section_that_does_not_fit_is_the_users_mistake(given, says):
    with pytest.raises(ConfigError, match=says):
        SignalConfig(**given)
