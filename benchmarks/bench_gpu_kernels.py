"""The fused kernels on one GPU: right first, then beside cuDNN, FlexAttention, FlashAttention, plain torch.

    python benchmarks/bench_gpu_kernels.py [--minutes 8] [--tiny] [--tuned FILE]
                                           [--out benchmarks/results/gpu_kernels.json]

One process, the same inputs for all, medians by the device's clock. First small cases against fp64, and two
runs against each other to the bit. Then parts by their weight, while there is time: attention bare, the
whole path with rotary positions and norm, whole inner steps of a d12, the head with its peak memory, the MLP
with relu^2 after its products and in them, the codec, Muon; last the rest of the grid. Each large result is
held against torch's as well. What fails is recorded as failed, what there was no time for as left out; the
goals stand beside what was reached. Exit code 1: something is not right.

`--tiny` runs all that a CPU can, small, to try the script. Not shown: several GPUs, other chips, decoding.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import around, mlp, steps, tuned
from gpu_kernels.attend import bare, whole
from gpu_kernels.cases import grid
from gpu_kernels.contenders import IN_FORWARD, ONLINE
from gpu_kernels.correct import attention_rows
from gpu_kernels.correct_around import around_rows
from gpu_kernels.goals import judge
from gpu_kernels.timing import FAILURES, Budget, failure
from gputrain.device import machine, release

PACKAGES = ("torch", "triton", "numpy")
CLOSING_S = 10.0
"""Kept back for saving."""
COMPILATIONS = 256
"""How many shapes torch may compile a function for before it gives up."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One measurement."""

    name: str
    takes_s: float
    """About how long on an H200; it is left out if less is left."""
    run: Callable[[], Row | list[Row]]


def parts(device: torch.device, *, tiny: bool) -> Iterator[Part]:
    """All of them, what weighs most first."""
    sizes = around.TINY if tiny else around.Sizes()
    of_steps = steps.TINY if tiny else steps.Sizes()
    cases = list(grid(2, (16, 32), 8, 512) if tiny else grid(32, (2_048, 8_192), 768, 1_024))
    repeats = 1 if tiny else 20

    def attention(of: Callable[..., Row], chosen: slice) -> Iterator[Part]:
        for case in cases[chosen]:
            name = f"{of.__name__} T {case.T} D {case.D} window {case.window} group {case.group}"
            yield Part(name=name, takes_s=20, run=lambda case=case: of(case, device, repeats))

    yield from attention(bare, slice(0, 4))
    yield from attention(whole, slice(0, 4))
    for means in steps.MEANS:
        yield Part(
            name=f"steps, {means}", takes_s=60, run=lambda m=means: steps.measure_steps(m, of_steps, device)
        )
    yield Part(name="head", takes_s=15, run=lambda: around.measure_head(sizes, device))
    tokens, width = sizes.tokens, sizes.width
    yield Part(name="mlp", takes_s=10, run=lambda: mlp.measure_mlp(tokens, width, device, repeats))
    if device.type == "cuda":  # the rest of the MLP is launches, which a CPU cannot do
        yield Part(
            name="products", takes_s=15, run=lambda: mlp.measure_products(tokens, width, device, repeats)
        )
        yield Part(name="relu2", takes_s=5, run=lambda: around.measure_relu2(sizes, device))
    yield Part(name="codec", takes_s=10, run=lambda: around.measure_codec(sizes, device))
    yield Part(name="muon", takes_s=10, run=lambda: around.measure_muon(sizes, device))
    yield from attention(bare, slice(4, None))
    yield from attention(whole, slice(4, None))


def measure(all_parts: Iterator[Part], budget: Budget, device: torch.device) -> Iterator[Row]:
    """The rows of each part, or why it has none."""
    for part in all_parts:
        if budget.left() < part.takes_s + CLOSING_S:
            yield {
                "what": part.name,
                "left_out": f"{budget.left():.0f} s were left, it takes {part.takes_s:.0f}",
            }
            continue
        began = time.perf_counter()
        try:
            found = part.run()
        except FAILURES as error:
            found = {"what": part.name, "failed": failure(error)}
        for row in found if isinstance(found, list) else [found]:
            yield {**row, "part_s": round(time.perf_counter() - began, 1)}
        release(device)


def is_right(rows: list[Row]) -> bool:
    """Whether nothing that was checked is wrong, and nothing of ours failed."""
    ours = ("ours", ONLINE, IN_FORWARD, mlp.IN_PRODUCT)
    found = (each for row in rows for each in (row, *map(row.get, ours)))
    own = [each for each in found if isinstance(each, dict)]
    return all(each.get("holds") is not False and "failed" not in each for each in own)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--tiny", action="store_true", help="all that a CPU can, small")
    parser.add_argument("--tuned", type=tuned.read, help="what tune_kernels.py chose, in place of the tables")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu_kernels.json"))
    args = parser.parse_args()
    if args.tuned is not None:
        tuned.put(args.tuned)
    began, budget = time.perf_counter(), Budget(60 * args.minutes)
    if not (args.tiny or torch.cuda.is_available()):
        print("bench_gpu_kernels: there is no CUDA device here, nothing was run")
        return 0
    torch._dynamo.config.recompile_limit = COMPILATIONS
    device = torch.device("cpu" if args.tiny else "cuda")
    dtype = torch.float32 if args.tiny else torch.bfloat16
    result: Row = {
        "what": "the fused kernels beside what torch has: right, then seconds, throughput and memory",
        "not_shown": "several GPUs; other chips; decoding; caches are warm or cold as the calls leave them",
        "tiny": args.tiny,
        "tuned": args.tuned,
        "machine": {
            **machine(device, PACKAGES),
            "capability": torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
        },
        "correctness": [*attention_rows(device, dtype), *around_rows(device, dtype)],
        "rows": [],
    }
    print(json.dumps({"small cases that are right": [row["holds"] for row in result["correctness"]]}))
    for row in measure(parts(device, tiny=args.tiny), budget, device):
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
    result["goals"] = [] if args.tiny else judge(result["rows"])
    result["is_right"] = is_right([*result["correctness"], *result["rows"]])
    result["wall_s"] = time.perf_counter() - began
    result["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["goals"], indent=1))
    print(f"saved: {args.out}")
    return 0 if result["is_right"] else 1


if __name__ == "__main__":
    sys.exit(main())
