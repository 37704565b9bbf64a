"""An open round on a site's own disk: what a process that must stop could not hand over."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curtail_dist.state.sealed import read_sealed, write_sealed

SCHEMA = 2
_LOG = logging.getLogger(__name__)
_PAYLOAD = "payload"


def keep_open(path: Path, payload: torch.Tensor, *, base_hash: str, work: Mapping[str, Any]) -> None:
    """Write an encoded pseudo-gradient and what it is worth, whole or not at all. Raises OSError.

    Args:
        path: The file; what it held is replaced.
        payload: uint8, as `DiLoCo.encode` made it.
        base_hash: Hash of the version it was trained on: it counts on top of that one only.
        work: What was done, as JSON values.
    """
    write_sealed(path, {_PAYLOAD: payload}, {"base": base_hash, "work": work}, schema=SCHEMA)


def take_open(path: Path) -> tuple[torch.Tensor, str, dict[str, Any]] | None:
    """Return (payload, base hash, work) as kept, None if there is nothing whole. It stays on the disk."""
    try:
        tensors, about = read_sealed(path, schema=SCHEMA)
        return tensors[_PAYLOAD], about["base"], about["work"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        _LOG.warning("%s cannot be read and is passed over: %s", path, error)
        return None


def drop_open(path: Path) -> None:
    """Delete what was kept; nothing to delete is no error."""
    path.unlink(missing_ok=True)
