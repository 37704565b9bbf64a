"""A real etcd for the whole session."""

from collections.abc import Iterator

import pytest

from curtail_dist.coordination import EmbeddedEtcd


@pytest.fixture(scope="session")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server
