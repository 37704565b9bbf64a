"""How fast a site trains at which power: at full power, and under a power cap where it has one."""

from dataclasses import dataclass

from curtail_dist.energy.emissions import PowerModel
from curtail_dist.units import Watts


@dataclass(frozen=True, kw_only=True)
class Pace:
    """A way to train."""

    watts: Watts
    speed: float
    """Share of the speed at full power."""


def paces(power: PowerModel) -> tuple[Pace, ...]:
    """Return a site's paces, full power first."""
    full = Pace(watts=power.train_w, speed=1.0)
    return (full,) if power.capped_w is None else (full, Pace(watts=power.capped_w, speed=power.capped_speed))
