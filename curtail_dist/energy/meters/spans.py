"""Stretches of run time over which a meter told what was drawn."""

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from curtail_dist.clock import Timepiece
from curtail_dist.energy.meters.protocol import Meter
from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Joules, Seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Span:
    """What was drawn on [start, stop) of run time. Raises ValueError for what cannot be."""

    start: Seconds
    stop: Seconds
    joules: Joules
    stated: Joules = 0.0
    """Part of it that the run file states and nothing measured."""

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (self.start, self.stop, self.joules)))
        if not (finite and self.stop > self.start and 0 <= self.stated <= self.joules):
            raise ValueError(f"{self} is no span; it must stop after its start, with 0 <= stated <= joules")


class Metering:
    """Reads a site's meter and says what was drawn between its readings. Owns the meter until `close`."""

    def __init__(self, meter: Meter, *, clock: Timepiece) -> None:
        """Begin without a reading; `clock` stays its owner's."""
        self._meter = meter
        self._clock = clock
        self._last: tuple[Seconds, Joules, Joules] | None = None
        self._lost = ""

    @property
    def source(self) -> str:
        """Where the numbers come from."""
        return self._meter.source

    @property
    def covers(self) -> str:
        """What draws what is counted."""
        return self._meter.covers

    @property
    def lost(self) -> str:
        """Why the newest reading failed; empty: it did not."""
        return self._lost

    def read(self) -> Span | None:
        """Read the meter: at each poll, and at each change of phase at the change itself.

        Returns:
            What was drawn since the reading before. None where that is unknown (this reading failed, or the
            one before), and where the meter says the same as before: it has no news yet, and the next span
            holds this time, too.
        """
        try:
            joules, stated = self._meter.read(), self._meter.stated
        except MeterUnavailable as error:
            if not self._lost:
                log.warning("the meter does not answer, energy is modelled meanwhile: %s", error)
            self._lost, self._last = str(error), None
            return None
        if self._lost:
            log.info("the meter answers again: %s", self._meter.source)
        self._lost = ""
        now, before = self._clock.now(), self._last
        if before is None:
            self._last = (now, joules, stated)
            return None
        if now <= before[0] or joules <= before[1]:
            return None
        self._last = (now, joules, stated)
        drawn = joules - before[1]
        assumed = min(max(0.0, stated - before[2]), drawn)
        return Span(start=before[0], stop=now, joules=drawn, stated=assumed)

    def close(self) -> None:
        """Close the meter; idempotent."""
        self._meter.close()


def merge(series: Sequence[Sequence[Span]]) -> list[Span]:
    """Return spans of several readers of one site's energy, in order, no moment of it counted twice.

    Where two overlap, that of the series that comes first counts, and the other is left out whole: a part of
    it cannot be known.
    """
    kept: list[Span] = []
    for spans in series:
        free = [span for span in spans if not _overlaps(span, kept)]
        kept = sorted([*kept, *free], key=attrgetter("start"))
    return kept


def _overlaps(span: Span, kept: Sequence[Span]) -> bool:
    """Whether `span` shares time with any of `kept`, which are in order and apart from each other."""
    after = bisect_left(kept, span.stop, key=attrgetter("start"))
    return after > 0 and kept[after - 1].stop > span.start
