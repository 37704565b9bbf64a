"""Refuses a threshold that opens no window, before a run waits for one."""

from collections.abc import Mapping

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError
from curtail_dist.units import Seconds


def check_threshold_opens(policy: PolicyConfig, sites: Mapping[str, StepFunction], until: Seconds) -> None:
    """Refuse a threshold that lets no site in before run time `until`, as far as `sites`' series are known.

    Raises ConfigError that names the lowest intensity. Any other policy than a threshold passes.
    """
    lowest = {
        name: min(value for _, _, value in known.pieces(known.start, known.end))
        for name, series in sites.items()
        if (known := series.clipped(0.0, until)) is not None
    }
    if policy.kind != "threshold" or not lowest:
        return
    best = min(lowest, key=lambda name: lowest[name])
    if lowest[best] >= policy.threshold_g_per_kwh:
        raise ConfigError(
            f"policy.threshold_g_per_kwh is {policy.threshold_g_per_kwh:g}; the lowest intensity of any site "
            f"is {lowest[best]:g} ({best}), so no site would ever start: set it above {lowest[best]:g}"
        )
