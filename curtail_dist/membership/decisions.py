"""Decisions of the membership protocol. Pure: the same cards give the same decision at every member."""

from collections.abc import Mapping, Sequence

from curtail_dist.membership.records import Card, Commit, Epoch, Member, Presence


def contributes(card: Card) -> bool:
    """Whether a member's pseudo-gradient enters the outer step."""
    return card.finite and card.work.tokens > 0


def ready_joiners(epoch: Epoch, head: Commit, presences: Sequence[Presence]) -> tuple[Member, ...]:
    """Return the living sites outside the epoch that hold the head version and have shown its hash."""
    waiting = (one.member for one in presences if one.ready == head.hash)
    return tuple(sorted(member for member in waiting if member not in epoch.members))


def admit(epoch: Epoch, cards: Sequence[Card]) -> Epoch | None:
    """Return the epoch that contains the joiners any card names, or None if there are none.

    A site that comes back replaces its earlier incarnation.
    """
    joiners = {member.site: member for card in cards for member in card.ready}
    if not joiners:
        return None
    staying = [member for member in epoch.members if member.site not in joiners]
    members = tuple(sorted([*staying, *joiners.values()]))
    return Epoch(number=epoch.number + 1, members=members, reason="joined")


def release(epoch: Epoch, cards: Sequence[Card]) -> Epoch | None:
    """Return the epoch without the drainers; None if nobody drains or nobody would be left."""
    leaving = {card.work.site for card in cards if card.draining}
    members = tuple(member for member in epoch.members if member.site not in leaving)
    if not leaving or not members:
        return None
    return Epoch(number=epoch.number + 1, members=members, reason="left")


def survivors(epoch: Epoch, me: Member, *, present: Mapping[str, Member], affirmed: set[str]) -> Epoch:
    """Return the epoch after a failure: those whose lease lives and who affirmed themselves, and this member.

    Args:
        epoch: The epoch in which somebody was lost.
        me: The member that decides.
        present: Living incarnation by site.
        affirmed: Incarnations that affirmed themselves in this epoch.
    """
    kept = tuple(
        member
        for member in epoch.members
        if member == me or (present.get(member.site) == member and member.incarnation in affirmed)
    )
    return Epoch(number=epoch.number + 1, members=kept, reason="lost")


def undecided(epoch: Epoch, me: Member, *, present: Mapping[str, Member], affirmed: set[str]) -> set[str]:
    """Return the sites that live but have not affirmed themselves yet."""
    return {
        member.site
        for member in epoch.members
        if member != me and present.get(member.site) == member and member.incarnation not in affirmed
    }


def living(epoch: Epoch, present: Mapping[str, Member]) -> list[Member]:
    """Return the epoch's members whose very incarnation holds a lease."""
    return [member for member in epoch.members if present.get(member.site) == member]


def next_commit(head: Commit, epoch: Epoch, cards: Sequence[Card], *, hash: str) -> Commit:
    """Return the record of version head+1: any member may write it, and all would write the same."""
    work = tuple(card.work for card in cards if contributes(card))
    measured = {
        card.work.site: card.work.steps / card.seconds
        for card in cards
        if card.work.steps and card.seconds > 0
    }
    ledger = head.ledger.with_done(
        (span for one in work for span in one.rows), (row for one in work for row in one.open)
    )
    return Commit(
        version=head.version + 1,
        hash=hash,
        parent=head.hash,
        epoch=epoch.number,
        total_rows=head.total_rows,
        done=ledger.done,
        open=ledger.open,
        tokens=head.tokens + sum(one.tokens for one in work),
        steps=head.steps + sum(one.steps for one in work),
        work=work,
        joiners=tuple(card.work.site for card in cards if not card.work.steps),
        speeds={**head.speeds, **measured},
    )
