"""Measures what the run's secret costs: pulling a version, and opening a connection, plain and secure.

    python benchmarks/bench_security.py [--out benchmarks/results/security.json]

A process serves a version on loopback, another pulls it, by the plain wire and by the secure one in turn. The
puller hashes what comes, as always; the server has hashed it before, as it has for every joiner but one. The
first pull of each kind is left out. A probe opens a connection, asks one question and closes it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from thinlink.record import conditions, save, spread

from curtail_dist.security import PlainWire, RunSecret, Wire
from curtail_dist.security.secret_wire import SecretWire
from curtail_dist.state.knock import probe
from curtail_dist.state.transfer import StateServer, pull
from curtail_dist.state.version import Version

RUN = "bench"
SECRET = RunSecret(b"only a benchmark's, known to all")
TIMEOUT_S = 60.0
PROBES = 20
"""Probes for each pull."""


def version(megabytes: int) -> Version:
    """Return a version of that size, in tensors of 8 MB: the same in both processes."""
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"parameter/{number:04}": torch.rand(2_000_000, generator=generator)
        for number in range(max(1, megabytes // 8))
    }
    return Version(number=1, tensors=tensors)


def wires() -> dict[str, Wire]:
    return {"plain": PlainWire(), "secure": SecretWire(SECRET, RUN)}


def serve(megabytes: int) -> None:
    """Serve by both wires until the other process closes the pipe."""
    held = version(megabytes)
    servers = [
        StateServer(run=RUN, host="127.0.0.1", wire=wire, current=lambda: held) for wire in wires().values()
    ]
    print(*(server.port for server in servers), held.hash, flush=True)
    sys.stdin.read()
    for server in servers:
        server.close()


def measure(megabytes: int, repetitions: int) -> list[dict[str, Any]]:
    """Return the figures of each wire."""
    command = [sys.executable, __file__, "--serve", "--megabytes", str(megabytes)]
    pulls: dict[str, list[float]] = {name: [] for name in wires()}
    probes: dict[str, list[float]] = {name: [] for name in wires()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        *ports, hash = process.stdout.readline().split()
        try:
            for _ in range(repetitions + 1):
                for (name, wire), port in zip(wires().items(), map(int, ports), strict=True):
                    began = time.monotonic()
                    peers = [("127.0.0.1", port)]
                    got = pull(peers, run=RUN, wire=wire, number=1, hash=hash, timeout=TIMEOUT_S)
                    pulls[name].append(got.size_bytes / 1e6 / (time.monotonic() - began))
                    for _ in range(PROBES):
                        began = time.monotonic()
                        assert probe("127.0.0.1", port, run=RUN, wire=wire, timeout=TIMEOUT_S)
                        probes[name].append(1e3 * (time.monotonic() - began))
        finally:
            process.communicate()
    return [
        {"wire": name, "pull_MB_s": spread(pulls[name][1:]), "probe_ms": spread(probes[name][PROBES:])}
        for name in pulls
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/security.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.serve:
        serve(args.megabytes)
        return
    before = conditions()
    cases = measure(args.megabytes, args.repetitions)
    for case in cases:
        print(f"{case['wire']}: {case['pull_MB_s']['median']:.0f} MB/s, {case['probe_ms']['median']:.1f} ms")
    save(args.out, {"run": {"megabytes": args.megabytes}, "cases": cases}, before=before)


if __name__ == "__main__":
    main()
