"""Changing the epoch: entering, leaving, and going on without those who were lost.

Every change is a compare-and-swap on the epoch record, so whoever acts on an old view fails and looks again.
"""

import logging
import time
from dataclasses import dataclass

from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import Expelled, PeerLost
from curtail_dist.membership.board import Board
from curtail_dist.membership.protocol import living, survivors, undecided
from curtail_dist.membership.records import Epoch, Member, decode, encode
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Council:
    """What a member needs to change the epoch together with the others."""

    store: CoordinationStore
    board: Board
    me: Member
    grace_s: Seconds
    """Real time in which a living member must answer."""

    def write(self, following: Epoch) -> Epoch:
        """Make `following` the epoch if nobody was faster; return the epoch that stands then."""
        key = self.board.keys.epoch
        entry = self.store.get(key)
        if entry is not None and Epoch.decode(entry.value).number >= following.number:
            self.board.note(key, entry.value, entry.revision)
            return Epoch.decode(entry.value)
        result = self.store.compare_and_swap(key, following.encode(), revision=entry.revision if entry else 0)
        if result.succeeded:
            self.board.note(key, following.encode(), result.revision)
            return following
        current = result.current[key]
        if current is None:
            raise PeerLost("the epoch record vanished; the run's keys were deleted from the store")
        self.board.note(key, current.value, current.revision)
        return Epoch.decode(current.value)

    def settle(self, current: Epoch, following: Epoch) -> Epoch:
        """Move on to `following`, which all members of `current` derived alike.

        The lowest rank that stays writes it, another one after the grace. Returns the epoch that stands; the
        caller checks that it is listed in it.
        """
        staying = [member for member in following.members if member in current.members]
        if staying[0] != self.me:
            seen = self.await_epoch(following.number, timeout=self.grace_s)
            if seen is not None:
                return seen
        return self.write(following)

    def await_epoch(self, number: int, *, timeout: Seconds) -> Epoch | None:
        """Return the first epoch at least `number`, None after `timeout` (real time)."""

        def reached() -> Epoch | None:
            epoch = self.board.epoch
            return epoch if epoch is not None and epoch.number >= number else None

        return self.board.wait(reached, timeout=timeout)

    def recover(self, epoch: Epoch) -> Epoch:
        """After a failure in `epoch`: agree who lives and return the next epoch. Raises Expelled.

        Each survivor suspects the others; their membership threads affirm themselves. Who has not within the
        grace, or has no lease any more, is left out.
        """
        keys, board = self.board.keys, self.board
        for member in epoch.members:
            self.store.put(keys.suspect(epoch.number, member.site), encode({"by": self.me.site}))
        deadline = time.monotonic() + self.grace_s

        def decided() -> Epoch | None:
            current = board.epoch
            if current is not None and current.number > epoch.number:
                return current
            affirmed = self._affirmed(epoch)
            if undecided(epoch, self.me, present=board.present, affirmed=affirmed):
                return None
            return survivors(epoch, self.me, present=board.present, affirmed=affirmed)

        following = board.wait(decided, timeout=max(0.0, deadline - time.monotonic()))
        if following is None:
            following = survivors(epoch, self.me, present=board.present, affirmed=self._affirmed(epoch))
        standing = self.settle(epoch, following) if following.number == epoch.number + 1 else following
        if standing.rank_of(self.me) is None:
            raise Expelled(
                f"site {self.me.site}: epoch {standing.number} does not list this process; rejoining"
            )
        return standing

    def others_live(self, epoch: Epoch) -> bool:
        """Whether any other member of the epoch holds its lease."""
        return any(member != self.me for member in living(epoch, self.board.present))

    def _affirmed(self, epoch: Epoch) -> set[str]:
        keys = self.board.keys
        entries = [self.board.entry(keys.affirm(epoch.number, member.site)) for member in epoch.members]
        return {str(decode(entry.value)["incarnation"]) for entry in entries if entry is not None}
