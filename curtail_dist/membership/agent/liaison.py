"""An agent's line to the coordination store. Its agent never waits for the store to go on.

What stands in the store is mirrored (`Board`). What the agent wants to stand there, its site's request to
leave and how its site stands, is written by a thread, again and again until it is certain.

How the site stands lives on the agent's lease, and tells that the site has an agent: two of them would have
their ranks take the site's seat from each other without end, each time at the cost of an open round.
"""

import logging
import threading
import time
from contextlib import suppress

from curtail_dist.coordination.store import CoordinationStore, Lease
from curtail_dist.errors import CoordinationError, CurtailError, LeaseExpired, StoreUnavailable, Superseded
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice, asking
from curtail_dist.membership.refusal import Refusal
from curtail_dist.membership.view import View
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

TTL_S: Seconds = 15.0
"""For how long an agent that has died is still shown."""
_RETRY_S = 0.2
_JOIN_S = 10.0


class Liaison:
    """One site's line. Owns a board, a thread and a lease between `open` and `close`."""

    def __init__(
        self, store: CoordinationStore, *, run: str, site: str, ttl_s: Seconds = TTL_S, sure_s: Seconds = 1.0
    ) -> None:
        """Use `store`, which stays its owner's; wait at most `sure_s` for a request to be certain."""
        self._store = store
        self._keys = Keys(run)
        self._site = site
        self._ttl_s = ttl_s
        self._sure_s = sure_s
        self._board = Board(store, self._keys, site=site)
        self._changed = threading.Condition()
        self._notice: Notice | None = None
        self._noticed = True
        """Whether the store has, for certain, what is wanted there."""
        self._shown: dict[str, bytes] = {}
        self._to_show: dict[str, bytes] = {}
        """Key -> value that is to live on the lease."""
        self._lease: Lease | None = None
        self._leases: set[int] = set()
        """Ids of all leases that were granted to it."""
        self._renew_at = 0.0
        self._closing = False
        self._trouble = ""
        self._failure: CurtailError | None = None
        self._thread = threading.Thread(target=self._run, name=f"liaison-{site}", daemon=True)

    def open(self, state: bytes) -> bool:
        """Begin, unless another agent has the site; return whether it has begun.

        One that has died is taken to live for `ttl_s` more. What an earlier one asked and was told is
        forgotten; `state` is how the site stands. Raises StoreUnavailable.
        """
        self._to_show = {self._keys.agent(self._site): state}
        if not self._claim():
            return False
        self._store.delete(self._keys.drain(self._site))
        self._store.delete(self._keys.refused(self._site))
        self._board.start()
        self._thread.start()
        return True

    @property
    def trouble(self) -> str:
        """Why the store does not answer; empty: it does, as far as is known."""
        return self._trouble

    def view(self) -> View:
        """Return the run's keys as last seen.

        Raises CoordinationError where the store was replaced, Superseded where another agent has the site.
        """
        failure = self._failure or self._board.failure
        if failure is not None:
            raise failure
        return self._board.view()

    @property
    def complete(self) -> bool:
        """Whether the run's head says that every row is done."""
        head = self.view().head
        return head is not None and head.complete

    @property
    def seated(self) -> bool:
        """Whether the site's living process is a member of the run's epoch."""
        view = self.view()
        return view.epoch is not None and view.present.get(self._site) in view.epoch.members

    @property
    def registered(self) -> bool:
        """Whether a process of the site has shown itself in the store and lives."""
        return self._site in self.view().present

    @property
    def parked(self) -> bool:
        """Whether the site's ranks say that they wait in memory."""
        return any(one.parked for one in self.view().presences if one.member.site == self._site)

    @property
    def refusal(self) -> Refusal | None:
        """What the site's ranks said last of why they end over what the user gave."""
        entry = self.view().entries.get(self._keys.refused(self._site))
        return None if entry is None else Refusal.decode(entry.value)

    def ask_to_leave(self, reason: str, *, after_commit: bool = False) -> bool:
        """Ask the site's ranks to leave the run; return whether the store has it for certain by now."""
        return self._want(Notice(reason=reason, after_commit=after_commit))

    def forget_leaving(self) -> bool:
        """Take the request back; return whether the store has answered that it is gone."""
        with self._changed:
            self._noticed = False
        return self._want(None)

    def show(self, state: bytes) -> None:
        """Let others read how the site stands, as long as this agent lives."""
        self._show(self._keys.agent(self._site), state)

    def publish(self, outlook: bytes) -> None:
        """Let others read what their plans need to know of the site, as long as this agent lives."""
        self._show(self._keys.outlook(self._site), outlook)

    def close(self) -> None:
        """Take back what others read of this agent; idempotent and bounded. The site's request stays."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._board.close()

    def _show(self, key: str, value: bytes) -> None:
        with self._changed:
            self._to_show = {**self._to_show, key: value}
            self._changed.notify_all()

    def _want(self, notice: Notice | None) -> bool:
        with self._changed:
            if notice != self._notice:
                self._notice, self._noticed = notice, False
            self._changed.notify_all()
            # Without an answer the thread goes on trying; nobody waits for it a second time.
            patience = 0.0 if self._trouble else self._sure_s
            return self._changed.wait_for(lambda: self._noticed, patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                left = self._renew_at - time.monotonic() if self._lease else self._ttl_s / 3
                self._changed.wait_for(self._has_work, max(0.0, left))
                if self._closing:
                    break
            try:
                self._attempt()
            except (CoordinationError, Superseded) as error:
                self._failure = error
                return
        if self._lease is not None:
            with suppress(CoordinationError):  # it lapses by itself
                self._lease.revoke()

    def _has_work(self) -> bool:
        return self._closing or not self._noticed or self._to_show != self._shown

    def _attempt(self) -> None:
        """Write what is wanted, or renew the lease; raises what makes the store useless for good."""
        try:
            if self._lease is not None and time.monotonic() >= self._renew_at:
                self._lease.keep_alive()
                self._renew_at = time.monotonic() + self._ttl_s / 3
            if not self._noticed:
                self._write_notice()
            elif self._to_show != self._shown:
                self._write_shown()
        except LeaseExpired:
            self._lease, self._shown = None, {}
        except StoreUnavailable as error:
            self._troubled(str(error))
            with self._changed:
                self._changed.wait_for(lambda: self._closing, _RETRY_S)
        else:
            self._troubled("")

    def _write_notice(self) -> None:
        with self._changed:
            notice = self._notice
        if notice is None:
            self._store.delete(self._keys.drain(self._site))
        else:
            view = self._board.view()
            puts = asking(self._keys, self._site, notice, epoch=view.epoch, head=view.head)
            self._store.transact(compare={}, puts=puts)
        with self._changed:
            self._noticed = notice == self._notice
            self._changed.notify_all()

    def _claim(self) -> bool:
        """Have the site's key live on a lease of this agent; return False where it lives on another's."""
        key = self._keys.agent(self._site)
        while key not in self._shown:
            there = self._store.get(key)
            if there is not None and there.lease not in self._leases:
                return False
            if self._lease is None:
                self._lease = self._store.grant(self._ttl_s)
                self._leases.add(self._lease.id)
                self._renew_at = time.monotonic() + self._ttl_s / 3
            value, revision = self._to_show[key], 0 if there is None else there.revision
            if self._store.compare_and_swap(key, value, revision=revision, lease=self._lease).succeeded:
                self._shown[key] = value
        return True

    def _write_shown(self) -> None:
        if not self._claim():
            raise Superseded(
                f"another agent of site {self._site} began while the store had no word of this one; a site "
                "has one: this one ends, stop the other to start it again"
            )
        for key, value in self._to_show.items():
            if self._shown.get(key) != value:
                self._store.put(key, value, lease=self._lease)
                self._shown[key] = value

    def _troubled(self, reason: str) -> None:
        if reason and not self._trouble:
            log.warning("site %s: the store does not answer, going on without it: %s", self._site, reason)
        elif self._trouble and not reason:
            log.info("site %s: the store answers again", self._site)
        self._trouble = " ".join(reason.split())
