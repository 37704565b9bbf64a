"""Candidates compiled by all cores before they are timed by one: Triton keeps on disk what it has compiled.

A compiler needs seconds for a candidate, a device needs milliseconds. Each task is a launch on tensors that
are small but of the same kind, so that the code is the one that will be asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context

import torch
from curtail_kernels import mlp_products
from curtail_kernels.attention import configs

from gpu_kernels.mlp import ProductBench
from gpu_kernels.timing import FAILURES, Budget
from gpu_kernels.tuning import WINDOWS, Bench, case_of

POSITIONS = max(window for window in WINDOWS if window is not None) + 256
"""Enough for every window to leave something out."""


@dataclass(frozen=True, kw_only=True)
class AttentionTask:
    """A candidate of a row of attention's table."""

    kernel: configs.Kernel
    path: configs.Path
    D: int
    config: configs.Config
    window: int | None

    def perform(self, device: str) -> None:
        """Launch it once."""
        _bench(self.D, device).launch(self.kernel, self.path, self.config, self.window)()


@dataclass(frozen=True, kw_only=True)
class ProductTask:
    """A candidate of a row of the products' table."""

    product: mlp_products.Product
    config: mlp_products.Config

    def perform(self, device: str) -> None:
        """Launch it once."""
        _product_bench(self.product, device).fused(self.config)


Task = AttentionTask | ProductTask


def compile_all(tasks: Sequence[Task], device: str, budget: Budget, workers: int | None = None) -> int:
    """Compile what can be compiled in that time; no process is left when it is over.

    Args:
        tasks: In the order in which they are to be done.
        device: Where they are launched.
        budget: What is not done by then is left.
        workers: Processes; None: one a core.

    Returns:
        How many compiled; the others failed, or were left.
    """
    with get_context("spawn").Pool(workers) as pool:  # which ends its processes
        results = [pool.apply_async(_is_done, (task, device)) for task in tasks]
        for result in results:
            result.wait(max(0.0, budget.left()))
        return sum(one.ready() and one.successful() and one.get() for one in results)


def _is_done(task: Task, device: str) -> bool:
    try:
        task.perform(device)
    except FAILURES:
        return False  # whoever times it is told why
    return True


@cache
def _bench(D: int, device: str) -> Bench:
    return Bench(replace(case_of(D), B=1, T=POSITIONS, width=2 * D), torch.device(device))


@cache
def _product_bench(product: mlp_products.Product, device: str) -> ProductBench:
    return ProductBench(product, (256, 256, 64), torch.device(device))
