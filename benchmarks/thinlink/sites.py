"""Runs a function at each site, every site a process, over the thinnest link that can be made here."""

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.gloo import GroupStore, form
from thinlink.network import Network, die_with_parent, enter
from thinlink.shaped import Shaped

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_SPAWN = multiprocessing.get_context("spawn")
_FORM_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a site knows of its place in the network."""

    rank: int
    size: int
    hosts: tuple[str, ...]
    rate_bit_s: float
    shaped: bool
    namespace: str | None
    _port: Any
    """Of rank 0's store, 0 until it serves: shared memory."""

    @property
    def host(self) -> str:
        """This site's address."""
        return self.hosts[self.rank]

    def serve(self) -> GroupStore | None:
        """Serve the store at which groups meet if this is rank 0, else wait for it. Keep what is returned."""
        store = GroupStore(self.host) if self.rank == 0 else None
        if store is not None:
            self._port.value = store.port
        deadline = time.monotonic() + _FORM_S
        while not self._port.value:
            if time.monotonic() > deadline:
                raise TimeoutError("rank 0 does not serve")
            time.sleep(0.01)
        return store

    def form(
        self, name: str, size: int | None = None, alive: Callable[[int], bool] = lambda rank: True
    ) -> Exchange:
        """Build a group of the first `size` sites, of all by default; `serve` has returned before."""
        group = form(
            name=name,
            rank=self.rank,
            size=self.size if size is None else size,
            host=self.host,
            meet=(self.hosts[0], self._port.value),
            timeout=_FORM_S,
            alive=alive,
        )
        return Shaped(group, self.rate_bit_s) if self.shaped else group


Program = Callable[..., Any]
"""What runs at a site: (place, *arguments) -> a result that can be pickled. A function of a module."""


class SiteFailed(RuntimeError):
    """A site's program raised, or its process ended."""


class Sites:
    """Processes of all sites on one link. Make with `thin_link`, which ends them."""

    def __init__(self, network: Network | None, size: int, rate_bit_s: float) -> None:
        """Over a network, or on loopback with a shaped exchange if that is None."""
        self.network = network
        self._size = size
        self._rate = rate_bit_s
        self._processes: list[BaseProcess] = []
        self._port: Any = None
        """Kept until the processes have opened it."""

    @property
    def link(self) -> dict[str, Any]:
        """What the link is, for a result."""
        if self.network is None:
            kind = "unlimited loopback" if self._rate == float("inf") else "shaped exchange on loopback"
            return {"kind": kind, "rate_bit_s": self._rate, "why_no_namespaces": Network.why_not()}
        return {
            "kind": "network namespaces, veth, tbf",
            "rate_bit_s": self._rate,
            "congestion_control": self.network.congestion_control(),
        }

    def sent_bytes(self) -> list[int]:
        """What each site has put on its wire so far, headers included; zeros where there is no wire."""
        return [self.network.sent_bytes(site) if self.network else 0 for site in range(self._size)]

    def start(self, program: Program, *arguments: Any) -> list[Connection]:
        """Start a program at each site; return where each sends (True, result) or (False, error)."""
        self._port = port = _SPAWN.Value("i", 0)
        hosts = tuple(
            self.network.address(site) if self.network else "127.0.0.1" for site in range(self._size)
        )
        ends: list[Connection] = []
        for rank in range(self._size):
            place = Place(
                rank=rank,
                size=self._size,
                hosts=hosts,
                rate_bit_s=self._rate,
                shaped=self.network is None and self._rate != float("inf"),
                namespace=self.network.namespace(rank) if self.network else None,
                _port=port,
            )
            mine: Connection
            mine, theirs = _SPAWN.Pipe(duplex=False)  # pyright: ignore[reportAssignmentType]
            process = _SPAWN.Process(target=_main, args=(place, theirs, program, arguments), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            ends.append(mine)
        return ends

    def play(self, program: Program, *arguments: Any, timeout: float = 600.0) -> list[Any]:
        """Run a program at each site and return their results. Raises SiteFailed, TimeoutError."""
        ends = self.start(program, *arguments)
        results: dict[int, Any] = {}
        deadline = time.monotonic() + timeout
        while len(results) < self._size:
            ready = wait(
                [end for rank, end in enumerate(ends) if rank not in results], deadline - time.monotonic()
            )
            if not ready:
                raise TimeoutError(f"sites {sorted(set(range(self._size)) - set(results))} did not end")
            for end in ready:
                assert isinstance(end, Connection)
                results[ends.index(end)] = receive(end)
        self.end()
        return [results[rank] for rank in range(self._size)]

    def kill(self, rank: int) -> None:
        """Kill the process of a site that was started last."""
        self._processes[rank - self._size].kill()

    def end(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes.clear()


def receive(end: Connection) -> Any:
    """Return what a site's program sent. Raises SiteFailed."""
    try:
        fine, value = end.recv()
    except EOFError:
        raise SiteFailed("a site's process ended without a result") from None
    if not fine:
        raise SiteFailed(value)
    return value


@contextmanager
def thin_link(
    size: int,
    rate_bit_s: float = float("inf"),
    *,
    up: Mapping[int, float] = MappingProxyType({}),
    down: Mapping[int, float] = MappingProxyType({}),
) -> Iterator[Sites]:
    """Make a link for so many sites; end what runs on it and remove it on the way out, whatever happened.

    An infinite rate is plain loopback. `up` and `down` are as in `Network`; they need one.
    """
    if rate_bit_s == float("inf") or Network.why_not() is not None:
        sites = Sites(None, size, rate_bit_s)
        try:
            yield sites
        finally:
            sites.end()
        return
    with Network(size, rate_bit_s, up=up, down=down) as network:
        sites = Sites(network, size, rate_bit_s)
        try:
            yield sites
        finally:
            sites.end()


def _main(place: Place, end: Connection, program: Program, arguments: tuple[Any, ...]) -> None:
    die_with_parent()
    if place.namespace is not None:
        enter(place.namespace)
    try:
        message = True, program(place, *arguments)
        pickle.dumps(message)
    except Exception as error:  # noqa: BLE001 - told to the process that reads it
        message = False, f"rank {place.rank}: {type(error).__name__}: {error}"
    end.send(message)
    end.close()
    os._exit(0)  # groups may be left in the middle of something: nothing here is worth waiting for
