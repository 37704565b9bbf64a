"""Carries out training, and what a process says of itself."""

from typing import Any

from curtail_dist.data.ledger import Assignment, ahead, drop, take
from curtail_dist.membership import effects as do
from curtail_dist.sim.history import Steps
from curtail_dist.sim.process import PENDING, Fiber, Handler, Process
from curtail_dist.sim.state import Rest

_OVERHEAD_S = 0.01


def handlers() -> dict[type[do.Effect[Any]], Handler]:
    """Return what carries out each of these effects."""
    return {
        do.Train: _train,
        do.Knock: lambda _process, _fiber, _effect: None,
        do.Enter: _enter,
        do.Announce: _announce,
        do.Tell: _tell,
    }


def _train(process: Process, fiber: Fiber, effect: do.Train) -> Any:
    open_round = process.open_round
    begun = tuple(dict.fromkeys(position for position, _, _ in open_round.spans))
    if open_round.steps != open_round.ahead or begun != _first(effect.assignment, open_round.touched):
        process.world.history.blame(
            process.name, f"opens a round with {open_round.steps} steps on rows {begun} of an earlier one"
        )
    open_round.payload = None
    _look(process, fiber, fiber.turn, effect)
    return PENDING


def _first(assignment: Assignment, amount: int) -> tuple[int, ...]:
    return tuple(position for span in take(assignment.rows, amount) for position in range(*span))


def _look(process: Process, fiber: Fiber, turn: int, effect: do.Train) -> None:
    """Do another step, or end the round."""
    if not process.alive or fiber.turn != turn:
        return
    kernel, open_round = process.world.kernel, process.open_round
    if process.hung:
        kernel.after(0.1, _look, process, fiber, turn, effect)
        return
    view, assignment = process.mirror.view, effect.assignment
    closing = open_round.steps > 0 and view.close_asked(effect.epoch.number, effect.head.version + 1)
    exhausted = open_round.exhausted(assignment) or open_round.steps >= open_round.ahead + assignment.steps
    if exhausted or closing or view.hurries or process.failure is not None:
        done = _done(process, effect, leaving=view.leaving)
        kernel.after(_OVERHEAD_S, process.answering(fiber), done, process.failure)
        return
    step_s = process.world.setting.step_s[process.site] * kernel.between(0.9, 1.1)
    kernel.after(step_s, _stepped, process, fiber, turn, effect, step_s)


def _done(process: Process, effect: do.Train, *, leaving: bool) -> do.Done:
    """Say what was done; the rest of the assignment is trained on while the exchange is under way."""
    open_round, assignment = process.open_round, effect.assignment
    rest = drop(assignment.rows, open_round.rows)
    reached = (open_round.reached,) if open_round.reached else ()
    delay = 0 if leaving else effect.delay
    kept = take(rest, len(reached))
    if delay:
        kept = ahead(rest, taken=open_round.touched, steps=open_round.steps, delay=delay)
    if effect.head.flush or (not delay and process.part.rules.fragments == 1):
        kept = ()
    begun = {**dict(assignment.open), **dict(reached)}
    if delay and kept:
        process.beyond.rest = Rest(
            assignment=Assignment(rows=kept, steps=delay, open=tuple(begun.items())), delay=delay
        )
    work = open_round.work(process.site, assignment)
    return do.Done(work=work, seconds=open_round.seconds, draining=leaving, ahead=kept)


def _stepped(process: Process, fiber: Fiber, turn: int, effect: do.Train, step_s: float) -> None:
    if not process.alive or fiber.turn != turn:
        return
    if process.hung:
        process.world.kernel.after(0.1, _stepped, process, fiber, turn, effect, step_s)
        return
    world, open_round = process.world, process.open_round
    begun = dict(effect.assignment.open)
    open_round.step(world.setting.corpus, effect.assignment, begun, world.setting.step_tokens)
    open_round.seconds += step_s
    world.history.add(process.name, "trained", Steps(1, "", ""))
    _look(process, fiber, turn, effect)


def _enter(process: Process, _fiber: Fiber, effect: do.Enter) -> None:
    process.entered = True
    process.world.history.add(process.name, "told", f"came in: {effect.how} at {effect.head.version}")


def _announce(process: Process, _fiber: Fiber, effect: do.Announce) -> None:
    process.world.history.add(process.name, "told", f"stands on version {effect.record.version}")


def _tell(process: Process, _fiber: Fiber, effect: do.Tell) -> None:
    process.world.history.add(process.name, "told", effect.event)
