import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from curtail_dist.config import SignalConfig
from curtail_dist.config.microgrid import MicrogridConfig
from curtail_dist.energy import OutsideTrace, Reading, open_signal
from curtail_dist.energy.freshness import Sighting, fresh, observe
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError, SignalUnavailable, TraceError

START = datetime(2026, 3, 21, 17, 0, tzinfo=UTC)
ROWS = "# synthetic: x\ntime,g_per_kwh\n"
ROWS += "2026-03-21T17:00:00Z,50\n2026-03-21T17:05:00Z,150\n2026-03-21T17:15:00Z,60\n"


@pytest.fixture(params=["trace", "vessim"])
def opened(request, write, clock):
    """Open the same rows through either reader of a trace."""
    path = write(ROWS)

    def _open(start=START):
        return open_signal(
            SignalConfig(kind=request.param, path=path), clock=clock, start=start, site="texas"
        )

    return _open


def test_the_reading_is_that_of_the_run_s_time(opened, clock):
    signal = opened()
    seen = []
    for clock.at in (0.0, 299.9, 300.0, 899.0, 900.0, 1499.0):
        seen.append((signal.latest().value, signal.latest().measured_at))
    assert seen == [(50, 0), (50, 0), (150, 300), (150, 300), (60, 900), (60, 900)]


MAPS = "Datetime (UTC),Carbon intensity gCO\u2082eq/kWh (Life cycle)\n"
MAPS += "2026-03-21 17:00:00,60\n2026-03-21 18:00:00,80\n"
MICROGRID = MicrogridConfig(train_w=1000.0, measure="intensity")


@pytest.mark.parametrize(
    ("kind", "microgrid"), [("trace", None), ("vessim", None), ("vessim", MICROGRID)], ids=str
)
def test_average_intensity_is_told_as_such_by_whoever_plays_it(write, clock, kind, microgrid):
    path = write(MAPS)

    def opened(**given):
        config = SignalConfig(kind=kind, path=path, microgrid=microgrid, **given)
        return open_signal(config, clock=clock, start=START, site="texas")

    signal = opened()
    assert {signal.basis, *(one.basis for one in signal.forecast(7000.0))} == {"average"}
    assert opened(basis="marginal").basis == opened(basis="marginal").latest().basis == "marginal"


def test_past_its_end_and_before_its_start_a_trace_is_unavailable(opened, clock):
    signal = opened(START - timedelta(seconds=60))
    with pytest.raises(SignalUnavailable):
        signal.latest()
    clock.at = 60.0
    assert signal.latest().value == 50
    clock.at = 60.0 + 1500.0
    with pytest.raises(SignalUnavailable, match="covers run time 60 to 1560 s"):
        signal.latest()


def test_the_forecast_is_what_holds_now_then_what_comes(opened, clock):
    clock.at = 100.0
    assert [(r.measured_at, r.value) for r in opened().forecast(500.0)] == [(0, 50), (300, 150)]
    assert [(r.measured_at, r.value) for r in opened().forecast(9999.0)] == [(0, 50), (300, 150), (900, 60)]


def test_the_outlook_is_the_series_and_a_mark_of_its_end(opened):
    assert opened().outlook(1000.0) == [(0, 50), (300, 150), (900, 60), (1000, 60)]
    assert opened().outlook(9999.0)[-1] == (1500, 60)
    assert StepFunction.from_points(opened().outlook(1000.0)).end == 1000.0


def test_a_trace_says_that_it_is_synthetic(opened):
    assert opened().synthetic


def test_a_trace_that_ends_before_the_run_is_refused(opened):
    with pytest.raises(TraceError, match=r"set run\.start"):
        opened(START + timedelta(days=1))


