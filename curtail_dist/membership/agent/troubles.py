"""What an agent's parts suffer: told once when it begins and once when it is over, and shown meanwhile."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from curtail_dist.clock import Timepiece
from curtail_dist.errors import CoordinationError
from curtail_dist.telemetry.events import Trouble, TroubleOver
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Suffered:
    reason: str
    since: Seconds


class Troubles:
    """Which parts of one agent fail now. Owned by the agent's thread."""

    def __init__(self, events: EventLog, clock: Timepiece) -> None:
        """Begin with none; events and clock stay their owners'."""
        self._events = events
        self._clock = clock
        self._standing: dict[str, _Suffered] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Part -> reason."""
        return {part: one.reason for part, one in self._standing.items()}

    def note(self, part: str, reason: str) -> None:
        """Say what a part suffers now; empty: nothing."""
        known = self._standing.get(part)
        if reason and known is None:
            self._standing[part] = _Suffered(reason=reason, since=self._clock.now())
            self._events.emit(Trouble(part=part, reason=reason))
        elif reason and known is not None:
            self._standing[part] = replace(known, reason=reason)
        elif known is not None:
            del self._standing[part]
            self._events.emit(TroubleOver(part=part, after_s=self._clock.now() - known.since))

    def guard(self, part: str, call: Callable[[], T], fallback: T) -> T:
        """Return what `call` returns, or `fallback` where it raises: then the part is in trouble.

        For parts whose failures must not end the agent. The traceback is logged when the trouble begins. What
        is wrong with the coordination store or the clock is raised all the same: it outlasts any retry.
        """
        try:
            result = call()
        except CoordinationError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            if part not in self._standing:
                log.exception("%s failed, and is tried again", part)
            self.note(part, reason)
            return fallback
        self.note(part, "")
        return result
