"""What the recipe changes as it trains, by progress = tokens done by all sites / tokens planned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch

from nanochat.settings import from_mapping, require


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Variant 2026-01: no warm-up, linear warm-down, Muon's momentum warmed up, its decay fading linearly.

    Progress above 1 counts as 1: the last round may overshoot the plan.
    """

    warmup_share: float = 0.0
    """Share of the run over which the learning rate rises linearly from 0."""
    warmdown_share: float = 0.4
    """Share of the run over which it falls linearly to `final_lr_factor`."""
    final_lr_factor: float = 0.0
    """Learning rate at the end, relative to its full value."""
    momentum_start: float = 0.85
    """Muon's momentum at the start."""
    momentum_end: float = 0.95
    """Muon's momentum once warmed up."""
    momentum_warmup_share: float = 300 / 23_400
    """Share of the run over which the momentum rises linearly; 300 steps of the published 23,400."""

    def __post_init__(self) -> None:
        for name in ("warmup_share", "warmdown_share", "final_lr_factor", "momentum_warmup_share"):
            require(0 <= getattr(self, name) <= 1, f"schedule.{name}", getattr(self, name), "in [0, 1]")
        for name in ("momentum_start", "momentum_end"):
            require(0 <= getattr(self, name) < 1, f"schedule.{name}", getattr(self, name), "in [0, 1)")
        shares = self.warmup_share + self.warmdown_share
        require(shares <= 1, "schedule.warmup_share + schedule.warmdown_share", shares, "at most 1")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from a mapping with the fields of this class; ValueError for an unknown or bad key."""
        return from_mapping(cls, "schedule", values)

    @classmethod
    def for_steps(cls, steps: int) -> Self:
        """The schedule of a run of so many steps: of this variant, the same for all."""
        del steps
        return cls()

    def lr_factor(self, progress: float) -> float:
        """Factor of every learning rate."""
        p = _bounded(progress)
        if p < self.warmup_share:
            return p / self.warmup_share
        if p <= 1 - self.warmdown_share:
            return 1.0
        left = (1 - p) / self.warmdown_share
        return left + (1 - left) * self.final_lr_factor

    def muon_momentum(self, progress: float) -> float:
        """Muon's momentum."""
        p = _bounded(progress)
        share = 1.0 if p >= self.momentum_warmup_share else p / self.momentum_warmup_share
        return self.momentum_start + share * (self.momentum_end - self.momentum_start)

    def weight_decay_factor(self, progress: float) -> float:
        """Factor of Muon's weight decay."""
        return 1 - _bounded(progress)


def _bounded(progress: float) -> float:
    require(progress >= 0, "progress", progress, "at least 0")
    return min(progress, 1.0)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What sets the rates before each inner step."""

    schedule: Schedule
    progress: Callable[[], float]
    """Tokens done by all / tokens planned."""
    lr_scale: Callable[[], float] = lambda: 1.0
    """A further factor of every learning rate."""

    def apply(self, optimizer: torch.optim.Optimizer) -> float:
        """Set the rates as they are now; returns the factor of every learning rate."""
        return apply(optimizer, self.schedule, self.progress(), scale=self.lr_scale())


def apply(
    optimizer: torch.optim.Optimizer, schedule: Schedule, progress: float, *, scale: float = 1.0
) -> float:
    """Set the groups' `lr`, and of Muon's `momentum` and `weight_decay`; returns the lr factor.

    `scale` is a further factor of every learning rate.
    """
    factor = schedule.lr_factor(progress) * scale
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
        if group["kind"] == "muon":
            group["momentum"] = schedule.muon_momentum(progress)
            group["weight_decay"] = group["initial_weight_decay"] * schedule.weight_decay_factor(progress)
    return factor
