"""The one shared service: a small, linearizable key-value store with leases, watches and fences.

A key's `revision` is the store-wide revision of its last write; it only grows, so comparing it is a fence:
who holds an old revision cannot write over a newer value. Revision 0 means that the key does not exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A key as the store held it at one revision."""

    key: str
    value: bytes
    revision: int
    """Store revision of the last write to this key."""
    lease: int = 0
    """Id of the lease the key lives on, 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All keys below a prefix, sorted by key, and the store revision at which they were read."""

    entries: tuple[Entry, ...]
    revision: int
    """Watch from `revision + 1` to see every later change and no earlier one."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one key, as a watch reports it."""

    key: str
    entry: Entry | None
    """The new value; None when the key was deleted or its lease ended."""
    revision: int


@dataclass(frozen=True, kw_only=True)
class TxnResult:
    """Outcome of a transaction."""

    succeeded: bool
    revision: int
    """Store revision of the write when it succeeded, else of the comparison."""
    current: Mapping[str, Entry | None]
    """When it failed: the compared keys as they are. Empty when it succeeded."""


class Lease(Protocol):
    """A time-limited claim; keys written with it vanish when it ends. Owned by whoever asked for it."""

    @property
    def id(self) -> int:
        """The store's id of the lease."""
        ...

    @property
    def ttl(self) -> Seconds:
        """The granted time to live in seconds of real time; a store may grant more than was asked."""
        ...

    def keep_alive(self) -> None:
        """Renew for another `ttl`. Raises LeaseExpired if it is gone, StoreUnavailable without an answer."""
        ...

    def revoke(self) -> None:
        """End it now; its keys vanish. Ending an ended lease is no error."""
        ...


class Watch(Protocol):
    """A subscription to the changes below a prefix, in order and without gaps, also over reconnects."""

    def next(self, timeout: Seconds) -> Sequence[Change]:
        """Return the next changes, or an empty sequence after `timeout` seconds of real time.

        Raises StoreUnavailable when the store cannot be reached or no longer has the changes asked for
        (compacted); the caller then lists again and opens a new watch. Raises StoreReplaced as every call.
        """
        ...

    def close(self) -> None:
        """End the subscription; idempotent; wakes a pending `next`."""
        ...


class CoordinationStore(Protocol):
    """What the protocol needs of a store.

    Every call answers within the store's own timeout or raises StoreUnavailable; then a write may or may not
    have happened: read before writing again.

    Once another store answers in its place, or an older state of it, that call and all later ones of this
    handle raise StoreReplaced. A write goes over a new connection only after a read has shown the same store.
    """

    def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        ...

    def list(self, prefix: str) -> Listing:
        """Return all entries whose key starts with `prefix`."""
        ...

    def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write without comparing; return the new revision. Raises LeaseExpired for an ended lease."""
        ...

    def transact(
        self,
        *,
        compare: Mapping[str, int],
        puts: Mapping[str, bytes] | None = None,
        deletes: Sequence[str] = (),
        lease: Lease | None = None,
    ) -> TxnResult:
        """Apply all `puts` and `deletes` if every key in `compare` has exactly that revision, else none.

        Revision 0 stands for an absent key. All `puts` live on `lease` if one is given. Raises LeaseExpired
        for an ended lease.
        """
        ...

    def compare_and_swap(
        self, key: str, value: bytes, *, revision: int, lease: Lease | None = None
    ) -> TxnResult:
        """Write `key` if its revision is still `revision` (0: it must not exist)."""
        ...

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it existed."""
        ...

    def grant(self, ttl: Seconds) -> Lease:
        """Grant a lease of at least `ttl` seconds of real time."""
        ...

    def watch(self, prefix: str, *, revision: int) -> Watch:
        """Watch all keys below `prefix`, beginning with changes made at `revision` or later."""
        ...

    def close(self) -> None:
        """Free connections; idempotent. Leases are left to expire unless they were revoked."""
        ...

    def __enter__(self) -> Self:
        """Return itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...
