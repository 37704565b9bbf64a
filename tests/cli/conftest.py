"""A run of two sites by its run file, and the etcd that it names, emptied after each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.membership.keys import Keys


@pytest.fixture(scope="module")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(None) as server:
        yield server


@pytest.fixture
def file(etcd: EmbeddedEtcd, tmp_path: Path) -> Path:
    site = {"signal": {"kind": "constant", "value": 50}, "power": {"train_w": 1000, "idle_w": 100}}
    tree = {
        "run": {"name": "day", "directory": "run"},
        "coordination": {"endpoints": [etcd.endpoint]},
        "sites": {"texas": site, "california": site},
        "data": {"manifest": "manifest.json"},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture
def store(file: Path) -> Iterator[CoordinationStore]:
    with open_store(RunConfig.from_yaml(file).coordination) as opened:
        yield opened
        for entry in opened.list(Keys("day").root).entries:
            opened.delete(entry.key)
