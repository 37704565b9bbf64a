"""The group of the epoch a process is seated in, and what its members gather in it."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from curtail_dist.config import RunConfig
from curtail_dist.errors import PeerLost
from curtail_dist.membership.decisions import counted_on
from curtail_dist.membership.records import Card, Epoch, Member
from curtail_dist.membership.view import View
from curtail_dist.outer.exchange import Alone, Exchange, gather_messages
from curtail_dist.outer.gloo import GroupStore, form
from curtail_dist.outer.streams import StreamMeeting, form_streams
from curtail_dist.runtime.tether import Tethers
from curtail_dist.security.wire import Wire

Meeting: TypeAlias = GroupStore | StreamMeeting
"""Where the members of an epoch in which this site comes first find each other."""


def open_meeting(host: str, wire: Wire) -> Meeting:
    """Serve on a free port of `host`, for as long as the process takes part; who is given it closes it."""
    return StreamMeeting(host, wire) if wire.secure else GroupStore(host)


class _Unformed(Alone):
    """Stands in for a group until it is built: nobody may mistake a failed group for a group of one."""

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        del payload, sizes
        raise PeerLost("the epoch's group was not built; regroup")


class EpochGroup:
    """Holds the open group of one epoch after the other; no process is restarted for it."""

    def __init__(
        self, config: RunConfig, me: Member, look: Callable[[], View], *, wire: Wire, meeting: Meeting
    ) -> None:
        """Begin without a group; `look` is called again and again while members are waited for.

        `meeting` is this site's own, made by `open_meeting` with the same `wire`.
        """
        self._config = config
        self._me = me
        self._look = look
        self._wire = wire
        self._meeting = meeting
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
            self._exchange = self._formed(epoch)
            others = [member for member in epoch.members if member != self._me]
            self._tethers = Tethers(others, run=self._config.run.name, wire=self._wire)

    def _formed(self, epoch: Epoch) -> Exchange:
        """Return the epoch's group: of streams by the wire where strangers are kept out, else of Gloo."""
        name, rank = f"{self._config.run.name}/{epoch.number}", epoch.members.index(self._me)
        timeout = self._config.round.exchange_timeout_s
        peers = [(member.host, member.group_port) for member in epoch.members]

        def alive(rank: int) -> bool:
            return self._is_there(epoch, epoch.members[rank])

        if isinstance(self._meeting, StreamMeeting):
            return form_streams(
                name=name,
                rank=rank,
                size=len(peers),
                meeting=self._meeting,
                peers=peers,
                timeout=timeout,
                alive=alive,
                wire=self._wire,
                lanes=self._config.outer.lanes,
            )
        return form(
            name=name,
            rank=rank,
            size=len(peers),
            host=self._me.host,
            meet=peers[0],
            timeout=timeout,
            alive=alive,
            lanes=self._config.outer.lanes,
        )

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
