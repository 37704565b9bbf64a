"""Real etcds for the whole session: one in clear, one behind TLS and passwords."""

from collections.abc import Iterator

import pytest
from guarded import Guarded, guarded_etcd

from curtail_dist.coordination import EmbeddedEtcd


@pytest.fixture(scope="session")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_etcd(tmp_path_factory.mktemp("guarded")) as etcd:
        yield etcd
