"""Writing a commit: one fenced transaction, by the lowest rank at once and by the others after a moment."""

import logging
import time

from curtail_dist.errors import PeerLost, StoreUnavailable
from curtail_dist.membership.records import Commit, Epoch
from curtail_dist.runtime.seat import Seat
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.5


def commit(seat: Seat, record: Commit) -> None:
    """Return when `record` is head. All members call this with equal records.

    The transaction holds only while the epoch and the parent are still the newest, so a site that was
    expelled commits nothing. An answer that timed out is unknown: head is read before writing again.

    Raises:
        PeerLost: the epoch moved on, or another record took the place; look at head.
    """
    if seat.rank > 0 and _awaited(seat, record, timeout=seat.config.round.grace_s):
        return
    deadline = time.monotonic() + seat.config.round.outage_s
    while True:
        try:
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


def _awaited(seat: Seat, record: Commit, *, timeout: Seconds) -> bool:
    def standing() -> bool | None:
        head = seat.board.head
        return True if head is not None and head.hash == record.hash else None

    return bool(seat.board.wait(standing, timeout=timeout))


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
