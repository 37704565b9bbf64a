"""A run in one process: real parts, a store whose leases end by a clock that the test moves."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from outage import Outage

from curtail_dist.clock import SystemClock
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.coordination.store import Entry
from curtail_dist.errors import CurtailError
from curtail_dist.membership import effects as do
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.part import Part, Rules
from curtail_dist.membership.presence import keep_present
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.membership.view import View
from curtail_dist.runtime.contact import Contact
from curtail_dist.runtime.drive import Finished, advance
from curtail_dist.telemetry.record import EventLog

T = TypeVar("T")
DEADLINE_S = 20.0
TTL_S = 0.3
HEAD = Commit(version=3, hash="h3", parent="h2", epoch=1, total_rows=10)
NEXT = Commit(version=4, hash="h4", parent="h3", epoch=3, total_rows=10, done=((0, 5),))


def eventually(holds: Callable[[], object]) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.005)


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Make the calls from threads that set out together; return their results."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(number: int, call: Callable[[], T]) -> None:
        barrier.wait(DEADLINE_S)
        results[number] = call()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE_S)
    assert not any(thread.is_alive() for thread in threads)
    return results


@dataclass
class Seconds:
    """What leases are counted in."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass(kw_only=True)
class Party:
    """One process: its handle on the store, its board, its part; it carries out parts of the protocol.

    Effects on the store and on what was seen of it are real. Effects on groups, disks and the record are
    noted and do nothing, but for what a test puts into `answers`.
    """

    store: Outage
    board: Board
    contact: Contact
    part: Part
    working: bool = True
    """Whether its main loop makes progress."""
    asked: list[do.Effect[Any]] = field(default_factory=list)
    """What `run` was asked for."""
    attended: list[do.Effect[Any]] = field(default_factory=list)
    """What its presence asked for."""
    answers: dict[type, Callable[[Any], Any]] = field(default_factory=dict)
    passed_s: float = 0.0
    """Time that passed at once, in pauses of what `run` carried out."""
    back_at_s: float = float("inf")
    """When, in such time, an outage ends."""
    failure: CurtailError | None = None
    """What ended its presence."""
    presence: threading.Thread | None = None

    @property
    def me(self) -> Member:
        return self.part.me

    def now(self) -> float:
        """Its clock: what passed at once, and what really passed, which on a busy machine is not nothing."""
        return time.monotonic() + self.passed_s

    def run(self, steps: do.Steps[T]) -> T:
        """Carry out a part of the protocol and return what it returns; pauses take no time."""
        try:
            advance(steps, self._perform(self.asked, {do.Pause: self._skip}))
        except Finished as finished:
            assert isinstance(finished.__cause__, StopIteration)
            return finished.__cause__.value
        raise AssertionError("a part of the protocol goes to its end")

    def attend(self, *, registers: bool = True) -> None:
        """Keep the presence up in a thread, as a real process does; return when its key is seen."""
        self.presence = threading.Thread(target=self._attend, name="presence", daemon=True)
        self.presence.start()
        if registers:
            eventually(lambda: self.board.view().present.get(self.me.site) == self.me)

    def register_alone(self) -> None:
        """Hold the key on a lease, and nothing else: a process that hangs."""
        self.contact.grant(None)
        shown = Presence(member=self.me).encode()
        self.contact.put_leased(do.PutLeased(self.part.keys.member(self.me.site), shown))

    def leave(self) -> None:
        """End the presence; idempotent."""
        self.part.closed = True
        self.board.wake()
        if self.presence is not None:
            self.presence.join(DEADLINE_S)
            assert not self.presence.is_alive()

    def show(self, **changes: Any) -> None:
        """Have the key say something else."""
        self.part.shown = Presence(member=self.me, **changes)
        self.board.wake()

    def suffer_outage(self, seconds: float) -> None:
        """The store is away from this process until that much has passed in pauses."""
        self.store.down, self.back_at_s = True, self.passed_s + seconds

    def count(self, kind: type[do.Effect[Any]]) -> int:
        """How often `run` was asked for such an effect."""
        return sum(isinstance(effect, kind) for effect in self.asked)

    def attends(self, kind: type[do.Effect[Any]]) -> int:
        """How often its presence asked for such an effect."""
        return sum(isinstance(effect, kind) for effect in self.attended)

    def sees(self, holds: Callable[[View], object]) -> None:
        """Wait until it holds of what this process sees."""
        assert self.board.wait(lambda view: True if holds(view) else None, timeout=DEADLINE_S)

    def _attend(self) -> None:
        try:
            pause = {do.Pause: lambda _: time.sleep(0.01)}
            advance(keep_present(self.part), self._perform(self.attended, pause))
        except Finished:
            return
        except CurtailError as error:
            self.failure = error

    def _skip(self, pause: do.Pause) -> None:
        self.passed_s += pause.seconds
        if self.passed_s >= self.back_at_s:
            self.store.down, self.back_at_s = False, float("inf")

    def _perform(
        self, noted: list[do.Effect[Any]], special: dict[type, Callable[[Any], Any]]
    ) -> Callable[[do.Effect[Any]], Any]:
        contact, board = self.contact, self.board
        real: dict[type, Callable[[Any], Any]] = {
            do.Read: contact.read,
            do.Transact: contact.transact,
            do.Put: contact.put,
            do.Grant: contact.grant,
            do.KeepAlive: contact.keep_alive,
            do.PutLeased: contact.put_leased,
            do.Revoke: contact.revoke,
            do.Look: lambda _: replace(board.view(), stale_s=contact.silent_s),
            do.Await: lambda effect: board.wait(effect.check, timeout=effect.timeout),
            do.Wake: lambda _: board.wake(),
            do.Now: lambda _: self.now(),
            do.MakesProgress: lambda _: self.working,
            do.Probe: lambda effect: frozenset(member.site for member in effect.members),
            do.Gone: lambda _: frozenset(),
            **dict.fromkeys((do.Form, do.Vacate, do.MakeDurable, do.SnapshotSoon, do.Tell), lambda _: None),
            **special,
        }

        def perform(effect: do.Effect[Any]) -> Any:
            noted.append(effect)
            kind = type(effect)
            assert kind in self.answers or kind in real, f"the test has no answer to {effect}"
            return self.answers[kind](effect) if kind in self.answers else real[kind](effect)

        return perform


