"""What happened in a schedule, in order: the basis of every check and of the timeline."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curtail_dist.sim.kernel import Kernel
from curtail_dist.units import Seconds


class Happening(NamedTuple):
    """One thing that happened."""

    at: Seconds
    who: str
    """`site/incarnation` of a process, a site's name for its agent, or `store`, `faults`."""
    kind: str
    what: Any
    """By kind, see the methods of `History`."""


class Write(NamedTuple):
    """One change of one key in the store."""

    revision: int
    key: str
    value: bytes | None
    """None: deleted, or its lease ended."""


class Stand(NamedTuple):
    """A process now holds a version."""

    hash: str
    how: str
    """`swapped`, `pulled` or `loaded`."""


class Steps(NamedTuple):
    """Inner steps of one process, and what became of them."""

    number: int
    reason: str
    payload: str
    """Id of the payload that carries them, empty before they were encoded."""


class Copy(NamedTuple):
    """A snapshot on a disk."""

    url: str
    version: int
    hash: str


@dataclass
class History:
    """Happenings of one schedule.

    Kinds: `write`, `stand`, `trained`, `committed`, `lost`, `durable`, `torn`, `rotten`, `pruned`, `started`,
    `killed`, `hung`, `woke`, `ended`, `exited`, `kept`, `taken up`, `fault`, `told`, `wrong`.
    """

    kernel: Kernel
    happenings: list[Happening] = field(default_factory=list[Happening])
    wrong: list[str] = field(default_factory=list[str])
    """What the simulated world itself saw that must not be, at once."""

    def add(self, who: str, kind: str, what: Any = "") -> None:
        """Note that something happened now."""
        self.happenings.append(Happening(self.kernel.now, who, kind, what))

    def blame(self, who: str, what: str) -> None:
        """Note something that breaks a contract of the effects."""
        self.add(who, "wrong", what)
        self.wrong.append(f"{who}: {what}")

    def of(self, *kinds: str) -> Iterator[Happening]:
        """Yield the happenings of some kinds."""
        return (one for one in self.happenings if one.kind in kinds)
