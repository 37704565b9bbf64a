"""On what terms a site's ranks take part in the run's time, and in its agent's."""

from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one site's ranks take part in time."""

    site: str
    join_s: Seconds
    """Run time that a start takes on a virtual clock."""
    parks: bool
    """Whether drained ranks stay in memory for a while instead of ending. Never on a virtual clock."""
    backoff_s: Seconds
    """Run time before a failed start is tried again; doubles."""
    watched: bool
    """Whether the clock waits for ranks that were announced, and must hear in real time of their end."""
    log: Path
    """Where the ranks' output goes, if they are of a kind that writes it on this machine."""
    limits: Limits = field(default_factory=Limits)

    @property
    def participant(self) -> str:
        """The ranks' name in the clock."""
        return f"rank:{self.site}"
