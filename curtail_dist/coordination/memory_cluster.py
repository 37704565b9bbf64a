"""The in-process cluster: the contents, lock and clock that the stores of one process share."""

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

from curtail_dist.coordination.keyspace import Keyspace
from curtail_dist.coordination.store import Change, Entry, Listing, TxnResult
from curtail_dist.units import Seconds

_LEAST_WAIT_S = 0.01
"""A watcher looks no more often than this for a lease that is about to end."""


class MemoryCluster:
    """What the stores of one process share, and what is done to it from outside.

    Thread-safe; freed with its last store. Leases end by `monotonic`, whenever the contents are looked at or
    `tick` is called.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin empty at revision 1; `monotonic` gives the seconds that leases are counted in."""
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._contents = Keyspace(now=monotonic())

    @contextmanager
    def contents(self) -> Generator[Keyspace]:
        """Lend the contents, brought up to the present, to one thread; watchers are woken if they changed."""
        with self._changed:
            lent = self._contents
            before = lent.revision
            try:
                lent.advance(self._monotonic())
                yield lent
            finally:
                if lent.revision != before:
                    self._changed.notify_all()

    def read(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        with self.contents() as contents:
            return contents.get(key)

    def read_below(self, prefix: str) -> Listing:
        """Return the entries below `prefix`, sorted by key."""
        with self.contents() as contents:
            return contents.list(prefix)

    def write(
        self, compare: Mapping[str, int], puts: Mapping[str, bytes], deletes: Sequence[str], lease: int
    ) -> TxnResult:
        """Apply a transaction; `lease` 0 is none."""
        with self.contents() as contents:
            return contents.transact(compare=compare, puts=puts, deletes=deletes, lease=lease)

    def remove(self, key: str) -> bool:
        """Delete a key; return whether it existed."""
        with self.contents() as contents:
            return contents.delete(key)

    def grant(self, ttl: Seconds) -> int:
        """Grant a lease and return its id."""
        with self.contents() as contents:
            return contents.grant(ttl)

    def renew(self, lease: int) -> None:
        """Give a lease its full time again."""
        with self.contents() as contents:
            contents.keep_alive(lease)

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys."""
        with self.contents() as contents:
            contents.revoke(lease)

    def changes(self, prefix: str, revision: int) -> tuple[Sequence[Change], int]:
        """Return the changes below `prefix` made at `revision` or later, and the revision to ask from next.

        Raises StoreUnavailable when they were compacted.
        """
        with self.contents() as contents:
            made = contents.changes_since(revision - 1)
            found = [change for change in made if change.key.startswith(prefix)]
            return found, max(revision, contents.revision + 1)

    def tick(self) -> None:
        """End the leases whose time is over and wake watchers; for whoever moves an injected clock."""
        with self.contents():
            self._changed.notify_all()

    def compact(self, revision: int) -> None:
        """Forget the changes before `revision`; watches that still ask for them fail."""
        with self.contents() as contents:
            contents.compact(revision)
            self._changed.notify_all()

    def back_up(self) -> Keyspace:
        """Return the contents as they are now, for `set_back`."""
        with self.contents() as contents:
            return contents.copy()

    def set_back(self, backup: Keyspace) -> None:
        """Hold what was backed up, as an etcd does that was started on an older data directory."""
        with self.contents() as former:
            self._contents = backup.copy()
            self._contents.stand_in_for(former)
            self._changed.notify_all()

    def replace(self) -> None:
        """Be another, empty store, as an etcd is that lost its data directory."""
        with self.contents() as former:
            self._contents = Keyspace(cluster=former.cluster + 1)
            self._contents.stand_in_for(former)
            self._changed.notify_all()

    def wait(self, ready: Callable[[], bool], timeout: Seconds) -> None:
        """Block until `ready()` or for `timeout` seconds of real time, ending leases meanwhile."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                end = self._contents.next_end
                due = left if end is None else end - self._monotonic()
                self._changed.wait(min(left, max(due, _LEAST_WAIT_S)))
