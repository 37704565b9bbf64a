"""Which fragments a round exchanges, and when the work of earlier rounds is in all of them. Pure.

With F fragments the commit of version n moves fragment (n - 1) modulo F, and what a site trained for it is
in every fragment F - 1 commits later. Until then it is pending: its rows are neither free nor done. A site
that is lost takes its pending work with it, and the rows return to the pool. A round that flushes moves all
fragments, and nothing is pending after it.
"""

from collections.abc import Sequence

from curtail_dist.data.ledger import Ledger
from curtail_dist.membership.records import Card, Commit, Pending, Trained


def due(head: Commit, fragments: int) -> tuple[int, ...]:
    """Return the fragments that the commit after `head` moves."""
    return tuple(range(fragments)) if head.flush or fragments == 1 else (head.version % fragments,)


def standing(head: Commit, cards: Sequence[Card]) -> tuple[Pending, ...]:
    """Return the pending work whose sites still have it in their local parameters."""
    since = {card.work.site: card.since for card in cards if card.finite}
    return tuple(one for one in head.pending if one.version > since.get(one.work.site, head.version))


def keeping(head: Commit, cards: Sequence[Card]) -> tuple[str, ...]:
    """Return the sites that go on from local parameters which head knows of."""
    return tuple(card.work.site for card in cards if card.finite and card.since < head.version)


def shares(
    head: Commit, cards: Sequence[Card], fragments: int, which: Sequence[int]
) -> tuple[tuple[Trained, ...], ...]:
    """Return what each member trained since each of `which` was last exchanged: (tokens, steps); by rank.

    Nothing for one whose numbers are not finite.
    """
    pending: dict[str, list[Pending]] = {card.work.site: [] for card in cards}
    for one in standing(head, cards):
        pending.setdefault(one.work.site, []).append(one)
    moved = [_last_moved(head, fragment, fragments) for fragment in which]
    return tuple(tuple(_since(version, card, pending[card.work.site]) for version in moved) for card in cards)


def contributes(share: Sequence[Trained]) -> bool:
    """Whether a member's pseudo-gradient enters the outer step."""
    return any(tokens > 0 for tokens, _ in share)


def _since(version: int, card: Card, pending: Sequence[Pending]) -> Trained:
    """Return what a member trained after a version, from its card and its own pending work."""
    if not card.finite:
        return (0, 0)
    works = [*(one.work for one in pending if one.version > version), card.work]
    return sum(one.tokens for one in works), sum(one.steps for one in works)


def _last_moved(head: Commit, fragment: int, fragments: int) -> int:
    """Return the newest version up to head whose turn it was to move a fragment."""
    return head.version - (head.version - 1 - fragment) % fragments


def settled(
    head: Commit, pending: Sequence[Pending], *, which: Sequence[int], fragments: int
) -> tuple[Ledger, tuple[Pending, ...]]:
    """Return the ledger after the next commit, and what is pending then.

    Args:
        head: The commit before.
        pending: What of its pending work still stands, and the next commit's own, oldest first.
        which: The fragments that the next commit moves.
        fragments: How many there are.
    """
    oldest = head.version + 1 if len(which) == fragments else head.version + 1 - (fragments - 1)
    ledger = taken(head.ledger, [one for one in pending if one.version <= oldest])
    return ledger, tuple(one for one in pending if one.version > oldest)


def taken(ledger: Ledger, pending: Sequence[Pending]) -> Ledger:
    """Return the ledger as if pending work, oldest first, were done: what it has free may be planned."""
    return ledger.with_all_done((one.work.rows, one.work.open) for one in pending)
