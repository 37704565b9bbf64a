"""What the run file says of when a site takes part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curtail_dist.config.own import OWN, is_own
from curtail_dist.config.sections import require
from curtail_dist.units import GramsCO2PerKWh, Seconds

KINDS = ("threshold", "work-price", "always")


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """When a site takes part."""

    kind: str = "threshold"
    """`threshold`: join below, leave after `leave_delay_s` above. `work-price`: do the work by the deadline
    for the least emissions, by forecast. `always`: never leave. Or MODULE:NAME of your own (see
    docs/energy.md)."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """With MODULE:NAME: what it is called with."""
    threshold_g_per_kwh: GramsCO2PerKWh = 100.0
    """A site joins when its intensity is below this, g CO2/kWh. Whatever the policy, reports call the hours
    below it windows."""
    leave_at_g_per_kwh: GramsCO2PerKWh | None = None
    """With `threshold`: a site leaves when its intensity is at or above this. Default: where it joins."""
    leave_delay_s: Seconds = 600.0
    """With `threshold`: for how long the intensity must have been that high."""
    poll_s: Seconds = 60.0
    """Time between two readings."""
    max_age_s: Seconds = 900.0
    """A reading that has not been renewed for this long is unknown."""
    replan_s: Seconds = 300.0
    """With `work-price`: time between two plans, which are made at whole multiples of it in UTC, and the
    length of their slots."""
    commitment_s: Seconds = 300.0
    """With `work-price`: seconds of training that a start must be worth besides what joining costs."""
    reserve: float = 0.02
    """With `work-price`: share of the work that is left by which a plan does more, for what goes wrong."""
    work_h: float | None = None
    """Site-hours of training that the run takes: what `simulate` plays where --work-h says nothing else, and
    with `work-price` what agents expect before the run has measured. Default: what one site does in the
    planned period."""
    g_per_currency: float = 0.0
    """With `work-price`: grams of CO2 that one unit of the sites' currency is worth, so that a plan keeps
    emissions + g_per_currency x cost least. 0: cost is reckoned and does not count. Above 0
    every site must have a price."""
    pair_efficiency: float | None = None
    """Share of the time in which a site trains while another does, as expected before the run has measured
    it; it exchanges for the rest. Default: what `round.steps`, `clock.step_s` and `clock.sync_s` give."""

    def __post_init__(self) -> None:
        known = self.kind in KINDS or is_own(self.kind)
        require(known, "policy.kind", self.kind, f"one of {', '.join(KINDS)}, {OWN}")
        leave_at = self.leave_at_g_per_kwh
        must = f"at least policy.threshold_g_per_kwh, {self.threshold_g_per_kwh:g}"
        holds = leave_at is None or leave_at >= self.threshold_g_per_kwh
        require(holds, "policy.leave_at_g_per_kwh", leave_at, must)
        for name in ("threshold_g_per_kwh", "poll_s", "max_age_s", "replan_s"):
            require(getattr(self, name) > 0, f"policy.{name}", getattr(self, name), "above 0")
        for name in ("leave_delay_s", "commitment_s", "g_per_currency"):
            require(getattr(self, name) >= 0, f"policy.{name}", getattr(self, name), "at least 0")
        require(0 <= self.reserve < 1, "policy.reserve", self.reserve, "at least 0 and below 1")
        require(self.work_h is None or self.work_h > 0, "policy.work_h", self.work_h, "above 0")
        efficiency = self.pair_efficiency
        holds = efficiency is None or 0 < efficiency <= 1
        require(holds, "policy.pair_efficiency", efficiency, "above 0 and at most 1")
