"""A process's calls to the store: what it tells of the store's silence, and what it enters on its board."""

import pytest
from town import HEAD, NEXT

from curtail_dist.errors import LeaseExpired, StoreUnavailable
from curtail_dist.membership.effects import KeepAlive, PutLeased, Read, Transact
from curtail_dist.telemetry.record import read_events


@pytest.fixture
def a(town):
    """A process whose board stands still: what it shows came from the process's own calls."""
    party = town.party("a", present=False)
    town.seat(party)
    party.board.close()
    return party


def events(town):
    return [record.event for record in read_events(town.folder)]


def test_an_outage_is_told_once_and_so_is_its_end(town, a):
    a.store.down = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            a.contact.read(Read([town.keys.head]))
    assert events(town) == ["store_lost"]
    a.store.down = False
    for _ in range(3):
        a.contact.read(Read([town.keys.head]))
    assert events(town) == ["store_lost", "store_found"]


def test_the_store_is_silent_from_its_last_answer_to_its_next(town, a):
    assert a.contact.silent_s == 0.0
    a.store.down = True
    with pytest.raises(StoreUnavailable):
        a.contact.read(Read([town.keys.head]))
    first = a.contact.silent_s
    assert 0.0 < first < a.contact.silent_s
    a.store.down = False
    a.contact.read(Read([town.keys.head]))
    assert a.contact.silent_s == 0.0


def test_epoch_and_head_as_read_are_seen_at_once(town, a):
    town.store.put(town.keys.head, NEXT.encode())
    assert a.board.view().head == HEAD
    a.contact.read(Read([town.keys.head]))
    assert a.board.view().head == NEXT


def test_epoch_and_head_as_written_are_seen_at_once(town, a):
    revision = town.entry(town.keys.head).revision
    assert a.contact.transact(Transact({town.keys.head: revision}, {town.keys.head: NEXT.encode()})).succeeded
    assert a.board.view().head == NEXT


def test_what_was_in_the_way_of_a_write_is_seen_at_once(town, a):
    town.store.put(town.keys.head, NEXT.encode())
    assert not a.contact.transact(Transact({town.keys.head: 0}, {town.keys.head: b"{}"})).succeeded
    assert a.board.view().head == NEXT


def test_keys_that_may_be_deleted_are_shown_by_the_watch_alone(town, a):
    town.store.put(town.keys.drain("a"), b"{}")
    a.contact.read(Read([town.keys.drain("a")]))
    assert not a.board.view().draining


def test_without_a_lease_nothing_is_renewed_or_written_on_it(town, a):
    with pytest.raises(LeaseExpired):
        a.contact.keep_alive(KeepAlive())
    with pytest.raises(LeaseExpired):
        a.contact.put_leased(PutLeased(town.keys.member("a"), b"{}"))
    a.contact.revoke(None)
    assert town.store.get(town.keys.member("a")) is None


@pytest.mark.parametrize(("revision", "written"), [(None, True), (0, False)])
def test_a_leased_key_is_written_if_it_is_as_expected(town, a, revision, written):
    town.store.put(town.keys.member("a"), b"another's")
    a.contact.grant(None)
    result = a.contact.put_leased(PutLeased(town.keys.member("a"), b"mine", revision))
    assert result.succeeded is written
    assert (town.entry(town.keys.member("a")).value == b"mine") is written
