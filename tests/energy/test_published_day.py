"""The published day (arXiv 2602.22760) as square waves at its windows, played by the rules."""

import math
from dataclasses import replace

import pytest

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import Grid, PowerModel, account
from curtail_dist.energy.oracle import optimum
from curtail_dist.energy.planner import Planner
from curtail_dist.energy.policy import Threshold, WorkPrice
from curtail_dist.energy.rehearsal import Manner, Rehearsal
from curtail_dist.energy.signals import OutsideTrace, reading_at
from curtail_dist.energy.stepfunction import StepFunction

START = 17 * 3600 + 17  # 17:00:17 UTC
WINDOWS = {
    "california": (("17:05", "19:05"), ("19:20", "23:25")),
    "texas": (("03:05", "03:15"), ("03:20", "09:25"), ("09:30", "10:05")),
    "south-australia": (("21:40", "08:10"),),
}
LOW, HIGH = 25.4, 520.0  # with these the rule emits about what was published: .954 and 1.338 kg
POWER = PowerModel(train_w=2024.0, idle_w=468.0, join_w=468.0, sync_w=468.0)
WORK_S = 17.78 * 3600
PAIR = Rhythm(train_s=509.0, sync_s=127.25, join_s=345.0)  # a site of a pair trains .8 of the time


def elapsed(time):
    hour, minute = map(int, time.split(":"))
    at = hour * 3600 + minute * 60 - START
    return float(at if at >= 0 else at + 24 * 3600)


def square(windows):
    edges, values = [0.0], [HIGH]
    for begin, end in windows:
        edges += [elapsed(begin), elapsed(end)]
        values += [LOW, HIGH]
    return StepFunction(edges=(*edges, 24 * 3600.0), values=tuple(values))


@pytest.fixture(scope="module")
def grids():
    return {site: Grid(intensity=square(spans), power=POWER) for site, spans in WINDOWS.items()}


def rehearse(
    grids, policy, *, rhythm=PAIR, until=18 * 3600.0, plan=None, work_s=WORK_S, outage=None, **manner
):
    def read(site, now):
        if outage and outage[0] <= now < outage[1]:
            return None
        try:
            return reading_at(grids[site].intensity, now, source="square wave")
        except OutsideTrace:
            return None

    return Rehearsal(
        dict.fromkeys(grids, policy),
        read=read,
        manner=Manner(poll_s=10.0, rhythm=rhythm, **manner),
        work_s=work_s,
        plan=plan,
    ).play(until)


def emitted(grids, rehearsed):
    intervals = rehearsed.played.intervals
    return sum(account(intervals[s], grid.power, grid.intensity).emissions_kg for s, grid in grids.items())


DECISIONS = [
    ("california", "join", 286.7),
    ("california", "up", 526.7),
    ("california", "marked", 7490.3),
    ("california", "drain", 8090.7),
    ("california", "marked", 8100.7),
    ("california", "removed", 8125.4),
    ("california", "join", 8390.8),
    ("california", "up", 8630.8),
    ("south-australia", "join", 16785.0),
    ("south-australia", "up", 17025.0),
    ("california", "marked", 23089.7),
    ("california", "drain", 23690.3),
    ("california", "marked", 23700.3),
    ("california", "removed", 23750.3),
    ("texas", "join", 36287.0),
    ("texas", "up", 36527.0),
    ("texas", "marked", 36887.5),
]
"""What the published run logged, in seconds from its start."""


def test_the_threshold_decides_when_the_published_run_did(grids):
    played = rehearse(
        grids,
        Threshold(threshold=100.0, leave_delay_s=600.0),
        rhythm=replace(PAIR, join_s=240.0),
        work_s=math.inf,
        drains_s=(34.7, 60.0),
        blocking=True,
    )
    found = [event for event in played.events if event.t < 37000]
    assert [(event.site, event.what) for event in found] == [(site, what) for site, what, _ in DECISIONS]
    for event, (_, _, at) in zip(found, DECISIONS, strict=True):
        assert event.t == pytest.approx(at, abs=10.0)
    after = next(event for event in played.events if event.t > 37000)
    assert (after.site, after.what) == ("texas", "reset")
    assert after.t == pytest.approx(elapsed("03:20"), abs=10.0)


def test_while_a_site_joins_the_prototype_asks_no_other_and_we_do(grids):
    both = {"a": grids["california"], "b": grids["california"]}
    policy, rhythm = Threshold(threshold=100.0, leave_delay_s=0.0), replace(PAIR, join_s=240.0)

    def joins(blocking):
        played = rehearse(both, policy, rhythm=rhythm, until=2000.0, blocking=blocking)
        return [event.t for event in played.events if event.what == "join"]

    assert joins(False) == [290.0, 290.0]
    assert joins(True) == [290.0, 530.0]


def test_a_drain_is_taken_back_when_the_window_opens_again(grids):
    series = StepFunction(edges=(0.0, 1000.0, 1100.0, 2000.0), values=(LOW, HIGH, LOW))
    one = {"a": Grid(intensity=series, power=POWER)}
    policy, rhythm = Threshold(threshold=100.0, leave_delay_s=0.0), replace(PAIR, join_s=60.0)
    played = rehearse(one, policy, rhythm=rhythm, until=2000.0, drains_s=(300.0,))
    assert [event.what for event in played.events] == ["join", "up", "drain", "marked", "reset", "back"]
    assert played.windows == {"a": [(0.0, 2000.0)]}


def test_leaving_at_once_emits_at_most_three_quarters_of_leaving_after_ten_minutes(grids):
    at_once, late = (
        emitted(grids, rehearse(grids, Threshold(threshold=100.0, leave_delay_s=delay)))
        for delay in (0.0, 600.0)
    )
    assert at_once == pytest.approx(0.954, rel=0.02)
    assert late == pytest.approx(1.338, rel=0.02)
    assert at_once <= 0.75 * late


@pytest.mark.parametrize("deadline_h", [14.6, 18.0])
def test_a_work_price_that_knows_the_day_is_within_five_percent_of_the_optimum(grids, deadline_h):
    planner = Planner(
        grids,
        policy=PolicyConfig(kind="work-price"),
        deadline_s=deadline_h * 3600,
        rhythm=PAIR,
        perfect=True,
        histories={},
    )
    played = rehearse(grids, WorkPrice(), until=deadline_h * 3600, plan=planner.plan)
    best = optimum(
        grids, work_s=WORK_S, deadline_s=deadline_h * 3600, join_s=345.0, pair_efficiency=PAIR.efficiency
    )
    assert best is not None
    assert best.schedule_kg <= 1.02 * best.emissions_kg
    assert played.played.finished_at is not None
    assert emitted(grids, played) <= 1.05 * best.schedule_kg


def test_an_outage_of_two_hours_never_starts_a_site_and_costs_little(grids):
    policy = Threshold(threshold=100.0, leave_delay_s=0.0)
    usual = emitted(grids, rehearse(grids, policy, until=24 * 3600.0))
    ratios = []
    for begin in range(0, 14 * 3600, 1800):
        played = rehearse(grids, policy, until=24 * 3600.0, outage=(begin, begin + 7200.0))
        starts = [event.t for event in played.events if event.what == "join"]
        assert not [t for t in starts if begin <= t < begin + 7200.0]
        ratios.append(emitted(grids, played) / usual)
    assert sorted(ratios)[len(ratios) // 2] <= 1.15
