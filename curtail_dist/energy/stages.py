"""The stages of a site: off -> joining -> on -> draining -> off. Pure rules, on whatever clock.

The site's agent follows them with real ranks, a rehearsal in virtual time with modelled ones. Both ask the
policy at each poll (`polled`) and tell what has become of the ranks (`started`, `up`, `gone`, ...). A join
and a drain can be taken back as long as they last; nothing here waits for anything.
"""

from dataclasses import dataclass, field, replace
from enum import Enum

from curtail_dist.energy.policy import Decision, Policy, PolicyMemory, Wanted
from curtail_dist.energy.signals import Reading
from curtail_dist.units import Seconds

MAX_FAILURES = 3
"""Failed starts in a row after which a site stays off until its next window."""


class Stage(Enum):
    """Where a site stands."""

    OFF = "off"
    JOINING = "joining"
    ON = "on"
    DRAINING = "draining"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is carried from one look at a site to the next."""

    stage: Stage = Stage.OFF
    since: Seconds = 0.0
    """Run time at which it came to this stage."""
    came: bool = False
    """Whether its ranks have been in the run since they were started, or asked back."""
    parked: bool = False
    """Whether ranks wait in memory, out of the run; only while off."""
    final: bool = False
    """Whether the drain cannot be taken back any more; only while draining."""
    recalled: bool = False
    """Whether its ranks were asked to stay, or to come back, after they had been asked to leave, and have not
    come to the run since: they may have left all the same."""
    capped: bool = False
    """Whether it is to run under its power cap."""
    failures: int = 0
    """Failed starts in a row within this window."""
    retry_at: Seconds = 0.0
    """Run time before which no start is tried again."""
    memory: PolicyMemory = field(default_factory=PolicyMemory)
    """The policy's own."""

    @property
    def runs(self) -> bool:
        """Whether it takes part or is about to. What drains does not."""
        return self.stage in (Stage.JOINING, Stage.ON)

    @property
    def gives_up(self) -> bool:
        """Whether it stays off until its next window."""
        return self.failures >= MAX_FAILURES


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What stands above the policy: an operator's order. A barred site does not start, nor go on joining."""

    reason: str
    leaves: bool = False
    """Whether a site that is on must leave, too."""


class Move(Enum):
    """What to do about the ranks."""

    NONE = "none"
    START = "start"
    """Start them; or ask them back, where they are parked."""
    DRAIN = "drain"
    """Have them leave; those that are joining, too."""
    STAY = "stay"
    """Take the request to leave back."""


def polled(
    standing: Standing,
    policy: Policy,
    *,
    reading: Reading | None,
    now: Seconds,
    wanted: Wanted | None = None,
    bar: Bar | None = None,
    cancels: bool = True,
) -> tuple[Move, Decision, Standing]:
    """Ask the policy, and turn its answer into a move.

    The end of a window forgets the failures in it. Without `cancels` joins and drains are seen through, as
    the published prototype did.
    """
    decision, memory = policy.decide(
        standing.memory, running=standing.runs, reading=reading, now=now, wanted=wanted
    )
    if memory is not standing.memory or decision.capped != standing.capped:
        standing = replace(standing, memory=memory, capped=decision.capped)
    if bar is not None:
        decision = overruled(standing, bar) or decision
        if decision.action == "start":
            decision = Decision(action="keep", reason=bar.reason)
    return (*_moved(standing, decision, now=now, cancels=cancels),)


def overruled(standing: Standing, bar: Bar) -> Decision | None:
    """Return what a bar says to a site that runs, None where it leaves it alone. Needs no reading."""
    if standing.stage is Stage.JOINING or (bar.leaves and standing.stage is Stage.ON):
        return Decision(action="drain", reason=bar.reason)
    return None


def _moved(
    standing: Standing, decision: Decision, *, now: Seconds, cancels: bool
) -> tuple[Move, Decision, Standing]:
    stage, action = standing.stage, decision.action
    move = Move.NONE
    if stage is Stage.ON or (stage is Stage.JOINING and cancels):
        move = Move.DRAIN if action == "drain" else Move.NONE
    elif stage is Stage.DRAINING and cancels and not standing.final:
        move = Move.STAY if action == "start" else Move.NONE
    elif stage is Stage.OFF and action != "start":
        standing = replace(standing, failures=0) if standing.failures else standing
    elif stage is Stage.OFF:
        waits = standing.gives_up or (standing.failures > 0 and now < standing.retry_at)
        move = Move.NONE if waits and not standing.parked else Move.START
    return move, decision, standing


def started(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing after ranks were started, or, where they were parked, asked back."""
    return replace(
        standing, stage=Stage.JOINING, since=now, came=False, parked=False, recalled=standing.parked
    )


def found(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing of ranks that run already, as an earlier agent left them.

    That one may have asked them to leave: if they have left all the same, it was in order.
    """
    return replace(started(standing, now=now), recalled=True)


def up(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing once its ranks are in the run."""
    return replace(standing, stage=Stage.ON, since=now, came=True, recalled=False)


def again(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing after a rank died and was restarted: they come in anew."""
    return replace(standing, stage=Stage.JOINING, since=now, came=False)


def draining(standing: Standing, *, now: Seconds, final: bool = False) -> Standing:
    """Return the standing after its ranks were asked to leave."""
    return replace(standing, stage=Stage.DRAINING, since=now, final=final)


def stayed(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing after that was taken back."""
    stage = Stage.ON if standing.came else Stage.JOINING
    return replace(standing, stage=stage, since=now, recalled=True)


def gone(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing after an orderly end of its ranks."""
    return _off(standing, now=now, failures=0)


def parked(standing: Standing, *, now: Seconds) -> Standing:
    """Return the standing of ranks that have left the run and wait in memory."""
    return replace(_off(standing, now=now, failures=0), parked=True)


def failed(standing: Standing, *, now: Seconds, backoff_s: Seconds) -> Standing:
    """Return the standing after a start that failed, or ranks that died for good."""
    failures = standing.failures + 1
    retry_at = now + backoff_s * 2 ** (failures - 1)
    return replace(_off(standing, now=now, failures=failures), retry_at=retry_at)


def _off(standing: Standing, *, now: Seconds, failures: int) -> Standing:
    return replace(
        standing,
        stage=Stage.OFF,
        since=now,
        came=False,
        parked=False,
        final=False,
        recalled=False,
        failures=failures,
    )
