"""Times an exchange between two sites against one plain TCP stream of the same bytes on the same link.

    python benchmarks/bench_outer_exchange.py [--out benchmarks/results/outer_exchange.json]

An exchange is what a round does: the cards, then each site's payload to the other, at the same time. The
plain stream goes one way, on a connection that stands already, until the receiver has told that it has all.
Both alternate. Without namespaces the exchange is paced, and compared with bytes over rate.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from thinlink.plain import connected
from thinlink.record import bound, conditions, save, spread
from thinlink.sites import Place, thin_link

from curtail_dist.outer.exchange import Exchange, gather_messages

BOUND = 1.15
PORT = 7707
PLAN = {1e8: ((1_250_000, 15), (12_500_000, 7)), 1e9: ((12_500_000, 15), (37_000_000, 9))}
"""By rate: bytes and repetitions. 37 MB are a fragment of a d20 in eight, int4."""


class Plain:
    """One TCP connection between two sites."""

    def __init__(self, place: Place) -> None:
        """Connect rank 0 to rank 1."""
        self._socket = connected(place, PORT)

    def send(self, payload: bytes) -> None:
        """Send all and wait until the other has it."""
        self._socket.sendall(payload)
        self._socket.recv(1)

    def receive(self, buffer: bytearray) -> None:
        """Fill a buffer and say so."""
        view, got = memoryview(buffer), 0
        while got < len(buffer):
            count = self._socket.recv_into(view[got:])
            if not count:
                raise ConnectionError("the other site is gone")
            got += count
        self._socket.sendall(b"!")


def site(place: Place, size: int, repetitions: int) -> list[tuple[float, float]]:
    """Return seconds of (exchange, plain stream), alternating; the first is a warm-up and left out."""
    torch.set_num_threads(1)
    store, exchange = place.serve(), place.form("timed")
    plain = Plain(place)
    payload, buffer = torch.randint(0, 256, (size,), dtype=torch.uint8), bytearray(size)
    found: list[tuple[float, float]] = []
    for _ in range(repetitions + 1):
        together(exchange)
        began = time.monotonic()
        gather_messages(exchange, b"card")
        exchange.gather(payload, [size] * place.size)
        exchanged = time.monotonic() - began
        together(exchange)
        began = time.monotonic()
        if place.rank == 0:
            plain.send(bytes(buffer))
        else:
            plain.receive(buffer)
        found.append((exchanged, time.monotonic() - began))
    del store
    return found[1:]


def together(exchange: Exchange) -> None:
    """Return at about the same time at all sites."""
    exchange.gather(torch.zeros(1, dtype=torch.uint8), [1] * exchange.size)


def measure(rate: float, size: int, repetitions: int) -> dict[str, Any]:
    """Return the times of both, and their ratio."""
    with thin_link(2, rate) as sites:
        link = sites.link
        rows = sites.play(site, size, repetitions)
    exchange = [max(one[0] for one in pair) for pair in zip(*rows, strict=True)]
    plain = [one[1] for one in rows[0]] if "shaped" not in link["kind"] else [size * 8 / rate] * repetitions
    ratios = [one / other for one, other in zip(exchange, plain, strict=True)]
    return {
        "link": link,
        "bytes": size,
        "line_s": size * 8 / rate,
        "exchange_s": spread(exchange),
        "plain_tcp_s": spread(plain),
        "ratio_of_medians": statistics.median(exchange) / statistics.median(plain),
        "ratio": spread(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_exchange.json"))
    args = parser.parse_args()
    before, cases, must = conditions(), [], {}
    for rate, plan in PLAN.items():
        for size, repetitions in plan:
            case = measure(rate, size, repetitions)
            ratio = case["ratio_of_medians"]
            print(f"{rate / 1e6:.0f} Mbit/s, {size} bytes: {ratio:.3f}", flush=True)
            must[f"{rate / 1e6:.0f} Mbit/s, {size / 1e6:.2f} MB"] = bound(ratio, BOUND)
            cases.append(case)
    save(args.out, {"must": must, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
