"""A store that is another one, or an older state of itself, after its service was away."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from curtail_dist.coordination import CoordinationStore, EmbeddedEtcd, EtcdStore, MemoryCluster, MemoryStore
from curtail_dist.errors import StoreReplaced

DEADLINE_S = 10.0


@dataclass(kw_only=True)
class Fragile:
    """A service that can be set back and replaced; `restart` brings it back as it was."""

    new_handle: Callable[[], CoordinationStore]
    back_up: Callable[[], None]
    set_back: Callable[[], None]
    wipe: Callable[[], None]
    restart: Callable[[], None]
    handles: list[CoordinationStore] = field(default_factory=list)

    def open(self) -> CoordinationStore:
        self.handles.append(self.new_handle())
        return self.handles[-1]


def fragile_memory() -> Fragile:
    cluster = MemoryCluster()
    backups = []
    return Fragile(
        new_handle=lambda: MemoryStore(cluster),
        back_up=lambda: backups.append(cluster.back_up()),
        set_back=lambda: cluster.set_back(backups[-1]),
        wipe=cluster.replace,
        restart=cluster.tick,
    )


def fragile_etcd(server: EmbeddedEtcd, data: Path) -> Fragile:
    """`server` runs on a fixed port, with its data in `data`."""
    backup = data.with_name("backup")

    def started_on(source: Path | None) -> Callable[[], None]:
        def start() -> None:
            server.stop()
            if source is not None:
                shutil.rmtree(data)
                shutil.copytree(source, data)
            server.start()

        return start

    def back_up() -> None:
        server.stop()
        shutil.copytree(data, backup)
        server.start()

    nothing = data.with_name("nothing")
    nothing.mkdir()
    return Fragile(
        new_handle=lambda: EtcdStore((server.endpoint,), DEADLINE_S),
        back_up=back_up,
        set_back=started_on(backup),
        wipe=started_on(nothing),
        restart=started_on(None),
    )


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.integration)])
def fragile(request: pytest.FixtureRequest, tmp_path: Path, free_port: int) -> Iterator[Fragile]:
    if request.param == "memory":
        fragile = fragile_memory()
        yield fragile
    else:
        with EmbeddedEtcd(tmp_path / "data", port=free_port, election_timeout_ms=200) as server:
            fragile = fragile_etcd(server, tmp_path / "data")
            yield fragile
            for handle in fragile.handles:
                handle.close()


def set_back(fragile: Fragile, store: CoordinationStore) -> None:
    """Let the store make one write of which the service then knows nothing."""
    store.put("/a", b"old")
    fragile.back_up()
    store.put("/a", b"new")
    fragile.set_back()


def test_a_store_that_was_set_back_is_refused_at_the_next_call_and_ever_after(fragile):
    store = fragile.open()
    set_back(fragile, store)
    with pytest.raises(StoreReplaced, match=r"it must be cluster \w+ at revision \d+ or later"):
        store.get("/a")
    # Others write, unaware: the revision grows beyond all that was seen before.
    other = fragile.open()
    for _ in range(5):
        other.put("/b", b"")
    for call in (lambda: store.get("/a"), lambda: store.put("/a", b""), lambda: store.grant(2.0)):
        with pytest.raises(StoreReplaced):
            call()


def test_a_wiped_store_is_refused(fragile):
    store = fragile.open()
    store.put("/a", b"1")
    fragile.wipe()
    with pytest.raises(StoreReplaced):
        store.list("/")


def test_a_wiped_store_is_another_cluster_even_with_more_revisions(fragile):
    store = fragile.open()
    store.put("/a", b"1")
    fragile.wipe()
    other = fragile.open()
    for _ in range(5):
        other.put("/b", b"")
    with pytest.raises(StoreReplaced):
        store.get("/a")


@pytest.mark.parametrize("fault", ["set_back", "wipe"])
def test_nothing_is_written_to_a_replaced_store(fragile, fault):
    store = fragile.open()
    if fault == "set_back":
        set_back(fragile, store)
    else:
        store.put("/a", b"old")
        fragile.wipe()
    with pytest.raises(StoreReplaced):
        store.put("/a", b"written by who saw the newer state")
    entry = fragile.open().get("/a")
    assert (entry and entry.value) == (b"old" if fault == "set_back" else None)


@pytest.mark.parametrize("fault", ["set_back", "wipe"])
def test_a_watch_notices_by_itself(fragile, fault):
    store = fragile.open()
    watch = store.watch("/a", revision=store.put("/a", b"0") + 1)
    store.put("/a", b"1")
    assert len(watch.next(DEADLINE_S)) == 1
    if fault == "set_back":
        # A watch is told of the writes; the handle makes no other call after them.
        fragile.back_up()
        fragile.open().put("/a", b"2")
        assert len(watch.next(DEADLINE_S)) == 1
        fragile.set_back()
    else:
        fragile.wipe()
    with pytest.raises(StoreReplaced):
        watch.next(DEADLINE_S)
    with pytest.raises(StoreReplaced):
        store.get("/a")


@pytest.mark.parametrize("fault", ["set_back", "wipe"])
def test_renewing_a_lease_notices(fragile, fault):
    store = fragile.open()
    lease = store.grant(30.0)
    if fault == "set_back":
        set_back(fragile, store)
    else:
        store.put("/a", b"", lease=lease)
        fragile.wipe()
    with pytest.raises(StoreReplaced):
        lease.keep_alive()


def test_a_restart_on_the_same_data_is_no_replacement(fragile):
    store = fragile.open()
    lease = store.grant(30.0)
    watch = store.watch("/", revision=store.put("/a", b"1") + 1)
    fragile.restart()
    store.put("/b", b"2", lease=lease)
    lease.keep_alive()
    (change,) = watch.next(DEADLINE_S)
    assert change.entry.value == b"2"
    assert store.get("/a").value == b"1"


def test_who_has_seen_nothing_takes_the_store_as_it_is(fragile):
    set_back(fragile, fragile.open())
    late = fragile.open()
    assert late.get("/a").value == b"old"
    assert late.put("/a", b"new") == late.get("/a").revision
