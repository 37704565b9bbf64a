"""Times building a group and one exchange of a small model, from 2 to 32 sites.

    python benchmarks/bench_outer_scale.py [--repetitions 5] [--out benchmarks/results/outer_scale.json]

The sites are threads of one process on loopback, with the real exchange over Gloo, so all of them share the
cores of one machine: times of many sites are of this machine's two cores more than of the exchange. What does
not depend on that is saved, too: CPU seconds and bytes a site. A sync is all of it: encoding, cards,
exchange, outer step (int4).

Where root is available that loopback is in a namespace without a name server: c10d asks for the name of each
peer that connects, and a name server that drops some of many queries makes a group 5 to 10 s late.
"""

import argparse
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from thinlink.model import Stack
from thinlink.network import Network, enter
from thinlink.record import conditions, save, spread

from curtail_dist.outer.gloo import GroupStore, form
from curtail_dist.outer.optimizer import DiLoCo

HOST = "127.0.0.1"
COUNTS = (2, 3, 4, 8, 16, 32)
SIZE = (128, 4, 256)
SYNCS = 10


def play(sites: int, name: str) -> dict[str, float]:
    """Build a group of so many sites, sync some times; return seconds, CPU seconds and bytes."""
    store = GroupStore(HOST)
    ready = threading.Barrier(sites)
    models = [Stack(*SIZE) for _ in range(sites)]  # here: threads would draw from one generator

    def site(rank: int) -> tuple[float, list[float], int]:
        model = models[rank]
        ready.wait()
        began = time.monotonic()
        exchange = form(
            name=name,
            rank=rank,
            size=sites,
            host=HOST,
            meet=(HOST, store.port),
            timeout=60.0,
            alive=lambda rank: True,
        )
        formed = time.monotonic() - began
        inner = torch.optim.SGD(model.parameters(), lr=0.1)
        outer = DiLoCo(None, model, inner, sync_every=1, exchange=exchange, codec="int4")
        outer.step(tokens=1)
        sent, taken = exchange.bytes_sent, []
        for _ in range(SYNCS):
            ready.wait()
            began = time.monotonic()
            outer.step(tokens=1)
            taken.append(time.monotonic() - began)
        ready.wait()
        sent = exchange.bytes_sent - sent
        exchange.close()
        return formed, taken, sent

    return summed(sites, over(sites, site))


def over(sites: int, site: Callable[[int], Any]) -> tuple[list[Any], float]:
    """Run a site in each of so many threads; return their results and the CPU seconds of all."""
    began = time.process_time()
    with ThreadPoolExecutor(max_workers=sites) as pool:
        found = list(pool.map(site, range(sites)))
    return found, time.process_time() - began


def summed(sites: int, outcome: tuple[list[tuple[float, list[float], int]], float]) -> dict[str, float]:
    """Return the figures of one play: of the slowest site, each time."""
    found, cpu = outcome
    slowest = sorted(max(each) for each in zip(*(taken for _, taken, _ in found), strict=True))
    numbers = Stack(*SIZE).numbers
    return {
        "form_s": max(formed for formed, _, _ in found),
        "sync_s": slowest[len(slowest) // 2],
        "cpu_s_a_site_and_sync": cpu / sites / (SYNCS + 1),
        "bytes_a_site_and_parameter": max(sent for _, _, sent in found) / SYNCS / numbers,
    }


def measure(repetitions: int) -> list[dict[str, Any]]:
    """Alternate the numbers of sites; return the figures of each."""
    found: dict[int, list[dict[str, float]]] = {sites: [] for sites in COUNTS}
    play(2, "warm-up")
    for repetition in range(repetitions):
        for sites, runs in found.items():
            runs.append(play(sites, f"scale {sites} {repetition}"))
            print(sites, runs[-1], flush=True)
    return [
        {"sites": sites, **{name: spread([one[name] for one in runs]) for name in runs[0]}}
        for sites, runs in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_scale.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = conditions()
    with ExitStack() as stack:
        kind = "loopback"
        if Network.why_not() is None:
            enter(stack.enter_context(Network(1, 1e9)).namespace(0))
            kind = "loopback in a namespace without a name server"
        cases = measure(args.repetitions)
    model = {"parameters": Stack(*SIZE).numbers, "codec": "int4"}
    save(args.out, {"link": {"kind": kind}, "model": model, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
