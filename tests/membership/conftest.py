"""A run's keys in a store of this process, whose leases end by a clock that the test moves."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from curtail_dist.coordination.memory import MemoryCluster, MemoryStore
from curtail_dist.coordination.store import Change, Watch
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.presence import Registration
from curtail_dist.membership.records import Member
from curtail_dist.membership.regroup import Council

DEADLINE_S = 20.0
TTL_S = 0.3


class Outage(MemoryStore):
    """A handle on the cluster that answers nothing while `down`, and fails `puts_to_fail` further puts."""

    down = False
    puts_to_fail = 0

    def _open(self) -> MemoryCluster:
        if self.down:
            raise StoreUnavailable("the store is down; wait for it")
        return super()._open()

    def watch(self, prefix, *, revision):
        return _Watch(self, super().watch(prefix, revision=revision))

    def put(self, key, value, *, lease=None):
        if self.puts_to_fail:
            self.puts_to_fail -= 1
            raise StoreUnavailable("the answer was lost; read before writing again")
        return super().put(key, value, lease=lease)


class _Watch:
    def __init__(self, store: Outage, watch: Watch) -> None:
        self._store = store
        self._watch = watch

    def next(self, timeout: float) -> Sequence[Change]:
        if self._store.down:
            raise StoreUnavailable("the store is down; wait for it")
        return self._watch.next(timeout)

    def close(self) -> None:
        self._watch.close()


@dataclass
class Seconds:
    """What leases are counted in."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Party:
    """One site's process: its handle on the store, its board and its registration."""

    store: Outage
    board: Board
    me: Member
    registration: Registration

    def council(self, grace_s: float = DEADLINE_S) -> Council:
        return Council(store=self.store, board=self.board, me=self.me, grace_s=grace_s)


@dataclass
class Town:
    """The store and those who use it."""

    clock: Seconds
    cluster: MemoryCluster
    keys: Keys = field(default_factory=lambda: Keys("t"))
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def store(self) -> MemoryStore:
        return MemoryStore(self.cluster)

    def member(self, site: str, incarnation: str = "") -> Member:
        """Each site has an incarnation of its own, as in a run."""
        return Member(
            site=site, incarnation=incarnation or f"{site}1", host="127.0.0.1", group_port=1, state_port=2
        )

    def party(
        self, site: str, incarnation: str = "", *, watching: bool = True, present: bool = True
    ) -> Party:
        """Add a site; `watching`: it answers suspicions, `present`: it holds a lease."""
        me, store = self.member(site, incarnation), Outage(self.cluster)
        registration = Registration(store, self.keys, me, ttl=TTL_S)
        board = Board(store, self.keys, react=registration.react if watching else None)
        if present:
            registration.start()
            self.stack.callback(registration.close)
        board.start()
        self.stack.callback(board.close)
        return Party(store=store, board=board, me=me, registration=registration)

    def let_leases_lapse(self) -> None:
        self.clock.at += 1000.0
        self.cluster.tick()


@pytest.fixture
def town() -> Iterator[Town]:
    clock = Seconds()
    town = Town(clock=clock, cluster=MemoryCluster(monotonic=clock))
    with town.stack:
        yield town


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, "it did not come to hold"
            time.sleep(0.005)

    return wait
