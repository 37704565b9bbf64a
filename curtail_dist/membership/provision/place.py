"""What a keeper needs of a place elsewhere that runs a site's ranks: a cluster, a cloud."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from curtail_dist.errors import ProvisionError
from curtail_dist.units import Seconds


class Unanswered(ProvisionError):
    """The place gave no answer that can be used; whether what was asked took effect is unknown."""

    def __init__(self, reason: str, *, retry_after_s: Seconds | None = None) -> None:
        """Say why; for how long it wants to be left alone, where it said so."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Refused(ProvisionError):
    """The place answers that it will not do what was asked, as it was asked."""


class NotYet(ProvisionError):
    """Ranks cannot begin at this moment, for a reason that passes by itself."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look found of the newest start."""

    there: bool
    """Whether anything is asked for or there: what waits, runs, or has ended and is not cleared away."""
    waiting: str = ""
    """Why the ranks have not begun, in words."""
    stuck: bool = False
    """Whether they wait for something that seldom passes by itself."""
    code: int | None = None
    """How they ended, where all that counts has; then nothing runs."""
    occupies: bool = True
    """Whether what has ended still takes up its place and must be cleared away."""
    reclaimed: str = ""
    """Why who owns the place has ended them, where nobody else told them to; once they have ended."""
    ranks: tuple[int, ...] = ()
    """Ids of what runs, ascending, where they can be told."""
    grace_s: Seconds = 0.0
    """How long the place gives what runs to end once it is told to, where it says so."""


class Place(Protocol):
    """One site's ranks, as a server elsewhere keeps them. One thread calls it; each call is bounded in time.

    All calls but `close` raise Unanswered or Refused.
    """

    @property
    def lingers(self) -> bool:
        """Whether what was begun stays when its ranks have left the run."""
        ...

    @property
    def told_code(self) -> int:
        """The code of ranks that were told to end, where nobody saw them do it."""
        ...

    def look(self) -> Seen:
        """Look once."""
        ...

    def begin(self, variables: Mapping[str, str]) -> None:
        """Have ranks begin, with `variables` in their environment; nothing where they are on their way.

        Raises NotYet, for which it is called again.
        """
        ...

    def end(self) -> None:
        """Have ranks told to end, and what ran cleared away; nothing where there is nothing."""
        ...

    def kill(self) -> None:
        """Have them killed, and what ran cleared away; nothing where there is nothing."""
        ...

    def close(self) -> None:
        """Free connections; idempotent."""
        ...
