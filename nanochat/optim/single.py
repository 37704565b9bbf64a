"""Muon and AdamW as one torch Optimizer, at one rank."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nanochat.optim.adamw import adamw_step
from nanochat.optim.muon import muon_step

Whole = Mapping[Tensor, Mapping[str, Tensor]]
"""The whole state of each parameter, by its keys."""


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
        self._update()
        return loss

    def _update(self) -> None:
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "adamw":
                for p in parameters:
                    adamw_step(p, p.grad, self.state[p], group)
                continue
            for stack in of_one_shape(parameters):
                grads = [p.grad for p in stack if p.grad is not None]
                muon_step(stack, grads, [self.state[p] for p in stack], group)

    def whole_state(self) -> Whole:
        """The state of each parameter that has one, for a checkpoint; the tensors are the state's own."""
        return {p: dict(state) for p, state in self.state.items()}

    def take_whole(self, whole: Whole) -> None:
        """Go on from what `whole_state` gave at any number of ranks; its tensors become the state."""
        for p, state in whole.items():
            self.state[p] = {key: _beside(p, tensor) for key, tensor in state.items()}


def of_one_shape(matrices: list[Tensor]) -> list[list[Tensor]]:
    """Matrices of one shape together, in their order."""
    by_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        by_shape[matrix.shape].append(matrix)
    return list(by_shape.values())


def _beside(parameter: Tensor, tensor: Tensor) -> Tensor:
    """On the parameter's device; counts of steps stay on the CPU."""
    return tensor if tensor.ndim == 0 else tensor.to(parameter.device)
