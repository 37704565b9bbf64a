"""An agent on the real clock whose signal and ranks do what a test says, and nothing by themselves."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from curtail_dist.clock import SystemClock
from curtail_dist.coordination import MemoryStore
from curtail_dist.energy.signals import Reading
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice
from curtail_dist.membership.provision import RanksState
from curtail_dist.membership.records import CloseRequest
from curtail_dist.testing.provisioner import ScriptedProvisioner

WAIT_S = 20.0
KEYS = Keys("day")
GREEN, DIRTY = 50.0, 300.0


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Grid:
    """A signal that says what it was set to, or raises it; it counts how often it was asked."""

    source = "hand"
    synthetic = True
    basis = "marginal"

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.value: float | Exception = GREEN
        self.asked = 0

    def latest(self) -> Reading:
        self.asked += 1
        if isinstance(self.value, Exception):
            raise self.value
        return Reading(value=self.value, measured_at=self._clock.now())

    def forecast(self, horizon: float) -> list[Reading]:
        return [self.latest()]

    def outlook(self, until: float) -> list[tuple[float, float]]:
        return [(0.0, GREEN), (until, GREEN)]

    def close(self) -> None:
        pass


class Hand:
    """An agent on the real clock whose ranks do what the test says, and nothing by themselves."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.clock = SystemClock()
        self.grid = Grid(self.clock)
        stage.provisioner = ScriptedProvisioner()

    def begin(self):
        return self.stage.pool.submit(self.stage.attend, self.grid, self.clock)

    def begin_on(self):
        running = self.begin()
        eventually(lambda: self.stage.provisioner.starts == 1)
        self.stage.be_seated()
        eventually(lambda: self.stage.at == "on")
        return running

    def notice(self) -> Notice | None:
        entry = MemoryStore.get(self.stage.store, KEYS.drain("texas"))
        return None if entry is None else Notice.decode(entry.value)

    def asks_to_close(self) -> CloseRequest | None:
        entry = MemoryStore.get(self.stage.store, KEYS.close("texas"))
        return None if entry is None else CloseRequest.decode(entry.value)

    def shown(self) -> AgentState | None:
        entry = MemoryStore.get(self.stage.store, KEYS.agent("texas"))
        return None if entry is None else AgentState.decode(entry.value)

    def shows(self, holds: Callable[[AgentState], bool]) -> bool:
        state = self.shown()
        return state is not None and holds(state)

    def polls_on(self) -> None:
        asked = self.grid.asked
        eventually(lambda: self.grid.asked > asked + 3)

    @contextmanager
    def between_turns(self) -> Generator[None]:
        """Let the agent not look at its ranks while the context is open."""
        provisioner, reached, go = self.stage.provisioner, threading.Event(), threading.Event()
        poll = provisioner.poll

        def wait() -> RanksState:
            reached.set()
            assert go.wait(WAIT_S)
            return poll()

        provisioner.poll = wait
        try:
            assert reached.wait(WAIT_S)
            yield
        finally:
            provisioner.poll = poll
            go.set()

    def stages(self) -> list[str]:
        return [record["stage"] for record in self.stage.events("stage")]
