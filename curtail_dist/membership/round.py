"""How a round ends: the commit order, in one function, `complete_round`.

A process may be killed between any two of its lines. Until the commit record stands nothing of the round
counts: the survivors redo it with the same payloads, the dead site's rows go back to the pool. Once it stands
everything counts, and who has not swapped yet adopts what the record names.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from curtail_dist.errors import (
    Expelled,
    PeerLost,
    SnapshotCorrupt,
    SnapshotMissing,
    StateDiverged,
    StoreUnavailable,
)
from curtail_dist.membership.committing import write_commit
from curtail_dist.membership.decisions import (
    admit,
    going_on,
    next_commit,
    others_before,
    ready_joiners,
    release,
)
from curtail_dist.membership.effects import (
    Announce,
    Done,
    Encode,
    GatherCards,
    GatherPayloads,
    GatherVotes,
    Held,
    Load,
    Look,
    MakeDurable,
    Pull,
    Reset,
    SnapshotSoon,
    StepCopy,
    Steps,
    Swap,
    Tell,
    ask,
)
from curtail_dist.membership.fragments import contributes, due, keeping, shares
from curtail_dist.membership.part import Part
from curtail_dist.membership.patience import patiently
from curtail_dist.membership.records import Card, Commit
from curtail_dist.membership.regroup import ask_for_close, regroup, settle, take_seat
from curtail_dist.telemetry.events import PeerMissed, Phase

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Ending:
    """One member's side of a round that ends; it lives over all attempts to end it."""

    done: Done
    which: Sequence[int]
    """Fragments that it moves."""
    finite: bool
    """Whether the payload, encoded once, has only finite numbers."""
    copy: str = ""
    """Hash of S(n+1) as computed here, before it is known to stand."""


def complete_round(part: Part, ending: Ending) -> Steps[None]:
    """Cards, exchange, step, vote, commit, swap, snapshot: `part` then stands on the new head.

    It stays on the old one if nobody worked. Raises PeerLost when a member is missing; `end_round` regroups
    and calls this again.
    """
    # 3. Cards: from here all members decide alike, from the same facts. Joiners enter before the exchange.
    cards = yield from _gather_cards(part, ending)
    while (wider := admit(part.epoch, cards)) is not None:
        yield from take_seat(part, (yield from settle(part, wider)))
        cards = yield from _gather_cards(part, ending)
    fragments, which = part.rules.fragments, ending.which
    trained = shares(part.head, cards, fragments, which)
    if not any(contributes(share) for share in trained):
        part.planned, part.keeping = going_on(part.epoch, cards), keeping(part.head, cards)
        yield from _account(part, ending)
        yield from _leave(part, cards, leaving=True)
        return

    # 4. Exchange: everyone decodes the same payloads and sums them in rank order.
    yield from ask(Tell(Phase(phase="sync")))
    yield from ask(GatherPayloads(which, trained))

    # 5. Step a copy: S(n) stays as it is until the commit stands.
    ending.copy = yield from ask(StepCopy(which, trained, others_before(part.head, cards, trained)))
    record = next_commit(part.head, part.epoch, cards, hash=ending.copy, fragments=fragments)

    # 6. Vote: members, joiners too, must have computed the same bytes.
    votes = yield from ask(GatherVotes(record.hash))
    if len(set(votes.values())) > 1:
        shown = ", ".join(f"{site} {hash[:12]}" for site, hash in votes.items())
        raise StateDiverged(f"version {record.version} differs between sites ({shown}); use equal versions")

    # 7. Commit: fenced by epoch and parent. Who writes it makes S(n) durable first, S(n+1) too where asked.
    is_head = yield from write_commit(part, record)

    # 8. Swap: the copy becomes the state, local parameters take it.
    yield from ask(Swap(record))
    yield from _stand_on(part, record)
    yield from _account(part, ending)
    if not is_head and not ending.done.draining:
        raise PeerLost(f"version {record.version} stands, and the run has moved on without this member")

    # 9. Snapshot in the background. Then drainers leave the epoch, if their work is in all fragments.
    if part.rank == 0:
        yield from ask(SnapshotSoon(record))
    yield from _leave(part, cards, leaving=len(which) == fragments)


