"""The services under test: real etcds for the whole session, and in-process clusters."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from guarded import Guarded, debian_etcd, guarded_etcd

from curtail_dist.coordination import CoordinationStore, EmbeddedEtcd, EtcdStore, MemoryCluster, MemoryStore
from curtail_dist.coordination.access import Access
from curtail_dist.coordination.gateway import Gateway

TIMEOUT_S = 5.0
LEASE_S = 1.0
"""The least that the session's etcd grants."""


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class Service:
    """One coordination service: any number of handles, and what a test does to it from outside."""

    new_handle: Callable[[], CoordinationStore]
    outlast: Callable[[float], None]
    """Let this many seconds pass where the service's clock is ours; real clocks pass by themselves."""
    compact: Callable[[int], None]
    handles: list[CoordinationStore] = field(default_factory=list)

    def open(self) -> CoordinationStore:
        self.handles.append(self.new_handle())
        return self.handles[-1]


@pytest.fixture(scope="session")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


def memory_service() -> Service:
    clock = FakeClock()
    cluster = MemoryCluster(monotonic=clock)

    def outlast(duration: float) -> None:
        clock.now += duration
        cluster.tick()

    return Service(new_handle=lambda: MemoryStore(cluster), outlast=outlast, compact=cluster.compact)


def etcd_service(endpoint: str, access: Access | None = None) -> Service:
    def compact(revision: int) -> None:
        gateway = Gateway((endpoint,), timeout_s=TIMEOUT_S, access=access)
        gateway.call("kv/compaction", {"revision": str(revision)}, repeatable=True)
        gateway.close()

    return Service(
        new_handle=lambda: EtcdStore((endpoint,), TIMEOUT_S, access=access),
        outlast=lambda _: None,
        compact=compact,
    )


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """An etcd behind TLS and a password; no test changes what others need of it."""
    with guarded_etcd(tmp_path_factory.mktemp("guarded")) as etcd:
        yield etcd


@pytest.fixture(scope="session")
def guarded_debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The same of Debian's version."""
    binaries = debian_etcd(tmp_path_factory.mktemp("debian"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(binaries), prepend=os.pathsep)
        with guarded_etcd(tmp_path_factory.mktemp("guarded-debian")) as etcd:
            yield etcd


SERVICES = [
    "memory",
    pytest.param("etcd", marks=pytest.mark.integration),
    pytest.param("guarded", marks=pytest.mark.integration),
    pytest.param("guarded_debian", marks=[pytest.mark.integration, pytest.mark.system]),
]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "memory":
        service = memory_service()
    elif request.param == "etcd":
        service = etcd_service(request.getfixturevalue("etcd").endpoint)
    else:
        etcd: Guarded = request.getfixturevalue(request.param)
        service = etcd_service(etcd.endpoint, etcd.access())
    yield service
    for handle in service.handles:
        handle.close()


@pytest.fixture
def store(service: Service) -> CoordinationStore:
    return service.open()


@pytest.fixture
def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def root() -> str:
    """A prefix that no other test uses."""
    return f"/test/{uuid.uuid4().hex}/"
