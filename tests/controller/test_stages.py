"""The pure rules of a site's agent."""

from curtail_dist.energy.policy import Threshold
from curtail_dist.energy.signals import Reading
from curtail_dist.membership.provision import RanksState
from curtail_dist.membership.stages import (
    MAX_FAILURES,
    Fate,
    Move,
    Standing,
    back,
    failed,
    fate,
    gives_up,
    left,
    move,
    parked,
    started,
    woken,
)

POLICY = Threshold(threshold=100.0, leave_delay_s=600.0)
GREEN = Reading(value=50.0, measured_at=0.0)
DIRTY = Reading(value=300.0, measured_at=0.0)
ON = started(Standing())


def up(*ranks: int) -> RanksState:
    return RanksState(running=True, pid=1, ranks=ranks)


def test_a_site_that_is_off_starts_below_the_threshold_and_one_that_is_on_does_not():
    assert move(Standing(), POLICY, reading=GREEN, now=0.0)[0] is Move.START
    assert move(ON, POLICY, reading=GREEN, now=0.0)[0] is Move.NONE


def test_a_site_leaves_once_the_delay_has_passed():
    _, _, standing = move(ON, POLICY, reading=DIRTY, now=0.0)
    assert move(standing, POLICY, reading=DIRTY, now=599.0)[0] is Move.NONE
    assert move(standing, POLICY, reading=DIRTY, now=600.0)[0] is Move.DRAIN


def test_an_unknown_intensity_starts_nothing_and_drains_what_runs():
    assert move(Standing(), POLICY, reading=None, now=0.0)[0] is Move.NONE
    assert move(ON, POLICY, reading=None, now=0.0)[0] is Move.DRAIN


def test_failed_starts_are_retried_after_a_growing_while():
    first = failed(Standing(), now=0.0, backoff_s=60.0)
    assert move(first, POLICY, reading=GREEN, now=59.0)[0] is Move.NONE
    assert move(first, POLICY, reading=GREEN, now=60.0)[0] is Move.START
    second = failed(first, now=60.0, backoff_s=60.0)
    assert move(second, POLICY, reading=GREEN, now=179.0)[0] is Move.NONE
    assert move(second, POLICY, reading=GREEN, now=180.0)[0] is Move.START


def test_after_three_failures_the_site_stays_off_until_the_next_window():
    standing = Standing()
    for _ in range(MAX_FAILURES):
        standing = failed(standing, now=0.0, backoff_s=60.0)
    assert gives_up(standing)
    wanted, _, standing = move(standing, POLICY, reading=GREEN, now=1e9)
    assert wanted is Move.NONE
    wanted, _, standing = move(standing, POLICY, reading=DIRTY, now=1e9)
    assert wanted is Move.NONE
    assert move(standing, POLICY, reading=GREEN, now=1e9)[0] is Move.START


def test_an_orderly_end_forgets_failures():
    assert left(failed(Standing(), now=0.0, backoff_s=1.0)).failures == 0


def test_ranks_that_are_all_there_or_have_only_appeared_are_alive():
    assert fate(ON, up()) is Fate.ALIVE
    assert fate(ON, up(7)) is Fate.ALIVE
    assert fate(Standing(on=True, ranks=(7,)), up(7)) is Fate.ALIVE


def test_a_rank_with_another_id_was_restarted_and_one_without_successor_is_unclear():
    known = Standing(on=True, ranks=(7,))
    assert fate(known, up(8)) is Fate.RESTARTED
    assert fate(known, up()) is Fate.UNCLEAR
    assert fate(known, RanksState(running=False, code=0)) is Fate.ENDED


PARKED = parked(Standing(on=True, ranks=(7,)))


def test_parked_ranks_are_asked_back_below_the_threshold_and_left_alone_above():
    assert move(PARKED, POLICY, reading=GREEN, now=0.0)[0] is Move.WAKE
    assert move(PARKED, POLICY, reading=DIRTY, now=1e9)[0] is Move.NONE
    assert move(PARKED, POLICY, reading=None, now=1e9)[0] is Move.NONE


def test_ranks_that_were_asked_back_are_not_asked_twice_and_can_be_drained_again():
    assert move(woken(PARKED), POLICY, reading=GREEN, now=0.0)[0] is Move.NONE
    _, _, standing = move(woken(PARKED), POLICY, reading=DIRTY, now=0.0)
    assert move(standing, POLICY, reading=DIRTY, now=600.0)[0] is Move.DRAIN


def test_parked_ranks_that_end_in_order_have_expired_and_any_other_loss_is_one():
    assert fate(PARKED, up(7)) is Fate.ALIVE
    assert fate(PARKED, RanksState(running=False, code=0)) is Fate.EXPIRED
    assert fate(PARKED, RanksState(running=False, code=1)) is Fate.LOST
    assert fate(PARKED, up()) is Fate.LOST
    assert fate(PARKED, up(8)) is Fate.LOST


def test_ranks_that_end_in_order_while_they_are_asked_back_have_expired_but_not_once_they_are_back():
    over = RanksState(running=False, code=0)
    assert fate(woken(PARKED), over) is Fate.EXPIRED
    assert fate(woken(PARKED), RanksState(running=False, code=1)) is Fate.ENDED
    assert fate(back(woken(PARKED)), over) is Fate.ENDED


def test_nothing_of_a_parking_outlives_the_ranks():
    for standing in (left(PARKED), left(woken(PARKED)), failed(woken(PARKED), now=0.0, backoff_s=1.0)):
        assert not (standing.on or standing.parked or standing.waking)
    assert not started(PARKED).parked
