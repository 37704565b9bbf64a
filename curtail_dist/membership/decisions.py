"""Decisions of the membership protocol: the same facts give the same decision at every member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

from curtail_dist.data.ledger import Assignment, Range, Staying, plan
from curtail_dist.membership.fragments import contributes, due, keeping, settled, shares, standing, taken
from curtail_dist.membership.records import Card, Commit, Epoch, Member, Pending, Presence, Trained, Word
from curtail_dist.membership.view import View


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


def going_on(epoch: Epoch, cards: Sequence[Card], *, leaving: bool = True) -> tuple[str, ...]:
    """Return the sites for which the next round is planned: the members that do not drain.

    Unless `leaving`: their work is not in all fragments yet, and they stay for one more round.

    Whoever trains it after this exchange plans it for the same sites, though some may see a newer epoch
    first: otherwise two members could take the same row.
    """
    return tuple(((release(epoch, cards) if leaving else None) or epoch).sites)


def counted_on(view: View, epoch: Epoch, member: Member) -> bool:
    """Whether a member of `epoch` can still be waited for in it.

    False for all as soon as somebody began to regroup or a later epoch stands: this one is then over.
    """
    current = view.epoch
    if (current is not None and current.number > epoch.number) or view.regrouping(epoch):
        return False
    return view.present.get(member.site) == member


@dataclass(frozen=True, kw_only=True)
class Muster:
    """Who answered after a failure in an epoch, as one member sees it."""

    epoch: Epoch
    me: Member
    words: Mapping[Member, Word]
    """Of those who missed a peer or affirmed themselves."""
    waiting: frozenset[Member]
    """Those who hold a lease and have said nothing yet."""

    @classmethod
    def of(cls, view: View, epoch: Epoch, me: Member) -> Self:
        """Read who has answered."""
        keys = view.keys
        words: dict[Member, Word] = {}
        for member in epoch.members:
            suspect = view.word(keys.suspect(member.site), member, epoch.number)
            affirm = view.word(keys.affirm(member.site), member, epoch.number)
            said = suspect or affirm
            if said is not None and (member == me or view.present.get(member.site) == member):
                words[member] = said
        waiting = frozenset(
            member
            for member in epoch.members
            if member != me and member not in words and view.present.get(member.site) == member
        )
        return cls(epoch=epoch, me=me, words=words, waiting=waiting)

    @property
    def unheard(self) -> frozenset[Member]:
        """Those who answered, but have not said yet whom they reach."""
        return frozenset(one for one, word in self.words.items() if one != self.me and word.reaches is None)

    def survivors(self) -> Epoch:
        """Return the epoch of this member and of all who answered."""
        kept = [member for member in self.epoch.members if member == self.me or member in self.words]
        return Epoch(number=self.epoch.number + 1, members=tuple(kept), reason="lost")

    def connected(self) -> Epoch:
        """Return the epoch of the largest set of those who answered in which each reaches each.

        Of sets of equal size the one whose names come first: equal words give equal sets at every member.
        """
        kept = list(self.survivors().members)
        for size in range(len(kept), 0, -1):
            for some in combinations(kept, size):
                if all(self._reaches(one, other) for one in some for other in some if one != other):
                    return Epoch(number=self.epoch.number + 1, members=some, reason="lost")
        return self.survivors()

    def _reaches(self, one: Member, other: Member) -> bool:
        word = self.words.get(one)
        return word is None or word.reaches is None or other.site in word.reaches


def living(epoch: Epoch, present: Mapping[str, Member]) -> list[Member]:
    """Return the epoch's members whose very incarnation holds a lease."""
    return [member for member in epoch.members if present.get(member.site) == member]


def plan_round(
    head: Commit, sites: Sequence[str], keeping: Sequence[str], *, steps: int, delay: int = 0
) -> dict[str, Assignment]:
    """Return what each of `sites` is to do on top of `head`: the same at every member for the same record.

    `steps` are the inner steps of the fastest, `delay` those which each did while the exchange was under way.
    The rows that stay with a site do so only if it is `keeping`.
    """
    sizes = {work.site: work.tokens / work.steps for work in head.work if work.steps}
    kept = set(keeping)
    ledger = taken(head.ledger, [one for one in head.pending if one.work.site in kept])
    rows_per_step = None
    if sizes:
        rows_per_step = ledger.rows_done / head.tokens * sum(sizes.values()) / len(sizes)
    return plan(
        ledger,
        sites,
        speeds=head.speeds,
        steps=steps,
        rows_per_step=rows_per_step,
        step_tokens=sizes,
        staying=Staying(
            rows={site: head.ahead[site] for site in sites if site in kept and site in head.ahead},
            delay=delay,
        ),
    )


def next_commit(
    head: Commit, epoch: Epoch, cards: Sequence[Card], *, hash: str, fragments: int = 1
) -> Commit:
    """Return the record of version head+1: any member may write it, and all would write the same."""
    which = due(head, fragments)
    shared = zip(cards, shares(head, cards, fragments, which), strict=True)
    work = tuple(card.work for card, share in shared if contributes(share))
    measured = {
        card.work.site: card.work.steps / card.seconds
        for card in cards
        if card.work.steps and card.seconds > 0
    }
    kept = standing(head, cards)
    lost = set(head.pending).difference(kept)
    ledger, pending = settled(
        head,
        [*kept, *(Pending(version=head.version + 1, work=one) for one in work if one.tokens)],
        which=which,
        fragments=fragments,
    )
    flushes = len(which) == fragments
    sites = going_on(epoch, cards, leaving=flushes)
    staying, keeps = set(sites), keeping(head, cards)
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
        joiners=tuple(card.work.site for card in cards if not (card.work.steps or card.draining)),
        sites=sites,
        speeds={**head.speeds, **measured},
        synced=which,
        pending=pending,
        ahead={
            card.work.site: rows
            for card in cards
            if (rows := _ahead(head, card, keeps=not flushes and card.work.site in keeps))
            and (not flushes or card.work.site in staying)
        },
        flush=not flushes and (any(card.draining for card in cards) or not taken(ledger, pending).free()),
        returned=tuple((one.version, one.work.site) for one in head.pending if one in lost),
    )


def _ahead(head: Commit, card: Card, *, keeps: bool) -> tuple[Range, ...]:
    """Return the rows that stay with a member into the next round; `keeps`: its work is to stay pending.

    One that did no step says none, and keeps what it had until its work is in all fragments: of a row it has
    begun, tokens are pending that are lost with it, and who went on with that row would finish it without.
    """
    if keeps and not card.ahead and not card.work.steps:
        return head.ahead.get(card.work.site, ())
    return card.ahead if card.finite else ()


def others_before(
    head: Commit, cards: Sequence[Card], trained: Sequence[Sequence[Trained]]
) -> tuple[Trained, ...]:
    """Return what head's contributors trained, if others than those contribute now; else nothing."""
    now = {card.work.site for card, share in zip(cards, trained, strict=True) if contributes(share)}
    before = {work.site for work in head.work}
    return tuple((work.tokens, work.steps) for work in head.work) if before != now else ()
