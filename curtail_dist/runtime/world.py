"""The world as one process's protocol meets it: carries out each effect on real parts."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from curtail_dist.clock import Clock
from curtail_dist.config import RunConfig
from curtail_dist.membership import effects as do
from curtail_dist.membership.board import Board
from curtail_dist.membership.records import Card, Commit, Member
from curtail_dist.membership.view import View
from curtail_dist.runtime.contact import Contact
from curtail_dist.runtime.flight import Flights
from curtail_dist.runtime.group import EpochGroup
from curtail_dist.runtime.holding import Holding
from curtail_dist.runtime.progress import Progress
from curtail_dist.security.wire import Wire
from curtail_dist.state.knock import probe, refuses
from curtail_dist.telemetry.events import Committed, EpochFormed, Phase, RoundDiscarded
from curtail_dist.telemetry.joining import JoinTimes
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_PROBE_S = 1.0
_KNOCK_S = 0.1
"""A refusal comes at once, or is of no use: others wait."""

Probe = Callable[[str], None]
"""Called with the name of each effect of the main loop before it is carried out."""


@dataclass(kw_only=True)
class Account:
    """What one round of this process comes to, for the record."""

    steps: int = 0
    rows: int = 0
    loss: float | None = None
    ended: float = 0.0
    """Real monotonic time of the last inner step's end."""
    sent: int = 0
    """Bytes sent before it."""
    stall_s: float = 0.0
    """Time before that, of the same round, in which no inner step ran: while its exchange began."""
    flying_steps: int = 0
    """Inner steps done while this round's exchange was under way: they are part of the next."""
    flying_rows: int = 0


