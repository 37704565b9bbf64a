"""How a run gets on, told from its commit records as they come: what is left, and what a pair is worth."""

from collections import deque
from statistics import fmean

from curtail_dist.membership.records import Commit
from curtail_dist.units import Seconds

_POLLS = 10
"""Polls over which an efficiency is taken at least: a commit is seen up to a poll late."""


class RunProgress:
    """What one agent has seen of a run's commits. Keeps nothing over its own end."""

    def __init__(self, *, poll_s: Seconds) -> None:
        """Begin without having seen any; commits will be seen every `poll_s`."""
        self._span_s = _POLLS * poll_s
        self._seen: deque[tuple[Seconds, Commit]] = deque()
        """(run time at which it was seen, commit), of one epoch and of the same sites."""
        self.efficiency: float | None = None
        """Share of the time that sites trained while several were up, as last measured."""

    def note(self, head: Commit | None, now: Seconds) -> None:
        """Take note of the newest commit at run time `now`; call it whenever it may have changed."""
        if head is None or (self._seen and self._seen[-1][1].hash == head.hash):
            return
        if self._seen and _together(self._seen[-1][1]) != _together(head):
            self._seen.clear()
        self._seen.append((now, head))
        while len(self._seen) > 2 and now - self._seen[1][0] >= self._span_s:
            self._seen.popleft()
        self._measure()

    def left_s(self) -> Seconds | None:
        """Return the site-seconds of training that are left, None before the run has measured any."""
        head = self._seen[-1][1] if self._seen else None
        if head is None or not head.speeds or not head.steps:
            return None
        rows = head.ledger.rows_done
        if not rows:
            return None
        steps = (head.total_rows - rows) * head.steps / rows
        return steps / fmean(head.speeds.values())

    def _measure(self) -> None:
        """Compare the steps done with those that the sites would have done without a stall."""
        (since, first), (until, last) = self._seen[0], self._seen[-1]
        sites = {work.site for work in last.work}
        if len(sites) < 2 or until - since < self._span_s or not sites <= set(last.speeds):
            return
        without_stalls = sum(last.speeds[site] for site in sites) * (until - since)
        self.efficiency = min(1.0, max(0.0, last.steps - first.steps) / without_stalls) or None


def _together(commit: Commit) -> tuple[int, frozenset[str]]:
    """Return the epoch and who contributed: as long as they stay, so does what sites are worth together."""
    return commit.epoch, frozenset(work.site for work in commit.work)
