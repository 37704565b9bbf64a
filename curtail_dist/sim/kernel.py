"""Virtual time: events in order of time, and the one source of chance."""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from curtail_dist.units import Seconds


class Kernel:
    """Runs events one after the other. Equal seeds give equal runs: events of equal time keep their order."""

    def __init__(self, seed: int) -> None:
        """Begin at time 0."""
        self.now: Seconds = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[Seconds, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._sequence = 0

    def after(self, delay: Seconds, action: Callable[..., Any], *given: Any) -> None:
        """Call `action(*given)` after `delay` of virtual time."""
        self._sequence += 1
        heappush(self._events, (self.now + delay, self._sequence, action, given))

    def between(self, least: Seconds, most: Seconds) -> Seconds:
        """Draw a duration."""
        return least + (most - least) * self.random.random()

    def chance(self, share: float) -> bool:
        """Draw whether something of this probability happens."""
        return share > 0 and self.random.random() < share

    def run(self, until: Seconds, over: Callable[[], bool]) -> None:
        """Let events happen until `over()`, until there is none, or until a time."""
        events = self._events
        while events and events[0][0] <= until and not over():
            self.now, _, action, given = heappop(events)
            action(*given)
