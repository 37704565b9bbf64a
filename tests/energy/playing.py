"""Days played by given on-periods, and on-periods found by a policy."""

import math

from curtail_dist.energy.course import Course, Rhythm
from curtail_dist.energy.emissions import Grid, PowerModel
from curtail_dist.energy.feeds import Feeds
from curtail_dist.energy.rehearsal import Manner, Rehearsal

NO_POWER = PowerModel(train_w=0.0, idle_w=0.0, join_w=0.0, sync_w=0.0)


def play(periods, *, work_s, rhythm):
    """Play on-periods [start, stop) by site: a site trains from `rhythm.join_s` after its start on."""
    spans = [(name, start, stop) for name, found in periods.items() for start, stop in found]
    edges = {at for _, start, stop in spans for at in (start, min(start + rhythm.join_s, stop), stop)}
    course = Course(periods, work_s=work_s, rhythm=rhythm)
    for edge in sorted(edges):
        middle = (course.now + edge) / 2
        phases = {
            name: "train" if middle >= start + rhythm.join_s else "join"
            for name, start, stop in spans
            if start <= middle < stop
        }
        course.advance(edge, phases)
    return course.played


def windows(policy, intensity, until, poll_s):
    """Return the on-periods of a site that asks `policy` every `poll_s` from run time 0 to `until`."""
    grids = {"site": Grid(intensity=intensity, power=NO_POWER)}
    rehearsed = Rehearsal(
        {"site": policy},
        read=Feeds(grids=grids, outage=None, max_age_s=0.0, foreseen_s=0.0).read,
        manner=Manner(poll_s=poll_s, rhythm=Rhythm(train_s=0.0, sync_s=0.0, join_s=0.0)),
        work_s=math.inf,
    ).play(until)
    return rehearsed.windows["site"]
