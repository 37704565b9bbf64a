"""A handle on a store of this process that fails in the ways a test asks for."""

from collections.abc import Callable, Sequence

from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.coordination.store import Change, Watch
from curtail_dist.errors import StoreUnavailable


class Outage(MemoryStore):
    """Fails alone: other handles on the cluster go on."""

    down = False
    """Answers nothing."""
    refused = 0
    """Calls that got no answer while `down`."""
    lost = 0
    """Further transactions that take effect, but whose answers are lost."""
    meanwhile: Callable[[], None] | None = None
    """Called before each transaction: what another process does just then."""

    def _open(self) -> MemoryCluster:
        self.fail_if_down()
        return super()._open()

    def fail_if_down(self) -> None:
        if self.down:
            self.refused += 1
            raise StoreUnavailable("the store is down; wait for it")

    def watch(self, prefix, *, revision):
        return _Watch(self, super().watch(prefix, revision=revision))

    def transact(self, **given):
        if self.meanwhile is not None:
            self.meanwhile()
        result = super().transact(**given)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("the answer was lost; read before writing again")
        return result


class _Watch:
    def __init__(self, store: Outage, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def next(self, timeout: float) -> Sequence[Change]:
        self._store.fail_if_down()
        return self._watch.next(timeout)

    def close(self) -> None:
        self._watch.close()
