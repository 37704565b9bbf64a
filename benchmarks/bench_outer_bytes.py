"""Counts what a site sends for a token, by codec: at its sockets, on its wire, and as the exchange counts.

    python benchmarks/bench_outer_bytes.py [--out benchmarks/results/outer_bytes.json]

Two sites exchange small models of two sizes over a link of 1 Gbit/s. Bytes a parameter and exchange hardly
depend on the size (headers and cards count less in a larger model; both sizes are saved); times the
parameters of a d20 and divided by the tokens of H = 189 steps that is the figure. At the socket: what TCP
carried for the process, Gloo's headers and the cards included. On the wire: Ethernet, IP, TCP and
acknowledgements, too. One round of exchanges carries every parameter once, whatever the fragments.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from thinlink.model import Stack, drift
from thinlink.record import bound, conditions, save
from thinlink.sites import Place, Sites, thin_link
from thinlink.sockets import tcp_sent

from curtail_dist.outer.optimizer import DiLoCo

RATE_BIT_S = 1e9
D20_NUMBERS = 560_988_200
TOKENS = 189 * 524_288
BOUNDS = {"int8": 5.8, "int4": 3.1}
SIZES = ((512, 8, 1024), (1024, 8, 2048))
"""Width, blocks, vocabulary."""
CASES = (("fp32", 1, 0), ("bf16", 1, 0), ("int8", 1, 0), ("int4", 1, 0), ("int4", 8, 1))
"""Codec, fragments, delay."""
ROUNDS = 2
EVERY = 16
DRAIN_S = 0.3


def site(place: Place, size: tuple[int, int, int], case: tuple[str, int, int], rounds: int) -> dict[str, int]:
    """Train some rounds; return what was counted for them."""
    torch.set_num_threads(1)
    store, exchange = place.serve(), place.form("bytes")
    codec, fragments, delay = case
    model = Stack(*size)
    outer = DiLoCo(
        None,
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        sync_every=EVERY,
        fragments=fragments,
        sync_delay=delay,
        exchange=exchange,
        codec=codec,
    )
    generator = torch.Generator().manual_seed(place.rank)
    before = tcp_sent()
    for _ in range(rounds * EVERY):
        drift(model, generator)
        outer.step(tokens=1)
    time.sleep(DRAIN_S)  # a payload has been handed over before TCP has sent the last of it
    counted = {
        "numbers": model.numbers,
        "socket": tcp_sent().since(before).once,
        "exchange": exchange.bytes_sent,
    }
    exchange.gather(torch.zeros(1, dtype=torch.uint8), [1] * place.size)  # nobody leaves before all counted
    del store
    return counted


def measure(sites: Sites, size: tuple[int, int, int], case: tuple[str, int, int]) -> dict[str, Any]:
    """Return bytes a parameter for each way of counting, of the site that sent more."""
    wires: list[list[int]] = []
    for rounds in (0, ROUNDS):
        before = sites.sent_bytes()
        counted = sites.play(site, size, case, rounds)
        wires.append([now - then for now, then in zip(sites.sent_bytes(), before, strict=True)])
    numbers = counted[0]["numbers"]
    wire = max(now - none for none, now in zip(*wires, strict=True))
    found = {
        "exchange": max(one["exchange"] for one in counted),
        "socket": max(one["socket"] for one in counted),
        "wire": wire,
    }
    return {
        "parameters": numbers,
        "bytes_a_parameter": {way: value / ROUNDS / numbers for way, value in found.items() if value},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_bytes.json"))
    args = parser.parse_args()
    before, cases, must = conditions(), [], {}
    with thin_link(2, RATE_BIT_S) as sites:
        link = sites.link
        for case in CASES:
            codec, fragments, delay = case
            sizes = [measure(sites, size, case) for size in SIZES]
            largest = sizes[-1]["bytes_a_parameter"]
            tokens = {way: value * D20_NUMBERS / TOKENS for way, value in largest.items()}
            print(f"{codec} F {fragments} tau {delay}: {tokens}", flush=True)
            cases.append(
                {
                    "codec": codec,
                    "fragments": fragments,
                    "sync_delay": delay,
                    "sizes": sizes,
                    "bytes_a_token_and_site_d20": tokens,
                }
            )
            if codec in BOUNDS:
                must[f"{codec}, {fragments} fragments"] = bound(tokens["socket"], BOUNDS[codec])
    scale = {"parameters": D20_NUMBERS, "tokens_a_round": TOKENS, "rounds_measured": ROUNDS, "sites": 2}
    save(args.out, {"link": link, "scale": scale, "must": must, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
