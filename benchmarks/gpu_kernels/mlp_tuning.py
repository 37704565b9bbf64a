"""The MLP's products tuned: which config each is to have, and whether relu squared is to be at its end."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from curtail_kernels.mlp_products import TABLE, Config, Product

from gpu_kernels.candidates import Found, best, shipped_first, timed
from gpu_kernels.mlp import PRODUCTS, ProductBench
from gpu_kernels.timing import Budget

Key = tuple[Product, tuple[int, int]]

SHAPE = (65_536, 3_072, 768)
"""M, N, K of a d12's pass."""
CANDIDATES = (
    Config(128, 256, 64, 8, 3, 1, True),
    Config(128, 256, 64, 8, 3, 1, False),
    Config(128, 256, 64, 8, 4, 1, False),
    Config(256, 128, 64, 8, 3, 1, True),
    Config(256, 128, 64, 8, 3, 1, False),
    Config(128, 128, 64, 4, 3, 2, False),
    Config(128, 128, 64, 8, 4, 1, True),
    Config(128, 128, 64, 8, 3, 2, False),
    Config(64, 256, 64, 4, 2, 2, False),
)


def candidates(key: Key) -> Iterator[Config]:
    """What is tried for a row, what is shipped first."""
    return shipped_first(TABLE, key, CANDIDATES)


def measure_candidates(key: Key, bench: ProductBench, budget: Budget, repeats: int) -> Iterator[Found]:
    """Every candidate of one product, while there is time."""
    for config in candidates(key):
        if budget.left() <= 0:
            return
        yield timed(key, config, lambda config=config: bench.took(config, repeats))


class Tuned(NamedTuple):
    """What came of all products."""

    found: list[Found]
    rows: dict[Product, dict[str, Any]]
    """Of each product its best config beside cuBLAS; none where no candidate was right."""


def tune_products(
    device: torch.device, budget: Budget, repeats: int, shape: tuple[int, int, int] = SHAPE
) -> Tuned:
    """Half of the budget for each product."""
    capability = torch.cuda.get_device_capability(device)
    tuned = Tuned([], {})
    each_s = budget.left() / len(PRODUCTS)
    for product in PRODUCTS:
        bench = ProductBench(product, shape, device)
        found = list(measure_candidates((product, capability), bench, Budget(each_s), repeats))
        tuned.found.extend(found)
        for config in best(found).values():
            tuned.rows[product] = bench.row(config, repeats)
    return tuned
