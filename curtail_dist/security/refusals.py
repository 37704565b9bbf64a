"""Tells of connections that were refused without letting strangers fill the log."""

import logging
import threading
import time

from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
EVERY_S: Seconds = 60.0
"""Between two lines."""


class Refusals:
    """Says the first at once, and then at most once a minute how many there were. Thread-safe."""

    def __init__(self, what: str) -> None:
        """Begin; `what` names who refuses."""
        self._what = what
        self._lock = threading.Lock()
        self._untold = 0
        self._next = 0.0
        self.count = 0
        """How many there were."""

    def note(self, source: str, reason: object) -> None:
        """Count one from `source`; `reason` is this side's words, not the stranger's."""
        with self._lock:
            self.count += 1
            self._untold += 1
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + EVERY_S
            untold, self._untold = self._untold - 1, 0
        more = f"; {untold} others since the last such line" if untold else ""
        _LOG.warning("%s: a connection from %s was refused: %s%s", self._what, source, reason, more)

    def close(self) -> None:
        """Say how many were not told yet."""
        with self._lock:
            untold, self._untold = self._untold, 0
        if untold:
            _LOG.warning("%s: %d more connections were refused", self._what, untold)
