"""A process's snapshots: written one after the other, and said to be durable in the store."""

from collections.abc import Callable

from curtail_dist.errors import CurtailError
from curtail_dist.membership.records import Commit, encode
from curtail_dist.membership.view import View
from curtail_dist.sim.setting import KEYS
from curtail_dist.sim.state import State
from curtail_dist.sim.world import World

Told = Callable[[BaseException | None], None]


class Snapshots:
    """Writes what it is given, in order. A process that dies meanwhile leaves nothing behind."""

    def __init__(
        self,
        world: World,
        who: str,
        site: str,
        view: Callable[[], View],
        alive: Callable[[], bool],
    ) -> None:
        """Write to the site's disk; `view` says what is durable, `alive` whether the process still runs."""
        self._world = world
        self._who = who
        self._site = site
        self._view = view
        self._alive = alive
        self._queue: list[tuple[State, Commit, int, Told]] = []
        self._busy = False

    def make_durable(self, state: State, record: Commit, committed: int, told: Told) -> None:
        """Call `told` when the snapshot is durable, or why it is not; `committed` is the newest version."""
        self._queue.append((state, record, committed, told))
        if not self._busy:
            self._next()

    def _next(self) -> None:
        self._busy = bool(self._queue)
        if not self._queue:
            return
        state, record, committed, told = self._queue.pop(0)
        if self._view().durable(record):
            self._done(told, None)
            return
        kernel = self._world.kernel
        kernel.after(
            kernel.between(0.1, 1.0) * self._world.setting.write_s,
            self._write,
            state,
            record,
            committed,
            told,
        )

    def _write(self, state: State, record: Commit, committed: int, told: Told) -> None:
        world = self._world
        if not self._alive():
            world.history.add(self._who, "torn", record.version)
            return
        disk = world.disk(self._site)
        if disk.failing:
            self._done(told, OSError("the disk failed"))
            return
        disk.put(self._who, state, record)
        holder = encode({"hash": record.hash, "path": disk.url})
        key = KEYS.holder(record.version)

        def put() -> None:
            world.store.contents.transact(compare={}, puts={key: holder}, lease=0)

        def kept(_: object, error: CurtailError | None) -> None:
            if error is None:
                disk.prune(self._who, below=committed - world.setting.keep + 1)
                forgotten = KEYS.holder(committed - world.setting.keep)
                world.store.call(self._who, lambda: world.store.contents.delete(forgotten), _ignore)
            self._done(told, error)

        world.store.call(self._who, put, kept)

    def _done(self, told: Told, error: BaseException | None) -> None:
        self._busy = False
        told(error)
        if not self._busy and self._alive():
            self._next()


def _ignore(value: object, error: CurtailError | None) -> None:
    del value, error
