"""Real runs: one etcd for all of them, and labs whose processes end with their test or module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from lab import Lab
from nursery import Nursery

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import CoordinationStore, EmbeddedEtcd, open_store


@pytest.fixture(scope="session")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd() as etcd:
        yield etcd


@pytest.fixture(scope="session")
def store(etcd: EmbeddedEtcd) -> Iterator[CoordinationStore]:
    with open_store(CoordinationConfig(endpoints=(etcd.endpoint,))) as store:
        yield store


@pytest.fixture(scope="module")
def make_lab(
    etcd: EmbeddedEtcd, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Lab]]:
    """Make the lab of a run; keywords are sections of its run file."""
    with ExitStack() as stack:

        def make(name: str, *, folder: Path | None = None, **sections: object) -> Lab:
            place = folder or tmp_path_factory.mktemp(name)
            return stack.enter_context(closing(Lab(place, nursery, etcd.endpoint, name=name, **sections)))

        yield make
