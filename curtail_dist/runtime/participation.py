"""A site's part in the run from entering to leaving: round after round, in again after an expulsion."""

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from curtail_dist.clock import Clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.data.ledger import Assignment, plan
from curtail_dist.errors import Expelled, PeerLost, StateError
from curtail_dist.membership.board import Board
from curtail_dist.membership.identity import agree, identity
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.presence import Registration
from curtail_dist.membership.protocol import living
from curtail_dist.membership.records import Commit, Member
from curtail_dist.outer.gloo import GroupStore
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.entry import Door, enter, pull_from
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.round import Parts, discard, end_round
from curtail_dist.runtime.seat import Seat
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state.snapshot import like
from curtail_dist.state.transfer import StateServer
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Drained, Joined, Phase, RoundStarted, RunFinished
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Links:
    """What a site's process holds open to the outside; owned by the Site."""

    config: RunConfig
    site: str
    store: CoordinationStore
    start: datetime
    """Run time 0."""
    clock: Clock
    events: EventLog
    leaving: threading.Event
    """Set when this process was told to leave (SIGTERM)."""


class Participation:
    """Takes part in the run with one model. Owns lease, seat, state server and snapshots until `close`."""

    def __init__(
        self, links: Links, outer: DiLoCo, *, total_rows: int, data: str, program: Mapping[str, str]
    ) -> None:
        """Register with the store and serve state; `enter` comes next.

        Raises IdentityMismatch if the run trains something else, StoreUnavailable.
        """
        self._links = links
        self._began = time.monotonic()
        config, store = links.config, links.store
        keys = Keys(config.run.name)
        mine = identity(config, data=data, model=like(outer.state.tensors), program=program)
        agree(store, keys, mine)
        with ExitStack() as stack:
            host = config.site(links.site).address
            server = stack.enter_context(StateServer(run=config.run.name, host=host, current=self._held))
            self._meeting = GroupStore(host)
            me = Member(
                site=links.site,
                incarnation=uuid.uuid4().hex,
                host=host,
                group_port=self._meeting.port,
                state_port=server.port,
            )
            registration = Registration(store, keys, me, ttl=config.coordination.lease_ttl_s)
            self._board = Board(store, keys, react=registration.react)
            self._board.start()
            stack.callback(self._board.close)
            registration.start()
            stack.callback(registration.close)
            self._seat = Seat(config=config, me=me, store=store, board=self._board, events=links.events)
            snapshots = SnapshotKeeper(
                Path(config.snapshot_url),
                keep=config.state.keep,
                store=store,
                board=self._board,
                events=links.events,
            )
            snapshots.start()
            stack.callback(snapshots.close)
            stack.callback(self._seat.vacate)
            self._stack = stack.pop_all()
        self._parts = Parts(
            seat=self._seat,
            outer=outer,
            snapshots=snapshots,
            clock=links.clock,
            events=links.events,
            fetch=self._fetch,
        )
        self._door = Door(
            parts=self._parts, registration=registration, total_rows=total_rows, leaving=self.asked_to_leave
        )
        self._head: Commit | None = None
        self._left = False
        self.how = ""
        """How this site last came in: `founded`, `resumed` or `pulled`; empty before."""

    @property
    def head(self) -> Commit | None:
        """The commit whose state this site holds, None before it entered."""
        return self._head

    @property
    def rank(self) -> int:
        """Place in the epoch."""
        return self._seat.rank

    @property
    def size(self) -> int:
        """Members of the epoch."""
        return self._seat.size

    def asked_to_leave(self) -> bool:
        """Whether the process was told to leave or the site's agent asks it to drain."""
        drain = self._board.keys.drain(self._links.site)
        return self._links.leaving.is_set() or self._board.entry(drain) is not None

    def enter(self) -> bool:
        """Come into the run; False if this site was asked to leave first.

        Raises StateError, StoreUnavailable.
        """
        while True:
            entered = enter(self._door)
            if entered is None:
                self._left = True
                return False
            self._head, self.how = entered.head, entered.how
            self._place()
            wall_s = time.monotonic() - self._began
            self._links.events.emit(Joined(version=entered.head.version, how=entered.how, wall_s=wall_s))
            if entered.how != "pulled":
                return True
            try:
                self._end(self._empty_round())
            except Expelled as error:
                _LOG.warning("site %s: %s", self._links.site, error)
                continue
            return True

    def begin_round(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left.

        A site that is asked to leave between two rounds opens one without steps: it leaves at its end, when
        the others have let it go.
        """
        head = self._head
        if head is None or head.complete or self._left:
            return None
        epoch = self._seat.epoch
        ledger = head.ledger
        assignments = plan(
            ledger,
            epoch.sites,
            speeds=head.speeds,
            steps=self._links.config.round.steps,
            rows_per_step=ledger.rows_done / head.steps if head.steps else None,
        )
        assignment = assignments[self._links.site]
        close = self._board.keys.close(epoch.number, head.version + 1)
        round = OpenRound(
            self._links.site,
            assignment,
            draining=self.asked_to_leave,
            closing=lambda: self._board.entry(close) is not None,
            began=self._links.clock.now(),
        )
        self._place()
        self._links.events.emit(
            RoundStarted(steps=assignment.steps, rows=[list(span) for span in assignment.rows])
        )
        self._links.events.emit(Phase(phase="train"))
        return round

    def end_round(self, round: OpenRound) -> None:
        """End the open round with the others.

        After an expulsion the round is discarded and the site enters again.
        """
        try:
            self._end(round)
        except Expelled as error:
            _LOG.warning("site %s: %s", self._links.site, error)
            discard(self._parts, round, str(error))
            self._seat.vacate()
            self._parts.outer.reset()
            self.enter()

    def finish(self) -> None:
        """Say how it ended. Called once, after the last round."""
        head = self._head
        if head is None:
            return
        if head.complete:
            self._parts.snapshots.make_durable(self._parts.outer.state, head)
            self._links.events.emit(RunFinished(version=head.version, hash=head.hash, tokens=head.tokens))
        else:
            self._links.events.emit(Drained(version=head.version))

    def close(self) -> None:
        """Give up seat, lease and snapshots; idempotent and bounded."""
        self._stack.close()

    def _end(self, round: OpenRound) -> None:
        assert self._head is not None, "a round ends after the site entered"
        draining = self.asked_to_leave()
        if draining and self._seat.size > 1:
            self._seat.ask_for_close(self._head.version + 1, "drain")
        self._head = end_round(self._parts, round, self._head, draining=draining)
        self._left = draining
        self._place()

    def _empty_round(self) -> OpenRound:
        return OpenRound(
            self._links.site,
            Assignment(rows=(), steps=0),
            draining=self.asked_to_leave,
            closing=lambda: True,
            began=self._links.clock.now(),
        )

    def _place(self) -> None:
        if self._head is not None:
            self._links.events.place(round=self._head.version + 1)

    def _held(self) -> Version | None:
        return self._parts.outer.state if self._head is not None else None

    def _fetch(self, commit: Commit) -> Version:
        """Get a version others committed: from a living member, else from its snapshot. Raises StateError."""
        epoch, config = self._board.epoch, self._links.config
        present = living(epoch, self._board.present) if epoch is not None else []
        others = [member for member in present if member != self._seat.me]
        try:
            return pull_from(others, config.run.name, commit, config.state.transfer_timeout_s)
        except PeerLost as lost:
            version = self._parts.snapshots.load(commit)
            if version is None:
                raise StateError(f"version {commit.version} stands but can be had nowhere: {lost}") from lost
            return version
