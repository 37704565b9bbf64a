"""The inner optimizer: Muon for the blocks' matrices, AdamW for the rest, as one torch Optimizer."""

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nanochat.muon import (
    NORM_MARGIN,
    apply_update,
    equalize_rows,
    learning_rate,
    moment_shape,
    nesterov,
    orthogonalize,
    reduce_variance,
    restore_norm,
)


class MuonAdamW(torch.optim.Optimizer):
    """Muon or AdamW, by the `kind` of each parameter group.

    A group has `kind`, `lr`, `initial_lr`, and: `muon` groups, of matrices only, `momentum`, `beta2`,
    `weight_decay`, `initial_weight_decay`, and where they differ from variant 2026-01's, `norm_margin` and
    `balanced` (equal rows before, the norm of an orthogonal matrix after); `adamw` groups `betas`, `eps`, and
    `weight_decay` if there is any. A schedule may set `lr`, and Muon's `momentum` and `weight_decay`, before
    each step. State is kept for each parameter on its own, so that it can be saved, loaded and dropped so.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    # torch wraps these two so that their first call imports its compiler: seconds of CPU time for nothing.
    # A site's ranks start many times a day, so the wrapper is left out.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see the class for what it holds."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or zero them."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient.

        Args:
            closure: Recomputes the loss, with gradients, before the update.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "adamw":
                for p in parameters:
                    self._adamw(p, group)
                continue
            by_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in parameters:
                by_shape[p.shape].append(p)
            for stack in by_shape.values():
                self._muon(stack, group)
        return loss

    def _adamw(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state = self.state[p]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"] = torch.zeros_like(p)
            state["square"] = torch.zeros_like(p)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = state["step"].item()
        state["mean"].lerp_(p.grad, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        if decay := group.get("weight_decay", 0.0):
            p.mul_(1 - group["lr"] * decay)
        root = (state["square"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        p.addcdiv_(state["mean"], root, value=-group["lr"] / (1 - beta1**step))

    def _muon(self, stack: list[Tensor], group: dict[str, Any]) -> None:  # stack: K times [m, n]
        # Equal matrices share one batched product: at small widths the calls cost more than the arithmetic.
        states = [self.state[p] for p in stack]
        directions = []
        for p, state in zip(stack, states, strict=True):
            if not state:
                state["momentum"] = torch.zeros_like(p)
                state["moment"] = torch.zeros(moment_shape(p.shape), device=p.device)
            assert p.grad is not None
            directions.append(nesterov(p.grad, state["momentum"], group["momentum"]))
        g, balanced = torch.stack(directions), group.get("balanced", False)  # [K, m, n]
        u = orthogonalize(equalize_rows(g) if balanced else g, group.get("norm_margin", NORM_MARGIN))
        u = restore_norm(u) if balanced else u
        u, moments = reduce_variance(u, torch.stack([s["moment"] for s in states]), group["beta2"])
        lr = learning_rate(group["lr"], stack[0].shape)
        for p, state, update, moment in zip(stack, states, u, moments, strict=True):
            state["moment"].copy_(moment)
            apply_update(p, update, lr, group["weight_decay"])
