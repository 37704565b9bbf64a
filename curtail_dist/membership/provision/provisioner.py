"""What the site's agent needs of whatever starts and stops the site's ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class RanksState:
    """The site's ranks as last seen."""

    running: bool
    """Whether what was started has not ended yet; it counts from the order to start, while it waits, too."""
    waiting: str = ""
    """Why the ranks have not begun, in words ("no free GPU: 2 wanted, 1 of 4 free"), while running."""
    lingers: bool = False
    """Whether what was started stays when its ranks have left the run, until somebody stops it: a machine
    that was switched on, say."""
    reclaimed: str = ""
    """Why who owns the machine has ended the ranks in order ("time limit"), once not running; no failure."""
    pid: int | None = None
    """Of what holds the ranks (their launcher, their job), while running."""
    code: int | None = None
    """How the last start ended; 0 is an orderly end. None while running and before the first start."""
    ranks: tuple[int, ...] = ()
    """Ids of the living rank processes, ascending; a rank that was restarted has another id than before."""


class Provisioner(Protocol):
    """Starts and stops one site's ranks. Only `close` waits for them; `poll` may come from any thread.

    What outlives the process that started it is found again by the next provisioner of the same run and site:
    its `poll` says that it runs, and `start` starts nothing beside it.
    """

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Have the ranks started, with `variables` in their environment; nothing happens where they run.

        Raises ProvisionError where that is impossible.
        """
        ...

    def poll(self) -> RanksState:
        """Look."""
        ...

    def terminate(self) -> None:
        """Ask the ranks to end (SIGTERM, which they may take to leave in order); nothing where none run."""
        ...

    def kill(self) -> None:
        """Kill what runs. Repeat it until `poll` finds nothing: what is about to start may escape once."""
        ...

    def close(self) -> None:
        """Kill what runs, wait until it is gone and free what is held; idempotent.

        Raises ProvisionError if something cannot be killed.
        """
        ...
