"""Mutants that do things in the wrong order, without a fence, or at the wrong time."""

from dataclasses import replace
from typing import Any

from curtail_dist.coordination.store import TxnResult
from curtail_dist.errors import SnapshotMissing, StoreUnavailable
from curtail_dist.membership import effects as do
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Epoch
from curtail_dist.sim.altering import Alter, commits
from curtail_dist.sim.setting import KEYS
from curtail_dist.telemetry.events import PeerMissed


def apply_before_commit(part: Part) -> Alter:
    """Swaps before the record stands."""
    del part
    swapped: set[str] = set()

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        record = commits(effect)
        if record is not None and record.hash not in swapped:
            swapped.add(record.hash)
            yield do.Swap(record)
        if isinstance(effect, do.Swap) and effect.record.hash in swapped:
            return None
        return (yield effect)

    return alter


def unfenced_commit(part: Part) -> Alter:
    """Writes the commit without comparing epoch and head."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if commits(effect) is not None and isinstance(effect, do.Transact):
            effect = do.Transact({}, effect.puts)
        return (yield effect)

    return alter


def two_epochs(part: Part) -> Alter:
    """Writes the epoch without comparing what stands."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Transact) and KEYS.epoch in effect.puts and KEYS.head not in effect.puts:
            effect = do.Transact({}, effect.puts)
        return (yield effect)

    return alter


def no_durable_before(part: Part) -> Alter:
    """Commits although S(n) is not durable."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if (
            isinstance(effect, do.MakeDurable)
            and not effect.copy
            and not part.head.complete
            and not part.left
        ):
            return None
        return (yield effect)

    return alter


def says_nothing(part: Part) -> Alter:
    """Leaves an epoch without saying that it missed somebody."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Put) and effect.key == KEYS.suspect(part.me.site):
            return None
        return (yield effect)

    return alter


def dawdles_after_loss(part: Part) -> Alter:
    """Takes its time before it looks who is left."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Tell) and isinstance(effect.event, PeerMissed):
            yield do.Pause(4 * part.rules.patience_s)
        return (yield effect)

    return alter


def takes_silence_for_death(part: Part) -> Alter:
    """Goes on without those who have not spoken yet, though nobody says that they are gone."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        found = yield effect
        return frozenset(effect.members) if isinstance(effect, do.Gone) else found

    return alter


def impatient(part: Part) -> Alter:
    """Gives up the first time that the store does not answer."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Pause):
            raise StoreUnavailable("the store did not answer once")
        return (yield effect)

    return alter


def resumes_over_the_living(part: Part) -> Alter:
    """Takes the run for dark without asking whether a member's lease lives."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Look):
            view = yield effect
            entries = {key: entry for key, entry in view.entries.items() if not key.startswith(KEYS.members)}
            return replace(view, entries=entries)
        if isinstance(effect, do.Read):
            found = yield effect
            return {key: None if key.startswith(KEYS.members) else entry for key, entry in found.items()}
        if isinstance(effect, do.Transact):
            compare = {
                key: value for key, value in effect.compare.items() if not key.startswith(KEYS.members)
            }
            effect = do.Transact(compare, effect.puts)
        return (yield effect)

    return alter


def never_resumes(part: Part) -> Alter:
    """Does not take up a run whose members are all gone."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Transact) and KEYS.epoch in effect.puts:
            resumes = Epoch.decode(effect.puts[KEYS.epoch]).reason in ("resumed", "rewound")
            if resumes:
                return TxnResult(succeeded=False, revision=0, current={})
        return (yield effect)

    return alter


def rewinds_at_will(part: Part) -> Alter:
    """Finds head's snapshot missing although it is there."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Load):
            head = (yield do.Look()).head
            if head is not None and head.version == effect.version:
                raise SnapshotMissing(f"version {effect.version} was not looked for")
        return (yield effect)

    return alter
