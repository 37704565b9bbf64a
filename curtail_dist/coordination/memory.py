"""The coordination store in one process: for tests, and sites that are threads."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Self

from curtail_dist.coordination.continuity import Continuity
from curtail_dist.coordination.keyspace import Keyspace
from curtail_dist.coordination.memory_cluster import MemoryCluster
from curtail_dist.coordination.store import Change, Entry, Lease, Listing, TxnResult
from curtail_dist.errors import StoreUnavailable
from curtail_dist.units import Seconds

_WHERE = "the store in this process"


class MemoryStore:
    """One handle on a `MemoryCluster`: a `CoordinationStore` that needs no server.

    Thread-safe. Closing it ends its watches; the cluster and other handles go on.
    """

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        """Share `cluster`, or begin a new one."""
        self.cluster = cluster or MemoryCluster()
        self._continuity = Continuity()
        self._closed = False
        self._watches: list[_MemoryWatch] = []

    def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        with self._contents() as contents:
            return contents.get(key)

    def list(self, prefix: str) -> Listing:
        """Return all entries whose key starts with `prefix`."""
        with self._contents() as contents:
            return contents.list(prefix)

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
        with self._contents() as contents:
            return contents.transact(
                compare=compare, puts=puts, deletes=deletes, lease=lease.id if lease else 0
            )

    def compare_and_swap(
        self, key: str, value: bytes, *, revision: int, lease: Lease | None = None
    ) -> TxnResult:
        """Write `key` if its revision is still `revision` (0: it must not exist)."""
        return self.transact(compare={key: revision}, puts={key: value}, lease=lease)

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it existed."""
        with self._contents() as contents:
            return contents.delete(key)

    def grant(self, ttl: Seconds) -> Lease:
        """Grant a lease of exactly `ttl` seconds."""
        with self._contents() as contents:
            return _MemoryLease(self._contents, id=contents.grant(ttl), ttl=ttl)

    def watch(self, prefix: str, *, revision: int) -> "_MemoryWatch":
        """Watch all keys below `prefix`, beginning with changes made at `revision` or later."""
        watch = _MemoryWatch(self._open(), self._continuity, prefix, revision)
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

    def _contents(self) -> AbstractContextManager[Keyspace]:
        return _confirmed(self._open(), self._continuity)


@contextmanager
def _confirmed(cluster: MemoryCluster, continuity: Continuity) -> Generator[Keyspace]:
    """Lend the contents of `cluster` if they continue what was seen before, and take note of what is done."""
    with cluster.contents() as contents:
        begun = continuity.begin()
        continuity.confirm(_WHERE, contents.cluster, contents.revision, begun=begun)
        yield contents
        continuity.confirm(_WHERE, contents.cluster, contents.revision, begun=begun)


class _MemoryLease:
    def __init__(
        self, contents: Callable[[], AbstractContextManager[Keyspace]], *, id: int, ttl: Seconds
    ) -> None:
        self._contents = contents
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
        with self._contents() as contents:
            contents.keep_alive(self._id)

    def revoke(self) -> None:
        """End it now."""
        with self._contents() as contents:
            contents.revoke(self._id)


class _MemoryWatch:
    """Reads the cluster's history; it owns nothing but its place in it."""

    def __init__(self, cluster: MemoryCluster, continuity: Continuity, prefix: str, revision: int) -> None:
        self._cluster = cluster
        self._continuity = continuity
        self._prefix = prefix
        self._seen = max(0, revision - 1)
        self._found: Sequence[Change] = ()
        self._closed = False

    def next(self, timeout: Seconds) -> Sequence[Change]:
        """Return the next changes, or an empty sequence after `timeout` seconds or once closed."""
        self._cluster.wait(self._look, timeout)
        found, self._found = self._found, ()
        return () if self._closed else found

    def close(self) -> None:
        """End the subscription; idempotent."""
        self._closed = True
        self._cluster.tick()

    def _look(self) -> bool:
        if not self._closed:
            with _confirmed(self._cluster, self._continuity) as contents:
                changes = contents.changes_since(self._seen)
                self._found = tuple(change for change in changes if change.key.startswith(self._prefix))
                self._seen = max(self._seen, contents.revision)
        return self._closed or bool(self._found)
