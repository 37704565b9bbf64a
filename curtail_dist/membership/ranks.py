"""The agent's hand on its site's ranks: starts them, sees them die, waits for them to leave."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from curtail_dist.clock import Clock
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.notices import Notices
from curtail_dist.membership.provision import Provisioner, RanksState
from curtail_dist.membership.stages import (
    Fate,
    Standing,
    back,
    failed,
    fate,
    gives_up,
    left,
    parked,
    started,
    woken,
)
from curtail_dist.membership.watch import RanksWatch
from curtail_dist.telemetry.events import Phase, RanksDied, RanksExited, RanksStarted
from curtail_dist.telemetry.joining import DECIDED_AT
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)
_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Real time that the agent allows to what it waits for."""

    drain_s: Seconds = 900.0
    """For ranks to finish their round and leave, before they are stopped."""
    interrupted_s: Seconds = 60.0
    """The same after SIGTERM or Ctrl-C."""
    stop_s: Seconds = 35.0
    """Between SIGTERM and SIGKILL to the ranks; torchrun takes 30 of it."""
    unclear_s: Seconds = 10.0
    """For the launcher to restart a rank that died."""


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
    limits: Limits = field(default_factory=Limits)

    @property
    def participant(self) -> str:
        """The ranks' name in the clock."""
        return f"rank:{self.site}"


class _End(Enum):
    """How a wait for ranks to leave went."""

    LEFT = "left"
    PARKED = "parked"
    STOPPED = "stopped"


