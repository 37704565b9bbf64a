"""What is known of ranks elsewhere, and which order stands: rules without threads, clocks or a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from curtail_dist.membership.provision.place import Seen
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.units import Seconds

Ending = Literal["end", "kill"]

_KILLED = 137


@dataclass(kw_only=True)
class Order:
    """Something to be carried out, until it has come true."""

    kind: Literal["begin", "end", "kill"]
    since: Seconds
    variables: Mapping[str, str]
    tried: bool = False
    """Whether the place may have taken it."""
    given: bool = False
    """Whether the place has taken it."""


class RanksStanding:
    """How one site's ranks stand. Its owner keeps calls apart; `now` is its monotonic clock's.

    What is learned after an order was carried out is told together with that order, and counts only while no
    newer one stands.
    """

    def __init__(self, *, lingers: bool, told_code: int, accept_s: Seconds, stuck_s: Seconds) -> None:
        """Know nothing yet.

        An order to begin must be taken within `accept_s`, and ranks may be stuck for `stuck_s` before they
        begin; then the start has failed. The other two are the place's.
        """
        self._lingers = lingers
        self._told_code = told_code
        self._accept_s = accept_s
        self._stuck_s = stuck_s
        self.state: RanksState | None = None
        """What is known; None: nothing."""
        self.order: Order | None = None
        """What is to be carried out."""
        self._told: Ending | None = None
        """What the ranks that run were told."""
        self._begun = False
        """Whether they were seen to run."""
        self._stuck_since: Seconds | None = None

    @property
    def at_rest(self) -> bool:
        """Whether nothing runs, for certain, and nothing is left to be done."""
        return self.state is not None and not self.state.running and self.order is None

    def start(self, variables: Mapping[str, str], now: Seconds) -> None:
        """Order ranks to begin, unless they run."""
        if self.state is not None and self.state.running:
            return
        self._told, self._begun, self._stuck_since = None, False, None
        self._wait("it is asked for")
        self.order = Order(kind="begin", since=now, variables=variables)

    def tell(self, kind: Ending, now: Seconds) -> None:
        """Order ranks to end. An order that is as hard stands, and is carried out until it has come true."""
        if self.at_rest or (self.order is not None and self.order.kind in (kind, "kill")):
            return
        if self.state is None or self.state.running:
            self._told = kind
        elif kind == "end":
            return  # what has ended is being cleared away
        self.order = Order(kind=kind, since=now, variables={})

    def saw(self, order: Order | None, seen: Seen, now: Seconds) -> bool:
        """Take in what was seen; say whether it counts."""
        if self.order is not order:
            return False
        if not seen.there and order is not None and order.kind == "begin":
            self.put_off(order, "it was asked for, and nothing is there yet", now)
        elif not seen.there:
            self._end(seen)
            self.order = None
        elif seen.code is None:
            self._run(seen, now)
        else:
            self._end(seen)
            if not seen.occupies:
                self.order = None
            elif order is None or order.kind == "begin":
                self._clear_away(now)
        return True

    def put_off(self, order: Order | None, why: str, now: Seconds) -> None:
        """Go on waiting for ranks to begin; give it up where the place has long taken the order."""
        if self.order is not order or order is None or order.kind != "begin":
            return
        self._wait(why)
        if order.given and now - order.since > self._accept_s:
            self._fail(f"nothing has begun in {self._accept_s:g} s: {why}")
            self._clear_away(now)

    def missed(self, order: Order | None, why: str, now: Seconds) -> None:
        """Take note that the place did not answer."""
        if self.order is not order or order is None or order.kind != "begin" or order.given:
            return
        self._wait(why)
        if now - order.since > self._accept_s:
            self._fail(f"they could not be started in {self._accept_s:g} s: {why}")
            self.order = None
            if order.tried:
                self._clear_away(now)

    def refused(self, order: Order, why: str) -> None:
        """Take note that the place will not have ranks begin."""
        if self.order is order:
            self._fail(why)
            self.order = None

    def _run(self, seen: Seen, now: Seconds) -> None:
        if self.order is not None and self.order.kind == "begin":
            self.order = None
        if self.state is not None and not self.state.running:
            return  # its end is known; it is being cleared away
        self._begun = self._begun or not seen.waiting
        self._wait(seen.waiting, seen.ranks, seen.grace_s)
        self._stuck_since = (self._stuck_since or now) if seen.stuck else None
        if self._stuck_since is not None and now - self._stuck_since > self._stuck_s:
            self._fail(f"for {self._stuck_s:g} s they could not begin: {seen.waiting}")
            self._clear_away(now)

    def _end(self, seen: Seen) -> None:
        if self.state is None or not self.state.running:
            self.state = self.state or RanksState(running=False)
            return
        code = seen.code
        if code is None:
            code = _KILLED if self._told == "kill" else self._told_code if self._told and self._begun else 0
        reclaimed = seen.reclaimed if self._told is None and code == 0 else ""
        self.state = RanksState(running=False, code=code, reclaimed=reclaimed)

    def _wait(self, why: str, ranks: tuple[int, ...] = (), grace_s: Seconds = 0.0) -> None:
        self.state = RanksState(
            running=True, waiting=why, lingers=self._lingers, ranks=ranks, grace_s=grace_s
        )

    def _fail(self, why: str) -> None:
        self.state = RanksState(running=False, code=1, failure=why)

    def _clear_away(self, now: Seconds) -> None:
        self.order = Order(kind="end", since=now, variables={})
