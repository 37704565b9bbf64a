"""AdamW's update of one tensor (arXiv 1711.05101)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def adamw_step(weight: Tensor, grad: Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """Update `weight` and its state in place.

    Args:
        weight: Any shape.
        grad: Of the weight's shape.
        state: `step` [], `mean` and `square` of the weight's shape; empty before the first step.
        group: `lr`, `betas`, `eps`, and `weight_decay` if there is any.
    """
    if not state:
        state["step"] = torch.zeros((), device="cpu")
        state["mean"] = torch.zeros_like(weight)
        state["square"] = torch.zeros_like(weight)
    beta1, beta2 = group["betas"]
    state["step"] += 1
    step = state["step"].item()
    state["mean"].lerp_(grad, 1 - beta1)
    state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    if decay := group.get("weight_decay", 0.0):
        weight.mul_(1 - group["lr"] * decay)
    root = (state["square"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
    weight.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - beta1**step))
