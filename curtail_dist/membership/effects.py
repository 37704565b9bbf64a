"""What the protocol asks of the world. Each effect says what it does, returns, and raises.

The protocol is written as generators that yield effects and receive their results: it reads no clock,
opens no connection and draws no random number. The runtime carries the effects out on real stores, groups
and disks; the simulator carries out the same ones in virtual time and may fail any of them in any way named
here.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from curtail_dist.coordination.store import Entry, TxnResult
from curtail_dist.data.ledger import Assignment, Range
from curtail_dist.membership.records import Card, Commit, Epoch, Member, Trained, Work
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Event
from curtail_dist.units import Seconds

T = TypeVar("T")


class Effect(Generic[T]):
    """Base of all effects; T is what carrying it out returns."""


Steps: TypeAlias = Generator[Effect[Any], Any, T]
"""A part of the protocol: yields effects, returns T."""


def ask(effect: Effect[T]) -> Steps[T]:
    """Yield one effect; return its result. Typed, which a bare `yield` is not."""
    return (yield effect)


# The store. Each raises StoreUnavailable when it did not answer in time: a write may have happened.


@dataclass(frozen=True)
class Read(Effect[Mapping[str, Entry | None]]):
    """Read keys from the store itself, not from what was last seen of it."""

    keys: Sequence[str]


@dataclass(frozen=True)
class Transact(Effect[TxnResult]):
    """Write `puts` if every key in `compare` has exactly that revision (0: absent)."""

    compare: Mapping[str, int]
    puts: Mapping[str, bytes]


@dataclass(frozen=True)
class Put(Effect[None]):
    """Write a key without comparing."""

    key: str
    value: bytes


@dataclass(frozen=True)
class Grant(Effect[None]):
    """Take a new lease; it replaces the one this process had."""


@dataclass(frozen=True)
class KeepAlive(Effect[None]):
    """Renew this process's lease. Raises LeaseExpired."""


@dataclass(frozen=True)
class PutLeased(Effect[TxnResult]):
    """Write a key on this process's lease, if its revision is still `revision` (None: in any case).

    Raises LeaseExpired.
    """

    key: str
    value: bytes
    revision: int | None = None


@dataclass(frozen=True)
class Revoke(Effect[None]):
    """End this process's lease, and with it its keys."""


# What was last seen of the store, and time.


@dataclass(frozen=True)
class Look(Effect[View]):
    """Return what was last seen of the run's keys."""


@dataclass(frozen=True)
class Await(Effect[T | None]):
    """Return the first result of `check` that is not None, None after `timeout` of real time.

    `check` is tried on what is seen now and after each change; it must be pure.
    """

    check: Callable[[View], T | None]
    timeout: Seconds


@dataclass(frozen=True)
class Wake(Effect[None]):
    """Have the other generators of this process try what they await again."""


@dataclass(frozen=True)
class Now(Effect[Seconds]):
    """Return real monotonic time."""


@dataclass(frozen=True)
class Pause(Effect[None]):
    """Let real time pass."""

    seconds: Seconds


@dataclass(frozen=True)
class MakesProgress(Effect[bool]):
    """Whether the process's main loop passed a progress point recently enough to be counted on."""


# The epoch's group. Each raises PeerLost when a member did not take part; the group is of no further use.


@dataclass(frozen=True)
class Form(Effect[None]):
    """Leave the group there is, and build that of this epoch with its other members.

    Also when it raises PeerLost this process is seated in the epoch: every later operation raises it too.
    """

    epoch: Epoch


@dataclass(frozen=True)
class GatherCards(Effect[Sequence[Card]]):
    """Give a card to all members; return everyone's in rank order. Waits for living members."""

    card: Card


@dataclass(frozen=True)
class GatherPayloads(Effect[None]):
    """Exchange the encoded pseudo-gradients of those who contribute, and keep their mean for `StepCopy`."""

    which: Sequence[int]
    """The fragments that the payloads hold."""
    shares: Sequence[Sequence[Trained]]
    """By rank, for each of these fragments: what the site trained since the fragment was last exchanged."""


@dataclass(frozen=True)
class GatherVotes(Effect[Mapping[str, str]]):
    """Give the hash of the copy to all members; return each site's."""

    hash: str


@dataclass(frozen=True)
class Vacate(Effect[None]):
    """Leave the group there is, if any."""


@dataclass(frozen=True)
class Probe(Effect[frozenset[str]]):
    """Return the sites among these members whose processes can be connected to now."""

    members: Sequence[Member]


@dataclass(frozen=True)
class Gone(Effect[frozenset[Member]]):
    """Return those of these members that are certainly gone: their hosts say that nobody listens there.

    A host that does not answer says nothing.
    """

    members: Sequence[Member]


