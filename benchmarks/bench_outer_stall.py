"""Measures which share of the time no inner step runs, by link rate, delay tau and codec, at two sites.

    python benchmarks/bench_outer_stall.py [--repetitions 3] [--out benchmarks/results/outer_stall.json]

A model of 9.4 M parameters in 8 fragments, H = 48; an inner step is as long as makes int4 send .5 MB for each
second of compute (.21 s). It is played in two ways: real torch work that keeps a core a site busy (both cores
here, so that whatever the exchange does in the background slows compute down), and a wait that leaves the
cores free, as an accelerator does. The other codecs run at the same cadence: int8 sends .96 MB a second of
compute, fp32 3.8.

For a period (H/F steps, one exchange): blocked is the time inside `outer.step` (encoding, decoding, waiting
for the link and for the other site, the outer step); slowed is how much longer the steps took beside which an
exchange ran than the median of the others; beside_cpu is the CPU time that the site's process took for
anything but compute. Share = (blocked + slowed) / (that + compute), the median over the periods of both sites
and all repetitions; added is one building of a new group in each round of 48 steps.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from thinlink.model import Stack
from thinlink.record import bound, conditions, save, spread
from thinlink.sites import Place, thin_link
from thinlink.work import WORK

from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.optimizer import DiLoCo

SIZE = (1024, 8, 512)
FRAGMENTS = 8
EVERY = 48
PERIOD = EVERY // FRAGMENTS
ROUNDS = 2
FIGURES = ("share", "blocked_s", "slowed_s", "beside_cpu_s", "step_s", "form_s")
SENT_BYTES_S = 0.5e6
BOUND = 0.02
DECISIVE = [(1e8, "int4", delay, work) for work in WORK for delay in (0, 1)]
OTHERS = [
    *((1e8, codec, delay, "accelerator") for codec in ("int8", "fp32") for delay in (0, 1)),
    *((1e9, codec, delay, "accelerator") for codec in ("int4", "fp32") for delay in (0, 1)),
    (1e9, "int4", 1, "core"),
]


def site(place: Place, codec: str, delay: int, work: str) -> dict[str, list[float]]:
    """Train some rounds after a warm-up without compute; return what each period lost, what a group took."""
    torch.set_num_threads(1)
    store, exchange = place.serve(), place.form("first")
    model = Stack(*SIZE)
    step = WORK[work](step_s(model.numbers))
    outer = DiLoCo(
        None,
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        sync_every=EVERY,
        fragments=FRAGMENTS,
        sync_delay=delay,
        exchange=exchange,
        codec=codec,
    )
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(EVERY):
        outer.step(tokens=1)
    for number in range(ROUNDS):
        for lost in periods(step, outer, delay):
            for name, value in lost.items():
                found[name].append(value)
        began = time.monotonic()
        following = place.form(f"round {number}")
        outer.regroup(following)
        exchange.close()
        exchange = following
        found["form_s"].append(time.monotonic() - began)
    del store
    return found


def periods(step: Any, outer: DiLoCo, delay: int) -> Iterator[dict[str, float]]:
    """Train a round; yield what each of its periods lost."""
    for _ in range(FRAGMENTS):
        steps, blocked, compute_cpu = [], 0.0, 0.0
        whole_cpu = time.process_time()
        for _ in range(PERIOD):
            began, began_cpu = time.monotonic(), time.thread_time()
            step()
            stepped = time.monotonic()
            compute_cpu += time.thread_time() - began_cpu
            outer.step(tokens=1)
            steps.append(stepped - began)
            blocked += time.monotonic() - stepped
        alone = steps[: PERIOD - delay]
        usual = statistics.median(alone)
        slowed = sum(one - usual for one in steps[PERIOD - delay :])
        lost = blocked + slowed
        yield {
            "share": lost / (lost + usual * PERIOD),
            "blocked_s": blocked,
            "slowed_s": slowed,
            "beside_cpu_s": time.process_time() - whole_cpu - compute_cpu,
            "step_s": usual,
        }


def step_s(numbers: int) -> float:
    """Return how long a step must be for int4 to send what it shall."""
    return CODECS["int4"].size(numbers) / SENT_BYTES_S / EVERY


def measure(case: tuple[float, str, int, str]) -> dict[str, Any]:
    """Return what both sites found."""
    rate, codec, delay, work = case
    with thin_link(2, rate) as sites:
        found = sites.play(site, codec, delay, work)
        return {"link": sites.link, **{name: found[0][name] + found[1][name] for name in found[0]}}


def summed(case: tuple[float, str, int, str], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a case's figures over its runs."""
    rate, codec, delay, work = case
    every = {name: [one for run in runs for one in run[name]] for name in runs[0] if name != "link"}
    figures = {name: spread(values) for name, values in every.items()}
    usual = figures["step_s"]["median"]
    numbers = Stack(*SIZE).numbers
    lost = sum(every["blocked_s"]) + sum(every["slowed_s"])
    return {
        "rate_bit_s": rate,
        "codec": codec,
        "sync_delay": delay,
        "compute": WORK[work].name,
        "sent_bytes_per_s_of_compute": CODECS[codec].size(numbers) / (usual * EVERY),
        "stall_share": figures["share"]["median"] + figures["form_s"]["median"] / (usual * EVERY),
        "cpu_share": figures["beside_cpu_s"]["median"] / (usual * PERIOD),
        "stall_share_by_sums": (lost + figures["form_s"]["median"] * len(every["share"]) / FRAGMENTS)
        / (lost + sum(every["step_s"]) * PERIOD),
        "figures": figures,
        "link": runs[0]["link"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_stall.json"))
    args = parser.parse_args()
    before = conditions()
    runs: dict[tuple[float, str, int, str], list[dict[str, Any]]] = {}
    for repetition in range(args.repetitions):
        for case in DECISIVE + (OTHERS if repetition == 0 else []):
            runs.setdefault(case, []).append(measure(case))
            print(case, f"{summed(case, runs[case])['stall_share']:.4f}", flush=True)
    cases = [summed(case, several) for case, several in runs.items()]
    must = {
        f"100 Mbit/s, int4, tau 1, {one['compute']}": bound(one["stall_share"], BOUND)
        for case, one in zip(runs, cases, strict=True)
        if case[:3] == (1e8, "int4", 1)
    }
    model = {"parameters": Stack(*SIZE).numbers, "fragments": FRAGMENTS, "sync_every": EVERY}
    save(args.out, {"model": model, "must": must, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
