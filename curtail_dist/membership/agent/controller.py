"""The site's agent: follows signal, policy and operator, and has the site's ranks started and drained.

It works in turns: look at the ranks and at what the operator orders, at each poll at the signal too, act,
rest. No turn waits for anything: a join or a drain that takes long is looked at again, and can be taken back.
What fails (signal, policy, provisioner, store) is put on record, shown by `curtail status`, and tried again.
Ranks that park (`provisioner.park_s`) have left the run and stay in memory: when the policy wants the site
again they are asked back, else they end in time. Ranks that an earlier agent left running are gone on with.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from curtail_dist.config import RunConfig
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.policy import Decision, Wanted
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import Move, Stage, overruled, polled
from curtail_dist.errors import CoordinationError, Superseded, UserError
from curtail_dist.membership.agent.interrupts import Interrupts
from curtail_dist.membership.agent.introduction import introduce
from curtail_dist.membership.agent.liaison import TTL_S, Liaison
from curtail_dist.membership.agent.lookout import Lookout
from curtail_dist.membership.agent.metering import PowerWatch
from curtail_dist.membership.agent.orders import Order, standing_order
from curtail_dist.membership.agent.parts import Parts, plans_of
from curtail_dist.membership.agent.planning import Own
from curtail_dist.membership.agent.ranks import SiteRanks
from curtail_dist.membership.agent.state import AgentState, state_of
from curtail_dist.membership.agent.terms import Plan
from curtail_dist.membership.agent.troubles import Troubles
from curtail_dist.telemetry.events import Decided, Ordered, Phase
from curtail_dist.units import Seconds, hours

log = logging.getLogger(__name__)

COMPLETE = 0
STOPPED = 0
INTERRUPTED = 130
REFUSED = 2
_TICK_S: Seconds = 0.5
_LOOK_S: Seconds = 0.05


class Agent:
    """One site's agent. `run` may be called once, and no rank of the site is left when it returns."""

    def __init__(self, config: RunConfig, site: str, parts: Parts) -> None:
        """Prepare; nothing happens before `run`."""
        self._config = config
        self._site = site
        self._parts = parts
        self._interrupts = Interrupts()
        self._liaison = Liaison(parts.store, run=config.run.name, site=site)
        self._plan = Plan(
            site=site,
            join_s=config.clock.join_s,
            parks=config.site(site).provisioner.park_s > 0,
            backoff_s=config.policy.poll_s,
            watched=config.clock.kind == "virtual",
            limits=parts.limits,
            log=config.run.directory / "logs" / f"{site}.log",
        )
        self._ranks = SiteRanks(
            self._plan,
            provisioner=parts.provisioner,
            clock=parts.clock,
            liaison=self._liaison,
            events=parts.events,
            interruptions=lambda: self._interrupts.count,
        )
        self._troubles = Troubles(parts.events, parts.clock)
        self._lookout = Lookout(
            parts.signal, max_age_s=config.policy.max_age_s, events=parts.events, troubles=self._troubles
        )
        self._power = PowerWatch(
            PowerModel.from_config(config.site(site).power),
            metering=parts.metering,
            every_s=config.policy.poll_s,
            events=parts.events,
            troubles=self._troubles,
            feed=self._lookout.feed,
        )
        self._plans = plans_of(config, site, parts, publish=self._liaison.publish)
        self._next_poll: Seconds = parts.clock.now()
        self._polled: Seconds = 0.0
        self._order: Order | None = None
        self._decided = ("", "")
        self._reason = ""
        self.outcome = ""
        """Why the agent has ended, for people."""
        self._ending: int | None = None
        """The exit code, once the agent is to end as soon as no rank is there."""

    def run(self) -> int:
        """Follow the policy until the run is complete, or an operator stops it.

        SIGTERM or Ctrl-C drains the site, within `Limits.interrupted_s`; a second one kills its ranks.

        Returns:
            0 when the run is complete or was stopped by an operator, 130 when interrupted.

        Raises:
            StoreUnavailable: The store does not answer at the very start; ranks that an earlier agent left
                running run on. Later outages are sat out.
            StoreReplaced: Another store answers in its place.
            Superseded: Another agent has the site.
            CoordinationError: A virtual clock's service is gone.
            UserError: The ranks say that no start by this run file can go well, and why.
            ProvisionError: Ranks cannot be killed.
        """
        try:
            with self._interrupts.taken():
                code = self._follow() if self._has_site() else INTERRUPTED
            if code == REFUSED:
                raise UserError(self.outcome)
            return code
        finally:
            self._liaison.close()
            self._power.close()
            with suppress(CoordinationError):  # Without its service there is nothing to release.
                self._parts.clock.release(self._plan.participant)

    def interrupt(self) -> None:
        """Do what a signal does, from any thread: once to drain and end, twice to end at once."""
        self._interrupts.add()

    def _has_site(self) -> bool:
        """Take the site; return False where told to stop meanwhile. Raises Superseded, StoreUnavailable."""
        deadline = time.monotonic() + self._plan.limits.lapse_s
        waits = False
        while not self._liaison.open(self._state().encode()):
            if not waits:
                log.warning("site %s has an agent, which may have died: waiting for its lease", self._site)
                waits = True
            if self._interrupts.count:
                self.outcome = "interrupted"
                return False
            if time.monotonic() > deadline:
                raise Superseded(
                    f"site {self._site} has another agent, which lives (its word in the store is not older "
                    f"than {TTL_S:g} s); a site has one: stop that, wherever it runs, or do not start another"
                )
            with self._interrupts.rest():
                time.sleep(_LOOK_S)
        return True

    def _follow(self) -> int:
        try:
            self._introduce()
            while (code := self._turn()) is None:
                self._rest()
            return code
        finally:
            self._ranks.close()

    def _introduce(self) -> None:
        parts = self._parts
        introduce(self._config, self._site, parts.signal, parts.events, self._troubles, parts.average)
        parts.events.emit(Phase(phase="off"))
        self._power.start()

    def _turn(self) -> int | None:
        """Look and act once; return the exit code when it is time to end."""
        now = self._parts.clock.now()
        self._troubles.note("store", self._liaison.trouble)
        self._troubles.guard("provisioner", self._ranks.look, None)
        self._power.look(self._ranks.standing.stage, polls=now >= self._next_poll)
        if self._ending is None:
            self._see_ending()
        if self._ending is not None:
            self._tell()
            # Where they cannot be ended `close` tries once more, and says so.
            return None if self._ranks.there and not self._ranks.in_vain else self._ending
        self._obey(now)
        if now >= self._next_poll:
            self._next_poll = now + self._config.policy.poll_s
            self._polled = now
            self._poll(now)
        self._tell()
        return None

    def _see_ending(self) -> None:
        """Have the ranks leave for good where the run is complete, or somebody has this agent end."""
        self._order = self._see_order()
        order = self._order
        if self._liaison.complete:
            self._ending, self.outcome = COMPLETE, "the run is complete"
            self._ranks.leave()
        elif self._interrupts.count:
            self._ending, self.outcome = INTERRUPTED, "interrupted"
            self._ranks.leave("the agent was told to stop")
        elif self._ranks.refused:
            self._ending, self.outcome = REFUSED, self._ranks.refused
            self._ranks.give_up(self.outcome)
        elif order is not None and order.kind == "stop":
            self._ending = STOPPED
            self.outcome = f"{order.bar.reason}; `curtail release` lets agents start again"
            self._decide(Decision(action="drain", reason=order.bar.reason), None, by="operator")
            self._ranks.leave(order.bar.reason, after_commit=order.after_commit)

    def _see_order(self) -> Order | None:
        """Return the operator's order for this site; record it where it has changed."""
        view, utc = self._liaison.view(), datetime.now(UTC)
        order = self._troubles.guard(
            "operator", lambda: standing_order(view.keys, self._site, view.entries, now=utc), self._order
        )
        if order != self._order:
            told = Ordered(order="release", reason="", by="")
            if order is not None:
                until = None if order.until is None else order.until.isoformat()
                told = Ordered(order=order.kind, reason=order.reason, by=order.by, until=until)
            self._parts.events.emit(told)
            log.info("site %s: %s", self._site, order.bar.reason if order else "released by the operator")
            self._next_poll = min(self._next_poll, self._parts.clock.now())  # an operator waits for no poll
        return order

    def _obey(self, now: Seconds) -> None:
        """Do what the operator's order wants of a site that runs, without waiting for a poll."""
        decision = None if self._order is None else overruled(self._ranks.standing, self._order.bar)
        if decision is not None:
            self._decide(decision, self._lookout.reading, by="operator")
            self._act(Move.DRAIN, decision.reason)

    def _poll(self, now: Seconds) -> None:
        reading = self._lookout.look(now)
        standing, bar = self._ranks.standing, None if self._order is None else self._order.bar
        unknown = Decision(action="drain" if standing.runs else "keep", reason="the policy failed")
        fallback = (Move.DRAIN if standing.runs else Move.NONE, unknown, standing)
        own = Own(standing=standing, reading=reading, barred=bar is not None, waited_s=self._ranks.waited_s)
        wanted = self._wanted(now, own)
        policy = self._parts.policy
        move, decision, standing = self._troubles.guard(
            "policy",
            lambda: polled(standing, policy, reading=reading, now=now, wanted=wanted, bar=bar),
            fallback,
        )
        self._ranks.standing = standing
        by = "operator" if bar is not None and decision.reason == bar.reason else "policy"
        self._decide(decision, reading, by=by, moves=move is not Move.NONE)
        self._act(move, decision.reason)

    def _decide(self, decision: Decision, reading: Reading | None, *, by: str, moves: bool = True) -> None:
        """Record a decision that moves the site, or that differs from the one before."""
        self._reason = decision.reason
        if not moves and self._decided == (decision.action, by):
            return
        self._decided = (decision.action, by)
        self._parts.events.emit(
            Decided(
                action=decision.action,
                reason=decision.reason,
                g_per_kwh=None if reading is None else reading.value,
                measured_t=None if reading is None else reading.measured_at,
                source="" if reading is None else self._lookout.source,
                from_forecast=reading is not None and reading.from_forecast,
                by=by,
            )
        )
        now = self._parts.clock.now()
        log.info("site %s: %s at %.2f h: %s", self._site, decision.action, hours(now), decision.reason)

    def _wanted(self, now: Seconds, own: Own) -> Wanted | None:
        """Return what the newest plan wants of the site, where the policy follows one."""
        plans = self._plans
        if plans is None:
            return None
        return self._troubles.guard("plan", lambda: plans.look(now, self._liaison.view(), own), None)

    def _act(self, move: Move, reason: str) -> None:
        acts = {Move.START: self._ranks.start, Move.DRAIN: self._ranks.drain, Move.STAY: self._ranks.stay}
        if move in acts:
            self._troubles.guard("provisioner", lambda: acts[move](reason), None)

    def _tell(self) -> None:
        """Let others read how the site stands."""
        self._liaison.show(self._state().encode())

    def _state(self) -> AgentState:
        state = state_of(
            self._ranks.standing,
            self._lookout.reading,
            reason=self._reason,
            source=self._lookout.source,
            order="" if self._order is None else self._order.bar.reason,
            troubles=self._troubles.reasons,
            polled_t=self._polled,
        )
        failure = self._ranks.failure if state.failures else ""
        return replace(state, waiting=self._ranks.waiting, failure=failure)

    def _rest(self) -> None:
        """Let run time pass until the next look, unless a signal comes."""
        with self._interrupts.rest():
            if not self._interrupts.count or self._ending is not None:
                self._let_pass()

    def _let_pass(self) -> None:
        policy, settings, clock = self._config.policy, self._config.clock, self._parts.clock
        if self._ranks.unclear:  # a moment of real time, in which a virtual clock stands still
            time.sleep(_LOOK_S)
            return
        if self._ranks.standing.stage is Stage.DRAINING or self._ending is not None:
            with clock.waiting():  # a virtual clock moves by what others do, and stops where the ranks leave
                time.sleep(_LOOK_S)
            return
        # A virtual clock passes no more than `join_s` while a killed rank is on its way back: look within it.
        tick = _TICK_S if settings.kind == "real" else settings.join_s or policy.poll_s
        duration = min(tick, self._next_poll - clock.now())
        if duration > 0:
            clock.sleep(duration)
