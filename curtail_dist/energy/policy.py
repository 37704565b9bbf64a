"""When a site takes part: pure rules from a reading to start, keep or drain.

Whatever the rule, unknown is not green: without a reading a site does not start, and drains if it is running;
after that it takes two readings in a row to start again. A reading that rests on a forecast may keep a site
running and starts none.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from curtail_dist.config import PolicyConfig
from curtail_dist.config.own import is_own
from curtail_dist.energy.own import make_own
from curtail_dist.energy.signals import Reading
from curtail_dist.units import GramsCO2PerKWh, Seconds

FRESH_TO_RESUME = 2
"""Readings in a row that a site needs after its signal was lost."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a site is to do, and why, in words for the record."""

    action: Literal["start", "keep", "drain"]
    """`keep` leaves it as it is: off stays off, on stays on."""
    reason: str
    capped: bool = False
    """Whether a site that runs is to do so under its power cap."""


@dataclass(frozen=True, kw_only=True)
class PolicyMemory:
    """What a policy carries from one poll to the next. A new one is right after any interruption."""

    above_since: Seconds | None = None
    """Run time of the first poll from which on every reading was too high to stay; None while the last was
    not, and anew from the poll after a drain was decided."""
    fresh: int = FRESH_TO_RESUME
    """Readings in a row since the signal was lost, as far as they count."""


Wanted: TypeAlias = Literal["off", "on", "capped", "late"]
"""What a plan wants of a site; `late` is on, since the work does not fit before the deadline."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a plan for all sites says, for the moment and the readings that it was made for."""

    price: float
    """Price of work at which the work is done by the deadline, g CO2 a site-second; infinite where it does
    not fit."""
    wanted: Mapping[str, Wanted]
    """By site."""


def next_plan(now: Seconds, *, every_s: Seconds, start_s: Seconds) -> Seconds:
    """Return the run time after `now` at which the next plan is due; `start_s` is run time 0 in Unix time.

    Plans are made at whole multiples of `every_s` in UTC: there rows of traces and forecasts begin, which
    the slots of a plan should not straddle, and all sites have these moments in common.
    """
    since = start_s % every_s
    return (math.floor((since + now) / every_s + 1e-9) + 1) * every_s - since


class Policy(Protocol):
    """A rule. It keeps nothing itself and reads no clock."""

    def decide(
        self,
        memory: PolicyMemory,
        *,
        running: bool,
        reading: Reading | None,
        now: Seconds,
        wanted: Wanted | None = None,
    ) -> tuple[Decision, PolicyMemory]:
        """Decide for one site at run time `now`.

        Args:
            memory: What the call before returned; a new one at first.
            running: Whether the site's ranks are up, joining included. A site that drains does not run.
            reading: The fresh reading, or None where there is none.
            now: Run time.
            wanted: What the newest advice wants of this site, where there is one (`Advice.wanted`).

        Returns:
            The decision, and the memory for the next call.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a rule decides by, once there is a reading."""

    running: bool
    reading: Reading
    now: Seconds
    wanted: Wanted | None


class _Rule(ABC):
    """A `Policy` that says what to do for a reading; what holds whatever the rule stands here, once."""

    def decide(
        self,
        memory: PolicyMemory,
        *,
        running: bool,
        reading: Reading | None,
        now: Seconds,
        wanted: Wanted | None = None,
    ) -> tuple[Decision, PolicyMemory]:
        """Decide as `Policy` says."""
        if reading is None:
            unknown = Decision(action="drain" if running else "keep", reason="no fresh reading")
            return unknown, PolicyMemory(fresh=0)
        counts = not reading.from_forecast and memory.fresh < FRESH_TO_RESUME
        memory = replace(memory, fresh=memory.fresh + 1) if counts else memory
        decision, memory = self._decide(
            memory, _Seen(running=running, reading=reading, now=now, wanted=wanted)
        )
        refused = _no_start(memory, reading) if decision.action == "start" else ""
        if refused:
            decision = replace(decision, action="keep", reason=decision.reason + refused)
        return decision, memory

    @abstractmethod
    def _decide(self, memory: PolicyMemory, seen: _Seen) -> tuple[Decision, PolicyMemory]:
        """Decide by a reading, as if it could be built on."""


