"""What sites would do in given on-periods: join, train, exchange, until the work is done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from curtail_dist.energy.emissions import Interval
from curtail_dist.units import Seconds

Periods = Mapping[str, Sequence[tuple[Seconds, Seconds]]]
"""On-periods [start, stop) of each site, in order."""


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
    """What the sites did."""

    intervals: Mapping[str, Sequence[Interval]]
    work_s: Seconds
    """Site-seconds of training done."""
    finished_at: Seconds | None
    """Run time at which the work was done; None where the on-periods did not suffice."""


def play(periods: Periods, *, work_s: Seconds, rhythm: Rhythm) -> Played:
    """Play the on-periods until `work_s` site-seconds of training are done.

    A site trains from `rhythm.join_s` after its start until its stop. While two or more train they stop for
    an exchange after each `rhythm.train_s`; a site alone never does. A drain takes no time.
    """
    done: Seconds = 0.0
    finished: Seconds | None = None if work_s > 0 else 0.0
    trained: list[tuple[Interval, tuple[str, ...]]] = []
    for start, stop, phase, active in _shared(periods, rhythm):
        if finished is not None:
            break
        if phase == "train" and done + (stop - start) * len(active) >= work_s:
            stop = start + (work_s - done) / len(active)
            finished = stop
        done += (stop - start) * len(active) if phase == "train" else 0.0
        trained.append((Interval(start=start, stop=stop, phase=phase), active))
    intervals = {name: _joins(spans, rhythm.join_s, finished) for name, spans in periods.items()}
    for interval, active in trained:
        for name in active:
            intervals[name].append(interval)
    return Played(
        intervals={name: sorted(found, key=lambda i: i.start) for name, found in intervals.items()},
        work_s=work_s if finished is not None else done,
        finished_at=finished,
    )


def _joins(
    spans: Sequence[tuple[Seconds, Seconds]], join_s: Seconds, finished: Seconds | None
) -> list[Interval]:
    joins = [(start, min(start + join_s, stop)) for start, stop in spans]
    if finished is not None:
        joins = [(start, min(stop, finished)) for start, stop in joins]
    return [Interval(start=start, stop=stop, phase="join") for start, stop in joins if stop > start]


def _shared(periods: Periods, rhythm: Rhythm) -> Iterator[tuple[Seconds, Seconds, str, tuple[str, ...]]]:
    """Yield stretches in which the same sites train, or exchange, in order of time."""
    training = {
        name: [(start + rhythm.join_s, stop) for start, stop in spans if stop > start + rhythm.join_s]
        for name, spans in periods.items()
    }
    moments = sorted({moment for spans in training.values() for span in spans for moment in span})
    for start, stop in pairwise(moments):
        active = tuple(name for name, spans in training.items() if any(a <= start < b for a, b in spans))
        if len(active) >= 2 and rhythm.sync_s > 0 and rhythm.train_s > 0:
            yield from ((low, high, phase, active) for low, high, phase in _rounds(start, stop, rhythm))
        elif active:
            yield start, stop, "train", active


def _rounds(start: Seconds, stop: Seconds, rhythm: Rhythm) -> Iterator[tuple[Seconds, Seconds, str]]:
    begin, number = start, 0
    while begin < stop:
        middle, end = begin + rhythm.train_s, start + (number + 1) * (rhythm.train_s + rhythm.sync_s)
        yield begin, min(middle, stop), "train"
        if middle < stop:
            yield middle, min(end, stop), "sync"
        begin, number = end, number + 1
