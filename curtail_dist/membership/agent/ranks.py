"""The agent's hand on its site's ranks: starts them, sees them come, die and leave; waits for none of it."""

import logging
import time
from collections.abc import Callable

from curtail_dist.clock import Clock
from curtail_dist.energy.stages import (
    Stage,
    Standing,
    again,
    draining,
    failed,
    found,
    gone,
    parked,
    started,
    stayed,
    up,
)
from curtail_dist.errors import CurtailError, ProvisionError
from curtail_dist.membership.agent.expecting import Expecting
from curtail_dist.membership.agent.fate import Fate, fate
from curtail_dist.membership.agent.leaving import Leaving
from curtail_dist.membership.agent.liaison import Liaison
from curtail_dist.membership.agent.terms import Plan
from curtail_dist.membership.provision import Provisioner, RanksState
from curtail_dist.membership.refusal import Refusal
from curtail_dist.telemetry.events import Phase, RanksDied, RanksExited, RanksStarted, StageEntered
from curtail_dist.telemetry.joining import DECIDED_AT
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)


class SiteRanks:
    """One site's ranks, seen by its agent. `interruptions` counts how often the agent was told to stop."""

    def __init__(
        self,
        plan: Plan,
        *,
        provisioner: Provisioner,
        clock: Clock,
        liaison: Liaison,
        events: EventLog,
        interruptions: Callable[[], int],
    ) -> None:
        """Begin with no ranks running; the parts stay their owner's."""
        self._plan = plan
        self._provisioner = provisioner
        self._clock = clock
        self._liaison = liaison
        self._events = events
        self._interruptions = interruptions
        self._expecting = Expecting(plan, provisioner=provisioner, clock=clock, events=events)
        self._known: tuple[int, ...] = ()
        """The rank processes as last seen."""
        self._leaving: Leaving | None = None
        self._unclear: Seconds | None = None
        """Since when, in real time, it is not clear what has become of them."""
        self._ends = False
        self._start = ""
        """By what the newest start's ranks can be told from earlier ones."""
        self.failure = ""
        """Why the newest start failed; empty: it did not."""
        self.waited_s: Seconds = 0.0
        """How long ranks have waited to begin since they were last on their way, of run time."""
        self.standing = Standing()
        """Where the site stands. The agent gives it to `stages.polled` and puts back what that returns."""

    @property
    def there(self) -> bool:
        """Whether ranks run, in the run, in memory, or on their way in or out."""
        return self.standing.stage is not Stage.OFF or self.standing.parked

    @property
    def in_vain(self) -> bool:
        """Whether they outlive all that can be done to have them end, or nobody says that they ended."""
        return self._leaving is not None and self._leaving.in_vain

    @property
    def waiting(self) -> str:
        """Why ranks that were started have not begun; empty: they have, or none were."""
        return self._expecting.waiting

    @property
    def unclear(self) -> bool:
        """Whether they are between two states that last a moment of real time."""
        return self._unclear is not None

    @property
    def refused(self) -> str:
        """Why no start by this run file can go well, as the ranks say; empty: they do not."""
        told = self._told
        return self._pointed(told.reason) if told is not None and told.final else ""

    def start(self, reason: str) -> None:
        """Start the ranks and announce them to the clock; or ask those that are parked back.

        A failure is recorded and may be tried again. Nothing happens while a request to leave may still stand
        in the store: it would send them away at once.

        Raises ProvisionError as long as it is not known whether ranks run already.
        """
        decided_at = f"{time.time():.3f}"
        self._provisioner.poll()
        if self._leaving is not None or not self._liaison.forget_leaving():
            return
        self._events.emit(Phase(phase="join"))
        if self.standing.parked:
            self._enter(started(self.standing, now=self._now), reason)
            return
        self._expecting.announce()
        self._start = decided_at
        try:
            self._provisioner.start({DECIDED_AT: decided_at})
            ranks = self._provisioner.poll()
        except Exception as error:  # noqa: BLE001 - whatever a provisioner raises, the next start may succeed
            told = isinstance(error, CurtailError)
            self._fail(str(error) if told else f"the provisioner failed: {type(error).__name__}: {error}")
            return
        self._events.emit(RanksStarted(pid=ranks.pid or 0))
        self._known = ()
        self._enter(started(self.standing, now=self._now), reason)
        self._expecting.begin(ranks)

    def drain(self, reason: str, *, after_commit: bool = False) -> None:
        """Have ranks that take part leave the run, and stop those that have not come yet.

        An empty reason says that the run is complete and that they leave by themselves.
        """
        standing = self.standing
        if not standing.runs:
            return
        self._unclear = None
        self._expecting.hold()
        # Asked while the agent holds the clock: no step passes between the decision and the request.
        if reason:
            self._liaison.ask_to_leave(reason, after_commit=after_commit)
        early = standing.stage is Stage.JOINING and bool(reason) and not self._liaison.registered
        self._leaving = Leaving(reason=reason, after_commit=after_commit, early=early)
        self._enter(draining(standing, now=self._now), reason or "the run is complete")
        if early:
            self._stop(self._leaving)

    def stay(self, reason: str) -> None:
        """Take the request to leave back. Ranks that have left all the same are started again."""
        if not self._liaison.forget_leaving():
            return
        self._leaving = None
        self._expecting.announce()
        self._enter(stayed(self.standing, now=self._now), reason)
        self._expecting.begin(self._provisioner.poll())

    def leave(self, reason: str = "", *, after_commit: bool = False) -> None:
        """Have all ranks end, parked ones too: by themselves, or, with a reason, since they are asked to."""
        self._ends = True
        if self.standing.runs:
            self.drain(reason, after_commit=after_commit)
        elif self.standing.parked:
            self._leaving = self._leaving or Leaving()
            self._stop(self._leaving)

    def give_up(self, reason: str) -> None:
        """Have ranks that can come to nothing end at once, before they are started again and again."""
        self._ends = True
        if not self.there:
            return
        self._events.emit(RanksDied(reason=reason))
        self._unclear, self._leaving = None, Leaving.at_once(early=True)
        self._expecting.hold()
        self._enter(draining(self.standing, now=self._now, final=True), reason)
        self._press(self._leaving)

    def look(self) -> None:
        """Find out what has become of the ranks, record it, and press those that are late in leaving.

        Raises ProvisionError where nobody knows: those that are to end for good are pressed all the same.
        """
        try:
            ranks = self._provisioner.poll()
        except ProvisionError:
            if self._ends and self._leaving is not None:
                self._press(self._leaving)
            raise
        if self._leaving is not None:
            self._leaving.grace_s = ranks.grace_s
        if not self.there:
            if ranks.running:
                self._go_on(ranks)
        elif self.standing.stage is Stage.DRAINING:
            self._look_leaving(ranks)
        elif self.standing.parked:
            self._look_parked(ranks)
        else:
            self._look_running(ranks)

    def close(self) -> None:
        """Kill what runs; idempotent."""
        self._expecting.end()
        self._provisioner.close()

    def _go_on(self, ranks: RanksState) -> None:
        """Take over ranks that run though this agent has not started them."""
        self._expecting.announce()
        self._events.emit(Phase(phase="train" if self._liaison.seated else "join"))
        self._events.emit(RanksStarted(pid=ranks.pid or 0))
        self._known = ranks.ranks
        self._enter(found(self.standing, now=self._now), "its ranks run already")
        self._expecting.begin(ranks)

    def _look_running(self, ranks: RanksState) -> None:
        what = fate(self._known, ranks)
        if what is Fate.ENDED:
            self._ended(ranks)
        elif ranks.waiting:
            if self.standing.stage is Stage.ON:
                self._enter(again(self.standing, now=self._now), f"its ranks wait again: {ranks.waiting}")
            self._known, self._unclear = ranks.ranks, None
            self.waited_s = self._now - self.standing.since
            self._expecting.see(ranks)
        elif what is Fate.UNCLEAR and self._is_unclear(self._plan.limits.unclear_s):
            return
        elif what is not Fate.ALIVE and self.refused:
            return  # It ended over that. Its agent has the site end now, before the next rank says it again.
        elif what is not Fate.ALIVE:
            missing = sorted(set(self._known) - set(ranks.ranks))
            self._events.emit(RanksDied(reason=f"rank process {missing[0]} died and is restarted"))
            self._events.emit(Phase(phase="join"))
            self._known, self._unclear = ranks.ranks, None
            self._enter(again(self.standing, now=self._now), "a rank died and is restarted")
        else:
            self._known, self._unclear = ranks.ranks, None
            self._expecting.see(ranks)
            if self.standing.stage is Stage.JOINING and self._liaison.seated:
                self._enter(up(self.standing, now=self._now), "in the run")

    def _ended(self, ranks: RanksState) -> None:
        """Ranks that were not asked to leave have ended: in order, or in failure."""
        code = ranks.code or 0
        if ranks.reclaimed:
            self._gone(code, f"its machine was taken back: {ranks.reclaimed}")
        elif self._liaison.complete or (self.standing.recalled and code == 0):
            self._gone(code)
        elif code or not self._is_unclear(self._plan.limits.settle_s):
            # Ranks end in order when the run is complete: by now the store would have told their last commit.
            self._events.emit(RanksExited(code=code))
            ended = f"the ranks ended with code {code} while the run is not complete"
            told = self._told
            self._fail(self._pointed(ranks.failure or (ended if told is None else told.reason)))

    def _look_parked(self, ranks: RanksState) -> None:
        if not ranks.running:
            if ranks.code and self._leaving is None:
                self._events.emit(RanksDied(reason="ranks died while they were parked"))
            self._gone(ranks.code or 0)
        elif fate(self._known, ranks) is not Fate.ALIVE and self._leaving is None:
            self._events.emit(RanksDied(reason="ranks died while they were parked"))
            self._leaving = Leaving.at_once()
            self._press(self._leaving)
        elif self._leaving is not None:
            self._press(self._leaving)
        elif self._have_left(ranks, there=self._liaison.parked):
            self._leaving = Leaving(left=True)
            self._stop(self._leaving)

    def _look_leaving(self, ranks: RanksState) -> None:
        assert self._leaving is not None, "set when the ranks were asked"
        if not ranks.running:
            code = ranks.code or 0
            if not (self._leaving.in_order or ranks.reclaimed) and (code or self._leaving.stopped):
                self._events.emit(
                    RanksDied(reason=f"the ranks ended with code {code} instead of leaving in order")
                )
            self._gone(code)
            return
        if self.refused and not self._leaving.useless:
            self._leaving = Leaving.at_once(early=True)  # torchrun would start them again meanwhile
        if self._leaving.reason:
            # Until the store has it for certain; at once, where it has.
            self._liaison.ask_to_leave(self._leaving.reason, after_commit=self._leaving.after_commit)
        if self._plan.parks and not self._leaving.stopped and self._liaison.parked:
            self._known, self._leaving = ranks.ranks, None
            self._enter(parked(self.standing, now=self._now), "its ranks wait in memory")
            if self._ends:
                self.leave()
            return
        if not self._leaving.stopped and self._have_left(ranks, there=self._liaison.registered):
            self._leaving.left = True
            self._stop(self._leaving)
            return
        self._press(self._leaving)

    def _have_left(self, ranks: RanksState, *, there: bool) -> bool:
        """Whether ranks, of which the store tells as long as they are `there`, have left what lingers."""
        if not ranks.lingers or there:
            self._unclear = None
            return False
        return not self._is_unclear(self._plan.limits.settle_s)

    def _stop(self, leaving: Leaving) -> None:
        """Stop them now."""
        leaving.stop(self._provisioner)
        self._press(leaving)

    def _press(self, leaving: Leaving) -> None:
        """Stop ranks that have not left in time."""
        leaving.press(self._provisioner, self._plan.limits, site=self._plan.site, told=self._interruptions())
        if leaving.stopped and self.standing.stage is Stage.DRAINING and not self.standing.final:
            self.standing = draining(self.standing, now=self.standing.since, final=True)

    def _is_unclear(self, limit: Seconds) -> bool:
        """Whether it may still become clear what has happened, `limit` after it was first not."""
        now = time.monotonic()
        self._unclear = now if self._unclear is None else self._unclear
        return now - self._unclear <= limit and not self._interruptions()

    def _gone(self, code: int, reason: str = "its ranks have left") -> None:
        """Take note that all ranks ended without a failure that counts."""
        self._settle()
        self.failure = ""
        # Best effort: whatever is left of the request is taken back before the next start.
        self._liaison.forget_leaving()
        self._events.emit(Phase(phase="off"))
        self._events.emit(RanksExited(code=code))
        self._enter(gone(self.standing, now=self._now), reason)
        self._expecting.release()

    @property
    def _told(self) -> Refusal | None:
        """What ranks of the newest start said of why they end, where that is over what the user gave."""
        told = self._liaison.refusal
        return told if told is not None and told.start == self._start else None

    def _pointed(self, reason: str) -> str:
        """Return it with where to read on, if that is on this machine."""
        return f"{reason}; see {self._plan.log}" if self._plan.log.is_file() else reason

    def _fail(self, reason: str) -> None:
        self._settle()
        self.failure = reason
        standing = failed(self.standing, now=self._now, backoff_s=self._plan.backoff_s)
        if standing.gives_up:
            reason += f"; failure {standing.failures} in a row: the site stays off until its next window"
        log.error("site %s: %s", self._plan.site, reason)
        self._events.emit(RanksDied(reason=reason))
        self._events.emit(Phase(phase="off"))
        self._enter(standing, reason)
        self._expecting.release()

    def _settle(self) -> None:
        self._expecting.end()
        self._leaving, self._unclear, self._known = None, None, ()

    def _enter(self, standing: Standing, reason: str) -> None:
        before, self.standing = self.standing, standing
        if before.stage is standing.stage:
            return
        if standing.stage is Stage.JOINING:
            self.waited_s = 0.0
        self._events.emit(
            StageEntered(
                stage=standing.stage.value,
                reason=reason,
                was=before.stage.value,
                after_s=self._now - before.since,
            )
        )

    @property
    def _now(self) -> Seconds:
        return self._clock.now()
