"""The invariants, each checked over the whole history of a schedule. I8 is the agent's: not in this model."""

from collections.abc import Callable, Iterator

from curtail_dist.errors import (
    RunForgotten,
    SnapshotCorrupt,
    SnapshotMissing,
    StateError,
    StoreUnavailable,
    Superseded,
)
from curtail_dist.membership.records import Epoch
from curtail_dist.sim.chain import Chain, Headed
from curtail_dist.sim.recovery import run_ends, survivors_go_on, was_forgotten
from curtail_dist.sim.rows import rows_done_once
from curtail_dist.sim.setting import KEYS, OPERATOR, Fault
from curtail_dist.sim.store import TIMEOUT_S
from curtail_dist.sim.world import World
from curtail_dist.units import Seconds

Found = Iterator[str]
_LEGAL_ENDS = tuple(
    error.__name__
    for error in (StateError, SnapshotMissing, SnapshotCorrupt, StoreUnavailable, Superseded, OSError)
)


def violations(world: World) -> list[str]:
    """Return every violated invariant, each in a sentence; empty where all held."""
    chain = Chain.of(world.history)
    found = [f"contract: {one}" for one in world.history.wrong]
    for name, check in _CHECKS.items():
        found += [f"{name}: {one}" for one in check(world, chain)]
    return found


def _agreement(world: World, chain: Chain) -> Found:
    """I1: who stands on a version stands on a record that stood before."""
    standing: dict[str, int] = {}
    for head in chain.heads:
        standing.setdefault(head.commit.hash, head.index)
    for index, one in enumerate(world.history.happenings):
        if one.kind == "stand":
            hash, how = one.what
            if standing.get(hash, index) >= index:
                yield f"{one.who} {how} to {hash} at {one.at:.3f}, which was not committed"


def _lineage(world: World, chain: Chain) -> Found:
    """I1: each record names the version, the parent and the state it stands for."""
    del world
    for head in chain.heads:
        commit, before = head.commit, head.before
        if head.moved or before is None:
            continue
        if (commit.version, commit.parent) != (before.version + 1, before.hash):
            yield (
                f"commit {commit.version} ({commit.hash}, parent {commit.parent}) of {head.writer} was "
                f"written over {before.version} ({before.hash}) at {head.at:.3f}"
            )


def _survivors(world: World, chain: Chain) -> Found:
    """I3: a process that nothing befell lost no step."""
    befallen = _befallen(world, chain)
    final = _final_payloads(world, chain)
    for one in world.history.of("lost"):
        lost = one.what
        harmless = one.who in befallen or one.who.split("/")[0] in befallen
        if not harmless and "not finite" not in lost.reason and lost.payload not in final:
            yield f"{one.who}, which nothing befell, lost {lost.number} steps at {one.at:.3f}: {lost.reason}"


def _befallen(world: World, chain: Chain) -> set[str]:
    """Processes that were killed, stopped or superseded, and sites that were cut off or gave up."""
    befallen: set[str] = set()
    lossy = (
        world.setting.loss
        or world.setting.slow
        or any(fault.kind in ("outage", "cut_store") for fault in world.setting.faults)
    )
    if world.setting.loss or world.setting.slow:
        befallen |= _left_out(chain)
    for one in world.history.of("killed", "hung", "fault", "ended", "write"):
        if one.kind == "write" and one.who == "store":
            site = one.what.key.removeprefix(KEYS.members)
            if lossy or _muted(world, site, one.at) > 1:
                befallen.add(site)  # no answer within the lease's time
        elif one.kind in ("killed", "hung") or (one.kind == "ended" and one.what):
            befallen.add(one.who)
        elif isinstance(one.what, Fault) and one.what.kind in ("cut", "cut_store"):
            befallen |= {one.what.site, one.what.other} if one.what.kind == "cut" else {one.what.site}
    return befallen


def _muted(world: World, site: str, at: Seconds) -> int:
    """Return how many answers to a site were lost within the time of the lease that ended then.

    Nothing is renewed while its presence waits for an answer: one may be lost, two in a row may not.
    """
    since = at - world.setting.rules.ttl_s - TIMEOUT_S
    faults = (one.what for one in world.history.of("fault") if since <= one.at <= at)
    return sum(isinstance(one, Fault) and (one.kind, one.site) == ("mute", site) for one in faults)


def _left_out(chain: Chain) -> set[str]:
    """Processes whose word came later than the grace, as it may where calls are slow."""
    return {
        f"{member.site}/{member.incarnation}"
        for seated in chain.epochs
        if seated.before is not None and seated.epoch.reason == "lost"
        for member in seated.before.members
        if member not in seated.epoch.members
    }


def _final_payloads(world: World, chain: Chain) -> set[str]:
    head = chain.heads[-1:]
    state = world.states.get(head[0].commit.hash) if head else None
    return {payload.id for older in (state.chain() if state else ()) for payload in older.payloads}


def _durability(world: World, chain: Chain) -> Found:
    """I4: commit n+1 needs S(n) durable, and S(n+1) too where asked; resumed is head or its parent."""
    durable: dict[str, int] = {}
    for index, one in enumerate(world.history.happenings):
        if one.kind == "durable":
            durable.setdefault(one.what.hash, index)
    rules = world.setting.rules
    for head in chain.heads:
        if head.moved:
            continue
        asked = [head.commit.parent] + [head.commit.hash] * (
            rules.durable_before_commit or head.commit.complete
        )
        for hash in asked:
            if durable.get(hash, head.index) >= head.index:
                yield f"commit {head.commit.version} at {head.at:.3f}: {hash} was not durable by then"


