"""Several ways to the same results with their gradients, each measured and held against torch's."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gpu_kernels.failures import FAILURES, failure
from gpu_kernels.timing import peak_bytes, relative_error, seconds

Results = tuple[Tensor, ...]


def with_gradients(out: Tensor, leaves: tuple[Tensor, ...], dout: Tensor | None = None) -> Results:
    """`out` and the gradients of the leaves; dout None: `out` is a number."""
    return out.detach(), *torch.autograd.grad(out, leaves, dout)


def beside(
    ways: Mapping[str, Callable[[], Results]],
    device: torch.device,
    *,
    repeats: int,
    apart: float,
    memory: bool = False,
) -> dict[str, dict[str, Any]]:
    """Of each way the seconds of a call, and how far its results are from torch's; or why it failed.

    Args:
        ways: By name, torch's before ours: the first of those that does not fail judges the others. If all of
            them fail, nothing holds of ours.
        device: Where they run.
        repeats: Calls that are timed.
        apart: How far results may be from those, relative.
        memory: Whether the most memory that a call takes is measured, too.
    """
    rows: dict[str, dict[str, Any]] = {}
    right: Results | None = None
    for name, way in ways.items():
        try:
            rows[name] = {"both_s": seconds(way, device, repeats=repeats)}
            if memory:
                rows[name]["peak_bytes"] = peak_bytes(way, device)
            found = way()
        except FAILURES as error:
            rows[name] = {"failed": failure(error)}
            continue
        if right is None and not name.startswith("ours"):
            right = found
        if right is None:
            rows[name] |= {"apart_from_torch": None, "holds": False}
            continue
        farthest = max(relative_error(*pair) for pair in zip(found, right, strict=True))
        rows[name] |= {"apart_from_torch": farthest, "holds": farthest <= apart}
    return rows
