"""Measures what `outer.step` costs in an inner step in which nothing is due.

    python benchmarks/bench_outer_overhead.py [--blocks 20] [--out benchmarks/results/outer_overhead.json]

Steps of 20 ms of torch work, alternately 25 with `outer.step` and 25 without, in one process without an
exchange. Saved: the call itself, and the paired difference of the blocks' medians in wall-clock and in CPU
time of the thread; the latter two drown in the noise of the machine.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from thinlink.model import Stack
from thinlink.record import bound, conditions, save, spread
from thinlink.work import TorchWork

from curtail_dist.outer.optimizer import DiLoCo

STEP_S = 0.02
STEPS = 25
FRAGMENTS = 8
NEVER = FRAGMENTS * 1_000_000
BOUND = 0.01


def block(work: TorchWork, outer: DiLoCo | None) -> tuple[float, float, list[float]]:
    """Return the medians of a step's wall-clock and CPU seconds, and what each call took."""
    walls, cpus, calls = [], [], []
    for _ in range(STEPS):
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        if outer is not None:
            called = time.perf_counter()
            outer.step(tokens=1)
            calls.append(time.perf_counter() - called)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    return statistics.median(walls), statistics.median(cpus), calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_overhead.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = conditions()
    model = Stack(512, 8, 512)
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    outer = DiLoCo(None, model, inner, sync_every=NEVER, fragments=FRAGMENTS, sync_delay=1, codec="int4")
    work, pairs = TorchWork(STEP_S), []
    block(work, outer)
    for _ in range(args.blocks):
        pairs.append((block(work, outer), block(work, None)))
    calls = [one for done, _ in pairs for one in done[2]]
    step = spread([without[0] for _, without in pairs])
    share = {
        "call": statistics.median(calls) / step["median"],
        "paired_wall": statistics.median([done[0] / without[0] - 1 for done, without in pairs]),
        "paired_cpu": statistics.median([done[1] / without[1] - 1 for done, without in pairs]),
    }
    result = {
        "step_s": step,
        "call_s": spread(calls),
        "share": share,
        "must": {name: bound(value, BOUND) for name, value in share.items()},
    }
    save(args.out, result, before=before)


if __name__ == "__main__":
    main()
