"""Where the time of a join goes: a stopwatch that gives each stretch of it to a cause.

The agent hands the moment of its decision to the ranks that it starts, as unix seconds in `DECIDED_AT`. Only
their difference to this host's own clock is taken, so agent and ranks must share a host, or a time service.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from curtail_dist.units import Seconds

CAUSES = ("provision", "import", "load", "compile", "pull", "data", "boundary")
"""In the order in which they usually come. `boundary` is the wait for the others' round to end."""

DECIDED_AT = "CURTAIL_DECIDED_AT"
"""Variable with the moment at which the agent decided to start, unix seconds."""
_RESTARTS = "TORCHELASTIC_RESTART_COUNT"


class JoinTimes:
    """Real seconds of one join, by cause. Owned by the rank that joins; one for each join."""

    def __init__(self, *, now: Callable[[], Seconds] = time.monotonic, begun: Seconds | None = None) -> None:
        """Begin at `begun` (default: now) on the monotonic clock `now`, with no cause known yet."""
        self._now = now
        self._last = now() if begun is None else begun
        self._seconds: dict[str, Seconds] = {}

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        unix_now: float,
        age_s: Seconds | None,
        now: Callable[[], Seconds] = time.monotonic,
    ) -> Self:
        """Begin at the process's own start; `provision` is known where this is the start decided on.

        Args:
            environment: This process's. A rank that its launcher restarted has nothing to do with the
                decision, nor has one that was started by hand.
            unix_now: The present moment, unix seconds.
            age_s: For how long this process has run (`process_age`); None: it begins now.
            now: The monotonic clock to go on with.
        """
        age_s = age_s or 0.0
        times = cls(now=now, begun=now() - age_s)
        decided = _number(environment.get(DECIDED_AT, ""))
        if decided is not None and environment.get(_RESTARTS, "0") == "0":
            times._seconds["provision"] = max(0.0, unix_now - age_s - decided)
        return times

    def mark(self, cause: str) -> None:
        """Give the time since the last mark to `cause`, in addition to what it has."""
        if cause not in CAUSES:
            raise ValueError(f"cause is {cause!r}; it must be one of {', '.join(CAUSES)}")
        now = self._now()
        self._seconds[cause] = self._seconds.get(cause, 0.0) + max(0.0, now - self._last)
        self._last = now

    @property
    def seconds(self) -> dict[str, Seconds]:
        """Seconds by cause, those marked so far, in the order of CAUSES: what `Joined.causes` holds."""
        return {cause: self._seconds[cause] for cause in CAUSES if cause in self._seconds}


def process_age(proc: Path = Path("/proc")) -> Seconds | None:
    """Return for how long this process has run, None where Linux's /proc does not say it."""
    try:
        # The name, second of the fields, may hold spaces and parentheses: count from behind it.
        fields = (proc / "self" / "stat").read_text().rpartition(")")[2].split()
        up = float((proc / "uptime").read_text().split()[0])
        age = up - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return age if 0 <= age <= up else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
