"""Prints three byte counts: a state, what serving it adds to the peak of memory, what pulling it adds.

The server is the parent, the joiner a forked child, so that each has a peak of its own.
"""

import os
import resource
import sys

import torch

from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer, pull
from curtail_dist.state.version import Version

MIB = 2**20


def peak():
    """Return the most memory this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    """Pull 200 MiB from this process to another."""
    port_in, port_out = os.pipe()
    done_in, done_out = os.pipe()
    child = os.fork()
    if child == 0:
        port, hash = os.read(port_in, 200).decode().split()
        before = peak()
        pull([("127.0.0.1", int(port))], run="r", wire=PlainWire(), number=1, hash=hash, timeout=20)
        os.write(done_out, str(peak() - before).encode())
        os._exit(0)
    tensors = {f"parameter/{index}": torch.full((MIB // 4 * 20,), float(index)) for index in range(10)}
    version = Version(number=1, tensors=tensors)
    hash = version.hash
    with StateServer(run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: version) as server:
        before = peak()
        os.write(port_out, f"{server.port} {hash}".encode())
        joiner = int(os.read(done_in, 100))
        os.waitpid(child, 0)
        sys.stdout.write(f"{version.size_bytes} {peak() - before} {joiner}\n")


main()
