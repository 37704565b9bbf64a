"""Writing the epoch: a compare-and-swap, by one of those who derived it."""

import pytest
from town import DEADLINE_S, at_once, eventually

from curtail_dist.errors import Expelled, PeerLost
from curtail_dist.membership.effects import Await, Transact
from curtail_dist.membership.records import Epoch
from curtail_dist.membership.regroup import settle, write_epoch


def test_an_older_epoch_is_not_written_over_a_newer_one(town):
    a = town.party("a")
    newer = town.seat(a, number=8)
    late = Epoch(number=8, members=(town.member("b"),), reason="lost")
    assert a.run(write_epoch(a.part, late)) == newer
    assert town.epoch == newer


def test_an_epoch_that_stands_already_is_not_written_again(town):
    a = town.party("a")
    town.seat(a)
    following = Epoch(number=4, members=(a.me,), reason="lost")
    a.run(write_epoch(a.part, following))
    revision = town.revision
    assert a.run(write_epoch(a.part, following)) == following
    assert town.revision == revision


def test_of_two_epochs_of_one_number_the_first_stands_for_both_writers(town):
    a, b = town.party("a"), town.party("b")
    town.seat(a, b)
    wanted = [Epoch(number=4, members=(party.me,), reason="lost") for party in (a, b)]
    got = at_once(
        *(lambda p=p, w=w: p.run(write_epoch(p.part, w)) for p, w in zip((a, b), wanted, strict=True))
    )
    assert got[0] == got[1] == town.epoch
    assert got[0] in wanted


def test_an_epoch_that_changes_between_look_and_write_is_left_standing(town):
    a = town.party("a")
    town.seat(a)
    other = Epoch(number=4, members=(town.member("b"),), reason="lost")
    a.store.meanwhile = lambda: town.store.put(town.keys.epoch, other.encode())
    assert a.run(write_epoch(a.part, Epoch(number=4, members=(a.me,), reason="lost"))) == other
    assert town.epoch == other


def test_an_epoch_is_not_written_into_a_store_without_one(town):
    """Its keys were deleted: that is no new run."""
    a = town.party("a")
    with pytest.raises(PeerLost, match="the epoch record vanished"):
        a.run(write_epoch(a.part, Epoch(number=4, members=(a.me,), reason="lost")))
    assert town.store.get(town.keys.epoch) is None


def test_a_higher_rank_leaves_the_writing_to_the_lowest(town):
    a, b = town.party("a"), town.party("b", grace_s=1000.0)
    town.seat(a, b)
    following = Epoch(number=4, members=(a.me, b.me), reason="joined")
    revision = town.revision

    def first():
        eventually(lambda: b.count(Await))
        return a.run(settle(a.part, following))

    got = at_once(lambda: b.run(settle(b.part, following)), first)
    assert got == [following, following]
    assert town.writes(town.keys.epoch, since=revision) == 1
    assert not b.count(Transact)


def test_a_higher_rank_writes_the_epoch_when_the_lowest_does_not(town):
    a, b = town.party("a"), town.party("b", grace_s=0.1)
    town.seat(a, b)
    following = Epoch(number=4, members=(a.me, b.me), reason="joined")
    assert b.run(settle(b.part, following)) == following
    assert town.epoch == following


def test_a_joiner_of_a_lower_name_does_not_keep_the_others_waiting(town):
    """It cannot write the epoch that lets it in: the lowest of those who stay does, at once."""
    b, joiner = town.party("b", grace_s=1000.0), town.party("a", present=False)
    town.seat(b)
    following = Epoch(number=4, members=(joiner.me, b.me), reason="joined")
    assert b.run(settle(b.part, following)) == following


def test_a_drainer_of_a_lower_rank_does_not_keep_the_others_waiting(town):
    drainer, b = town.party("a"), town.party("b", grace_s=1000.0)
    town.seat(drainer, b)
    following = Epoch(number=4, members=(b.me,), reason="left")
    assert b.run(settle(b.part, following)) == following


def test_who_moved_on_without_this_process_is_told_by_the_epoch_that_stands(town):
    a, b = town.party("a"), town.party("b", grace_s=DEADLINE_S)
    town.seat(a, b)
    town.seat(a, number=9)
    assert b.run(settle(b.part, Epoch(number=4, members=(a.me, b.me), reason="joined"))).number == 9


def test_an_epoch_in_which_nobody_stays_is_not_written(town):
    """The only member's successor asks to enter: what takes its place need not be let in by it."""
    a, successor = town.party("a", present=False), town.member("a", "a2")
    standing = town.seat(a)
    with pytest.raises(Expelled, match="site a: a newer process of this site takes its place"):
        a.run(settle(a.part, Epoch(number=4, members=(successor,), reason="joined")))
    assert town.epoch == standing
