"""An etcd that is killed and comes back on its data: what open handles do meanwhile and afterwards."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reading import DEADLINE_S, collect

from curtail_dist.coordination import EmbeddedEtcd, EtcdStore, Lease
from curtail_dist.errors import StoreUnavailable

pytestmark = [pytest.mark.integration, pytest.mark.fault]

OUTAGE_S = 3.0
TIMEOUT_S = 5.0
REFUSED_WITHIN_S = 0.5


@pytest.fixture
def server() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


def calls_of(store: EtcdStore, lease: Lease) -> list:
    return [
        lambda: store.get("/a"),
        lambda: store.list("/"),
        lambda: store.put("/a", b"lost"),
        lambda: store.compare_and_swap("/a", b"lost", revision=0),
        lambda: store.delete("/a"),
        lambda: store.grant(2.0),
        lease.keep_alive,
        lease.revoke,
    ]


def sit_out(calls: list) -> int:
    """Try calls in turn for the length of the outage, each of which must fail at once; return how many."""
    until = time.monotonic() + OUTAGE_S
    tried = 0
    while time.monotonic() < until:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"connection (refused|lost)"):
            calls[tried % len(calls)]()
        assert time.monotonic() - began < REFUSED_WITHIN_S
        tried += 1
        threading.Event().wait(0.05)
    return tried


def test_handles_outlive_a_killed_etcd(server):
    with EtcdStore((server.endpoint,), TIMEOUT_S) as store:
        lease, other_lease = store.grant(2.0), store.grant(2.0)
        store.put("/run/leased", b"", lease=lease)
        watch = store.watch("/run/", revision=store.put("/run/a", b"0") + 1)
        made = [store.put("/run/a", b"1")]
        assert [change.revision for change in collect(watch, 1)] == made
        dead = server.pid
        server.kill()
        assert not Path(f"/proc/{dead}").exists()
        assert sit_out(calls_of(store, other_lease)) >= 8
        server.restart()
        assert server.pid != dead
        lease.keep_alive()
        assert store.get("/run/leased").lease == lease.id
        made = [store.put("/run/a", b"%d" % number) for number in range(20)]
        assert made[0] > store.get("/run/leased").revision
        assert [change.revision for change in collect(watch, len(made))] == made
        assert watch.next(0.0) == ()


def test_what_was_written_before_the_kill_is_there_afterwards(server):
    with EtcdStore((server.endpoint,), TIMEOUT_S) as store:
        first = store.put("/a", b"0")
        for number in range(100):
            last = store.put("/a", b"%d" % number)
        server.kill()
        server.restart()
        assert store.get("/a").revision == last
        with EtcdStore((server.endpoint,), TIMEOUT_S) as other:
            changes = collect(other.watch("/a", revision=first + 1), 100)
    assert [change.revision for change in changes] == list(range(first + 1, last + 1))


def test_a_lease_ends_after_the_outage_unless_it_is_renewed(server):
    with EtcdStore((server.endpoint,), TIMEOUT_S) as store:
        lease = store.grant(1.0)
        watch = store.watch("/", revision=store.put("/leased", b"", lease=lease) + 1)
        server.kill()
        server.restart()
        (change,) = collect(watch, 1)
        assert (change.key, change.entry) == ("/leased", None)


def test_a_watch_gives_up_after_its_timeout_and_the_next_one_misses_nothing(server):
    with EtcdStore((server.endpoint,), 1.0) as store:
        watch = store.watch("/", revision=store.put("/a", b"0") + 1)
        last = store.put("/a", b"1")
        assert len(collect(watch, 1)) == 1
        server.kill()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            watch.next(60.0)
        assert time.monotonic() - began < DEADLINE_S
        server.restart()
        listing = store.list("/")
        assert [entry.revision for entry in listing.entries] == [last]
        with EtcdStore((server.endpoint,), TIMEOUT_S) as other:
            made = other.put("/a", b"2")
        assert [
            change.revision for change in collect(store.watch("/", revision=listing.revision + 1), 1)
        ] == [made]


def test_a_watch_has_its_whole_timeout_from_the_break_on(server):
    timeout_s = 2.0
    with EtcdStore((server.endpoint,), timeout_s) as store:
        watch = store.watch("/", revision=store.put("/a", b"0") + 1)
        assert watch.next(1.5 * timeout_s) == ()
        server.kill()
        server.restart()
        made = store.put("/a", b"1")
        assert [change.revision for change in collect(watch, 1)] == [made]


@pytest.mark.parametrize("number", range(8))
def test_every_call_ends_within_its_timeout_while_etcd_hangs(server, number):
    with EtcdStore((server.endpoint,), 1.0) as store:
        lease = store.grant(30.0)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                calls_of(store, lease)[number]()
            assert time.monotonic() - began < 1.0 + REFUSED_WITHIN_S
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_a_running_etcd_restarts_on_its_port_and_data(server):
    endpoint = server.endpoint
    with EtcdStore((endpoint,), TIMEOUT_S) as store:
        store.put("/a", b"1")
        server.restart()
        assert server.endpoint == endpoint
        assert store.get("/a").value == b"1"
