"""How the outer step weighs its sites, and how its hyper-parameters follow their number."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curtail_dist.config.sections import MOMENTA, WEIGHTS
from curtail_dist.errors import ConfigError

Table = Mapping[float, tuple[float, float]]
"""(learning rate, momentum) of the outer optimizer by the effective number of sites."""

TABLES: dict[str, Table] = {
    "muon": {1: (0.7, 0.6), 2: (0.9, 0.8), 16: (1.0, 0.9)},
    "adamw": {1: (0.5, 0.9), 2: (0.6, 0.9), 4: (0.6, 0.9), 8: (0.8, 0.9)},
}
"""As published, by the inner optimizer: MuLoCo (arXiv 2505.23725), scaling laws of DiLoCo (2503.09799)."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one site did since a fragment was last exchanged."""

    tokens: int = 0
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class OuterRules:
    """What a run sets about its outer step beside the optimizer. Equal at all sites."""

    weight: str = "tokens"
    """`tokens` stepped, or `tokens2_per_step`: tokens^2 / steps (Decoupled DiLoCo, arXiv 2604.21428)."""
    by_sites: Table | None = None
    """Hyper-parameters by the effective number of sites; None: as the optimizer was made."""
    momentum: str = "keep"
    """When other sites contribute than the last time: `keep` the momentum, `restart` it at nothing, or
    `scale` it by sqrt(M before / M now), at most 1, since the mean over fewer sites is noisier."""

    def __post_init__(self) -> None:
        if self.weight not in WEIGHTS:
            raise ConfigError(f"outer.weight is {self.weight!r}; it must be one of {', '.join(WEIGHTS)}")
        if self.momentum not in MOMENTA:
            raise ConfigError(
                f"outer.momentum_on_change is {self.momentum!r}; it must be one of {', '.join(MOMENTA)}"
            )

    def weights(self, shares: Sequence[Share]) -> list[float]:
        """Return each site's weight in the mean; 0 for one that did nothing."""
        if self.weight == "tokens":
            return [float(share.tokens) for share in shares]
        return [share.tokens**2 / share.steps if share.steps else 0.0 for share in shares]

    def hyper(self, sites: float) -> dict[str, float]:
        """Return what to set in the outer optimizer for an effective number of sites."""
        if self.by_sites is None:
            return {}
        lr, momentum = interpolated(self.by_sites, sites)
        return {"lr": lr, "momentum": momentum}

    def kept_momentum(self, before: float, now: float) -> float:
        """Return the factor for the momentum where other sites contribute than before."""
        if self.momentum == "scale":
            return min(1.0, math.sqrt(before / now))
        return 0.0 if self.momentum == "restart" else 1.0


def effective(weights: Sequence[float]) -> float:
    """Return the effective number of sites, M = (sum w)^2 / sum w^2: n for n equal weights."""
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def interpolated(table: Table, sites: float) -> tuple[float, float]:
    """Return the table's entry for a number of sites, linear in its logarithm, constant outside."""
    known = sorted(table)
    place = bisect_right(known, sites)
    if place == 0 or place == len(known):
        return table[known[0 if place == 0 else -1]]
    low, high = known[place - 1], known[place]
    part = math.log(sites / low) / math.log(high / low)
    (lr, momentum), (lr_above, momentum_above) = table[low], table[high]
    return lr + part * (lr_above - lr), momentum + part * (momentum_above - momentum)
