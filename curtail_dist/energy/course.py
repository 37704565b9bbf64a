"""A run's course in virtual time: who joins, trains and exchanges, and when the work is done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from curtail_dist.energy.emissions import Interval
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How long sites train and exchange in a round that they share, and how long a start takes."""

    train_s: Seconds
    sync_s: Seconds
    join_s: Seconds

    @property
    def efficiency(self) -> float:
        """Share of a shared round in which a site trains."""
        return self.train_s / (self.train_s + self.sync_s) if self.train_s > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class Played:
    """What sites did."""

    intervals: Mapping[str, Sequence[Interval]]
    work_s: Seconds
    """Site-seconds of training done."""
    finished_at: Seconds | None
    """Run time at which the work was done; None where there was not time enough."""


class Course:
    """What sites have done so far, advanced stretch by stretch by the phases they are in.

    While two or more train they stop for an exchange after each `rhythm.train_s`; a site alone never does. A
    change of who trains begins a round anew.
    """

    def __init__(self, sites: Iterable[str], *, work_s: Seconds, rhythm: Rhythm) -> None:
        """Begin at run time 0 with every site off and `work_s` site-seconds of training to do."""
        self._rhythm = rhythm
        self._work_s = work_s
        self._active: tuple[str, ...] = ()
        self._in_round: Seconds = 0.0
        self._intervals: dict[str, list[Interval]] = {name: [] for name in sites}
        self.now: Seconds = 0.0
        """Run time reached."""
        self.done_s: Seconds = 0.0
        """Site-seconds of training at full speed."""
        self.finished_at: Seconds | None = None if work_s > 0 else 0.0
        """Run time at which the work was done."""

    @property
    def left_s(self) -> Seconds:
        """Site-seconds of training that are left."""
        return max(0.0, self._work_s - self.done_s)

    @property
    def played(self) -> Played:
        """What has been done so far, intervals in order; gaps are off."""
        return Played(intervals=self._intervals, work_s=self.done_s, finished_at=self.finished_at)

    def advance(
        self, to: Seconds, phases: Mapping[str, str], *, speeds: Mapping[str, float] | None = None
    ) -> None:
        """Let sites be in these phases until run time `to`, or until the work is done.

        Args:
            to: Run time.
            phases: `join`, `idle`, `train` or `capped` by site; who is not named is off.
            speeds: Speed of those that are `capped`, as a share of full speed.
        """
        active = tuple(name for name, phase in phases.items() if phase in ("train", "capped"))
        if active != self._active:
            self._active, self._in_round = active, 0.0
        rate = sum((speeds or {}).get(name, 1.0) if phases[name] == "capped" else 1.0 for name in active)
        while self.now < to and self.finished_at is None:
            trains, stop = self._stretch(to)
            if trains and self.done_s + rate * (stop - self.now) >= self._work_s:
                stop = self.finished_at = self.now + self.left_s / rate
            self.done_s += rate * (stop - self.now) if trains else 0.0
            for name, phase in phases.items():
                self._note(name, stop, phase if trains or name not in active else "sync")
            self._in_round += stop - self.now
            self.now = stop
        self.done_s = self._work_s if self.finished_at is not None else self.done_s

    def _stretch(self, to: Seconds) -> tuple[bool, Seconds]:
        """Return whether those who are active train now, and until when at most."""
        rhythm = self._rhythm
        if len(self._active) < 2 or rhythm.sync_s <= 0 or rhythm.train_s <= 0:
            return True, to
        if self._in_round >= rhythm.train_s + rhythm.sync_s - 1e-9:
            self._in_round = 0.0
        trains = self._in_round < rhythm.train_s - 1e-9
        left = rhythm.train_s - self._in_round if trains else rhythm.train_s + rhythm.sync_s - self._in_round
        return trains, min(to, self.now + left)

    def _note(self, name: str, stop: Seconds, phase: str) -> None:
        done = self._intervals[name]
        if phase == "off" or stop <= self.now:
            return
        if done and done[-1].phase == phase and done[-1].stop == self.now:
            done[-1] = replace(done[-1], stop=stop)
        else:
            done.append(Interval(start=self.now, stop=stop, phase=phase))
