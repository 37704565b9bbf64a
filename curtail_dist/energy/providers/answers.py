"""What a provider says when it is asked."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, Self, TypeAlias

from curtail_dist.config.signals import Basis
from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import GramsCO2PerKWh, Seconds

UnixSeconds = float
_MILLISECONDS = 1e11
"""A number of a time from which on it is one of milliseconds: seconds would be in the year 5138."""
Point: TypeAlias = tuple[UnixSeconds, GramsCO2PerKWh]
"""From when an intensity holds, and which."""


class ProviderFailure(SignalUnavailable):
    """A provider gave no answer that can be used. Its text holds no credential."""

    def __init__(self, reason: str, *, retry_after_s: Seconds | None = None, refused: bool = False) -> None:
        """Say why; when it asks to be left alone until; whether it refuses who asks (401, 403)."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.refused = refused


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a provider publishes of the moment at which it is asked, and what it expects of later ones.

    Each intensity holds from its moment until the next one's. Which of a provider's values are which is for
    its own module to say.
    """

    reading: Point
    """Measured, estimated or modelled: what it gives out as being so now."""
    expected: tuple[Point, ...] = ()
    """Its forecast: times rising, all after that of the reading."""
    made_at: UnixSeconds
    """By when its age counts: the first moment that it speaks of."""
    flaw: str = ""
    """Why its forecast goes no further, where a point of it cannot be read; empty: all can."""

    @classmethod
    def of(
        cls, reading: Point, expected: Iterable[Point] = (), *, made_at: UnixSeconds | None = None
    ) -> Self:
        """Sort what is expected, of which what is not after the reading is left out.

        Of several at one moment the last one counts. Without `made_at` an answer is as old as its reading.

        Args:
            reading: Raises ProviderFailure where it is no intensity at a time.
            expected: May raise that, too, or give such a point: the forecast ends there and costs no reading.
                What comes after is left out, since what holds in between is not known.
            made_at: The first moment that the provider speaks of.
        """
        later: dict[UnixSeconds, GramsCO2PerKWh] = {}
        flaw = ""
        try:
            later.update(point for point in map(_checked, expected) if point[0] > reading[0])
        except ProviderFailure as failure:
            flaw = str(failure)
        return cls(
            reading=_checked(reading),
            expected=tuple(sorted(later.items())),
            made_at=reading[0] if made_at is None else made_at,
            flaw=flaw,
        )

    def since(self, asked_at: UnixSeconds) -> Self:
        """Return it as it counts once it was asked for at that moment.

        What it expected of moments up to then has come to pass, and is what the reading says.
        """
        return replace(self, expected=tuple(point for point in self.expected if point[0] > asked_at))

    def at(self, now: UnixSeconds) -> tuple[Point, bool]:
        """Return what it says of a moment not before the reading's, and whether that is a forecast."""
        begun = [point for point in self.expected if point[0] <= now]
        return (begun[-1], True) if begun else (self.reading, False)


def _checked(point: Point) -> Point:
    at, value = point
    if not (math.isfinite(at) and math.isfinite(value) and value >= 0):
        raise ProviderFailure(f"it says {value} at {at}, which is no intensity at a time")
    return point


class Provider(Protocol):
    """Something that can be asked for a site's carbon intensity. Used by one thread."""

    @property
    def source(self) -> str:
        """Who answers, and for where; without credentials."""
        ...

    @property
    def basis(self) -> Basis:
        """What its values are."""
        ...

    @property
    def every_s(self) -> Seconds:
        """Real time between two requests that suits it."""
        ...

    @property
    def stale_s(self) -> Seconds:
        """Age of a value beyond which it says nothing of now."""
        ...

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask once. Raises ProviderFailure."""
        ...


def unix(text: object) -> UnixSeconds:
    """Read a time: ISO 8601 (UTC where it says no offset), Unix seconds or milliseconds.

    Raises ProviderFailure.

    What stands there in its place is not repeated: a server may send back what it was asked with.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text) / (1000.0 if text >= _MILLISECONDS else 1.0)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ProviderFailure(
            f"it gives {_kind(text)} as a time; it must be ISO 8601, Unix seconds or milliseconds"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def number(value: object) -> float:
    """Read a number. Raises ProviderFailure, which does not repeat what stands there in its place."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ProviderFailure(f"it gives {_kind(value)} as a value; it must be a number") from None


_KINDS: Mapping[type, str] = {str: "other text", list: "a list", dict: "a mapping", bool: "true or false"}


def _kind(value: object) -> str:
    """Name what stands in a reply without showing it."""
    return _KINDS.get(type(value), "nothing" if value is None else "no number")
