"""Turns raw counters, which wrap, are reset, come and go, into energy drawn since the first look."""

import math
from collections.abc import Mapping

from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Joules, Seconds


def refuse_unusable(values: Mapping[str, float], what: str) -> None:
    """Raise MeterUnavailable where there is no value, or one that is no energy or power drawn."""
    if not values:
        raise MeterUnavailable(f"there are none of {what}; see whether their source runs")
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise MeterUnavailable(f"{what}: {name} says {value}; it must be finite and at least 0")


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
        self._total: Joules = 0.0
        self._last: dict[str, Joules] = {}
        self._seen_at: Seconds = math.nan
        self._moved_at: Seconds = math.nan

    def advance(self, values: Mapping[str, Joules], now: Seconds) -> Joules:
        """Return the growth since the first call, given what the counters say at `now`.

        Raises MeterUnavailable where the growth since the call before is unknown; it is left out of all later
        totals, and the next call goes on from these values.
        """
        refuse_unusable(values, self._what)
        before, seen_at = self._last, self._seen_at
        self._last, self._seen_at = dict(values), now
        if before != self._last:
            self._moved_at = now
        if not before:
            return self._total
        if now - seen_at > self._max_gap_s:
            raise MeterUnavailable(
                f"{self._what} were not read for {now - seen_at:g} s; it must be at most {self._max_gap_s:g} "
                "s to know what was drawn: read them more often"
            )
        if before.keys() != values.keys():
            raise MeterUnavailable(
                f"{self._what} are now {', '.join(sorted(values))}; before they were "
                f"{', '.join(sorted(before))}: what was drawn since is unknown"
            )
        self._total += math.fsum(self._growth(name, before[name], value) for name, value in values.items())
        if now - self._moved_at > self._max_gap_s:
            raise MeterUnavailable(
                f"{self._what} have stood still for {now - self._moved_at:g} s; see whether their source "
                "still runs"
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
