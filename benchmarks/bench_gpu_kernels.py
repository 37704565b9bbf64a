"""The fused kernels on one GPU: right first, then beside cuDNN, FlexAttention, FlashAttention, plain torch.

    python benchmarks/bench_gpu_kernels.py [--minutes 8] [--tiny] [--tuned FILE]
                                           [--out benchmarks/results/gpu_kernels.json]

First all cores compile what attention will be asked for. Then one process measures, the same inputs for all,
medians by the device's clock: small cases against fp64, and two runs against each other to the bit; then
parts by their weight, while there is time: attention bare, the whole path with rotary positions and norm,
whole inner steps of a d12, the head with its peak memory, the MLP with relu^2 after its products and in them,
the codec, Muon; last the rest of the grid. Each large result is held against torch's as well. What fails is
recorded as failed, and so is what never ends or takes its process along, which another then goes on for; what
there was no time for is recorded as left out. The goals stand beside what was reached. All is saved after
each part. Exit code 1: something is not right.

`--tiny` runs all that a CPU can, small, to try the script. Not shown: several GPUs, other chips, decoding.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from gpu_kernels import around, mlp, steps, tuned
from gpu_kernels.attend import bare, whole
from gpu_kernels.cases import Case, grid
from gpu_kernels.child import Child, Undone
from gpu_kernels.contenders import IN_FORWARD, ONLINE
from gpu_kernels.correct import attention_checks
from gpu_kernels.correct_around import around_checks
from gpu_kernels.goals import judge
from gpu_kernels.keeping import keep
from gpu_kernels.precompile import compile_all
from gpu_kernels.timing import Budget
from gputrain.device import machine, release

PACKAGES = ("torch", "triton", "numpy")
CLOSING_S = 10.0
"""Kept back for saving."""
COMPILATIONS = 256
"""How many shapes torch may compile a function for before it gives up."""
COMPILE_S = 90.0
"""What all cores may compile before anything is measured, at most."""
PATIENCE = 4
"""A part is given up after so many times what it takes ..."""
LEAST_PATIENCE_S = 60.0
"""... and not before."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One measurement."""

    name: str
    takes_s: float
    """About how long on an H200; it is left out if less is left."""
    run: Callable[[], Row | list[Row]]
    """To be pickled: it is another process that measures."""


def checks(device: torch.device) -> Iterator[Part]:
    """What says whether the kernels are right."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for name, run in (*attention_checks(device, dtype), *around_checks(device, dtype)):
        yield Part(name=name, takes_s=1, run=run)


def parts(device: torch.device, *, tiny: bool) -> Iterator[Part]:
    """What says how fast they are, what weighs most first."""
    sizes = around.TINY if tiny else around.Sizes()
    of_steps = steps.TINY if tiny else steps.Sizes()
    cases = attentions(tiny=tiny)
    repeats = 1 if tiny else 20

    def part(name: str, takes_s: float, of: Callable[..., Row | list[Row]], *arguments: Any) -> Part:
        return Part(name=name, takes_s=takes_s, run=partial(alone, device, of, *arguments))

    def attention(of: Callable[..., Row], chosen: slice) -> Iterator[Part]:
        for case in cases[chosen]:
            name = f"{of.__name__} T {case.T} D {case.D} window {case.window} group {case.group}"
            yield part(name, 20, of, case, device, repeats)

    yield from attention(bare, slice(0, 4))
    yield from attention(whole, slice(0, 4))
    for means in steps.MEANS:
        yield part(f"steps, {means}", 60, steps.measure_steps, means, of_steps, device)
    yield part("head", 15, around.measure_head, sizes, device)
    of_mlp = sizes.tokens, sizes.width, device, repeats
    yield part("mlp", 10, mlp.measure_mlp, *of_mlp)
    if device.type == "cuda":  # the rest of the MLP is launches, which a CPU cannot do
        yield part("products", 15, mlp.measure_products, *of_mlp)
        yield part("relu2", 5, around.measure_relu2, sizes, device)
    yield part("codec", 10, around.measure_codec, sizes, device)
    yield part("muon", 10, around.measure_muon, sizes, device)
    yield from attention(bare, slice(4, None))
    yield from attention(whole, slice(4, None))


def attentions(*, tiny: bool) -> list[Case]:
    """Every case, those that the goals speak of most first."""
    return list(grid(2, (16, 32), 8, 512) if tiny else grid(32, (2_048, 8_192), 768, 1_024))


def compile_attention(device: torch.device, setup: Callable[[], object]) -> int:
    """Compile what attention is measured by; torch's ways to longer sequences are left to who times them."""
    cases = attentions(tiny=False)
    shorter = [case for case in cases if case.T == cases[0].T]
    tasks = [partial(of, case, device, 1) for of in (whole, bare) for case in shorter]
    return compile_all(tasks, Budget(COMPILE_S), setup=setup)


