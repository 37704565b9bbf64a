import pytest
from playing import play

from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import Interval


def during(start, stop, phase):
    return Interval(start=start, stop=stop, phase=phase)


RHYTHM = Rhythm(train_s=80.0, sync_s=20.0, join_s=50.0)


def test_a_site_alone_joins_and_trains_without_exchanging():
    played = play({"a": [(100.0, 400.0)]}, work_s=1000.0, rhythm=RHYTHM)
    assert played.intervals == {"a": [during(100, 150, "join"), during(150, 400, "train")]}
    assert (played.work_s, played.finished_at) == (250.0, None)


def test_sites_that_train_together_exchange_after_each_round():
    played = play({"a": [(0.0, 250.0)], "b": [(0.0, 150.0)]}, work_s=1000.0, rhythm=RHYTHM)
    assert played.intervals["a"] == [
        during(0, 50, "join"),
        during(50, 130, "train"),
        during(130, 150, "sync"),
        during(150, 250, "train"),
    ]
    assert played.intervals["b"] == [
        during(0, 50, "join"),
        during(50, 130, "train"),
        during(130, 150, "sync"),
    ]
    assert played.work_s == 80 + 80 + 100


def test_all_stop_at_the_moment_the_work_is_done():
    played = play(
        {"a": [(0.0, 500.0)], "b": [(0.0, 500.0)], "c": [(70.0, 500.0)]}, work_s=100.0, rhythm=RHYTHM
    )
    assert played.finished_at == 100.0
    assert played.work_s == 100.0
    assert played.intervals["c"] == [during(70, 100, "join")]
    assert played.intervals["a"][-1] == during(50, 100, "train")


def test_an_on_period_too_short_to_join_in_trains_nothing():
    played = play({"a": [(0.0, 40.0)]}, work_s=10.0, rhythm=RHYTHM)
    assert played.intervals == {"a": [during(0, 40, "join")]}
    assert played.work_s == 0.0


def test_the_efficiency_is_the_share_of_a_shared_round_that_trains():
    assert RHYTHM.efficiency == pytest.approx(0.8)
    assert Rhythm(train_s=0.0, sync_s=0.0, join_s=0.0).efficiency == 1.0
