"""When a policy would have a site on, over a series that is known in advance."""

from collections.abc import Mapping

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.policy import Policy, PolicyMemory
from curtail_dist.energy.signals import OutsideTrace, Reading, reading_at
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError
from curtail_dist.units import Seconds


def windows(
    policy: Policy, intensity: StepFunction, until: Seconds, poll_s: Seconds
) -> list[tuple[Seconds, Seconds]]:
    """Return the on-periods [start, stop) of a site that asks `policy` every `poll_s` from run time 0.

    Where the series says nothing the reading is unknown. A site that is still on at `until` stops there.
    """
    memory = PolicyMemory()
    found: list[tuple[Seconds, Seconds]] = []
    on_since: Seconds | None = None
    poll, now = 0, 0.0
    while now < until:
        reading = _known(intensity, now)
        decision, memory = policy.decide(memory, running=on_since is not None, reading=reading, now=now)
        if decision.action == "start" and on_since is None:
            on_since = now
        elif decision.action == "drain" and on_since is not None:
            found.append((on_since, now))
            on_since = None
        poll += 1
        now = poll * poll_s
    return found if on_since is None else [*found, (on_since, until)]


def _known(intensity: StepFunction, now: Seconds) -> Reading | None:
    try:
        return reading_at(intensity, now, source="the series")
    except OutsideTrace:
        return None


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
