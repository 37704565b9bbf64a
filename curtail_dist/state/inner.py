"""The inner optimizer's state on a site's own disk, for its return after a short absence."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
SCHEMA = 1
_ABOUT = "about"


def save(path: Path, optimizer: torch.optim.Optimizer, *, at: Seconds) -> None:
    """Write the state of any torch optimizer, whole or not at all. Raises OSError.

    Args:
        path: The file; what it held is replaced.
        optimizer: Its state may hold tensors and plain numbers. Its groups' settings are not kept: the script
            sets them.
        at: The present run time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for key, value in _flatten(optimizer.state_dict()["state"]):
        if isinstance(value, torch.Tensor):
            tensors[key] = value.detach().to("cpu", copy=True).contiguous()
        else:
            plain[key] = value
    about = json.dumps({"schema": SCHEMA, "at": at, "like": _like(optimizer), "plain": plain})
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, partial, metadata={_ABOUT: about})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path, optimizer: torch.optim.Optimizer, *, now: Seconds, max_age_s: Seconds) -> bool:
    """Take the state up again; return whether it was there, whole, fitting and no older than `max_age_s`.

    Never raises for what the file holds: a site without it begins with a fresh state.
    """
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        if about["schema"] != SCHEMA or about["like"] != _like(optimizer):
            raise ValueError("it belongs to another model or optimizer")
        if not 0 <= now - about["at"] <= max_age_s:
            raise ValueError(f"it is {now - about['at']:.0f} s old; at most {max_age_s:.0f} are taken")
        state = _unflatten({**tensors, **about["plain"]})
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        _LOG.warning("the inner optimizer begins afresh; %s is not taken: %s", path, error)
        return False
    return True


def _flatten(state: Mapping[int, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"{number}/{key}", value) for number, one in state.items() for key, value in one.items()]


def _unflatten(flat: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for path, value in flat.items():
        number, _, key = path.partition("/")
        state.setdefault(int(number), {})[key] = value
    return state


def _like(optimizer: torch.optim.Optimizer) -> list[Any]:
    """What the optimizer must have in common with the one whose state was kept."""
    shapes = [[list(one.shape) for one in group["params"]] for group in optimizer.param_groups]
    return [type(optimizer).__name__, shapes]
