"""Changing the epoch: who is in it after a failure, and that all who are agree."""

import threading
import time

import pytest

from curtail_dist.errors import Expelled
from curtail_dist.membership.records import Epoch, decode


@pytest.fixture
def form(town):
    """Write the epoch of some parties and wait until each of them sees it."""

    def form(*parties, number=3):
        standing = Epoch(number=number, members=tuple(party.me for party in parties), reason="joined")
        town.store.put(town.keys.epoch, standing.encode())
        for party in parties:
            assert party.board.wait(
                lambda board=party.board: True if board.epoch == standing else None, timeout=20.0
            )
        return standing

    return form


def stored_epoch(town):
    entry = town.store.get(town.keys.epoch)
    assert entry is not None
    return Epoch.decode(entry.value)


def at_once(*calls):
    """Make the calls from threads that set out together; return their results."""
    barrier = threading.Barrier(len(calls))
    results = [None] * len(calls)

    def run(number, call):
        barrier.wait(10)
        results[number] = call()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_who_lost_its_lease_is_left_out_without_waiting_for_the_grace(town, form):
    a, gone = town.party("a"), town.party("b", present=False)
    standing = form(a, gone)
    after = a.council(grace_s=1000.0).recover(standing)
    assert after == Epoch(number=4, members=(a.me,), reason="lost")
    assert stored_epoch(town) == after


def test_who_does_not_affirm_within_the_grace_is_left_out(town, form):
    a, mute = town.party("a"), town.party("b", watching=False)
    standing = form(a, mute)
    began = time.monotonic()
    after = a.council(grace_s=0.3).recover(standing)
    assert after.members == (a.me,)
    assert 0.3 <= time.monotonic() - began < 5.0


def test_all_who_affirm_stay_and_nobody_waits_for_the_grace(town, form):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    after = a.council(grace_s=1000.0).recover(standing)
    assert after == Epoch(number=4, members=(a.me, b.me), reason="lost")


def test_the_survivors_name_who_asked(town, form):
    a, b = town.party("a"), town.party("b")
    a.council().recover(form(a, b))
    entry = town.store.get(town.keys.suspect(3, "b"))
    assert entry is not None
    assert decode(entry.value) == {"by": "a"}


@pytest.mark.parametrize("repeat", range(5))
def test_two_survivors_who_decide_at_once_write_one_epoch(town, form, repeat):
    a, b, gone = town.party("a"), town.party("b"), town.party("c", present=False)
    standing = form(a, b, gone)
    before = town.store.list(town.keys.root).revision
    first, second = at_once(*(lambda party=party: party.council().recover(standing) for party in (a, b)))
    assert first == second == Epoch(number=4, members=(a.me, b.me), reason="lost")
    watch = town.store.watch(town.keys.epoch, revision=before + 1)
    assert len(watch.next(1.0)) == 1


def test_a_survivor_adopts_the_epoch_that_stands_already(town, form):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    wider = form(a, b, town.party("c"), number=5)
    assert a.council(grace_s=1000.0).recover(standing) == wider


def test_who_the_epoch_does_not_list_any_more_is_expelled(town, form):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    form(a, number=4)
    with pytest.raises(Expelled, match="site b: epoch 4 does not list this process; rejoining"):
        b.council().recover(standing)


def test_a_restarted_site_does_not_count_as_the_one_that_was_lost(town, form):
    a, old = town.party("a"), town.party("b", present=False)
    standing = form(a, old)
    again = town.party("b", incarnation="b2")
    town.stack.callback(again.board.close)
    assert a.board.wait(lambda: True if a.board.present.get("b") == again.me else None, timeout=20.0)
    assert a.council(grace_s=1000.0).recover(standing).members == (a.me,)


def test_others_live_while_one_of_them_holds_its_lease(town, form, eventually):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    assert a.council().others_live(standing)
    b.registration.close()
    eventually(lambda: not a.council().others_live(standing))


# Writing the epoch


def test_an_older_epoch_is_not_written_over_a_newer_one(town, form):
    a = town.party("a")
    newer = form(a, number=8)
    late = Epoch(number=8, members=(town.member("b"),), reason="lost")
    assert a.council().write(late) == newer
    assert stored_epoch(town) == newer


def test_the_first_epoch_is_written_into_an_empty_store(town):
    a = town.party("a")
    first = Epoch(number=1, members=(a.me,), reason="founded")
    assert a.council().write(first) == first
    assert a.board.epoch == first


def test_of_two_epochs_of_one_number_the_first_stands_for_both_writers(town, form):
    a, b = town.party("a"), town.party("b")
    form(a, b)
    wanted = [Epoch(number=4, members=(party.me,), reason="lost") for party in (a, b)]
    got = at_once(*(lambda p=p, w=w: p.council().write(w) for p, w in zip((a, b), wanted, strict=True)))
    assert got[0] == got[1] == stored_epoch(town)
    assert got[0] in wanted


def test_a_higher_rank_leaves_the_writing_to_the_lowest(town, form):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    following = Epoch(number=4, members=(a.me, b.me), reason="joined")
    results = []
    waiter = threading.Thread(
        target=lambda: results.append(b.council(grace_s=20.0).settle(standing, following))
    )
    waiter.start()
    revision = town.store.list(town.keys.root).revision
    a.council().settle(standing, following)
    waiter.join(30)
    assert results == [following]
    assert len(town.store.watch(town.keys.epoch, revision=revision + 1).next(1.0)) == 1


def test_a_higher_rank_writes_the_epoch_when_the_lowest_does_not(town, form):
    a, b = town.party("a"), town.party("b")
    standing = form(a, b)
    following = Epoch(number=4, members=(a.me, b.me), reason="joined")
    assert b.council(grace_s=0.1).settle(standing, following) == following
    assert stored_epoch(town) == following


def test_a_joiner_of_a_lower_name_does_not_keep_the_others_waiting(town, form):
    """It cannot write the epoch that lets it in: the lowest of those who stay does, at once."""
    b, joiner = town.party("b"), town.party("a", watching=False)
    standing = form(b)
    following = Epoch(number=4, members=(joiner.me, b.me), reason="joined")
    assert b.council(grace_s=1000.0).settle(standing, following) == following
