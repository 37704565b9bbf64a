"""The outer optimizers that are shipped: Nesterov momentum, and plain averaging."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

_PIECE = 1 << 18
"""Numbers that are moved at once: what is between gradient and parameter needs no more memory than that."""


class Nesterov(torch.optim.Optimizer):
    """SGD with Nesterov momentum, the outer optimizer of DiLoCo (arXiv 2311.08105).

    With pseudo-gradient g, momentum mu, rate eta; bit for bit as `torch.optim.SGD(nesterov=True)`:

        b <- g at the first step, mu b + g after it
        theta <- theta - eta (g + mu b)

    It is written out here because torch's own imports torch's compiler at its first step: seconds of CPU time
    at each start of a rank, for nothing. And it needs no further memory: b is written where g was, `.grad` is
    None after the step, and the b of the step before stays as it is.
    """

    replaces_state = True
    """Whether a step leaves the state's tensors as they are and puts others in their place."""

    def __init__(self, params: Iterable[torch.Tensor], lr: float = 0.7, momentum: float = 0.9) -> None:
        """Optimize `params`; a momentum of 0 is plain SGD."""
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as torch's optimizers do."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or zero them."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient; a closure is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, lr=group["lr"], momentum=group["momentum"])
        return loss

    def _move(self, parameter: torch.Tensor, gradient: torch.Tensor, *, lr: float, momentum: float) -> None:
        if not momentum:
            parameter.add_(gradient, alpha=-lr)
            return
        state = self.state[parameter]
        before = [state["momentum_buffer"]] if "momentum_buffer" in state else []
        tensors = [parameter, gradient, *before]
        flat = [one.view(-1) for one in tensors] if all(one.is_contiguous() for one in tensors) else tensors
        for mine, given, *old in zip(
            *(one.split(_PIECE) if one.dim() else (one,) for one in flat), strict=True
        ):
            buffer = old[0].mul(momentum).add_(given) if old else given
            mine.add_(given.add(buffer, alpha=momentum), alpha=-lr)
            given.copy_(buffer)
        state["momentum_buffer"], parameter.grad = gradient, None


class Average(Nesterov):
    """Plain averaging of the sites' parameters: learning rate 1 on the mean pseudo-gradient, no momentum."""

    def __init__(self, params: Iterable[torch.Tensor]) -> None:
        """Optimize `params`."""
        super().__init__(params, lr=1.0, momentum=0.0)
