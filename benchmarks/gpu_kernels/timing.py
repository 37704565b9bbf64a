"""How long a call takes on the device, how much memory it needs, and how much time there still is."""

import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class Budget:
    """The seconds that are left of what was given."""

    def __init__(self, seconds: float) -> None:
        self._end = time.perf_counter() + seconds

    def left(self) -> float:
        return self._end - time.perf_counter()


def seconds(
    call: Callable[[], Any], device: torch.device, *, repeats: int, warmup: int = 3
) -> dict[str, Any]:
    """Median, least, most and number of a call's seconds, by the device's clock where it has one.

    The calls follow one another without a pause, so that the host runs ahead of the device: a call that the
    device finishes faster than the host can ask for is measured as what the host needs.
    """
    for _ in range(warmup):
        call()
    found: list[float] = []
    if device.type == "cuda":
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        torch.cuda.synchronize()
        found = [a.elapsed_time(b) / 1e3 for a, b in pairwise(marks)]
    else:
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return {"median": statistics.median(found), "least": min(found), "most": max(found), "n": len(found)}


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int | None:
    """The most memory that a call takes beyond what is held before it; None where that is not counted."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def relative_error(found: Tensor, exact: Tensor, least: float = 0.0) -> float:
    """|found - exact| / |exact|, Frobenius, in fp64; infinite if anything of `found` is not finite.

    Args:
        found: Of any shape and dtype.
        exact: What it should be.
        least: What |exact| is taken for where it is less: some gradients are 0 but for rounding.
    """
    wide, right = found.double(), exact.double().to(found.device)
    if not wide.isfinite().all():
        return float("inf")
    return ((wide - right).norm() / right.norm().clamp_min(max(least, 1e-300))).item()


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same bytes."""
    return torch.equal(*(x.reshape(-1).contiguous().view(torch.uint8) for x in (a, b)))


def refuse_spills(compiled: Any) -> None:
    """Raise ValueError if a compiled kernel keeps registers in memory; the interpreter compiles none."""
    spills = getattr(compiled, "n_spills", 0)
    if spills:
        raise ValueError(f"spills {spills} registers; a row of a table must spill none")
