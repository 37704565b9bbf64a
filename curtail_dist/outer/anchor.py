"""The anchor: global parameters and outer optimizer state of one version, stepped as a copy.

One outer step (DiLoCo, arXiv 2311.08105, algorithm 1, lines 12-14), with theta the anchor and theta_i the
local
parameters of site i after its inner steps:

    Delta   = sum_i w_i (theta - theta_i) / sum_i w_i        pseudo-gradient, w_i = tokens stepped
    theta' <- OuterOpt(theta, Delta)
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Self, TypeAlias

import torch

from curtail_dist.state.version import OPTIMIZER, PARAMETER, Version

OuterFactory: TypeAlias = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]
"""Makes the outer optimizer for given parameters."""


class Anchor:
    """Version `number` of the global parameters, fp32 on the CPU. `stepped` leaves it as it is.

    Versions share the tensors that no step between them moved.
    """

    def __init__(
        self,
        number: int,
        parameters: Mapping[str, torch.Tensor],
        outer: OuterFactory,
        state: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Take ownership of `parameters` (fp32, CPU) and of the outer optimizer's `state` ("NAME/KEY").

        Parameters stand in the order of their names: every site exchanges them in the same order, however it
        came by them.
        """
        self.number = number
        self._outer = outer
        self._parameters = {name: parameters[name].detach() for name in sorted(parameters)}
        self._state = dict(state or {})
        self._before: Version | None = None

    @classmethod
    def from_version(cls, version: Version, outer: OuterFactory) -> Self:
        """Build the anchor of a version; shares its tensors, which nobody changes."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            tensors = version.tensors.items()
            return {key.removeprefix(prefix): value for key, value in tensors if key.startswith(prefix)}

        return cls(version.number, part(PARAMETER), outer, part(OPTIMIZER))

    @cached_property
    def version(self) -> Version:
        """The state as a version; shares the tensors."""
        tensors = {PARAMETER + name: value for name, value in self._parameters.items()}
        tensors.update({OPTIMIZER + name: value for name, value in self._state.items()})
        before, self._before = self._before, None
        version = Version(number=self.number, tensors=tensors)
        return version.after(before) if before is not None else version

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The global parameters by name; not to be changed."""
        return dict(self._parameters)

    @property
    def optimizer(self) -> str:
        """The outer optimizer with its hyper-parameters, as text."""
        parameters = [torch.nn.Parameter(value) for value in self._parameters.values()]
        made = self._outer(parameters)
        groups = [{key: one[key] for key in sorted(one) if key != "params"} for one in made.param_groups]
        _dissolve(made, parameters)
        return f"{type(made).__name__} {groups}"

    def stepped(
        self,
        mean: Mapping[str, torch.Tensor],
        *,
        hyper: Mapping[str, float] | None = None,
        momentum: float = 1.0,
    ) -> Self:
        """Return the next version's anchor after one outer step; what does not move is shared with this one.

        Args:
            mean: Mean pseudo-gradient (fp32) by parameter; those it does not name stay. The optimizer may use
                it up.
            hyper: To be set in the optimizer for this step, where it has them (`lr`, `momentum`).
            momentum: Factor for the momentum of all parameters before the step; at 0 all state is dropped.
        """
        parameters = {
            name: torch.nn.Parameter(value.clone() if name in mean else value)
            for name, value in self._parameters.items()
        }
        optimizer = self._outer(list(parameters.values()))
        for group in optimizer.param_groups:
            group.update({key: value for key, value in (hyper or {}).items() if key in group})
        in_place = mean if not getattr(optimizer, "replaces_state", False) else ()
        for key, value in self._state_before(in_place, momentum).items():
            name, _, field = key.rpartition("/")
            optimizer.state[parameters[name]][field] = value
        for name, gradient in mean.items():
            parameters[name].grad = gradient
        optimizer.step()
        following = type(self)(self.number + 1, parameters, self._outer, _state_of(optimizer, parameters))
        following._before = self.version
        _dissolve(optimizer, parameters.values())
        return following

    def _state_before(self, changing: Collection[str], momentum: float) -> dict[str, torch.Tensor]:
        """Return the outer optimizer's state to step from: copies of what is changed in place."""
        if not momentum:
            return {}
        state: dict[str, torch.Tensor] = {}
        for key, value in self._state.items():
            name, _, field = key.rpartition("/")
            if momentum != 1 and field == "momentum_buffer":
                state[key] = value * momentum
            else:
                state[key] = value.clone() if name in changing else value
        return state


def _state_of(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return an optimizer's state by "NAME/KEY": tensors, and numbers as tensors, which do as well."""
    return {
        f"{name}/{field}": value.detach() if isinstance(value, torch.Tensor) else _as_tensor(value)
        for name, parameter in parameters.items()
        for field, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor | int | float)
    }


def _as_tensor(number: float) -> torch.Tensor:
    return torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else None, device="cpu")


def _dissolve(optimizer: torch.optim.Optimizer, parameters: Iterable[torch.Tensor]) -> None:
    """Let go of all tensors: torch's optimizers refer to themselves, so that they are collected late."""
    optimizer.state.clear()
    optimizer.param_groups.clear()
    for parameter in parameters:
        parameter.grad = None
