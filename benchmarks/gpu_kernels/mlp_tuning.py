"""The MLP's products tuned: which config each is to have, and whether relu squared is to be at its end."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from curtail_kernels.mlp_products import TABLE, Config, Product

from gpu_kernels.mlp import PRODUCTS, ProductBench
from gpu_kernels.timing import FAILURES, Budget, failure

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


class FoundProduct(NamedTuple):
    """What one candidate of one product took."""

    product: Product
    config: Config
    took: float
    """Seconds; infinite if it failed or is wrong."""
    why: str | None
    """Why it is out."""


def candidates(product: Product, capability: tuple[int, int]) -> Iterator[Config]:
    """What is tried, what is shipped first."""
    shipped = TABLE.get((product, capability))
    if shipped is not None:
        yield shipped
    yield from (each for each in CANDIDATES if each != shipped)


def measure_candidates(
    bench: ProductBench, capability: tuple[int, int], budget: Budget, repeats: int
) -> Iterator[FoundProduct]:
    """Every candidate of one product, while there is time."""
    for config in candidates(bench.product, capability):
        if budget.left() <= 0:
            return
        try:
            yield FoundProduct(bench.product, config, bench.took(config, repeats), None)
        except FAILURES as error:
            yield FoundProduct(bench.product, config, float("inf"), failure(error))


class Tuned(NamedTuple):
    """What came of all products."""

    found: list[FoundProduct]
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
        found = list(measure_candidates(bench, capability, Budget(each_s), repeats))
        tuned.found.extend(found)
        best = min(found, key=lambda one: one.took, default=None)
        if best is not None and best.why is None:
            tuned.rows[product] = bench.row(best.config, repeats)
    return tuned
