"""The signals of a simulated run as agents see them: a lost one is believed for a while."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.responsive import Lived
from curtail_dist.energy.signals import OutsideTrace, Reading, reading_at
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Feeds:
    """What each site's signal says, as run time goes on."""

    grids: Mapping[str, Grid]
    outage: tuple[Seconds, Seconds] | None
    """No signal answers on [start, stop)."""
    max_age_s: Seconds
    """For how long the last reading is believed."""
    foreseen_s: Seconds
    """For how long a forecast from before the loss may keep a site on."""
    lived: Mapping[str, Lived] = field(default_factory=dict[str, Lived])
    """Signals that depend on what their sites draw; of the others the grid's intensity is what is read."""
    _last: dict[str, Reading | None] = field(default_factory=dict[str, Reading | None], init=False)
    """What those said before the outage."""

    def enter(self, name: str, phase: str, now: Seconds) -> None:
        """Say that a site is in this phase from run time `now` on."""
        if name in self.lived:
            self.lived[name].enter(phase, now)

    def read(self, name: str, now: Seconds) -> Reading | None:
        """Return what a site may go by at run time `now`; None where it knows nothing."""
        holds = self._read(name, now)
        if self.outage is None or not self.outage[0] <= now < self.outage[1]:
            self._last[name] = holds
            return holds
        lost = math.nextafter(self.outage[0], -math.inf)
        if now - lost <= self.max_age_s:
            return self._last.get(name) if name in self.lived else _reading(self.grids[name].intensity, lost)
        foreseen = holds if now - lost <= self.foreseen_s and lost >= 0 else None
        return foreseen and replace(foreseen, from_forecast=True)

    def planned(self, now: Seconds, until: Seconds, *, perfect: bool) -> Mapping[str, Grid]:
        """Return the grids as a plan may see them at run time `now`.

        Where the intensity depends on what the site draws that is what it reads, and with a perfect forecast
        what comes if the site stays as it is.
        """
        found = dict(self.grids)
        for name, site in self.lived.items():
            reading = site.read(now)
            if reading is None:
                continue
            held = StepFunction(edges=(now, math.inf), values=(reading.value,))
            series = site.expected(now, until) if perfect else held
            found[name] = replace(found[name], intensity=series)
        return found

    def _read(self, name: str, now: Seconds) -> Reading | None:
        site = self.lived.get(name)
        return _reading(self.grids[name].intensity, now) if site is None else site.read(now)


def _reading(series: StepFunction, now: Seconds) -> Reading | None:
    try:
        return reading_at(series, now, source="the trace")
    except OutsideTrace:
        return None
