"""The commit order: how a round ends, in one function, `complete_round`.

A process may be killed between any two of its lines. Until the commit record stands nothing of the round
counts: the survivors redo it with the same payloads, the dead site's rows go back to the pool. Once it stands
everything counts, and who has not swapped yet adopts what the record names.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from curtail_dist.clock import Clock
from curtail_dist.errors import PeerLost, StateDiverged, StoreUnavailable
from curtail_dist.membership.protocol import admit, contributes, next_commit, ready_joiners, release
from curtail_dist.membership.records import Card, Commit
from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.commits import commit, read_head
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.seat import Seat
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Committed, PeerMissed, Phase, RoundDiscarded
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a round's end works on; owned by the Site."""

    seat: Seat
    outer: DiLoCo
    snapshots: SnapshotKeeper
    clock: Clock
    events: EventLog
    fetch: Callable[[Commit], Version]
    """Gets a version that others committed, from a peer or a snapshot."""


@dataclass(kw_only=True)
class Ending:
    """One member's side of a round that ends; it lives over all attempts to end it."""

    round: OpenRound
    head: Commit
    """The commit the round stands on."""
    payload: torch.Tensor
    """The encoded pseudo-gradient: made once, so that a repeated exchange sends the same bytes."""
    seconds: float
    """Run time of the inner steps."""
    draining: bool
    ended: float = field(default_factory=time.monotonic)
    """Real time of the last inner step's end."""
    sent: int = 0
    """Bytes sent before."""
    following: Anchor | None = None
    """S(n+1) as computed here, before it is known to stand."""


def complete_round(parts: Parts, ending: Ending) -> Commit:
    """Cards, exchange, step, vote, commit, swap, snapshot; returns the new head.

    Returns the old head if nobody worked. Raises PeerLost when a member is missing; `end_round` regroups and
    calls this again.
    """
    seat, outer, head = parts.seat, parts.outer, ending.head

    # 3. Cards: from here all members decide alike, from the same facts. Joiners enter before the exchange.
    cards = _gather_cards(parts, ending)
    while (wider := admit(seat.epoch, cards)) is not None:
        seat.take(seat.council.settle(seat.epoch, wider))
        cards = _gather_cards(parts, ending)
    if not any(contributes(card) for card in cards):
        outer.reset()
        _account(parts, ending, cards)
        return _leave(parts, head, cards, ending)

    # 4. Exchange: everyone decodes the same payloads and sums them in rank order.
    parts.events.emit(Phase(phase="sync"))
    payloads = seat.gather_payloads(cards, ending.payload)
    if seat.size > 1:
        parts.clock.spend(seat.config.clock.sync_s)

    # 5. Step a copy: S(n) stays as it is until the commit stands.
    ending.following = outer.stepped(payloads, [card.work.tokens for card in cards])
    record = next_commit(head, seat.epoch, cards, hash=ending.following.version.hash)

    # 6. Vote: members, joiners too, must have computed the same bytes.
    _vote(seat, record)

    # 7. Commit: fenced by epoch and parent. Who writes it makes S(n) durable first, S(n+1) too where asked.
    commit(seat, record, before=lambda: _make_durable(parts, ending, record))

    # 8. Swap: the copy becomes the state, local parameters take it.
    outer.swap(ending.following)
    _announce(parts, ending, record)
    _account(parts, ending, cards)

    # 9. Snapshot in the background. Then drainers leave the epoch.
    if seat.rank == 0:
        parts.snapshots.write_soon(outer.state, record)
    return _leave(parts, record, cards, ending)


def end_round(parts: Parts, round: OpenRound, head: Commit, *, draining: bool) -> Commit:
    """End the open round on top of `head`, over as many regroupings as it takes; return the head after it.

    A joiner calls this with an empty round. The result is `head` itself if no member contributed.

    Raises:
        Expelled: the run went on without this process; its round is to be discarded.
        StateDiverged: members computed different bytes; the run stops rather than fork.
        StoreUnavailable: the store stayed away longer than round.outage_s.
    """
    ending = Ending(
        round=round,
        head=head,
        payload=parts.outer.encode(),
        seconds=parts.clock.now() - round.began,
        draining=draining,
        sent=parts.seat.bytes_sent,
    )
    while True:
        try:
            return complete_round(parts, ending)
        except PeerLost as lost:
            _LOG.warning("site %s: %s", parts.seat.me.site, lost)
            parts.events.emit(PeerMissed(peer=",".join(parts.seat.others), reason=str(lost)))
        standing = _regroup(parts)
        if standing.version > head.version:
            _adopt(parts, ending, standing)
            return standing