class SiteRanks:
    """One site's ranks, seen by its agent. `interruptions` counts how often the agent was told to stop."""

    def __init__(
        self,
        plan: Plan,
        *,
        provisioner: Provisioner,
        clock: Clock,
        notices: Notices,
        events: EventLog,
        interruptions: Callable[[], int],
    ) -> None:
        """Begin with no ranks running; the parts stay their owner's."""
        self._plan = plan
        self._provisioner = provisioner
        self._clock = clock
        self._notices = notices
        self._events = events
        self._interruptions = interruptions
        self._watch: RanksWatch | None = None
        self.standing = Standing()
        """What is known of the ranks. The agent gives it to `stages.move` and puts back what that returns."""

    def start(self) -> None:
        """Start the ranks and announce them to the clock; a failure is recorded and may be tried again."""
        decided_at = time.time()
        if not self._notices.forget_leaving():
            return  # A request that is left from the last drain would send the ranks away at once.
        self._events.emit(Phase(phase="join"))
        self._clock.reserve(self._plan.participant, self._plan.join_s)
        try:
            self._provisioner.start({DECIDED_AT: f"{decided_at:.3f}"})
        except ProvisionError as error:
            self._fail(str(error))
            return
        self._events.emit(RanksStarted(pid=self._provisioner.poll().pid or 0))
        self.standing = started(self.standing)
        if self._plan.watched:
            self._watch = RanksWatch(self._provisioner, self._clock, self._plan.participant)

    def wake(self) -> None:
        """Ask parked ranks back; they come by themselves. Without an answer of the store they stay parked."""
        if not self._notices.forget_leaving():
            return
        self._events.emit(Phase(phase="join"))
        self.standing = woken(self.standing)

    def look(self) -> None:
        """Find out whether a rank died, and record it."""
        found, ranks = self._settled_fate()
        if found is Fate.EXPIRED:
            self._gone(ranks.code or 0)
        elif found is Fate.LOST:
            self._provisioner.stop(0.0)
            self._events.emit(RanksDied(reason="ranks died while they were parked"))
            self._gone(self._provisioner.poll().code or 0)
        elif found is Fate.ENDED:
            # Ranks end by themselves when the run is complete; their last commit is in the store by then.
            if not self._notices.complete():
                self._events.emit(RanksExited(code=ranks.code or 0))
                self._fail(f"the ranks ended with code {ranks.code} while the run is not complete")
        else:
            self._see(found, ranks)

    def drain(self, reason: str) -> None:
        """Have the ranks leave the run because the store asks them to, and wait until they have.

        Ranks that park are then parked, others gone. Those that take longer than the limits are stopped.
        """
        if not self.standing.on:
            return
        self._end_watch()
        # A virtual clock stops where the ranks leave, so that their last phase ends at that moment.
        self._clock.reserve(self._plan.participant, 0.0)
        # Asked while the agent holds the clock: no step passes between the decision and the request.
        asked = not reason or self._notices.ask_to_leave(reason)
        with self._clock.waiting():
            end = self._await_end(reason, asked=asked)
        ranks = self._provisioner.poll()
        if end is _End.PARKED:
            self.standing = replace(parked(self.standing), ranks=ranks.ranks)
            return
        code = ranks.code or 0
        if code or end is _End.STOPPED:
            self._events.emit(
                RanksDied(reason=f"the ranks ended with code {code} instead of leaving in order")
            )
        self._gone(code)

    def leave(self, reason: str = "") -> None:
        """Wait until no rank is left: by themselves, or, with a reason, because the store asks them to.

        Parked ranks are stopped.
        """
        if not self.standing.parked:
            self.drain(reason)
        if self.standing.parked:
            self._stop(self._plan.limits.stop_s)
            self._gone(self._provisioner.poll().code or 0)

    def close(self) -> None:
        """Kill what runs; idempotent."""
        self._end_watch()
        self._provisioner.close()

    def _settled_fate(self) -> tuple[Fate, RanksState]:
        """Wait until the launcher has made up its mind about a rank that is gone."""
        deadline = time.monotonic() + self._plan.limits.unclear_s
        while True:
            ranks = self._provisioner.poll()
            found = fate(self.standing, ranks)
            if found is not Fate.UNCLEAR or self._interruptions() or time.monotonic() > deadline:
                return found, ranks
            time.sleep(_LOOK_S)

    def _see(self, found: Fate, ranks: RanksState) -> None:
        """Take note of ranks that run."""
        if found is not Fate.ALIVE:
            gone = sorted(set(self.standing.ranks) - set(ranks.ranks))
            self._events.emit(RanksDied(reason=f"rank process {gone[0]} died and is restarted"))
            self._events.emit(Phase(phase="join"))
        if self.standing.waking and self._notices.parked() is False:
            self.standing = back(self.standing)
        self.standing = replace(self.standing, ranks=ranks.ranks)

    def _await_end(self, reason: str, *, asked: bool) -> _End:
        """Wait in real time until no rank runs, or they are parked."""
        limits = self._plan.limits
        began = time.monotonic()
        while self._provisioner.poll().running:
            asked = asked or self._notices.ask_to_leave(reason)
            if self._plan.parks and reason and self._notices.parked():
                return _End.PARKED
            interruptions = self._interruptions()
            limit = limits.interrupted_s if interruptions else limits.drain_s
            if interruptions > 1 or time.monotonic() - began > limit:
                log.warning("site %s: the ranks have not left in time and are stopped", self._plan.site)
                self._stop(limits.stop_s)
                return _End.STOPPED
            time.sleep(_LOOK_S)
        return _End.LEFT

    def _stop(self, grace_s: Seconds) -> None:
        """End the ranks; at once where the agent was told twice, or is told again meanwhile."""
        self._provisioner.stop(grace_s, hurry=lambda: self._interruptions() > 1)

    def _gone(self, code: int) -> None:
        """Take note that all ranks ended without a failure that counts."""
        self._end_watch()
        # Best effort: whatever is left of the request is taken back before the next start.
        self._notices.forget_leaving()
        self._events.emit(RanksExited(code=code))
        self.standing = left(self.standing)
        self._off()

    def _fail(self, reason: str) -> None:
        self._end_watch()
        self.standing = failed(self.standing, now=self._clock.now(), backoff_s=self._plan.backoff_s)
        if gives_up(self.standing):
            reason += f"; failure {self.standing.failures} in a row: the site stays off until its next window"
        log.error("site %s: %s", self._plan.site, reason)
        self._events.emit(RanksDied(reason=reason))
        self._off()

    def _off(self) -> None:
        self._events.emit(Phase(phase="off"))
        self._clock.release(self._plan.participant)

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
