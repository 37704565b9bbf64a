"""Carries out what a part of the protocol asks for, one effect after the other."""

from collections.abc import Callable
from typing import Any, TypeVar

from curtail_dist.errors import CurtailError
from curtail_dist.membership.effects import Effect, Steps

T = TypeVar("T")
Perform = Callable[[Effect[Any]], Any]


class Finished(Exception):
    """The protocol has come to its end."""


def advance(
    steps: Steps[Any], perform: Perform, *, until: type[Effect[Any]] | None = None, result: Any = None
) -> Effect[Any]:
    """Resume with `result`, carry out effects until one of the kind `until` is asked for, and return that.

    What an effect raises is raised inside the protocol, which may go on. Raises Finished at the end.
    """
    try:
        effect = steps.send(result)
        while until is None or not isinstance(effect, until):
            try:
                result = perform(effect)
            except (CurtailError, OSError) as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(result)
    except StopIteration as stop:
        raise Finished from stop
    return effect


def drive(steps: Steps[T], perform: Perform) -> None:
    """Carry a part of the protocol out to its end."""
    try:
        advance(steps, perform)
    except Finished:
        return