def test_a_constant_holds_at_any_time(clock):
    signal = open_signal(SignalConfig(kind="constant", value=42.0), clock=clock, start=START, site="texas")
    clock.at = 1e9
    assert signal.latest() == Reading(value=42.0, measured_at=0.0)
    assert signal.outlook(10.0) == [(0.0, 42.0), (10.0, 42.0)]
    assert not signal.synthetic


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_intensity_cannot_become_a_reading(value):
    with pytest.raises(SignalUnavailable):
        Reading(value=value, measured_at=0.0)


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_constant_that_is_no_intensity_is_the_user_s_error(value):
    with pytest.raises(ConfigError, match=r"signal\.value is"):
        SignalConfig(kind="constant", value=value)


class Scripted:
    """A signal whose answers are given."""

    source = "script"
    synthetic = True
    basis = "marginal"

    def __init__(self, *answers):
        self._answers = list(answers)

    def latest(self):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def forecast(self, horizon):
        raise SignalUnavailable("no forecast")

    def outlook(self, until):
        raise SignalUnavailable("no outlook")


LOW = Reading(value=10.0, measured_at=0.0)


def test_a_silent_source_is_believed_until_its_reading_is_too_old():
    signal = Scripted(LOW, SignalUnavailable("down"), SignalUnavailable("down"))
    sighting = observe(signal, None, now=0.0, max_age_s=900.0)
    sighting = observe(signal, sighting, now=900.0, max_age_s=900.0)
    assert fresh(sighting, now=900.0, max_age_s=900.0) == LOW
    sighting = observe(signal, sighting, now=901.0, max_age_s=900.0)
    assert fresh(sighting, now=901.0, max_age_s=900.0) is None


def test_an_unchanged_reading_that_is_given_again_is_fresh():
    sighting = observe(Scripted(LOW), Sighting(reading=LOW, renewed_at=0.0), now=5000.0, max_age_s=900.0)
    assert fresh(sighting, now=5000.0, max_age_s=900.0) == LOW


def test_a_forecast_does_not_take_the_place_of_an_answer_that_may_still_be_believed():
    foreseen = Reading(value=20.0, measured_at=600.0, from_forecast=True)
    answered = Sighting(reading=LOW, renewed_at=0.0)
    assert observe(Scripted(foreseen), answered, now=900.0, max_age_s=900.0) == answered
    later = observe(Scripted(foreseen), answered, now=901.0, max_age_s=900.0)
    assert later is not None
    assert later.reading == foreseen


def test_a_forecast_that_is_no_longer_given_is_not_held_over():
    foreseen = Sighting(reading=replace(LOW, from_forecast=True), renewed_at=0.0)
    assert observe(Scripted(SignalUnavailable("too old")), foreseen, now=1.0, max_age_s=900.0) is None


def test_what_was_asked_earlier_is_as_old_as_its_answer():
    reading = Reading(value=10.0, measured_at=0.0, answered_at=100.0)
    sighting = observe(Scripted(reading), None, now=300.0, max_age_s=900.0)
    assert fresh(sighting, now=1000.0, max_age_s=900.0) == reading
    assert fresh(sighting, now=1001.0, max_age_s=900.0) is None


def test_outside_a_trace_nothing_earlier_stands_in():
    sighting = observe(
        Scripted(OutsideTrace("ended")), Sighting(reading=LOW, renewed_at=0.0), now=1.0, max_age_s=900.0
    )
    assert fresh(sighting, now=1.0, max_age_s=900.0) is None


def test_a_reading_from_the_future_is_not_believed():
    late = Sighting(reading=Reading(value=10.0, measured_at=2000.0), renewed_at=0.0)
    assert fresh(late, now=0.0, max_age_s=900.0) is None


def test_the_energy_package_imports_neither_torch_nor_pandas():
    names = [
        "signals",
        "policy",
        "traces",
        "emissions",
        "baselines",
        "oracle",
        "windows",
        "freshness",
        "simulation",
    ]
    code = f"import sys; [__import__('curtail_dist.energy.' + n) for n in {names}]"
    code += "; sys.exit(any(n in sys.modules for n in ('torch', 'pandas', 'vessim')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0
