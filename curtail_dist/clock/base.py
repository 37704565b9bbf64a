"""What a run clock promises, and the real one."""

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Protocol

from curtail_dist.units import Seconds


class Timepiece(Protocol):
    """Something that tells run time."""

    def now(self) -> Seconds:
        """Return the run time in seconds since the run's start."""
        ...


class Clock(Timepiece, Protocol):
    """Run time in seconds since the run's start.

    On a virtual clock time stands still while a participant works and moves to the least claim once every
    participant has claimed a duration or waits for another (DESIGN: "time advances by claims").
    """

    def now(self) -> Seconds:
        """Return the run time in seconds since the run's start."""
        ...

    def sleep(self, duration: Seconds) -> None:
        """Let `duration` seconds of run time pass, on any clock. Used between polls."""
        ...

    def spend(self, duration: Seconds) -> None:
        """Say that the work just done counts as `duration` seconds.

        On the real clock this returns at once, since the work took its own time; on a virtual clock it
        blocks until that much run time has passed.
        """
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """While the context is open this participant waits for a peer; run time may move without it."""
        ...

    def reserve(self, participant: str, duration: Seconds) -> None:
        """Say that `participant`, which is about to start, will be busy for `duration` seconds of run time.

        A virtual clock does not pass that moment until the participant has come (`arrive`) or is released.
        """
        ...

    def release(self, participant: str) -> None:
        """Take a reservation back: the participant will not come."""
        ...

    def arrive(self) -> None:
        """Block until the time reserved for this participant has passed; at once where none was reserved."""
        ...

    def close(self) -> None:
        """Leave the clock; idempotent."""
        ...


class SystemClock:
    """Real time, counted from the run's start."""

    def __init__(self, start: datetime | None = None) -> None:
        """Count from `start` (aware, default: now)."""
        self._start = (start or datetime.now(UTC)).timestamp()

    def now(self) -> Seconds:
        """Return the seconds of real time since the start."""
        return time.time() - self._start

    def sleep(self, duration: Seconds) -> None:
        """Sleep for real."""
        time.sleep(duration)

    def spend(self, duration: Seconds) -> None:
        """Return at once: real work has taken its own time."""

    def waiting(self) -> AbstractContextManager[None]:
        """Do nothing: real time does not wait for anyone."""
        return nullcontext()

    def reserve(self, participant: str, duration: Seconds) -> None:
        """Do nothing: a start takes the time it takes."""

    def release(self, participant: str) -> None:
        """Do nothing."""

    def arrive(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Nothing to leave."""
