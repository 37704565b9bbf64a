"""Fault tests share one nursery, from which their sites' processes are forked."""

from collections.abc import Iterator

import pytest

from faults.processes import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery
