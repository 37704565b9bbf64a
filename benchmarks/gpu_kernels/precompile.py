"""Kernels compiled by all cores before they are timed by one process: compilers keep on disk what they made.

A compiler needs seconds for a kernel, a device needs milliseconds. A task is whatever asks for the code that
will be asked for. Triton's kernels are not launched by it: the worst of them could only be wrong later on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import torch
from curtail_kernels import mlp_products
from curtail_kernels.attention import configs
from triton.runtime.jit import JITFunction

from gpu_kernels.failures import FAILURES
from gpu_kernels.mlp_tuning import bench_of as bench_of_product
from gpu_kernels.timing import Budget
from gpu_kernels.tuning import WINDOWS, bench_of, case_of

POSITIONS = max(window for window in WINDOWS if window is not None) + 256
"""Enough for every window to leave something out."""

SMALL = (256, 256, 64)
"""M, N, K of a product."""

Task = Callable[[], object]
"""To be pickled."""


def attention_task(
    kernel: configs.Kernel,
    path: configs.Path,
    D: int,
    config: configs.Config,
    window: int | None,
    device: str = "cuda",
) -> None:
    """Launch a candidate of a row of attention's table, on tensors that are small but of the same kind."""
    small = replace(case_of(D), B=1, T=POSITIONS, width=2 * D)
    bench_of(small, device).launch(kernel, path, config, window)()


def product_task(product: mlp_products.Product, config: mlp_products.Config, device: str = "cuda") -> None:
    """Launch a candidate of a row of the products' table so."""
    bench_of_product(product, SMALL, device).fused(config)


def compile_all(
    tasks: Sequence[Task], budget: Budget, *, setup: Task | None = None, workers: int | None = None
) -> int:
    """Compile what can be compiled in that time; no process is left when it is over.

    Args:
        tasks: In the order in which they are to be done.
        budget: What is not done by then is left.
        setup: What each process does first.
        workers: Processes; None: one a core.

    Returns:
        How many compiled; the others failed, or were left.
    """
    with get_context("spawn").Pool(workers, _begin, (setup,)) as pool:  # which ends its processes
        results = [pool.apply_async(_is_done, (task,)) for task in tasks]
        for result in results:
            result.wait(max(0.0, budget.left()))
        return sum(one.ready() and one.successful() and one.get() for one in results)


def _begin(setup: Task | None) -> None:
    """From now on a launch in this process is a compilation, and torch compiles by this process alone."""
    run = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return run(kernel, *arguments, grid=grid, warmup=True, **options)

    JITFunction.run = compile_only
    torch._inductor.config.compile_threads = 1
    if setup is not None:
        setup()


def _is_done(task: Task) -> bool:
    try:
        task()
    except FAILURES:
        return False  # whoever times it is told why
    return True
