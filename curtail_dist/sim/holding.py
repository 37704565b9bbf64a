"""Carries out the effects on the state that a process holds."""

from collections.abc import Callable, Sequence
from typing import Any

from curtail_dist.errors import PeerLost, SnapshotCorrupt, SnapshotMissing
from curtail_dist.membership import effects as do
from curtail_dist.membership.fragments import contributes
from curtail_dist.membership.records import Member
from curtail_dist.sim.history import Stand, Steps
from curtail_dist.sim.process import PENDING, Fiber, Handler, Process
from curtail_dist.sim.state import Behind, OpenRound, Payload, State, digest
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
        do.Newest: _newest,
        do.Secure: _secure,
        do.TakeKept: _take_kept,
    }


def _encode(process: Process, _fiber: Fiber, effect: do.Encode) -> bool:
    open_round, world = process.open_round, process.world
    if open_round.payload is None:
        process.rounds += 1
        odd = bool(open_round.steps) and not world.calm and world.kernel.chance(world.setting.odd)
        spans = tuple(open_round.spans)
        open_round.payload = Payload(
            id=digest(process.name, process.rounds, process.state.hash, open_round.spans),
            site=process.site,
            base=process.state.hash,
            spans=spans,
            parts={fragment: (*process.beyond.behind.of(fragment), *spans) for fragment in effect.which},
            steps=open_round.steps,
            finite=not odd,
        )
        _train_on(process)
    return open_round.payload.finite


def _train_on(process: Process) -> None:
    """Do the steps that are done while the exchange is under way."""
    rest, process.beyond.rest, corpus = process.beyond.rest, None, process.world.setting.corpus
    if rest is None:
        return
    begun, flying = dict(rest.assignment.open), process.beyond.flying
    for _ in range(process.world.kernel.random.randint(0, rest.delay)):
        if not flying.exhausted(rest.assignment):
            flying.step(corpus, rest.assignment, begun, process.world.setting.step_tokens)
    flying.ahead = flying.steps


def _step_copy(process: Process, fiber: Fiber, effect: do.StepCopy) -> Any:
    weighted: list[tuple[Payload, object]] = []
    blame = process.world.history.blame
    for rank, share in enumerate(effect.shares):
        payload = process.gathered.get(rank)
        if not contributes(share) or payload is None:
            continue
        weighted.append((payload, share))
        if payload.base != process.state.hash:
            blame(process.name, f"adds a pseudo-gradient of {payload.site} taken from {payload.base}")
        for fragment, (tokens, _) in zip(effect.which, share, strict=True):
            really = sum(last - first for _, first, last in payload.parts.get(fragment, ()))
            if tokens != really:
                blame(
                    process.name,
                    f"weighs {payload.site} by {tokens} tokens in fragment {fragment}, not {really}",
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
    _stand(process, process.copy, "swapped", effect.record.synced)
    process.copy = None


def _reset(process: Process, _fiber: Fiber, effect: do.Reset) -> None:
    _settle(process, process.state, effect.reason or "nothing", None)


def _stand(process: Process, state: State, how: str, which: Sequence[int] | None) -> None:
    """S becomes another state, and with it the local parameters of some fragments, or of all (None)."""
    _settle(process, state, how, which)
    process.state = state
    process.world.history.add(process.name, "stand", Stand(state.hash, how))


def _settle(process: Process, state: State, reason: str, which: Sequence[int] | None) -> None:
    """The open round's steps are in `state`, or lost; with all fragments set back the earlier ones, too."""
    done, process.open_round = process.open_round, process.beyond.flying
    process.beyond.flying = OpenRound()
    history = process.world.history
    if done.steps:
        payload = done.payload.id if done.payload else ""
        there = any(payload == one.id for older in state.chain() for one in older.payloads)
        odd = done.payload is not None and not done.payload.finite
        what = Steps(done.steps, "not finite" if odd else reason, payload)
        history.add(process.name, "committed" if there else "lost", what)
        reason = what.reason
    fragments = process.part.rules.fragments
    if which is not None:
        process.beyond.behind.moved(which, fragments, done)
        return
    if process.beyond.behind.steps:
        flushed = done.payload is not None and len(done.payload.parts) == fragments
        payload = done.payload.id if done.payload is not None and flushed else ""
        history.add(process.name, "lost", Steps(process.beyond.behind.steps, reason, payload))
    if process.open_round.steps:
        history.add(process.name, "lost", Steps(process.open_round.steps, reason, ""))
    process.open_round, process.beyond.behind = OpenRound(), Behind()


def _pull(process: Process, fiber: Fiber, effect: do.Pull) -> Any:
    answer = process.answering(fiber)
    _try_next(process, list(effect.members), effect, answer)
    return PENDING


def _try_next(
    process: Process, left: list[Member], effect: do.Pull, answer: Callable[[Any, BaseException | None], None]
) -> None:
    kernel, commit = process.world.kernel, effect.commit
    if not left or not process.alive:
        answer(None, PeerLost(f"no member gives version {commit.version}"))
        return
    member = left.pop(0)

    def chunk(number: int) -> None:
        source = process.world.processes.get(member)
        here = source is not None and process.world.network.linked(process.site, member.site)
        if source is None or not here or not source.entered or source.state.hash != commit.hash:
            _try_next(process, left, effect, answer)
        elif source.hung == "all":
            kernel.after(_CONNECT_S, _try_next, process, left, effect, answer)
        elif number < _CHUNKS:
            kernel.after(kernel.between(0.1, 0.5) * process.world.setting.bulk_s, chunk, number + 1)
        elif process.alive and not process.hung:
            _stand(process, source.state, "pulled", effect.keep)
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
            _stand(process, found.state, "loaded", effect.keep)
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


def _newest(process: Process, _fiber: Fiber, _effect: do.Newest) -> int:
    return max((version for version, _ in process.world.disk(process.site).stored), default=0)


def _secure(process: Process, _fiber: Fiber, effect: do.Secure) -> None:
    steps = effect.done.work.steps + process.beyond.behind.steps
    if steps:
        process.world.kept[process.site] = Kept(
            done=effect.done,
            head=effect.head.hash,
            open_round=process.open_round,
            behind=process.beyond.behind,
            since=effect.since,
        )
        process.world.history.add(process.name, "kept", steps)
        process.open_round, process.beyond.behind = OpenRound(), Behind()


def _take_kept(process: Process, _fiber: Fiber, effect: do.TakeKept) -> tuple[do.Done, int] | None:
    kept = process.world.kept.pop(process.site, None)
    if kept is None or kept.head != effect.head.hash:
        return None
    process.open_round, process.beyond.behind = kept.open_round, kept.behind
    process.world.history.add(process.name, "taken up", kept.done.work.steps)
    return do.Done(work=kept.done.work, seconds=kept.done.seconds, ahead=kept.done.ahead), kept.since
