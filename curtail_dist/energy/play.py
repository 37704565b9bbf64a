"""What sites do in given on-periods: join, train, exchange, until the work is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curtail_dist.energy.course import Course, Rhythm
from curtail_dist.energy.emissions import Interval
from curtail_dist.units import Seconds

Periods = Mapping[str, Sequence[tuple[Seconds, Seconds]]]
"""On-periods [start, stop) of each site, in order."""


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

    A site trains from `rhythm.join_s` after its start until its stop; a drain takes no time.
    """
    spans = [(name, start, stop) for name, found in periods.items() for start, stop in found]
    edges = {at for _, start, stop in spans for at in (start, min(start + rhythm.join_s, stop), stop)}
    course = Course(periods, work_s=work_s, rhythm=rhythm)
    for edge in sorted(edges):
        middle = (course.now + edge) / 2
        course.advance(
            edge,
            {
                name: "train" if middle >= start + rhythm.join_s else "join"
                for name, start, stop in spans
                if start <= middle < stop
            },
        )
    return Played(intervals=course.intervals, work_s=course.done_s, finished_at=course.finished_at)
