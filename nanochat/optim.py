"""The inner optimizer: Muon for the blocks' matrices, AdamW for the rest, as one torch Optimizer."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from nanochat.model import GPT
from nanochat.muon import apply_update, learning_rate, moment_shape, nesterov, orthogonalize, reduce_variance
from nanochat.settings import from_mapping, require

REFERENCE_WIDTH = 768
REFERENCE_DEPTH = 12
REFERENCE_BATCH_TOKENS = 2**19


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Learning rates and constants of variant 2026-01, before their scaling by width, depth and batch."""

    embedding_lr: float = 0.3
    """AdamW rate of the embedding, times sqrt(768 / n_embd)."""
    head_lr: float = 0.004
    """AdamW rate of the head, times sqrt(768 / n_embd)."""
    x0_lr: float = 0.5
    """AdamW rate of the x0 lambdas."""
    residual_lr: float = 0.005
    """AdamW rate of the residual lambdas."""
    matrix_lr: float = 0.02
    """Muon rate, times sqrt(max(1, rows / columns))."""
    weight_decay: float = 0.2
    """Muon's cautious decay at depth 12, times (12 / depth)^2."""
    adam_betas: tuple[float, float] = (0.8, 0.95)
    """AdamW's decays, a step."""
    adam_eps: float = 1e-10
    """Added to AdamW's denominator."""
    muon_beta2: float = 0.95
    """Decay of Muon's second moment, a step."""
    batch_tokens: int = REFERENCE_BATCH_TOKENS
    """Tokens of a step B; every rate is multiplied by sqrt(B / 2^19)."""

    def __post_init__(self) -> None:
        for name in (
            "embedding_lr",
            "head_lr",
            "x0_lr",
            "residual_lr",
            "matrix_lr",
            "weight_decay",
            "adam_eps",
        ):
            require(getattr(self, name) >= 0, f"optim.{name}", getattr(self, name), "at least 0")
        for name, value in (("adam_betas", b) for b in self.adam_betas):
            require(0 <= value < 1, f"optim.{name}", self.adam_betas, "in [0, 1)")
        require(0 <= self.muon_beta2 < 1, "optim.muon_beta2", self.muon_beta2, "in [0, 1)")
        require(self.batch_tokens >= 1, "optim.batch_tokens", self.batch_tokens, "at least 1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from a mapping with the fields of this class; ValueError for an unknown or bad key."""
        return from_mapping(cls, "optim", values)


class MuonAdamW(torch.optim.Optimizer):
    """Muon or AdamW, by the `kind` of each parameter group.

    A group has `kind`, `lr`, `initial_lr`, and: `muon` groups, of matrices only, `momentum`, `beta2`,
    `weight_decay`, `initial_weight_decay`; `adamw` groups `betas`, `eps`. A schedule may set `lr`, `momentum`
    and `weight_decay` before each step. State is kept for each parameter on its own, so that it can be saved,
    loaded and dropped so.
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
        u = orthogonalize(torch.stack(directions))  # [K, m, n]
        u, moments = reduce_variance(u, torch.stack([s["moment"] for s in states]), group["beta2"])
        lr = learning_rate(group["lr"], stack[0].shape)
        for p, state, update, moment in zip(stack, states, u, moments, strict=True):
            state["moment"].copy_(moment)
            apply_update(p, update, lr, group["weight_decay"])


def build_optimizer(model: GPT, config: OptimConfig) -> MuonAdamW:
    """One optimizer over all parameters of `model`.

    Groups, in this order: `embedding`, `head`, `x0_lambdas`, `residual_lambdas` (AdamW), `matrices` (Muon).
    """
    batch_scale = (config.batch_tokens / REFERENCE_BATCH_TOKENS) ** 0.5
    width_scale = (model.config.n_embd / REFERENCE_WIDTH) ** -0.5
    decay = config.weight_decay * (REFERENCE_DEPTH / model.config.n_layer) ** 2

    def adamw(name: str, parameter: Tensor, lr: float) -> dict[str, Any]:
        rates = {"lr": lr * batch_scale, "initial_lr": lr * batch_scale}
        constants = {"betas": config.adam_betas, "eps": config.adam_eps}
        return {"kind": "adamw", "name": name, "params": [parameter], **rates, **constants}

    matrix_lr = config.matrix_lr * batch_scale
    matrices = {
        "kind": "muon",
        "name": "matrices",
        "params": list(model.blocks.parameters()),
        "lr": matrix_lr,
        "initial_lr": matrix_lr,
        "momentum": 0.95,
        "beta2": config.muon_beta2,
        "weight_decay": decay,
        "initial_weight_decay": decay,
    }
    return MuonAdamW(
        [
            adamw("embedding", model.embedding.weight, config.embedding_lr * width_scale),
            adamw("head", model.head.weight, config.head_lr * width_scale),
            adamw("x0_lambdas", model.x0_lambdas, config.x0_lr),
            adamw("residual_lambdas", model.residual_lambdas, config.residual_lr),
            matrices,
        ]
    )
