"""The demo's machinery: a real etcd, a virtual clock, and an agent process for each site."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from curtail_dist.clock.client import VirtualClock
from curtail_dist.clock.service import ClockService
from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.units import Seconds

STOP_S: Seconds = 20.0
"""Real time an agent may take to drain its site when the demo is interrupted."""


class Stage:
    """What a run needs around it on one machine. Owns the agents it starts; all are gone after `strike`."""

    def __init__(self, etcd: EmbeddedEtcd, clock: ClockService) -> None:
        """Use `set_stage`."""
        self.etcd = etcd.endpoint
        self.clock = clock
        self._agents: dict[str, subprocess.Popen[bytes]] = {}

    def start_agents(self, run_file: Path, sites: Sequence[str], logs: Path) -> None:
        """Start each site's agent; run time stands still until the last of them has come."""
        logs.mkdir(parents=True, exist_ok=True)
        usher = VirtualClock(self.clock.endpoint, "usher", "work")
        for site in sites:
            usher.reserve(f"agent:{site}", 0.0)
        for site in sites:
            command = [sys.executable, "-m", "curtail_dist.cli.main", "site", "--unchecked"]
            command += ["--config", str(run_file), "--site", site]
            with (logs / f"{site}.agent.log").open("ab") as log:
                # A session of its own: Ctrl-C in the terminal reaches the demo alone, which stops the agents.
                self._agents[site] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        usher.close()

    def running(self) -> list[str]:
        """Return the sites whose agent runs."""
        return [site for site, agent in self._agents.items() if agent.poll() is None]

    def failed(self) -> list[str]:
        """Return the sites whose agent ended with an error."""
        return [site for site, agent in self._agents.items() if agent.poll() not in (None, 0)]

    def strike(self) -> None:
        """Stop every agent, in order if it answers in time, else by force; idempotent."""
        for site in self.running():
            self._agents[site].send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for agent in self._agents.values():
            try:
                agent.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()


@contextmanager
def set_stage() -> Iterator[Stage]:
    """Start etcd and the clock; stop them and every agent at the end, whatever happened."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with EmbeddedEtcd() as etcd, ClockService() as clock:
            stage = Stage(etcd, clock)
            try:
                yield stage
            finally:
                stage.strike()
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat a request to terminate like Ctrl-C, so that nothing is left running."""
    raise KeyboardInterrupt


def kill(pid: int) -> None:
    """Send SIGKILL to a process; one that is gone already is no error."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