def alone(device: torch.device, of: Callable[..., Row | list[Row]], *arguments: Any) -> Row | list[Row]:
    """Measure on a device that holds nothing of what came before."""
    release(device)
    return of(*arguments)


def measure(all_parts: Iterable[Part], child: Child, budget: Budget) -> Iterator[Row]:
    """The rows of each part, or why it has none."""
    for part in all_parts:
        left = budget.left()
        if left < part.takes_s + CLOSING_S:
            yield {"what": part.name, "left_out": f"{left:.0f} s were left, it takes {part.takes_s:.0f}"}
            continue
        began = time.perf_counter()
        limit = min(max(PATIENCE * part.takes_s, LEAST_PATIENCE_S), left - CLOSING_S / 2)
        found = child.do(part.run, limit)
        if isinstance(found, Undone):
            found = {"failed": found.why}
        for row in found if isinstance(found, list) else [found]:
            yield {"what": part.name, **row, "part_s": round(time.perf_counter() - began, 1)}


def begin(chosen: tuned.Chosen | None) -> None:
    """What a process that measures, or compiles for one that does, does first."""
    torch._dynamo.config.recompile_limit = COMPILATIONS
    if chosen is not None:
        tuned.put(chosen)


def is_right(rows: Sequence[Row]) -> bool:
    """Whether nothing that was checked is wrong, and nothing of ours failed."""
    ours = ("ours", ONLINE, IN_FORWARD, mlp.IN_PRODUCT)
    found = (each for row in rows for each in (row, *map(row.get, ours)))
    own = [each for each in found if isinstance(each, dict)]
    return all(each.get("holds") is not False and "failed" not in each for each in own)


def save(result: Row, out: Path) -> None:
    """Judge what there is so far, and write it."""
    result["goals"] = [] if result["tiny"] else judge(result["rows"])
    result["is_right"] = is_right([*result["correctness"], *result["rows"]])
    result["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    keep(result, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--tiny", action="store_true", help="all that a CPU can, small")
    parser.add_argument("--tuned", type=tuned.read, help="what tune_kernels.py chose, in place of the tables")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu_kernels.json"))
    args = parser.parse_args()
    began, budget = time.perf_counter(), Budget(60 * args.minutes)
    if not (args.tiny or torch.cuda.is_available()):
        print("bench_gpu_kernels: there is no CUDA device here, nothing was run")
        return 0
    device = torch.device("cpu" if args.tiny else "cuda")
    result: Row = {
        "what": "the fused kernels beside what torch has: right, then seconds, throughput and memory",
        "not_shown": "several GPUs; other chips; decoding; caches are warm or cold as the calls leave them",
        "tiny": args.tiny,
        "tuned": args.tuned,
        "machine": machine(device, PACKAGES),
        "correctness": [],
        "rows": [],
    }
    setup = partial(begin, args.tuned)
    if not args.tiny:
        print(json.dumps({"compiled": compile_attention(device, setup), "left_s": round(budget.left())}))
    with Child(setup, torch.cuda.synchronize if device.type == "cuda" else None) as child:
        found = partial(measure, child=child, budget=budget)
        for kind, row in chain(
            (("correctness", row) for row in found(checks(device))),
            (("rows", row) for row in found(parts(device, tiny=args.tiny))),
        ):
            result[kind].append(row)
            result["wall_s"] = time.perf_counter() - began
            save(result, args.out)
            if kind == "rows" or not row.get("holds"):
                print(json.dumps(row), flush=True)
    print(json.dumps({"small cases": len(result["correctness"]), "all is right": result["is_right"]}))
    print(json.dumps(result["goals"], indent=1))
    print(f"saved: {args.out}")
    return 0 if result["is_right"] else 1


if __name__ == "__main__":
    sys.exit(main())
