"""How an agent looks at its signal: what it may believe, and what of that goes on record."""

from curtail_dist.energy.freshness import Sighting, fresh, observe
from curtail_dist.energy.signals import Fed, Reading, Signal
from curtail_dist.membership.agent.troubles import Troubles
from curtail_dist.telemetry.events import ReadingSeen, SignalLost
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds, Watts


class Lookout:
    """One site's signal, seen by its agent. The signal stays its owner's."""

    def __init__(self, signal: Signal, *, max_age_s: Seconds, events: EventLog, troubles: Troubles) -> None:
        """Believe a reading for `max_age_s` after the source last gave it."""
        self._signal = signal
        self._max_age_s = max_age_s
        self._events = events
        self._troubles = troubles
        self._sighting: Sighting | None = None
        self._lost = False
        self.reading: Reading | None = None
        """The newest one, None where there is no fresh one."""

    @property
    def source(self) -> str:
        """Where the newest reading comes from; without one, where readings are to come from."""
        return self._signal.source if self.reading is None else self.reading.source or self._signal.source

    def feed(self, watts: Watts) -> None:
        """Tell a signal that depends on it what the site draws."""
        signal = self._signal
        if isinstance(signal, Fed):
            self._troubles.guard("signal", lambda: signal.feed(watts), None)

    def look(self, now: Seconds) -> Reading | None:
        """Ask the signal; record a value that changed, or that it was lost. One that fails says nothing."""
        previous = self._sighting
        self._sighting = self._troubles.guard(
            "signal",
            lambda: observe(self._signal, previous, now=now, max_age_s=self._max_age_s),
            previous,
        )
        reading = fresh(self._sighting, now=now, max_age_s=self._max_age_s)
        if reading is None and not self._lost:
            self._events.emit(SignalLost(reason=f"no fresh reading from {self.source}"))
        if reading is not None and (self.reading is None or _tells(reading) != _tells(self.reading)):
            self._events.emit(
                ReadingSeen(
                    g_per_kwh=reading.value,
                    measured_t=reading.measured_at,
                    source=reading.source or self.source,
                    basis=reading.basis,
                    from_forecast=reading.from_forecast,
                )
            )
        self._lost, self.reading = reading is None, reading
        return reading


def _tells(reading: Reading) -> tuple[float, bool, str]:
    return reading.value, reading.from_forecast, reading.source
