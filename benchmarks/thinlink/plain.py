"""A plain TCP connection between the first two sites."""

import socket
import time

from thinlink.sites import Place

_PATIENCE_S = 30.0


def connected(place: Place, port: int) -> socket.socket:
    """Connect rank 0 to rank 1, which listens on `port`; return the connection. Raises OSError."""
    if place.rank == 1:
        with socket.create_server((place.hosts[1], port)) as server:
            server.settimeout(_PATIENCE_S)
            return server.accept()[0]
    deadline = time.monotonic() + _PATIENCE_S
    found: socket.socket | None = None
    while found is None:
        try:
            found = socket.create_connection((place.hosts[1], port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    return found
