"""Carries out the effects on the state that a process holds."""

from collections.abc import Callable
from typing import Any

from curtail_dist.errors import PeerLost, SnapshotCorrupt, SnapshotMissing
from curtail_dist.membership import effects as do
from curtail_dist.membership.decisions import contributes
from curtail_dist.membership.records import Commit, Member
from curtail_dist.sim.history import Stand, Steps
from curtail_dist.sim.process import PENDING, Fiber, Handler, Process
from curtail_dist.sim.state import OpenRound, Payload, State, digest
from curtail_dist.sim.world import Kept

_CHUNKS = 3
_CONNECT_S = 1.0


def handlers() -> dict[type[do.Effect[Any]], Handler]:
    """Return what carries out each of these effects."""
    return {
        do.Held: lambda process, _fiber, _effect: process.state.hash,
        do.Encode: _encode,
        do.StepCopy: _step_copy,
        do.Swap: _swap,
        do.Reset: _reset,
        do.Pull: _pull,
        do.Load: _load,
        do.MakeDurable: _make_durable,
        do.SnapshotSoon: _snapshot_soon,
        do.Readable: _readable,
        do.Secure: _secure,
        do.TakeKept: _take_kept,
    }


def _encode(process: Process, _fiber: Fiber, _effect: do.Encode) -> bool:
    open_round, world = process.open_round, process.world
    if open_round.payload is None:
        process.rounds += 1
        odd = bool(open_round.steps) and not world.calm and world.kernel.chance(world.setting.odd)
        open_round.payload = Payload(
            id=digest(process.name, process.rounds, process.state.hash, open_round.spans),
            site=process.site,
            base=process.state.hash,
            spans=tuple(open_round.spans),
            steps=open_round.steps,
            finite=not odd,
        )
    return open_round.payload.finite


def _step_copy(process: Process, fiber: Fiber, effect: do.StepCopy) -> Any:
    weighted: list[tuple[Payload, int]] = []
    for rank, card in enumerate(effect.cards):
        payload = process.gathered.get(rank)
        if not contributes(card) or payload is None:
            continue
        weighted.append((payload, card.work.tokens))
        if payload.base != process.state.hash:
            process.world.history.blame(
                process.name, f"adds a pseudo-gradient of {card.work.site} taken from {payload.base}"
            )
    process.gathered = {}
    process.copy = process.world.remember(process.state.stepped(weighted))
    kernel = process.world.kernel
    kernel.after(kernel.between(0.005, 0.05), process.answering(fiber), process.copy.hash, None)
    return PENDING


def _swap(process: Process, _fiber: Fiber, effect: do.Swap) -> None:
    if process.copy is None or process.copy.hash != effect.record.hash:
        process.world.history.blame(process.name, f"swaps to {effect.record.hash}, which is not its copy")
        return
    _stand(process, process.copy, "swapped")
    process.copy = None


def _reset(process: Process, _fiber: Fiber, effect: do.Reset) -> None:
    _settle(process, process.state, effect.reason or "nothing")


def _stand(process: Process, state: State, how: str) -> None:
    """S becomes another state, and with it the local parameters."""
    _settle(process, state, how)
    process.state = state
    process.world.history.add(process.name, "stand", Stand(state.hash, how))


def _settle(process: Process, state: State, reason: str) -> None:
    """The open round's steps are in `state`, or lost."""
    done, process.open_round = process.open_round, OpenRound()
    if not done.steps:
        return
    payload = done.payload.id if done.payload else ""
    there = any(payload == one.id for older in state.chain() for one in older.payloads)
    what = Steps(done.steps, "not finite" if done.payload and not done.payload.finite else reason, payload)
    process.world.history.add(process.name, "committed" if there else "lost", what)


def _pull(process: Process, fiber: Fiber, effect: do.Pull) -> Any:
    answer = process.answering(fiber)
    _try_next(process, list(effect.members), effect.commit, answer)
    return PENDING


def _try_next(
    process: Process, left: list[Member], commit: Commit, answer: Callable[[Any, BaseException | None], None]
) -> None:
    kernel = process.world.kernel
    if not left or not process.alive:
        answer(None, PeerLost(f"no member gives version {commit.version}"))
        return
    member = left.pop(0)

    def chunk(number: int) -> None:
        source = process.world.processes.get(member)
        here = source is not None and process.world.network.linked(process.site, member.site)
        if source is None or not here or not source.entered or source.state.hash != commit.hash:
            _try_next(process, left, commit, answer)
        elif source.hung == "all":
            kernel.after(_CONNECT_S, _try_next, process, left, commit, answer)
        elif number < _CHUNKS:
            kernel.after(kernel.between(0.1, 0.5) * process.world.setting.bulk_s, chunk, number + 1)
        elif process.alive and not process.hung:
            _stand(process, source.state, "pulled")
            answer(None, None)
        elif process.alive:  # the bytes are there when the process goes on
            kernel.after(_CONNECT_S, chunk, number)

    kernel.after(kernel.between(0.005, 0.05), chunk, 0)


def _load(process: Process, fiber: Fiber, effect: do.Load) -> Any:
    world, answer = process.world, process.answering(fiber)

    def read() -> None:
        if process.hung:
            world.kernel.after(_CONNECT_S, read)
            return
        try:
            found = world.disk(process.site).get(effect.version, effect.hash)
        except (SnapshotMissing, SnapshotCorrupt) as error:
            answer(None, error)
            return
        if process.alive:
            _stand(process, found.state, "loaded")
        answer(found.commit, None)

    world.kernel.after(world.kernel.between(0.05, 0.3), read)
    return PENDING


def _make_durable(process: Process, fiber: Fiber, effect: do.MakeDurable) -> Any:
    answer = process.answering(fiber)
    state = process.copy if effect.copy and process.copy is not None else process.state
    committed = effect.record.version - effect.copy
    process.snapshots.make_durable(state, effect.record, committed, lambda error: answer(None, error))
    return PENDING


def _snapshot_soon(process: Process, _fiber: Fiber, effect: do.SnapshotSoon) -> None:
    record = effect.record
    process.snapshots.make_durable(process.state, record, record.version, lambda _error: None)


def _readable(process: Process, _fiber: Fiber, effect: do.Readable) -> bool:
    commit = effect.commit
    return (commit.version, commit.hash) in process.world.disk(process.site).stored


def _secure(process: Process, _fiber: Fiber, effect: do.Secure) -> None:
    if effect.done.work.steps:
        process.world.kept[process.site] = Kept(
            done=effect.done, head=effect.head.hash, open_round=process.open_round
        )
        process.world.history.add(process.name, "kept", effect.done.work.steps)
        process.open_round = OpenRound()


def _take_kept(process: Process, _fiber: Fiber, effect: do.TakeKept) -> "do.Done | None":
    kept = process.world.kept.pop(process.site, None)
    if kept is None or kept.head != effect.head.hash:
        return None
    process.open_round = kept.open_round
    process.world.history.add(process.name, "taken up", kept.done.work.steps)
    return do.Done(work=kept.done.work, seconds=kept.done.seconds)
