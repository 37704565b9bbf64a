"""A connection to each member of a group that carries nothing: when a member dies, its host closes it.

Gloo mostly notices a dead peer at once, but not in the middle of every operation; a lease takes seconds.
"""

import contextlib
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from curtail_dist.membership.records import Member
from curtail_dist.security.wire import Wire
from curtail_dist.state.knock import tie

_TIMEOUT_S = 1.0


class Tethers:
    """Holds the connections of one epoch's group until `close`. Who cannot be tied is not watched."""

    def __init__(self, members: Sequence[Member], *, run: str, wire: Wire) -> None:
        """Connect to all at once by `wire`, for a second or two at most."""

        def tied_to(one: Member) -> socket.socket | None:
            line = tie(one.host, one.state_port, run=run, wire=wire, timeout=_TIMEOUT_S)
            if line is not None:
                line.setblocking(False)  # nothing is waited for: what is not there yet says that it stands
            return line

        with ThreadPoolExecutor(max_workers=max(1, len(members)), thread_name_prefix="tether") as pool:
            tied = pool.map(tied_to, members)
            self._held = {
                member: line for member, line in zip(members, tied, strict=True) if line is not None
            }

    def broken(self, member: Member) -> bool:
        """Whether the member's process has ended."""
        line = self._held.get(member)
        if line is None:
            return False
        try:
            return not line.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Let go of all; idempotent."""
        for line in self._held.values():
            with contextlib.suppress(OSError):
                line.close()
        self._held.clear()
