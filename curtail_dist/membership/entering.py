"""How a process enters the run: founds it, resumes it after the dark, or joins the members that train."""

import logging
from dataclasses import replace

from curtail_dist.coordination.store import Entry
from curtail_dist.errors import (
    PeerLost,
    RunForgotten,
    SnapshotCorrupt,
    SnapshotMissing,
    StateError,
    Superseded,
)
from curtail_dist.membership.agreement import compare
from curtail_dist.membership.decisions import living
from curtail_dist.membership.effects import (
    Await,
    Held,
    Knock,
    Load,
    Look,
    Newest,
    Probe,
    Pull,
    Put,
    Read,
    Readable,
    SnapshotSoon,
    Steps,
    Tell,
    Transact,
    Wake,
    ask,
)
from curtail_dist.membership.part import Part
from curtail_dist.membership.patience import patiently
from curtail_dist.membership.records import CloseRequest, Commit, Epoch, Member, Presence, decode
from curtail_dist.membership.recovering import forgotten
from curtail_dist.membership.regroup import take_seat
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Rewound
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.5


def enter(part: Part) -> Steps[str | None]:
    """Return how this process came in: it then has a seat in the epoch and holds head's state.

    `founded`, `resumed` or `pulled`; None if it was asked to leave first. After `pulled` the others are at a
    round's end and wait: the caller ends an empty round with them at once. After `resumed` the run may be
    complete; there is no seat then.

    Raises:
        StateError: the run's state is to be had nowhere; RunForgotten: the store has lost the run.
        IdentityMismatch: the run has another number of rows.
        Superseded: a newer process of this site is registered.
        StoreUnavailable: the store stayed away longer than the bound.
    """
    yield from ask(Knock())
    while not (yield from ask(Look())).leaving:
        how = yield from patiently(part, lambda: _try(part), "entering")
        if how is not None:
            yield from _show_ready(part, "")
            return how
    return None


def _try(part: Part) -> Steps[str | None]:
    view = yield from ask(Look())
    _refuse_superseded(part, view.entries.get(part.keys.member(part.me.site)))
    epoch, head = view.epoch, view.head
    if head is None or epoch is None:
        return (yield from _found(part))
    compare({"rows": str(part.rules.total_rows)}, {"rows": str(head.total_rows)})
    others = _others(part, epoch, view)
    if head.complete:
        yield from _get(part, others, head)
        _stand_on(part, head)
        return "resumed"
    if not others:
        return (yield from _resume(part, epoch, head))
    return (yield from _join(part, epoch, head, others))


def _others(part: Part, epoch: Epoch, view: View) -> list[Member]:
    """Return the members of an epoch that live, but for this process."""
    return [member for member in living(epoch, view.present) if member != part.me]


def _refuse_superseded(part: Part, entry: Entry | None) -> None:
    if entry is not None and Presence.decode(entry.value).member != part.me:
        raise Superseded(f"site {part.me.site}: a newer process of this site is registered; this one ends")


def _found(part: Part) -> Steps[str | None]:
    """Write version 0 and epoch 1 in one transaction; None if another site was faster.

    Raises RunForgotten where snapshots say that the run has been there before.
    """
    keys = part.keys
    yield from _refuse_forgotten(part)
    first = Commit(
        version=0, hash=(yield from ask(Held())), parent="", epoch=1, total_rows=part.rules.total_rows
    )
    epoch = Epoch(number=1, members=(part.me,), reason="founded")
    puts = {keys.epoch: epoch.encode(), keys.head: first.encode()}
    result = yield from ask(Transact({keys.epoch: 0, keys.head: 0}, puts))
    if not result.succeeded:
        yield from ask(Await(lambda view: view.head, _LOOK_S))
        return None
    _stand_on(part, first)
    part.planned = (part.me.site,)
    yield from take_seat(part, epoch)
    yield from ask(SnapshotSoon(first))
    return "founded"


def _refuse_forgotten(part: Part) -> Steps[None]:
    """Raise RunForgotten if there are snapshots of a run that the store knows nothing of.

    To found it anew would throw the work in them away: they fall out of retention as the new chain grows. The
    store is asked last, since a run that others found meanwhile has snapshots soon.
    """
    newest = yield from ask(Newest())
    if newest and (yield from ask(Read([part.keys.head])))[part.keys.head] is None:
        raise RunForgotten(f"site {part.me.site}: {forgotten(newest)}")


