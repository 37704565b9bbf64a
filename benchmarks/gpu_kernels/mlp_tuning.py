"""The MLP's products tuned: which config each is to have, and whether relu squared is to be at its end."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from curtail_kernels.mlp_products import TABLE, Config, Product

from gpu_kernels.candidates import Do, Found, best, shipped_first, timed
from gpu_kernels.child import Undone
from gpu_kernels.mlp import PRODUCTS, ProductBench
from gpu_kernels.timing import Budget

Key = tuple[Product, tuple[int, int]]
Shape = tuple[int, int, int]

SHAPE: Shape = (65_536, 3_072, 768)
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


class Tuned(NamedTuple):
    """What came of all products."""

    found: list[Found]
    rows: dict[Product, dict[str, Any]]
    """Of each product its best config beside cuBLAS; none where no candidate was right."""


def tune_products(
    capability: tuple[int, int],
    do: Do,
    budget: Budget,
    repeats: int,
    shape: Shape = SHAPE,
    device: str = "cuda",
) -> Tuned:
    """Every candidate of each product, while there is time: half of it for each."""
    tuned = Tuned([], {})
    each_s = budget.left() / len(PRODUCTS)
    for product in PRODUCTS:
        key, own = (product, capability), Budget(each_s)
        found: list[Found] = []
        for config in candidates(key):
            if own.left() > 0:
                found.append(timed(key, config, do, partial(_took, product, shape, device, config, repeats)))
        tuned.found.extend(found)
        for config in best(found).values():
            row = do(partial(_row, product, shape, device, config, repeats))
            if not isinstance(row, Undone):
                tuned.rows[product] = row
    return tuned


def _took(product: Product, shape: Shape, device: str, config: Config, repeats: int) -> float:
    return bench_of(product, shape, device).took(config, repeats)


def _row(product: Product, shape: Shape, device: str, config: Config, repeats: int) -> dict[str, Any]:
    return bench_of(product, shape, device).row(config, repeats)


@cache
def bench_of(product: Product, shape: Shape, device: str) -> ProductBench:
    """The tensors of a product, made once."""
    return ProductBench(product, shape, torch.device(device))
