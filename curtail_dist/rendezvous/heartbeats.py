"""Heartbeats of a rendezvous' nodes, from which the store has been away: that time is no silence of theirs.

torch takes a node for dead whose last heartbeat in the state is older than some seconds, and forgets it; a
node that finds itself forgotten sends none any more. After an outage all would be that old at once, and the
next node to come would form a job of its own beside the one that still runs.
"""

import pickle
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_OUTAGES = 64
"""So many are remembered: a heartbeat that is older than all of them is that of a dead node."""


def _utc() -> datetime:
    return datetime.now(UTC)


class Heartbeats:
    """What this node knows of the store's outages, and what that excuses. Used by one thread at a time."""

    def __init__(self, now: Callable[[], datetime] = _utc) -> None:
        """Know of none; `now` tells the time that heartbeats are written in (UTC)."""
        self._now = now
        self._answered_at: datetime | None = None
        """When the store answered last."""
        self._away = False
        self._outages: deque[tuple[datetime, datetime]] = deque(maxlen=_OUTAGES)
        """From the last answer before to the first one after."""

    def answered(self) -> None:
        """Take note that the store answers."""
        now = self._now()
        if self._away and self._answered_at is not None:
            self._outages.append((self._answered_at, now))
        self._answered_at, self._away = now, False

    def missed(self) -> None:
        """Take note that the store does not answer."""
        self._away = True

    def excused(self, state: bytes) -> bytes:
        """Return torch's encoded state with each node's heartbeat later by what outages it has sat out.

        The caller has checked that the state may be unpickled. Without an outage it is not touched.
        """
        outages = list(self._outages)
        if self._away and self._answered_at is not None:
            outages.append((self._answered_at, self._now()))
        if not outages:
            return state
        try:
            found = pickle.loads(state)  # noqa: S301 - torch does just that with it next
        except pickle.PickleError:
            return state  # torch, which reads it next, says so
        beats: dict[object, datetime] = found.last_heartbeats
        for node, beat in beats.items():
            away = sum((max(end - max(begin, beat), timedelta()) for begin, end in outages), timedelta())
            beats[node] = beat + away
        return pickle.dumps(found)
