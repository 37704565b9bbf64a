"""Starts that take as long as they take, and fail, in a rehearsal."""

import math
from statistics import median

import pytest

from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.policy import Always
from curtail_dist.energy.provisioning import Provisioning
from curtail_dist.energy.rehearsal import Manner, Rehearsal
from curtail_dist.energy.signals import Reading
from curtail_dist.errors import ConfigError

RHYTHM = Rhythm(train_s=0.0, sync_s=0.0, join_s=100.0)


def play(provisioning: Provisioning, *, until: float = 10_000.0):
    manner = Manner(poll_s=60.0, rhythm=RHYTHM, provisioning=provisioning)
    return Rehearsal(
        {"a": Always()},
        read=lambda name, now: Reading(value=1.0, measured_at=now),
        manner=manner,
        work_s=1e9,
    ).play(until)


def test_without_anything_assumed_every_start_takes_the_same_and_none_fails():
    assert {Provisioning().start("a", number, 100.0) for number in range(50)} == {(100.0, False)}


def test_starts_spread_around_their_median_and_the_same_seed_draws_the_same():
    model = Provisioning(spread=0.5, seed=7)
    drawn = [model.start("a", number, 100.0)[0] for number in range(400)]
    assert median(drawn) == pytest.approx(100.0, rel=0.1)
    assert min(drawn) < 50.0 < 200.0 < max(drawn)
    assert drawn == [Provisioning(spread=0.5, seed=7).start("a", number, 100.0)[0] for number in range(400)]
    assert drawn[0] != model.start("b", 0, 100.0)[0]


def test_as_many_starts_fail_as_are_said_to():
    model = Provisioning(fails=0.25)
    assert 0.2 < sum(model.start("a", number, 1.0)[1] for number in range(2000)) / 2000 < 0.3


def test_a_failed_start_is_tried_again_as_the_agent_would_and_drew_power_meanwhile():
    first_fails = next(
        seed
        for seed in range(100)
        if Provisioning(fails=0.5, seed=seed).start("a", 1, 100.0)[1]
        and not Provisioning(fails=0.5, seed=seed).start("a", 2, 100.0)[1]
    )
    found = play(Provisioning(fails=0.5, seed=first_fails))
    told = [(event.t, event.what) for event in found.events]
    assert told == [(0.0, "join"), (100.0, "failed"), (180.0, "join"), (280.0, "up")]
    assert [(i.start, i.stop, i.phase) for i in found.played.intervals["a"]] == [
        (0.0, 100.0, "join"),
        (180.0, 280.0, "join"),
        (280.0, 10_000.0, "train"),
    ]
    assert found.windows["a"] == [(0.0, 100.0), (180.0, 10_000.0)]


def test_after_three_failures_a_site_stays_off():
    found = play(Provisioning(fails=0.999999))
    assert [event.what for event in found.events].count("failed") == 3


@pytest.mark.parametrize(
    "given", [{"spread": -1.0}, {"spread": 2000.0}, {"spread": math.nan}, {"fails": 1.0}, {"fails": -0.1}]
)
def test_what_cannot_be_is_refused(given):
    with pytest.raises(ConfigError):
        Provisioning(**given)
