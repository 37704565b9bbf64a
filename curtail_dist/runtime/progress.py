"""Whether the main loop of a process goes on: what its lease depends on."""

import time
from collections.abc import Callable

from curtail_dist.units import Seconds


class Progress:
    """The last progress point of the main loop, and how long it may take to the next."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at a progress point, with no bound yet."""
        self._monotonic = monotonic
        self._until = float("inf")

    def passed(self, allowed: Seconds) -> None:
        """The main loop is at a progress point and passes the next within `allowed` seconds of real time."""
        self._until = self._monotonic() + allowed

    @property
    def made(self) -> bool:
        """Whether the next progress point is not overdue."""
        return self._monotonic() <= self._until
