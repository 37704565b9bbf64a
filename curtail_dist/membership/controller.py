"""The site's agent: follows signal and policy, and has the site's ranks started and drained accordingly.

It works in turns: look at the ranks and the run's head, at each poll at the signal too, act, rest. A drain is
waited for in real time, during which nothing is polled. Ranks that park (`provisioner.park_s`) have left the
run and stay in memory: when the policy wants the site again they are asked back, else they end in time.
"""

import logging
import signal as signals
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from curtail_dist.clock import Clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.freshness import Sighting, fresh, observe
from curtail_dist.energy.policy import Policy
from curtail_dist.energy.signals import Reading, Signal
from curtail_dist.errors import CoordinationError, SignalUnavailable
from curtail_dist.membership.notices import Notices
from curtail_dist.membership.provision import Provisioner
from curtail_dist.membership.ranks import Limits, Plan, SiteRanks
from curtail_dist.membership.stages import Move, move
from curtail_dist.telemetry.events import Decided, Phase, ReadingSeen, SignalLost, SiteStarted
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, GramsCO2PerKWh, Seconds, hours

log = logging.getLogger(__name__)

COMPLETE = 0
INTERRUPTED = 130
_REAL_TICK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the agent works with. All of it stays its maker's, who closes it after the agent."""

    clock: Clock
    """Attached as `agent:<site>`, of kind `poll`."""
    signal: Signal
    policy: Policy
    store: CoordinationStore
    provisioner: Provisioner
    events: EventLog
    limits: Limits = field(default_factory=Limits)


class _Interrupted(Exception):
    """A signal came while the agent rested."""


class Agent:
    """One site's agent. `run` may be called once, and no rank of the site is left when it returns."""

    def __init__(self, config: RunConfig, site: str, parts: Parts) -> None:
        """Prepare; nothing happens before `run`."""
        self._config = config
        self._site = site
        self._parts = parts
        self._asked = 0
        self._resting = False
        self._notices = Notices(parts.store, run=config.run.name, site=site)
        self._plan = Plan(
            site=site,
            join_s=config.clock.join_s,
            parks=config.site(site).provisioner.park_s > 0,
            backoff_s=config.policy.poll_s,
            watched=config.clock.kind == "virtual",
            limits=parts.limits,
        )
        self._ranks = SiteRanks(
            self._plan,
            provisioner=parts.provisioner,
            clock=parts.clock,
            notices=self._notices,
            events=parts.events,
            interruptions=lambda: self._asked,
        )
        self._next_poll: Seconds = parts.clock.now()
        self._sighting: Sighting | None = None
        self._value: GramsCO2PerKWh | None = None
        self._lost = False
        self._action = ""

    def run(self) -> int:
        """Follow the policy until the run is complete.

        SIGTERM or Ctrl-C drains the site, within `Limits.interrupted_s`; a second one kills its ranks.

        Returns:
            0 when the run is complete, 130 when interrupted.

        Raises:
            StoreUnavailable: The store does not answer at the very start. Later outages are sat out.
            CoordinationError: A virtual clock's service is gone.
            ProvisionError: Ranks cannot be killed.
        """
        try:
            with self._handlers():
                self._notices.open()
                self._introduce()
                while (code := self._turn()) is None:
                    self._rest()
                return code
        finally:
            self._ranks.close()
            with suppress(CoordinationError):  # Without its service there is nothing to release.
                self._parts.clock.release(self._plan.participant)

    def interrupt(self) -> None:
        """Do what a signal does, from any thread: once to drain and end, twice to end at once."""
        self._asked += 1

    def _introduce(self) -> None:
        parts, policy, site = self._parts, self._config.policy, self._config.site(self._site)
        power = PowerModel.from_config(site.power, pue=site.footprint.pue)
        deadline = self._config.run.deadline_h * SECONDS_PER_HOUR
        try:
            outlook = parts.signal.outlook(2 * deadline)  # an always-on baseline may need longer
        except SignalUnavailable as error:
            log.warning("site %s: nothing is known ahead of time: %s", self._site, error)
            outlook = []
        parts.events.emit(
            SiteStarted(
                train_w=power.train_w,
                idle_w=power.idle_w,
                join_w=power.join_w,
                sync_w=power.sync_w,
                threshold_g_per_kwh=policy.threshold_g_per_kwh,
                leave_delay_s=policy.leave_delay_s,
                deadline_s=deadline,
                outlook=outlook,
                synthetic=parts.signal.synthetic,
            )
        )
        parts.events.emit(Phase(phase="off"))

    def _turn(self) -> int | None:
        """Look and act once; return the exit code when it is time to end."""
        if self._asked:
            self._ranks.leave("the agent was told to stop")
            return INTERRUPTED
        if self._ranks.standing.on:
            self._ranks.look()
        if self._notices.complete():
            self._ranks.leave()
            return COMPLETE
        now = self._parts.clock.now()
        if now >= self._next_poll:
            self._next_poll = now + self._config.policy.poll_s
            self._poll(now)
        return None

    def _poll(self, now: Seconds) -> None:
        reading = self._read(now)
        wanted, decision, standing = move(self._ranks.standing, self._parts.policy, reading=reading, now=now)
        self._ranks.standing = standing
        if decision.action != self._action:
            self._action = decision.action
            value = reading.value if reading else None
            self._parts.events.emit(Decided(action=decision.action, reason=decision.reason, g_per_kwh=value))
            log.info("site %s: %s at %.2f h: %s", self._site, decision.action, hours(now), decision.reason)
        if wanted is Move.START:
            self._ranks.start()
        elif wanted is Move.DRAIN:
            self._ranks.drain(decision.reason)
        elif wanted is Move.WAKE:
            self._ranks.wake()

    def _read(self, now: Seconds) -> Reading | None:
        """Read the signal; record a value that changed, or that it was lost."""
        signal = self._parts.signal
        self._sighting = observe(signal, self._sighting, now=now)
        reading = fresh(self._sighting, now=now, max_age_s=self._config.policy.max_age_s)
        if reading is None and not self._lost:
            self._parts.events.emit(SignalLost(reason=f"no fresh reading from {signal.source}"))
        if reading is not None and reading.value != self._value:
            self._parts.events.emit(
                ReadingSeen(g_per_kwh=reading.value, measured_t=reading.measured_at, source=signal.source)
            )
        self._lost = reading is None
        self._value = reading.value if reading else None
        return reading

    def _rest(self) -> None:
        """Let run time pass until the next look, unless a signal comes."""
        policy, clock = self._config.policy, self._config.clock
        # A virtual clock passes no more than `join_s` while a killed rank is on its way back: look within it.
        tick = _REAL_TICK_S if clock.kind == "real" else clock.join_s or policy.poll_s
        duration = min(tick, self._next_poll - self._parts.clock.now())
        try:
            self._resting = True
            if duration > 0 and not self._asked:
                self._parts.clock.sleep(duration)
            self._resting = False
        except _Interrupted:
            log.info("site %s: told to stop", self._site)

    @contextmanager
    def _handlers(self) -> Generator[None]:
        """Take SIGTERM and Ctrl-C while the context is open, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self.interrupt()
            if self._resting:
                self._resting = False
                raise _Interrupted

        before = {number: signals.signal(number, handle) for number in (signals.SIGTERM, signals.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signals.signal(number, handler)
