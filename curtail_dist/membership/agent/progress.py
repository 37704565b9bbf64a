"""How a run gets on, told from its commit records as they come: what is left, and what a pair is worth."""

from collections import deque
from statistics import fmean, median

from curtail_dist.membership.records import Commit
from curtail_dist.units import Seconds

_ROUNDS = 9
"""Newest rounds of several sites over which their efficiency is taken."""


class RunProgress:
    """What one agent has seen of a run's commits. Keeps nothing over its own end."""

    def __init__(self) -> None:
        """Begin without having seen any."""
        self._last: tuple[Seconds, Commit] | None = None
        self._shares: deque[float] = deque(maxlen=_ROUNDS)

    def note(self, head: Commit | None, now: Seconds) -> None:
        """Take note of the newest commit at run time `now`; call it whenever it may have changed."""
        if head is None or (self._last is not None and self._last[1].hash == head.hash):
            return
        before, self._last = self._last, (now, head)
        if before is None:
            return
        since, earlier = before
        sites = {work.site for work in head.work}
        whole = head.version == earlier.version + 1 and sites == {work.site for work in earlier.work}
        if not whole or len(sites) < 2 or now <= since or not sites <= set(head.speeds):
            return
        trained = fmean(work.steps / head.speeds[work.site] for work in head.work)
        self._shares.append(min(1.0, trained / (now - since)))

    @property
    def efficiency(self) -> float | None:
        """Share of the time that sites trained while several were up: the median of the newest rounds."""
        return median(self._shares) if self._shares else None

    def left_s(self) -> Seconds | None:
        """Return the site-seconds of training that are left, None before the run has measured any."""
        head = None if self._last is None else self._last[1]
        if head is None or not head.speeds or not head.steps:
            return None
        rows = head.ledger.rows_done
        if not rows:
            return None
        steps = (head.total_rows - rows) * head.steps / rows
        return steps / fmean(head.speeds.values())
