"""Turns raw counters, which wrap, are reset, come and go, into energy drawn since the first look."""

import math
from collections.abc import Mapping

from curtail_dist.energy.meters.lookback import Lookback
from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Joules, Seconds


class Rising:
    """Adds up what a set of counters of energy grew by. Pure: values and times come in.

    Each counter is watched for itself: in the sum of several, one that vanishes looks like a reset, and one
    that comes back like all the energy of its life.
    """

    def __init__(
        self, *, what: str, max_gap_s: Seconds = math.inf, ranges: Mapping[str, Joules] | None = None
    ) -> None:
        """Begin with nothing seen.

        Args:
            what: Names the counters in errors.
            max_gap_s: After a longer gap the growth is unknown; so it is while all stand still for longer.
            ranges: From where a counter starts again at 0, for those that wrap; the others were reset when
                they fell.
        """
        self._what = what
        self._max_gap_s = max_gap_s
        self._ranges = dict(ranges or {})
        self._back = Lookback(what=what, max_gap_s=max_gap_s)
        self._total: Joules = 0.0

    def advance(self, values: Mapping[str, Joules], now: Seconds) -> Joules:
        """Return the growth since the first call, given what the counters say at `now`.

        Raises MeterUnavailable where the growth since the call before is unknown; it is left out of all later
        totals, and the next call goes on from these values.
        """
        before, _ = self._back.look(values, now)
        if not before:
            return self._total
        self._total += math.fsum(self._growth(name, before[name], value) for name, value in values.items())
        if now - self._back.changed_at > self._max_gap_s:
            raise MeterUnavailable(
                f"{self._what} have stood still for {now - self._back.changed_at:g} s; see whether their "
                "source still runs"
            )
        return self._total

    def _growth(self, name: str, before: Joules, value: Joules) -> Joules:
        if value >= before:
            return value - before
        if name in self._ranges:
            return value - before + self._ranges[name]
        raise MeterUnavailable(
            f"{self._what}: {name} fell from {before:g} to {value:g} J, so it was reset: what was drawn "
            "since the reading before is unknown"
        )
