"""Times the exchange over streams, plain and by TLS, beside Gloo: in the same processes, in turn.

    python benchmarks/bench_outer_streams.py [--out benchmarks/results/outer_streams.json]

On loopback nothing but the processors limits an exchange: the figures are what a member needs to give 160 MB
to each other one and to take as much from it. On a thin link with both directions in use the link limits it;
there it is held against bytes over rate, once while the process does nothing else, and once while another of
its threads trains: one step is a product of small matrices, so that it often needs the interpreter's lock.
An exchange's time is that of the slowest member.
"""

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from thinlink.network import Network
from thinlink.record import bound, conditions, save, spread
from thinlink.sites import Place, thin_link

from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.meeting import StreamMeeting
from curtail_dist.outer.streams import form_streams
from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire
from curtail_dist.security.wire import PlainWire, Wire

KINDS = ("gloo", "plain streams", "TLS streams")
LOOPBACK_BYTES = 160_000_000
THIN = ((1e8, 12_500_000), (1e9, 37_000_000))
"""Rate, bytes: one second of the first link; a fragment of a d20 in eight, int4, on the second."""
HELD = 1e8
"""Rate of the link that streams must fill. Of the faster one two busy cores are the limit, of Gloo's, too."""
BOUND = 1.15
SMALL = 100
_FORM_S = 60.0


def streams(place: Place, wire: Wire, ports: Exchange, stack: contextlib.ExitStack) -> Exchange:
    """Form a group over streams; its members learn each other's ports in the group `ports`."""
    meeting = stack.enter_context(StreamMeeting(place.host, wire))
    mine = torch.tensor([meeting.port], dtype=torch.int64).view(torch.uint8)
    found = [int(one.view(torch.int64)) for one in ports.gather(mine, [8] * place.size)]
    exchange = form_streams(
        name="streams",
        rank=place.rank,
        size=place.size,
        meeting=meeting,
        peers=list(zip(place.hosts, found, strict=True)),
        timeout=_FORM_S,
        alive=lambda rank: True,
        wire=wire,
    )
    stack.callback(exchange.close)
    return exchange


class Training:
    """A thread that computes for as long as the context lasts, and counts its steps."""

    def __init__(self) -> None:
        self.steps = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="training")

    def _run(self) -> None:
        x = torch.randn(64, 64)
        while not self._over.is_set():
            torch.tanh(x @ x)
            self.steps += 1

    def __enter__(self) -> "Training":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def site(place: Place, size: int, repetitions: int, trains: bool) -> dict[str, dict[str, list[float]]]:
    """Return by kind what each exchange took; the first of each is a warm-up and left out."""
    torch.set_num_threads(1)
    payload, one = torch.randint(0, 256, (size,), dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8)
    found: dict[str, dict[str, list[float]]] = {
        kind: {"seconds": [], "cpu_s": [], "small_s": [], "steps": []} for kind in KINDS
    }
    with contextlib.ExitStack() as stack:
        store, gloo = place.serve(), place.form("gloo")
        secret = SecretWire(RunSecret(b"benchmark" * 4), "benchmark")
        groups = [gloo, *(streams(place, wire, gloo, stack) for wire in (PlainWire(), secret))]
        training = stack.enter_context(Training()) if trains else None
        for repetition in range(repetitions + 1):
            for kind, exchange in zip(KINDS, groups, strict=True):
                exchange.gather(one, [1] * place.size)
                steps, cpu, began = training.steps if training else 0, time.process_time(), time.monotonic()
                exchange.gather(payload, [size] * place.size)
                if repetition:
                    found[kind]["seconds"].append(time.monotonic() - began)
                    found[kind]["cpu_s"].append(time.process_time() - cpu)
                    found[kind]["steps"].append((training.steps if training else 0) - steps)
        for kind, exchange in zip(KINDS, groups, strict=True):
            found[kind]["small_s"] = list(small(exchange, one))
        del store
    return found


def small(exchange: Exchange, one: torch.Tensor) -> Iterator[float]:
    """Yield the seconds of exchanges of one byte."""
    for _ in range(SMALL):
        began = time.monotonic()
        exchange.gather(one, [1] * exchange.size)
        yield time.monotonic() - began


def measure(
    members: int, size: int, repetitions: int, *, rate: float = float("inf"), trains: bool = False
) -> dict[str, Any]:
    """Return the times of all kinds for one number of members on one link."""
    with thin_link(members, rate) as sites:
        link = sites.link
        rows: Sequence[Any] = sites.play(site, size, repetitions, trains)
    case: dict[str, Any] = {"members": members, "bytes": size, "link": link, "another_thread_trains": trains}
    for kind in KINDS:
        took = [row[kind] for row in rows]
        seconds = [max(each) for each in zip(*(one["seconds"] for one in took), strict=True)]
        case[kind] = {
            "exchange_s": spread(seconds),
            "cpu_s_of_a_member": spread([one for each in took for one in each["cpu_s"]]),
            "of_one_byte_s": spread(took[0]["small_s"]),
        }
        if trains:
            rates = [
                step / second
                for each in took
                for step, second in zip(each["steps"], each["seconds"], strict=True)
            ]
            case[kind]["steps_a_second"] = spread(rates)
        print(f"{members} members, {size / 1e6:.1f} MB, {rate / 1e6:.0f} Mbit/s, {kind}: ", end="")
        print(f"{statistics.median(seconds):.3f} s", flush=True)
    return case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_streams.json"))
    args = parser.parse_args()
    before = conditions()
    cases = [measure(members, LOOPBACK_BYTES, args.repetitions) for members in (2, 3)]
    must: dict[str, Any] = {}
    reason = Network.why_not()
    if reason is not None:
        print(f"links of a rate need network namespaces, none is measured: {reason}")
    for rate, size in THIN if reason is None else ():
        for trains in (False, True):
            case = measure(2, size, args.repetitions, rate=rate, trains=trains)
            cases.append(case)
            if rate != HELD:
                continue
            ratio = case["TLS streams"]["exchange_s"]["median"] / (size * 8 / rate)
            title = f"{rate / 1e6:.0f} Mbit/s{', while another thread trains' if trains else ''}"
            must[f"TLS streams, bytes over rate: {title}"] = bound(ratio, BOUND)
    save(args.out, {"must": must, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
