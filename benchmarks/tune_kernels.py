"""Measures blocks, warps and stages of the kernels with products on the present GPU, and writes their rows.

    python benchmarks/tune_kernels.py [--minutes 5] [--out benchmarks/results/tune_kernels.json]
    python benchmarks/tune_kernels.py --write benchmarks/results/tune_kernels.json

First all cores compile the candidates; then one process measures them. The MLP's products with relu squared
at their end: every candidate is held against cuBLAS and a pass, and timed; the best one of each stands beside
cuBLAS, and is to be taken where it is faster than both steps. Then attention: for each kernel, D and path
every candidate is held against the plain reference, and timed with and without a window; the row is the one
with the least sum of both times. With those rows it is then measured whether forward had better rotate and
norm its queries. A candidate that never ends, or takes its process along, is out; another process goes on.

What was chosen is saved, as far as it goes, after each candidate, and `bench_gpu_kernels.py --tuned FILE`
measures by it at once. `--write` puts it into the tables of `curtail_kernels.attention.configs` and
`mlp_products`, with no need of a GPU; what there was no time for keeps its row. What spills registers or
takes too much shared memory is out.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from curtail_kernels.attention.configs import HEAD_DIMS, PATHS, TABLE, Config, Kernel
from gpu_kernels.candidates import Do, Found, best, shipped_first, timed
from gpu_kernels.child import Child, Undone
from gpu_kernels.keeping import keep
from gpu_kernels.mlp import PRODUCTS
from gpu_kernels.mlp_tuning import Tuned, tune_products
from gpu_kernels.mlp_tuning import candidates as mlp_candidates
from gpu_kernels.precompile import Task, attention_task, compile_all, product_task
from gpu_kernels.timing import Budget
from gpu_kernels.tuned import Chosen, read, write
from gpu_kernels.tuning import WINDOWS, Key, Placed, candidate_took, placed_took, windows_of

REPEATS = 10
COMPILE_SHARE = 0.5
"""Of the time, at most."""
PRODUCTS_SHARE = 0.2
"""Of what is left."""
KERNELS = Path(__file__).parents[1] / "kernels/curtail_kernels"
WHOLE_S = 30.0
"""Kept back for who places the queries."""
CANDIDATE_S = 40.0
"""After so long a candidate is given up: a compiler that begins with it needs half of that."""

BLOCKS: dict[Kernel, tuple[tuple[int, int], ...]] = {
    "forward": ((128, 128), (128, 64), (64, 128), (64, 64)),
    "dq": ((128, 128), (128, 64), (64, 64), (128, 32)),
    "dkdv": ((64, 128), (32, 128), (64, 64), (128, 64)),
    "prologue": ((16, 0), (32, 0), (64, 0), (128, 0)),
}
"""(block_m, block_n) worth trying."""


def candidates(kernel: Kernel) -> Iterator[Config]:
    """What is tried for a row."""
    stages = (1,) if kernel == "prologue" else (2, 3)
    for (block_m, block_n), warps, depth in product(BLOCKS[kernel], (8, 4), stages):
        yield Config(block_m, block_n, warps, depth)


def tried(key: Key) -> Iterator[Config]:
    """The candidates of a row, the shipped one first."""
    return shipped_first(TABLE, key, candidates(key[0]))


def tasks(capability: tuple[int, int]) -> Iterator[Task]:
    """What is to be compiled before it is timed, in the order in which it will be."""
    for each in PRODUCTS:
        yield from (partial(product_task, each, one) for one in mlp_candidates((each, capability)))
    for key in keys(capability):
        kernel, _, D, path = key
        for config, window in product(tried(key), windows_of(kernel)):
            yield partial(attention_task, kernel, path, D, config, window)


def keys(capability: tuple[int, int]) -> Iterator[Key]:
    """The rows to fill, those of most weight first."""
    kernels: tuple[Kernel, ...] = ("forward", "dkdv", "dq")
    for path, D, kernel in product(PATHS, (128, 64), kernels):
        yield kernel, capability, D, path
    for D in (128, 64):
        yield "prologue", capability, D, "pointers"


def choice(
    capability: tuple[int, int],
    attention: dict[Key, Config],
    placed: dict[int, Placed | Undone],
    products: Tuned,
) -> Chosen:
    """What the tables are to say, of all that has figures."""
    return {
        "capability": list(capability),
        "attention": [
            {"kernel": kernel, "D": D, "path": path, "config": config._asdict()}
            for (kernel, _, D, path), config in attention.items()
        ],
        "places_queries": {
            D: took.in_forward < took.before for D, took in placed.items() if isinstance(took, Placed)
        },
        "products": [
            {"product": product, "config": row["config"], "in_product": row["over_two_steps"] > 1}
            for product, row in products.rows.items()
        ],
    }


def measure(capability: tuple[int, int], do: Do, budget: Budget) -> Iterator[Found]:
    """Every candidate of every row, while there is time; the shipped row first."""
    for key in keys(capability):
        for config in tried(key):
            if budget.left() < WHOLE_S:
                return
            yield timed(key, config, do, partial(candidate_took, key, config, REPEATS))


def save(
    out: Path,
    capability: tuple[int, int],
    found: Sequence[Found],
    placed: dict[int, Placed | Undone],
    products: Tuned,
) -> None:
    """Choose by what there is so far, and write it."""
    result = {
        "gpu": torch.cuda.get_device_name(),
        "windows": WINDOWS,
        "chosen": choice(capability, best(found), placed, products),
        **_in_and_out(found),
        "placed": {D: took._asdict() for D, took in placed.items()},
        "products": {**_in_and_out(products.found), "best": list(products.rows.values())},
    }
    keep(result, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all of it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_kernels.json"))
    parser.add_argument("--write", type=read, help="put what this file chose into the source, no more")
    args = parser.parse_args()
    if args.write is not None:
        print("written:", *write(args.write, KERNELS))
        return 0
    if not torch.cuda.is_available():
        print("tune_kernels: there is no CUDA device here, nothing was run")
        return 0
    budget, capability = Budget(60 * args.minutes), torch.cuda.get_device_capability()
    wanted = list(tasks(capability))
    compiled = compile_all(wanted, Budget(COMPILE_SHARE * budget.left()))
    print(f"{compiled} of {len(wanted)} candidates are compiled, {budget.left():.0f} s are left", flush=True)
    found: list[Found] = []
    placed: dict[int, Placed | Undone] = {}
    with Child(check=torch.cuda.synchronize) as child:

        def do(job: Callable[[], Any]) -> Any:
            return child.do(job, min(CANDIDATE_S, max(1.0, budget.left())))

        products = tune_products(capability, do, Budget(PRODUCTS_SHARE * budget.left()), REPEATS)
        print(*products.found, *products.rows.values(), sep="\n", flush=True)
        save(args.out, capability, found, placed, products)
        for one in measure(capability, do, budget):
            found.append(one)
            print(one, flush=True)
            save(args.out, capability, found, placed, products)
        for D in HEAD_DIMS:
            placed[D] = do(partial(placed_took, D, best(found), REPEATS))
            print(D, placed[D], flush=True)
            save(args.out, capability, found, placed, products)
    print(f"saved: {args.out}; --write {args.out} puts what it chose into the tables")
    return 0


def _in_and_out(found: Iterable[Found]) -> dict[str, list[dict[str, Any]]]:
    """What was timed, and what was not right or failed, which took no time."""
    rows = [{**one._asdict(), "config": one.config._asdict()} for one in found]
    return {
        "found": [row for row in rows if row["why"] is None],
        "out": [{**row, "took": None} for row in rows if row["why"] is not None],
    }


if __name__ == "__main__":
    sys.exit(main())
