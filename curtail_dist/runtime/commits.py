"""Writing a commit: one fenced transaction, by the lowest rank at once and by the others after a moment."""

import logging
import time
from collections.abc import Callable

from curtail_dist.errors import PeerLost, StoreUnavailable
from curtail_dist.membership.records import Commit, Epoch
from curtail_dist.runtime.seat import Seat

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.5


def commit(seat: Seat, record: Commit, *, before: Callable[[], None]) -> None:
    """Return when `record` is head. All members call this with equal records.

    The lowest rank writes it; the others wait for it as long as a lower rank lives, then write it themselves.
    The transaction holds only while the epoch and the parent are still the newest, so a site that was
    expelled commits nothing. An answer that timed out is unknown: head is read before writing again.

    Args:
        seat: This member's.
        record: What becomes head.
        before: Called by who writes, before it does.

    Raises:
        PeerLost: the epoch moved on, or another record took the place; look at head.
        StoreUnavailable: the store stayed away longer than round.outage_s.
    """
    if _awaited(seat, record):
        return
    deadline = time.monotonic() + seat.config.round.outage_s
    while True:
        try:
            before()
            if _attempt(seat, record):
                return
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            _LOG.warning("site %s: commit %d waits for the store: %s", seat.me.site, record.version, error)
            time.sleep(_RETRY_S)


def _attempt(seat: Seat, record: Commit) -> bool:
    keys = seat.board.keys
    epoch, head = seat.store.get(keys.epoch), seat.store.get(keys.head)
    if epoch is None or head is None:
        raise PeerLost("the run's keys vanished from the store; recover the run from its newest snapshot")
    standing = Commit.decode(head.value)
    if (standing.version, standing.hash) == (record.version, record.hash):
        seat.board.note(keys.head, head.value, head.revision)
        return True
    if Epoch.decode(epoch.value) != seat.epoch or standing.hash != record.parent:
        raise PeerLost(f"commit {record.version} is fenced off: the run has moved on without this epoch")
    result = seat.store.transact(
        compare={keys.epoch: epoch.revision, keys.head: head.revision},
        puts={keys.head: record.encode()},
        deletes=[keys.close(seat.epoch.number, record.version)],
    )
    if result.succeeded:
        seat.board.note(keys.head, record.encode(), result.revision)
    return result.succeeded


def _awaited(seat: Seat, record: Commit) -> bool:
    """Wait for a lower rank to write the record; False when it is this member's turn."""

    def standing() -> bool | None:
        head = seat.board.head
        if head is not None and head.hash == record.hash:
            return True
        return None if any(seat.alive(rank) for rank in range(seat.rank)) else False

    timeout = seat.config.round.exchange_timeout_s
    return bool(seat.rank and seat.board.wait(standing, timeout=timeout))


def read_head(seat: Seat) -> Commit:
    """Read the head that stands. Raises StoreUnavailable after round.outage_s."""
    deadline = time.monotonic() + seat.config.round.outage_s
    key = seat.board.keys.head
    while True:
        try:
            entry = seat.store.get(key)
            break
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
    if entry is None:
        raise PeerLost("the run's keys vanished from the store; recover the run from its newest snapshot")
    seat.board.note(key, entry.value, entry.revision)
    return Commit.decode(entry.value)
