"""What the recipes share: how rates scale, and the optimizer's groups."""

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from nanochat.settings import require

REFERENCE_WIDTH = 768
REFERENCE_DEPTH = 12
REFERENCE_BATCH_TOKENS = 2**19


def batch_scale(batch_tokens: int) -> float:
    """Factor of the learning rates of a batch of B tokens: sqrt(B / 2^19)."""
    return (batch_tokens / REFERENCE_BATCH_TOKENS) ** 0.5


def width_scale(n_embd: int) -> float:
    """Factor of the learning rates of embeddings and head: sqrt(768 / n_embd)."""
    return (n_embd / REFERENCE_WIDTH) ** -0.5


def adamw(
    name: str,
    of: nn.Module | Tensor | Iterable[Tensor],
    lr: float,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float = 0.0,
) -> dict[str, Any]:
    """A group for AdamW over a module's parameters, one parameter, or several."""
    rates = {"lr": lr, "initial_lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    return {"kind": "adamw", "name": name, "params": _parameters(of), **rates}


def muon(
    of: nn.Module, lr: float, *, beta2: float, weight_decay: float, **differences: float
) -> dict[str, Any]:
    """A group for Muon over a module's matrices; `differences` as MuonAdamW says."""
    return {
        "kind": "muon",
        "name": "matrices",
        "params": list(of.parameters()),
        "lr": lr,
        "initial_lr": lr,
        "momentum": 0.95,
        "beta2": beta2,
        "weight_decay": weight_decay,
        "initial_weight_decay": weight_decay,
        **differences,
    }


def check_rates(config: Any) -> None:
    """Raise ValueError unless an optimizer's rates, decays and batch are ones that it can have."""
    for name in (field.name for field in fields(config) if field.name.endswith(("_lr", "_decay", "_eps"))):
        value = getattr(config, name)
        require(0 <= value < math.inf, f"optim.{name}", value, "at least 0, and finite")
    require(0 <= config.muon_beta2 < 1, "optim.muon_beta2", config.muon_beta2, "in [0, 1)")
    require(config.batch_tokens >= 1, "optim.batch_tokens", config.batch_tokens, "at least 1")


def _parameters(of: nn.Module | Tensor | Iterable[Tensor]) -> list[Tensor]:
    if isinstance(of, nn.Module):
        return list(of.parameters())
    return [of] if isinstance(of, Tensor) else list(of)
