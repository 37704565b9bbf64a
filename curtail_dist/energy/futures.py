"""What a grid's intensity may become: futures made of a provider's forecast, and of days gone by.

Each future is equally likely. Future k has the days from k days ago on in place of those to come, drawn to
what was read just now; futures of different sites with the same k are of the same days, so that what their
weather has in common stays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import SECONDS_PER_DAY, GramsCO2PerKWh, Seconds

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """How a site's futures are made from what is known."""

    futures: int = 28
    """How many at most; as many whole days of history are needed."""
    nearness_s: Seconds = 30_000.0
    """How fast a future forgets by how much it missed what was read just now: to 1/e in this time."""
    step_s: Seconds = 300.0
    """For how long a value of a future holds."""

    def count(self, history: StepFunction | None, now: Seconds) -> int:
        """Return how many futures a history gives at run time `now`; without one there is one."""
        days = 0 if history is None else math.floor((min(now, history.end) - history.start) / SECONDS_PER_DAY)
        return max(1, min(self.futures, days))

    def of(
        self,
        *,
        now: Seconds,
        until: Seconds,
        reading: GramsCO2PerKWh,
        history: StepFunction | None = None,
        forecast: StepFunction | None = None,
        count: int = 1,
    ) -> tuple[StepFunction, ...]:
        """Return `count` futures from `now` to `until`.

        Args:
            now: Run time.
            until: Run time to which futures are wanted.
            reading: What holds now. Without anything else it is what is expected for ever.
            history: What was before `now`; may go on to it, and must where `count` is above 1.
            forecast: What a provider expects; it stands in every future as far as it goes.
            count: How many; the same for every site of a plan.
        """
        return tuple(
            self._future(now, until, reading, history if history_days >= 1 else None, forecast, history_days)
            for history_days in (range(1, count + 1) if history is not None else [0] * count)
        )

    def _future(
        self,
        now: Seconds,
        until: Seconds,
        reading: GramsCO2PerKWh,
        history: StepFunction | None,
        forecast: StepFunction | None,
        days: int,
    ) -> StepFunction:
        foreseen = None if forecast is None else forecast.clipped(now, until)
        begin = now if foreseen is None else foreseen.end
        edges, values = (
            ([now], list[float]()) if foreseen is None else ([*foreseen.edges], [*foreseen.values])
        )
        if begin < until:
            steps = max(1, math.ceil((until - begin) / self.step_s - 1e-9))
            times = np.linspace(begin, begin + steps * self.step_s, steps, endpoint=False)
            last = reading if foreseen is None else foreseen.values[-1]
            values += self._expected(times, last, history, now, days)
            edges += [*times[1:].tolist(), until]
        return StepFunction(edges=tuple(edges), values=tuple(values))

    def _expected(
        self, times: Array, last: GramsCO2PerKWh, history: StepFunction | None, now: Seconds, days: int
    ) -> list[GramsCO2PerKWh]:
        if history is None or days < 1:
            return [last] * len(times)
        span = days * SECONDS_PER_DAY
        past = _at(history, now - span + (times - now) % span)
        nearness = np.exp(-(times - times[0]) / self.nearness_s)
        found: list[float] = np.maximum(0.0, past + (last - past[0]) * nearness).tolist()
        return found


def means(series: StepFunction, edges: Sequence[Seconds]) -> StepFunction:
    """Return a series with its mean between each two edges; its first and last values hold beyond it."""
    known = np.array(series.edges)
    sums = np.concatenate([[0.0], np.cumsum(np.diff(known) * np.array(series.values))])
    at = np.array(edges)
    low, high = np.minimum(at - known[0], 0.0), np.maximum(at - known[-1], 0.0)
    whole = np.interp(at, known, sums) + low * series.values[0] + high * series.values[-1]
    found: list[float] = (np.diff(whole) / np.diff(at)).tolist()
    return StepFunction(edges=tuple(edges), values=tuple(found))


def _at(series: StepFunction, at: Array) -> Array:
    """Return the values at some moments, or the nearest ones that are known."""
    index = np.searchsorted(np.array(series.edges), at, side="right") - 1
    return np.array(series.values)[np.clip(index, 0, len(series.values) - 1)]
