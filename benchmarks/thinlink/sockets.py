"""What the TCP connections of this process have sent, as the kernel counts it."""

import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

_BYTES_ACKED, _BYTES_SENT = 120, 200
"""Where `struct tcp_info` of linux/tcp.h holds tcpi_bytes_acked and, since Linux 4.19, tcpi_bytes_sent."""
_LENGTH = 256


class TcpSent(NamedTuple):
    """Bytes that connections have sent, without headers."""

    once: int
    """That the other end has acknowledged."""
    again: int
    """Retransmitted, on their way, or dropped by this host's own queue."""

    def since(self, before: "TcpSent") -> "TcpSent":
        """Return what came after `before`."""
        return TcpSent(self.once - before.once, self.again - before.again)


def tcp_sent() -> TcpSent:
    """Return what this process's open connections have sent; those to its own site do not count."""
    found = [_sent(int(entry.name)) for entry in Path("/proc/self/fd").iterdir()]
    return TcpSent(sum(one.once for one in found), sum(one.again for one in found))


def _sent(descriptor: int) -> TcpSent:
    nothing = TcpSent(0, 0)
    try:
        one = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return nothing  # no socket, or the listing's own descriptor, closed by now
    with one:
        if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
            return nothing
        try:
            if one.getpeername()[0] == one.getsockname()[0]:
                return nothing
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
        except OSError:
            return nothing  # it listens, or is not connected any more
        (once,), (sent,) = (struct.unpack_from("<Q", info, at) for at in (_BYTES_ACKED, _BYTES_SENT))
        return TcpSent(once, sent - once)