def discard(parts: Parts, round: OpenRound, reason: str) -> None:
    """Throw the open round away; its rows were never marked done, so they are back in the pool."""
    if round.steps:
        parts.events.emit(RoundDiscarded(steps=round.steps, rows=round.rows, reason=reason))


def _gather_cards(parts: Parts, ending: Ending) -> list[Card]:
    seat, board = parts.seat, parts.seat.board
    card = Card(
        epoch=seat.epoch.number,
        version=ending.head.version,
        work=ending.round.work,
        seconds=ending.seconds,
        finite=bool(torch.isfinite(ending.payload.view(torch.float32)).all()),
        draining=ending.draining,
        ready=ready_joiners(seat.epoch, ending.head, board.presences),
    )
    parts.events.emit(Phase(phase="idle"))
    with parts.clock.waiting():
        cards = seat.gather_cards(card)
    odd = next((other for other in cards if other.version != card.version), None)
    if odd is not None:
        raise PeerLost(f"site {odd.work.site} stands on version {odd.version}, this one on {card.version}")
    return cards


def _account(parts: Parts, ending: Ending, cards: list[Card]) -> None:
    """Say so if this member's own work did not enter the outer step."""
    mine = next(card for card in cards if card.work.site == parts.seat.me.site)
    if not contributes(mine):
        discard(parts, ending.round, "its pseudo-gradient is not finite")


def _vote(seat: Seat, record: Commit) -> None:
    votes = seat.gather_votes(record.hash)
    if len(set(votes.values())) > 1:
        shown = ", ".join(f"{site} {hash[:12]}" for site, hash in votes.items())
        raise StateDiverged(f"version {record.version} differs between sites ({shown}); use equal versions")


def _make_durable(parts: Parts, ending: Ending, record: Commit) -> None:
    parts.snapshots.make_durable(parts.outer.state, ending.head)
    if parts.seat.config.state.durable_before_commit and ending.following is not None:
        parts.snapshots.make_durable(ending.following.version, record)


def _leave(parts: Parts, head: Commit, cards: list[Card], ending: Ending) -> Commit:
    seat = parts.seat
    narrower = release(seat.epoch, cards)
    if ending.draining:
        if narrower is None:
            parts.snapshots.make_durable(parts.outer.state, head)
    elif narrower is not None:
        seat.take(seat.council.settle(seat.epoch, narrower))
    return head


def _regroup(parts: Parts) -> Commit:
    """Take a seat among the survivors and return the head that stands. Raises StoreUnavailable, Expelled."""
    seat = parts.seat
    deadline = time.monotonic() + seat.config.round.outage_s
    while True:
        try:
            with parts.clock.waiting():
                seat.recover()
            return read_head(seat)
        except PeerLost as again:
            _LOG.warning("site %s: %s", seat.me.site, again)
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            _LOG.warning("site %s: regrouping waits for the store: %s", seat.me.site, error)


def _adopt(parts: Parts, ending: Ending, standing: Commit) -> None:
    """The commit stands although this member did not see it through: take its state."""
    if standing.version == parts.outer.version:
        return
    following = ending.following
    if following is not None and following.version.hash == standing.hash:
        parts.outer.swap(following)
    else:
        parts.outer.adopt(parts.fetch(standing))
    if parts.seat.me.site not in [work.site for work in standing.work]:
        discard(parts, ending.round, "committed without this site")
    _announce(parts, ending, standing)


def _announce(parts: Parts, ending: Ending, record: Commit) -> None:
    parts.events.emit(
        Committed(
            version=record.version,
            hash=record.hash,
            tokens=record.tokens,
            rows=record.ledger.rows_done,
            work=[
                {
                    "site": work.site,
                    "tokens": work.tokens,
                    "steps": work.steps,
                    "rows": [list(span) for span in work.rows],
                }
                for work in record.work
            ],
            joiners=list(record.joiners),
            loss=ending.round.loss,
            bytes_sent=parts.seat.bytes_sent - ending.sent,
            stall_s=time.monotonic() - ending.ended,
        )
    )
