"""What a provider says when it is asked."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, Self

from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import GramsCO2PerKWh, Seconds

UnixSeconds = float


class ProviderFailure(SignalUnavailable):
    """A provider gave no answer that can be used. Its text holds no credential."""

    def __init__(self, reason: str, *, retry_after_s: Seconds | None = None, refused: bool = False) -> None:
        """Say why; when it asks to be left alone until; whether it refuses who asks (401, 403)."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.refused = refused


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Intensities, each from its moment until the next one's; the first is what holds now."""

    points: tuple[tuple[UnixSeconds, GramsCO2PerKWh], ...]
    """At least one, times rising."""

    @classmethod
    def of(cls, points: Iterable[tuple[UnixSeconds, GramsCO2PerKWh]]) -> Self:
        """Sort points; of several at one moment the last one counts. Raises ProviderFailure."""
        found = dict(points)
        if not found:
            raise ProviderFailure("it answers, but with no value")
        for at, value in found.items():
            if not (math.isfinite(at) and math.isfinite(value) and value >= 0):
                raise ProviderFailure(f"it says {value} at {at}, which is no intensity at a time")
        return cls(points=tuple(sorted(found.items())))


class Provider(Protocol):
    """Something that can be asked for a site's carbon intensity. Used by one thread."""

    @property
    def source(self) -> str:
        """Who answers, and for where; without credentials."""
        ...

    @property
    def basis(self) -> Literal["marginal", "average"]:
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
    """Read a time: ISO 8601 (UTC where it says no offset) or Unix seconds. Raises ProviderFailure.

    What stands there in its place is not repeated: a server may send back what it was asked with.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ProviderFailure(
            f"it gives {_kind(text)} as a time; it must be ISO 8601 or Unix seconds"
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
