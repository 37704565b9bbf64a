"""Reads a watch until enough has come."""

import time

from curtail_dist.coordination import Change, Watch

DEADLINE_S = 15.0
"""Real time after which a test no longer waits for a change."""


def collect(watch: Watch, count: int) -> list[Change]:
    """Read a watch until it has given `count` changes."""
    deadline = time.monotonic() + DEADLINE_S
    changes: list[Change] = []
    while len(changes) < count:
        left = deadline - time.monotonic()
        assert left > 0, f"only {changes} after {DEADLINE_S} s"
        changes.extend(watch.next(left))
    return changes
