"""The least that a run's work could have emitted, by the hour at which it is done."""

from curtail_dist.energy.oracle import Optimum, optimum
from curtail_dist.energy.pareto import Point
from curtail_dist.report.accounts import Accounts
from curtail_dist.report.history import History
from curtail_dist.units import Seconds, hours

_SPARE = 1.2
"""The first deadline, as a multiple of what the work takes at least with all sites on."""


def frontier(history: History, accounts: Accounts) -> list[Point]:
    """Return optimum schedules for deadlines up to the run's, by rising deadline; empty where none fits.

    One of the deadlines is the hour at which the run itself was done: what could have been in the same time.
    """
    if accounts.optimum is None or accounts.work_s <= 0:
        return []
    grids = {name: site.grid for name, site in history.sites.items()}
    found = [_point(accounts.optimum, accounts.deadline_s)]
    for deadline_s in reversed(_deadlines(history, accounts)):
        best = optimum(
            grids,
            work_s=accounts.work_s,
            deadline_s=deadline_s,
            join_s=accounts.join_s,
            pair_efficiency=accounts.pair_efficiency,
        )
        if best is None:
            break  # nor does the work fit before an earlier one
        found.append(_point(best, deadline_s))
    return found[::-1]


def _deadlines(history: History, accounts: Accounts) -> list[Seconds]:
    """Return those before the run's own, rising."""
    shared = accounts.pair_efficiency if len(history.sites) > 1 else 1.0
    least = accounts.work_s / (len(history.sites) * shared) + accounts.join_s
    first, last = _SPARE * least, accounts.deadline_s
    done = history.stop if history.finished and first < history.stop < last else (first + last) / 2
    steps = (first, (first + done) / 2, done, (done + last) / 2)
    return [deadline_s for deadline_s in steps if least < deadline_s < last]


def _point(best: Optimum, deadline_s: Seconds) -> Point:
    """A schedule may be done before its deadline."""
    done = max(stop for periods in best.schedule.values() for _, stop in periods)
    return Point(finished_h=hours(done), emissions_kg=best.schedule_kg, setting=hours(deadline_s))
