"""The board: what the store holds, seen without a call."""

import threading
import time

import pytest
from town import eventually

from curtail_dist.coordination.store import Entry
from curtail_dist.errors import StoreReplaced, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.notice import Notice
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
    view = town.party("b", present=False).board.view()
    assert view.epoch == founded
    assert view.head == HEAD


def test_a_board_follows_what_others_write_and_delete(town):
    a = town.party("a", present=False)
    assert not a.board.view().draining
    town.store.put(town.keys.drain("a"), Notice(reason="a test").encode())
    a.sees(lambda view: view.draining)
    town.store.delete(town.keys.drain("a"))
    a.sees(lambda view: not view.draining)


def test_a_drain_of_another_site_is_not_this_ones(town):
    a = town.party("a", present=False)
    town.store.put(town.keys.drain("b"), Notice(reason="a test").encode())
    a.sees(lambda view: town.keys.drain("b") in view.entries)
    assert not a.board.view().leaving


def test_a_board_does_not_show_another_run(town):
    a = town.party("a", present=False)
    town.store.put("/curtail/t2/head", HEAD.encode())
    town.store.put(town.keys.drain("a"), Notice(reason="a test").encode())
    a.sees(lambda view: view.draining)
    assert a.board.view().head is None
    assert list(a.board.view().entries) == [town.keys.drain("a")]


def test_a_view_stays_as_it_was_when_it_was_taken(town):
    a = town.party("a", present=False)
    before = a.board.view()
    town.store.put(town.keys.head, HEAD.encode())
    a.sees(lambda view: view.head == HEAD)
    assert before.entries == {}
    assert before.head is None


def test_that_the_process_is_to_end_is_seen_without_a_change_in_the_store(town):
    ending = threading.Event()
    board = Board(town.store, town.keys, site="a", ending=ending)
    board.start()
    town.stack.callback(board.close)
    assert not board.view().leaving
    ending.set()
    assert board.view().ending
    assert board.view().leaving
    assert not board.view().draining


def test_what_a_process_wrote_itself_is_seen_at_once(town):
    board = Board(town.store, town.keys)  # it never started to follow the store
    board.note(Entry(key=town.keys.head, value=HEAD.encode(), revision=2))
    assert board.view().head == HEAD


def test_news_older_than_what_was_noted_is_passed_over(town):
    board = Board(town.store, town.keys)
    board.note(Entry(key="k", value=b"new", revision=9))
    board.note(Entry(key="k", value=b"old", revision=8))
    assert board.view().entries["k"].value == b"new"


def test_a_wait_ends_with_the_first_result_that_is_not_none(town):
    board = town.party("a", present=False).board
    town.store.put(town.keys.head, HEAD.encode())
    assert board.wait(lambda view: view.head, timeout=20.0) == HEAD


def test_a_wait_takes_false_for_a_result(town):
    board = town.party("a", present=False).board
    assert board.wait(lambda _: False, timeout=1000.0) is False


def test_a_wait_for_what_does_not_come_ends_with_its_deadline(town):
    board = town.party("a", present=False).board
    began = time.monotonic()
    assert board.wait(lambda view: view.head, timeout=0.05) is None
    assert 0.05 <= time.monotonic() - began < 5.0


def test_a_wait_whose_time_is_over_still_looks_once(town, founded):
    board = town.party("b", present=False).board
    assert board.wait(lambda view: view.epoch, timeout=0.0) == founded


def test_who_waits_looks_again_when_woken(town):
    """What it waits for need not be in the store: a wake alone must do, and at once."""
    board, come, looks = town.party("a", present=False).board, threading.Event(), threading.Semaphore(0)

    def check(_):
        looks.release()
        return True if come.is_set() else None

    results = []
    waiter = threading.Thread(target=lambda: results.append(board.wait(check, timeout=20.0)))
    waiter.start()
    assert looks.acquire(timeout=10.0)
    come.set()
    board.wake()
    waiter.join(10.0)
    assert results == [True]


def test_what_a_wait_looks_at_may_itself_use_the_board(town, founded):
    """A check is not tried under a lock: it may look, wake and be slow."""
    board = town.party("b", present=False).board

    def check(view):
        other = threading.Thread(target=board.wake)
        other.start()
        other.join(10.0)
        return None if other.is_alive() else view.epoch

    assert board.wait(check, timeout=20.0) == founded


def test_a_board_on_a_store_that_is_away_does_not_start(town):
    store = town.store
    store.close()
    with pytest.raises(StoreUnavailable):
        Board(store, town.keys).start()


def test_in_an_outage_the_board_keeps_what_it_saw(town, founded):
    b = town.party("b", present=False)
    b.store.down = True
    eventually(lambda: b.store.refused)
    town.store.put(town.keys.drain("b"), Notice(reason="a test").encode())
    assert b.board.wait(lambda view: True if view.draining else None, timeout=0.4) is None
    assert b.board.view().epoch == founded
    assert b.board.failure is None


def test_after_an_outage_the_board_catches_up(town, founded):
    b = town.party("b", present=False)
    b.store.down = True
    eventually(lambda: b.store.refused > 1)
    town.store.put(town.keys.drain("b"), Notice(reason="a test").encode())
    town.store.delete(town.keys.head)
    b.store.down = False
    b.sees(lambda view: view.draining)
    assert b.board.view().head is None


@pytest.mark.parametrize("outage", [True, False])
def test_a_store_that_is_another_one_is_not_followed(town, founded, outage):
    b = town.party("b", present=False)
    b.store.down = outage
    eventually(lambda: b.store.refused or not outage)
    town.cluster.replace()
    b.store.down = False
    assert b.board.wait(lambda _: b.board.failure, timeout=20.0)
    assert isinstance(b.board.failure, StoreReplaced)
    assert b.board.view().epoch == founded


def test_close_is_idempotent_and_ends_the_thread(town):
    board = town.party("a", present=False).board
    board.close()
    board.close()
    town.store.put(town.keys.head, HEAD.encode())
    assert board.wait(lambda view: view.head, timeout=0.05) is None
