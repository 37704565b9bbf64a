"""The agents of several sites in one process: a thread for each, one pair of ears for signals.

Each agent is what it would be in a process of its own. What fails at one of them ends that one alone.
"""

import logging
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from curtail_dist.errors import CurtailError
from curtail_dist.membership.agent.controller import COMPLETE, INTERRUPTED, Agent
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

FAILED = 1
_LOOK_S: Seconds = 0.2

RunAgent = Callable[[str, Callable[[Agent], None]], int]
"""Runs the agent of a site: hands it over once it is made, and returns its exit code."""


class Crew:
    """Several sites' agents. `run` may be called once; no thread of it is left when that returns."""

    def __init__(
        self, sites: Sequence[str], run_agent: RunAgent, *, tell: Callable[[str, Exception], int]
    ) -> None:
        """Prepare. `tell` tells people of a site whose agent failed, and returns its exit code."""
        self._run_agent = run_agent
        self._tell = tell
        self._lock = threading.Lock()
        self._agents: list[Agent] = []
        self._told = 0
        """How often they were told to stop."""
        self._codes: dict[str, int] = {}
        self._threads = [
            threading.Thread(target=self._attend, args=(site,), name=f"agent-{site}", daemon=True)
            for site in sites
        ]

    def run(self) -> Mapping[str, int]:
        """Run all agents until the last has ended; return their exit codes by site.

        From the main thread SIGTERM and Ctrl-C reach every agent, as they would one alone.
        """
        with self._signals():
            for thread in self._threads:
                thread.start()
            for thread in self._threads:
                while thread.is_alive():  # as long as the run lasts
                    thread.join(_LOOK_S)
        return dict(self._codes)

    def interrupt(self) -> None:
        """Do what a signal does, from any thread: once to drain and end, twice to end at once."""
        with self._lock:
            self._told += 1
            agents = list(self._agents)
        for agent in agents:
            agent.interrupt()

    def _attend(self, site: str) -> None:
        try:
            code = self._run_agent(site, self._take)
        except CurtailError as error:
            code = self._tell(site, error)
        except Exception as error:
            log.exception("the agent of site %s failed", site)
            code = self._tell(site, error)
        self._codes[site] = code

    def _take(self, agent: Agent) -> None:
        """Take an agent over that is about to run, and tell it what it has missed."""
        with self._lock:
            self._agents.append(agent)
            missed = self._told
        for _ in range(missed):
            agent.interrupt()

    @contextmanager
    def _signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A handler runs anywhere in the main thread, which may hold a lock there: it only wakes a thread.
        heard, closing = threading.Semaphore(0), threading.Event()

        def handle(number: int, frame: FrameType | None) -> None:
            heard.release()

        def pass_on() -> None:
            while not closing.is_set():
                if heard.acquire(timeout=_LOOK_S):
                    self.interrupt()

        ears = threading.Thread(target=pass_on, name="signals", daemon=True)
        ears.start()
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            closing.set()
            ears.join()


def worst(codes: Mapping[str, int]) -> int:
    """Return the exit code of a process whose agents ended with these: a failure, else an interruption."""
    failures = [code for code in codes.values() if code not in (COMPLETE, INTERRUPTED)]
    return max(failures, default=INTERRUPTED if INTERRUPTED in codes.values() else COMPLETE)
