"""One Slurm cluster for all tests that need one, and run files of a site in it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Missing, install, running_cluster

from curtail_dist.config import RunConfig

sys.path.append(str(Path(__file__).parents[1] / "controller"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        install()
    except Missing as missing:
        pytest.skip(str(missing))
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, empty before and after."""
    cluster.empty()
    yield cluster
    cluster.empty()


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Make the value of a run file with one site of kind `slurm`; keywords are of the provisioner."""

    def make(*, slurm: dict[str, Any] | None = None, **provisioner: Any) -> RunConfig:
        return RunConfig.from_mapping(
            {
                "run": {"name": "day", "directory": str(tmp_path)},
                "data": {"manifest": "none.json"},
                "sites": {
                    "texas": {
                        "signal": {"kind": "constant", "value": 1.0},
                        "power": {"train_w": 300.0, "idle_w": 50.0},
                        "provisioner": {"kind": "slurm", "slurm": slurm or {}, **provisioner},
                    }
                },
            }
        )

    return make
