"""The exchange over Gloo: process groups built for an epoch, and left without restarting any process.

Each rank sends its payload to each other, by a scatter of equal parts: Gloo's broadcast goes through other
ranks, so that a slow link would carry what is not meant for it. Operations are polled, not waited for: a
killed peer ends them with an error at once, a hung one is noticed by `alive`. A group that failed is handed
to the reaper, since its destructor can block until its operations time out and an abandoned operation may
still write its buffer.

Gloo sends only what the receiver has asked for. On one connection a rank's request would stand in line behind
the payload that it is itself sending, so that two ranks would send one after the other and a link carry half
of what it can: what each rank gives has groups, and so connections, of its own. On a long path one connection
carries less than the link, too: what is large goes over several *lanes* at once, each a group.
"""

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import torch
from torch._C._distributed_c10d import (
    PrefixStore,
    ProcessGroupGloo,
    ScatterOptions,
    Store,
    TCPStore,
    Work,
)

from curtail_dist.errors import PeerLost
from curtail_dist.outer.exchange import check_parts, room_for
from curtail_dist.outer.lanes import spans
from curtail_dist.units import Seconds

_POLL_S = 0.0005
_POLL_MOST_S = 0.01
_POLL_SHARE = 0.02
"""Between looks at operations passes this share of the time that they have taken, within these bounds."""
_STREAMS = 4
"""At most so many ranks have connections of their own; with more some share them."""
_REAP_S = 1.0
_RETIRE_S = 5.0


class GroupStore:
    """A TCPStore this site serves for as long as it lives; groups in which it comes first meet there."""

    def __init__(self, host: str) -> None:
        """Serve on a free port of `host`."""
        self._store = TCPStore(
            host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10), use_libuv=True
        )

    @property
    def port(self) -> int:
        """Port it serves on."""
        return self._store.port


class GlooExchange:
    """A member of an epoch's group. Owned by the round; closed when the epoch ends."""

    def __init__(
        self, groups: Sequence[Any], *, lanes: int, timeout: Seconds, alive: Callable[[int], bool]
    ) -> None:
        """Use `form`. The groups have the same members; each `lanes` of them are those of a stream."""
        self._groups = tuple(groups)
        self._lanes = lanes
        self._timeout = timeout
        self._alive = alive
        self.rank = groups[0].rank()
        self.size = groups[0].size()
        self.bytes_sent = 0

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Send from each rank that has something; raises PeerLost for the first that fails."""
        buffers = room_for(payload, sizes, self.rank)
        self._carry_out([buffers[self.rank]] * self.size, buffers)
        self.bytes_sent += payload.numel() * (self.size - 1)
        return buffers

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Scatter from each rank that gives; raises PeerLost for the first that fails."""
        check_parts(parts, sizes, giving[self.rank])
        most = max(sizes)  # Gloo scatters equal parts only
        mine = [torch.nn.functional.pad(part, (0, most - part.numel())) for part in parts]
        buffers = [torch.empty(most if gives else 0, dtype=torch.uint8, device="cpu") for gives in giving]
        self._carry_out(mine, buffers)
        if giving[self.rank]:
            self.bytes_sent += most * (self.size - 1)
        return [buffer[: sizes[self.rank]] if buffer.numel() else buffer for buffer in buffers]

    def _carry_out(self, given: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor]) -> None:
        """Give each rank its part, of equal size, and fill the buffer of each that gives. Raises PeerLost."""
        pending: list[Work] = []
        streams = len(self._groups) // self._lanes
        try:
            for rank, buffer in enumerate(buffers):
                first = rank % streams * self._lanes
                for lane, span in enumerate(spans(buffer.numel(), self._lanes)):
                    options = ScatterOptions()
                    options.rootRank = rank
                    parts = [[part[span] for part in given]] if rank == self.rank else []
                    group = self._groups[first + lane]
                    pending.append(group.scatter([buffer[span]], parts, options))
            self._finish(pending)
        except (RuntimeError, PeerLost) as error:
            _REAPER.hold(self._groups, given, buffers, pending, seconds=self._timeout)
            if isinstance(error, PeerLost):
                raise
            raise PeerLost(f"a connection of the group failed: {_first_line(error)}") from error

    def _finish(self, pending: Sequence[Work]) -> None:
        """Wait for all operations at once: one that failed tells of a dead peer while others still hang."""
        began = time.monotonic()
        left = list(pending)
        while True:
            for work in [one for one in left if one.is_completed()]:
                work.wait()
                left.remove(work)
            if not left:
                return
            gone = next((rank for rank in range(self.size) if not self._alive(rank)), None)
            if gone is not None:
                raise PeerLost(f"rank {gone} has ended, or holds no lease any more")
            waited = time.monotonic() - began
            if waited > self._timeout:
                raise PeerLost(f"an operation took more than {self._timeout} s")
            time.sleep(min(max(_POLL_S, waited * _POLL_SHARE), _POLL_MOST_S))

    def close(self) -> None:
        """Hand the groups to the reaper; idempotent, never blocks."""
        _REAPER.hold(self._groups, seconds=0.0)


