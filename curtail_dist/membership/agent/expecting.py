"""What clock and record are told of ranks that are on their way: how long they take, and that they wait."""

import logging

from curtail_dist.clock import Clock
from curtail_dist.membership.agent.clockwatch import RanksWatch
from curtail_dist.membership.agent.terms import Plan
from curtail_dist.membership.provision import Provisioner, RanksState
from curtail_dist.telemetry.events import Phase
from curtail_dist.telemetry.record import EventLog

log = logging.getLogger(__name__)


class Expecting:
    """One site's ranks, as its clock expects them. Owns a watch while they are expected, until `end`."""

    def __init__(self, plan: Plan, *, provisioner: Provisioner, clock: Clock, events: EventLog) -> None:
        """Expect nobody yet; the parts stay their owner's."""
        self._plan = plan
        self._provisioner = provisioner
        self._clock = clock
        self._events = events
        self._watch: RanksWatch | None = None
        self._idle = False
        self.waiting = ""
        """Why ranks that were started have not begun; empty: they have, or none were."""

    def announce(self) -> None:
        """Keep the ranks' moment in the clock, before they are started; `begin` or `release` follows."""
        self._clock.reserve(self._plan.participant, self._plan.join_s)

    def begin(self, ranks: RanksState) -> None:
        """Watch ranks that were announced and started."""
        self._begin_watch()
        self.see(ranks)

    def see(self, ranks: RanksState) -> None:
        """Take note of whether ranks that were started have begun.

        As long as they have not, the site draws nothing, unless a machine is on. A virtual clock goes on
        where they wait for other sites; for all else it stands still, and waiting takes none of its time.
        """
        self.waiting = ranks.waiting
        idle = bool(ranks.waiting) and not ranks.lingers and (ranks.behind or not self._plan.watched)
        if idle == self._idle:
            return
        self._idle = idle
        if idle:
            log.info("site %s: its ranks wait to begin: %s", self._plan.site, ranks.waiting)
            self._end_watch()
            self._clock.release(self._plan.participant)
            self._events.emit(Phase(phase="off"))
        else:
            self.announce()
            self._events.emit(Phase(phase="join"))
            self._begin_watch()

    def hold(self) -> None:
        """Stop a virtual clock where the ranks leave, so that their last phase ends at that moment."""
        self._end_watch()
        self._idle = False
        self._clock.reserve(self._plan.participant, 0.0)

    def end(self) -> None:
        """End the watch; idempotent."""
        self._end_watch()
        self._idle, self.waiting = False, ""

    def release(self) -> None:
        """Let the clock go on without them."""
        self._clock.release(self._plan.participant)

    def _begin_watch(self) -> None:
        if self._plan.watched and self._watch is None:
            self._watch = RanksWatch(self._provisioner, self._clock, self._plan.participant)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
