"""What a coordination store holds: keys, leases and the history of changes, without threads or a clock.

The in-process store and the simulator are built on it. Given the same calls it gives the same answers, lease
ids and revisions included.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

from curtail_dist.coordination.store import Change, Entry, Listing, TxnResult
from curtail_dist.coordination.transaction import check_disjoint
from curtail_dist.errors import LeaseExpired, StoreUnavailable
from curtail_dist.units import Seconds

_revision_of = attrgetter("revision")


@dataclass(frozen=True, kw_only=True)
class _Grant:
    ttl: Seconds
    ends_at: float


class Keyspace:
    """A store's contents at one moment; `advance` moves the moment. Not thread-safe: its owner serialises.

    A lease granted or renewed at time t ends in the first `advance` to t + ttl or later, and its keys with
    it, in one revision. Leases that end in the same `advance` end in the order of their times.
    """

    def __init__(self, *, cluster: int = 1, now: Seconds = 0.0) -> None:
        """Begin empty at revision 1 and time `now`; `cluster` tells this store from others."""
        self._cluster = cluster
        self._now = now
        self._revision = 1
        self._entries: dict[str, Entry] = {}
        self._leases: dict[int, _Grant] = {}
        self._last_lease = 0
        self._history: list[Change] = []
        self._compacted = 0
        self._no_end_before = math.inf

    @property
    def cluster(self) -> int:
        """Id of the store that these are the contents of."""
        return self._cluster

    @property
    def revision(self) -> int:
        """Revision of the last write to any key."""
        return self._revision

    @property
    def next_end(self) -> Seconds | None:
        """Time at which the next lease ends if nobody renews it, None without leases."""
        return min((grant.ends_at for grant in self._leases.values()), default=None)

    def advance(self, now: Seconds) -> None:
        """Move to time `now`, never backwards, and end the leases whose time is over."""
        self._now = max(self._now, now)
        if self._now < self._no_end_before:
            return
        over = [(grant.ends_at, lease) for lease, grant in self._leases.items() if grant.ends_at <= self._now]
        for _, lease in sorted(over):
            self._end(lease)
        ends = self.next_end
        self._no_end_before = math.inf if ends is None else ends

    def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        return self._entries.get(key)

    def list(self, prefix: str) -> Listing:
        """Return the entries below `prefix`, sorted by key."""
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Listing(entries=tuple(self._entries[key] for key in keys), revision=self._revision)

    def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write without comparing, on `lease` (0: none); return the revision. Raises LeaseExpired."""
        return self.transact(compare={}, puts={key: value}, lease=lease).revision

    def transact(
        self,
        *,
        compare: Mapping[str, int],
        puts: Mapping[str, bytes] | None = None,
        deletes: Sequence[str] = (),
        lease: int = 0,
    ) -> TxnResult:
        """Do what `CoordinationStore.transact` says; `lease` 0 is none."""
        puts = puts or {}
        if deletes:
            check_disjoint(puts, deletes)
        for key, revision in compare.items():
            entry = self._entries.get(key)
            if (entry.revision if entry else 0) != revision:
                current = {key: self._entries.get(key) for key in compare}
                return TxnResult(succeeded=False, revision=self._revision, current=current)
        if puts and lease and lease not in self._leases:
            raise _expired(lease)
        self._apply(puts, deletes, lease)
        return TxnResult(succeeded=True, revision=self._revision, current={})

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it existed."""
        existed = key in self._entries
        self._apply({}, (key,), 0)
        return existed

    def grant(self, ttl: Seconds) -> int:
        """Grant a lease of `ttl` seconds from now; return its id, which is never given again."""
        if ttl <= 0:
            raise ValueError(f"ttl is {ttl}; it must be above 0 seconds")
        self._last_lease += 1
        self._hold(self._last_lease, ttl)
        return self._last_lease

    def keep_alive(self, lease: int) -> None:
        """Give a lease its full time again. Raises LeaseExpired."""
        if lease not in self._leases:
            raise _expired(lease)
        self._hold(lease, self._leases[lease].ttl)

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; ending an ended lease is no error."""
        self._end(lease)

    def extend_leases(self) -> None:
        """Give every lease its full time again, as etcd does when it has been started anew."""
        for lease, grant in tuple(self._leases.items()):
            self._hold(lease, grant.ttl)

    def stand_in_for(self, former: Self) -> None:
        """Go on at the time of `former`, with leases that have their full time and ids that it never gave."""
        self._now = former._now
        self._last_lease = max(self._last_lease, former._last_lease)
        self.extend_leases()

    def changes_since(self, revision: int) -> Sequence[Change]:
        """Return the changes made after `revision`, in order.

        Raises StoreUnavailable when some of them were compacted.
        """
        if revision >= self._revision:
            return ()
        if revision + 1 < self._compacted:
            raise StoreUnavailable(
                f"history before revision {self._compacted} is compacted, changes from {revision + 1} on are "
                "asked for: list again and watch from there"
            )
        return self._history[self._first_after(revision) :]

    def compact(self, revision: int) -> None:
        """Forget the changes before `revision`."""
        self._compacted = max(self._compacted, min(revision, self._revision))
        del self._history[: self._first_after(self._compacted - 1)]

    def copy(self) -> Self:
        """Return the contents as they are now, as a back-up holds them."""
        other = type(self)(cluster=self._cluster, now=self._now)
        other._revision = self._revision
        other._entries = dict(self._entries)
        other._leases = dict(self._leases)
        other._last_lease = self._last_lease
        other._history = list(self._history)
        other._compacted = self._compacted
        other._no_end_before = self._no_end_before
        return other

    def _first_after(self, revision: int) -> int:
        return bisect_right(self._history, revision, key=_revision_of)

    def _hold(self, lease: int, ttl: Seconds) -> None:
        ends_at = self._now + ttl
        self._leases[lease] = _Grant(ttl=ttl, ends_at=ends_at)
        self._no_end_before = min(self._no_end_before, ends_at)

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


def _expired(lease: int) -> LeaseExpired:
    return LeaseExpired(f"lease {lease} no longer exists: grant another and write its keys again")