def end_round(part: Part, done: Done) -> Steps[None]:
    """End the open round on top of the head, over as many regroupings as it takes.

    A joiner calls this with an empty round. The payload is encoded once: a repeated exchange sends the same
    bytes.
    """
    view = yield from ask(Look())
    if view.stale_s >= part.rules.outage_s:
        raise StoreUnavailable(
            f"the store has been away for {view.stale_s:.0f} s, longer than round.outage_s"
        )
    base = part.head
    which = due(base, part.rules.fragments)
    ending = Ending(done=done, which=which, finite=(yield from ask(Encode(which))))
    part.left = False
    if done.draining and view.hurries and len(part.epoch.members) > 1:
        yield from ask_for_close(part, "drain")
    while True:
        try:
            yield from complete_round(part, ending)
            part.misses = 0
            break
        except PeerLost as lost:
            _LOG.warning("site %s: %s", part.me.site, lost)
            others = [site for site in part.epoch.sites if site != part.me.site]
            yield from ask(Tell(PeerMissed(peer=",".join(others), reason=str(lost))))
        standing = yield from regroup(part)
        if standing.hash != base.hash:
            yield from _adopt(part, ending, standing)
            part.left = done.draining and len(standing.synced) == part.rules.fragments
            break


def _gather_cards(part: Part, ending: Ending) -> Steps[list[Card]]:
    view, done = (yield from ask(Look())), ending.done
    card = Card(
        epoch=part.epoch.number,
        version=part.head.version,
        base=part.head.hash,
        work=done.work,
        seconds=done.seconds,
        finite=ending.finite,
        draining=done.draining,
        ready=ready_joiners(part.epoch, part.head, view.presences),
        since=part.since,
        ahead=done.ahead,
    )
    yield from ask(Tell(Phase(phase="idle")))
    cards = list((yield from ask(GatherCards(card))))
    odd = next((other for other in cards if other.base != card.base), None)
    if odd is not None:
        raise PeerLost(f"site {odd.work.site} stands on {odd.base[:8]}, this one on {card.base[:8]}")
    return cards


def _account(part: Part, ending: Ending) -> Steps[None]:
    """Throw this member's training away if its numbers are not finite: nobody counts it, pending or new."""
    if not ending.finite:
        yield from ask(Reset("its pseudo-gradient is not finite" if ending.done.work.steps else ""))
        part.since = part.head.version


def _stand_on(part: Part, record: Commit) -> Steps[None]:
    part.stands_on, part.planned, part.keeping = record, record.sites, record.sites
    yield from ask(Announce(record))


def _adopt(part: Part, ending: Ending, standing: Commit) -> Steps[None]:
    """A commit stands although this member did not see it through: take its state. Raises Expelled."""
    if (yield from ask(Held())) == standing.hash:
        return
    if ending.copy == standing.hash:
        yield from ask(Swap(standing))
        yield from _stand_on(part, standing)
        yield from _account(part, ending)
        return
    counted = part.me.site in [work.site for work in standing.work] and standing.parent == part.head.hash
    if not counted:
        yield from ask(Reset("committed without this site"))
        part.since = standing.version
    yield from _fetch(part, standing, keep=standing.synced if counted else None)
    yield from _stand_on(part, standing)


def _fetch(part: Part, commit: Commit, *, keep: Sequence[int] | None) -> Steps[None]:
    """Get a version that others committed: from a member, else from its snapshot. Raises Expelled."""
    others = [member for member in part.epoch.members if member != part.me]
    try:
        yield from ask(Pull(others, commit, keep))
    except PeerLost as lost:
        try:
            yield from ask(Load(commit.version, commit.hash, keep))
        except (SnapshotMissing, SnapshotCorrupt) as error:
            raise Expelled(
                f"site {part.me.site}: version {commit.version} stands but can be had nowhere now "
                f"({lost}; {error}); rejoining"
            ) from error


def _leave(part: Part, cards: list[Card], *, leaving: bool) -> Steps[None]:
    """Without the drainers a narrower epoch goes on; the last to leave makes its snapshot durable first.

    Unless they are still to flush: then they stay for one more round.
    """
    if not leaving:
        return
    narrower = release(part.epoch, cards)
    part.left = any(card.draining for card in cards if card.work.site == part.me.site)
    if part.left:
        if narrower is None:
            yield from make_durable(part)
    elif narrower is not None:
        yield from take_seat(part, (yield from settle(part, narrower)))


def make_durable(part: Part) -> Steps[None]:
    """Return when the snapshot of S is durable. Raises OSError, StoreUnavailable."""
    head = part.head
    yield from patiently(part, lambda: ask(MakeDurable(head)), f"the snapshot of version {head.version}")
