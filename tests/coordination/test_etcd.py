"""What holds of the etcd store alone: dead, hung, wrong and several servers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, EtcdStore, open_store
from curtail_dist.coordination.gateway import Gateway
from curtail_dist.errors import CoordinationError, StoreUnavailable

pytestmark = pytest.mark.integration

DEADLINE_S = 10.0
SHORT_S = 1.0
SLACK_S = 3.0


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Let a process hang: its sockets stay open and nothing answers.

    A signal reaches a process of many threads one by one: some may answer still, until all have stopped.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + DEADLINE_S
    while not all(_state(task) == "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, "the server does not stop"
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def own_etcd() -> Iterator[EmbeddedEtcd]:
    """A server that the test may break."""
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server that is no etcd: it closes every connection it accepts after sending `HTTP 404`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found")

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = server.getsockname()
        yield f"{host}:{port}"
        ended.set()
        socket.create_connection((host, port)).close()
        thread.join(DEADLINE_S)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get("a"),
        lambda store: store.list("a"),
        lambda store: store.put("a", b""),
        lambda store: store.compare_and_swap("a", b"", revision=0),
        lambda store: store.delete("a"),
        lambda store: store.grant(2),
        lambda store: store.watch("a", revision=1).next(60.0),
    ],
    ids=["get", "list", "put", "compare_and_swap", "delete", "grant", "watch"],
)
def test_an_absent_server_is_unavailable_and_named(call):
    endpoint = free_endpoint()
    began = time.monotonic()
    with EtcdStore((endpoint,), SHORT_S) as store, pytest.raises(StoreUnavailable) as raised:
        call(store)
    assert time.monotonic() - began < SHORT_S + SLACK_S
    assert str(raised.value) == (
        f"etcd does not answer at {endpoint} (connection refused); start it or correct coordination.endpoints"
    )


def test_a_server_that_stops_is_unavailable_to_open_handles(own_etcd, root):
    with EtcdStore((own_etcd.endpoint,), SHORT_S) as store:
        lease = store.grant(2.0)
        watch = store.watch(root, revision=store.list(root).revision + 1)
        store.put(f"{root}a", b"")
        assert len(watch.next(DEADLINE_S)) == 1
        own_etcd.stop()
        for call in (lease.keep_alive, lease.revoke, lambda: store.get("a"), lambda: watch.next(60.0)):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                call()
            assert time.monotonic() - began < SHORT_S + SLACK_S


def test_a_hung_server_is_unavailable_within_the_timeout(own_etcd, root):
    with EtcdStore((own_etcd.endpoint,), SHORT_S) as store:
        store.put(f"{root}a", b"")
        watch = store.watch(root, revision=store.list(root).revision + 1)
        with stopped(own_etcd.pid):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                store.get(f"{root}a")
            assert SHORT_S <= time.monotonic() - began < SHORT_S + SLACK_S
            with pytest.raises(StoreUnavailable):
                watch.next(60.0)
            assert time.monotonic() - began < 3 * SHORT_S + SLACK_S
    with EtcdStore((own_etcd.endpoint,), DEADLINE_S) as store:
        assert store.get(f"{root}a") is not None


def test_close_is_bounded_while_the_server_hangs(own_etcd):
    store = EtcdStore((own_etcd.endpoint,), SHORT_S)
    store.get("a")
    with stopped(own_etcd.pid):
        watch = store.watch("a", revision=1)
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < SHORT_S + SLACK_S
    assert watch.next(60.0) == ()


def test_the_first_endpoint_that_answers_serves(etcd, root):
    with EtcdStore((free_endpoint(), etcd.endpoint), DEADLINE_S) as store:
        revision = store.put(f"{root}a", b"1")
        assert store.get(f"{root}a").value == b"1"
        assert len(store.watch(root, revision=revision).next(DEADLINE_S)) == 1


def test_reads_pass_over_a_hung_endpoint_and_later_writes_follow(etcd, own_etcd, root):
    with EtcdStore((own_etcd.endpoint, etcd.endpoint), 3 * SHORT_S) as store, stopped(own_etcd.pid):
        assert store.get(f"{root}a") is None
        # A write is sent once, so that this one would fail if it went to the endpoint that hangs.
        store.put(f"{root}a", b"1")
        assert store.get(f"{root}a").value == b"1"


def test_a_write_that_may_have_been_received_is_sent_to_nobody_else(etcd, own_etcd, root):
    store = EtcdStore((own_etcd.endpoint, etcd.endpoint), SHORT_S)
    with store, stopped(own_etcd.pid), pytest.raises(StoreUnavailable):
        store.put(f"{root}a", b"unknown")
    with EtcdStore((etcd.endpoint,), DEADLINE_S) as other:
        assert other.get(f"{root}a") is None


def test_a_watch_has_no_gap_over_a_restart_of_the_server(tmp_path, root):
    port = int(free_endpoint().rpartition(":")[2])
    server = EmbeddedEtcd(tmp_path / "data", port=port, election_timeout_ms=200)
    with server, EtcdStore((server.endpoint,), DEADLINE_S) as store:
        watch = store.watch(root, revision=store.list(root).revision + 1)
        before = store.put(f"{root}a", b"before")
        assert [change.revision for change in watch.next(DEADLINE_S)] == [before]
        server.stop()
        server.start()
        with EtcdStore((server.endpoint,), DEADLINE_S) as other:
            after = [other.put(f"{root}a", b"after"), other.put(f"{root}a", b"again")]
        seen: list[int] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(seen) < 2 and time.monotonic() < deadline:
            seen += [change.revision for change in watch.next(DEADLINE_S)]
        assert seen == after
        assert store.get(f"{root}a").revision == after[1]


def test_a_silent_watch_is_opened_again_and_misses_nothing(etcd, root):
    with EtcdStore((etcd.endpoint,), 0.3) as store, EtcdStore((etcd.endpoint,), DEADLINE_S) as other:
        watch = store.watch(root, revision=other.list(root).revision + 1)
        other.put(f"{root}a", b"before")
        assert len(watch.next(DEADLINE_S)) == 1
        # Four times the silence after which the stream is opened anew.
        assert watch.next(1.2) == ()
        revision = other.put(f"{root}a", b"")
        assert [change.revision for change in watch.next(DEADLINE_S)] == [revision]


def test_another_service_at_the_endpoint_is_named(stranger):
    with EtcdStore((stranger,), DEADLINE_S) as store, pytest.raises(StoreUnavailable, match="HTTP 404"):
        store.get("a")


def test_what_etcd_refuses_is_an_error_and_not_unavailability(etcd, root):
    puts = {f"{root}{number}": b"" for number in range(200)}
    with EtcdStore((etcd.endpoint,), DEADLINE_S) as store:
        with pytest.raises(CoordinationError, match="too many operations") as raised:
            store.transact(compare={}, puts=puts)
        assert not isinstance(raised.value, StoreUnavailable)


def test_a_store_needs_an_endpoint():
    with pytest.raises(ValueError, match="at least one HOST:PORT"):
        EtcdStore((), 1.0)


def test_many_threads_share_a_handle(etcd, root):
    with EtcdStore((etcd.endpoint,), DEADLINE_S) as store, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.put(f"{root}{number}", b"%d" % number), range(200)))
        found = {entry.key: entry.value for entry in store.list(root).entries}
    assert found == {f"{root}{number}": b"%d" % number for number in range(200)}


def test_the_run_file_names_the_store(etcd, root):
    with open_store(CoordinationConfig(endpoints=(etcd.endpoint,))) as store:
        assert store.get(f"{root}a") is None


def test_a_call_that_is_interrupted_by_close_leaves_no_connection(etcd):
    gateway = Gateway((etcd.endpoint,), timeout_s=DEADLINE_S)
    gateway.call("kv/range", {"key": "YQ=="}, repeatable=True)
    gateway.close()
    gateway.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        gateway.call("kv/range", {"key": "YQ=="}, repeatable=True)


def test_importing_coordination_imports_neither_torch_nor_an_http_library():
    code = (
        "import sys, curtail_dist.coordination; "
        "print(sorted({'torch', 'numpy', 'requests', 'etcd3gw'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
