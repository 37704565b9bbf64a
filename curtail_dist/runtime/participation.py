"""A site's part in the run, with one model: its protocol, and the real parts that carry it out.

It is in the process of the site's rank 0; the other ranks follow it, see follower.py.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from curtail_dist.data.ledger import Assignment, Range, count, split
from curtail_dist.errors import CurtailError
from curtail_dist.membership.board import Board
from curtail_dist.membership.effects import Done, Effect, Encode, Train
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.part import Part, Rules
from curtail_dist.membership.presence import keep_present
from curtail_dist.membership.protocol import take_part
from curtail_dist.membership.records import Commit, Member
from curtail_dist.outer.gloo import GroupStore
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.contact import Contact
from curtail_dist.runtime.drive import Finished, advance, drive, go_on, one_more
from curtail_dist.runtime.flight import GROUND
from curtail_dist.runtime.group import EpochGroup
from curtail_dist.runtime.holding import Holding
from curtail_dist.runtime.identity import identity
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.links import Links
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.order import Order, carry_out
from curtail_dist.runtime.progress import Progress
from curtail_dist.runtime.round_report import joint_work
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.runtime.world import Account, World
from curtail_dist.state.transfer import StateServer
from curtail_dist.telemetry.events import Joined, Phase, RoundStarted, RunStarted

if TYPE_CHECKING:
    from curtail_dist.state.version import Version

_LOG = logging.getLogger(__name__)
_CLOSE_S = 15.0


class Participation:
    """Takes part in the run with one model. Owns lease, group, state server and snapshots until `close`.

    The protocol's life stands still while the script trains; `end_round` lets it go on to the next round.
    """

    def __init__(
        self, links: Links, outer: DiLoCo, *, total_rows: int, data: str, program: Mapping[str, str]
    ) -> None:
        """Register with the store and serve state; `start` comes next. Raises StoreUnavailable."""
        self._links = links
        self._began = time.monotonic()
        self._total_rows = total_rows
        config = links.config
        self._ranks = links.ranks
        self._outer = outer
        self._inner = InnerState(config, links.site, links.ranks, outer)
        self._next: Train | None = None
        self._mine = Assignment(rows=(), steps=0)
        self._came_before = False
        self._flying: OpenRound | None = None
        self._fresh = False
        self._served: Callable[[], Version | None] = lambda: None
        with ExitStack() as stack:
            server = stack.enter_context(
                StateServer(
                    run=config.run.name,
                    host=config.site(links.site).address,
                    current=lambda: self._served(),
                )
            )
            self._meeting = GroupStore(config.site(links.site).address)
            self._part = self._make_part(
                outer, server.port, identity(config, outer, data=data, program=program)
            )
            self._progress = Progress()
            self._board = Board(links.store, self._part.keys, site=links.site, ending=links.leaving)
            self._holding, self._world = self._make_world(outer, stack)
            self._served = lambda: self._holding.served
            self._board.start()
            stack.callback(self._board.close)
            self._presence = threading.Thread(target=self._attend, name="presence", daemon=True)
            self._presence.start()
            stack.callback(self._withdraw)
            self._stack = stack.pop_all()
        self._life = take_part(self._part)

    @property
    def head(self) -> Commit | None:
        """The commit whose state this site holds, None before it entered."""
        return self._part.stands_on

    @property
    def leads(self) -> bool:
        """Whether this site comes first in the epoch."""
        return self._part.seat is None or self._part.rank == 0

    @property
    def size(self) -> int:
        """Members of the epoch."""
        return self._world.group.size

    def start(self) -> None:
        """Come into the run, up to the first inner step.

        Raises IdentityMismatch, StateError, Superseded, StoreUnavailable.
        """
        effect = self._asked(None)
        if effect is not None:
            self._go_on_from(effect)
        if self._links.prefetch is not None:
            self._links.prefetch.stop()  # a founder has asked it for nothing

    def begin_round(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left."""
        return self._open(self._next) if self._next is not None else None

    def end_round(self, round: OpenRound) -> OpenRound | None:
        """End the open round with the others, up to the first inner step of the next; return that.

        Where steps are to be done while the exchange is under way, return at once with the round of those; it
        is extended when it is ended. After an expulsion the round is discarded and the site enters again.
        """
        if round.flying:
            return self._land(round)
        done = self._done(round)
        effect = self._asked(done)
        if effect is None:
            return None
        if isinstance(effect, Encode) and done.ahead and self._delay and not done.draining:
            return self._take_off(round, done, effect)
        self._go_on_from(effect)
        return self.begin_round()

    def _done(self, round: OpenRound) -> Done:
        """Say what was done in a round."""
        ended, seconds = time.monotonic(), self._links.clock.now() - round.began
        work, loss = joint_work(self._ranks, round, self._outer.local)
        self._world.account = Account(
            steps=work.steps,
            rows=count(work.rows) + len(work.open),
            loss=loss,
            ended=ended,
            sent=self._world.group.bytes_sent,
        )
        draining = self._board.view().leaving
        flush = self.head is not None and self.head.flush
        ahead: tuple[Range, ...] = ()
        if self._delay and not draining:
            ahead = round.rest(self._delay).rows
        elif self._part.rules.fragments > 1 and not flush:
            ahead = tuple((position, position + 1) for position, _ in work.open)
        return Done(work=work, seconds=seconds, draining=draining, ahead=ahead)

    @property
    def _delay(self) -> int:
        """Inner steps to be done while the open round's exchange is under way."""
        return self._next.delay if self._next is not None else 0

    def _take_off(self, round: OpenRound, done: Done, encode: Encode) -> OpenRound:
        """Encode, and let the exchange begin; return the round to be trained meanwhile."""
        account, live = self._world.account, self._world.live
        effect = one_more(self._life, live, encode)
        self._world.flights.begin(self._life, live, effect)
        account.stall_s += time.monotonic() - account.ended
        rest, board = round.rest(self._delay), self._board
        return OpenRound(
            self._links.site,
            rest,
            draining=lambda: board.view().leaving,
            closing=lambda: False,
            began=self._links.clock.now(),
            flying=True,
        )

    def _land(self, round: OpenRound) -> OpenRound | None:
        """The steps of the flight are done: carry out what it led to. Return the round, extended."""
        world, resets = self._world, self._holding.resets
        account = world.account
        account.ended = time.monotonic()
        account.flying_steps, account.flying_rows = round.steps, round.rows
        self._flying = round
        try:
            self._go_on_from(world.land())
        except Finished:
            self._over()
        self._flying = None
        account = world.account
        account.flying_steps = account.flying_rows = 0
        train = self._next
        if train is None or self._holding.resets != resets:
            return self.begin_round()
        self._announce_round(train)
        round.extend(self._mine, closing=self._closing(train))
        return round

    def step_done(self) -> None:
        """Say that an inner step is done. Raises what ended the presence, if anything did."""
        self._world.check()
        self._progress.passed(self._links.config.train.stall_s)

    def close(self) -> None:
        """Give up the seat and the lease, close connections; idempotent."""
        if not self._world.flights.under_way:
            self._life.close()
        self._stack.close()

    def _make_part(self, outer: DiLoCo, state_port: int, mine: dict[str, str]) -> Part:
        config, site = self._links.config, self._links.site
        me = Member(
            site=site,
            incarnation=uuid.uuid4().hex,
            host=config.site(site).address,
            group_port=self._meeting.port,
            state_port=state_port,
        )
        rules = Rules(
            total_rows=self._total_rows,
            identity=mine,
            round_steps=config.round.steps,
            ttl_s=config.coordination.lease_ttl_s,
            grace_s=config.round.grace_s,
            patience_s=config.round.exchange_timeout_s,
            outage_s=config.round.outage_s,
            durable_before_commit=config.state.durable_before_commit,
            unreachable=config.state.unreachable,
            park_s=config.site(site).provisioner.park_s,
            fragments=config.outer.fragments,
            delay=config.outer.sync_delay,
        )
        return Part(me=me, keys=Keys(config.run.name), rules=rules)

    def _make_world(self, outer: DiLoCo, stack: ExitStack) -> tuple[Holding, World]:
        links, config, board = self._links, self._links.config, self._board
        contact = Contact(links.store, board, links.events, ttl=config.coordination.lease_ttl_s)
        snapshots = SnapshotKeeper(
            config.snapshot_url, keep=config.state.keep, store=links.store, board=board, events=links.events
        )
        snapshots.start()
        stack.callback(snapshots.close)
        holding = Holding(
            config=config,
            site=links.site,
            outer=outer,
            snapshots=snapshots,
            clock=links.clock,
            progress=lambda: self._progress.passed(config.train.stall_s),
            inner=self._inner,
            prefetch=links.prefetch,
            flying=lambda: self._flying.work if self._flying is not None else None,
        )
        group = EpochGroup(config, self._part.me, lambda: self._world.watch())
        stack.callback(group.vacate)
        world = World(
            config=config,
            me=self._part.me,
            board=board,
            contact=contact,
            group=group,
            holding=holding,
            clock=links.clock,
            events=links.events,
            progress=self._progress,
            arrived=self._arrived,
            times=links.times,
            probe=links.probe,
        )
        return holding, world

    def _asked(self, done: Done | None) -> Effect[Any] | None:
        """Resume the protocol with what was done; return the first effect of GROUND, or the encoding.

        None where it came to its end.
        """
        try:
            return advance(self._life, self._world.live, until=(Encode, *GROUND), result=done)
        except Finished:
            self._over()
            return None

    def _go_on_from(self, effect: Effect[Any]) -> None:
        """Carry out an effect, and what comes after it, up to the next round or to the end."""
        try:
            train = go_on(self._life, self._world.live, effect, until=Train)
        except Finished:
            self._over()
        else:
            assert isinstance(train, Train), "the life stops to train"
            self._next = train
            self._order()

    def _over(self) -> None:
        """The run is complete, or this site has left."""
        self._next = None
        self._order()

    def _order(self) -> None:
        """Tell the site's other ranks what comes next, and do as they do."""
        resumes, self._fresh = self._fresh, False
        shares: list[Assignment] = []
        if self._next is not None:
            shares = split(self._next.assignment, self._ranks.size)
            self._mine = shares[0]
        order = Order(
            head=self.head,
            members=self.size,
            assignments=tuple(shares),
            now=self._links.clock.now(),
            resume_inner=resumes,
            keep_inner=self._next is None and self.head is not None and not self.head.complete,
        )
        self._ranks.tell(order.encode())
        carry_out(order, self._ranks, self._outer, self._inner)

    def _open(self, train: Train) -> OpenRound:
        board = self._board
        round = OpenRound(
            self._links.site,
            self._mine,
            draining=lambda: board.view().leaving,
            closing=self._closing(train),
            began=self._links.clock.now(),
            postponed=self._store_is_away,
        )
        self._announce_round(train)
        return round

    def _closing(self, train: Train) -> Callable[[], bool]:
        board, epoch, version = self._board, train.epoch.number, train.head.version + 1
        return lambda: board.view().close_asked(epoch, version)

    def _announce_round(self, train: Train) -> None:
        events = self._links.events
        events.place(round=train.head.version + 1)
        spans = [list(span) for span in train.assignment.rows]
        events.emit(RoundStarted(steps=train.assignment.steps, rows=spans))
        events.emit(Phase(phase="train"))
        self.step_done()

    def _store_is_away(self) -> bool:
        """Whether the store is silent and may yet come back: the open round then trains on."""
        return 0 < self._world.contact.silent_s < self._links.config.round.outage_s

    def _arrived(self, how: str, head: Commit, causes: dict[str, float]) -> None:
        links = self._links
        if how != "founded" and not self._came_before:
            self._fresh = True
        self._came_before = True
        wall_s = time.monotonic() - self._began
        links.events.emit(Joined(version=head.version, how=how, wall_s=wall_s, causes=causes))
        if how == "founded":
            config = links.config
            links.events.emit(
                RunStarted(
                    run=config.run.name,
                    seed=config.run.seed,
                    start=links.start.isoformat(),
                    rows=self._total_rows,
                    virtual=config.clock.kind == "virtual",
                )
            )

    def _attend(self) -> None:
        try:
            drive(keep_present(self._part), self._world.attend)
        except (CurtailError, AssertionError) as error:
            self._world.failure = error
            self._board.wake()

    def _withdraw(self) -> None:
        self._part.closed = True
        self._board.wake()
        self._presence.join(timeout=_CLOSE_S)
