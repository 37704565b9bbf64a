"""Sitting out a store, or a disk, that does not answer."""

import logging
from collections.abc import Callable
from typing import TypeVar

from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.effects import Look, Now, Pause, Steps, ask
from curtail_dist.membership.part import Part
from curtail_dist.units import Seconds

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
RETRY_S: Seconds = 0.5
"""Real time between two tries."""
REMIND_S: Seconds = 60.0
"""Real time between two lines of the log that say the same."""


def patiently(part: Part, attempt: Callable[[], Steps[T]], what: str) -> Steps[T]:
    """Return what `attempt` returns, which is begun again while the store or the disk does not answer.

    It must be safe to begin again after any of its effects: what it wrote may or may not be there. `what`
    says what is waited for.

    Raises StoreUnavailable or OSError when that has gone on for the bound, and whatever else `attempt` raises
    at once. The log says what is waited for when that begins, and each minute while it goes on.
    """
    failing: bool | None = None  # whether it is the disk; None before anything failed
    since: Seconds = 0.0
    said: Seconds = 0.0
    while True:
        try:
            return (yield from attempt())
        except (StoreUnavailable, OSError) as error:
            now = yield from ask(Now())
            disk = isinstance(error, OSError)
            silent_s = 0.0 if disk else (yield from ask(Look())).stale_s
            if failing is not disk:
                failing, since, said = disk, now, now - REMIND_S
                # Not the end yet: this process may have stood still.
            elif max(silent_s, now - since) >= part.rules.outage_s:
                raise
            if now - said >= REMIND_S:
                _LOG.warning("site %s: %s waits: %s", part.me.site, what, error)
                said = now
            yield from ask(Pause(RETRY_S))
