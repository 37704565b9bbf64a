"""The stages of a site: what its policy, an operator and its ranks make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.energy.policy import Threshold
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import (
    MAX_FAILURES,
    Bar,
    Move,
    Stage,
    Standing,
    again,
    draining,
    failed,
    gone,
    overruled,
    parked,
    polled,
    started,
    stayed,
    up,
)

POLICY = Threshold(threshold=100.0, leave_delay_s=600.0)
AT_ONCE = Threshold(threshold=100.0, leave_delay_s=0.0)
GREEN = Reading(value=50.0, measured_at=0.0)
DIRTY = Reading(value=300.0, measured_at=0.0)
OFF = Standing()
JOINING = started(OFF, now=0.0)
ON = up(JOINING, now=0.0)
DRAINING = draining(ON, now=0.0)
PARKED = parked(DRAINING, now=0.0)
HELD = Bar(reason="held")
OUT = Bar(reason="drained", leaves=True)


def move(standing, reading, *, now=0.0, policy=AT_ONCE, **given) -> Move:
    return polled(standing, policy, reading=reading, now=now, **given)[0]


@pytest.mark.parametrize(
    ("standing", "green", "dirty", "unknown"),
    [
        (OFF, Move.START, Move.NONE, Move.NONE),
        (PARKED, Move.START, Move.NONE, Move.NONE),
        (JOINING, Move.NONE, Move.DRAIN, Move.DRAIN),
        (ON, Move.NONE, Move.DRAIN, Move.DRAIN),
        (DRAINING, Move.STAY, Move.NONE, Move.NONE),
        (draining(ON, now=0.0, final=True), Move.NONE, Move.NONE, Move.NONE),
    ],
    ids=["off", "parked", "joining", "on", "draining", "stopped"],
)
def test_what_a_reading_makes_of_a_stage(standing, green, dirty, unknown):
    assert (move(standing, GREEN), move(standing, DIRTY), move(standing, None)) == (green, dirty, unknown)


def test_a_site_leaves_once_the_delay_has_passed():
    _, _, standing = polled(ON, POLICY, reading=DIRTY, now=0.0)
    assert move(standing, DIRTY, now=599.0, policy=POLICY) is Move.NONE
    assert move(standing, DIRTY, now=600.0, policy=POLICY) is Move.DRAIN


def test_as_the_prototype_did_joins_and_drains_are_seen_through():
    assert move(JOINING, DIRTY, cancels=False) is Move.NONE
    assert move(DRAINING, GREEN, cancels=False) is Move.NONE
    assert move(ON, DIRTY, cancels=False) is Move.DRAIN


def test_failed_starts_are_retried_after_a_growing_while():
    first = failed(JOINING, now=0.0, backoff_s=60.0)
    assert move(first, GREEN, now=59.0) is Move.NONE
    assert move(first, GREEN, now=60.0) is Move.START
    second = failed(first, now=60.0, backoff_s=60.0)
    assert move(second, GREEN, now=179.0) is Move.NONE
    assert move(second, GREEN, now=180.0) is Move.START


def test_after_three_failures_the_site_stays_off_until_the_next_window():
    standing = OFF
    for _ in range(MAX_FAILURES):
        standing = failed(standing, now=0.0, backoff_s=60.0)
    assert standing.gives_up
    assert move(standing, GREEN, now=1e9) is Move.NONE
    _, _, standing = polled(standing, AT_ONCE, reading=DIRTY, now=1e9)
    assert move(standing, GREEN, now=1e9) is Move.START


def test_an_orderly_end_forgets_failures():
    assert gone(failed(OFF, now=0.0, backoff_s=1.0), now=0.0).failures == 0


@pytest.mark.parametrize("bar", [HELD, OUT], ids=["hold", "drain"])
@pytest.mark.parametrize("standing", [OFF, PARKED, DRAINING], ids=["off", "parked", "draining"])
def test_a_barred_site_neither_starts_nor_stays(standing, bar):
    found, decision, _ = polled(standing, AT_ONCE, reading=GREEN, now=0.0, bar=bar)
    assert found is Move.NONE
    assert decision.reason == bar.reason


def test_a_held_site_that_is_on_stays_until_its_policy_has_it_leave():
    assert move(ON, GREEN, bar=HELD) is Move.NONE
    assert move(ON, DIRTY, bar=HELD) is Move.DRAIN
    assert overruled(ON, HELD) is None


def test_an_order_to_leave_needs_no_reading_and_a_held_site_does_not_go_on_joining():
    assert overruled(ON, OUT) is not None
    assert overruled(JOINING, HELD) is not None
    assert move(ON, GREEN, bar=OUT) is Move.DRAIN
    assert overruled(OFF, OUT) is None
    assert overruled(DRAINING, OUT) is None


def test_a_drain_that_is_taken_back_leads_to_where_it_came_from():
    assert stayed(DRAINING, now=5.0).stage is Stage.ON
    assert stayed(draining(JOINING, now=1.0), now=5.0).stage is Stage.JOINING
    assert stayed(DRAINING, now=5.0).recalled


def test_what_was_asked_back_is_in_the_run_again_only_once_it_has_come():
    back = started(PARKED, now=1.0)
    assert back.recalled
    assert not back.parked
    assert not up(back, now=2.0).recalled


def test_a_rank_that_was_restarted_comes_in_anew():
    assert again(ON, now=3.0).stage is Stage.JOINING


ENDS = st.sampled_from(["up", "gone", "failed", "parked", "again"])
READINGS = st.sampled_from([GREEN, DIRTY, None])
BARS = st.sampled_from([None, None, HELD, OUT])


@given(st.lists(st.tuples(READINGS, BARS, ENDS), max_size=60))
def test_no_sequence_of_events_starts_a_barred_or_blind_site_or_one_that_runs(events):
    standing, now = OFF, 0.0
    for reading, bar, end in events:
        now += 60.0
        before = standing.stage
        found, _, standing = polled(standing, AT_ONCE, reading=reading, now=now, bar=bar)
        if found is Move.START:
            assert before is Stage.OFF
            assert reading is GREEN
            assert bar is None
            standing = started(standing, now=now)
        elif found is Move.DRAIN:
            assert before in (Stage.JOINING, Stage.ON)
            standing = draining(standing, now=now)
        elif found is Move.STAY:
            assert before is Stage.DRAINING
            assert bar is None
            standing = stayed(standing, now=now)
        standing = happened(standing, end, now)
        assert standing.parked <= (standing.stage is Stage.OFF)


def happened(standing: Standing, end: str, now: float) -> Standing:
    """Let the ranks do what they may do at this stage."""
    if standing.stage is Stage.JOINING and end in ("up", "failed"):
        return up(standing, now=now) if end == "up" else failed(standing, now=now, backoff_s=60.0)
    if standing.stage is Stage.ON and end == "again":
        return again(standing, now=now)
    if standing.stage is Stage.DRAINING and end in ("gone", "parked"):
        return gone(standing, now=now) if end == "gone" else parked(standing, now=now)
    return standing
