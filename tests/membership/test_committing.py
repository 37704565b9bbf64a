"""Writing a commit: fenced by epoch and parent, exactly once, through lost answers, outages and bad disks."""

import threading
from dataclasses import replace

import pytest
from town import HEAD, NEXT, at_once, eventually

from curtail_dist.errors import PeerLost, StoreUnavailable
from curtail_dist.membership import effects as do
from curtail_dist.membership.committing import write_commit
from curtail_dist.membership.records import Commit, Epoch, Word


@pytest.fixture
def alone(town):
    """A process whose epoch has no other member."""
    a = town.party("a", outage_s=100.0)
    town.seat(a)
    return a


def commit(party, record=NEXT):
    return party.run(write_commit(party.part, record))


def made_durable(party):
    return [(effect.record, effect.copy) for effect in party.asked if isinstance(effect, do.MakeDurable)]


def test_the_record_becomes_head_and_its_writer_sees_it(town, alone):
    alone.board.close()
    assert commit(alone) is True
    assert town.head == NEXT
    assert alone.board.view().head == NEXT


# What must be durable


def test_what_must_be_durable_is_so_before_the_record_stands(town, alone):
    seen = []
    alone.answers[do.MakeDurable] = lambda _: seen.append(town.head)
    commit(alone)
    assert seen == [HEAD, HEAD]
    assert made_durable(alone) == [(HEAD, False), (NEXT, True)]


def test_the_new_version_may_become_durable_later_where_the_run_allows_it(town):
    a = town.party("a", durable_before_commit=False)
    town.seat(a)
    commit(a)
    assert town.head == NEXT
    assert made_durable(a) == [(HEAD, False)]


def fail_disk(party, times):
    """Let writing fail so often."""
    left = [times]

    def write(_):
        if left[0]:
            left[0] -= 1
            raise OSError("no space left on device")

    party.answers[do.MakeDurable] = write


def test_a_disk_that_fails_is_tried_again(town, alone):
    fail_disk(alone, 3)
    commit(alone)
    assert town.head == NEXT
    assert alone.count(do.Pause) == 3


def test_a_disk_that_goes_on_failing_ends_the_wait_at_the_bound(town, alone):
    fail_disk(alone, 10**6)
    began = alone.now()
    with pytest.raises(OSError, match="no space left"):
        commit(alone)
    assert town.head == HEAD
    assert 100.0 <= alone.now() - began < 110.0


# Fences


def move_on(town):
    newer = Epoch(number=4, members=(town.member("b"),), reason="lost")
    town.store.put(town.keys.epoch, newer.encode())


def test_a_stale_epoch_cannot_commit(town, alone):
    move_on(town)
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert town.head == HEAD


def test_an_epoch_that_changes_between_look_and_write_fences_the_commit_off(town, alone):
    alone.store.meanwhile = lambda: move_on(town)
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert alone.count(do.Transact) == 1
    assert town.head == HEAD


