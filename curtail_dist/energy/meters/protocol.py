"""What a meter promises: energy drawn so far, or an honest "unknown"."""

from typing import Protocol

from curtail_dist.units import Joules


class Meter(Protocol):
    """A counter of the energy that a site draws. Owned by one thread."""

    @property
    def source(self) -> str:
        """Where the numbers come from, for people and for the record."""
        ...

    @property
    def covers(self) -> str:
        """What draws the energy that it counts."""
        ...

    @property
    def stated(self) -> Joules:
        """Part of what `read` last returned that the run file states and nothing measured."""
        ...

    def read(self) -> Joules:
        """Return the energy drawn since the first reading, which returns 0.

        Raises MeterUnavailable where there is no answer, and also where there is one but the energy since the
        reading before cannot be known (a counter was reset, a gap was too long). After an error nothing can
        be said of the time from the last reading to the next; from there on differences hold again.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds; idempotent. It is not read afterwards."""
        ...
