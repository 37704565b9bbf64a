"""What the site's agent needs of whatever starts and stops the site's ranks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class RanksState:
    """The site's ranks as last seen."""

    running: bool
    """Whether what was started has not ended yet."""
    pid: int | None = None
    """Of what holds the ranks (their launcher), while running."""
    code: int | None = None
    """How the last start ended; 0 is an orderly end. None while running and before the first start."""
    ranks: tuple[int, ...] = ()
    """Ids of the living rank processes, ascending; a rank that was restarted has another id than before."""


class Provisioner(Protocol):
    """Starts and stops one site's ranks. `start`, `stop` and `close` belong to one thread, `poll` to any."""

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start the ranks, with `variables` in their environment; nothing happens where they run.

        Raises ProvisionError where that is impossible.
        """
        ...

    def poll(self) -> RanksState:
        """Look, without waiting."""
        ...

    def stop(self, grace_s: Seconds, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask the ranks to end; kill those that live after `grace_s` of real time (0: at once).

        `hurry` is asked again and again meanwhile; once it is true the grace is over. All are gone when this
        returns.

        Nothing happens where none run. Raises ProvisionError if something cannot be killed.
        """
        ...

    def close(self) -> None:
        """Kill what runs and free what is held; idempotent."""
        ...
