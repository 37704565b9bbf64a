"""What the events so far say of one site: its phase, intensity, rate, emissions and next window."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice, pairwise

from curtail_dist.energy.emissions import drawn_as
from curtail_dist.telemetry.events import MEMBER_PHASES
from curtail_dist.units import GramsCO2PerKWh, Joules, Seconds, Watts, kilograms, kwh

RATE_STEPS = 20
"""A rate is taken over so many `step` events, as is a run's loss; the share of stall over so many commits."""

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


def _recent() -> deque[tuple[datetime, float]]:
    return deque(maxlen=RATE_STEPS)


def _rate(told: Sequence[tuple[datetime, float]]) -> float | None:
    """Return what was told per second of real time since the first moment; None while there is one alone."""
    if len(told) < 2:
        return None
    elapsed_s = (told[-1][0] - told[0][0]).total_seconds()
    return sum(amount for _, amount in islice(told, 1, None)) / elapsed_s if elapsed_s > 0 else None


@dataclass(kw_only=True)
class SiteView:
    """What is known of one site now. Owned by the LiveView that made it."""

    phase: str = "off"
    g_per_kwh: GramsCO2PerKWh | None = None
    """None while there is no fresh reading."""
    threshold_g_per_kwh: GramsCO2PerKWh | None = None
    outlook: tuple[tuple[Seconds, GramsCO2PerKWh], ...] = ()
    """(Run time from which, value); the last one only marks the end."""
    epoch: int = 0
    """The newest that it has seen, by its own events."""
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
    phase_s: dict[str, Seconds] = field(default_factory=dict[str, Seconds])
    """Run time spent in each phase so far."""
    lost: str = ""
    """Why there is no fresh reading; empty: there is one, or none has been looked for yet."""
    from_forecast: bool = False
    """Whether the reading is what a forecast said, while the source does not answer."""
    troubles: dict[str, str] = field(default_factory=dict[str, str])
    """What its agent goes on without: part -> reason."""
    _known: GramsCO2PerKWh = 0.0
    _since: Seconds = 0.0
    _steps: deque[tuple[datetime, float]] = field(default_factory=_recent)
    _commits: deque[tuple[datetime, Seconds]] = field(default_factory=_recent)
    _stretches: deque["_Stretch"] = field(default_factory=lambda: deque[_Stretch](maxlen=KEPT))

    @property
    def diverged(self) -> bool:
        """Whether its newest loss is no finite number."""
        return self.loss is not None and not math.isfinite(self.loss)

    def advance(self, t: Seconds) -> None:
        """Add what was emitted up to run time `t` in the present phase; an earlier `t` adds nothing."""
        if t <= self._since:
            return
        watts = self.watts.get(drawn_as(self.phase), 0.0)
        stretch = _Stretch(start=self._since, stop=t, watts=watts, g_per_kwh=self._known)
        self.kg += stretch.kg(self._since, t)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and (last.watts, last.g_per_kwh) == (watts, self._known):
            # One stretch, however many events lie in it: else a meter's span would outlast those kept.
            self._stretches[-1] = replace(last, stop=t)
        else:
            self._stretches.append(stretch)
        self.phase_s[self.phase] = self.phase_s.get(self.phase, 0.0) + t - self._since
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
            self._commits.clear()
            self.storeless_since = None  # It trains on no more.
        self.phase = phase

    def see(self, epoch: int) -> None:
        """Take note that it has written an event in this epoch."""
        self.epoch = max(self.epoch, epoch)

    def missed(self, t: Seconds, epoch: int) -> bool:
        """Take note that others formed an epoch without it; return whether it is off since.

        A member that has seen nothing of that is a host that lost its power, or its link, and says no more.
        """
        if self.phase not in MEMBER_PHASES or self.epoch >= epoch:
            return False
        self.advance(t)
        self.enter("off")
        return True

    def step(self, wall: datetime, tokens: int) -> None:
        """Count inner steps that ended at `wall`."""
        self._steps.append((wall, tokens))

    def tokens_per_s(self) -> float | None:
        """Return tokens per second of real time over the last steps; None while too little is known."""
        return _rate(self._steps)

    def commit(self, wall: datetime, stall_s: Seconds) -> None:
        """Count a version that it swapped to at `wall`, after a stall."""
        self._commits.append((wall, stall_s))

    def stall_share(self) -> float | None:
        """Return the stall's share of real time over the last versions; None while too little is known."""
        share = _rate(self._commits)
        return None if share is None else min(1.0, share)

    def up_s(self) -> Seconds:
        """Return the run time that it was there for training, exchanging and waiting."""
        return sum(s for phase, s in self.phase_s.items() if phase not in ("off", "join", "parked"))

    def idle_share(self) -> float | None:
        """Return the share of waiting and being parked in the time with ranks in memory; None without one."""
        there = sum(seconds for phase, seconds in self.phase_s.items() if phase != "off")
        idle = self.phase_s.get("idle", 0.0) + self.phase_s.get("parked", 0.0)
        return idle / there if there > 0 else None

    def next_window(self, t: Seconds) -> tuple[Seconds, Seconds | None] | None:
        """Return (start, stop) in run time of the window the outlook shows at or after `t`.

        `stop` is None where the outlook ends first; None in place of both where it shows no window.
        """
        return next(self.windows(t), None)

    def windows(self, t: Seconds) -> Iterator[tuple[Seconds, Seconds | None]]:
        """Yield (start, stop) of each window that the outlook shows at or after `t`; see `next_window`."""
        if self.threshold_g_per_kwh is None:
            return
        start: Seconds | None = None
        for (since, value), (until, _) in pairwise(self.outlook):
            if until <= t:
                continue
            if value < self.threshold_g_per_kwh:
                start = max(since, t) if start is None else start
            elif start is not None:
                yield start, since
                start = None
        if start is not None:
            yield start, None
