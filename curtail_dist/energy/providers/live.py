"""A provider as a signal: asked in a thread of its own, so that whoever reads never waits for it."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from random import Random

from curtail_dist.config.signals import Basis
from curtail_dist.energy.providers.answers import Answer, Provider, ProviderFailure, UnixSeconds
from curtail_dist.energy.signals import Reading
from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import GramsCO2PerKWh, Seconds

log = logging.getLogger(__name__)

SKEW_S: Seconds = 600.0
"""How far a server's clock may be ahead of ours before its times mean nothing."""
_FIRST_RETRY_S: Seconds = 5.0
_REFUSED_S: Seconds = 300.0
_LONGEST_S: Seconds = 3600.0
_JOIN_S = 1.0


class LiveSignal:
    """What a provider last said, as long as it holds. Owns a thread from `start` to `close`.

    A failure is told by `latest` until the provider answers again. In between it is asked again, ever more
    slowly up to its own rhythm, after it said when (Retry-After) not before that.
    """

    synthetic = False

    def __init__(
        self,
        provider: Provider,
        *,
        start: datetime,
        timeout_s: Seconds = 5.0,
        unix_now: Callable[[], UnixSeconds] = time.time,
        random: Random | None = None,
    ) -> None:
        """Ask `provider`, whose requests take a few `timeout_s` at most; `start` (aware) is run time 0."""
        self._provider = provider
        self._start = start.timestamp()
        self._unix_now = unix_now
        self._random = random or Random()
        # A request under way is no failure yet: an answer holds until the next one could have come.
        self._holds_s = provider.every_s * 1.1 + 3 * timeout_s
        self._answer: Answer | None = None
        self._answered: UnixSeconds = -math.inf
        self._failure = "it has not answered yet"
        self._failures = 0
        self._refused = False
        self._flawed = False
        """Whether the newest forecast ends at a point that cannot be read; it is said once."""
        self._closing = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signal", daemon=True)

    @property
    def source(self) -> str:
        """The provider, and for where it is asked."""
        return self._provider.source

    @property
    def basis(self) -> Basis:
        """What its values are."""
        return self._provider.basis

    def start(self, *, wait_s: Seconds = 0.0) -> None:
        """Begin to ask, and wait up to `wait_s` for what the first request comes to."""
        self._thread.start()
        self._asked.wait(wait_s)

    def ask_once(self) -> Seconds:
        """Ask now; return how long to wait before the next time."""
        now = self._unix_now()
        try:
            answer = self._checked(self._provider.ask(now), now)
        except SignalUnavailable as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - an answer may be wrong in ways that no parser foresaw
            # Its text might hold anything, a credential too.
            return self._failed(ProviderFailure(f"its answer cannot be read ({type(error).__name__})"))
        if self._failures:
            log.info("%s answers again", self.source)
        if answer.flaw and not self._flawed:
            log.warning(
                "%s: its forecast goes no further than a point that is none: %s", self.source, answer.flaw
            )
        self._flawed = bool(answer.flaw)
        self._answer, self._answered, self._failure, self._failures = answer.since(now), now, "", 0
        return self._provider.every_s

    def latest(self) -> Reading:
        """Return what the provider said for now, if it said so of late. See Signal.

        Where a moment of its forecast has come since it was asked, that is a forecast (`from_forecast`).
        """
        now, answer = self._unix_now(), self._answer
        if self._failure or answer is None:
            raise SignalUnavailable(f"{self.source}: {self._failure}")
        if now - self._answered > self._holds_s:
            raise SignalUnavailable(f"{self.source}: it was last asked {now - self._answered:.0f} s ago")
        (at, value), expected = answer.at(now)
        return replace(self._at(min(at, now), value), from_forecast=expected)

    def foreseen(self, within_s: Seconds) -> Reading:
        """Return what the newest forecast says of now, if it is not older than `within_s`.

        Raises SignalUnavailable.
        """
        now, answer = self._unix_now(), self._answer
        if answer is None or now - self._answered >= within_s or not answer.expected:
            raise SignalUnavailable(f"{self.source}: it has given no forecast within {within_s:g} s")
        newest = answer.expected[-1][0]
        if now - newest > self._provider.stale_s:
            raise SignalUnavailable(f"{self.source}: its forecast ended {_ago(now - newest)} ago")
        (at, value), _ = answer.at(now)
        # For how long it stands in was just looked at; as a reading it is one of now.
        return replace(self._at(min(at, now), value), from_forecast=True, answered_at=None)

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what the newest answer says from now on. See Signal."""
        now, answer = self._unix_now(), self._answer
        first = self.latest()
        assert answer is not None, "there is a latest reading"
        later = [(at, value) for at, value in answer.expected if now < at < now + horizon]
        return [first, *(self._at(at, value) for at, value in later)]

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return what the newest answer says of the run so far and to come. See Signal."""
        self.latest()
        answer = self._answer
        assert answer is not None, "there is a latest reading"
        points = [(at - self._start, value) for at, value in (answer.reading, *answer.expected)]
        known = [(max(0.0, t), value) for t, value in points if t < until]
        found = list({t: (t, value) for t, value in known}.values())
        last = points[-1][0] + self._provider.stale_s
        if not found or last <= 0:
            raise SignalUnavailable(f"{self.source}: it says nothing of the planned period")
        return [*found, (min(until, last), found[-1][1])]

    def close(self) -> None:
        """End the thread; a request that is under way ends by itself. Idempotent."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        wait = 0.0
        while not self._closing.wait(wait):
            wait = self.ask_once()
            self._asked.set()

    def _checked(self, answer: Answer, now: UnixSeconds) -> Answer:
        """Refuse what says nothing of now: it is too old, or from a future that has not come.

        An old answer is one however far its forecast reaches.
        """
        first = answer.reading[0]
        if now - answer.made_at > self._provider.stale_s:
            raise ProviderFailure(f"its value for now is {_ago(now - answer.made_at)} old, which is stale")
        if first - now > SKEW_S:
            raise ProviderFailure(f"its first value is for {_ago(first - now)} from now; compare the clocks")
        return answer

    def _failed(self, error: SignalUnavailable) -> Seconds:
        every = self._provider.every_s
        refused = isinstance(error, ProviderFailure) and error.refused
        if not self._failures or refused != self._refused:
            log.warning("%s: %s", self.source, error)
        self._refused = refused
        self._failure, self._failures = str(error), self._failures + 1
        if isinstance(error, ProviderFailure) and error.retry_after_s is not None:
            return min(max(error.retry_after_s, _FIRST_RETRY_S), _LONGEST_S)
        if refused:
            return max(every, _REFUSED_S)
        backoff = min(every, _FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        return backoff * (1.0 + 0.2 * self._random.random())

    def _at(self, at: UnixSeconds, value: float) -> Reading:
        return Reading(
            value=value,
            measured_at=at - self._start,
            basis=self.basis,
            source=self.source,
            answered_at=self._answered - self._start,
        )


def _ago(seconds: Seconds) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
