"""A process's calls to the store, its lease among them, and since when the store has been silent."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from curtail_dist.coordination.store import CoordinationStore, Entry, Lease, TxnResult
from curtail_dist.errors import LeaseExpired, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.effects import Put, PutLeased, Read, Transact
from curtail_dist.telemetry.events import StoreFound, StoreLost
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds

T = TypeVar("T")


class Contact:
    """The store as one process reaches it. Owns the process's lease; used by its threads alike."""

    def __init__(self, store: CoordinationStore, board: Board, events: EventLog, *, ttl: Seconds) -> None:
        """Call `store`; enter what is seen of epoch and head on `board`; ask for leases of `ttl`."""
        self._store = store
        self._board = board
        self._events = events
        self._ttl = ttl
        self._lease: Lease | None = None
        self._lock = threading.Lock()
        self._answered = time.monotonic()
        self._lost = False

    @property
    def silent_s(self) -> Seconds:
        """Real time since the store last answered, 0 while it has not failed to since."""
        return time.monotonic() - self._answered if self._lost else 0.0

    def read(self, effect: Read) -> Mapping[str, Entry | None]:
        """Read keys."""
        entries = {key: self._call(lambda key=key: self._store.get(key)) for key in effect.keys}
        for entry in entries.values():
            self._note(entry)
        return entries

    def transact(self, effect: Transact) -> TxnResult:
        """Write if nothing compared has changed."""
        result = self._call(lambda: self._store.transact(compare=effect.compare, puts=effect.puts))
        if result.succeeded:
            for key, value in effect.puts.items():
                self._note(Entry(key=key, value=value, revision=result.revision))
        for entry in result.current.values():
            self._note(entry)
        return result

    def put(self, effect: Put) -> None:
        """Write."""
        self._call(lambda: self._store.put(effect.key, effect.value))

    def grant(self, _: object) -> None:
        """Take a new lease."""
        self._lease = self._call(lambda: self._store.grant(self._ttl))

    def keep_alive(self, _: object) -> None:
        """Renew the lease."""
        lease = self._leased()
        self._call(lease.keep_alive)

    def put_leased(self, effect: PutLeased) -> TxnResult:
        """Write on the lease."""
        lease = self._leased()
        compare = {} if effect.revision is None else {effect.key: effect.revision}
        puts = {effect.key: effect.value}
        return self._call(lambda: self._store.transact(compare=compare, puts=puts, lease=lease))

    def revoke(self, _: object) -> None:
        """End the lease."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._call(lease.revoke)

    def _leased(self) -> Lease:
        if self._lease is None:
            raise LeaseExpired("this process holds no lease; it registers again")
        return self._lease

    def _note(self, entry: Entry | None) -> None:
        if entry is not None and entry.key in (self._board.keys.epoch, self._board.keys.head):
            self._board.note(entry)

    def _call(self, call: Callable[[], T]) -> T:
        try:
            answer = call()
        except StoreUnavailable as error:
            self._failed(str(error))
            raise
        self._succeeded()
        return answer

    def _failed(self, reason: str) -> None:
        with self._lock:
            first, self._lost = not self._lost, True
        if first:
            self._events.emit(StoreLost(reason=reason))

    def _succeeded(self) -> None:
        now = time.monotonic()
        with self._lock:
            away, self._lost = (now - self._answered if self._lost else None), False
            self._answered = now
        if away is not None:
            self._events.emit(StoreFound(away_s=away))
