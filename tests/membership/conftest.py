"""A town for each test, left in order when it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from town import Seconds, Town

from curtail_dist.coordination import MemoryCluster


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    clock = Seconds()
    town = Town(folder=tmp_path, clock=clock, cluster=MemoryCluster(monotonic=clock))
    with town.stack:
        yield town
