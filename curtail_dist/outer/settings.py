"""What a run sets about its outer step, the same at all its sites."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch

from curtail_dist.config.sections import OuterConfig
from curtail_dist.outer.anchor import OuterFactory
from curtail_dist.outer.nesterov import Average, Nesterov
from curtail_dist.outer.rules import TABLES, OuterRules


@dataclass(frozen=True, kw_only=True)
class OuterSettings:
    """How pseudo-gradients are made, travel, and become the next anchor."""

    factory: OuterFactory = Nesterov
    """Makes the outer optimizer for the global parameters."""
    rules: OuterRules = field(default_factory=OuterRules)
    """Weights of the sites, hyper-parameters by their number, momentum when they change."""
    codec: str = "fp32"
    """Name of the codec in which pseudo-gradients travel."""
    fragments: Sequence[torch.nn.Module] | int | None = None
    """F, into how many fragments the model is divided, or the fragments; None: one."""
    mix_alpha: float = 0.0
    """alpha, the share of the local parameters that an outer step leaves."""

    @classmethod
    def of(cls, config: OuterConfig) -> Self:
        """As the run file's `outer` section says."""
        own = {float(sites): (lr, momentum) for sites, (lr, momentum) in (config.by_sites or {}).items()}
        averages = config.optimizer == "average"
        return cls(
            factory=Average
            if averages
            else lambda params: Nesterov(params, lr=config.lr, momentum=config.momentum),
            rules=OuterRules(
                weight=config.weight,
                by_sites=own or TABLES.get(config.table),
                momentum=config.momentum_on_change,
            ),
            codec=config.codec,
            fragments=config.fragments,
            mix_alpha=config.mix_alpha,
        )