def _no_start(memory: PolicyMemory, reading: Reading) -> str:
    """Return why no site may be started by this reading; empty where one may."""
    if reading.from_forecast:
        return ", but only by an earlier forecast"
    return ", for the first time since the signal was lost" if memory.fresh < FRESH_TO_RESUME else ""


def _on(seen: _Seen, reason: str) -> Decision:
    """Have the site on: start it, or keep it so."""
    return Decision(action="keep" if seen.running else "start", reason=reason)


@dataclass(frozen=True, kw_only=True)
class Threshold(_Rule):
    """Join below a threshold; leave when the intensity has been at or above one for the leave delay.

    With one threshold for both and a leave delay of 600 s, asked every 10 s, it is the rule of the published
    prototype (arXiv 2602.22760). With a higher one for leaving it is that of Pause & Resume. The delay counts
    from the first poll that saw the intensity above.
    """

    threshold: GramsCO2PerKWh
    """Join below."""
    leave_delay_s: Seconds
    leave_at: GramsCO2PerKWh | None = None
    """Leave at or above; at least `threshold`, and that where it is not given."""

    @property
    def leaves_at(self) -> GramsCO2PerKWh:
        """The intensity to leave at or above."""
        return self.threshold if self.leave_at is None else self.leave_at

    def _decide(self, memory: PolicyMemory, seen: _Seen) -> tuple[Decision, PolicyMemory]:
        value, now = seen.reading.value, seen.now
        if value < self.leaves_at and memory.above_since is not None:
            memory = replace(memory, above_since=None)
        if value < self.threshold:
            return _on(seen, f"{value:g} g/kWh is below {self.threshold:g}"), memory
        if value < self.leaves_at:
            reason = f"{value:g} g/kWh is between {self.threshold:g} and {self.leaves_at:g}"
            return Decision(action="keep", reason=reason), memory
        since = memory.above_since
        if since is None:
            since, memory = now, replace(memory, above_since=now)
        above = f"{value:g} g/kWh, at or above {self.leaves_at:g} for {now - since:.0f} s"
        if seen.running and now - since >= self.leave_delay_s:
            return Decision(action="drain", reason=above), replace(memory, above_since=None)
        return Decision(action="keep", reason=above), memory


@dataclass(frozen=True, kw_only=True)
class Always(_Rule):
    """Take part whenever the intensity is known, however high: the rule to compare with."""

    def _decide(self, memory: PolicyMemory, seen: _Seen) -> tuple[Decision, PolicyMemory]:
        return _on(seen, f"{seen.reading.value:g} g/kWh, and the policy is always"), memory


@dataclass(frozen=True, kw_only=True)
class WorkPrice(_Rule):
    """Do what the plan says that does the work by the deadline for the least emissions (`workprice.advise`).

    Without advice a site stays as it is: there is nothing to say that another state is better.
    """

    def _decide(self, memory: PolicyMemory, seen: _Seen) -> tuple[Decision, PolicyMemory]:
        if seen.wanted is None:
            return Decision(action="keep", reason="there is no plan yet"), memory
        reason = f"{seen.reading.value:g} g/kWh, and the plan wants the site {seen.wanted}"
        if seen.wanted == "off":
            return Decision(action="drain" if seen.running else "keep", reason=reason), memory
        if seen.wanted == "late":
            reason = (
                f"{seen.reading.value:g} g/kWh, and the work does not fit before the deadline: all are on"
            )
        return replace(_on(seen, reason), capped=seen.wanted == "capped"), memory


@dataclass(frozen=True, kw_only=True)
class _Own(_Rule):
    """A policy of the user's own, for which holds what holds whatever the rule."""

    policy: Policy

    def _decide(self, memory: PolicyMemory, seen: _Seen) -> tuple[Decision, PolicyMemory]:
        decision, after = self.policy.decide(
            memory, running=seen.running, reading=seen.reading, now=seen.now, wanted=seen.wanted
        )
        return decision, replace(after, fresh=memory.fresh)


def build_policy(config: PolicyConfig) -> Policy:
    """Build the policy that the run file names. Raises ConfigError for one of the user's own that fails."""
    if is_own(config.kind):
        return _Own(policy=make_own("policy.kind", config.kind, config.options, members=("decide",)))
    if config.kind == "always":
        return Always()
    if config.kind == "work-price":
        return WorkPrice()
    return Threshold(
        threshold=config.threshold_g_per_kwh,
        leave_at=config.leave_at_g_per_kwh,
        leave_delay_s=config.leave_delay_s,
    )
