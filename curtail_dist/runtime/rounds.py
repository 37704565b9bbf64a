"""The rounds of a site's rank 0: where the training loop and the protocol take turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from curtail_dist.data.ledger import Assignment, Range, count, split
from curtail_dist.membership.effects import Done, Effect, Encode, Train
from curtail_dist.membership.part import Part
from curtail_dist.membership.protocol import take_part
from curtail_dist.membership.records import Work
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.drive import Finished, advance, go_on, one_more
from curtail_dist.runtime.flight import GROUND
from curtail_dist.runtime.fruitless import Fruitless
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.links import Links
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.order import Order, carry_out
from curtail_dist.runtime.round_report import joint_work
from curtail_dist.runtime.world import Account, World
from curtail_dist.telemetry.events import Phase, RoundStarted, Step
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Flown:
    """A flight that lands."""

    work: Work
    """What the site trained meanwhile."""
    resets: int
    """How often the local parameters had been thrown away before."""


class Rounds:
    """Opens one round after the other, and ends each with the others. Owns the protocol's life.

    The life stands still while the script trains. While an exchange is under way and the script trains on, it
    goes on in a thread, see flight.py.
    """

    def __init__(
        self,
        links: Links,
        part: Part,
        world: World,
        *,
        outer: DiLoCo,
        inner: InnerState,
        step_done: Callable[[], None],
    ) -> None:
        """Begin outside of the run; `start` comes next."""
        self._links = links
        self._ranks = links.ranks
        self._part = part
        self._world = world
        self._outer = outer
        self._inner = inner
        self._step_done = step_done
        self._life = take_part(part)
        self._next: Train | None = None
        self._mine = Assignment(rows=(), steps=0)
        self._kept: tuple[tuple[Range, ...], ...] = ()
        """By rank, the rows that it trains on beside the exchange."""
        self._flown: Flown | None = None
        self._lands = False
        self._fruitless = Fruitless(links.site)
        self.fresh = False
        """Whether the inner optimizer's state is to be taken up again before the next round."""
        self._stepped_at: Seconds | None = None
        """Run time of the last inner step; None before the first."""

    @property
    def flown(self) -> Work | None:
        """What was trained while the exchange that lands now was under way."""
        return self._flown.work if self._flown is not None else None

    def start(self) -> None:
        """Come into the run, up to the first inner step."""
        effect = self._asked(None)
        if effect is not None:
            self._go_on_from(effect)

    def close(self) -> None:
        """End the life, unless it is under way."""
        if not self._world.flights.under_way:
            self._life.close()

    def begin(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left."""
        return self._open(self._next) if self._next is not None else None

    def end(self, round: OpenRound) -> OpenRound | None:
        """End the open round with the others, up to the first inner step of the next; return that.

        Where steps are to be done while the exchange is under way, return at once with the round of those; it
        is extended when it is ended. After an expulsion the round is discarded and the site enters again.
        """
        if round.steps:
            self._stepped_at = self._now
        if round.flying:
            return self._land(round)
        done = self._done(round)
        effect = self._asked(done)
        if effect is None:
            return None
        if isinstance(effect, Encode) and done.ahead and self._delay and not done.draining:
            return self._take_off(round, done, effect)
        self._go_on_from(effect)
        return self.begin()

    def _done(self, round: OpenRound) -> Done:
        """Say what was done in a round."""
        ended, seconds = time.monotonic(), self._links.clock.now() - round.began
        joint = joint_work(self._ranks, round, self._outer.local, delay=self._delay)
        work = joint.work
        if work.tokens or not self._is_leaving():
            assigned = self._next is not None and count(self._next.assignment.rows) > 0
            self._fruitless.note_work(work, rows=_rows(work), assigned=assigned)
        self._world.account = Account(
            steps=work.steps,
            rows=_rows(work),
            loss=joint.loss,
            ended=ended,
            sent=self._world.group.bytes_sent,
        )
        draining = self._is_leaving()
        flush = self._part.stands_on is not None and self._part.stands_on.flush
        ahead: tuple[Range, ...] = ()
        if self._delay and not draining:
            self._kept = joint.ahead
            ahead = tuple(span for spans in joint.ahead for span in spans)
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
        self._tell(
            Order(head=self._part.stands_on, members=self._world.group.size, now=self._now, flies=True)
        )
        account.stall_s += time.monotonic() - account.ended
        return OpenRound(
            self._links.site,
            round.rest(self._delay),
            leaving=self._hurries,
            closing=lambda: False,
            began=self._links.clock.now(),
            postponed=self._store_is_away,
            after=round,
        )

    def _land(self, round: OpenRound) -> OpenRound | None:
        """The steps of the flight are done: carry out what it led to. Return the round, extended."""
        world, began = self._world, self._links.clock.now()
        account = world.account
        account.ended = time.monotonic()
        joint = joint_work(self._ranks, round, self._outer.local, delay=0)
        self._flown = Flown(work=joint.work, resets=world.holding.resets)
        account.flying_steps, account.flying_rows = round.steps, _rows(joint.work)
        try:
            self._go_on_from(world.land())
        except Finished:
            self._over()
        self._flown = None
        account = world.account
        account.flying_steps = account.flying_rows = 0
        train = self._next
        if train is None or not self._lands:
            return self.begin()
        round.began += self._now - began  # speed is that of the steps
        self._announce_round(train)
        round.extend(self._mine, closing=self._closing(train))
        if round.steps:
            loss = round.losses[-1] if round.losses else None
            told = Step(steps=round.steps, tokens=round.tokens, rows=_rows(joint.work), loss=loss)
            self._links.events.emit(told)
        return round

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
        """The run is complete, or this site has left: all ranks end at the parameters of its last version."""
        self._next = None
        if self._part.stands_on is not None:
            self._outer.reset()  # of what it was mixed with, outer.mix_alpha leaves a share
        self._order()

    def _order(self) -> None:
        """Tell the site's other ranks what comes next, and do as they do."""
        head, resumes, self.fresh = self._part.stands_on, self.fresh, False
        flown, shares = self._flown, list[Assignment]()
        self._lands = (
            self._next is not None and flown is not None and flown.resets == self._world.holding.resets
        )
        if self._next is not None:
            shares = split(self._next.assignment, self._ranks.size, self._kept if self._lands else ())
            self._mine = shares[0]
        spoiled = self._world.holding.take_spoiled()
        self._fruitless.note_end(head, spoiled=spoiled, goes_on=self._next is not None)
        order = Order(
            head=head,
            members=self._world.group.size,
            assignments=tuple(shares),
            now=self._now,
            delay=self._delay,
            lands=self._lands,
            forget_inner=spoiled,
            resume_inner=resumes,
            left_at=self._stepped_at,
            keep_inner=self._next is None and head is not None and not head.complete,
            givers=tuple(self._world.board.view().state_servers(but="")) if self._ranks.size > 1 else (),
        )
        self._tell(order)

    def _tell(self, order: Order) -> None:
        self._ranks.tell(order.encode())
        carry_out(order, self._ranks, self._outer, self._inner)

    @property
    def _now(self) -> Seconds:
        return self._links.clock.now()

    def _open(self, train: Train) -> OpenRound:
        round = OpenRound(
            self._links.site,
            self._mine,
            leaving=self._hurries,
            closing=self._closing(train),
            began=self._links.clock.now(),
            postponed=self._store_is_away,
        )
        self._announce_round(train)
        return round

    def _closing(self, train: Train) -> Callable[[], bool]:
        board, epoch, version = self._world.board, train.epoch.number, train.head.version + 1
        return lambda: board.view().close_asked(epoch, version)

    def _announce_round(self, train: Train) -> None:
        events = self._links.events
        events.place(round=train.head.version + 1)
        spans = [list(span) for span in train.assignment.rows]
        events.emit(RoundStarted(steps=train.assignment.steps, rows=spans))
        events.emit(Phase(phase="train"))
        self._step_done()

    def _is_leaving(self) -> bool:
        return self._world.board.view().leaving

    def _hurries(self) -> bool:
        return self._world.board.view().hurries

    def _store_is_away(self) -> bool:
        """Whether the store is silent and may yet come back: the open round then trains on."""
        return 0 < self._world.contact.silent_s < self._links.config.round.outage_s


def _rows(work: Work) -> int:
    """Return how many rows were taken for it."""
    return count(work.rows) + len(work.open)
