"""An open round on a site's own disk: what a process that must stop could not hand over."""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_LOG = logging.getLogger(__name__)
SCHEMA = 1
_PAYLOAD, _ABOUT = "payload", "about"


def keep_open(path: Path, payload: torch.Tensor, *, base_hash: str, work: Mapping[str, Any]) -> None:
    """Write an encoded pseudo-gradient (uint8, CPU) and what it is worth, whole or not at all. Raises OSError.

    Args:
        path: The file; what it held is replaced.
        payload: As `DiLoCo.encode` made it.
        base_hash: Hash of the version it was trained on: it counts on top of that one only.
        work: What was done, as plain values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"schema": SCHEMA, "base": base_hash, "work": work})
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({_PAYLOAD: payload}, partial, metadata={_ABOUT: about})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def take_open(path: Path) -> tuple[torch.Tensor, str, dict[str, Any]] | None:
    """Return (payload, base hash, work) as kept, None if there is nothing whole."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            payload = file.get_tensor(_PAYLOAD)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        _LOG.warning("%s cannot be read and is passed over: %s", path, error)
        return None
    return (payload, about["base"], about["work"]) if about.get("schema") == SCHEMA else None


def drop_open(path: Path) -> None:
    """Delete what was kept; nothing to delete is no error."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