def _resumed(world: World, chain: Chain) -> Found:
    """I4: after the dark the run goes on at head, or at its parent where head's snapshot is not to be had."""
    spoiled = any(True for _ in world.history.of("rotten")) or not world.setting.shared
    for head in chain.heads:
        if not head.moved or head.before is None:
            continue
        dropped = head.before.version - head.commit.version
        if head.writer == OPERATOR or _founds_anew(world, head.epoch):
            yield from _recovered(world, head, dropped, spoiled=spoiled)
        elif dropped != 1 or head.commit.hash != head.before.parent:
            yield f"the run was set back from {head.before.version} to {head.commit.version} at {head.at:.3f}"
        elif world.setting.rules.durable_before_commit and not spoiled:
            yield f"head {head.before.version} was durable, and the run was set back at {head.at:.3f}"


def _founds_anew(world: World, epoch: Epoch | None) -> bool:
    """Whether the run began anew: allowed where the store lost a run of which no snapshot holds any work."""
    return epoch is not None and epoch.reason == "founded" and was_forgotten(world)


def _recovered(world: World, head: Headed, dropped: int, *, spoiled: bool) -> Found:
    """After the store was lost the run goes on at head, or at what was about to be; else at head's parent."""
    kept = not world.setting.rules.durable_before_commit
    if dropped > kept and not spoiled:
        yield f"{dropped} versions were lost with the store at {head.at:.3f}; it may be {kept:d}"


def _fencing(world: World, chain: Chain) -> Found:
    """I5: only members of the epoch that stands commit, and only once; epochs grow by one.

    An operator who recovers the run leaves some out.
    """
    for seated in chain.epochs:
        before = seated.before.number if seated.before else 0
        grown = seated.epoch.number - before
        if _founds_anew(world, seated.epoch):
            continue
        if grown < 1 or (grown > 1 and seated.writer != OPERATOR):
            yield f"{seated.writer} wrote epoch {seated.epoch.number} over {before} at {seated.at:.3f}"
    for head in chain.heads:
        members = head.epoch.members if head.epoch is not None else ()
        if head.writer != OPERATOR and head.writer not in [
            f"{member.site}/{member.incarnation}" for member in members
        ]:
            yield f"{head.writer} wrote commit {head.commit.version} at {head.at:.3f} in an epoch without it"
        elif head.epoch is not None and not head.moved and head.commit.epoch != head.epoch.number:
            yield (
                f"{head.writer} wrote commit {head.commit.version} of epoch {head.commit.epoch} at "
                f"{head.at:.3f} in epoch {head.epoch.number}"
            )


def _ends(world: World, chain: Chain) -> Found:
    """Every life ends in order, or in one of the ways that the protocol names."""
    del chain
    spoiled = any(True for _ in world.history.of("rotten")) or not world.setting.shared
    for one in world.history.of("ended"):
        kind = str(one.what).split(":")[0]
        if kind == RunForgotten.__name__ and was_forgotten(world):
            continue
        if kind and kind not in _LEGAL_ENDS:
            yield f"{one.who} ended at {one.at:.3f} by {one.what}"
        elif (
            kind in (StateError.__name__, SnapshotMissing.__name__, SnapshotCorrupt.__name__) and not spoiled
        ):
            yield f"{one.who} found the state nowhere at {one.at:.3f}, though no disk was spoiled: {one.what}"


def _patience(world: World, chain: Chain) -> Found:
    """I7: nothing ends for want of the store, or of a disk, before the bound."""
    del chain
    faults = [one for one in world.history.of("fault") if isinstance(one.what, Fault)]
    stopped = {one.who for one in world.history.of("hung")}  # to them all is silent
    for one in world.history.of("ended"):
        kind, site = str(one.what).split(":")[0], one.who.split("/")[0]
        if kind not in (StoreUnavailable.__name__, OSError.__name__) or one.who in stopped:
            continue
        away = [fault for fault in faults if fault.at < one.at and _hides(fault.what, kind, site)]
        longest = _longest([(fault.at, min(one.at, fault.at + fault.what.lasts)) for fault in away])
        if longest < world.setting.rules.outage_s - 2 * TIMEOUT_S:
            yield f"{one.who} gave up at {one.at:.3f} after {longest:.1f} s: {one.what}"


def _hides(fault: Fault, kind: str, site: str) -> bool:
    """Whether a fault keeps a site from the store, or from its disk."""
    if kind == OSError.__name__:
        return fault.kind == "disk"
    return fault.kind == "outage" or (fault.kind == "cut_store" and fault.site == site)


def _longest(spans: list[tuple[float, float]]) -> float:
    """Return the length of the longest span, where spans with a short time between count as one."""
    merged: list[tuple[float, float]] = []
    for since, until in sorted(spans):
        if merged and since <= merged[-1][1] + 4 * TIMEOUT_S:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((since, until))
    return max((until - since for since, until in merged), default=0.0)


def _bounded(world: World, chain: Chain) -> Found:
    """The store holds a bounded number of keys."""
    del chain
    bound = 8 * len(world.setting.sites) + world.setting.keep + 8
    if world.store.most_keys > bound:
        yield f"the store held {world.store.most_keys} keys; the bound is {bound}"


_CHECKS: dict[str, Callable[[World, Chain], Found]] = {
    "I1 agreement": _agreement,
    "I1 lineage": _lineage,
    "I2 exactly once": rows_done_once,
    "I3 survivors": _survivors,
    "I4 durability": _durability,
    "I4 resumed": _resumed,
    "I5 fencing": _fencing,
    "I6 progress": run_ends,
    "I6 recovery": survivors_go_on,
    "I7 patience": _patience,
    "ends": _ends,
    "bounded keys": _bounded,
}
