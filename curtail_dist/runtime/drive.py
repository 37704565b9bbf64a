"""Carries out what a part of the protocol asks for, one effect after the other."""

from collections.abc import Callable
from typing import Any, TypeVar

from curtail_dist.errors import CurtailError
from curtail_dist.membership.effects import Effect, Steps

T = TypeVar("T")
Perform = Callable[[Effect[Any]], Any]
Kinds = type[Effect[Any]] | tuple[type[Effect[Any]], ...]


class Finished(Exception):
    """The protocol has come to its end."""


def advance(
    steps: Steps[Any], perform: Perform, *, until: Kinds | None = None, result: Any = None
) -> Effect[Any]:
    """Resume with `result`, carry out effects until one of the kind `until` is asked for, and return that.

    What an effect raises is raised inside the protocol, which may go on. Raises Finished at the end.
    """
    try:
        effect = steps.send(result)
    except StopIteration as stop:
        raise Finished from stop
    return go_on(steps, perform, effect, until=until)


def go_on(
    steps: Steps[Any], perform: Perform, effect: Effect[Any], *, until: Kinds | None = None
) -> Effect[Any]:
    """The same, from an effect that was asked for and is not carried out yet."""
    while until is None or not isinstance(effect, until):
        effect = one_more(steps, perform, effect)
    return effect


def one_more(steps: Steps[Any], perform: Perform, effect: Effect[Any]) -> Effect[Any]:
    """Carry out one effect; return the next that is asked for. Raises Finished at the end."""
    try:
        try:
            result = perform(effect)
        except (CurtailError, OSError) as error:
            return steps.throw(error)
        return steps.send(result)
    except StopIteration as stop:
        raise Finished from stop


def drive(steps: Steps[T], perform: Perform) -> None:
    """Carry a part of the protocol out to its end."""
    try:
        advance(steps, perform)
    except Finished:
        return
