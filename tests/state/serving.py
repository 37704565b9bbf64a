"""A version that is served in small chunks, its joiner, and a peer that is no server."""

import socket
import threading
from contextlib import contextmanager

import torch

from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import pull
from curtail_dist.state.version import Version

CHUNK = 4096
VERSION = Version(
    number=4,
    tensors={
        "parameter/w": torch.arange(5000.0),
        "parameter/none": torch.empty(0, 7),
        "parameter/scalar": torch.tensor(2.5),
        "parameter/strided": torch.arange(3000.0).view(50, 60).t(),
        "outer/w/momentum_buffer": torch.ones(5000, dtype=torch.bfloat16),
        "outer/w/steps": torch.arange(333),
    },
)
CHUNKS = -(-VERSION.size_bytes // CHUNK)


def fetch(*peers, **changes):
    """Pull VERSION, or what `changes` say, from servers, relays or addresses."""
    wanted = {"run": "r", "wire": PlainWire(), "number": 4, "hash": VERSION.hash, "timeout": 10.0}
    return pull([one if isinstance(one, tuple) else one.peer for one in peers], **{**wanted, **changes})


@contextmanager
def a_peer_that_says(answer):
    """Give the address of one that answers the first request with these bytes, and goes."""
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def say():
            connection, _ = odd.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        yield odd.getsockname()
        thread.join(timeout=10)