def test_an_epoch_of_the_same_number_with_other_members_fences_the_commit_off(town, alone):
    other = Epoch(number=3, members=(town.member("a", "a2"),), reason="joined")
    town.store.put(town.keys.epoch, other.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert town.head == HEAD


def test_a_commit_on_another_parent_is_fenced_off(town, alone):
    other = Commit(version=4, hash="other", parent="h3", epoch=3, total_rows=10)
    town.store.put(town.keys.head, other.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert town.head == other


def test_a_commit_of_the_same_bytes_by_others_is_another_one(town, alone):
    """The others went on without this member, and none of their rounds moved anything."""
    move_on(town)
    theirs = replace(NEXT, epoch=4, work=(), done=())
    assert theirs != NEXT
    town.store.put(town.keys.head, theirs.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert town.head == theirs


def test_a_record_that_has_a_successor_already_stands_and_is_not_head(town, alone):
    """Its answer was lost, and the others went on without this member before it asked again."""
    move_on(town)
    following = Commit(version=5, hash="h5", parent=NEXT.hash, epoch=4, total_rows=10)
    town.store.put(town.keys.head, following.encode())
    assert commit(alone) is False
    assert town.head == following
    assert not alone.count(do.Transact)


def test_a_head_that_changes_between_look_and_write_fences_the_commit_off(town, alone):
    other = Commit(version=4, hash="other", parent="h3", epoch=3, total_rows=10)
    alone.store.meanwhile = lambda: town.store.put(town.keys.head, other.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(alone)
    assert town.head == other


@pytest.mark.parametrize("key", ["head", "epoch"])
def test_a_run_whose_keys_vanished_is_not_begun_anew_by_a_commit(town, alone, key):
    town.store.delete(getattr(town.keys, key))
    with pytest.raises(PeerLost, match="keys vanished from the store; have `curtail recover`"):
        commit(alone)
    assert town.store.get(getattr(town.keys, key)) is None


# Answers that do not come


def test_a_commit_that_stands_already_is_not_written_again(town, alone):
    commit(alone)
    revision = town.revision
    commit(alone)
    assert town.revision == revision


def test_a_commit_whose_answer_was_lost_is_found_standing_and_not_repeated(town, alone):
    revision = town.revision
    alone.store.lost = 1
    commit(alone)
    assert town.head == NEXT
    assert town.writes(town.keys.head, since=revision) == 1


def test_a_commit_waits_for_a_store_that_comes_back(town, alone):
    alone.suffer_outage(90.0)
    commit(alone)
    assert town.head == NEXT
    assert alone.passed_s >= 90.0


def test_an_outage_longer_than_the_bound_ends_the_wait(town, alone):
    alone.suffer_outage(1000.0)
    began = alone.now()
    with pytest.raises(StoreUnavailable):
        commit(alone)
    assert town.head == HEAD
    assert 100.0 <= alone.now() - began < 110.0


def test_a_holder_key_that_was_not_written_holds_the_commit_back(town, alone):
    left = [1]

    def write(_):
        if left:
            left.pop()
            raise StoreUnavailable("the holder key was not written")

    alone.answers[do.MakeDurable] = write
    commit(alone)
    assert town.head == NEXT
    assert made_durable(alone) == [(HEAD, False), (HEAD, False), (NEXT, True)]


# Several members


def test_members_who_commit_together_write_one_record(town):
    parties = [town.party(site) for site in "abc"]
    town.seat(*parties)
    revision = town.revision
    at_once(*(lambda party=party: commit(party) for party in parties))
    assert town.head == NEXT
    assert town.writes(town.keys.head, since=revision) == 1


def test_a_higher_rank_makes_nothing_durable_when_the_lowest_writes(town):
    low, high = town.party("a"), town.party("b")
    town.seat(low, high)
    waiting = threading.Thread(target=lambda: commit(high))
    waiting.start()
    eventually(lambda: high.count(do.Await))
    commit(low)
    waiting.join(20)
    assert not waiting.is_alive()
    assert made_durable(low)
    assert not made_durable(high)
    assert not high.count(do.Transact)


def leave(town, low):
    low.leave()


def miss_another(town, low):
    word = Word(epoch=3, incarnation=low.me.incarnation)
    town.store.put(town.keys.suspect(low.me.site), word.encode())


def restart(town, low):
    town.party("a", "a2")


@pytest.mark.parametrize("what", [leave, miss_another, restart])
def test_a_higher_rank_writes_the_record_when_the_lowest_cannot_be_counted_on(town, what):
    low, high = town.party("a"), town.party("b", patience_s=1000.0)
    town.seat(low, high)
    what(town, low)
    commit(high)
    assert town.head == NEXT
    low.sees(lambda view: view.head == NEXT)


def test_a_higher_rank_writes_the_record_when_the_lowest_lives_and_does_nothing(town):
    low, high = town.party("a"), town.party("b", patience_s=0.1)
    town.seat(low, high)
    commit(high)
    assert town.head == NEXT


def test_a_higher_rank_waits_while_any_lower_one_lives(town):
    """The lowest is gone, the one between lives: it writes."""
    a, b, c = town.party("a", present=False), town.party("b"), town.party("c", patience_s=1000.0)
    town.seat(a, b, c)
    waiting = threading.Thread(target=lambda: commit(c))
    waiting.start()
    eventually(lambda: c.count(do.Await) >= 1)
    commit(b)
    waiting.join(20)
    assert not waiting.is_alive()
    assert not c.count(do.Transact)


def test_a_member_that_waits_is_told_when_the_epoch_moved_on(town):
    low, high = town.party("a"), town.party("b", patience_s=1000.0)
    town.seat(low, high)
    move_on(town)
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(high)
    assert town.head == HEAD
