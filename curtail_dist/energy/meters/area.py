"""Turns powers that are looked at now and then into energy, by the trapezoid rule."""

import math
from collections.abc import Mapping

from curtail_dist.energy.meters.lookback import Lookback
from curtail_dist.units import Joules, Seconds, Watts


class Area:
    """Adds up the area below a set of powers. Pure: values and times come in."""

    def __init__(self, *, what: str, max_gap_s: Seconds) -> None:
        """Begin with nothing seen; over a gap longer than `max_gap_s` the power is unknown, not a line."""
        self._back = Lookback(what=what, max_gap_s=max_gap_s)
        self._total: Joules = 0.0

    def advance(self, values: Mapping[str, Watts], now: Seconds) -> Joules:
        """Return the energy since the first call, given the powers at `now`.

        Raises MeterUnavailable where the energy since the call before is unknown; it is left out of all later
        totals, and the next call goes on from these values.
        """
        before, passed = self._back.look(values, now)
        if before:
            self._total += passed * math.fsum((*before.values(), *values.values())) / 2
        return self._total
