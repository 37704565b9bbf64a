"""The exchange over streams that only the run's processes can open; Gloo's connections are open to everybody.

Each pair of members has one connection for each lane, which the higher rank opens at the other's meeting.
Frames go both ways on it at the same time. Gloo needs connections of its own for what each rank gives: there
a receiver asks, and what it asks would stand in line behind its own payload. Here nobody asks: both sides
know what comes. Lanes are for long paths, on which one connection carries less than the link.

The thread that calls an operation serves all connections, whichever can go on. So no TLS connection is read
by one thread while another writes to it, which none can bear; after a failed operation nobody is left who
might still write to its buffers; and to leave a group is to close its connections. What it costs is that one
core encrypts and decrypts for all members: benchmarks/bench_outer_streams.py says how fast.
"""

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from curtail_dist.errors import PeerLost
from curtail_dist.outer.calling import HERE, Calls
from curtail_dist.outer.exchange import check_parts, room_for
from curtail_dist.outer.frames import AGAIN, Frames
from curtail_dist.outer.lanes import spans
from curtail_dist.outer.meeting import Greeting, StreamMeeting
from curtail_dist.security.wire import Wire
from curtail_dist.state.raw import raw
from curtail_dist.units import Seconds

_LOOK_S = 0.01
"""Between looks at the other members' leases and at the time."""
_FORM_LOOK_S = 0.002


class StreamExchange:
    """A member of an epoch's group. Owns its connections until it is closed or an operation fails."""

    def __init__(
        self,
        rank: int,
        lines: Mapping[int, Sequence[Frames]],
        opened: contextlib.ExitStack,
        *,
        timeout: Seconds,
        alive: Callable[[int], bool],
    ) -> None:
        """Use `form_streams`. Lines to each other rank are in the order of lanes; `opened` closes them."""
        self.rank = rank
        self.size = len(lines) + 1
        self.bytes_sent = 0
        self._lines = lines
        self._opened = opened
        self._timeout = timeout
        self._alive = alive
        self._operations = 0
        self._lock = threading.Lock()
        self._busy = False
        self._left = False

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Send to all and receive from all at once; raises PeerLost for the first that fails."""
        buffers = room_for(payload, sizes, self.rank)
        self._carry_out([buffers[self.rank]] * self.size, buffers)
        self.bytes_sent += payload.numel() * (self.size - 1)
        return buffers

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Send each its part and receive from all that give; raises PeerLost for the first that fails."""
        check_parts(parts, sizes, giving[self.rank])
        nothing = torch.empty(0, dtype=torch.uint8, device="cpu")
        mine = [part.contiguous() for part in parts] or [nothing] * self.size
        buffers = [
            mine[rank].clone()
            if rank == self.rank
            else torch.empty(sizes[self.rank] if gives else 0, dtype=torch.uint8, device="cpu")
            for rank, gives in enumerate(giving)
        ]
        self._carry_out(mine, buffers)
        self.bytes_sent += sum(part.numel() for rank, part in enumerate(mine) if rank != self.rank)
        return buffers

    def _carry_out(self, given: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]) -> None:
        """Give each rank its part and fill the buffer of each other one. Raises PeerLost."""
        with self._lock:
            if self._left:
                raise PeerLost("this member has left the group, or an operation of it failed; form another")
            assert not self._busy, "one operation at a time"
            self._busy = True
        fine = False
        try:
            self._begin(given, buffers)
            self._finish([line for lines in self._lines.values() for line in lines])
            fine = True
        finally:
            with self._lock:
                self._busy = False
                self._left = self._left or not fine
                if self._left:
                    self._opened.close()

    def _begin(self, given: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]) -> None:
        self._operations += 1
        nothing = memoryview(b"")
        for rank, lines in self._lines.items():
            give, take = raw(given[rank]), raw(buffers[rank])
            gives = [give[span] for span in spans(len(give), len(lines))]
            takes = [take[span] for span in spans(len(take), len(lines))]
            for lane, line in enumerate(lines):
                line.begin(
                    self._operations,
                    gives[lane] if lane < len(gives) else nothing,
                    takes[lane] if lane < len(takes) else nothing,
                )

    def _finish(self, lines: Sequence[Frames]) -> None:
        """Serve all lines in turn, whichever can go on, until all are done. Raises PeerLost."""
        began, looked = time.monotonic(), float("-inf")
        ready = dict.fromkeys(lines)
        with selectors.DefaultSelector() as selector:
            while True:
                again: dict[Frames, None] = {}
                for line in ready:
                    wanted = line.go_on()
                    _watch(selector, line, wanted & ~AGAIN)
                    if wanted & AGAIN:
                        again[line] = None
                if not selector.get_map():
                    return
                if time.monotonic() >= looked + _LOOK_S:
                    self._look(began)
                    looked = time.monotonic()
                events = selector.select(0.0 if again else _LOOK_S)
                ready = again | {key.data: None for key, _ in events}

    def _look(self, began: float) -> None:
        """Raise PeerLost if this operation must not go on."""
        if self._left:
            raise PeerLost("this member left the group in the middle of an operation")
        gone = next((rank for rank in range(self.size) if not self._alive(rank)), None)
        if gone is not None:
            raise PeerLost(f"rank {gone} has ended, or holds no lease any more")
        if time.monotonic() - began > self._timeout:
            raise PeerLost(f"an operation took more than {self._timeout} s")

    def close(self) -> None:
        """Close the connections, or let the operation under way do it soon; idempotent, never blocks."""
        with self._lock:
            self._left = True
            if not self._busy:
                self._opened.close()


