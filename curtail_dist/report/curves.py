"""Series that the picture draws: emissions so far, and losses made smooth."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from curtail_dist.energy.baselines import Baseline
from curtail_dist.energy.emissions import Grid, Interval, drawn, emitted_kg
from curtail_dist.energy.meters.draws import OFF, Draw
from curtail_dist.energy.oracle import Optimum
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import SECONDS_PER_HOUR, Seconds

SLICE_S: Seconds = 300.0
"""Between two points of a curve; emissions at the points are exact."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Kilograms of CO2 emitted from run time 0 to each moment."""

    t: tuple[Seconds, ...]
    kg: tuple[float, ...]


def cumulative(drew: Iterable[tuple[StepFunction, Sequence[Draw]]], end: Seconds) -> Curve:
    """Return the emissions of what was drawn at some sites, each with its intensity, drawn to `end`.

    The last point is what `account` gives for them all.
    """
    parts = [_cumulative(intensity, draws) for intensity, draws in drew]
    times = np.unique(np.concatenate([[0.0, end], *(part.t for part in parts)]))
    total = np.zeros_like(times)
    for part in parts:
        total += np.interp(times, part.t, part.kg)
    return Curve(t=tuple(times.tolist()), kg=tuple(total.tolist()))


def cumulative_baseline(grid: Grid, baseline: Baseline, end: Seconds) -> Curve:
    """Return the emissions of a site that trains from run time 0 until the work is done, drawn to `end`."""
    stop = baseline.hours * SECONDS_PER_HOUR
    draws = drawn([Interval(start=0.0, stop=stop, phase="train")], grid.power)
    curve = _cumulative(grid.intensity, draws)
    return Curve(t=(*curve.t, max(end, stop)), kg=(*curve.kg, curve.kg[-1]))


def cumulative_schedule(best: Optimum, grids: Mapping[str, Grid], *, join_s: Seconds, end: Seconds) -> Curve:
    """Return the emissions of the optimum's schedule, drawn to `end`."""
    parts = {name: _stays(periods, join_s) for name, periods in best.schedule.items()}
    edges = sorted({edge for stays in parts.values() for _, start, stop in stays for edge in (start, stop)})
    drew: list[tuple[StepFunction, list[Draw]]] = []
    for name, stays in parts.items():
        power, own = grids[name].power, list[Draw]()
        for phase, start, stop in stays:
            cuts = [edge for edge in edges if start <= edge <= stop]
            for low, high in pairwise(cuts):
                alone = phase == "join" or _training(parts, low) < 2
                share = 1.0 if alone else best.pair_efficiency
                watts = share * power.watts(phase) + (1 - share) * power.sync_w
                own.append(Draw(start=low, stop=high, phase=phase, watts=watts, modelled=watts))
        drew.append((grids[name].intensity, own))
    return cumulative(drew, end)


def _stays(periods: Sequence[tuple[Seconds, Seconds]], join_s: Seconds) -> list[tuple[str, Seconds, Seconds]]:
    return [
        stay
        for start, stop in periods
        for stay in (
            ("join", start, min(start + join_s, stop)),
            ("train", min(start + join_s, stop), stop),
        )
        if stay[2] > stay[1]
    ]


def _training(parts: Mapping[str, Sequence[tuple[str, Seconds, Seconds]]], at: Seconds) -> int:
    return sum(
        phase == "train" and start <= at < stop for stays in parts.values() for phase, start, stop in stays
    )


def _cumulative(intensity: StepFunction, draws: Sequence[Draw]) -> Curve:
    times, kg = [0.0], [0.0]
    for piece in _sliced(draws):
        if piece.start > times[-1]:
            times.append(piece.start)
            kg.append(kg[-1])
        times.append(piece.stop)
        kg.append(kg[-1] + emitted_kg([piece], intensity))
    return Curve(t=tuple(times), kg=tuple(kg))


def _sliced(draws: Sequence[Draw]) -> Iterator[Draw]:
    for draw in draws:
        if draw.phase == OFF:
            continue
        count = max(1, math.ceil((draw.stop - draw.start) / SLICE_S))
        edges = np.linspace(draw.start, draw.stop, count + 1).tolist()
        for start, stop in pairwise(edges):
            yield replace(draw, start=start, stop=stop)


def smooth(
    points: Sequence[tuple[Seconds, float]], *, gap_s: Seconds, share: float = 0.02
) -> list[list[tuple[Seconds, float]]]:
    """Return moving means over a `share` of the points, in parts that no gap of `gap_s` or more breaks."""
    width = max(1, int(len(points) * share))
    parts: list[list[tuple[Seconds, float]]] = []
    for point in points:
        if not parts or point[0] - parts[-1][-1][0] >= gap_s:
            parts.append([])
        parts[-1].append(point)
    return [_moving_mean(part, width) for part in parts]


def _moving_mean(part: Sequence[tuple[Seconds, float]], width: int) -> list[tuple[Seconds, float]]:
    values = np.asarray([value for _, value in part])
    before = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(part) + 1)
    start = np.maximum(0, stop - width)
    means = (before[stop] - before[start]) / (stop - start)
    return [(t, float(mean)) for (t, _), mean in zip(part, means, strict=True)]
