"""How long a reading may be believed after its source fell silent.

Freshness is local run time since the source last answered; a reading's own timestamp is only checked for
plausibility, since it was taken by another host's clock.
"""

from dataclasses import dataclass

from curtail_dist.energy.signals import OutsideTrace, Reading, Signal
from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import Seconds

FORESEEN_S: Seconds = 3600.0
"""For how long a forecast stands in for a signal that was lost: to stay on by, not to start by."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """The last answer of a source."""

    reading: Reading
    renewed_at: Seconds
    """Local run time at which the source last gave it, or gave it again."""


def observe(
    signal: Signal, previous: Sighting | None, *, now: Seconds, max_age_s: Seconds
) -> Sighting | None:
    """Ask the signal once; return its answer, or `previous` where it does not answer.

    A forecast does not take the place of an answer that may still be believed, and does not outlast the
    signal that gave it: for how long one may stand in is for the signal to say. Where the source knows that
    it has no value for now (OutsideTrace), nothing stands in for it: None.
    """
    try:
        reading = signal.latest()
    except OutsideTrace:
        return None
    except SignalUnavailable:
        return None if previous is not None and previous.reading.from_forecast else previous
    held = fresh(previous, now=now, max_age_s=max_age_s)
    if reading.from_forecast and held is not None and not held.from_forecast:
        return previous
    return Sighting(reading=reading, renewed_at=now if reading.answered_at is None else reading.answered_at)


def fresh(sighting: Sighting | None, *, now: Seconds, max_age_s: Seconds) -> Reading | None:
    """Return the reading if it may be believed at `now`, else None.

    It may not when its source has not renewed it for more than `max_age_s`, nor when it claims to have been
    measured more than that in the future.
    """
    if sighting is None or now - sighting.renewed_at > max_age_s:
        return None
    if sighting.reading.measured_at - now > max_age_s:
        return None
    return sighting.reading
