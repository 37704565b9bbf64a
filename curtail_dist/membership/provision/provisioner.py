"""What the site's agent needs of whatever starts and stops the site's ranks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class RanksState:
    """The site's ranks as last seen."""

    running: bool
    """Whether what was started has not ended yet; it counts from the order to start, while it waits, too."""
    waiting: str = ""
    """Why the ranks have not begun, in words ("no free GPU slot: 2 wanted, 1 of 4 free"), while running."""
    behind: bool = False
    """Whether they wait for what other sites use, who must get on for it to come free: a virtual clock does
    not stand still for that, as it does for all other waiting."""
    lingers: bool = False
    """Whether what was started stays when its ranks have left the run, until somebody stops it: a machine
    that was switched on, say. While running."""
    grace_s: Seconds = 0.0
    """How long who holds them gives them to end once they are told to, where he says so, while running: they
    are not to be killed before."""
    reclaimed: str = ""
    """Why who owns the machine has ended the ranks in order ("time limit"), once not running; no failure."""
    failure: str = ""
    """What went wrong, in words, where ranks could not be started after all; once not running."""
    pid: int | None = None
    """Of what holds the ranks (their launcher, their job), while running; None where it has no number."""
    code: int | None = None
    """How the last start ended; 0 is an orderly end. None while running and before the first start."""
    ranks: tuple[int, ...] = ()
    """Ids of the living rank processes, ascending; a rank that was restarted has another id than before.
    Always empty where the kind cannot tell."""


class Provisioner(Protocol):
    """Starts and stops one site's ranks. Only `close` waits for them.

    Every method may come from any thread, `close` among them, while another is under way.

    What outlives the process that started it is found again by the next provisioner of the same run and site:
    its `poll` says that it runs, `start` starts nothing beside it, and the orders to end reach it. What its
    owner started before it died ends with `close` too.
    """

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Have the ranks started, with `variables` in their environment; nothing happens where they run.

        From here on `poll` says that they run. Raises ProvisionError where it is impossible; what turns out
        to be impossible later is told by `poll`: not running, a code other than 0, the `failure`.
        """
        ...

    def poll(self) -> RanksState:
        """Tell what is known. An agent asks several times a second: what is slow is looked up aside.

        Raises ProvisionError as long as it is not known whether anything runs, at the beginning, or since who
        knows has not answered for long.
        """
        ...

    def terminate(self) -> None:
        """Ask the ranks to end (SIGTERM, which they may take to leave in order); nothing where none run.

        What only waits to begin never begins then.
        """
        ...

    def kill(self) -> None:
        """Kill what runs. Repeat it until `poll` finds nothing: what is about to start may escape once."""
        ...

    def close(self) -> None:
        """Kill what runs, wait until it is gone and free what is held; idempotent.

        Raises ProvisionError if something cannot be killed.
        """
        ...