def _watch(selector: selectors.BaseSelector, line: Frames, events: int) -> None:
    """Wait for these events of a line from now on, or for none."""
    key = selector.get_map().get(line.connection)
    if key is None:
        if events:
            selector.register(line.connection, events, line)
    elif not events:
        selector.unregister(line.connection)
    elif key.events != events:
        selector.modify(line.connection, events, line)


def form_streams(  # noqa: PLR0913 - what a group is made of
    *,
    name: str,
    rank: int,
    size: int,
    meeting: StreamMeeting,
    peers: Sequence[tuple[str, int]],
    timeout: Seconds,
    alive: Callable[[int], bool],
    wire: Wire,
    lanes: int = 1,
) -> StreamExchange:
    """Open the streams of group `name` with the other members, who call this too. Raises PeerLost.

    Args:
        name: The same at all members and never used twice in a run.
        rank: This member's place.
        size: Number of members.
        meeting: This member's own.
        peers: Host and port of each rank's meeting, in rank order.
        timeout: Real time until a member that has not come counts as lost.
        alive: Says of a rank whether its lease lives.
        wire: Opens connections to the meetings of others.
        lanes: Connections to each other member that a large payload is divided among; the same at all.
    """
    deadline = time.monotonic() + timeout
    wanted = {
        Greeting(group=name, caller=max(rank, other), called=min(rank, other), lane=lane): other
        for other in range(size)
        if other != rank
        for lane in range(lanes)
    }
    found: dict[Greeting, Frames] = {}
    with contextlib.ExitStack() as opened, Calls(wire, timeout=timeout) as calls:
        for greeting, other in wanted.items():
            if greeting.caller == rank:
                calls.call(greeting, peers[other])
        while missing := [greeting for greeting in wanted if greeting not in found]:
            come = calls.answered()
            come |= _welcomed(meeting, [one for one in missing if one.called == rank], opened)
            for greeting, connection in come.items():
                found[greeting] = Frames(wanted[greeting], connection)
                opened.callback(found[greeting].close)
            if not come:
                absent = sorted({wanted[greeting] for greeting in missing})
                gone = next((other for other in absent if not alive(other)), None)
                if gone is not None:
                    raise PeerLost(f"rank {gone} lost its lease before it came to group {name}")
                if time.monotonic() > deadline:
                    why = "".join(f"; {calls.troubles[one]}" for one in absent if one in calls.troubles)
                    raise PeerLost(f"ranks {absent} did not come to group {name} within {timeout} s{why}")
                time.sleep(_FORM_LOOK_S)
        lines: dict[int, list[Frames]] = {other: [] for other in wanted.values()}
        for greeting, other in wanted.items():
            lines[other].append(found[greeting])
        return StreamExchange(rank, lines, opened.pop_all(), timeout=timeout, alive=alive)


def _welcomed(
    meeting: StreamMeeting, awaited: Sequence[Greeting], opened: contextlib.ExitStack
) -> dict[Greeting, socket.socket]:
    """Return the connections of those that have come, and answer them; `opened` closes them."""
    found: dict[Greeting, socket.socket] = {}
    for greeting in awaited:
        arrival = meeting.take(greeting)
        if arrival is not None:
            opened.callback(arrival.close)
            if _answer(arrival.connection):
                found[greeting] = arrival.connection
    return found


def _answer(connection: socket.socket) -> bool:
    """Answer a greeting; False if the caller has given up this connection: it may call again."""
    try:
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):  # it is there and waits
        with contextlib.suppress(OSError):
            return connection.send(HERE) == len(HERE)
    except OSError:
        return False
    return False
