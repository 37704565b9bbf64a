"""What a set of counters or powers said at the look before, as far as it can be compared with this one."""

import math
from collections.abc import Mapping

from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Seconds


class Lookback:
    """Keeps the newest values of a set of series. Pure: values and times come in."""

    def __init__(self, *, what: str, max_gap_s: Seconds) -> None:
        """Begin with nothing seen.

        Args:
            what: Names the series in errors.
            max_gap_s: After a longer gap what was between two looks is unknown.
        """
        self._what = what
        self._max_gap_s = max_gap_s
        self._values: dict[str, float] = {}
        self._seen_at: Seconds = math.nan
        self.changed_at: Seconds = math.nan
        """When a value was last another than before."""

    def look(self, values: Mapping[str, float], now: Seconds) -> tuple[Mapping[str, float], Seconds]:
        """Take in what the series say at `now`; return what they said before, and how long ago.

        At the first look nothing was said before. Raises MeterUnavailable where there is no value, where one
        is no energy or power drawn, and where the two looks cannot be compared; then the next one is compared
        with this one, as long as this one's values are usable.
        """
        self._refuse_unusable(values)
        before, passed = self._values, now - self._seen_at
        self._values, self._seen_at = dict(values), now
        if before != self._values:
            self.changed_at = now
        if before and passed > self._max_gap_s:
            raise MeterUnavailable(
                f"{self._what} were not read for {passed:g} s; it must be at most {self._max_gap_s:g} s to "
                "know what was drawn: read them more often"
            )
        if before and before.keys() != values.keys():
            raise MeterUnavailable(
                f"{self._what} are now {', '.join(sorted(values))}; before they were "
                f"{', '.join(sorted(before))}: what was drawn since is unknown"
            )
        return before, passed

    def _refuse_unusable(self, values: Mapping[str, float]) -> None:
        if not values:
            raise MeterUnavailable(f"there are none of {self._what}; see whether their source runs")
        for name, value in values.items():
            if not (math.isfinite(value) and value >= 0):
                raise MeterUnavailable(f"{self._what}: {name} says {value}; it must be finite and at least 0")
