"""An agent's line to the store: what it wants gets there, and what it shows lives as long as it does."""

from collections.abc import Iterator
from typing import Any

import pytest
from hand import eventually

from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.coordination.store import Lease, TxnResult
from curtail_dist.errors import LeaseExpired, StoreReplaced, StoreUnavailable, Superseded
from curtail_dist.membership.agent.liaison import Liaison
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice

KEYS = Keys("day")


class Watched(MemoryStore):
    """A store that counts, and fails when it is told to."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.grants = 0
        self.renewals = 0
        self.error: Exception | None = None

    def grant(self, ttl: float) -> Lease:
        self._check()
        self.grants += 1
        return Counted(super().grant(ttl), self)

    def put(self, key: str, value: bytes, *, lease: Any = None) -> int:
        self._check()
        return super().put(key, value, lease=lease.inner if lease else None)

    def transact(self, **given: Any) -> TxnResult:
        self._check()
        return super().transact(**given)

    def delete(self, key: str) -> bool:
        self._check()
        return super().delete(key)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


class Counted:
    """A lease whose renewals are counted."""

    def __init__(self, inner: Lease, store: Watched) -> None:
        self.inner = inner
        self.id, self.ttl = inner.id, inner.ttl
        self._store = store

    def keep_alive(self) -> None:
        self._store.renewals += 1
        self.inner.keep_alive()

    def revoke(self) -> None:
        self.inner.revoke()


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
def store(cluster: MemoryCluster) -> Watched:
    return Watched(cluster)


@pytest.fixture
def liaison(store: Watched) -> Iterator[Liaison]:
    made = Liaison(store, run="day", site="texas", ttl_s=0.3)
    assert made.open(b"0")
    yield made
    made.close()


def read(cluster: MemoryCluster, key: str) -> bytes | None:
    entry = MemoryStore(cluster).get(key)
    return None if entry is None else entry.value


def test_a_lease_is_renewed_however_often_what_it_holds_changes(liaison, store, cluster):
    number = 0

    def shown_and_renewed() -> bool:
        nonlocal number
        number += 1
        liaison.show(str(number).encode())
        return store.renewals >= 5

    eventually(shown_and_renewed)
    assert store.grants == 1
    assert read(cluster, KEYS.agent("texas")) is not None


def test_what_is_shown_is_gone_when_it_is_closed(liaison, cluster):
    liaison.show(b"1")
    liaison.publish(b"2")
    eventually(lambda: read(cluster, KEYS.outlook("texas")) == b"2")
    assert read(cluster, KEYS.agent("texas")) == b"1"
    liaison.close()
    assert read(cluster, KEYS.agent("texas")) is None
    assert read(cluster, KEYS.outlook("texas")) is None


def test_a_lease_that_lapsed_is_taken_anew_and_all_is_shown_again(liaison, store, cluster):
    liaison.show(b"1")
    eventually(lambda: read(cluster, KEYS.agent("texas")) == b"1")
    store.error = LeaseExpired("lapsed")
    liaison.show(b"2")
    eventually(lambda: liaison._lease is None)
    store.error = None
    eventually(lambda: read(cluster, KEYS.agent("texas")) == b"2")
    assert store.grants == 2


def test_a_request_without_an_answer_is_written_until_it_is_certain(liaison, store, cluster):
    store.error = StoreUnavailable("made not to answer")
    assert not liaison.ask_to_leave("a test")
    assert "made not to answer" in liaison.trouble
    assert read(cluster, KEYS.drain("texas")) is None
    store.error = None
    eventually(lambda: read(cluster, KEYS.drain("texas")) is not None)
    eventually(lambda: not liaison.trouble)
    assert liaison.forget_leaving()
    assert read(cluster, KEYS.drain("texas")) is None


def test_of_two_wishes_that_were_not_answered_the_last_one_counts(liaison, store, cluster):
    store.error = StoreUnavailable("made not to answer")
    liaison.ask_to_leave("a test")
    assert not liaison.forget_leaving()
    store.error = None
    eventually(lambda: liaison._noticed)
    assert read(cluster, KEYS.drain("texas")) is None


def test_what_an_earlier_agent_asked_is_forgotten(store, cluster):
    MemoryStore(cluster).put(KEYS.drain("texas"), Notice(reason="old").encode())
    liaison = Liaison(store, run="day", site="texas")
    assert liaison.open(b"0")
    assert read(cluster, KEYS.drain("texas")) is None
    liaison.close()


def test_a_store_that_was_replaced_is_told_to_whoever_looks(liaison, store):
    store.error = StoreReplaced("another etcd answers")
    liaison.show(b"1")
    with pytest.raises(StoreReplaced):
        eventually(lambda: liaison.view() is None)


@pytest.fixture
def second(cluster: MemoryCluster) -> Iterator[Liaison]:
    made = Liaison(MemoryStore(cluster), run="day", site="texas", ttl_s=0.3)
    yield made
    made.close()


def test_a_site_whose_agent_lives_is_not_given_to_a_second_one(liaison, store, second, cluster):
    liaison.show(b"1")
    assert liaison.ask_to_leave("a test")
    eventually(lambda: store.renewals >= 3)
    assert not second.open(b"2")
    eventually(lambda: read(cluster, KEYS.agent("texas")) == b"1")
    assert read(cluster, KEYS.drain("texas")) is not None  # what the first one asked still stands
    liaison.close()
    assert second.open(b"2")
    assert read(cluster, KEYS.agent("texas")) == b"2"


def test_a_site_whose_agent_has_died_is_another_ones_once_its_lease_has_lapsed(second, cluster):
    store = MemoryStore(cluster)
    store.put(KEYS.agent("texas"), b"1", lease=store.grant(0.3))  # nobody renews it
    assert not second.open(b"2")
    eventually(lambda: second.open(b"2"))


def test_an_agent_that_the_store_forgot_ends_where_another_has_its_site(liaison, store, second, cluster):
    eventually(lambda: read(cluster, KEYS.agent("texas")) == b"0")
    store.error = LeaseExpired("lapsed")
    liaison.show(b"1")
    eventually(lambda: liaison._lease is None)
    eventually(lambda: second.open(b"2"))
    store.error = None
    with pytest.raises(Superseded, match="another agent of site texas began"):
        eventually(lambda: liaison.view() is None)
    assert read(cluster, KEYS.agent("texas")) == b"2"
