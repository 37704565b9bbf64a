"""The same training loop wrapped by this library, and by torchft, to be measured side by side.

torchft is a dependency of the benchmark only: `uv pip install --target DIR --no-deps torchft`, then DIR on
PYTHONPATH.
"""

import os
import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Protocol

import torch
from torch._C._distributed_c10d import TCPStore

from curtail_dist.errors import PeerLost
from curtail_dist.outer.exchange import Alone
from curtail_dist.outer.nesterov import Nesterov
from curtail_dist.outer.optimizer import DiLoCo
from thinlink.model import Stack
from thinlink.plain import connected
from thinlink.sites import Place

LIGHTHOUSE_PORT = 29_510
TIE_PORT = 7708
FRAGMENTS = 8


class Wrapped(Protocol):
    """A model, its inner optimizer, and what exchanges it."""

    def step(self) -> None:
        """Say that an inner step is done; a failed exchange is dealt with as the library lets a script do."""
        ...

    @property
    def commits(self) -> int:
        """Outer steps done."""
        ...


def parts(model: Stack, fragments: int) -> list[torch.nn.Module]:
    """Divide the model into one fragment, or into as many as it has blocks, the same for both libraries."""
    if fragments == 1:
        return [model]
    blocks: list[torch.nn.Module] = list(model.blocks)
    first, last = (
        torch.nn.ModuleList([model.embedding, blocks[0]]),
        torch.nn.ModuleList([blocks[-1], model.head]),
    )
    return [first, *blocks[1:-1], last]


class Tie:
    """A connection to the other of two sites that carries nothing: it breaks when the other's process ends.

    Gloo does not notice that in the middle of every operation; a site holds such connections, too.
    """

    def __init__(self, place: Place) -> None:
        """Connect rank 0 to rank 1."""
        self._line = connected(place, TIE_PORT)

    def alive(self, rank: int) -> bool:
        """Whether the other site's process lives."""
        del rank
        if not select.select([self._line], [], [], 0)[0]:
            return True
        try:
            return bool(self._line.recv(1))
        except OSError:
            return False


class Ours:
    """This library without a site. After a lost peer the script goes on alone, from the next exchange."""

    def __init__(self, place: Place, model: Stack, codec: str, cadence: tuple[int, int, int]) -> None:
        """Exchange between the first two sites; cadence is H, fragments, delay."""
        every, fragments, delay = cadence
        self._store = place.serve()
        self._outer = DiLoCo(
            None,
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            outer=Nesterov,
            sync_every=every,
            fragments=parts(model, fragments),
            sync_delay=delay,
            exchange=place.form("ours", size=2, alive=Tie(place).alive),
            codec=codec,
        )

    def step(self) -> None:
        """Count the step."""
        try:
            self._outer.step(tokens=1)
        except PeerLost:
            self._outer.regroup(Alone())

    @property
    def commits(self) -> int:
        """The version."""
        return self._outer.version


class Torchft:
    """torchft's DiLoCo with its Manager and Gloo; the lighthouse is at the third site."""

    def __init__(self, place: Place, model: Stack, cadence: tuple[int, int, int]) -> None:
        """Meet the other site at the lighthouse; cadence is H, fragments, delay."""
        os.environ["GLOO_SOCKET_IFNAME"] = "eth0" if place.namespace else "lo"
        from torchft.local_sgd import DiLoCo as TheirDiLoCo  # pyright: ignore[reportMissingImports]
        from torchft.manager import Manager  # pyright: ignore[reportMissingImports]
        from torchft.process_group import ProcessGroupGloo  # pyright: ignore[reportMissingImports]

        every, fragments, delay = cadence
        self._store = TCPStore(place.host, 0, is_master=True, wait_for_workers=False)
        self._manager: Any = Manager(
            pg=ProcessGroupGloo(timeout=timedelta(seconds=60)),
            load_state_dict=lambda state: None,
            state_dict=lambda: {"nothing": 0},
            min_replica_size=1,
            use_async_quorum=False,
            rank=0,
            world_size=1,
            store_addr=place.host,
            store_port=self._store.port,
            lighthouse_addr=f"http://{place.hosts[2]}:{LIGHTHOUSE_PORT}",
            replica_id=f"site{place.rank}",
            hostname=place.host,
            init_sync=False,
        )
        self._inner = torch.optim.SGD(model.parameters(), lr=0.1)
        outer = [
            torch.optim.SGD(one.parameters(), lr=0.7, momentum=0.9, nesterov=True)
            for one in parts(model, fragments)
        ]
        self._stack = ExitStack()
        self._stack.enter_context(
            TheirDiLoCo(
                self._manager,
                parts(model, fragments),
                self._inner,
                outer,
                sync_every=every,
                fragment_sync_delay=delay,
            )
        )

    def step(self) -> None:
        """Let its hooks count the step; parameters have no gradient, so the inner optimizer does nothing."""
        self._inner.zero_grad()
        self._inner.step()

    @property
    def commits(self) -> int:
        """Its manager's step."""
        return int(self._manager.current_step())


def lighthouse(place: Place, seconds: float) -> None:
    """Serve torchft's lighthouse for so long, with its own defaults but for the least number of sites."""
    from torchft.coordination import LighthouseServer  # pyright: ignore[reportMissingImports]

    server: Any = LighthouseServer(bind=f"0.0.0.0:{LIGHTHOUSE_PORT}", min_replicas=1, join_timeout_ms=1000)
    time.sleep(seconds)
    server.shutdown()


def wrapped(place: Place, model: Stack, how: str, cadence: Sequence[int]) -> Wrapped:
    """Return the model wrapped by `torchft`, or by this library with the codec named."""
    every, fragments, delay = cadence
    if how == "torchft":
        return Torchft(place, model, (every, fragments, delay))
    return Ours(place, model, how, (every, fragments, delay))
