"""A process's presence in the run: its leased key, and its word that it lives when somebody suspects it.

Runs beside the life, in a thread of its own: a process that trains or waits still answers.
"""

import logging
from dataclasses import dataclass

from curtail_dist.errors import LeaseExpired, StoreUnavailable, Superseded
from curtail_dist.membership.effects import (
    Await,
    Grant,
    KeepAlive,
    Look,
    MakesProgress,
    Now,
    Pause,
    Put,
    PutLeased,
    Read,
    Revoke,
    Steps,
    ask,
)
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Presence, Word
from curtail_dist.membership.view import View
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.2


def keep_present(part: Part) -> Steps[None]:
    """Hold the site's key on a lease, renew it, answer suspicions, until `part.closed`.

    A new process takes the key over from an earlier one of its site. A lease that lapsed while the store was
    away is replaced and the key written again: under a standing epoch nothing is lost by it. A process whose
    main loop makes no progress lets its lease lapse.

    Raises Superseded when a newer process of the site has the key.
    """
    standing = _Standing()
    while not part.closed:
        try:
            if standing.shown is None or standing.shown != part.shown:
                yield from _write(part, standing)
            elif (yield from ask(Now())) >= standing.renew_at:
                yield from _renew(part, standing)
            yield from _answer(part, standing)
            standing.silent = False
        except LeaseExpired:
            _LOG.warning("site %s: the lease lapsed; registering again", part.me.site)
            standing.shown = None
        except StoreUnavailable as error:
            if not standing.silent:
                _LOG.warning("site %s: the lease is not renewed: %s", part.me.site, error)
            standing.silent = True
            yield from ask(Pause(_RETRY_S))
    if standing.shown is not None:
        yield from _withdraw(part)


@dataclass(kw_only=True)
class _Standing:
    """What the store has from this process, as far as it knows."""

    shown: Presence | None = None
    """What its key says; None while it holds no lease."""
    revision: int = 0
    """Of the key as this process wrote it."""
    fresh: bool = True
    """Whether this process has never been registered."""
    renew_at: Seconds = 0.0
    affirmed: int = -1
    """The last epoch in which it affirmed itself."""
    silent: bool = False
    """Whether the store did not answer the last time."""


def _write(part: Part, standing: _Standing) -> Steps[None]:
    """Write the key, on a new lease where there is none; not while the main loop hangs.

    Raises Superseded if a newer process of the site has the key.
    """
    key = part.keys.member(part.me.site)
    if standing.shown is None and not (yield from ask(MakesProgress())):
        return
    entry = (yield from ask(Read([key])))[key]
    stood = entry.revision if entry is not None else 0
    others = entry is not None and Presence.decode(entry.value).member != part.me
    if others and not standing.fresh and stood != standing.revision:
        raise _superseded(part)
    if standing.shown is None:
        yield from ask(Grant())
        standing.renew_at = (yield from ask(Now())) + part.rules.ttl_s / 3
    shown = part.shown
    first, standing.fresh = standing.fresh, False
    if first:  # an answer may be lost: then only what stood before this try is an earlier process's
        standing.revision = stood
    result = yield from ask(PutLeased(key, shown.encode(), stood))
    if result.succeeded:
        standing.shown, standing.revision = shown, result.revision
    else:
        standing.fresh = first  # certainly not written


def _superseded(part: Part) -> Superseded:
    return Superseded(f"site {part.me.site}: a newer process of this site is registered; this one ends")


def _renew(part: Part, standing: _Standing) -> Steps[None]:
    if (yield from ask(MakesProgress())):
        yield from ask(KeepAlive())
    standing.renew_at = (yield from ask(Now())) + part.rules.ttl_s / 3


def _withdraw(part: Part) -> Steps[None]:
    try:
        yield from ask(Revoke())
    except StoreUnavailable as error:
        _LOG.warning("site %s: the lease is left to lapse by itself: %s", part.me.site, error)


def _answer(part: Part, standing: _Standing) -> Steps[None]:
    """Wait until there is something to do; affirm that this process lives where it is suspected.

    Raises Superseded when a newer process took the key over, though the lease of this one lives.
    """

    def taken(view: View) -> bool:
        entry = view.entries.get(part.keys.member(part.me.site))
        if standing.shown is None or entry is None or entry.revision <= standing.revision:
            return False
        return Presence.decode(entry.value).member != part.me

    def suspected(view: View) -> int | None:
        epoch = view.epoch
        if epoch is None or part.me not in epoch.members or epoch.number <= standing.affirmed:
            return None
        return epoch.number if view.regrouping(epoch) else None

    def look(view: View) -> int | None:
        if part.closed or taken(view) or (standing.shown is not None and part.shown != standing.shown):
            return -1
        return suspected(view)

    now = yield from ask(Now())
    left = standing.renew_at - now if standing.shown is not None else _RETRY_S
    epoch = yield from ask(Await(look, max(0.0, left)))
    if not part.closed and taken((yield from ask(Look()))):
        raise _superseded(part)
    if epoch is not None and epoch >= 0:
        word = Word(epoch=epoch, incarnation=part.me.incarnation)
        yield from ask(Put(part.keys.affirm(part.me.site), word.encode()))
        standing.affirmed = epoch
