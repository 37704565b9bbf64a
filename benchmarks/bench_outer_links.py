"""Measures whether a site with a slower link should average a smaller part of the pseudo-gradients.

    python benchmarks/bench_outer_links.py [--out benchmarks/results/outer_links.json]

Four sites reduce int4 payloads in parts: each member scatters its payload, averages its part and gives the
mean of it (int8) to all. One of them has a link of a quarter of the others' rate, in both directions or
upwards alone. Its part is a quarter, as everyone's; a thirteenth, in proportion to its rate; or nothing. What
is computed is left out, and sites begin together: it is the links' time, taken at each site; the slowest
counts.

With P the payload's bytes, M those of the mean, f the slow site's part and B its rate, it sends (1 - f) P
while it is sent 3 f P, then sends 3 f M while it is sent (1 - f) M. Alike in both directions that takes
max(1 - f, 3 f) (P + M) / B, least at a quarter: equal parts are best, however slow the link. Where it only
sends slowly it takes ((1 - f) P + 3 f M) / B, least without a part.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from thinlink.network import Network
from thinlink.record import conditions, save, spread
from thinlink.sites import Place, thin_link

from curtail_dist.outer.codec import CODECS, FOR_MEANS

SITES, SLOW = 4, 3
RATE, SLOW_RATE = 1e8, 2.5e7
NUMBERS = 2_097_152
BLOCKS = NUMBERS // 128
SHARES = {"equal": 1 / 4, "by rate": 1 / 13, "none": 0.0}
"""The slow site's part; the others have equal parts of the rest."""
LINKS: dict[str, dict[str, dict[int, float]]] = {
    "all alike": {},
    "one slow": {"up": {SLOW: SLOW_RATE}, "down": {SLOW: SLOW_RATE}},
    "one slow upwards": {"up": {SLOW: SLOW_RATE}},
}


def parts(share: float) -> list[int]:
    """Return how many numbers each site averages, whole blocks."""
    slow = round(BLOCKS * share)
    others = [(BLOCKS - slow) * (site + 1) // SLOW - (BLOCKS - slow) * site // SLOW for site in range(SLOW)]
    return [128 * blocks for blocks in (*others, slow)]


def site(place: Place, repetitions: int) -> dict[str, list[float]]:
    """Return the seconds of exchanges with each of the SHARES, in turn; the first of each is left out."""
    torch.set_num_threads(1)
    store, exchange = place.serve(), place.form("links")
    found: dict[str, list[float]] = {name: [] for name in SHARES}
    for _ in range(repetitions + 1):
        for name, share in SHARES.items():
            numbers = parts(share)
            scattered = [CODECS["int4"].size(one) for one in numbers]
            means = [FOR_MEANS["int4"].size(one) for one in numbers]
            given = [torch.zeros(size, dtype=torch.uint8) for size in scattered]
            exchange.gather(torch.zeros(1, dtype=torch.uint8), [1] * place.size)
            began = time.monotonic()
            exchange.scatter(given, scattered, [True] * place.size)
            exchange.gather(torch.zeros(means[place.rank], dtype=torch.uint8), means)
            found[name].append(time.monotonic() - began)
    del store
    return {name: seconds[1:] for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_links.json"))
    args = parser.parse_args()
    reason = Network.why_not()
    if reason is not None:
        print(f"links of unequal rates need network namespaces, nothing is measured: {reason}")
        return
    before = conditions()
    cases: list[dict[str, Any]] = []
    for title, rates in LINKS.items():
        with thin_link(SITES, RATE, **rates) as sites:
            rows = sites.play(site, args.repetitions)
            link = sites.link
        for name in SHARES:
            seconds = [max(each) for each in zip(*(row[name] for row in rows), strict=True)]
            print(f"{title}, {name}: {statistics.median(seconds):.3f} s", flush=True)
            cases.append({"links": title, "slow_site_part": name, "exchange_s": spread(seconds)})
    run = {"sites": SITES, "rate_bit_s": RATE, "slow_bit_s": SLOW_RATE, "numbers": NUMBERS, "link": link}
    save(args.out, {"run": run, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
