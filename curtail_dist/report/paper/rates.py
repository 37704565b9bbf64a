"""What a run drew and emitted over time, as rates: exact, and as means over even slices."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from curtail_dist.energy.emissions import emitted_kg
from curtail_dist.energy.meters.draws import OFF
from curtail_dist.report.history import History, SiteHistory
from curtail_dist.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, Seconds, hours

_MOST_SLICES = 300
_SLICES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A site drew constant power at a constant intensity on [start, stop)."""

    site: str
    phase: str
    start: Seconds
    stop: Seconds
    kw: float
    """PUE included."""
    kg_per_h: float
    """CO2, by marginal intensity."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """All sites together: `kw[i]` and `kg_per_h[i]` are means over [edges[i], edges[i + 1])."""

    edges: tuple[Seconds, ...]
    kw: tuple[float, ...]
    kg_per_h: tuple[float, ...]


def stretches(history: History) -> list[Stretch]:
    """Return all that was drawn, site by site in order; their sums are those of the summary."""
    return [stretch for site in history.sites.values() for stretch in _of_site(site)]


def _of_site(site: SiteHistory) -> Iterator[Stretch]:
    edges = site.intensity.edges
    for draw in site.draws:
        if draw.phase == OFF:
            continue
        within = edges[bisect_right(edges, draw.start) : bisect_left(edges, draw.stop)]
        for start, stop in pairwise((draw.start, *within, draw.stop)):
            if stop > start:
                kg = emitted_kg([replace(draw, start=start, stop=stop)], site.intensity)
                yield Stretch(
                    site=site.name,
                    phase=draw.phase,
                    start=start,
                    stop=stop,
                    kw=draw.watts / 1000,
                    kg_per_h=kg / hours(stop - start),
                )


def slice_s(ends: Iterable[Seconds]) -> Seconds:
    """Return a round length of slices that cuts runs of these lengths into at most 300."""
    longest = max(ends, default=0.0)
    for candidate in _SLICES_S:
        if longest <= candidate * _MOST_SLICES:
            return candidate
    return SECONDS_PER_DAY * math.ceil(longest / (SECONDS_PER_DAY * _MOST_SLICES))


def rates(drawn: Sequence[Stretch], *, stop: Seconds, length_s: Seconds) -> Rates:
    """Return the means over slices from run time 0 to `stop`, or to the last stretch's end."""
    end = max([stop, *(one.stop for one in drawn)])
    edges = np.arange(max(1, math.ceil(end / length_s)) + 1) * length_s
    spent, emitted = np.zeros_like(edges), np.zeros_like(edges)
    for one in drawn:  # each stretch is even, so what is drawn of it by an edge is exact
        on_h = np.clip(edges, one.start, one.stop) / SECONDS_PER_HOUR - hours(one.start)
        spent += one.kw * on_h
        emitted += one.kg_per_h * on_h
    return Rates(
        edges=tuple(edges.tolist()),
        kw=tuple((np.diff(spent) / hours(length_s)).tolist()),
        kg_per_h=tuple((np.diff(emitted) / hours(length_s)).tolist()),
    )