def form(  # noqa: PLR0913 - what a group is made of
    *,
    name: str,
    rank: int,
    size: int,
    host: str,
    meet: tuple[str, int],
    timeout: Seconds,
    alive: Callable[[int], bool],
    lanes: int = 1,
) -> GlooExchange:
    """Build the groups of `name` with the other members, who call this too. Raises PeerLost.

    Args:
        name: The same at all members and never used twice in a run.
        rank: This member's place.
        size: Number of members.
        host: Address this member listens on.
        meet: Host and port of rank 0's GroupStore.
        timeout: Real time until a member that has not come counts as lost.
        alive: Says of a rank whether its lease lives.
        lanes: Connections to each other member that a large payload is divided among; the same at all.
    """
    limit = timedelta(seconds=timeout)
    try:
        store = TCPStore(*meet, is_master=False, wait_for_workers=False, timeout=limit, use_libuv=True)
        place = PrefixStore(name, store)
        _wait_for_all(place, name, rank=rank, size=size, timeout=timeout, alive=alive)
        gloo = cast("Any", ProcessGroupGloo)  # torch's stubs lack its options and its collectives
        streams = min(size, _STREAMS)
        options = gloo._Options()
        options._devices = [ProcessGroupGloo.create_device(hostname=host)]
        options._timeout = limit
        options._threads = -(-size // streams)  # one an operation: one in a queue would notice no dead peer
        groups = [
            gloo(PrefixStore(f"gloo{number}", place), rank, size, options)
            for number in range(streams * lanes)
        ]
        return GlooExchange(groups, lanes=lanes, timeout=timeout, alive=alive)
    except RuntimeError as error:
        raise PeerLost(f"group {name} could not be formed: {_first_line(error)}") from error


def _wait_for_all(
    store: Store, name: str, *, rank: int, size: int, timeout: Seconds, alive: Callable[[int], bool]
) -> None:
    """Return once every rank has come; Gloo's own meeting then takes no time and cannot hang."""
    deadline = time.monotonic() + timeout
    store.set(f"here/{rank}", "1")
    missing = set(range(size)) - {rank}
    while missing := {other for other in missing if not store.check([f"here/{other}"])}:
        gone = next((other for other in missing if not alive(other)), None)
        if gone is not None:
            raise PeerLost(f"rank {gone} lost its lease before it came to group {name}")
        if time.monotonic() > deadline:
            raise PeerLost(f"ranks {sorted(missing)} did not come to group {name} within {timeout} s")
        time.sleep(0.002)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


class _Reaper:
    """Lets go of dead groups in a thread of its own, where a blocking destructor harms nobody.

    A destructor that is still at work while the interpreter ends would abort the process: at exit the one at
    work is waited for, and the groups held then are left to the operating system.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dropping = threading.Lock()
        self._held: list[tuple[float, tuple[object, ...]]] = []
        self._thread: threading.Thread | None = None

    def hold(self, *things: object, seconds: Seconds) -> None:
        """Keep `things` until their operations have timed out, in `seconds`; never blocks."""
        with self._lock:
            self._held.append((time.monotonic() + seconds, things))
            if self._thread is None:
                atexit.register(self._retire)
                self._thread = threading.Thread(target=self._run, name="group-reaper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_REAP_S)  # the caller's own references go first
            with self._dropping:
                due = self._take(time.monotonic() - _REAP_S)
                due.clear()

    def _take(self, before: float) -> list[tuple[float, tuple[object, ...]]]:
        with self._lock:
            due = [item for item in self._held if item[0] <= before]
            self._held = [item for item in self._held if item[0] > before]
        return due

    def _retire(self) -> None:
        """Let no destructor begin any more: the lock is kept."""
        self._dropping.acquire(timeout=_RETIRE_S)


_REAPER = _Reaper()
