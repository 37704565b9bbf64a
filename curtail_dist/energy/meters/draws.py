"""What a site drew when, and in which phase: by its meter where one told, by its power model elsewhere."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from curtail_dist.energy.meters.spans import Span
from curtail_dist.units import Joules, Seconds, Watts

OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Stay:
    """A site was in one phase on [start, stop)."""

    start: Seconds
    stop: Seconds
    phase: str
    watts: Watts
    """What its power model states for the phase."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A site drew constant power in one phase on [start, stop)."""

    start: Seconds
    stop: Seconds
    phase: str
    watts: Watts
    modelled: Watts
    """Part of it that is stated, not measured."""
    apportioned: bool = False
    """Measured, but over several phases; this one took less of it than another, by the power model."""
    by_meter: bool = False
    """Whether a meter told it, as measured or as stated there; else the power model."""

    @property
    def energy(self) -> Joules:
        """What it comes to."""
        return self.watts * (self.stop - self.start)

    @property
    def modelled_energy(self) -> Joules:
        """What of it is stated, not measured."""
        return self.modelled * (self.stop - self.start)


def draws(stays: Sequence[Stay], spans: Sequence[Span] = ()) -> list[Draw]:
    """Return what was drawn, by phase; time outside of all stays is off.

    A span inside one phase is that phase's. One over several is known as a whole but not by phase; it is
    divided in proportion to what the model states for each of them (off draws nothing then), so that the
    sum stays what was measured. Where no span is, the model counts: unknown is not zero.

    Raises:
        ValueError: Stays overlap, or spans do; energy would count twice.
    """
    stays = sorted((stay for stay in stays if stay.stop > stay.start), key=lambda stay: stay.start)
    spans = sorted(spans, key=lambda span: span.start)
    for earlier, later in (*pairwise(stays), *pairwise(spans)):
        if later.start < earlier.stop - 1e-6:
            raise ValueError(f"{earlier} and {later} overlap; a moment can be counted once only")
    found: list[Draw] = []
    first = 0
    for span in spans:
        while first < len(stays) and stays[first].stop <= span.start:
            first += 1
        found += _divided(span, _within(span, stays, first))
    return sorted([*found, *_modelled(stays, spans)], key=lambda draw: draw.start)


def _within(span: Span, stays: Sequence[Stay], first: int) -> list[Stay]:
    """Return the parts of stays that lie in a span; `first` is the first that may."""
    parts: list[Stay] = []
    for index in range(first, len(stays)):
        stay = stays[index]
        if stay.start >= span.stop:
            break
        low, high = max(stay.start, span.start), min(stay.stop, span.stop)
        parts.append(Stay(start=low, stop=high, phase=stay.phase, watts=stay.watts))
    return parts


def _divided(span: Span, parts: Sequence[Stay]) -> Iterator[Draw]:
    if not parts:
        parts = [Stay(start=span.start, stop=span.stop, phase=OFF, watts=0.0)]
    if not any(part.watts for part in parts):  # a model that states nothing cannot divide: time does
        parts = [Stay(start=p.start, stop=p.stop, phase=p.phase, watts=1.0) for p in parts]
    shares = [part.watts * (part.stop - part.start) for part in parts]
    total, most = math.fsum(shares), shares.index(max(shares))
    for index, part in enumerate(parts):
        watts = span.joules / total * part.watts
        yield Draw(
            start=part.start,
            stop=part.stop,
            phase=part.phase,
            watts=watts,
            modelled=watts * span.stated / span.joules if span.joules else 0.0,
            apportioned=index != most,
            by_meter=True,
        )


def _modelled(stays: Sequence[Stay], spans: Sequence[Span]) -> Iterator[Draw]:
    """Yield the parts of stays that no span covers."""
    first = 0
    for stay in stays:
        while first < len(spans) and spans[first].stop <= stay.start:
            first += 1
        low = stay.start
        for index in range(first, len(spans)):
            if spans[index].start >= stay.stop:
                break
            if spans[index].start > low:
                yield _plain(stay, low, spans[index].start)
            low = max(low, spans[index].stop)
        if low < stay.stop:
            yield _plain(stay, low, stay.stop)


def _plain(stay: Stay, start: Seconds, stop: Seconds) -> Draw:
    return Draw(start=start, stop=stop, phase=stay.phase, watts=stay.watts, modelled=stay.watts)
