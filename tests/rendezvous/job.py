"""An elastic job of real torchruns, one a node, whose ranks say what they are told and do as they are bid."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import RendezvousBackend

DEADLINE_S = 150.0
"""Longer than any step takes on a busy machine, where importing torch alone may take half a minute."""
CONF = {
    "join_timeout": "120",
    "last_call_timeout": "6",
    "keep_alive_interval": "1",
    "keep_alive_max_attempt": "5",
}
"""What nodes and test alike say of the rendezvous. A node is dead after five seconds. Nodes that have come in
wait six for further ones: where they come further apart than that, they form without each other, in turn."""

# Ranks that import no torch start at once. A rank ends when all are told to, and fails when its node is.
RANK = """
import json, os, sys, time
out, node = sys.argv[1:]
told = {name: int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")}
path = os.path.join(out, f"{node}.{os.getpid()}")
with open(path + ".new", "w") as file:
    json.dump(told, file)
os.rename(path + ".new", path + ".json")
deadline = time.monotonic() + 300
while not os.path.exists(os.path.join(out, "end")):
    try:
        os.unlink(os.path.join(out, f"{node}.fail"))
        sys.exit(1)
    except FileNotFoundError:
        if time.monotonic() > deadline:
            sys.exit("the test has forgotten this rank")
        time.sleep(0.05)
"""

T = TypeVar("T")


def parameters(backend: str, endpoint: str, run_id: str, **conf: str) -> RendezvousParameters:
    """What a node of the job says of its rendezvous."""
    return RendezvousParameters(
        backend=backend, endpoint=endpoint, run_id=run_id, min_nodes=1, max_nodes=3, **{**CONF, **conf}
    )


@dataclass(frozen=True)
class Seat:
    """Where a rank stands, as torchrun told it."""

    rank: int
    world: int
    pid: int


class Job:
    """Torchruns with `--nnodes 1:3` in one rendezvous. Owns them and their ranks: `close` leaves none."""

    def __init__(
        self,
        folder: Path,
        state: RendezvousBackend,
        given: RendezvousParameters,
        variables: Mapping[str, str],
    ) -> None:
        """Start none yet; `state` is the rendezvous' own record, as torch keeps it."""
        self._variables = variables
        self.folder = folder
        self._state = state
        self._words = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1:3", "--nproc-per-node", "1"),
            *("--rdzv-backend", given.backend, "--rdzv-endpoint", given.endpoint, "--rdzv-id", given.run_id),
            *("--rdzv-conf", ",".join(f"{name}={value}" for name, value in given.config.items())),
            *("--max-restarts", "5", "--monitor-interval", "0.1", "--local-addr", "127.0.0.1"),
        ]
        (folder / "rank.py").write_text(RANK)
        self.out = folder / "out"
        self.out.mkdir()
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: str) -> None:
        """Start a node's torchrun."""
        with (self.folder / f"{node}.log").open("wb") as log:
            self.nodes[node] = subprocess.Popen(
                [*self._words, str(self.folder / "rank.py"), str(self.out), node],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "LOGLEVEL": "WARNING", **self._variables},
            )

    def kill(self, node: str) -> None:
        """End a node as a lost machine does: its torchrun and its ranks at once, without a word."""
        agent = psutil.Process(self.nodes[node].pid)
        everybody = [agent, *agent.children(recursive=True)]
        for process in everybody:
            process.kill()
        self.nodes.pop(node).wait()
        psutil.wait_procs(everybody, timeout=DEADLINE_S)

    def fail(self, node: str) -> None:
        """Have a node's rank fail, as those of survivors do when a peer is gone."""
        (self.out / f"{node}.fail").touch()

    def end(self) -> dict[str, int]:
        """Have all ranks end; return the exit codes of the torchruns."""
        (self.out / "end").touch()
        return {node: agent.wait(DEADLINE_S) for node, agent in self.nodes.items()}

    def close(self) -> None:
        """Kill what is left."""
        (self.out / "end").touch()
        for node in list(self.nodes):
            if self.nodes[node].poll() is None:
                self.kill(node)

    def seats(self) -> dict[str, Seat]:
        """Return where each node's living rank stands."""
        found: dict[str, Seat] = {}
        for path in self.out.glob("*.json"):
            node, pid, _ = path.name.split(".")
            if psutil.pid_exists(int(pid)):
                told = json.loads(path.read_text())
                found[node] = Seat(rank=told["RANK"], world=told["WORLD_SIZE"], pid=int(pid))
        return found

    def until_world(self, *nodes: str) -> dict[str, Seat]:
        """Wait until just these nodes' ranks run, as one world; return their seats."""

        def look() -> dict[str, Seat] | None:
            seats = self.seats()
            whole = set(seats) == set(nodes) and all(seat.world == len(nodes) for seat in seats.values())
            return (
                seats
                if whole and sorted(seat.rank for seat in seats.values()) == [*range(len(nodes))]
                else None
            )

        return self.until(look, f"a world of {', '.join(nodes)}")

    def record(self) -> Any:
        """The rendezvous' state object, torch's own."""
        found = self._state.get_state()
        return pickle.loads(found[0]) if found else None

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Return the first result of `look` that is true; a torchrun that ended is shown instead."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := look()):
            ended = [node for node, agent in self.nodes.items() if agent.poll() is not None]
            assert not ended, "\n".join((self.folder / f"{node}.log").read_text() for node in ended)
            assert time.monotonic() < deadline, f"{what} did not come; there is {self.seats()}"
            time.sleep(0.05)
        return found
