"""What has become of a site's ranks, told from the processes alone."""

from collections.abc import Sequence
from enum import Enum

from curtail_dist.membership.provision import RanksState


class Fate(Enum):
    """What has become of ranks that were running."""

    ALIVE = "alive"
    UNCLEAR = "unclear"
    """A rank is gone, and its launcher has neither ended nor restarted it yet."""
    RESTARTED = "restarted"
    """A rank died; its launcher has started another in its place."""
    ENDED = "ended"


def fate(known: Sequence[int], ranks: RanksState) -> Fate:
    """Compare the rank processes that were last seen with those there are."""
    if not ranks.running:
        return Fate.ENDED
    if set(known) <= set(ranks.ranks):
        return Fate.ALIVE
    return Fate.RESTARTED if set(ranks.ranks) - set(known) else Fate.UNCLEAR
