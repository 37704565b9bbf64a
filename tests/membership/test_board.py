"""The board: what the store holds, seen without a call."""

import time

import pytest

from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.records import Commit, Epoch

HEAD = Commit(version=1, hash="h1", parent="h0", epoch=1, total_rows=10, done=((0, 10),))


@pytest.fixture
def founded(town):
    """A store with an epoch and a head."""
    first = Epoch(number=1, members=(town.member("a"),), reason="founded")
    town.store.put(town.keys.epoch, first.encode())
    town.store.put(town.keys.head, HEAD.encode())
    return first


def test_a_board_shows_what_stood_before_it_began(town, founded):
    board = town.party("b", present=False).board
    assert board.epoch == founded
    assert board.head == HEAD
    assert board.head.complete


def test_a_board_follows_what_others_write_and_delete(town, eventually):
    board = town.party("a", present=False).board
    key = town.keys.drain("a")
    assert board.entry(key) is None
    town.store.put(key, b"{}")
    eventually(lambda: board.entry(key) is not None)
    assert board.below(f"{town.keys.root}drain/") == [key]
    town.store.delete(key)
    eventually(lambda: board.entry(key) is None)


def test_a_board_does_not_show_another_run(town, eventually):
    board = town.party("a", present=False).board
    town.store.put("/curtail/t2/head", HEAD.encode())
    town.store.put(town.keys.drain("a"), b"{}")
    eventually(lambda: board.entry(town.keys.drain("a")))
    assert board.head is None
    assert board.below("/curtail/t2/") == []


def test_present_are_the_sites_whose_lease_lives(town, eventually):
    a = town.party("a")
    town.party("b", present=False)
    assert a.board.present == {"a": a.me}
    a.registration.close()
    eventually(lambda: a.board.present == {})


def test_what_a_process_wrote_itself_is_seen_at_once(town):
    board = town.party("a", present=False).board
    board.note(town.keys.head, HEAD.encode(), town.store.put(town.keys.head, HEAD.encode()))
    assert board.head == HEAD


def test_news_older_than_what_was_noted_is_passed_over(town):
    board = town.party("a", present=False).board
    board.note("k", b"new", 9)
    board.note("k", b"old", 8)
    entry = board.entry("k")
    assert entry is not None
    assert entry.value == b"new"


def test_a_wait_ends_with_the_first_result_that_is_not_none(town):
    board = town.party("a", present=False).board
    town.store.put(town.keys.head, HEAD.encode())
    assert board.wait(lambda: board.head, timeout=20.0) == HEAD


def test_a_wait_for_what_does_not_come_ends_with_its_deadline(town):
    board = town.party("a", present=False).board
    began = time.monotonic()
    assert board.wait(lambda: board.head, timeout=0.05) is None
    assert 0.05 <= time.monotonic() - began < 5.0


def test_a_board_on_a_store_that_is_away_does_not_start(town):
    store = town.store
    store.close()
    with pytest.raises(StoreUnavailable):
        Board(store, town.keys).start()


def test_in_an_outage_the_board_keeps_what_it_saw_and_says_since_when(town, founded, eventually):
    party = town.party("b", present=False)
    party.store.down = True
    eventually(lambda: party.board.stale_s > 0.4)
    town.store.put(town.keys.drain("b"), b"{}")
    assert party.board.wait(lambda: party.board.entry(town.keys.drain("b")), timeout=0.4) is None
    assert party.board.epoch == founded


def test_after_an_outage_the_board_catches_up(town, founded, eventually):
    party = town.party("b", present=False)
    party.store.down = True
    eventually(lambda: party.board.stale_s > 0.4)
    town.store.put(town.keys.drain("b"), b"{}")
    town.store.delete(town.keys.head)
    party.store.down = False
    eventually(lambda: party.board.entry(town.keys.drain("b")) is not None)
    assert party.board.head is None
    assert party.board.stale_s < 5.0


def test_changes_are_reacted_to_in_their_order(town, eventually):
    seen = []
    board = Board(town.store, town.keys, react=lambda change: seen.append(change.key))
    board.start()
    town.stack.callback(board.close)
    wanted = [town.keys.suspect(epoch, "a") for epoch in range(5)]
    for key in wanted:
        town.store.put(key, b"{}")
    eventually(lambda: len(seen) >= len(wanted))
    assert seen == wanted


def test_close_is_idempotent_and_ends_the_thread(town):
    board = town.party("a", present=False).board
    board.close()
    board.close()
    town.store.put(town.keys.head, HEAD.encode())
    assert board.wait(lambda: board.head, timeout=0.05) is None
