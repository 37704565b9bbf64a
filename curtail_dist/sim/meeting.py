"""Carries out the effects of the epoch's group."""

from collections.abc import Callable, Mapping
from typing import Any

from curtail_dist.errors import PeerLost
from curtail_dist.membership import effects as do
from curtail_dist.membership.fragments import contributes
from curtail_dist.membership.records import Member
from curtail_dist.sim.network import Seat
from curtail_dist.sim.process import PENDING, Fiber, Handler, Process

_PROBE_S = 1.0
_KNOCK_S = 0.1


def handlers() -> dict[type[do.Effect[Any]], Handler]:
    """Return what carries out each of these effects."""
    return {
        do.Form: _form,
        do.GatherCards: _cards,
        do.GatherPayloads: _payloads,
        do.GatherVotes: _votes,
        do.Vacate: _vacate,
        do.Probe: _probe,
        do.Gone: _gone,
    }


def _form(process: Process, fiber: Fiber, effect: do.Form) -> Any:
    _leave(process)
    seat = process.world.network.seat(effect.epoch, process.me, lambda: process.mirror.view)
    process.seat = seat
    process.world.history.add(
        process.name, "told", f"epoch {effect.epoch.number} {effect.epoch.reason} {effect.epoch.sites}"
    )
    patience = process.part.rules.patience_s
    return _gather(process, fiber, "form", None, others(seat), patience, lambda _given: None)


def _cards(process: Process, fiber: Fiber, effect: do.GatherCards) -> Any:
    seat = _seat(process)

    def ordered(given: Mapping[int, Any]) -> list[Any]:
        return [given.get(rank, effect.card) for rank in range(len(seat.group.epoch.members))]

    return _gather(process, fiber, "cards", effect.card, others(seat), None, ordered)


def _payloads(process: Process, fiber: Fiber, effect: do.GatherPayloads) -> Any:
    seat = _seat(process)
    contributing = [contributes(share) for share in effect.shares]
    needed = [rank for rank, one in enumerate(contributing) if one and rank != seat.rank]
    mine = process.open_round.payload if contributing[seat.rank] else None
    if contributing[seat.rank] and mine is None:
        process.world.history.blame(process.name, "contributes a payload that was not encoded")

    def hold(given: Mapping[int, Any]) -> None:
        process.gathered = {**given, **({} if mine is None else {seat.rank: mine})}

    return _gather(process, fiber, "payloads", mine, needed, process.part.rules.patience_s, hold)


def _votes(process: Process, fiber: Fiber, effect: do.GatherVotes) -> Any:
    seat = _seat(process)
    sites = seat.group.epoch.sites

    def named(given: Mapping[int, Any]) -> dict[str, str]:
        return {site: given.get(rank, effect.hash) for rank, site in enumerate(sites)}

    return _gather(process, fiber, "votes", effect.hash, others(seat), process.part.rules.patience_s, named)


def _vacate(process: Process, _fiber: Fiber, _effect: do.Vacate) -> None:
    _leave(process)


def _probe(process: Process, fiber: Fiber, effect: do.Probe) -> Any:
    world = process.world
    answer = process.answering(fiber)

    def look() -> None:
        answer(frozenset(one.site for one in effect.members if _connects(process, one)), None)

    world.kernel.after(world.kernel.between(0.005, _PROBE_S), look)
    return PENDING


def _connects(process: Process, member: Member) -> bool:
    world = process.world
    other = world.processes.get(member)
    if other is None or not world.network.linked(process.site, member.site):
        return False
    return other.hung != "all" or world.kernel.chance(0.5)


def _gone(process: Process, fiber: Fiber, effect: do.Gone) -> Any:
    world = process.world
    answer = process.answering(fiber)

    def look() -> None:
        answer(frozenset(one for one in effect.members if _refuses(process, one)), None)

    world.kernel.after(world.kernel.between(0.001, _KNOCK_S), look)
    return PENDING


def _refuses(process: Process, member: Member) -> bool:
    """A host whose process has died says so; one that is cut off says nothing."""
    world = process.world
    return member not in world.processes and world.network.linked(process.site, member.site)


def others(seat: Seat) -> list[int]:
    """Return all ranks but the seat's own."""
    return [rank for rank in range(len(seat.group.epoch.members)) if rank != seat.rank]


def _gather(
    process: Process,
    fiber: Fiber,
    kind: str,
    value: Any,
    needed: list[int],
    patience_s: float | None,
    then: Callable[[Mapping[int, Any]], Any],
) -> Any:
    answer = process.answering(fiber)

    def told(given: Mapping[int, Any] | None, error: PeerLost | None) -> None:
        # Not at once: what this process sees and what it waits for may change in the middle of a look.
        process.world.kernel.after(0.0, answer, None if given is None else then(given), error)

    _seat(process).gather(kind, value, needed, patience_s=patience_s, answer=told)
    return PENDING


def _seat(process: Process) -> Seat:
    if process.seat is None:
        raise PeerLost("the epoch's group was not built; regroup")
    return process.seat


def _leave(process: Process) -> None:
    if process.seat is not None:
        process.seat.leave()
        process.seat = None
