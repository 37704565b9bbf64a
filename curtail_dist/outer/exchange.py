"""How members of a group give each other bytes: the seam between the outer step and the network."""

import threading
from collections.abc import Sequence
from typing import Protocol

import torch

from curtail_dist.errors import PeerLost
from curtail_dist.units import Seconds


class Exchange(Protocol):
    """A fixed group of ranks 0..size-1. Every rank calls the same operations in the same order."""

    @property
    def rank(self) -> int:
        """This member's place in the group."""
        ...

    @property
    def size(self) -> int:
        """Number of members."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes this member handed to the network so far."""
        ...

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Give `payload` to all and return everyone's, in rank order.

        Args:
            payload: uint8, CPU, of sizes[rank] bytes. It must not change before this returns or raises.
            sizes: Bytes of each rank's payload, the same list at every rank; a size of 0 sends nothing.

        Raises:
            PeerLost: a member did not take part; the group is of no further use.
        """
        ...

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Give each rank its part and return what each gave to this one, in rank order.

        Args:
            parts: uint8, CPU, one for each rank; none if this rank gives nothing. They must not change before
                this returns or raises.
            sizes: Bytes of the part for each rank, whoever gives it: the same list at every rank.
            giving: Whether each rank gives anything: the same list at every rank.

        Raises:
            PeerLost: a member did not take part; the group is of no further use.
        """
        ...

    def close(self) -> None:
        """Leave the group; idempotent, never blocks."""
        ...


MESSAGE_BYTES = 1 << 24
"""Longest message: far more than any card, far less than would fill a memory."""


def gather_messages(exchange: Exchange, message: bytes) -> list[bytes]:
    """Gather one small message of any size from each rank. Raises PeerLost."""
    size = torch.tensor([len(message)], dtype=torch.int64, device="cpu").view(torch.uint8)
    sizes = [int(part.view(torch.int64)) for part in exchange.gather(size, [8] * exchange.size)]
    for rank, announced in enumerate(sizes):
        if not 0 <= announced <= MESSAGE_BYTES:
            raise PeerLost(f"rank {rank} announces {announced} bytes; a message may have {MESSAGE_BYTES}")
    payload = (
        torch.frombuffer(bytearray(message), dtype=torch.uint8)
        if message
        else torch.empty(0, dtype=torch.uint8, device="cpu")
    )
    return [bytes(part.numpy()) for part in exchange.gather(payload, sizes)]


def room_for(payload: torch.Tensor, sizes: Sequence[int], rank: int) -> list[torch.Tensor]:
    """Return what to gather into, in rank order: this rank's own payload, and room for each other one.

    Raises ValueError unless the payload is as long as was announced.
    """
    check_size(payload, sizes, rank)
    return [
        payload.contiguous() if other == rank else torch.empty(size, dtype=torch.uint8, device="cpu")
        for other, size in enumerate(sizes)
    ]


def check_size(payload: torch.Tensor, sizes: Sequence[int], rank: int) -> None:
    """Raise ValueError unless a rank's payload is as long as was announced."""
    if payload.numel() != sizes[rank]:
        raise ValueError(f"rank {rank} gives {payload.numel()} bytes; it announced {sizes[rank]}")


def check_parts(parts: Sequence[torch.Tensor], sizes: Sequence[int], gives: bool) -> None:
    """Raise ValueError unless parts to scatter are as was announced."""
    found = [part.numel() for part in parts]
    if found != (list(sizes) if gives else []):
        raise ValueError(f"parts have {found} bytes; {list(sizes) if gives else 'none'} were announced")


class Alone:
    """The group of one."""

    rank = 0
    size = 1
    bytes_sent = 0

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Return what was given."""
        del sizes
        return [payload]

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Return what was given."""
        del sizes, giving
        return list(parts)

    def close(self) -> None:
        """Nothing to leave."""


class _Table:
    """What the members of an in-process group share: what each has given to each operation."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.given: dict[int, dict[int, list[torch.Tensor]]] = {}
        """By operation, then by rank."""
        self.left: set[int] = set()
        self.changed = threading.Condition()


class InProcess:
    """A member of a group of threads in one process, for research and tests. Make a group with `group`."""

    def __init__(self, table: _Table, rank: int, timeout: Seconds) -> None:
        """Use `group`."""
        self.rank = rank
        self.size = table.size
        self.bytes_sent = 0
        self._table = table
        self._timeout = timeout
        self._operations = 0

    @classmethod
    def group(cls, size: int, *, timeout: Seconds = 60.0) -> list["InProcess"]:
        """Return the members of a new group, one for each thread; an operation waits at most `timeout`."""
        table = _Table(size)
        return [cls(table, rank, timeout) for rank in range(size)]

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Wait for all members and return copies of their payloads."""
        check_size(payload, sizes, self.rank)
        given = self._meet([payload.clone()])
        self.bytes_sent += payload.numel() * (self.size - 1)
        return [given[rank][0].clone() for rank in range(self.size)]

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Wait for all members and return copies of what each has for this one."""
        check_parts(parts, sizes, giving[self.rank])
        given = self._meet([part.clone() for part in parts])
        self.bytes_sent += sum(part.numel() for rank, part in enumerate(parts) if rank != self.rank)
        nothing = torch.empty(0, dtype=torch.uint8, device="cpu")
        return [given[rank][self.rank].clone() if gives else nothing for rank, gives in enumerate(giving)]

    def _meet(self, mine: list[torch.Tensor]) -> dict[int, list[torch.Tensor]]:
        """Return what each member gives to this operation, once all have."""
        table, number = self._table, self._operations
        self._operations += 1
        with table.changed:
            given = table.given.setdefault(number, {})
            given[self.rank] = mine
            table.given.pop(number - 2, None)  # all have begun the one after it: nobody reads it any more
            table.changed.notify_all()
            table.changed.wait_for(
                lambda: len(given) == self.size or table.left - given.keys(), timeout=self._timeout
            )
            if len(given) < self.size:
                raise PeerLost("a member of the in-process group left or did not come in time")
        return given

    def close(self) -> None:
        """Leave; members that wait for this one get PeerLost."""
        with self._table.changed:
            self._table.left.add(self.rank)
            self._table.changed.notify_all()
