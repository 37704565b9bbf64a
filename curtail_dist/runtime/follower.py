"""The part of a site's further ranks in the run: they train what rank 0 orders, and leave the run to it."""

from collections.abc import Sequence

from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Assignment
from curtail_dist.membership.records import Commit
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.inner_loop import Upcoming
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.intrasite import SiteRanks
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.order import Order, carry_out
from curtail_dist.runtime.round_report import joint_work


class Follower:
    """One rank of a site but rank 0. It knows no store, no other site, and no state but its parameters."""

    leads = False

    def __init__(self, config: RunConfig, site: str, ranks: SiteRanks, outer: DiLoCo) -> None:
        """Follow rank 0 of `ranks`; `start` comes next."""
        self._site = site
        self._ranks = ranks
        self._outer = outer
        self._inner = InnerState(config, site, ranks, outer)
        self._order: Order | None = None

    @property
    def head(self) -> Commit | None:
        """The commit whose state this site holds, None before it entered."""
        return self._order.head if self._order is not None else None

    @property
    def size(self) -> int:
        """Members of the epoch."""
        return self._order.members if self._order is not None else 1

    @property
    def givers(self) -> Sequence[tuple[str, int]]:
        """The state servers that rank 0 knows, its own too."""
        return self._order.givers if self._order is not None else ()

    def upcoming(self) -> Upcoming:
        """Nothing: rank 0 sees to the whole site's."""
        return Upcoming()

    def start(self) -> None:
        """Wait until rank 0 has come into the run. Raises RankLost."""
        self._hear()

    def begin_round(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left."""
        order = self._order
        if order is None or not order.assignments:
            return None
        return self._opened(order.assignments[self._ranks.rank], order)

    def end_round(self, round: OpenRound) -> OpenRound | None:
        """Report what was done, and wait for what comes next. Raises RankLost, StateDiverged."""
        delay = self._order.delay if self._order is not None else 0
        joint_work(self._ranks, round, self._outer.local, delay=delay)
        order = self._hear()
        if order.flies:
            return self._opened(round.rest(delay), order, after=round)
        if order.lands:
            round.extend(order.assignments[self._ranks.rank], closing=lambda: False)
            return round
        return self.begin_round()

    def step_done(self) -> None:
        """Nothing to look at: rank 0 does."""

    def _opened(self, assignment: Assignment, order: Order, *, after: OpenRound | None = None) -> OpenRound:
        return OpenRound(
            self._site,
            assignment,
            leaving=lambda: False,
            closing=lambda: False,
            began=order.now,
            after=after,
        )

    def _hear(self) -> Order:
        order = self._order = Order.decode(self._ranks.tell(b""))
        if order.head is not None:
            self._outer.follow(order.head.version)
        carry_out(order, self._ranks, self._outer, self._inner)
        return order
