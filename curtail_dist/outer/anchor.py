"""The anchor: global parameters and outer optimizer state of one version, stepped as a copy.

One outer step (DiLoCo, arXiv 2311.08105, algorithm 1, lines 12-14), with theta the anchor and theta_i the
local
parameters of site i after its inner steps:

    Delta   = sum_i w_i (theta - theta_i) / sum_i w_i        pseudo-gradient, w_i = tokens stepped
    theta' <- OuterOpt(theta, Delta)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Self, TypeAlias

import torch

from curtail_dist.state.version import OPTIMIZER, PARAMETER, Version

OuterFactory: TypeAlias = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]
"""Makes the outer optimizer for given parameters."""


class Anchor:
    """Version `number` of the global parameters, fp32 on the CPU. `stepped` leaves it as it is."""

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
        for name, parameter in self._parameters.items():
            for field, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{OPTIMIZER}{name}/{field}"] = value.detach()
        return Version(number=self.number, tensors=tensors)

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """The global parameters by name; not to be changed."""
        return {name: value.detach() for name, value in self._parameters.items()}

    def stepped(self, mean: Sequence[torch.Tensor]) -> Self:
        """Return the next version's anchor after one outer step on the mean pseudo-gradient.

        Args:
            mean: fp32, one tensor a parameter in their order.
        """
        tensors = {key: value.clone() for key, value in self.version.tensors.items()}
        following = type(self).from_version(Version(number=self.number + 1, tensors=tensors), self._outer)
        for parameter, gradient in zip(following._parameters.values(), mean, strict=True):
            parameter.grad = gradient
        following._optimizer.step()
        following._optimizer.zero_grad(set_to_none=True)
        return following
