"""What a site's rank 0 tells the others before each round, as JSON."""

import json
from dataclasses import dataclass
from typing import Any, Self

from curtail_dist.data.ledger import Assignment
from curtail_dist.membership.records import Commit
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.intrasite import SiteRanks


@dataclass(frozen=True, kw_only=True)
class Order:
    """What comes next, as rank 0 learned it from the run."""

    head: Commit | None
    """The version that the site stands on; None where it never came in."""
    members: int
    """Sites of the epoch."""
    assignments: tuple[Assignment, ...] = ()
    """Each rank's part of the next round; empty: the site is out of the run."""
    now: float
    """Run time."""
    delay: int = 0
    """Inner steps to be done beside the exchange of the round that is ordered."""
    flies: bool = False
    """Whether that exchange begins now, and each rank goes on with rows that it kept; no parameters come."""
    lands: bool = False
    """Whether what was trained beside the exchange is the beginning of the round that is ordered."""
    forget_inner: bool = False
    """Whether the inner optimizer's state is to be thrown away: it has numbers that are not finite."""
    resume_inner: bool = False
    """Whether the inner optimizer's state is to be taken up again, as of `now`."""
    left_at: float | None = None
    """Run time of the last step before that, where this process has been in the run before."""
    keep_inner: bool = False
    """Whether it is to be kept on the disk, as of `now`."""
    givers: tuple[tuple[str, int], ...] = ()
    """Host and port of the state servers that may have files of the data set, this site's own among them."""

    def encode(self) -> bytes:
        """Return the message."""
        fields: dict[str, Any] = {
            "head": self.head.encode().decode() if self.head is not None else None,
            "members": self.members,
            "assignments": [[one.rows, one.steps, one.open] for one in self.assignments],
            "now": self.now,
            "delay": self.delay,
            "flies": self.flies,
            "lands": self.lands,
            "forget_inner": self.forget_inner,
            "resume_inner": self.resume_inner,
            "left_at": self.left_at,
            "keep_inner": self.keep_inner,
            "givers": self.givers,
        }
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Read a message."""
        raw = json.loads(message)
        head = raw.pop("head")
        parts = raw.pop("assignments")
        givers = raw.pop("givers")
        return cls(
            head=Commit.decode(head.encode()) if head is not None else None,
            assignments=tuple(
                Assignment(rows=_pairs(rows), steps=steps, open=_pairs(open)) for rows, steps, open in parts
            ),
            givers=tuple((str(host), int(port)) for host, port in givers),
            **raw,
        )


def carry_out(order: Order, ranks: SiteRanks, outer: DiLoCo, inner: InnerState) -> None:
    """Do at this rank what all do on an order: take rank 0's parameters, see to the inner state.

    Raises RankLost.
    """
    if order.flies:
        return
    ranks.spread(outer.local)
    if order.forget_inner:
        inner.forget()
    if order.resume_inner:
        inner.resume(now=order.now, left_at=order.left_at)
    if order.keep_inner and not order.forget_inner:
        inner.keep(at=order.now)


def _pairs(raw: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in raw)
