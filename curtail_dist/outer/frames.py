"""One connection between two members, on which each gives the other a frame in each operation.

    number of the operation, 8 bytes | bytes that follow, 8 bytes | the bytes

Both know beforehand which frame comes, and where to put it: one with another number or length ends the group,
and nobody can make this side keep more than it expects. Who gives nothing sends no frame.
"""

import socket
import ssl
import struct
from selectors import EVENT_READ, EVENT_WRITE

from curtail_dist.errors import PeerLost

AGAIN = 4
"""Beside the events to wait for: more may go at once, but others should have their turn."""
_HEADER = struct.Struct(">QQ")
_PIECE_BYTES = 1 << 18
"""Handed to one call of `send`. A call that TLS could not end must be made again with the same piece."""
_TURN_BYTES = 1 << 20


class Frames:
    """A connection to a member, for one thread at a time: TLS bears no reader beside a writer."""

    def __init__(self, rank: int, connection: socket.socket) -> None:
        """Take over an open connection to `rank` that never blocks."""
        self.rank = rank
        self.connection = connection
        self._due = b""
        self._header = bytearray(_HEADER.size)
        self._to_give: list[memoryview] = []
        self._to_take: list[memoryview] = []

    def begin(self, number: int, give: memoryview, take: memoryview) -> None:
        """Begin an operation: send `give`, fill `take`. Neither is touched once `go_on` is called no more."""
        self._due = _HEADER.pack(number, len(take))
        self._to_give = [memoryview(_HEADER.pack(number, len(give))), give] if give else []
        self._to_take = [memoryview(self._header), take] if take else []

    def go_on(self) -> int:
        """Send and receive as far as that goes now; return the events to wait for, 0 at the end.

        Raises PeerLost.
        """
        try:
            return self._give() | self._take()
        except OSError as error:
            raise PeerLost(f"the connection to rank {self.rank} failed: {error}") from error

    def close(self) -> None:
        """Close the connection, let go of what was to be given or taken; idempotent, never blocks."""
        self.connection.close()
        self._to_give, self._to_take = [], []

    def _give(self) -> int:
        gone = 0
        while self._to_give:
            if gone >= _TURN_BYTES:
                return EVENT_WRITE | AGAIN
            try:
                count = self.connection.send(self._to_give[0][:_PIECE_BYTES])
            except (BlockingIOError, ssl.SSLWantWriteError):
                return EVENT_WRITE
            except ssl.SSLWantReadError:
                return EVENT_READ
            gone += count
            _advance(self._to_give, count)
        return 0

    def _take(self) -> int:
        come = 0
        while self._to_take:
            if come >= _TURN_BYTES:
                return EVENT_READ | AGAIN
            try:
                count = self.connection.recv_into(self._to_take[0])
            except (BlockingIOError, ssl.SSLWantReadError):
                return EVENT_READ
            except ssl.SSLWantWriteError:
                return EVENT_WRITE
            if not count:
                raise PeerLost(f"rank {self.rank} closed its connection")
            come += count
            if _advance(self._to_take, count) and self._to_take:
                self._check()
        return 0

    def _check(self) -> None:
        if self._header != self._due:
            (number, length), (due, expected) = _HEADER.unpack(self._header), _HEADER.unpack(self._due)
            raise PeerLost(
                f"rank {self.rank} is out of step: it sent {length} bytes for operation {number}, "
                f"{expected} for operation {due} were expected"
            )


def _advance(views: list[memoryview], count: int) -> bool:
    """Leave out `count` bytes of the first view; say whether that was its end, and leave it out then."""
    if count < len(views[0]):
        views[0] = views[0][count:]
        return False
    del views[0]
    return True
