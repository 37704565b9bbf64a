"""How long starts take, and how many fail: what a rehearsal assumes of whatever provides machines."""

import math
from dataclasses import dataclass
from random import Random

from curtail_dist.errors import ConfigError
from curtail_dist.units import Seconds

MOST_SPREAD = 10.0
"""With which one start in six takes twenty thousand times its median: more than any provider's do."""


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """How starts go: a model, drawn anew for each start and the same for the same seed."""

    spread: float = 0.0
    """Standard deviation of the logarithm of a start's duration, whose median is the rhythm's; 0: each takes
    that long."""
    fails: float = 0.0
    """Share of the starts that fail, at the moment at which their ranks were to come."""
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.spread <= MOST_SPREAD:
            raise ConfigError(f"the spread of starts is {self.spread:g}; it must be in [0, {MOST_SPREAD:g}]")
        if not 0 <= self.fails < 1:
            raise ConfigError(f"the share of starts that fail is {self.fails}; it must be in [0, 1)")

    def start(self, site: str, number: int, join_s: Seconds) -> tuple[Seconds, bool]:
        """Return how long a site's start takes, and whether it fails."""
        chance = Random(f"{self.seed} {site} {number}")
        takes = join_s * math.exp(chance.gauss(0.0, self.spread)) if self.spread else join_s
        return takes, chance.random() < self.fails
