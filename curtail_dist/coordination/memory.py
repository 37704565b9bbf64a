"""The coordination store in one process: for simulations, tests, and sites that are threads."""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from curtail_dist.coordination.store import Change, Entry, Lease, Listing, TxnResult
from curtail_dist.coordination.transaction import check_disjoint
from curtail_dist.errors import LeaseExpired, StoreUnavailable
from curtail_dist.units import Seconds

_LEAST_WAIT_S = 0.01
"""A watcher looks no more often than this for a lease that is about to end."""


@dataclass(kw_only=True)
class _Grant:
    ttl: Seconds
    ends_at: float


class MemoryCluster:
    """What the stores of one process share: keys, leases, and the history that watches read.

    Thread-safe; freed with its last store. Leases end by `monotonic`, whenever the cluster is asked something
    or `tick` is called.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin empty at revision 1; `monotonic` gives the seconds that leases are counted in."""
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._entries: dict[str, Entry] = {}
        self._leases: dict[int, _Grant] = {}
        self._last_lease = 0
        self._revision = 1
        self._history: list[Change] = []
        self._compacted = 0

    def tick(self) -> None:
        """End the leases whose time is over and wake watchers; for whoever moves an injected clock."""
        with self._changed:
            self._expire()
            self._changed.notify_all()

    def compact(self, revision: int) -> None:
        """Forget the changes before `revision`; watches that still ask for them fail."""
        with self._changed:
            self._compacted = max(self._compacted, min(revision, self._revision))
            del self._history[: self._first_at(self._compacted)]
            self._changed.notify_all()

    def read(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        with self._changed:
            self._expire()
            return self._entries.get(key)

    def read_below(self, prefix: str) -> Listing:
        """Return the entries below `prefix`, sorted by key."""
        with self._changed:
            self._expire()
            keys = sorted(key for key in self._entries if key.startswith(prefix))
            return Listing(entries=tuple(self._entries[key] for key in keys), revision=self._revision)

    def write(
        self, compare: Mapping[str, int], puts: Mapping[str, bytes], deletes: Sequence[str], lease: int
    ) -> TxnResult:
        """Apply a transaction; `lease` 0 is none."""
        check_disjoint(puts, deletes)
        with self._changed:
            self._expire()
            current = {key: self._entries.get(key) for key in compare}
            revisions = {key: entry.revision if entry else 0 for key, entry in current.items()}
            if revisions != dict(compare):
                return TxnResult(succeeded=False, revision=self._revision, current=current)
            if puts and lease and lease not in self._leases:
                raise _expired(lease)
            self._apply(puts, deletes, lease)
            return TxnResult(succeeded=True, revision=self._revision, current={})

    def remove(self, key: str) -> bool:
        """Delete a key; return whether it existed."""
        with self._changed:
            self._expire()
            existed = key in self._entries
            self._apply({}, (key,), 0)
            return existed

    def grant(self, ttl: Seconds) -> int:
        """Grant a lease and return its id."""
        if ttl <= 0:
            raise ValueError(f"ttl is {ttl}; it must be above 0 seconds")
        with self._changed:
            self._last_lease += 1
            self._leases[self._last_lease] = _Grant(ttl=ttl, ends_at=self._monotonic() + ttl)
            return self._last_lease

    def renew(self, lease: int) -> None:
        """Give a lease its full time again."""
        with self._changed:
            self._expire()
            if lease not in self._leases:
                raise _expired(lease)
            self._leases[lease].ends_at = self._monotonic() + self._leases[lease].ttl

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys."""
        with self._changed:
            self._expire()
            self._end(lease)

    def changes(self, prefix: str, revision: int) -> tuple[Sequence[Change], int]:
        """Return the changes below `prefix` made at `revision` or later, and the revision to ask from next.

        Raises StoreUnavailable when they were compacted.
        """
        with self._changed:
            self._expire()
            if revision < self._compacted:
                raise StoreUnavailable(
                    f"history before revision {self._compacted} is compacted, the watch of {prefix!r} asks "
                    f"for {revision}: list again and watch from there"
                )
            found = [c for c in self._history[self._first_at(revision) :] if c.key.startswith(prefix)]
            return found, max(revision, self._revision + 1)

    def wait(self, ready: Callable[[], bool], timeout: Seconds) -> None:
        """Block until `ready()` or for `timeout` seconds of real time, ending leases meanwhile."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                ends = [grant.ends_at for grant in self._leases.values()]
                due = min(ends) - self._monotonic() if ends else left
                self._changed.wait(min(left, max(due, _LEAST_WAIT_S)))

    def _first_at(self, revision: int) -> int:
        return bisect_left(self._history, revision, key=lambda change: change.revision)

    def _expire(self) -> None:
        now = self._monotonic()
        for lease in [lease for lease, grant in self._leases.items() if grant.ends_at <= now]:
            self._end(lease)

    def _end(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            self._apply({}, sorted(key for key, entry in self._entries.items() if entry.lease == lease), 0)

    def _apply(self, puts: Mapping[str, bytes], deletes: Sequence[str], lease: int) -> None:
        """Write one revision; deleting what is absent is no change."""
        present = [key for key in deletes if key in self._entries]
        if not puts and not present:
            return
        self._revision += 1
        for key, value in puts.items():
            entry = Entry(key=key, value=bytes(value), revision=self._revision, lease=lease)
            self._entries[key] = entry
            self._history.append(Change(key=key, entry=entry, revision=self._revision))
        for key in present:
            del self._entries[key]
            self._history.append(Change(key=key, entry=None, revision=self._revision))
        self._changed.notify_all()


def _expired(lease: int) -> LeaseExpired:
    return LeaseExpired(f"lease {lease} no longer exists: grant another and write its keys again")


class MemoryStore:
    """One handle on a `MemoryCluster`: a `CoordinationStore` that needs no server.

    Thread-safe. Closing it ends its watches; the cluster and other handles go on.
    """

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        """Share `cluster`, or begin a new one."""
        self.cluster = cluster or MemoryCluster()
        self._closed = False
        self._watches: list[_MemoryWatch] = []

    def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        return self._open().read(key)

    def list(self, prefix: str) -> Listing:
        """Return all entries whose key starts with `prefix`."""
        return self._open().read_below(prefix)

    def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write without comparing; return the new revision. Raises LeaseExpired for an ended lease."""
        return self.transact(compare={}, puts={key: value}, lease=lease).revision

    def transact(
        self,
        *,
        compare: Mapping[str, int],
        puts: Mapping[str, bytes] | None = None,
        deletes: Sequence[str] = (),
        lease: Lease | None = None,
    ) -> TxnResult:
        """Apply all `puts` and `deletes` if every compared key has its revision, else none."""
        return self._open().write(compare, puts or {}, deletes, lease.id if lease else 0)

    def compare_and_swap(
        self, key: str, value: bytes, *, revision: int, lease: Lease | None = None
    ) -> TxnResult:
        """Write `key` if its revision is still `revision` (0: it must not exist)."""
        return self.transact(compare={key: revision}, puts={key: value}, lease=lease)

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it existed."""
        return self._open().remove(key)

    def grant(self, ttl: Seconds) -> Lease:
        """Grant a lease of exactly `ttl` seconds."""
        return _MemoryLease(self._open, id=self._open().grant(ttl), ttl=ttl)

    def watch(self, prefix: str, *, revision: int) -> "_MemoryWatch":
        """Watch all keys below `prefix`, beginning with changes made at `revision` or later."""
        watch = _MemoryWatch(self._open(), prefix, revision)
        self._watches.append(watch)
        return watch

    def close(self) -> None:
        """Close the handle's watches; idempotent. Later calls raise StoreUnavailable."""
        self._closed = True
        while self._watches:
            self._watches.pop().close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _open(self) -> MemoryCluster:
        if self._closed:
            raise StoreUnavailable("this store was closed; open another on its cluster")
        return self.cluster


class _MemoryLease:
    def __init__(self, cluster: Callable[[], MemoryCluster], *, id: int, ttl: Seconds) -> None:
        self._cluster = cluster
        self._id = id
        self._ttl = ttl

    @property
    def id(self) -> int:
        """The cluster's id of the lease."""
        return self._id

    @property
    def ttl(self) -> Seconds:
        """The granted time to live in seconds."""
        return self._ttl

    def keep_alive(self) -> None:
        """Renew for another `ttl`."""
        self._cluster().renew(self._id)

    def revoke(self) -> None:
        """End it now."""
        self._cluster().revoke(self._id)


class _MemoryWatch:
    """Reads the cluster's history; it owns nothing but its place in it."""

    def __init__(self, cluster: MemoryCluster, prefix: str, revision: int) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._next_revision = revision
        self._found: Sequence[Change] = ()
        self._closed = False

    def next(self, timeout: Seconds) -> Sequence[Change]:
        """Return the next changes, or an empty sequence after `timeout` seconds or once closed."""
        self._cluster.wait(self._look, timeout)
        found, self._found = self._found, ()
        return () if self._closed else tuple(found)

    def close(self) -> None:
        """End the subscription; idempotent."""
        self._closed = True
        self._cluster.tick()

    def _look(self) -> bool:
        if not self._closed:
            self._found, self._next_revision = self._cluster.changes(self._prefix, self._next_revision)
        return self._closed or bool(self._found)
