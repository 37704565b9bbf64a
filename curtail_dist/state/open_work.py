"""An open round on a site's own disk: what a process that must stop could not hand over."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curtail_dist.state.sealed import read_sealed, write_sealed

SCHEMA = 3
_LOG = logging.getLogger(__name__)


def keep_open(
    path: Path, local: Mapping[str, torch.Tensor], *, base_hash: str, work: Mapping[str, Any]
) -> None:
    """Write the local parameters and what was done for them, whole or not at all. Raises OSError.

    Args:
        path: The file; what it held is replaced.
        local: The parameters as trained, by name.
        base_hash: Hash of the version that they were trained on: they count on top of that one only.
        work: What was done, as JSON values.
    """
    write_sealed(path, local, {"base": base_hash, "work": work}, schema=SCHEMA)


def take_open(path: Path) -> tuple[dict[str, torch.Tensor], str, dict[str, Any]] | None:
    """Return (local parameters, base hash, work) as kept, None if there is nothing whole. It stays there."""
    try:
        tensors, about = read_sealed(path, schema=SCHEMA)
        return dict(tensors), about["base"], about["work"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        _LOG.warning("%s cannot be read and is passed over: %s", path, error)
        return None


def drop_open(path: Path) -> None:
    """Delete what was kept; nothing to delete is no error."""
    path.unlink(missing_ok=True)
