import pytest

from curtail_dist.energy.course import Course, Rhythm
from curtail_dist.energy.emissions import Interval
from curtail_dist.energy.policy import Advice, Threshold, WorkPrice
from curtail_dist.energy.rehearsal import Manner, Rehearsal
from curtail_dist.energy.signals import Reading

RULE = Threshold(threshold=100.0, leave_delay_s=0.0)


def rhythm(join_s=50.0):
    return Rhythm(train_s=80.0, sync_s=20.0, join_s=join_s)


def readings(*values, step=100.0):
    """Return what a signal says: one value after the other, the last for ever; None is unknown."""

    def read(site, now):
        value = values[min(int(now // step), len(values) - 1)]
        return None if value is None else Reading(value=value, measured_at=now)

    return read


def rehearse(
    read, *, sites=("a",), policy=RULE, until=1000.0, work_s=1e9, plan=None, join_s=50.0, enter=None, **manner
):
    return Rehearsal(
        dict.fromkeys(sites, policy),
        read=read,
        manner=Manner(poll_s=10.0, rhythm=rhythm(join_s), speeds={"a": 0.5}, **manner),
        work_s=work_s,
        plan=plan,
        replan_s=100.0,
        enter=enter or (lambda name, phase, since: None),
    ).play(until)


def told(found):
    return [(event.t, event.what) for event in found.events]


def test_each_change_of_a_sites_phase_is_told_with_its_moment():
    entered = []
    rehearse(
        readings(50.0, 200.0, 50.0),
        enter=lambda name, phase, since: entered.append((since, name, phase)),
        drains_s=(30.0,),
    )
    assert entered[:4] == [
        (0.0, "a", "join"),
        (50.0, "a", "train"),
        (130.0, "a", "off"),
        (200.0, "a", "join"),
    ]


def test_a_join_that_the_window_outlives_is_cancelled():
    found = rehearse(readings(50.0, 200.0), join_s=150.0)
    assert told(found) == [(0.0, "join"), (100.0, "cancelled"), (100.0, "removed")]
    assert found.played.intervals["a"] == [Interval(start=0.0, stop=100.0, phase="join")]
    assert found.windows == {"a": [(0.0, 100.0)]}


def test_a_site_that_drains_trains_on_until_it_is_gone():
    found = rehearse(readings(50.0, 50.0, 200.0), drains_s=(30.0,))
    assert told(found)[-3:] == [(200.0, "drain"), (210.0, "marked"), (230.0, "removed")]
    assert found.played.intervals["a"][-1] == Interval(start=50.0, stop=230.0, phase="train")


def test_a_signal_that_is_lost_drains_and_two_readings_bring_the_site_back():
    found = rehearse(readings(50.0, 50.0, None, 50.0))
    assert [(t, what) for t, what in told(found) if what in ("join", "drain")] == [
        (0.0, "join"),
        (200.0, "drain"),
        (310.0, "join"),
    ]


def test_a_start_that_takes_no_time_trains_at_once():
    found = rehearse(readings(50.0), join_s=0.0, until=100.0)
    assert found.played.intervals["a"] == [Interval(start=0.0, stop=100.0, phase="train")]


def test_a_plan_is_asked_anew_in_time_and_a_capped_site_works_at_its_speed():
    asked = []

    def plan(now, course, sites):
        asked.append((now, course.left_s, sites["a"].standing.stage.value))
        return Advice(price=1.0, wanted={"a": "on" if now < 200.0 else "capped"})

    found = rehearse(readings(50.0), policy=WorkPrice(), plan=plan, join_s=0.0, work_s=1000.0, until=400.0)
    assert asked[0] == (0.0, 1000.0, "off")
    assert [now for now, _, _ in asked] == [0.0, 100.0, 200.0, 300.0]
    assert asked[-1] == (300.0, 750.0, "on")
    assert [i.phase for i in found.played.intervals["a"]] == ["train", "capped"]
    assert found.played.work_s == pytest.approx(300.0)


def test_work_ends_the_rehearsal_at_the_moment_it_is_done():
    found = rehearse(readings(50.0), work_s=123.0)
    assert found.played.finished_at == 173.0
    assert found.windows == {"a": [(0.0, 173.0)]}


def test_a_change_of_who_trains_begins_a_round_anew():
    course = Course(("a", "b"), work_s=1e9, rhythm=rhythm())
    course.advance(50.0, {"a": "train", "b": "train"})
    course.advance(60.0, {"a": "train"})
    course.advance(160.0, {"a": "train", "b": "train"})
    assert [(i.start, i.stop, i.phase) for i in course.played.intervals["b"]] == [
        (0.0, 50.0, "train"),
        (60.0, 140.0, "train"),
        (140.0, 160.0, "sync"),
    ]
