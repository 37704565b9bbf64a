"""What every coordination store does: the same facts on the in-process one and on a real etcd."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from reading import DEADLINE_S, collect

from curtail_dist.coordination import Change, CoordinationStore
from curtail_dist.errors import LeaseExpired, StoreUnavailable

LEASE_S = 1.0


def test_an_absent_key_is_none(store, root):
    assert store.get(f"{root}a") is None


def test_get_returns_what_put_wrote_and_its_revision(store, root):
    revision = store.put(f"{root}a", b"1")
    entry = store.get(f"{root}a")
    assert (entry.key, entry.value, entry.revision, entry.lease) == (f"{root}a", b"1", revision, 0)


def test_every_write_has_a_later_revision(store, root):
    revisions = [store.put(f"{root}a", b"same"), store.put(f"{root}b", b""), store.put(f"{root}a", b"same")]
    assert revisions == sorted(set(revisions))
    assert store.get(f"{root}a").revision == revisions[2]
    assert store.get(f"{root}b").revision == revisions[1]


@pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)) * 64, "Südpol".encode("latin-1")])
def test_values_are_any_bytes(store, root, value):
    store.put(f"{root}a", value)
    assert store.get(f"{root}a").value == value


def test_keys_are_any_text(store, root):
    keys = [f"{root}{name}" for name in ("ä", "日本", "\U0001f331", "with space", 'quote"', "\x7f")]
    for key in keys:
        store.put(key, key.encode())
    assert [entry.key for entry in store.list(root).entries] == sorted(keys)
    assert store.get(f"{root}日本").value == f"{root}日本".encode()


def test_a_listing_is_sorted_and_holds_only_the_prefix(store, root):
    for name in ("p/b", "p/a", "p0", "p", "q"):
        store.put(f"{root}{name}", b"")
    assert [entry.key for entry in store.list(f"{root}p/").entries] == [f"{root}p/a", f"{root}p/b"]
    assert store.list(f"{root}nothing/").entries == ()


def test_a_listing_of_everything_holds_the_key(store, root):
    store.put(f"{root}a", b"")
    assert f"{root}a" in [entry.key for entry in store.list("").entries]


def test_a_listing_is_as_of_its_revision(store, root):
    store.put(f"{root}a", b"")
    later = store.put(f"{root[:-1]}elsewhere", b"")
    assert store.list(root).revision == later


def test_delete_says_whether_the_key_existed(store, root):
    store.put(f"{root}a", b"")
    assert store.delete(f"{root}a") is True
    assert store.delete(f"{root}a") is False
    assert store.get(f"{root}a") is None


def test_a_fresh_revision_writes(store, root):
    revision = store.put(f"{root}a", b"old")
    result = store.compare_and_swap(f"{root}a", b"new", revision=revision)
    assert result.succeeded
    assert result.current == {}
    entry = store.get(f"{root}a")
    assert (entry.value, entry.revision) == (b"new", result.revision)


def test_a_stale_revision_cannot_write(store, root):
    stale = store.put(f"{root}a", b"old")
    fresh = store.put(f"{root}a", b"newer")
    result = store.compare_and_swap(f"{root}a", b"late", revision=stale)
    assert not result.succeeded
    assert result.current[f"{root}a"].value == b"newer"
    assert result.current[f"{root}a"].revision == fresh
    assert store.get(f"{root}a").value == b"newer"


def test_a_revision_of_a_deleted_key_cannot_write(store, root):
    revision = store.put(f"{root}a", b"old")
    store.delete(f"{root}a")
    result = store.compare_and_swap(f"{root}a", b"late", revision=revision)
    assert (result.succeeded, result.current) == (False, {f"{root}a": None})
    assert store.get(f"{root}a") is None


def test_revision_0_writes_only_an_absent_key(store, root):
    assert store.compare_and_swap(f"{root}a", b"first", revision=0).succeeded
    second = store.compare_and_swap(f"{root}a", b"second", revision=0)
    assert not second.succeeded
    assert second.current[f"{root}a"].value == b"first"


def test_a_transaction_applies_all_in_one_revision(store, root):
    fence = store.put(f"{root}epoch", b"7")
    store.put(f"{root}gone", b"")
    result = store.transact(
        compare={f"{root}epoch": fence, f"{root}head": 0},
        puts={f"{root}head": b"h", f"{root}holder": b"x"},
        deletes=(f"{root}gone", f"{root}never-was"),
    )
    assert result.succeeded
    assert {entry.key: entry.revision for entry in store.list(root).entries} == {
        f"{root}epoch": fence,
        f"{root}head": result.revision,
        f"{root}holder": result.revision,
    }


def test_a_transaction_with_one_stale_fence_applies_nothing(store, root):
    fence = store.put(f"{root}epoch", b"7")
    head = store.put(f"{root}head", b"h")
    store.put(f"{root}epoch", b"8")
    result = store.transact(
        compare={f"{root}epoch": fence, f"{root}head": head, f"{root}new": 0},
        puts={f"{root}new": b""},
        deletes=(f"{root}head",),
    )
    assert not result.succeeded
    assert {key: entry and entry.value for key, entry in result.current.items()} == {
        f"{root}epoch": b"8",
        f"{root}head": b"h",
        f"{root}new": None,
    }
    assert store.get(f"{root}new") is None
    assert store.get(f"{root}head") is not None


def test_a_transaction_may_only_compare(store, root):
    revision = store.put(f"{root}a", b"")
    assert store.transact(compare={f"{root}a": revision}).succeeded
    assert not store.transact(compare={f"{root}a": revision + 1}).succeeded
    assert store.list(root).revision == revision


def test_a_transaction_cannot_write_a_key_twice(store, root):
    with pytest.raises(ValueError, match="twice"):
        store.transact(compare={}, puts={f"{root}a": b""}, deletes=(f"{root}a",))


def test_exactly_one_of_many_threads_creates_a_key(service, root):
    contenders = 12
    at_once = threading.Barrier(contenders)
    shared = service.open()

    def create(number: int) -> bool:
        store = shared if number % 2 else service.open()
        at_once.wait(DEADLINE_S)
        return store.compare_and_swap(f"{root}epoch", b"%d" % number, revision=0).succeeded

    with ThreadPoolExecutor(contenders) as pool:
        won = list(pool.map(create, range(contenders)))
    assert won.count(True) == 1
    assert shared.get(f"{root}epoch").value == b"%d" % won.index(True)


def test_concurrent_fenced_increments_lose_none(service, root):
    threads, each = 4, 10
    store = service.open()
    store.put(f"{root}n", b"0")

    def increment(_: int) -> None:
        for _ in range(each):
            entry = store.get(f"{root}n")
            while True:
                value = b"%d" % (int(entry.value) + 1)
                result = store.compare_and_swap(f"{root}n", value, revision=entry.revision)
                if result.succeeded:
                    break
                entry = result.current[f"{root}n"]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(increment, range(threads)))
    assert store.get(f"{root}n").value == b"%d" % (threads * each)


def test_a_lease_grants_at_least_what_was_asked(store):
    assert store.grant(LEASE_S).ttl >= LEASE_S
    assert store.grant(2.5).ttl >= 2.5
    assert store.grant(30.0).ttl >= 30.0


def test_keys_of_an_ended_lease_vanish_and_the_watch_sees_it(service, root):
    store = service.open()
    watch = store.watch(root, revision=store.list(root).revision + 1)
    lease = store.grant(LEASE_S)
    store.put(f"{root}leased", b"", lease=lease)
    store.put(f"{root}kept", b"")
    assert store.get(f"{root}leased").lease == lease.id
    collect(watch, 2)
    service.outlast(lease.ttl)
    (change,) = collect(watch, 1)
    assert (change.key, change.entry) == (f"{root}leased", None)
    assert [entry.key for entry in store.list(root).entries] == [f"{root}kept"]
    with pytest.raises(LeaseExpired):
        lease.keep_alive()


def test_keep_alive_keeps_the_keys(service, root):
    store = service.open()
    kept, lapsing = store.grant(LEASE_S), store.grant(LEASE_S)
    store.put(f"{root}kept", b"", lease=kept)
    store.put(f"{root}lapsing", b"", lease=lapsing)
    deadline = time.monotonic() + DEADLINE_S
    watch = store.watch(root, revision=store.list(root).revision + 1)
    # The other lease shows that the time is over; the kept one is renewed four times within each TTL.
    while not (gone := watch.next(LEASE_S / 4)):
        assert time.monotonic() < deadline
        kept.keep_alive()
        service.outlast(LEASE_S / 4)
    assert [change.key for change in gone] == [f"{root}lapsing"]
    assert store.get(f"{root}kept") is not None
    kept.revoke()


def test_revoking_a_lease_deletes_its_keys_at_once(store, root):
    lease = store.grant(30.0)
    store.put(f"{root}a", b"", lease=lease)
    store.transact(compare={}, puts={f"{root}b": b""}, lease=lease)
    store.put(f"{root}c", b"")
    lease.revoke()
    assert [entry.key for entry in store.list(root).entries] == [f"{root}c"]


def test_a_revoked_lease_is_expired(store, root):
    lease = store.grant(30.0)
    lease.revoke()
    lease.revoke()
    with pytest.raises(LeaseExpired):
        lease.keep_alive()
    with pytest.raises(LeaseExpired):
        store.put(f"{root}a", b"", lease=lease)
    with pytest.raises(LeaseExpired):
        store.transact(compare={f"{root}a": 0}, puts={f"{root}a": b""}, lease=lease)
    assert store.get(f"{root}a") is None


def test_a_key_written_without_its_lease_outlives_it(store, root):
    lease = store.grant(30.0)
    store.put(f"{root}a", b"", lease=lease)
    store.put(f"{root}a", b"")
    lease.revoke()
    assert store.get(f"{root}a").lease == 0


def test_a_watch_gives_every_change_once_and_in_order(service, root):
    store, other = service.open(), service.open()
    store.put(f"{root}n", b"before")
    watch = store.watch(root, revision=store.list(root).revision + 1)
    for number in range(50):
        other.put(f"{root}n", b"%d" % number)
        other.put(f"{root[:-1]}-beside", b"")
    other.delete(f"{root}n")
    changes = collect(watch, 51)
    assert [change.entry and change.entry.value for change in changes] == [
        *(b"%d" % number for number in range(50)),
        None,
    ]
    assert [change.revision for change in changes] == sorted({change.revision for change in changes})
    assert watch.next(0.0) == ()


def test_a_watch_begins_at_the_given_revision(store, root):
    revisions = [store.put(f"{root}n", b"%d" % number) for number in range(5)]
    watch = store.watch(root, revision=revisions[2])
    changes = collect(watch, 3)
    assert [change.revision for change in changes] == revisions[2:]
    assert changes[0].entry == store.watch(root, revision=revisions[2]).next(DEADLINE_S)[0].entry


def test_a_watch_may_begin_in_the_future(store, root):
    first = store.put(f"{root}n", b"1")
    watch = store.watch(root, revision=first + 2)
    second, third = store.put(f"{root}n", b"2"), store.put(f"{root}n", b"3")
    assert (second, [change.revision for change in collect(watch, 1)]) == (first + 1, [third])


def test_a_watch_gives_the_changes_of_one_transaction_together(store, root):
    watch = store.watch(root, revision=store.put(f"{root}gone", b"") + 1)
    result = store.transact(compare={}, puts={f"{root}b": b"", f"{root}a": b""}, deletes=(f"{root}gone",))
    changes = watch.next(DEADLINE_S)
    assert {(change.key, change.revision) for change in changes} == {
        (f"{root}{name}", result.revision) for name in ("a", "b", "gone")
    }


def test_an_idle_watch_returns_nothing_after_its_timeout(store, root):
    watch = store.watch(root, revision=store.list(root).revision + 1)
    began = time.monotonic()
    assert watch.next(0.05) == ()
    assert 0.05 <= time.monotonic() - began < DEADLINE_S


@pytest.mark.parametrize("closed", ["watch", "store"])
def test_close_wakes_a_pending_next(store: CoordinationStore, root, closed):
    watch = store.watch(root, revision=store.list(root).revision + 1)
    entered = threading.Event()

    def wait() -> tuple[Change, ...]:
        entered.set()
        return tuple(watch.next(60.0))

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(wait)
        assert entered.wait(DEADLINE_S)
        (watch if closed == "watch" else store).close()
        assert pending.result(DEADLINE_S) == ()
    watch.close()
    assert watch.next(60.0) == ()


def test_closing_a_watch_is_prompt_and_leaves_no_thread(store, root):
    before = set(threading.enumerate())
    watch = store.watch(root, revision=store.list(root).revision + 1)
    store.put(f"{root}a", b"")
    collect(watch, 1)
    began = time.monotonic()
    watch.close()
    assert set(threading.enumerate()) == before
    # Well below the 5 s of silence after which the thread would look by itself.
    assert time.monotonic() - began < 2.0


def test_a_watch_of_compacted_history_is_unavailable(service, root):
    store = service.open()
    first = store.put(f"{root}a", b"1")
    last = store.put(f"{root}a", b"2")
    service.compact(last)
    watch = store.watch(root, revision=first)
    with pytest.raises(StoreUnavailable, match="list again"):
        watch.next(DEADLINE_S)
    assert [change.revision for change in collect(store.watch(root, revision=last), 1)] == [last]


def test_a_closed_store_is_unavailable_and_its_data_stays(service, root):
    store = service.open()
    lease = store.grant(30.0)
    store.put(f"{root}a", b"", lease=lease)
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.get(f"{root}a")
    with pytest.raises(StoreUnavailable, match="closed"):
        lease.keep_alive()
    # (Deleted here so that no later test sees its lease end.)
    assert service.open().delete(f"{root}a")


def test_a_store_closes_at_the_end_of_its_context(service):
    with service.open() as store:
        store.list("/")
    with pytest.raises(StoreUnavailable):
        store.list("/")
