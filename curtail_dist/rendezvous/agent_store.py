"""torch's c10d `Store` on the coordination store: where the agents of a rendezvous leave ranks and ports."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import Store

from curtail_dist.coordination import CoordinationStore, Lease
from curtail_dist.errors import CoordinationError, StoreUnavailable
from curtail_dist.rendezvous.seal import Seal, SealBroken

log = logging.getLogger(__name__)

_RETRY_S = 0.2


class AgentStore(Store):
    """A c10d store whose keys outlive the node that wrote them, unlike those of a `TCPStore`.

    torchrun's agents write a few hundred bytes at each change of membership. Ranks do not use it: torch gives
    them a `TCPStore` on the first node. It has what the agents call; deleting, `compare_set` and the extended
    API are not among it. Raises DistStoreError as torch's own stores do. Whoever wraps it in a `PrefixStore`
    keeps a reference to it, as torch's handler does: the wrapper holds only the part that is not Python.
    """

    timeout: timedelta
    """How long `get`, `wait` and `add` may take; torch's base class holds it (`set_timeout`)."""

    def __init__(
        self, store: CoordinationStore, lease: Callable[[], Lease], *, prefix: str, seal: Seal
    ) -> None:
        """Keep the keys below `prefix`, on the lease that `lease()` returns, their values under `seal`."""
        super().__init__()
        self._kv = store
        self._lease = lease
        self._prefix = prefix
        self._seal = seal

    def set(self, key: str, value: str | bytes) -> None:
        """Write a key."""
        raw = value.encode() if isinstance(value, str) else bytes(value)
        try:
            self._kv.put(self._prefix + key, self._seal.wrap(self._prefix + key, raw), lease=self._lease())
        except CoordinationError as error:
            raise DistStoreError(str(error)) from error

    def get(self, key: str) -> bytes:
        """Return a key's value; wait for it for the store's timeout."""
        return self._collect([key], self.timeout)[key]

    def add(self, key: str, value: int) -> int:
        """Add to a counter, which begins at 0; return the sum."""
        deadline = time.monotonic() + self.timeout.total_seconds()
        place = self._prefix + key
        try:
            entry = self._kv.get(place)
            while time.monotonic() < deadline:
                total = value + (int(self._seal.unwrap(place, entry.value)) if entry else 0)
                revision = entry.revision if entry else 0
                sealed = self._seal.wrap(place, b"%d" % total)
                result = self._kv.compare_and_swap(place, sealed, revision=revision, lease=self._lease())
                if result.succeeded:
                    return total
                entry = result.current[place]
        except (CoordinationError, SealBroken) as error:
            raise DistStoreError(str(error)) from error
        raise DistStoreError(
            f"the counter {key!r} did not stand still for {self.timeout}; lessen its writers"
        )

    def check(self, keys: Sequence[str]) -> bool:
        """Return whether all the keys exist."""
        try:
            return all(self._kv.get(self._prefix + key) is not None for key in keys)
        except CoordinationError as error:
            raise DistStoreError(str(error)) from error

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Block until all the keys exist, for `timeout` at most (default: the store's)."""
        self._collect(keys, timeout if timeout is not None else self.timeout)

    def _collect(self, keys: Sequence[str], timeout: timedelta) -> dict[str, bytes]:
        """Wait for the keys, over outages of the store too, until the timeout."""
        deadline = time.monotonic() + timeout.total_seconds()
        cause: StoreUnavailable | None = None
        while True:
            try:
                found = self._collect_once(keys, deadline)
                return {key: self._seal.unwrap(self._prefix + key, found[key]) for key in keys}
            except StoreUnavailable as error:
                cause = error
                log.warning("the rendezvous waits for the store: %s", error)
            except (CoordinationError, SealBroken) as error:
                raise DistStoreError(str(error)) from error
            if time.monotonic() + _RETRY_S >= deadline:
                raise DistStoreError(str(cause)) from cause
            time.sleep(_RETRY_S)

    def _collect_once(self, keys: Sequence[str], deadline: float) -> dict[str, bytes]:
        """Return what is stored below the prefix once all the keys are there."""
        listing = self._kv.list(self._prefix)
        found = {entry.key.removeprefix(self._prefix): entry.value for entry in listing.entries}
        missing = set(keys) - found.keys()
        if not missing:
            return found
        watch = self._kv.watch(self._prefix, revision=listing.revision + 1)
        try:
            while missing:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise DistStoreError(
                        f"no node has written {sorted(missing)} in time; look at the other nodes' logs"
                    )
                for change in watch.next(left):
                    if change.entry is not None:
                        name = change.key.removeprefix(self._prefix)
                        found[name] = change.entry.value
                        missing.discard(name)
        finally:
            watch.close()
        return found
