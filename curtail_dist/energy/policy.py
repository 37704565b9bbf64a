"""When a site takes part: pure rules from a reading to start, keep or drain.

Whatever the rule, unknown is not green: without a reading a site does not start, and drains if it is running.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.signals import Reading
from curtail_dist.units import GramsCO2PerKWh, Seconds


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a site is to do, and why, in words for the record."""

    action: Literal["start", "keep", "drain"]
    """`keep` leaves it as it is: off stays off, on stays on."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class PolicyMemory:
    """What a policy carries from one poll to the next. A new one is right after any interruption."""

    above_since: Seconds | None = None
    """Run time from which every reading has been at or above the threshold; None while the last was below."""


class Policy(Protocol):
    """A rule. It keeps nothing itself and reads no clock."""

    def decide(
        self, memory: PolicyMemory, *, running: bool, reading: Reading | None, now: Seconds
    ) -> tuple[Decision, PolicyMemory]:
        """Decide for one site at run time `now`.

        Args:
            memory: What the call before returned; a new one at first.
            running: Whether the site's ranks are up, joining included.
            reading: The fresh reading, or None where there is none.
            now: Run time.

        Returns:
            The decision, and the memory for the next call.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Join below the threshold; leave when the intensity has been at or above it for the leave delay."""

    threshold: GramsCO2PerKWh
    leave_delay_s: Seconds

    def decide(
        self, memory: PolicyMemory, *, running: bool, reading: Reading | None, now: Seconds
    ) -> tuple[Decision, PolicyMemory]:
        """Decide as `Policy` says. The delay counts from when the first reading above holds."""
        if reading is None:
            return _unknown(running), PolicyMemory()
        if reading.value < self.threshold:
            reason = f"{reading.value:g} g/kWh is below {self.threshold:g}"
            return Decision(action="keep" if running else "start", reason=reason), PolicyMemory()
        since = memory.above_since if memory.above_since is not None else min(reading.measured_at, now)
        above = f"{reading.value:g} g/kWh, at or above {self.threshold:g} for {now - since:.0f} s"
        leaves = running and now - since >= self.leave_delay_s
        action = "drain" if leaves else "keep"
        return Decision(action=action, reason=above), PolicyMemory(above_since=since)


@dataclass(frozen=True, kw_only=True)
class Always:
    """Take part whenever the intensity is known, however high: the rule to compare with."""

    def decide(
        self, memory: PolicyMemory, *, running: bool, reading: Reading | None, now: Seconds
    ) -> tuple[Decision, PolicyMemory]:
        """Decide as `Policy` says."""
        if reading is None:
            return _unknown(running), memory
        reason = f"{reading.value:g} g/kWh, and the policy is always"
        return Decision(action="keep" if running else "start", reason=reason), memory


def _unknown(running: bool) -> Decision:
    return Decision(action="drain" if running else "keep", reason="no fresh reading")


def build_policy(config: PolicyConfig) -> Policy:
    """Build the policy that the run file names."""
    if config.kind == "always":
        return Always()
    return Threshold(threshold=config.threshold_g_per_kwh, leave_delay_s=config.leave_delay_s)
