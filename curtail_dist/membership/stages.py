"""What a site's agent does next: pure rules, apart from the loop that carries them out."""

from dataclasses import dataclass, field, replace
from enum import Enum

from curtail_dist.energy.policy import Decision, Policy, PolicyMemory
from curtail_dist.energy.signals import Reading
from curtail_dist.membership.provision import RanksState
from curtail_dist.units import Seconds

MAX_FAILURES = 3
"""Failed starts in a row after which a site stays off until its next window."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the agent carries from one look to the next."""

    on: bool = False
    """Whether ranks were started and have not been seen to end."""
    parked: bool = False
    """Whether they wait in memory, out of the run; only while on."""
    waking: bool = False
    """Whether they were asked back from there and have not been seen back."""
    ranks: tuple[int, ...] = ()
    """The rank processes as last seen."""
    failures: int = 0
    """Failed starts in a row within this window."""
    retry_at: Seconds = 0.0
    """Run time before which no start is tried again."""
    memory: PolicyMemory = field(default_factory=PolicyMemory)
    """The policy's own."""


class Fate(Enum):
    """What has become of ranks that were running."""

    ALIVE = "alive"
    UNCLEAR = "unclear"
    """A rank is gone, and its launcher has neither ended nor restarted it yet."""
    RESTARTED = "restarted"
    """A rank died; its launcher has started another in its place."""
    ENDED = "ended"
    EXPIRED = "expired"
    """They ended by themselves, in order: they were parked and nobody asked them back in time."""
    LOST = "lost"
    """They died, or one of them did, while parked. What is left is of no use."""


def fate(standing: Standing, ranks: RanksState) -> Fate:
    """Say what has become of the ranks. Only for a standing that is on."""
    if not ranks.running:
        # Whoever was asked back just as its time was up may have ended all the same.
        if (standing.parked or standing.waking) and ranks.code == 0:
            return Fate.EXPIRED
        return Fate.LOST if standing.parked else Fate.ENDED
    if standing.parked:
        return Fate.ALIVE if set(standing.ranks) <= set(ranks.ranks) else Fate.LOST
    if set(standing.ranks) <= set(ranks.ranks):
        return Fate.ALIVE
    return Fate.RESTARTED if set(ranks.ranks) - set(standing.ranks) else Fate.UNCLEAR


def started(standing: Standing) -> Standing:
    """Return the standing after a start."""
    return replace(standing, on=True, parked=False, waking=False, ranks=())


def parked(standing: Standing) -> Standing:
    """Return the standing of ranks that have left the run and wait in memory."""
    return replace(standing, parked=True, waking=False, failures=0)


def woken(standing: Standing) -> Standing:
    """Return the standing after parked ranks were asked back."""
    return replace(standing, parked=False, waking=True)


def back(standing: Standing) -> Standing:
    """Return the standing once ranks that were asked back have come."""
    return replace(standing, waking=False)


def left(standing: Standing) -> Standing:
    """Return the standing after an orderly end."""
    return replace(standing, on=False, parked=False, waking=False, ranks=(), failures=0)


def failed(standing: Standing, *, now: Seconds, backoff_s: Seconds) -> Standing:
    """Return the standing after a start that failed, or ranks that died for good."""
    failures = standing.failures + 1
    retry_at = now + backoff_s * 2 ** (failures - 1)
    return replace(
        standing, on=False, parked=False, waking=False, ranks=(), failures=failures, retry_at=retry_at
    )


def gives_up(standing: Standing) -> bool:
    """Whether the site stays off until its next window."""
    return standing.failures >= MAX_FAILURES


class Move(Enum):
    """What to do about the ranks."""

    NONE = "none"
    START = "start"
    WAKE = "wake"
    """Ask parked ranks back."""
    DRAIN = "drain"


def move(
    standing: Standing, policy: Policy, *, reading: Reading | None, now: Seconds
) -> tuple[Move, Decision, Standing]:
    """Ask the policy, and turn its answer into a move.

    The end of a window forgets the failures in it. To the policy, parked ranks do not run.
    """
    takes_part = standing.on and not standing.parked
    decision, memory = policy.decide(standing.memory, running=takes_part, reading=reading, now=now)
    standing = replace(standing, memory=memory)
    if takes_part:
        return (Move.DRAIN if decision.action == "drain" else Move.NONE), decision, standing
    if decision.action != "start":
        return Move.NONE, decision, replace(standing, failures=0)
    if standing.parked:
        return Move.WAKE, decision, standing
    waits = gives_up(standing) or (standing.failures > 0 and now < standing.retry_at)
    return (Move.NONE if waits else Move.START), decision, standing