@dataclass(kw_only=True)
class World:
    """Carries out effects for a process's two generators: its life, in the main loop, and its presence.

    Owns nothing: all parts stay their maker's.
    """

    config: RunConfig
    me: Member
    board: Board
    contact: Contact
    group: EpochGroup
    wire: Wire
    holding: Holding
    clock: Clock
    events: EventLog
    progress: Progress
    arrived: Callable[[str, Commit, dict[str, float]], None]
    """Called when this process came in: how, at which head, and where the time went (seconds by cause)."""
    times: JoinTimes | None = None
    """Where the time of the first join has gone so far."""
    probe: Probe | None = None
    flights: Flights = field(default_factory=Flights)
    account: Account = field(default_factory=Account)
    failure: BaseException | None = None
    """What ended the presence, if anything did: the main loop must end, too."""

    def __post_init__(self) -> None:
        self._times = JoinTimes()
        self._shared = self._shared_handlers()
        self._all = {**self._shared, **self._main_handlers()}

    def live(self, effect: do.Effect[Any]) -> Any:
        """Carry out an effect of the life."""
        self.check()
        if self.probe is not None:
            self.probe(type(effect).__name__)
        self._passed(self.config.train.stall_s)
        return self._all[type(effect)](effect)

    def _passed(self, allowed: Seconds) -> None:
        """The training loop is at a progress point; what flies meanwhile says nothing of it."""
        if not self.flights.here:
            self.progress.passed(allowed)

    def _waiting(self) -> AbstractContextManager[None]:
        """While others are waited for a virtual clock may move, unless the training loop moves it."""
        return nullcontext() if self.flights.here else self.clock.waiting()

    def land(self) -> do.Effect[Any]:
        """Wait for the exchange under way; return the effect that is to be carried out next."""
        with self._waiting():
            return self.flights.land(self._look_on)

    def _look_on(self) -> None:
        """The training loop waits for others: that is a progress point."""
        self.check()
        self._passed(self.config.coordination.lease_ttl_s)

    def attend(self, effect: do.Effect[Any]) -> Any:
        """Carry out an effect of the presence, in its own thread."""
        return self._shared[type(effect)](effect)

    def check(self) -> None:
        """Raise what ended the presence or the board, if anything did."""
        failure = self.failure or self.board.failure
        if failure is not None:
            raise failure

    def look(self) -> View:
        """Return the run as last seen."""
        return replace(self.board.view(), stale_s=self.contact.silent_s)

    def watch(self) -> View:
        """The same, while the main loop waits for others."""
        self._look_on()
        return self.board.view()

    def _shared_handlers(self) -> Mapping[type[do.Effect[Any]], Callable[[Any], Any]]:
        contact = self.contact
        return {
            do.Read: contact.read,
            do.Transact: contact.transact,
            do.Put: contact.put,
            do.Grant: contact.grant,
            do.KeepAlive: contact.keep_alive,
            do.PutLeased: contact.put_leased,
            do.Revoke: contact.revoke,
            do.Look: lambda _: self.look(),
            do.Await: lambda effect: self.board.wait(effect.check, timeout=effect.timeout),
            do.Wake: lambda _: self.board.wake(),
            do.Now: lambda _: time.monotonic(),
            do.Pause: lambda effect: time.sleep(effect.seconds),
            do.MakesProgress: lambda _: self.progress.made,
        }

    def _main_handlers(self) -> Mapping[type[do.Effect[Any]], Callable[[Any], Any]]:
        holding = self.holding
        return {
            do.Await: self._await,
            do.Form: self._form,
            do.GatherCards: self._gather_cards,
            do.GatherPayloads: self._gather_payloads,
            do.GatherVotes: lambda effect: self.group.gather_votes(effect.hash),
            do.Vacate: lambda _: self.group.vacate(),
            do.Probe: self._reach,
            do.Gone: self._gone,
            do.Held: holding.held,
            do.Encode: holding.encode,
            do.StepCopy: holding.step_copy,
            do.Swap: holding.swap,
            do.Reset: self._reset,
            do.Pull: lambda effect: self._got(holding.pull, effect),
            do.Load: lambda effect: self._got(holding.load, effect),
            do.MakeDurable: holding.make_durable,
            do.SnapshotSoon: holding.snapshot_soon,
            do.Readable: lambda effect: holding.snapshots.is_readable(effect.commit),
            do.Newest: lambda _: holding.snapshots.newest(),
            do.Secure: holding.secure,
            do.TakeKept: holding.take_kept,
            do.Knock: self._knock,
            do.Enter: self._enter,
            do.Announce: self._announce,
            do.Tell: self._tell,
        }

    def _await(self, effect: do.Await[Any]) -> Any:
        """Wait for the board; a virtual clock may move meanwhile, unless there is nothing to wait for."""

        def check(view: View) -> Any:
            self.watch()
            return effect.check(view)

        found = effect.check(self.look())
        if found is not None or effect.timeout <= 0:
            return found
        with self._waiting():
            return self.board.wait(check, timeout=effect.timeout)

    def _form(self, effect: do.Form) -> None:
        epoch = effect.epoch
        self.events.place(epoch=epoch.number)
        self.group.form(epoch)
        self.events.emit(EpochFormed(members=epoch.sites, reason=epoch.reason))
        _LOG.info("site %s: in epoch %d with %s", self.me.site, epoch.number, epoch.sites)

    def _gather_cards(self, effect: do.GatherCards) -> list[Card]:
        with self._waiting() if self.group.size > 1 else nullcontext():
            return self.group.gather_cards(effect.card)

    def _gather_payloads(self, effect: do.GatherPayloads) -> None:
        self.holding.exchange(effect, self.group.exchange)
        if self.group.size > 1 and not self.flights.here:
            self.clock.spend(self.config.clock.sync_s)

    def _reach(self, effect: do.Probe) -> frozenset[str]:
        """Ask all members at once whether they can be connected to."""
        run, wire = self.config.run.name, self.wire

        def answers(one: Member) -> bool:
            return probe(one.host, one.state_port, run=run, wire=wire, timeout=_PROBE_S)

        reached = at_once(effect.members, answers)
        return frozenset(member.site for member in reached)

    def _gone(self, effect: do.Gone) -> frozenset[Member]:
        """Ask the hosts of all members at once."""
        return at_once(effect.members, lambda one: refuses(one.host, one.state_port, timeout=_KNOCK_S))

    def _reset(self, effect: do.Reset) -> None:
        account = self.account
        steps, rows = account.steps + account.flying_steps, account.rows + account.flying_rows
        if steps and effect.reason:
            self.events.emit(RoundDiscarded(steps=steps, rows=rows, reason=effect.reason))
        account.steps = account.flying_steps = account.flying_rows = 0
        self.holding.reset()

    def _tell(self, effect: do.Tell) -> None:
        """Add an event; to what phase a site that trains on comes is nobody's business."""
        if not (self.flights.here and isinstance(effect.event, Phase)):
            self.events.emit(effect.event)

    def _knock(self, _: do.Knock) -> None:
        """A process's first join began with the agent's decision, a later one begins here."""
        self._times = self.times or JoinTimes()
        self.times = None

    def _enter(self, effect: do.Enter) -> None:
        self.holding.entered = True
        self.account = Account(ended=time.monotonic(), sent=self.group.bytes_sent)
        self._place(effect.head.version)
        self._times.mark("boundary" if effect.how == "pulled" else "pull")
        self.arrived(effect.how, effect.head, self._times.seconds)

    def _got(self, get: Callable[[Any], Any], effect: do.Effect[Any]) -> Any:
        """Get a version; the time that takes is a cause of its own."""
        try:
            return get(effect)
        finally:
            self._times.mark("pull")

    def _announce(self, effect: do.Announce) -> None:
        record, account = effect.record, self.account
        self.events.emit(
            Committed(
                **agreed(record),
                joiners=list(record.joiners),
                loss=account.loss,
                bytes_sent=self.group.bytes_sent - account.sent,
                stall_s=account.stall_s + time.monotonic() - account.ended,
                synced=list(record.synced),
            )
        )
        self.account = Account(
            ended=time.monotonic(),
            sent=self.group.bytes_sent,
            flying_steps=account.flying_steps,
            flying_rows=account.flying_rows,
        )
        self._place(record.version)

    def _place(self, version: int) -> None:
        self.events.place(round=version + 1)


def agreed(record: Commit) -> dict[str, Any]:
    """Return what is told of a version by whoever tells of it, the same at all members."""
    return {
        "version": record.version,
        "hash": record.hash,
        "parent": record.parent,
        "tokens": record.tokens,
        "rows": record.ledger.rows_done,
        "work": [asdict(one) for one in record.work],
        "returned": [list(one) for one in record.returned],
    }


def at_once(members: Sequence[Member], holds: Callable[[Member], bool]) -> frozenset[Member]:
    """Return the members for which something holds, asking about all of them at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(members)), thread_name_prefix="probe") as pool:
        held = pool.map(holds, members)
        return frozenset(member for member, yes in zip(members, held, strict=True) if yes)