@dataclass(kw_only=True)
class Town:
    """The store and those who use it."""

    folder: Path
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

    def party(self, site: str, incarnation: str = "", *, present: bool = True, **rules: Any) -> Party:
        """Add a process; `present`: it holds a lease and answers suspicions."""
        me, store = self.member(site, incarnation), Outage(self.cluster)
        board = Board(store, self.keys, site=site)
        board.start()
        self.stack.callback(board.close)
        self.stack.callback(store.close)  # first, so that the board need not wait for its watch
        log = EventLog(self.folder, site=site, process=f"rank-{me.incarnation}", clock=SystemClock())
        self.stack.callback(log.close)
        given: dict[str, Any] = {
            "total_rows": 10,
            "identity": {"protocol": "1"},
            "round_steps": 4,
            "ttl_s": TTL_S,
            "grace_s": DEADLINE_S,
            "patience_s": DEADLINE_S,
            "outage_s": DEADLINE_S,
            **rules,
        }
        party = Party(
            store=store,
            board=board,
            contact=Contact(store, board, log, ttl=TTL_S),
            part=Part(me=me, keys=self.keys, rules=Rules(**given)),
        )
        if present:
            party.attend()
        self.stack.callback(party.leave)
        return party

    def seat(self, *parties: Party, number: int = 3, head: Commit = HEAD) -> Epoch:
        """Seat processes in an epoch of theirs, on top of a head; return when each of them sees all of it."""
        members = tuple(sorted(party.me for party in parties))
        standing = Epoch(number=number, members=members, reason="joined")
        self.store.put(self.keys.epoch, standing.encode())
        self.store.put(self.keys.head, head.encode())
        for party in parties:
            party.part.seat, party.part.stands_on = standing, head
            self.catch_up(party)
        return standing

    def catch_up(self, party: Party) -> None:
        """Return when a process sees what the store holds."""

        def level(view: View) -> bool:
            return view.entries == {entry.key: entry for entry in self.store.list(self.keys.root).entries}

        party.sees(level)

    def entry(self, key: str) -> Entry:
        """Return what the store holds there."""
        entry = self.store.get(key)
        assert entry is not None
        return entry

    @property
    def epoch(self) -> Epoch:
        return Epoch.decode(self.entry(self.keys.epoch).value)

    @property
    def head(self) -> Commit:
        return Commit.decode(self.entry(self.keys.head).value)

    def presence(self, site: str) -> Presence | None:
        """Return what a site's leased key says."""
        entry = self.store.get(self.keys.member(site))
        return None if entry is None else Presence.decode(entry.value)

    @property
    def revision(self) -> int:
        return self.store.list(self.keys.root).revision

    def writes(self, key: str, *, since: int) -> int:
        """How often a key was written after that revision."""
        watch = self.store.watch(key, revision=since + 1)
        return len(watch.next(0.0))

    def let_leases_lapse(self) -> None:
        self.clock.at += 1000.0
        self.cluster.tick()
