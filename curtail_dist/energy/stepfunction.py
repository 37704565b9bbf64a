"""A piecewise constant function of run time: values, pieces and exact integrals."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class StepFunction:
    """`values[i]` holds on [edges[i], edges[i + 1]); nothing is known outside [edges[0], edges[-1])."""

    edges: tuple[Seconds, ...]
    """Rising; one more than values."""
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or len(self.edges) != len(self.values) + 1:
            raise ValueError(
                f"{len(self.edges)} edges for {len(self.values)} values; there must be one edge more"
            )
        if any(later <= earlier for earlier, later in pairwise(self.edges)):
            raise ValueError("the edges of a step function do not rise; they must")

    @classmethod
    def from_points(cls, points: Sequence[tuple[Seconds, float]]) -> Self:
        """Build from (time from which, value); the last pair only marks the end, as in `Signal.outlook`."""
        return cls(edges=tuple(at for at, _ in points), values=tuple(value for _, value in points[:-1]))

    def points(self) -> list[tuple[Seconds, float]]:
        """Return what `from_points` takes."""
        return list(zip(self.edges, (*self.values, self.values[-1]), strict=True))

    @property
    def start(self) -> Seconds:
        """The first moment known."""
        return self.edges[0]

    @property
    def end(self) -> Seconds:
        """The first moment no longer known."""
        return self.edges[-1]

    def covers(self, start: Seconds, stop: Seconds) -> bool:
        """Whether all of [start, stop) is known; with start == stop, whether that moment is."""
        return self.start <= start and (stop <= self.end if stop > start else start < self.end)

    def _index(self, at: Seconds) -> int:
        if not self.covers(at, at):
            raise ValueError(f"{at} is outside [{self.start}, {self.end})")
        return bisect_right(self.edges, at) - 1

    def at(self, at: Seconds) -> float:
        """Return the value at a moment. Raises ValueError outside."""
        return self.values[self._index(at)]

    def since(self, at: Seconds) -> Seconds:
        """Return the moment from which the value at `at` has been stated. Raises ValueError outside."""
        return self.edges[self._index(at)]

    def pieces(self, start: Seconds, stop: Seconds) -> Iterator[tuple[Seconds, Seconds, float]]:
        """Yield (from, to, value) over the part of [start, stop) that is known, in order."""
        first = max(bisect_right(self.edges, start) - 1, 0)
        for index in range(first, len(self.values)):
            low, high = max(self.edges[index], start), min(self.edges[index + 1], stop)
            if low >= stop:
                return
            if low < high:
                yield low, high, self.values[index]

    def integral(self, start: Seconds, stop: Seconds) -> float:
        """Return the exact integral over [start, stop). Raises ValueError where it is not all known."""
        if stop <= start:
            return 0.0
        if not self.covers(start, stop):
            raise ValueError(f"[{start}, {stop}) is not inside [{self.start}, {self.end})")
        return math.fsum((high - low) * value for low, high, value in self.pieces(start, stop))

    def clipped(self, start: Seconds, stop: Seconds) -> "StepFunction | None":
        """Return the part on [start, stop), or None where nothing of it is known."""
        pieces = list(self.pieces(start, stop))
        if not pieces:
            return None
        return StepFunction(
            edges=(*(low for low, _, _ in pieces), pieces[-1][1]),
            values=tuple(value for _, _, value in pieces),
        )
