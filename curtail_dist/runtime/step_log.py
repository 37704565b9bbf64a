"""Tells the inner steps of a round as `step` events, several together."""

from typing import Any

import torch

from curtail_dist.runtime.intrasite import Tally
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.telemetry.events import Step
from curtail_dist.telemetry.record import EventLog


class StepLog:
    """Sums up inner steps until there are enough of them for an event, or the round ends."""

    def __init__(self, events: EventLog, *, every: int) -> None:
        """Tell of `every` steps at a time in `events`."""
        self._events = events
        self._every = every
        self._inner: torch.optim.Optimizer | None = None
        self._steps = 0
        self._tokens = 0

    def watch(self, inner: torch.optim.Optimizer) -> None:
        """Tell, beside the steps, how the optimizer that takes them is set at that moment."""
        self._inner = inner

    def done(self, round: OpenRound, tally: Tally) -> None:
        """Count a step; one of a flying round is told only when it has become part of a planned one."""
        if round.flying:
            return
        self._steps += 1
        self._tokens += tally.tokens
        if self._steps >= self._every or round.due:
            loss = round.losses[-1] if round.losses else None
            settings = {} if self._inner is None else settings_of(self._inner)
            self._events.emit(
                Step(steps=self._steps, tokens=self._tokens, rows=tally.rows, loss=loss, **settings)
            )
            self._steps = self._tokens = 0


def settings_of(inner: torch.optim.Optimizer) -> dict[str, float]:
    """Return `lr_factor`, `momentum` and `weight_decay` of the leading group, as far as it has them.

    That is the first group that has a `momentum`, else the first. What lies on a device is left out: the step
    does not wait for it.
    """
    groups = inner.param_groups
    group: dict[str, Any] = next((one for one in groups if "momentum" in one), groups[0])
    momentum = group.get("momentum", next(iter(group.get("betas", ())), None))
    rate, initial = _number(group.get("lr")), _number(group.get("initial_lr"))
    found = {
        "lr_factor": rate / initial if rate is not None and initial else None,
        "momentum": _number(momentum),
        "weight_decay": _number(group.get("weight_decay")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a setting that is a number on this processor."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.device.type == "cpu" and value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) else None
