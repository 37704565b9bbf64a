"""A site's part in the run, with one model: its protocol, and the real parts that carry it out.

It is in the process of the site's rank 0; the other ranks follow it, see follower.py.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from curtail_dist.errors import CurtailError
from curtail_dist.membership.board import Board
from curtail_dist.membership.decisions import plan_round
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.part import Part, Rules
from curtail_dist.membership.presence import keep_present
from curtail_dist.membership.records import Commit, Member
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.outer.streams import StreamMeeting
from curtail_dist.runtime.contact import Contact
from curtail_dist.runtime.drive import drive
from curtail_dist.runtime.group import EpochGroup, open_meeting
from curtail_dist.runtime.holding import Holding
from curtail_dist.runtime.identity import identity
from curtail_dist.runtime.inner_loop import Upcoming
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.links import Links
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.progress import Progress
from curtail_dist.runtime.rounds import Rounds
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.runtime.world import World, agreed
from curtail_dist.state.transfer import StateServer
from curtail_dist.telemetry.events import HeadFound, Joined, RunStarted

if TYPE_CHECKING:
    from curtail_dist.state.version import Version

_LOG = logging.getLogger(__name__)
_CLOSE_S = 15.0


class Participation:
    """Takes part in the run with one model. Owns lease, group, state server and snapshots until `close`.

    The protocol's life stands still while the script trains; `end_round` lets it go on to the next round.
    """

    def __init__(
        self,
        links: Links,
        outer: DiLoCo,
        *,
        total_rows: int,
        data: str,
        program: Mapping[str, str],
        file_of: Callable[[str], Path | None] = lambda _: None,
    ) -> None:
        """Register with the store and serve the state, and the files that `file_of` has by their SHA-256.

        `start` comes next. Raises StoreUnavailable.
        """
        self._links = links
        self._began = time.monotonic()
        self._total_rows = total_rows
        config = links.config
        self._ranks = links.ranks
        self._outer = outer
        self._inner = InnerState(config, links.site, links.ranks, outer)
        self._served: Callable[[], Version | None] = lambda: None
        with ExitStack() as stack:
            server = stack.enter_context(
                StateServer(
                    run=config.run.name,
                    host=config.site(links.site).address,
                    wire=links.wire,
                    current=lambda: self._served(),
                    file_of=file_of,
                )
            )
            self._meeting = open_meeting(config.site(links.site).address, links.wire)
            if isinstance(self._meeting, StreamMeeting):
                stack.callback(self._meeting.close)
            self._part = self._make_part(
                outer,
                server.port,
                identity(config, outer, data=data, program={**program, "secret": links.wire.mark}),
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
        self._rounds = Rounds(
            links, self._part, self._world, outer=outer, inner=self._inner, step_done=self.step_done
        )

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

    @property
    def givers(self) -> Sequence[tuple[str, int]]:
        """The state servers of the other sites that live."""
        return self._board.view().state_servers(but=self._links.site)

    def upcoming(self) -> Upcoming:
        """Return what this site would be assigned beside those for whom the next round is planned."""
        head, site, rules = self._board.view().head, self._links.site, self._part.rules
        if head is None:
            return Upcoming(rows=((0, rules.total_rows),), vague=True)
        planned = plan_round(head, sorted({*head.sites, site}), head.sites, steps=rules.round_steps)
        return Upcoming(rows=planned[site].rows, vague=not head.tokens)

    def start(self) -> None:
        """Come into the run, up to the first inner step.

        Raises IdentityMismatch, StateError, Superseded, StoreUnavailable.
        """
        self._rounds.start()
        if self._links.prefetch is not None:
            self._links.prefetch.stop()  # a founder has asked it for nothing

    def begin_round(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left."""
        return self._rounds.begin()

    def end_round(self, round: OpenRound) -> OpenRound | None:
        """End the open round with the others, up to the first inner step of the next; return that."""
        return self._rounds.end(round)

    def step_done(self) -> None:
        """Say that an inner step is done. Raises what ended the presence, if anything did."""
        self._world.check()
        self._progress.passed(self._links.config.train.stall_s)

    def close(self) -> None:
        """Give up the seat and the lease, close connections; idempotent."""
        self._rounds.close()
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
            config.snapshot_url,
            run=config.run.name,
            keep=config.state.keep,
            identity=self._part.rules.identity,
            store=links.store,
            board=board,
            events=links.events,
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
            wire=links.wire,
            prefetch=links.prefetch,
            flying=lambda: self._rounds.flown,
        )
        group = EpochGroup(
            config, self._part.me, lambda: self._world.watch(), wire=links.wire, meeting=self._meeting
        )
        stack.callback(group.vacate)
        world = World(
            config=config,
            me=self._part.me,
            board=board,
            contact=contact,
            group=group,
            wire=links.wire,
            holding=holding,
            clock=links.clock,
            events=links.events,
            progress=self._progress,
            arrived=self._arrived,
            times=links.times,
            probe=links.probe,
        )
        return holding, world

    def _arrived(self, how: str, head: Commit, causes: dict[str, float]) -> None:
        links = self._links
        if how != "founded":
            self._rounds.fresh = True
        wall_s = time.monotonic() - self._began
        links.events.emit(Joined(version=head.version, how=how, wall_s=wall_s, causes=causes))
        if how == "founded":
            self._tell_of_start()
        elif head.version:
            links.events.emit(HeadFound(committed_in=head.epoch, **agreed(head)))

    def _tell_of_start(self) -> None:
        links, config = self._links, self._links.config
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
