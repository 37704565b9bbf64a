"""What the tests of clusters and clouds share: a site's configuration, and the contract of provisioners."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kustomization import OVERLAYS, ROOT, build

from curtail_dist.config import RunConfig

# The contract's file: what every provisioner promises.
sys.path.append(str(Path(__file__).parent.parent / "controller"))


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Make a run file's value for one site with this provisioner."""

    def make(**provisioner: Any) -> RunConfig:
        return RunConfig.from_mapping(
            {
                "run": {"name": "day", "directory": str(tmp_path / "run"), "deadline_h": 1.0},
                "data": {"manifest": "none.json"},
                "sites": {
                    "texas": {
                        "signal": {"kind": "constant", "value": 1.0},
                        "power": {"train_w": 300.0, "idle_w": 50.0},
                        "provisioner": provisioner,
                    }
                },
            }
        )

    return make


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    """One of the shipped kustomizations after the other."""
    return request.param


@pytest.fixture
def objects(overlay: str) -> list[dict[str, Any]]:
    """The objects that it makes."""
    return build(ROOT / overlay)
