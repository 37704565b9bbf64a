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


def fate(standing: Standing, ranks: RanksState) -> Fate:
    """Say what has become of the ranks. Only for a standing that is on."""
    if not ranks.running:
        return Fate.ENDED
    if set(standing.ranks) <= set(ranks.ranks):
        return Fate.ALIVE
    return Fate.RESTARTED if set(ranks.ranks) - set(standing.ranks) else Fate.UNCLEAR


def started(standing: Standing) -> Standing:
    """Return the standing after a start."""
    return replace(standing, on=True, ranks=())


def left(standing: Standing) -> Standing:
    """Return the standing after an orderly end."""
    return replace(standing, on=False, ranks=(), failures=0)


def failed(standing: Standing, *, now: Seconds, backoff_s: Seconds) -> Standing:
    """Return the standing after a start that failed, or ranks that died for good."""
    failures = standing.failures + 1
    return replace(
        standing, on=False, ranks=(), failures=failures, retry_at=now + backoff_s * 2 ** (failures - 1)
    )


def gives_up(standing: Standing) -> bool:
    """Whether the site stays off until its next window."""
    return standing.failures >= MAX_FAILURES


class Move(Enum):
    """What to do about the ranks."""

    NONE = "none"
    START = "start"
    DRAIN = "drain"


def move(
    standing: Standing, policy: Policy, *, reading: Reading | None, now: Seconds
) -> tuple[Move, Decision, Standing]:
    """Ask the policy, and turn its answer into a move.

    The end of a window forgets the failures in it.
    """
    decision, memory = policy.decide(standing.memory, running=standing.on, reading=reading, now=now)
    standing = replace(standing, memory=memory)
    if standing.on:
        return (Move.DRAIN if decision.action == "drain" else Move.NONE), decision, standing
    if decision.action != "start":
        return Move.NONE, decision, replace(standing, failures=0)
    waits = gives_up(standing) or (standing.failures > 0 and now < standing.retry_at)
    return (Move.NONE if waits else Move.START), decision, standing
