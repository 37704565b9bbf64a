"""Changing the epoch: who goes on when somebody was lost, has left, or comes in.

Every change is a compare-and-swap on the epoch record, so whoever acts on an old view fails and looks again.
"""

import logging
from collections.abc import Callable

from curtail_dist.errors import Expelled, PeerLost, StoreUnavailable
from curtail_dist.membership.decisions import Muster
from curtail_dist.membership.effects import (
    Await,
    Form,
    Gone,
    Look,
    Probe,
    Put,
    Read,
    Steps,
    Transact,
    ask,
)
from curtail_dist.membership.part import Part
from curtail_dist.membership.patience import patiently
from curtail_dist.membership.records import CloseRequest, Commit, Epoch, Word
from curtail_dist.membership.view import View
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
LOOK_S = 2.0
"""Real time that a member gets, beyond the grace, to find out whom it reaches."""
_HEARINGS = 4
"""How often within the grace the store is asked whether it is there."""
BLIND_FORMATIONS = 2
"""Groups that may fail in a row before members look who reaches whom."""


def take_seat(part: Part, epoch: Epoch) -> Steps[None]:
    """Move to `epoch` and build its group. Raises Expelled if it does not list this process, PeerLost."""
    if part.me not in epoch.members:
        raise Expelled(f"site {part.me.site}: epoch {epoch.number} does not list this process; rejoining")
    if part.seat is None or part.seat.number != epoch.number:
        part.seat = epoch
        yield from ask(Form(epoch))


def write_epoch(part: Part, following: Epoch) -> Steps[Epoch]:
    """Make `following` the epoch if nobody was faster; return the epoch that stands then."""
    key = part.keys.epoch
    entry = (yield from ask(Read([key])))[key]
    if entry is None:
        raise PeerLost("the epoch record vanished; the run's keys were deleted from the store")
    if Epoch.decode(entry.value).number >= following.number:
        return Epoch.decode(entry.value)
    result = yield from ask(Transact({key: entry.revision}, {key: following.encode()}))
    if result.succeeded:
        return following
    current = result.current[key]
    if current is None:
        raise PeerLost("the epoch record vanished; the run's keys were deleted from the store")
    return Epoch.decode(current.value)


def settle(part: Part, following: Epoch) -> Steps[Epoch]:
    """Move on to `following`, which all members of the present epoch derived alike; return what stands.

    The lowest rank that stays writes it, another one after the grace. Raises Expelled if nobody stays.
    """
    staying = [member for member in following.members if member in part.epoch.members]
    if not staying:
        raise Expelled(f"site {part.me.site}: a newer process of this site takes its place; rejoining")
    if staying[0] != part.me:
        seen = yield from await_epoch(following.number, timeout=part.rules.grace_s)
        if seen is not None:
            return seen
    return (yield from patiently(part, lambda: write_epoch(part, following), f"epoch {following.number}"))


def await_epoch(number: int, *, timeout: Seconds) -> Steps[Epoch | None]:
    """Return the first epoch at least `number`, None after `timeout` (real time)."""

    def reached(view: View) -> Epoch | None:
        return view.epoch if view.epoch is not None and view.epoch.number >= number else None

    return (yield from ask(Await(reached, timeout)))


def regroup(part: Part) -> Steps[Commit]:
    """After PeerLost: take a seat among those who go on; return the head that stands.

    Epoch first, head second: once the new epoch stands, nothing can be committed in the old one any more.

    Raises:
        Expelled: the run goes on without this process.
        StoreUnavailable: the store stayed away longer than the bound.
    """
    part.misses += 1
    while True:
        standing = yield from patiently(part, lambda: _recover(part), "regrouping")
        try:
            yield from take_seat(part, standing)
        except PeerLost as lost:
            part.misses += 1
            _LOG.warning("site %s: epoch %d: %s", part.me.site, standing.number, lost)
            continue
        return (yield from patiently(part, lambda: read_head(part), "regrouping"))


