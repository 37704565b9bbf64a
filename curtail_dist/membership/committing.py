"""Writing a commit: one fenced transaction, by the lowest rank at once and by the others after a moment."""

from curtail_dist.errors import PeerLost
from curtail_dist.membership.decisions import counted_on
from curtail_dist.membership.effects import Await, MakeDurable, Read, Steps, Transact, ask
from curtail_dist.membership.part import Part
from curtail_dist.membership.patience import patiently
from curtail_dist.membership.records import Commit, Epoch
from curtail_dist.membership.view import View


def write_commit(part: Part, record: Commit) -> Steps[bool]:
    """Return when `record` stands: whether it is head. All members call this with equal records.

    It may have a successor already, which others wrote while this member did not hear of it: those that go on
    without it, since it is no member of their epoch.

    The lowest rank writes it; the others wait for it as long as a lower rank lives, then write it themselves.
    Who writes makes S(n) durable first, and S(n+1) too where the run asks for it or ends.

    Raises:
        PeerLost: the epoch moved on, or another record took the place; look at head.
        StoreUnavailable: the store stayed away longer than the bound.
    """
    if part.rank and (yield from _awaited(part, record)):
        return True

    def write() -> Steps[Commit | None]:
        yield from _make_durable(part, record)
        return (yield from attempt(part, record))

    while (head := (yield from patiently(part, write, f"commit {record.version}"))) is None:
        continue
    return head == record


def attempt(part: Part, record: Commit) -> Steps[Commit | None]:
    """Write the record if epoch and parent are still the newest; return head if the record stands.

    An answer that timed out is unknown, so head is read before anything is written.
    """
    keys = part.keys
    entries = yield from ask(Read([keys.epoch, keys.head]))
    epoch, head = entries[keys.epoch], entries[keys.head]
    if epoch is None or head is None:
        raise PeerLost(
            "the run's keys vanished from the store; have `curtail recover` go on from its newest snapshot"
        )
    standing = Commit.decode(head.value)
    if standing == record or standing.parent == record.hash:
        return standing
    if Epoch.decode(epoch.value) != part.epoch or standing.hash != record.parent:
        raise PeerLost(f"commit {record.version} is fenced off: the run has moved on without this epoch")
    compare = {keys.epoch: epoch.revision, keys.head: head.revision}
    result = yield from ask(Transact(compare, {keys.head: record.encode()}))
    return record if result.succeeded else None


def _make_durable(part: Part, record: Commit) -> Steps[None]:
    yield from ask(MakeDurable(part.head))
    if part.rules.durable_before_commit or record.complete:  # nobody would come back to a complete run
        yield from ask(MakeDurable(record, copy=True))


def _awaited(part: Part, record: Commit) -> Steps[bool]:
    """Wait for a lower rank to write the record; False when it is this member's turn."""
    epoch, lower = part.epoch, part.epoch.members[: part.rank]

    def standing(view: View) -> bool | None:
        if view.head == record:
            return True
        return None if any(counted_on(view, epoch, member) for member in lower) else False

    # Without the store nobody is seen to write or to die: no longer than this process would wait itself.
    return bool((yield from ask(Await(standing, min(part.rules.patience_s, part.rules.outage_s)))))
