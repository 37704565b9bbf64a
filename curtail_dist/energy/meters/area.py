"""Turns powers that are looked at now and then into energy, by the trapezoid rule."""

import math
from collections.abc import Mapping

from curtail_dist.energy.meters.rising import refuse_unusable
from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Joules, Seconds, Watts


class Area:
    """Adds up the area below a set of powers. Pure: values and times come in."""

    def __init__(self, *, what: str, max_gap_s: Seconds) -> None:
        """Begin with nothing seen; over a gap longer than `max_gap_s` the power is unknown, not a line."""
        self._what = what
        self._max_gap_s = max_gap_s
        self._total: Joules = 0.0
        self._last: dict[str, Watts] = {}
        self._seen_at: Seconds = math.nan

    def advance(self, values: Mapping[str, Watts], now: Seconds) -> Joules:
        """Return the energy since the first call, given the powers at `now`.

        Raises MeterUnavailable where the energy since the call before is unknown; it is left out of all later
        totals, and the next call goes on from these values.
        """
        refuse_unusable(values, self._what)
        before, then = self._last, self._seen_at
        self._last, self._seen_at = dict(values), now
        if not before:
            return self._total
        if now - then > self._max_gap_s:
            raise MeterUnavailable(
                f"{self._what} were not read for {now - then:g} s; it must be at most {self._max_gap_s:g} s "
                "to know what was drawn: read them more often"
            )
        if before.keys() != values.keys():
            raise MeterUnavailable(
                f"{self._what} are now {', '.join(sorted(values))}; before they were "
                f"{', '.join(sorted(before))}: what was drawn since is unknown"
            )
        self._total += (now - then) * math.fsum((*before.values(), *values.values())) / 2
        return self._total
