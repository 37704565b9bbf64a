"""How a site enters the run: founds it, resumes it after the dark, or joins the members that train."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from curtail_dist.errors import PeerLost, StateError
from curtail_dist.membership.presence import Registration
from curtail_dist.membership.protocol import living
from curtail_dist.membership.records import Commit, Epoch, Member, encode
from curtail_dist.runtime.round import Parts
from curtail_dist.state import transfer
from curtail_dist.state.version import Version
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Door:
    """What entering works on."""

    parts: Parts
    registration: Registration
    total_rows: int
    leaving: Callable[[], bool]
    """Whether this site was asked to leave before it came in."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """How a site came in."""

    how: str
    """`founded`, `resumed` or `pulled`."""
    head: Commit
    """The commit whose state it holds."""


def enter(door: Door) -> Entered | None:
    """Return when this process has a seat in the current epoch and holds head's state.

    None if it was asked to leave first.

    After `pulled` the others are at a round's end and wait: the caller ends an empty round with them at once.
    """
    seat = door.parts.seat
    board = seat.board
    while not door.leaving():
        epoch, head = board.epoch, board.head
        if head is None or epoch is None:
            entered = _found(door)
        elif not living(epoch, board.present) or head.complete:
            entered = _resume(door, epoch, head)
        else:
            entered = _join(door, epoch, head)
        if entered is not None:
            door.registration.show_ready("")
            return entered
    return None


def _found(door: Door) -> Entered | None:
    """Write version 0 and epoch 1 in one transaction; None if another site was faster."""
    seat, outer = door.parts.seat, door.parts.outer
    keys = seat.board.keys
    first = Commit(version=0, hash=outer.state.hash, parent="", epoch=1, total_rows=door.total_rows)
    epoch = Epoch(number=1, members=(seat.me,), reason="founded")
    result = seat.store.transact(
        compare={keys.epoch: 0, keys.head: 0}, puts={keys.epoch: epoch.encode(), keys.head: first.encode()}
    )
    if not result.succeeded:
        _await_board(door, lambda: seat.board.head is not None)
        return None
    seat.board.note(keys.epoch, epoch.encode(), result.revision)
    seat.board.note(keys.head, first.encode(), result.revision)
    seat.take(epoch)
    door.parts.snapshots.write_soon(outer.state, first)
    return Entered(how="founded", head=first)


def _resume(door: Door, epoch: Epoch, head: Commit) -> Entered | None:
    """Nobody of the epoch lives: take head's snapshot and the epoch; None if another site was faster."""
    parts, seat = door.parts, door.parts.seat
    version = parts.snapshots.load(head) if head.version else parts.outer.state
    if version is None:
        raise StateError(
            f"no site is alive and snapshot {head.version} ({head.hash[:8]}) cannot be read below "
            f"{seat.config.snapshot_url}; give all sites the same state.url, or bring back its writer"
        )
    if head.version == 0 and version.hash != head.hash:
        raise StateError(
            "version 0 differs from this site's initial model; use the run's seed and torch version"
        )
    following = Epoch(number=epoch.number + 1, members=(seat.me,), reason="resumed")
    standing = seat.council.write(following)
    if standing != following:
        return None
    if head.version:
        parts.outer.adopt(version)
    seat.take(standing)
    return Entered(how="resumed", head=head)


def _join(door: Door, epoch: Epoch, head: Commit) -> Entered | None:
    """Pull head's state from a member, ask for the round's end, wait to be admitted; None to look again."""
    parts, seat = door.parts, door.parts.seat
    board, keys = seat.board, seat.board.keys
    try:
        members, timeout = living(epoch, board.present), seat.config.state.transfer_timeout_s
        parts.outer.adopt(pull_from(members, seat.config.run.name, head, timeout))
    except PeerLost as lost:
        _LOG.warning("site %s: %s; looking again", seat.me.site, lost)
        _await_board(door, lambda: board.head != head or board.epoch != epoch)
        return None
    door.registration.show_ready(head.hash)
    seat.store.put(
        keys.close(epoch.number, head.version + 1), encode({"by": seat.me.site, "reason": "joiner"})
    )

    def moved() -> bool:
        current = board.epoch
        listed = current is not None and current.rank_of(seat.me) is not None
        return listed or board.head != head or current != epoch or not living(epoch, board.present)

    with parts.clock.waiting():
        while not moved() and not door.leaving():
            _await_board(door, moved)
    admitted = board.epoch
    if admitted is None or admitted.rank_of(seat.me) is None:
        return None
    try:
        seat.take(admitted)
    except PeerLost as lost:
        _LOG.warning("site %s: %s; regrouping", seat.me.site, lost)
    return Entered(how="pulled", head=head)


def pull_from(members: list[Member], run: str, head: Commit, timeout: Seconds) -> Version:
    """Pull the state of `head` from the first member that gives it. Raises PeerLost if none does."""
    reasons: list[str] = []
    for member in members:
        try:
            return transfer.pull(
                run=run,
                host=member.host,
                port=member.state_port,
                number=head.version,
                hash=head.hash,
                timeout=timeout,
            )
        except PeerLost as lost:
            reasons.append(str(lost))
    raise PeerLost("; ".join(reasons) or f"no living member holds version {head.version}")


def _await_board(door: Door, check: Callable[[], bool], *, timeout: Seconds = 0.5) -> None:
    """Wait a moment for the board to show what is looked for; the caller looks again in any case."""
    door.parts.seat.board.wait(lambda: True if check() or door.leaving() else None, timeout=timeout)