def read_head(part: Part) -> Steps[Commit]:
    """Read the head that stands. Raises StoreUnavailable."""
    entry = (yield from ask(Read([part.keys.head])))[part.keys.head]
    if entry is None:
        raise PeerLost(
            "the run's keys vanished from the store; have `curtail recover` go on from its newest snapshot"
        )
    return Commit.decode(entry.value)


def ask_for_close(part: Part, reason: str) -> Steps[None]:
    """Ask all members to end the round they are in after their present inner step. Best effort."""
    view = yield from ask(Look())
    if view.head is None or view.epoch is None:
        return
    request = CloseRequest(epoch=view.epoch.number, round=view.head.version + 1, reason=reason)
    try:
        yield from ask(Put(part.keys.close(part.me.site), request.encode()))
    except StoreUnavailable as error:
        _LOG.warning("site %s: the others were not asked to end their round: %s", part.me.site, error)


def _recover(part: Part) -> Steps[Epoch]:
    """Agree who goes on after a failure in the present epoch; return the epoch that stands then.

    Each survivor says that it missed somebody; the membership threads of the others affirm. Who holds no
    lease, or has said nothing within the grace, is left out, and who is certainly gone even sooner. When
    groups fail though everybody answers, members say whom they reach, and the largest set of those who all
    reach each other goes on.
    """
    epoch, rules = part.epoch, part.rules
    if len(epoch.members) > 1:
        yield from ask_for_close(part, "regroup")
    looking = part.misses > BLIND_FORMATIONS
    reaches = None
    if looking:
        others = [member for member in epoch.members if member != part.me]
        reaches = tuple(sorted((yield from ask(Probe(others)))))
    word = Word(epoch=epoch.number, incarnation=part.me.incarnation, reaches=reaches)
    yield from ask(Put(part.keys.suspect(part.me.site), word.encode()))

    def decided(view: View) -> Epoch | None:
        if view.epoch is not None and view.epoch.number > epoch.number:
            return view.epoch
        muster = Muster.of(view, epoch, part.me)
        if muster.waiting or (looking and muster.unheard):
            return None
        return muster.connected() if looking else muster.survivors()

    grace = rules.grace_s + LOOK_S if looking else rules.grace_s
    following = yield from _hear_out(part, decided, grace, looking=looking)
    if following is None:
        muster = Muster.of((yield from ask(Look())), epoch, part.me)
        following = muster.connected() if looking else muster.survivors()
    if part.me not in following.members:
        following = yield from _left_behind(part, epoch)
    elif following.number == epoch.number + 1 and following.reason == "lost":
        following = yield from settle(part, following)
    if part.me not in following.members:
        raise Expelled(f"site {part.me.site}: epoch {following.number} does not list this process; rejoining")
    return following


def _hear_out(
    part: Part, decided: Callable[[View], Epoch | None], grace: Seconds, *, looking: bool
) -> Steps[Epoch | None]:
    """Wait for words; None after the grace. Raises StoreUnavailable: nobody is heard while the store is away.

    Whoever is left out must have had the grace with a store that answers, so that is asked for in between.
    If all who have not spoken are gone, a part of the grace is enough.
    """
    for _ in range(_HEARINGS):
        found = yield from ask(Await(decided, grace / _HEARINGS))
        if found is not None:
            return found
        yield from ask(Read([part.keys.epoch]))
        waiting = Muster.of((yield from ask(Look())), part.epoch, part.me).waiting
        if waiting and not looking and waiting <= (yield from ask(Gone(sorted(waiting)))):
            return None
    return None


def _left_behind(part: Part, epoch: Epoch) -> Steps[Epoch]:
    """The others reach each other and not this process: wait for the epoch they write. Raises Expelled."""
    seen = yield from await_epoch(epoch.number + 1, timeout=part.rules.patience_s)
    if seen is None:
        raise Expelled(f"site {part.me.site}: the other members do not reach this process; rejoining")
    return seen
