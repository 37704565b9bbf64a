"""What goes over a connection between two sites' state: JSON messages with a length, and bytes in place."""

import json
import socket
import time
from typing import Any

from curtail_dist.units import Seconds

SCHEMA = 3
"""Of the requests that a state server takes."""
REQUEST_BYTES = 2**16
"""Longest request, and longest answer but for a version's layout."""
_PREFIX_BYTES = 4
_SEND_BYTES = 2**20


def send_message(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send JSON with its length before it. Raises OSError."""
    text = json.dumps(message).encode()
    connection.sendall(len(text).to_bytes(_PREFIX_BYTES, "big") + text)


def receive_message(connection: socket.socket, *, limit_bytes: int, within: Seconds) -> dict[str, Any]:
    """Return the next message.

    Raises OSError when it does not come whole within `within` seconds of real time, ValueError for what is no
    message or a longer one.
    """
    deadline = time.monotonic() + within
    prefix = bytearray(_PREFIX_BYTES)
    receive_into(connection, memoryview(prefix), deadline=deadline)
    length = int.from_bytes(prefix, "big")
    if length > limit_bytes:
        raise ValueError(f"a message of {length} bytes is announced; it may have {limit_bytes}")
    text = bytearray(length)
    receive_into(connection, memoryview(text), deadline=deadline)
    try:
        return dict(json.loads(text))
    except (RecursionError, TypeError) as error:
        raise ValueError("a message is no mapping") from error


def receive_into(connection: socket.socket, view: memoryview, *, deadline: float | None = None) -> None:
    """Fill `view` from the connection.

    Raises OSError when it ends early, is silent for its timeout, or when `deadline` (real monotonic time)
    passes before all is here.
    """
    while view:
        if deadline is not None:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
        count = connection.recv_into(view)
        if not count:
            raise ConnectionError(f"the connection ended {len(view)} bytes early")
        view = view[count:]


def send_bytes(connection: socket.socket, view: memoryview) -> None:
    """Send memory as it is. Raises OSError when the other side takes nothing for the connection's timeout."""
    for begin in range(0, len(view), _SEND_BYTES):
        connection.sendall(view[begin : begin + _SEND_BYTES])
