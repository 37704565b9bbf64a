"""The few facts that a site's agent reads from the store and writes there, sitting out its outages."""

import json
import logging
from collections.abc import Callable
from typing import TypeVar

from curtail_dist.coordination import CoordinationStore
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Presence

log = logging.getLogger(__name__)
T = TypeVar("T")


class Notices:
    """One site's view of the run in the store. A call without an answer says so and may be repeated."""

    def __init__(self, store: CoordinationStore, *, run: str, site: str) -> None:
        """Use `store`, which stays its owner's."""
        self._store = store
        self._keys = Keys(run)
        self._site = site
        self._reachable = True

    def open(self) -> None:
        """Begin: forget what an earlier agent of this site asked. Raises StoreUnavailable."""
        self._store.delete(self._keys.drain(self._site))

    def complete(self) -> bool:
        """Return whether the run's head says that every row is done; False without an answer."""
        answer = self._attempt(lambda: (self._store.get(self._keys.head),))
        return bool(answer and answer[0] and json.loads(answer[0].value).get("complete"))

    def parked(self) -> bool | None:
        """Return whether the site's ranks say that they wait in memory; None where nobody says anything."""
        answer = self._attempt(lambda: (self._store.get(self._keys.member(self._site)),))
        return Presence.decode(answer[0].value).parked if answer and answer[0] else None

    def ask_to_leave(self, reason: str) -> bool:
        """Ask the site's ranks to drain; return whether the store has it for certain."""
        value = json.dumps({"schema": 1, "reason": reason}).encode()
        return self._attempt(lambda: self._store.put(self._keys.drain(self._site), value)) is not None

    def forget_leaving(self) -> bool:
        """Take the request back; return whether it is gone for certain."""
        return self._attempt(lambda: self._store.delete(self._keys.drain(self._site))) is not None

    def _attempt(self, call: Callable[[], T]) -> T | None:
        try:
            answer = call()
        except StoreUnavailable as error:
            if self._reachable:
                log.warning("site %s: the store does not answer, going on without it: %s", self._site, error)
            self._reachable = False
            return None
        if not self._reachable:
            log.info("site %s: the store answers again", self._site)
        self._reachable = True
        return answer
