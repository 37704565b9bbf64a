"""Which parameters of a model are trained and exchanged, and which kinds of them cannot be."""

import sys
from collections.abc import Mapping

import torch

from curtail_dist.errors import ConfigError


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return a model's parameters that require a gradient, by name; tied ones once.

    Raises ConfigError if there is none, or one that cannot be exchanged as real numbers, all of them here.
    """
    found = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not found:
        raise ConfigError("the model has no parameter that requires a gradient; it must have at least one")
    fsdp = sys.modules.get("torch.distributed.fsdp")  # nobody has sharded anything without it
    if fsdp is not None and any(isinstance(one, fsdp.FullyShardedDataParallel) for one in model.modules()):
        raise ConfigError(f"the model is divided among ranks by FSDP; {_WHOLE}")
    for name, value in found.items():
        odd = _odd(value)
        if odd:
            raise ConfigError(f"the model's parameter {name!r} {odd}")
    return found


def check_same(parameters: Mapping[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Raise ConfigError if a model trains a parameter that is none of these: it would never be exchanged."""
    known = {id(value) for value in parameters.values()}
    for name, value in model.named_parameters():
        if value.requires_grad and id(value) not in known:
            raise ConfigError(
                f"the model's parameter {name!r} was frozen when DiLoCo was made, or another tensor in its "
                "place; only what it was made for is exchanged: unfreeze, replace or divide parameters before"
            )


def check_inner(inner: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor]) -> None:
    """Raise ConfigError if an inner optimizer holds none of the parameters."""
    held = {id(value) for group in inner.param_groups for value in group["params"]}
    if not any(id(value) in held for value in parameters.values()):
        raise ConfigError(
            "the inner optimizer holds none of the model's parameters that require a gradient; it must, or "
            "nothing is trained: make it from the parameters() of the model that is given"
        )


_WHOLE = "each rank of a site must have the whole model: average gradients by DistributedDataParallel"


def _odd(value: torch.nn.Parameter) -> str:
    """Return what is wrong with a parameter, and what to do."""
    tensor = sys.modules.get("torch.distributed.tensor")
    if torch.nn.parameter.is_lazy(value):
        return "has no shape yet; it must have: take a batch through the model before DiLoCo is made"
    if tensor is not None and isinstance(value, tensor.DTensor):
        return f"is divided among ranks (a DTensor); {_WHOLE}"
    if value.is_meta:
        return "is on the meta device; it must have values: model.to_empty(device=...), then initialize it"
    if not value.is_floating_point():
        return (
            f"is of type {value.dtype}; it must be of real floating-point numbers: keep a complex one as its "
            "real and imaginary parts, torch.view_as_real"
        )
    return ""
