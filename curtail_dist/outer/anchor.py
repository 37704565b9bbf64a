"""The anchor: global parameters and outer optimizer state of one version, stepped as a copy.

One outer step (DiLoCo, arXiv 2311.08105, algorithm 1, lines 12-14), with theta the anchor and theta_i the
local
parameters of site i after its inner steps:

    Delta   = sum_i w_i (theta - theta_i) / sum_i w_i        pseudo-gradient, w_i = tokens stepped
    theta' <- OuterOpt(theta, Delta)
"""

from collections.abc import Callable, Iterable, Mapping
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
        self._before: Version | None = None
        self._outer = outer
        self._parameters = {name: torch.nn.Parameter(parameters[name]) for name in sorted(parameters)}
        self._optimizer = outer(list(self._parameters.values()))
        for key, value in (state or {}).items():
            name, _, field = key.rpartition("/")
            self._optimizer.state[self._parameters[name]][field] = value

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
        tensors = {PARAMETER + name: value.detach() for name, value in self._parameters.items()}
        before, self._before = self._before, None
        for name, parameter in self._parameters.items():
            for field, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{OPTIMIZER}{name}/{field}"] = value.detach()
        version = Version(number=self.number, tensors=tensors)
        return version.after(before) if before is not None else version

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The global parameters by name; not to be changed."""
        return {name: value.detach() for name, value in self._parameters.items()}

    def stepped(
        self,
        mean: Mapping[str, torch.Tensor],
        *,
        hyper: Mapping[str, float] | None = None,
        momentum: float = 1.0,
    ) -> Self:
        """Return the next version's anchor after one outer step; what does not move is shared with this one.

        Args:
            mean: Mean pseudo-gradient (fp32) by parameter; those it does not name stay.
            hyper: To be set in the optimizer for this step, where it has them (`lr`, `momentum`).
            momentum: Factor for the momentum of all parameters before the step; at 0 all state is dropped.
        """
        state = self._state_after(mean, momentum)
        parameters = {
            name: value.clone() if name in mean else value for name, value in self.parameters.items()
        }
        following = type(self)(self.number + 1, parameters, self._outer, state)
        following._before = self.version
        optimizer = following._optimizer
        for group in optimizer.param_groups:
            group.update({key: value for key, value in (hyper or {}).items() if key in group})
        for name, gradient in mean.items():
            following._parameters[name].grad = gradient
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return following

    def _state_after(self, mean: Mapping[str, torch.Tensor], momentum: float) -> dict[str, torch.Tensor]:
        """Return the outer optimizer's state to step from: copies of what is about to change."""
        state: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters.items():
            for field, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor) and momentum:
                    scaled = momentum != 1 and field == "momentum_buffer"
                    copy = value * momentum if scaled else value
                    state[f"{name}/{field}"] = copy.clone() if name in mean and not scaled else copy
        return state
