"""Time cut into slots, and the states that a site passes through in them.

A site's local state in a slot is 0 (off), 1..m (joining; the slot in which joining ends is trained in for the
rest) or m + 1 (training). From any state a site may go off; from off it goes to 1, and on from there as
joining takes its time.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from curtail_dist.units import SECONDS_PER_DAY, Seconds

_FINE_S: Seconds = SECONDS_PER_DAY
_COARSE_S: Seconds = 1800.0
"""Slots further off than `_FINE_S` are this long: what is planned for then is planned again before."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Time cut into slots, and what a start takes of it."""

    edges: tuple[Seconds, ...]
    """Slot i is [edges[i], edges[i + 1]). Later slots may be longer than the first, and the last shorter."""
    join_s: Seconds
    """What a start takes before training begins."""

    @classmethod
    def even(cls, start: Seconds, stop: Seconds, *, slot_s: Seconds, join_s: Seconds) -> "Slots":
        """Cut [start, stop) into slots of `slot_s`; what is left over is a slot of its own."""
        count = math.floor((stop - start) / slot_s + 1e-9)
        edges = [start + index * slot_s for index in range(count + 1)]
        if stop - edges[-1] > 1e-6:
            edges.append(stop)
        return cls(edges=tuple(edges), join_s=join_s)

    @classmethod
    def widening(cls, start: Seconds, stop: Seconds, *, slot_s: Seconds, join_s: Seconds) -> "Slots":
        """Cut [start, stop) finely where it matters now, and more coarsely beyond the next hours."""
        fine = min(stop, start + _FINE_S)
        near = cls.even(start, fine, slot_s=slot_s, join_s=join_s).edges
        if stop - fine < 1.0:
            return cls(edges=near, join_s=join_s)
        coarse_s = slot_s * max(1, round(_COARSE_S / slot_s))
        far = cls.even(fine, stop, slot_s=coarse_s, join_s=join_s).edges
        return cls(edges=(*near, *far[1:]), join_s=join_s)

    @property
    def joining(self) -> int:
        """How many of the first slots a start takes, m."""
        return math.ceil(self.join_s / (self.edges[1] - self.edges[0]) - 1e-9)

    @property
    def training(self) -> int:
        """The local state of a site that trains, m + 1."""
        return self.joining + 1

    def joins_s(self, own: int) -> Seconds:
        """Return what is left of joining at the begin of a slot in local state `own`."""
        if not 1 <= own <= self.joining:
            return 0.0
        return self.join_s - (own - 1) * (self.edges[1] - self.edges[0])

    @cached_property
    def following(self) -> tuple[list[int], ...]:
        """By slot: the local state in it of a site that goes on, by its local state in the slot before."""
        first = self.edges[1] - self.edges[0]
        lengths = [first, *(stop - start for start, stop in pairwise(self.edges))]
        by_length = {length: self._after(length) for length in set(lengths)}
        return tuple(by_length[length] for length in lengths[:-1])

    def _after(self, length: Seconds) -> list[int]:
        """The local state after a slot of this length of a site that goes on, by its state in that slot."""
        passed = max(1, round(length / (self.edges[1] - self.edges[0])))

        def after(own: int) -> int:
            joined = own == self.training or self.joins_s(own) <= length + 1e-9
            return self.training if joined else min(own + passed, self.joining)

        return [1, *(after(own) for own in range(1, self.training + 1))]

    def local(self, *, on: bool, joins_s: Seconds = 0.0) -> int:
        """Return the local state before the first slot; `joins_s` is what is left of joining."""
        if not on:
            return 0
        left = math.ceil(joins_s / (self.edges[1] - self.edges[0]) - 1e-9)
        return self.training if left <= 0 else max(1, self.joining - left)
