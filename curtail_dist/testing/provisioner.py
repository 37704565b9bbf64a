"""Ranks that exist only by name: a provisioner whose launches its owner, a test or simulator, scripts."""

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import RanksState

STOPPED = 143
KILLED = 137


class ScriptedProvisioner:
    """Keeps what a launcher would keep of one rank. All methods may come from any thread."""

    def __init__(self, on_start: Callable[["ScriptedProvisioner"], None] | None = None) -> None:
        """Call `on_start` at each start, for the owner to play the ranks in a thread of its own."""
        self._on_start = on_start
        self._lock = threading.Lock()
        self._pids = itertools.count(1000)
        self._state = RanksState(running=False)
        self.starts = 0
        """How often ranks were started."""
        self.variables: Mapping[str, str] = {}
        """What the newest start added to the ranks' environment."""
        self.refusals: list[str] = []
        """Reasons for which the next starts fail, one each."""
        self.waits_for = ""
        """Why the ranks of the next starts wait, until `begin`; empty: they do not."""
        self.behind = False
        """Whether it is other sites that they wait for."""
        self.lingers = False
        """Whether what the next starts start stays when its ranks have left."""
        self.stubborn = False
        """Whether the ranks ignore SIGTERM."""
        self.stopping = threading.Event()
        """Set while the ranks have been told to stop or were killed."""

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start a launcher with one rank."""
        with self._lock:
            if self._state.running:
                return
            if self.refusals:
                raise ProvisionError(self.refusals.pop(0))
            self.starts += 1
            self.variables = variables or {}
            self.stopping.clear()
            pid, ranks = next(self._pids), () if self.waits_for else (next(self._pids),)
            self._state = RanksState(
                running=True,
                waiting=self.waits_for,
                behind=self.behind,
                lingers=self.lingers,
                pid=pid,
                ranks=ranks,
            )
        if self._on_start is not None:
            self._on_start(self)

    def begin(self) -> None:
        """Let ranks that wait begin."""
        with self._lock:
            ranks = (next(self._pids),)
            self._state = replace(self._state, waiting="", behind=False, ranks=ranks)

    def requeue(self, reason: str) -> None:
        """Let the ranks be gone, to begin again once what they wait for now is there."""
        with self._lock:
            self._state = replace(self._state, waiting=reason, ranks=())

    def reclaim(self, reason: str) -> None:
        """Let who owns the machine take it back: its ranks have ended in order."""
        with self._lock:
            self._state = RanksState(running=False, code=STOPPED, reclaimed=reason)

    def poll(self) -> RanksState:
        """Return the state."""
        with self._lock:
            return self._state

    def terminate(self) -> None:
        """End the ranks with the code of SIGTERM, unless they are stubborn."""
        self.stopping.set()
        if not self.stubborn:
            self.finish(STOPPED)

    def kill(self) -> None:
        """End the ranks with the code of SIGKILL."""
        self.stopping.set()
        self.finish(KILLED)

    def close(self) -> None:
        """Kill them."""
        self.kill()

    def finish(self, code: int) -> None:
        """Let the ranks and their launcher end by themselves; nothing happens where none run."""
        with self._lock:
            if self._state.running:
                self._state = RanksState(running=False, code=code)

    def lose_rank(self) -> None:
        """Let the rank die; the launcher lives."""
        with self._lock:
            self._state = RanksState(running=True, pid=self._state.pid)

    def restart_rank(self) -> None:
        """Let the launcher start another rank."""
        with self._lock:
            self._state = RanksState(running=True, pid=self._state.pid, ranks=(next(self._pids),))
