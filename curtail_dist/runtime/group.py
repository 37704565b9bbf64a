"""A site's seat in the current epoch: its rank, and the group it exchanges with."""

import logging
from collections.abc import Sequence

import torch

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import Expelled, PeerLost, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.protocol import contributes
from curtail_dist.membership.records import Card, Epoch, Member, encode
from curtail_dist.membership.regroup import Council
from curtail_dist.outer.exchange import Alone, Exchange, gather_messages
from curtail_dist.outer.gloo import form
from curtail_dist.telemetry.events import EpochFormed
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


class _Unformed(Alone):
    """Stands in for a group until it is built: nobody may mistake a failed group for a group of one."""

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        del payload, sizes
        raise PeerLost("the epoch's group was not built; regroup")


class Seat:
    """Holds the epoch this process takes part in and the open group of that epoch.

    Taking a seat in another epoch leaves the old group; no process is restarted.
    """

    def __init__(
        self, *, config: RunConfig, me: Member, store: CoordinationStore, board: Board, events: EventLog
    ) -> None:
        """Begin without an epoch."""
        self.config = config
        self.me = me
        self.store = store
        self.board = board
        self.events = events
        self.council = Council(store=store, board=board, me=me, grace_s=config.round.grace_s)
        self._epoch: Epoch | None = None
        self._exchange: Exchange = Alone()
        self._sent_before = 0

    @property
    def epoch(self) -> Epoch:
        """The epoch this process is seated in. Raises Expelled before the first."""
        if self._epoch is None:
            raise Expelled(f"site {self.me.site} has no seat in an epoch yet; it must enter the run first")
        return self._epoch

    @property
    def rank(self) -> int:
        """Place among the members."""
        return (self._epoch.rank_of(self.me) or 0) if self._epoch is not None else 0

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self._epoch.members) if self._epoch is not None else 1

    @property
    def others(self) -> list[str]:
        """Names of the other members."""
        return [site for site in self.epoch.sites if site != self.me.site]

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the network since the process began."""
        return self._sent_before + self._exchange.bytes_sent

    def take(self, epoch: Epoch) -> None:
        """Move to `epoch` and build its group.

        Raises Expelled if it does not list this process, PeerLost if the others do not come. The seat is in
        the new epoch also when building the group failed: recover from there.
        """
        rank = epoch.rank_of(self.me)
        if rank is None:
            raise Expelled(f"site {self.me.site}: epoch {epoch.number} does not list this process; rejoining")
        if self._epoch is not None and self._epoch.number == epoch.number:
            return
        self._leave_group()
        self._epoch = epoch
        if len(epoch.members) > 1:
            self._exchange = _Unformed()
            first = epoch.members[0]
            self._exchange = form(
                name=f"{self.config.run.name}/{epoch.number}",
                rank=rank,
                size=len(epoch.members),
                host=self.me.host,
                meet=(first.host, first.group_port),
                timeout=self.config.round.exchange_timeout_s,
                alive=self.alive,
            )
        self.events.place(epoch=epoch.number)
        self.events.emit(EpochFormed(members=epoch.sites, reason=epoch.reason))
        _LOG.info("site %s: rank %d of %s in epoch %d", self.me.site, rank, epoch.sites, epoch.number)

    def alive(self, rank: int) -> bool:
        """Whether the member of this rank can still be counted on in this epoch.

        False for all as soon as somebody began to regroup: the epoch is then over.
        """
        member = self.epoch.members[rank]
        if self._superseded() or self.board.entry(self.board.keys.suspect(self.epoch.number, self.me.site)):
            return False
        return member == self.me or self.board.present.get(member.site) == member

    def _superseded(self) -> bool:
        epoch = self.board.epoch
        return epoch is not None and epoch.number > self.epoch.number

    def gather_cards(self, card: Card) -> list[Card]:
        """Give our card to all and return everyone's in rank order. Raises PeerLost."""
        return [Card.decode(message) for message in gather_messages(self._exchange, card.encode())]

    def gather_payloads(self, cards: Sequence[Card], payload: torch.Tensor) -> list[torch.Tensor | None]:
        """Exchange encoded pseudo-gradients; None for members that contribute nothing. Raises PeerLost."""
        sizes = [payload.numel() if contributes(card) else 0 for card in cards]
        mine = payload if sizes[self.rank] else payload[:0]
        gathered = self._exchange.gather(mine, sizes)
        return [part if size else None for part, size in zip(gathered, sizes, strict=True)]

    def gather_votes(self, hash: str) -> dict[str, str]:
        """Return the hash each site computed. Raises PeerLost."""
        votes = gather_messages(self._exchange, hash.encode())
        return {site: vote.decode() for site, vote in zip(self.epoch.sites, votes, strict=True)}

    def ask_for_close(self, round: int, reason: str) -> None:
        """Ask all members to end this round after the inner step they are in. Best effort."""
        key = self.board.keys.close(self.epoch.number, round)
        try:
            self.store.put(key, encode({"by": self.me.site, "reason": reason}))
        except StoreUnavailable as error:
            _LOG.warning("site %s: the others were not asked to end round %d: %s", self.me.site, round, error)

    def recover(self) -> None:
        """After PeerLost: agree on the survivors and take the seat among them. Raises Expelled, PeerLost.

        A survivor that has begun its next round already is asked to end it, so that it comes soon.
        """
        head = self.board.head
        if head is not None and self.size > 1:
            self.ask_for_close(head.version + 1, "regroup")
        self.take(self.council.recover(self.epoch))

    def vacate(self) -> None:
        """Leave the group; idempotent."""
        self._leave_group()
        self._epoch = None

    def _leave_group(self) -> None:
        self._sent_before += self._exchange.bytes_sent
        self._exchange.close()
        self._exchange = Alone()
