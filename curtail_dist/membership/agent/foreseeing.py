"""What an agent expects of its site's intensity: futures out of a forecast, and of what was."""

import logging
from collections.abc import Callable

from curtail_dist.config import RunConfig
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, GramsCO2PerKWh, Seconds

log = logging.getLogger(__name__)

FUTURES = 7
"""Futures of a site at most; as many days of history are needed."""
_HISTORY_S = (FUTURES + 1) * SECONDS_PER_DAY
_STEP_S: Seconds = 300.0
"""For how long a value of a future holds at least: no grid says more."""
_TIERS = ((1, _STEP_S), (7, 1800.0), (30, 3 * SECONDS_PER_HOUR), (10**6, float(SECONDS_PER_DAY)))
"""(days from now, step up to there): what is far off is planned again before, so a mean is enough."""

Forecast = Callable[[Seconds], list[Reading]]


class Foreseer:
    """One site's expectations. Remembers some days of readings, and nothing beyond its own end."""

    def __init__(
        self,
        config: RunConfig,
        site: str,
        *,
        forecast: Forecast | None = None,
        past: StepFunction | None = None,
        price: StepFunction | None = None,
    ) -> None:
        """Expect for `site`.

        Args:
            config: The run file.
            site: This site, for the log.
            forecast: What a provider expects; None: futures are made of what was.
            past: The site's intensity from before the run, where it is known.
            price: The price of its electricity per kWh, where it is known.
        """
        self._policy = config.policy
        self._site = site
        self._forecast = forecast
        self._past = past
        self._price = price
        self._read: list[tuple[Seconds, GramsCO2PerKWh]] = []
        """(run time, what was read then), where it changed."""

    def note(self, now: Seconds, reading: Reading | None) -> None:
        """Remember what was read."""
        if reading is None or reading.from_forecast or (self._read and now <= self._read[-1][0]):
            return
        if not self._read or self._read[-1][1] != reading.value:
            self._read.append((now, reading.value))
        while len(self._read) > 1 and self._read[1][0] <= now - _HISTORY_S:
            del self._read[0]

    def futures(self, now: Seconds, until: Seconds, reading: Reading) -> tuple[StepFunction, ...]:
        """Return equally likely futures, fine for a day and coarser beyond; a price that counts is in them.

        Future k has the days from k days ago on in place of those to come, so those of different sites with
        the same k belong together.
        """
        from curtail_dist.energy.futures import Foresight, means  # numpy: only where plans are made
        from curtail_dist.energy.prices import weighed

        foresight = Foresight(futures=FUTURES, step_s=max(_STEP_S, self._policy.replan_s))
        history = self._history(now)
        found = foresight.of(
            now=now,
            until=until,
            reading=reading.value,
            history=history,
            forecast=self._foreseen(now, until),
            count=foresight.count(history, now),
        )
        edges = _edges(now, until, foresight.step_s)
        price, weight = self._price, self._policy.g_per_currency
        if price is not None and len(price.values) > 1:
            price = means(price, edges)
        return tuple(weighed(means(future, edges), price, weight) for future in found)

    def _history(self, now: Seconds) -> StepFunction | None:
        """Return what was, from before the run as it was given and since then as it was read."""
        past = None if self._past is None else self._past.clipped(now - _HISTORY_S, now)
        if not self._read or (past is not None and past.end >= now - self._policy.replan_s):
            return past
        before = (
            [] if past is None else [point for point in past.points()[:-1] if point[0] < self._read[0][0]]
        )
        return StepFunction.from_points([*before, *self._read, (now + 1.0, self._read[-1][1])])

    def _foreseen(self, now: Seconds, until: Seconds) -> StepFunction | None:
        """Return what the provider expects from now on, None where it expects nothing."""
        if self._forecast is None:
            return None
        try:
            readings = self._forecast(until - now)
        except SignalUnavailable as error:
            log.info("site %s plans without a forecast: %s", self._site, error)
            return None
        rising = sorted({max(now, one.measured_at): one.value for one in readings}.items())
        if len(rising) < 2:
            return None
        last = rising[-1][0] + (rising[-1][0] - rising[-2][0])
        return StepFunction.from_points([*rising, (last, rising[-1][1])])


def _edges(now: Seconds, until: Seconds, step_s: Seconds) -> list[Seconds]:
    """Cut [now, until) into steps of a second at least that widen with the days."""
    edges = [now]
    for days, least_s in _TIERS:
        stop, step = min(until, now + days * SECONDS_PER_DAY), max(step_s, least_s)
        while edges[-1] + step < stop - 1.0:
            edges.append(edges[-1] + step)
        if stop - edges[-1] >= 1.0:
            edges.append(stop)
    return edges