def _resume(part: Part, epoch: Epoch, head: Commit) -> Steps[str | None]:
    """Nobody of the epoch lives: take head's state and the epoch; None to look again.

    The epoch is taken in one transaction that holds only if no lease of its members lives again.
    """
    keys, me = part.keys, part.me
    base = yield from _base(part, epoch, head)
    if base is None:
        return None
    compare = yield from _unchanged(part, epoch, head)
    if compare is None:
        yield from _look_again(epoch, head)
        return None
    reason = "resumed" if base == head else "rewound"
    following = Epoch(number=epoch.number + 1, members=(me,), reason=reason)
    puts = {keys.epoch: following.encode()}
    if base != head:
        puts[keys.head] = base.encode()
    result = yield from ask(Transact(compare, puts))
    if not result.succeeded:
        yield from _look_again(epoch, head)
        return None
    _stand_on(part, base)
    part.planned = (me.site,)
    if base != head:
        dropped = head.version - base.version
        yield from ask(Tell(Rewound(base=base.version, hash=base.hash, dropped=dropped)))
    yield from take_seat(part, following)
    return "resumed"


def _unchanged(part: Part, epoch: Epoch, head: Commit) -> Steps[dict[str, int] | None]:
    """Return what to compare so that a transaction holds only while epoch and head stand and no member lives.

    None if that is not so now. A member's site may have a newer process by now: it is no member. Raises
    Superseded if that is this process's own site.
    """
    keys, me = part.keys, part.me
    others = {keys.member(member.site): member for member in epoch.members if member.site != me.site}
    entries = yield from ask(Read([keys.epoch, keys.head, keys.member(me.site), *others]))
    _refuse_superseded(part, entries[keys.member(me.site)])
    standing, newest = entries[keys.epoch], entries[keys.head]
    if standing is None or newest is None or Epoch.decode(standing.value) != epoch:
        return None
    if Commit.decode(newest.value).hash != head.hash:
        return None
    for key, member in others.items():
        entry = entries[key]
        if entry is not None and Presence.decode(entry.value).member == member:
            return None
    return {key: entry.revision if entry is not None else 0 for key, entry in entries.items()}


def _base(part: Part, epoch: Epoch, head: Commit) -> Steps[Commit | None]:
    """Return the commit to go on from, whose state this process then holds; None to look again.

    Head, if its state is to be had here; else its parent, which was durable before head was written. Raises
    StateError where neither is, or where head's snapshot is said to be durable and the run is not to rewind.
    """
    if (yield from ask(Held())) == head.hash:
        return head
    try:
        yield from ask(Load(head.version, head.hash))
    except SnapshotMissing as error:
        missing: StateError = error
        lost = yield from _durable_now(part, head)
    except SnapshotCorrupt as error:
        missing, lost = error, False
    else:
        return head
    if lost and part.rules.unreachable == "refuse":
        raise StateError(
            f"the snapshot of version {head.version} is durable, but not to be found from site "
            f"{part.me.site} ({missing}); give all sites the same state.url, or choose "
            "state.unreachable: wait or rewind"
        ) from missing
    if (yield from _holder_appears(part, epoch, head)) or (lost and part.rules.unreachable == "wait"):
        return None
    try:
        parent = yield from ask(Load(head.version - 1, head.parent))
    except (SnapshotMissing, SnapshotCorrupt) as error:
        if (yield from _unchanged(part, epoch, head)) is None:
            return None  # the run went on meanwhile, and these versions were forgotten
        raise StateError(
            f"neither version {head.version} nor its parent can be read ({missing}; {error}); bring back a "
            "site's snapshots, or have `curtail recover --replace` go on from the newest one there is"
        ) from error
    _LOG.warning("site %s: %s; going on from version %d", part.me.site, missing, parent.version)
    return parent


def _holder_appears(part: Part, epoch: Epoch, head: Commit) -> Steps[bool]:
    """Wait the grace for somebody who has head's state: a member that comes back, or another way on."""

    def changed(view: View) -> bool | None:
        if view.leaving or view.epoch != epoch or view.head != head:
            return True
        return True if _others(part, epoch, view) else None

    return bool((yield from ask(Await(changed, max(part.rules.grace_s, part.rules.ttl_s)))))


