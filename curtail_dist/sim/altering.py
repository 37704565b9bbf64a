"""Making a wrong protocol out of the right one: a life whose effects are passed on, some of them altered."""

from collections.abc import Callable
from typing import Any, TypeAlias

from curtail_dist.errors import CurtailError
from curtail_dist.membership import effects as do
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Commit
from curtail_dist.sim.process import Mutant
from curtail_dist.sim.setting import KEYS

Alter: TypeAlias = Callable[[do.Effect[Any]], do.Steps[Any]]
"""Takes an effect of the life; yields what is carried out in its place, and returns its result."""


def altered(make: Callable[[Part], Alter]) -> Mutant:
    """Return the mutant that alters the effects of each life by its own `make(part)`."""

    def life(steps: do.Steps[None], part: Part) -> do.Steps[None]:
        alter = make(part)
        result: Any = None
        error: Exception | None = None
        while True:
            try:
                effect = steps.throw(error) if error is not None else steps.send(result)
            except StopIteration:
                return
            result, error = None, None
            try:
                result = yield from alter(effect)
            except (CurtailError, OSError) as raised:
                error = raised

    return life


def commits(effect: do.Effect[Any]) -> Commit | None:
    """Return the record if the effect writes a commit onto another."""
    if not isinstance(effect, do.Transact) or KEYS.epoch in effect.puts or KEYS.head not in effect.puts:
        return None
    return Commit.decode(effect.puts[KEYS.head])
