"""What the events so far say of one site: its phase, intensity, rate, emissions and next window."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from curtail_dist.energy.emissions import drawn_as
from curtail_dist.units import GramsCO2PerKWh, Joules, Seconds, Watts, kilograms, kwh

RATE_STEPS = 20
"""A rate is taken over so many `step` events."""


KEPT = 1024
"""Stretches of constant power and intensity that are kept for a meter to correct."""


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A stretch of constant power and intensity, as modelled."""

    start: Seconds
    stop: Seconds
    watts: Watts
    g_per_kwh: GramsCO2PerKWh

    def joules(self, since: Seconds, until: Seconds) -> Joules:
        """What was drawn of it on [since, until)."""
        return self.watts * max(0.0, min(self.stop, until) - max(self.start, since))

    def kg(self, since: Seconds, until: Seconds) -> float:
        """What that emitted."""
        return kilograms(kwh(self.joules(since, until)) * self.g_per_kwh)


def _recent() -> deque[tuple[datetime, int]]:
    return deque(maxlen=RATE_STEPS)


@dataclass(kw_only=True)
class SiteView:
    """What is known of one site now. Owned by the LiveView that made it."""

    phase: str = "off"
    g_per_kwh: GramsCO2PerKWh | None = None
    """None while there is no fresh reading."""
    threshold_g_per_kwh: GramsCO2PerKWh | None = None
    outlook: tuple[tuple[Seconds, GramsCO2PerKWh], ...] = ()
    """(Run time from which, value); the last one only marks the end."""
    round: int = 0
    loss: float | None = None
    deaths: int = 0
    storeless_since: Seconds | None = None
    """Run time since which the site trains on without the coordination store; None while it answers."""
    joins: list[Mapping[str, Seconds]] = field(default_factory=list[Mapping[str, Seconds]])
    """Of each join, where its real time went, by cause; empty where that was not recorded."""
    kg: float = 0.0
    """Kilograms of CO2 so far, at the last known intensity where there is no fresh reading; by the power
    model until a meter has told better."""
    watts: dict[str, Watts] = field(default_factory=dict[str, Watts])
    """Modelled power by what it is drawn for, PUE included."""
    pue: float = 1.0
    _known: GramsCO2PerKWh = 0.0
    _since: Seconds = 0.0
    _steps: deque[tuple[datetime, int]] = field(default_factory=_recent)
    _stretches: deque["_Stretch"] = field(default_factory=lambda: deque[_Stretch](maxlen=KEPT))

    def advance(self, t: Seconds) -> None:
        """Add what was emitted up to run time `t` in the present phase; an earlier `t` adds nothing."""
        if t <= self._since:
            return
        watts = self.watts.get(drawn_as(self.phase), 0.0)
        stretch = _Stretch(start=self._since, stop=t, watts=watts, g_per_kwh=self._known)
        self.kg += stretch.kg(self._since, t)
        self._stretches.append(stretch)
        self._since = t

    def measured(self, since: Seconds, until: Seconds, joules: Joules) -> None:
        """Let what a meter drew on [since, until), without PUE, take the place of what was modelled.

        It is divided among the phases as the model's watts are; what was drawn while off is not the run's.
        """
        met = [stretch for stretch in self._stretches if stretch.stop > since and stretch.start < until]
        modelled = sum(stretch.joules(since, until) for stretch in met)
        if modelled > 0:
            emitted = sum(stretch.kg(since, until) for stretch in met)
            self.kg += emitted * (joules * self.pue / modelled - 1.0)

    def read(self, g_per_kwh: GramsCO2PerKWh | None) -> None:
        """Take a new intensity; None: there is no fresh reading."""
        self.g_per_kwh = g_per_kwh
        self._known = self._known if g_per_kwh is None else g_per_kwh

    def enter(self, phase: str) -> None:
        """Enter a phase. The rate starts anew when the site comes or goes."""
        if phase in ("off", "join", "parked"):
            self._steps.clear()
            self.storeless_since = None  # It trains on no more.
        self.phase = phase

    def step(self, wall: datetime, tokens: int) -> None:
        """Count inner steps that ended at `wall`."""
        self._steps.append((wall, tokens))

    def tokens_per_s(self) -> float | None:
        """Return tokens per second of real time over the last steps; None while too little is known."""
        if len(self._steps) < 2:
            return None
        elapsed = (self._steps[-1][0] - self._steps[0][0]).total_seconds()
        tokens = sum(count for _, count in list(self._steps)[1:])
        return tokens / elapsed if elapsed > 0 else None

    def next_window(self, t: Seconds) -> tuple[Seconds, Seconds | None] | None:
        """Return (start, stop) in run time of the window the outlook shows at or after `t`.

        `stop` is None where the outlook ends first; None in place of both where it shows no window.
        """
        if self.threshold_g_per_kwh is None:
            return None
        start: Seconds | None = None
        for (since, value), (until, _) in pairwise(self.outlook):
            if until <= t:
                continue
            if value < self.threshold_g_per_kwh:
                start = max(since, t) if start is None else start
            elif start is not None:
                return start, since
        return None if start is None else (start, None)
