"""Carries out the effects on the store, on what was last seen of it, and on time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curtail_dist.coordination.store import Entry, TxnResult
from curtail_dist.errors import CurtailError, LeaseExpired, StoreUnavailable
from curtail_dist.membership import effects as do
from curtail_dist.membership.view import View
from curtail_dist.sim.process import PENDING, Fiber, Handler, Process
from curtail_dist.sim.setting import KEYS

_NOTED = (KEYS.epoch, KEYS.head)


def handlers() -> dict[type[do.Effect[Any]], Handler]:
    """Return what carries out each of these effects."""
    return {
        do.Read: _read,
        do.Transact: _transact,
        do.Put: _put,
        do.Grant: _grant,
        do.KeepAlive: _keep_alive,
        do.PutLeased: _put_leased,
        do.Revoke: _revoke,
        do.Look: _look,
        do.Await: _await,
        do.Wake: lambda process, _fiber, _effect: process.world.kernel.after(0.0, process.nudge),
        do.Now: lambda process, _fiber, _effect: process.world.kernel.now,
        do.Pause: _pause,
        do.MakesProgress: _makes_progress,
    }


def _call(
    process: Process, fiber: Fiber, work: Callable[[], Any], then: Callable[[Any], Any] = lambda value: value
) -> Any:
    answer = process.answering(fiber)
    mirror, kernel = process.mirror, process.world.kernel
    began = kernel.now

    def reply(value: Any, error: CurtailError | None) -> None:
        if isinstance(error, StoreUnavailable):
            if mirror.failing_since is None:
                mirror.failing_since = began
        else:
            mirror.failing_since = None
        answer(then(value) if error is None and process.alive else None, error)

    process.world.store.call(process.name, work, reply)
    return PENDING


def _note(process: Process, entry: Entry | None) -> None:
    if entry is not None and entry.key in _NOTED and process.hung != "all":
        process.mirror.note(entry)


def _read(process: Process, fiber: Fiber, effect: do.Read) -> Any:
    contents = process.world.store.contents

    def note(entries: dict[str, Entry | None]) -> dict[str, Entry | None]:
        for entry in entries.values():
            _note(process, entry)
        return entries

    return _call(process, fiber, lambda: {key: contents.get(key) for key in effect.keys}, note)


def _transact(process: Process, fiber: Fiber, effect: do.Transact) -> Any:
    def note(result: TxnResult) -> TxnResult:
        if result.succeeded:
            for key, value in effect.puts.items():
                _note(process, Entry(key=key, value=value, revision=result.revision))
        for entry in result.current.values():
            _note(process, entry)
        return result

    contents = process.world.store.contents
    return _call(
        process, fiber, lambda: contents.transact(compare=effect.compare, puts=effect.puts, lease=0), note
    )


def _put(process: Process, fiber: Fiber, effect: do.Put) -> Any:
    contents = process.world.store.contents
    return _call(
        process,
        fiber,
        lambda: contents.transact(compare={}, puts={effect.key: effect.value}, lease=0),
        lambda _value: None,
    )


def _grant(process: Process, fiber: Fiber, _effect: do.Grant) -> Any:
    ttl = process.part.rules.ttl_s

    def hold(lease: int) -> None:
        process.lease = lease

    return _call(process, fiber, lambda: process.world.store.grant(ttl), hold)


def _leased(process: Process) -> int:
    if process.lease is None:
        raise LeaseExpired("this process holds no lease")
    return process.lease


def _keep_alive(process: Process, fiber: Fiber, _effect: do.KeepAlive) -> Any:
    lease, ttl = _leased(process), process.part.rules.ttl_s
    return _call(process, fiber, lambda: process.world.store.renew(lease, ttl))


def _put_leased(process: Process, fiber: Fiber, effect: do.PutLeased) -> Any:
    lease = _leased(process)
    compare = {} if effect.revision is None else {effect.key: effect.revision}
    puts = {effect.key: effect.value}
    return _call(
        process, fiber, lambda: process.world.store.contents.transact(compare=compare, puts=puts, lease=lease)
    )


def _revoke(process: Process, fiber: Fiber, _effect: do.Revoke) -> Any:
    lease, process.lease = process.lease, None
    if lease is None:
        return None
    return _call(process, fiber, lambda: process.world.store.contents.revoke(lease))


def _look(process: Process, _fiber: Fiber, _effect: do.Look) -> View:
    mirror = process.mirror
    return mirror.view if mirror.failing_since is None else replace(mirror.view, stale_s=mirror.stale_s)


def _await(process: Process, fiber: Fiber, effect: do.Await[Any]) -> Any:
    found = effect.check(process.mirror.view)
    if found is not None or effect.timeout <= 0:
        return found
    answer = process.answering(fiber)
    process.world.kernel.after(effect.timeout, answer, None, None)
    return PENDING


def _pause(process: Process, fiber: Fiber, effect: do.Pause) -> Any:
    process.world.kernel.after(effect.seconds, process.answering(fiber), None, None)
    return PENDING


def _makes_progress(process: Process, _fiber: Fiber, _effect: do.MakesProgress) -> bool:
    allowed = process.part.rules.ttl_s
    return process.hung != "life" or process.world.kernel.now - process.hung_at <= allowed
