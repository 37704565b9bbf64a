"""What the run file says of when a site takes part."""

from dataclasses import dataclass

from curtail_dist.config.sections import require
from curtail_dist.units import GramsCO2PerKWh, Seconds


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """When a site takes part."""

    kind: str = "threshold"
    """`threshold`: join below, leave after `leave_delay_s` above. `always`: never leave."""
    threshold_g_per_kwh: GramsCO2PerKWh = 100.0
    """A site joins when its intensity is below this, g CO2/kWh."""
    leave_delay_s: Seconds = 600.0
    """A site leaves when its intensity has been at or above the threshold for this long."""
    poll_s: Seconds = 60.0
    """Time between two readings."""
    max_age_s: Seconds = 900.0
    """A reading that has not been renewed for this long is unknown."""

    def __post_init__(self) -> None:
        require(self.kind in ("threshold", "always"), "policy.kind", self.kind, "threshold or always")
        require(self.leave_delay_s >= 0, "policy.leave_delay_s", self.leave_delay_s, "at least 0")
        for name in ("threshold_g_per_kwh", "poll_s", "max_age_s"):
            require(getattr(self, name) > 0, f"policy.{name}", getattr(self, name), "above 0")
