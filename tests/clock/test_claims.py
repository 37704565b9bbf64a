"""The rules by which virtual time moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.clock.claims import Claims, Stance
from curtail_dist.errors import CoordinationError


def test_time_moves_to_the_least_claim_once_nobody_is_busy():
    claims = Claims()
    claims.attach("a", "work")
    claims.attach("b", "work")
    claims.claim("a", 3.0)
    assert claims.advance() == ()
    assert claims.now == 0.0
    claims.claim("b", 5.0)
    assert claims.advance() == ("a",)
    assert claims.now == 3.0


def test_all_who_claimed_the_same_moment_become_busy_at_once():
    claims = Claims()
    for name in ("b", "a", "c"):
        claims.attach(name, "work")
    claims.claim("b", 2.0)
    claims.claim("a", 2.0)
    claims.claim("c", 4.0)
    assert claims.advance() == ("a", "b")
    assert claims.advance() == ()


def test_a_claim_of_nothing_leaves_the_participant_busy():
    claims = Claims()
    claims.attach("a", "work")
    claims.claim("a", 0.0)
    assert claims.stance("a") is Stance.BUSY


@pytest.mark.parametrize("duration", [-1.0, float("nan")])
def test_a_claim_into_the_past_is_refused(duration):
    claims = Claims()
    claims.attach("a", "work")
    with pytest.raises(CoordinationError, match="at least 0"):
        claims.claim("a", duration)


def test_time_moves_up_to_a_reservation_and_no_further():
    claims = Claims()
    claims.attach("agent", "poll")
    claims.reserve("rank", 90.0)
    claims.claim("agent", 60.0)
    assert claims.advance() == ("agent",)
    claims.claim("agent", 60.0)
    assert claims.advance() == ()
    assert claims.now == 90.0
    claims.attach("rank", "work")
    claims.arrive("rank")
    assert claims.stance("rank") is Stance.BUSY


def test_a_newcomer_that_sets_up_holds_nobody_before_its_moment():
    claims = Claims()
    claims.attach("a", "work")
    claims.reserve("rank", 10.0)
    claims.attach("rank", "work")
    claims.claim("a", 4.0)
    assert claims.advance() == ("a",)
    claims.arrive("rank")
    claims.claim("a", 20.0)
    assert claims.advance() == ("rank",)
    assert claims.now == 10.0


def test_a_newcomer_that_waits_for_a_peer_keeps_its_moment():
    claims = Claims()
    claims.attach("a", "work")
    claims.reserve("rank", 10.0)
    claims.attach("rank", "work")
    claims.wait("rank")
    claims.claim("a", 20.0)
    assert claims.advance() == ()
    assert claims.now == 10.0
    claims.resume("rank")
    assert claims.stance("rank") is Stance.EXPECTED


def test_a_released_reservation_lets_time_go_on():
    claims = Claims()
    claims.attach("agent", "poll")
    claims.reserve("rank", 1.0)
    claims.claim("agent", 60.0)
    assert claims.advance() == ()
    claims.release("rank")
    assert claims.advance() == ("agent",)


def test_a_second_reservation_keeps_the_place_of_one_that_has_not_come_yet():
    claims = Claims()
    claims.attach("agent", "poll")
    claims.reserve("rank", 10.0)
    claims.reserve("rank", 0.0)
    claims.claim("agent", 60.0)
    claims.advance()
    assert claims.now == 10.0
    claims.attach("rank", "work")
    claims.leave("rank", lost=False)
    assert claims.stance("rank") is Stance.EXPECTED


def test_time_holds_while_all_work_participants_wait_for_each_other():
    claims = Claims()
    for name in ("a", "b"):
        claims.attach(name, "work")
        claims.wait(name)
    claims.attach("agent", "poll")
    claims.claim("agent", 60.0)
    assert claims.advance() == ()
    assert claims.now == 0.0


def test_a_work_claim_moves_time_for_those_who_wait():
    claims = Claims()
    claims.attach("a", "work")
    claims.attach("b", "work")
    claims.wait("a")
    claims.claim("b", 7.0)
    assert claims.advance() == ("b",)
    claims.resume("a")
    assert claims.stance("a") is Stance.BUSY


def test_polls_alone_move_time_when_all_sites_are_dark():
    claims = Claims()
    claims.attach("x", "poll")
    claims.attach("y", "poll")
    claims.claim("x", 60.0)
    claims.wait("y")
    assert claims.advance() == ("x",)


def test_a_killed_work_participant_is_expected_again_for_its_last_reservation():
    claims = Claims()
    claims.attach("agent", "poll")
    claims.reserve("rank", 30.0)
    claims.attach("rank", "work")
    claims.claim("agent", 100.0)
    claims.arrive("rank")
    assert claims.advance() == ("rank",)
    claims.leave("rank", lost=True)
    assert claims.advance() == ()
    assert claims.now == 60.0
    claims.release("rank")
    assert claims.advance() == ("agent",)


def test_a_work_participant_that_says_farewell_is_not_expected_again():
    claims = Claims()
    claims.reserve("rank", 30.0)
    claims.attach("rank", "work")
    claims.leave("rank", lost=False)
    assert claims.stance("rank") is None


def test_a_lost_participant_that_never_was_reserved_is_forgotten():
    claims = Claims()
    claims.attach("rank", "work")
    claims.leave("rank", lost=True)
    assert claims.stance("rank") is None


def test_a_lost_poll_participant_is_forgotten():
    claims = Claims()
    claims.reserve("agent", 5.0)
    claims.attach("agent", "poll")
    claims.leave("agent", lost=True)
    assert claims.stance("agent") is None


def test_a_place_that_is_kept_holds_time_from_an_orderly_leave_until_released():
    claims = Claims()
    claims.attach("agent", "poll")
    claims.attach("rank", "work")
    claims.reserve("rank", 0.0)
    claims.claim("agent", 60.0)
    claims.claim("rank", 5.0)
    assert claims.advance() == ("rank",)
    claims.leave("rank", lost=False)
    assert claims.advance() == ()
    assert claims.now == 5.0
    claims.release("rank")
    assert claims.advance() == ("agent",)


def test_a_name_attaches_once():
    claims = Claims()
    claims.attach("a", "work")
    with pytest.raises(CoordinationError, match="must leave first"):
        claims.attach("a", "work")


def test_an_unknown_participant_cannot_claim():
    with pytest.raises(CoordinationError, match="must attach first"):
        Claims().claim("a", 1.0)


NAMES = ("rank:a", "rank:b", "agent:a", "agent:b")
OPERATIONS = st.tuples(
    st.sampled_from(
        ("attach", "claim", "arrive", "wait", "resume", "reserve", "release", "leave", "lost", "claim")
    ),
    st.sampled_from(NAMES),
    st.integers(0, 12),
)


def apply(claims: Claims, op: str, name: str, duration: int) -> None:
    if op == "attach" and not claims.attached(name):
        claims.attach(name, "work" if name.startswith("rank") else "poll")
    elif op == "reserve":
        claims.reserve(name, duration)
    elif op == "release":
        claims.release(name)
    elif op == "claim" and claims.stance(name) is Stance.BUSY:
        claims.claim(name, duration)
    elif claims.attached(name) and op in ("arrive", "wait", "resume"):
        if claims.stance(name) is not Stance.CLAIMING:
            getattr(claims, op)(name)
    elif claims.attached(name) and op in ("leave", "lost"):
        claims.leave(name, lost=op == "lost")


@given(st.lists(OPERATIONS, max_size=60))
def test_time_never_goes_back_passes_no_claim_and_never_stands_still_without_cause(operations):
    claims = Claims()
    due: dict[str, float] = {}
    for op, name, duration in operations:
        before = claims.now
        apply(claims, op, name, duration)
        stances = {one: claims.stance(one) for one in NAMES}
        if op == "claim" and stances[name] is Stance.CLAIMING and name not in due:
            due[name] = before + duration
        due = {one: moment for one, moment in due.items() if stances[one] is Stance.CLAIMING}
        woken = claims.advance()
        assert claims.now >= before
        if Stance.BUSY in stances.values():
            assert claims.now == before
            assert woken == ()
        assert all(claims.now <= moment for moment in due.values())
        assert all(claims.now >= due.pop(one, claims.now) for one in woken)
        working = [one for one in NAMES if one.startswith("rank")]
        free = not {Stance.BUSY, Stance.EXPECTED, Stance.WAITING} & set(stances.values())
        if free and Stance.CLAIMING in stances.values():
            assert woken, "nobody holds the clock and somebody claims, so somebody must have been woken"
        if any(stances[one] is Stance.WAITING for one in working) and not any(
            stances[one] in (Stance.CLAIMING, Stance.EXPECTED) for one in working
        ):
            # A waiter may have a moment reserved: time then moves there and wakes polls on its way.
            assert all(one.startswith("agent") for one in woken)
