"""A run of one site, as small as it can be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curtail_dist.config import RunConfig


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Make a run file's value; keywords are whole sections."""

    def make(**sections: Any) -> RunConfig:
        return RunConfig.from_mapping(
            {
                "run": {"name": "day", "directory": str(tmp_path), "deadline_h": 1.0},
                "data": {"manifest": "none.json"},
                "sites": {
                    "texas": {
                        "signal": {"kind": "constant", "value": 1.0},
                        "power": {"train_w": 300.0, "idle_w": 50.0},
                    }
                },
                **sections,
            }
        )

    return make


@pytest.fixture
def config(make_config: Callable[..., RunConfig]) -> RunConfig:
    return make_config()
