"""Attention measured: bare forward and backward, and the whole path with rotary positions and norm."""

from typing import Any

import torch
from torch import Tensor

from gpu_kernels.beside import beside, with_gradients
from gpu_kernels.cases import Case, Inputs, inputs
from gpu_kernels.contenders import Attention, contenders, whole_paths
from gpu_kernels.failures import FAILURES, failure
from gpu_kernels.timing import relative_error, seconds

APART = 2e-2
"""How far two ways of computing a large case in bf16 may be apart, relative."""

WHOLE_APART = 4e-2
"""The same for the whole path and its gradients, whose rotation and norm round more or less often."""


def bare(case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Every contender's seconds and TFLOP/s, and how far its result is from torch's."""
    given = inputs(case, device)
    row: dict[str, Any] = {"what": "bare", **case.label()}
    right: Tensor | None = None
    found = contenders(case, device)
    judges = [name for name in ("cudnn", "flex", "torch") if name in found]
    for name in [*judges, *(each for each in found if each not in judges)]:
        attention = found[name]
        if isinstance(attention, str):
            row[name] = {"left_out": attention}
            continue
        try:
            y, row[name] = _bare(case, given, attention, device, repeats)
        except FAILURES as error:
            row[name] = {"failed": failure(error)}
            continue
        if right is None and name in judges:
            right = y
        apart = None if right is None else relative_error(y, right)
        row[name] |= {"apart_from_torch": apart, "holds": apart is not None and apart <= APART}
    return row


def _bare(
    case: Case, given: Inputs, attention: Attention, device: torch.device, repeats: int
) -> tuple[Tensor, dict[str, Any]]:
    q, k, v, do, _ = given
    with torch.no_grad():
        forward = seconds(lambda: attention(q, k, v), device, repeats=repeats)
    y = attention(q, k, v)

    def back() -> None:
        torch.autograd.grad(y, (q, k, v), do, retain_graph=True)

    took = {"forward": forward, "backward": seconds(back, device, repeats=repeats)}
    operations = case.operations()
    rates = {f"{name}_tflops": operations[name] / each["median"] / 1e12 for name, each in took.items()}
    return y.detach(), {**{f"{name}_s": each for name, each in took.items()}, **rates}


def whole(case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Rotary, norm and attention of raw projections, forward and backward together, as a model calls them."""
    q, k, v, do, place = inputs(case, device)
    ways = {
        name: lambda path=path: with_gradients(path(q, k, v), (q, k, v), do)
        for name, path in whole_paths(case, place, device).items()
    }
    row: dict[str, Any] = {"what": "whole", **case.label()}
    return row | beside(ways, device, repeats=repeats, apart=WHOLE_APART)
