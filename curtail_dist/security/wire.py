"""How sites connect to each other: the seam between what they say and who may hear it."""

import socket
from typing import Protocol

from curtail_dist.units import Seconds


class Wire(Protocol):
    """Opens connections between the processes of one run. Thread-safe; owns nothing.

    What it returns is used by one thread at a time: a secure connection may not be read by one thread while
    another writes. Of bytes that have come it may hold some back itself, where `select` does not see them.
    """

    @property
    def secure(self) -> bool:
        """Whether the other side has proved that it belongs to the run, and nobody else can read."""
        ...

    @property
    def mark(self) -> str:
        """Equal where two processes can connect to each other by their wires; nothing to hide."""
        ...

    def connect(self, address: tuple[str, int], *, timeout: Seconds) -> socket.socket:
        """Return a connection to a process of the run; each of its operations may take `timeout` seconds.

        Raises OSError: nobody answers there, or it does not belong to the run.
        """
        ...

    def accept(self, connection: socket.socket, *, timeout: Seconds) -> socket.socket:
        """Return what an accepted connection becomes once the other side has proved that it belongs.

        The connection given is used up: closed where this raises. Real time is `timeout` seconds at most.
        Raises OSError.
        """
        ...


class PlainWire:
    """TCP as it is, for a network that is trusted."""

    secure = False
    mark = "none"

    def connect(self, address: tuple[str, int], *, timeout: Seconds) -> socket.socket:
        """Connect."""
        return socket.create_connection(address, timeout=timeout)

    def accept(self, connection: socket.socket, *, timeout: Seconds) -> socket.socket:
        """Return it."""
        connection.settimeout(timeout)
        return connection
