"""Tells the inner steps of a round as `step` events, several together."""

from curtail_dist.runtime.intrasite import Tally
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.telemetry.events import Step
from curtail_dist.telemetry.record import EventLog


class StepLog:
    """Sums up inner steps until there are enough of them for an event, or the round ends."""

    def __init__(self, events: EventLog, *, every: int) -> None:
        """Tell of `every` steps at a time in `events`."""
        self._events = events
        self._every = every
        self._steps = 0
        self._tokens = 0

    def done(self, round: OpenRound, tally: Tally) -> None:
        """Count a step; one of a flying round is told only when it has become part of a planned one."""
        if round.flying:
            return
        self._steps += 1
        self._tokens += tally.tokens
        if self._steps >= self._every or round.due:
            loss = round.losses[-1] if round.losses else None
            self._events.emit(Step(steps=self._steps, tokens=self._tokens, rows=tally.rows, loss=loss))
            self._steps = self._tokens = 0
