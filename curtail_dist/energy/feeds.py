"""The signals of a simulated run as agents see them: a lost one is believed for a while."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.signals import OutsideTrace, Reading, reading_at
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Feeds:
    """What each site's signal says."""

    grids: Mapping[str, Grid]
    outage: tuple[Seconds, Seconds] | None
    """No signal answers on [start, stop)."""
    max_age_s: Seconds
    """For how long the last reading is believed."""
    foreseen_s: Seconds
    """For how long a forecast from before the loss may keep a site on."""

    def read(self, name: str, now: Seconds) -> Reading | None:
        """Return what a site may go by at run time `now`; None where it knows nothing."""
        series = self.grids[name].intensity
        if self.outage is None or not self.outage[0] <= now < self.outage[1]:
            return _reading(series, now)
        lost = math.nextafter(self.outage[0], -math.inf)
        if now - lost <= self.max_age_s:
            return _reading(series, lost)
        foreseen = _reading(series, now) if now - lost <= self.foreseen_s and lost >= 0 else None
        return foreseen and replace(foreseen, from_forecast=True)


def _reading(series: StepFunction, now: Seconds) -> Reading | None:
    try:
        return reading_at(series, now, source="the trace")
    except OutsideTrace:
        return None
