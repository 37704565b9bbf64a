"""The inner optimizer's state on a site's own disk, for its return after a short absence."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curtail_dist.state.raw import ELEMENTS
from curtail_dist.state.sealed import read_sealed, write_sealed
from curtail_dist.units import Seconds

SCHEMA = 2
_LOG = logging.getLogger(__name__)
_PLAIN = (bool, int, float, str, type(None))


def save(path: Path, optimizer: torch.optim.Optimizer, *, at: Seconds) -> None:
    """Write the state of any torch optimizer, whole or not at all. Raises OSError.

    An optimizer whose state holds more than plain tensors and plain values is not kept, with a warning, and
    neither is one that holds a number that is not finite: what the file held then stays.

    Args:
        path: The file; what it held is replaced.
        optimizer: Its groups' settings (learning rates, ...) are not kept: the script sets them.
        at: The present run time.
    """
    if not is_finite(optimizer):
        _LOG.warning("the inner optimizer's state has numbers that are not finite: it is not kept")
        return
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    elsewhere: list[str] = []
    for number, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            name = f"{number}/{key}"
            if _is_plain_tensor(value):
                tensors[name] = value
                if value.device != parameter.device:
                    elsewhere.append(name)
            elif isinstance(value, _PLAIN):
                plain[name] = value
            else:
                _LOG.warning("the inner optimizer's %s is %s: its state is not kept", key, _kind(value))
                return
    about = {"at": at, "like": _like(optimizer), "plain": plain, "on_cpu": elsewhere}
    write_sealed(path, tensors, about, schema=SCHEMA)


def load(path: Path, optimizer: torch.optim.Optimizer, *, now: Seconds, max_age_s: Seconds) -> Seconds | None:
    """Take the state up again, if it is there, whole, fitting and no older than `max_age_s`.

    Returns the run time at which it was kept, or None; the optimizer is then as it was. Never raises for what
    the file holds: a site without it begins with a fresh state.
    """
    try:
        tensors, about = read_sealed(path, schema=SCHEMA)
        _check(about, like=_like(optimizer), now=now, max_age_s=max_age_s)
        states = _states(optimizer, tensors, about)
    except FileNotFoundError:
        _LOG.info("the inner optimizer begins afresh: there is no %s", path)
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        _LOG.warning("the inner optimizer begins afresh; %s is not taken: %s", path, error)
        return None
    for parameter, state in zip(_parameters(optimizer), states, strict=True):
        optimizer.state.pop(parameter, None)
        if state:
            optimizer.state[parameter] = state
    return float(about["at"])


def is_finite(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether all numbers in the tensors of the optimizer's state are finite.

    Numbers of its own, beside tensors, may be infinite from the beginning: a lowest loss, say.
    """
    return all(map(_all_finite, optimizer.state.values()))


def _all_finite(state: Mapping[str, Any]) -> bool:
    numbers = [value for value in state.values() if _is_plain_tensor(value) and value.is_floating_point()]
    return all(bool(_wide(one).isfinite().all()) for one in numbers)


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    """Return numbers of a type that torch computes with; it does not with those of 8 bits."""
    return numbers.float() if numbers.element_size() == 1 else numbers


def _check(about: Mapping[str, Any], *, like: list[Any], now: Seconds, max_age_s: Seconds) -> None:
    if about["like"] != like:
        raise ValueError("it belongs to another model or optimizer")
    age = now - about["at"]
    if not 0 <= age <= max_age_s:
        raise ValueError(f"it is {age:.0f} s old; at most {max_age_s:.0f} are taken")


def _states(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return each parameter's state, tensors with the bytes and types that they were kept with.

    `Optimizer.load_state_dict` would not do: it casts to the parameter's type, which loses bits where an
    optimizer holds a moment in a wider one.
    """
    parameters = _parameters(optimizer)
    states: list[dict[str, Any]] = [{} for _ in parameters]
    for name, value in (*tensors.items(), *about["plain"].items()):
        number, _, key = name.partition("/")
        index = int(number)
        there = isinstance(value, torch.Tensor) and name not in about["on_cpu"]
        states[index][key] = value.to(parameters[index].device) if there else value
    if not all(map(_all_finite, states)):
        raise ValueError("it has numbers that are not finite")
    return states


def _is_plain_tensor(value: Any) -> bool:
    """Whether its bytes are all there is to it: no subclass (8-bit states), not sparse, of a stored type."""
    kinds = (torch.Tensor, torch.nn.Parameter)
    return type(value) in kinds and value.layout is torch.strided and value.dtype in ELEMENTS.values()


def _kind(value: object) -> str:
    name = f"of type {type(value).__name__}"
    return f"{name}, {value.dtype}, {value.layout}" if isinstance(value, torch.Tensor) else name


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _like(optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return what the optimizer must have in common with the one whose state was kept.

    That is its kind, its parameters' types and shapes, and those settings that say which state there is
    (amsgrad, fused, ...); numbers may be set otherwise than before.
    """
    groups: list[Any] = []
    for group in optimizer.param_groups:
        shapes = [[str(one.dtype), list(one.shape)] for one in group["params"]]
        choices = {key: value for key, value in sorted(group.items()) if isinstance(value, bool | str)}
        groups.append([shapes, choices])
    return [type(optimizer).__name__, groups]