def _get(part: Part, members: list[Member], commit: Commit) -> Steps[None]:
    """Hold the state that a commit names: as it is, from a member, or from its snapshot.

    Raises SnapshotMissing, SnapshotCorrupt.
    """
    if (yield from ask(Held())) == commit.hash:
        return
    if members:
        try:
            yield from ask(Pull(members, commit))
        except PeerLost as lost:
            _LOG.warning("site %s: %s; trying the snapshot", part.me.site, lost)
        else:
            return
    yield from ask(Load(commit.version, commit.hash))


def _join(part: Part, epoch: Epoch, head: Commit, members: list[Member]) -> Steps[str | None]:
    """Get head's state while the members train, ask for the round's end, wait to be admitted.

    None to look again. A site that does not reach every member does not ask: the group could not be built.
    """
    yield from _refuse_odd_url(part, head)
    try:
        yield from _get(part, members, head)
    except (SnapshotMissing, SnapshotCorrupt) as error:
        _LOG.warning("site %s: %s; looking again", part.me.site, error)
        yield from _look_again(epoch, head)
        return None
    unreached = {member.site for member in members} - (yield from ask(Probe(members)))
    if unreached:
        _LOG.warning(
            "site %s: no connection to %s; looking again", part.me.site, ", ".join(sorted(unreached))
        )
        yield from _look_again(epoch, head)
        return None
    yield from _show_ready(part, head.hash)
    request = CloseRequest(epoch=epoch.number, round=head.version + 1, reason="joiner")
    yield from ask(Put(part.keys.close(part.me.site), request.encode()))

    def moved(view: View) -> View | None:
        listed = view.epoch is not None and part.me in view.epoch.members
        same = view.head == head and view.epoch == epoch and not view.leaving
        return view if listed or not same or not _others(part, epoch, view) else None

    seen = None
    while seen is None:
        seen = yield from ask(Await(moved, part.rules.patience_s))
    admitted = seen.epoch
    if admitted is None or part.me not in admitted.members or seen.head != head:
        return None
    _stand_on(part, head)
    try:
        yield from take_seat(part, admitted)
    except PeerLost as lost:
        _LOG.warning("site %s: %s; regrouping", part.me.site, lost)
    return "pulled"


def _stand_on(part: Part, head: Commit) -> None:
    """The local parameters are head's: nothing that this or another process trained before is in them."""
    part.stands_on, part.since, part.keeping = head, head.version, ()


def _refuse_odd_url(part: Part, head: Commit) -> Steps[None]:
    """Raise StateError if a durable snapshot is not to be found from this site, and that was not chosen."""
    if part.rules.unreachable != "refuse" or not (yield from ask(Look())).durable(head):
        return
    if not (yield from ask(Readable(head))) and (yield from _durable_now(part, head)):
        raise StateError(
            f"the snapshot of version {head.version} is durable, but not to be found from site "
            f"{part.me.site}: after a night without any site it could not go on; give all sites the same "
            "state.url, or choose state.unreachable: wait or rewind"
        )


def _durable_now(part: Part, commit: Commit) -> Steps[bool]:
    """Whether a version is head and its snapshot durable, by the store itself; else it may be forgotten."""
    keys = part.keys
    entries = yield from ask(Read([keys.head, keys.holder(commit.version)]))
    head, holder = entries[keys.head], entries[keys.holder(commit.version)]
    if head is None or holder is None or Commit.decode(head.value).hash != commit.hash:
        return False
    return decode(holder.value)["hash"] == commit.hash


def _show_ready(part: Part, hash: str) -> Steps[None]:
    part.shown = replace(part.shown, ready=hash)
    yield from ask(Wake())


def _look_again(epoch: Epoch, head: Commit, *, timeout: Seconds = _LOOK_S) -> Steps[None]:
    """Wait a moment for the run to move on; the caller looks again in any case."""

    def moved(view: View) -> bool | None:
        return True if view.leaving or view.epoch != epoch or view.head != head else None

    yield from ask(Await(moved, timeout))