# State. S is what this process holds: the state of the version it stands on.


@dataclass(frozen=True)
class Held(Effect[str]):
    """Return the hash of S."""


@dataclass(frozen=True)
class Encode(Effect[bool]):
    """Encode the pseudo-gradient of some fragments, once; return whether all its numbers are finite."""

    which: Sequence[int]


@dataclass(frozen=True)
class StepCopy(Effect[str]):
    """Take the outer step on a copy of S with what was exchanged.

    Returns the copy's hash.
    """

    which: Sequence[int]
    """The fragments that the payloads hold."""
    shares: Sequence[Sequence[Trained]]
    """By rank, for each of these fragments: what the site trained since the fragment was last exchanged."""
    before: Sequence[Trained]
    """What each contributor of S trained, if others than those contribute now; else empty."""


@dataclass(frozen=True)
class Swap(Effect[None]):
    """The copy becomes S; the local parameters of its fragments take it; residuals advance.

    The residuals of the contributors that the record lists.
    """

    record: Commit


@dataclass(frozen=True)
class Reset(Effect[None]):
    """Set the local parameters back to S: the open round's training is thrown away."""

    reason: str
    """Told in an event if any step is lost by it; empty: nothing is."""


@dataclass(frozen=True)
class Pull(Effect[None]):
    """Get the state that a commit names from one of these members, whole and verified; it becomes S.

    Raises PeerLost when none gives it.
    """

    members: Sequence[Member]
    commit: Commit
    keep: Sequence[int] | None = None
    """Fragments that the local parameters take; None: all."""


@dataclass(frozen=True)
class Load(Effect[Commit]):
    """Read a snapshot; its state becomes S. Returns the commit record it was written with.

    Raises SnapshotMissing, SnapshotCorrupt.
    """

    version: int
    hash: str
    keep: Sequence[int] | None = None
    """Fragments that the local parameters take; None: all."""


@dataclass(frozen=True)
class MakeDurable(Effect[None]):
    """Return when S's snapshot, or with `copy` that of the copy, is durable and its holder key written.

    Raises OSError when the disk fails, StoreUnavailable when the holder key was not written.
    """

    record: Commit
    copy: bool = False


@dataclass(frozen=True)
class SnapshotSoon(Effect[None]):
    """Write S's snapshot in the background."""

    record: Commit


@dataclass(frozen=True)
class Readable(Effect[bool]):
    """Whether this site finds the snapshot of a version where it looks for snapshots."""

    commit: Commit


@dataclass(frozen=True)
class Newest(Effect[int]):
    """The newest version of which this site finds a snapshot, by its name; 0 if it finds none.

    Raises OSError.
    """


@dataclass(frozen=True)
class Secure(Effect[None]):
    """Keep on this disk what cannot be handed over: the local parameters, and S. Raises OSError."""

    done: "Done"
    head: Commit
    since: int
    """Version at which the local parameters were last set to the anchor as a whole."""


@dataclass(frozen=True)
class TakeKept(Effect["tuple[Done, int] | None"]):
    """Return the round that `Secure` kept, if its base is this version, and `since`; it is open again then.

    It stays on the disk until head has moved on: a process that dies before it handed it over loses nothing.
    """

    head: Commit


# Training, and the record.


@dataclass(frozen=True, kw_only=True)
class Done:
    """What this process did in one round."""

    work: Work
    seconds: Seconds = 0.0
    """Run time of the inner steps."""
    draining: bool = False
    """Whether the site leaves after this round."""
    ahead: tuple[Range, ...] = ()
    """Rows of the assignment that it has begun, or takes while the exchange is under way."""


@dataclass(frozen=True)
class Train(Effect[Done]):
    """Do inner steps on the assigned rows until the round is due. Raises StoreUnavailable after the bound.

    The assignment begins with the rows that were ahead in the round before, of which some steps may have been
    done while its exchange was under way: they are part of this round.
    """

    epoch: Epoch
    head: Commit
    assignment: Assignment
    delay: int = 0
    """Inner steps to do while this round's exchange is under way."""


@dataclass(frozen=True)
class Knock(Effect[None]):
    """This process begins to enter the run."""


@dataclass(frozen=True)
class Enter(Effect[None]):
    """Say in the record that this site came in, and where the time of that went."""

    how: str
    head: Commit


@dataclass(frozen=True)
class Announce(Effect[None]):
    """Say in the record that this member stands on a new version, and what it did for it."""

    record: Commit


@dataclass(frozen=True)
class Tell(Effect[None]):
    """Add an event to the run's record."""

    event: Event
