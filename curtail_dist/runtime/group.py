"""The group of the epoch a process is seated in, and what its members gather in it."""

from collections.abc import Callable, Sequence

import torch

from curtail_dist.config import RunConfig
from curtail_dist.errors import PeerLost
from curtail_dist.membership.decisions import counted_on
from curtail_dist.membership.records import Card, Epoch, Member
from curtail_dist.membership.view import View
from curtail_dist.outer.exchange import Alone, Exchange, gather_messages
from curtail_dist.outer.gloo import form
from curtail_dist.runtime.tether import Tethers


class _Unformed(Alone):
    """Stands in for a group until it is built: nobody may mistake a failed group for a group of one."""

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        del payload, sizes
        raise PeerLost("the epoch's group was not built; regroup")


class EpochGroup:
    """Holds the open group of one epoch after the other; no process is restarted for it."""

    def __init__(self, config: RunConfig, me: Member, look: Callable[[], View]) -> None:
        """Begin without a group; `look` is called again and again while members are waited for."""
        self._config = config
        self._me = me
        self._look = look
        self._epoch: Epoch | None = None
        self._exchange: Exchange = Alone()
        self._tethers: Tethers | None = None
        self._sent_before = 0

    @property
    def size(self) -> int:
        """Members of the epoch."""
        return len(self._epoch.members) if self._epoch is not None else 1

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the network since the process began."""
        return self._sent_before + self._exchange.bytes_sent

    def form(self, epoch: Epoch) -> None:
        """Leave the group there is and build this epoch's. Raises PeerLost; the old one is left then, too."""
        self.vacate()
        self._epoch = epoch
        if len(epoch.members) > 1:
            self._exchange = _Unformed()
            first = epoch.members[0]
            self._exchange = form(
                name=f"{self._config.run.name}/{epoch.number}",
                rank=epoch.members.index(self._me),
                size=len(epoch.members),
                host=self._me.host,
                meet=(first.host, first.group_port),
                timeout=self._config.round.exchange_timeout_s,
                alive=lambda rank: self._is_there(epoch, epoch.members[rank]),
                lanes=self._config.outer.lanes,
            )
            others = [member for member in epoch.members if member != self._me]
            self._tethers = Tethers(others, run=self._config.run.name)

    def _is_there(self, epoch: Epoch, member: Member) -> bool:
        """Whether a member can still be waited for."""
        if self._tethers is not None and self._tethers.broken(member):
            return False
        return counted_on(self._look(), epoch, member)

    def gather_cards(self, card: Card) -> list[Card]:
        """Give our card to all and return everyone's in rank order. Raises PeerLost."""
        return [Card.decode(message) for message in gather_messages(self._exchange, card.encode())]

    @property
    def exchange(self) -> Exchange:
        """The group that was built, to exchange pseudo-gradients in."""
        return self._exchange

    def gather_votes(self, hash: str) -> dict[str, str]:
        """Return the hash each site computed. Raises PeerLost."""
        votes = gather_messages(self._exchange, hash.encode())
        sites = self._epoch.sites if self._epoch is not None else [self._me.site]
        return {site: vote.decode() for site, vote in zip(sites, votes, strict=True)}

    def vacate(self) -> None:
        """Leave the group; idempotent."""
        self._sent_before += self._exchange.bytes_sent
        self._exchange.close()
        self._exchange = Alone()
        self._epoch = None
        if self._tethers is not None:
            self._tethers.close()
            self._tethers = None
