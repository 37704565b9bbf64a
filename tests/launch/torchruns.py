"""Real torchruns, as people type them: started, looked into, and killed as if a machine died."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from curtail_dist.membership.provision.processes import descendants

TESTS = Path(__file__).parent.parent
END_S = 20.0
SHORT = "keep_alive_interval=1,keep_alive_max_attempt=4"
"""torchrun then takes a node for dead after 4 s, not 15."""


def variable(pid: int, name: str) -> str | None:
    """A variable of a process's environment; None where either is not there."""
    with suppress(OSError):
        found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next(
            (one.partition(b"=")[2].decode() for one in found if one.startswith(f"{name}=".encode())), None
        )
    return None


class Torchrun:
    """One torchrun and the ranks below it."""

    def __init__(self, log: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `torchrun WORDS`; what it and its ranks write goes to `log`."""
        self.log = log
        self.may_end = {0}
        """Exit codes that the test has given it reason for."""
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("a") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": path,
                    **(environment or {}),
                },
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def ranks(self) -> dict[int, int]:
        """The processes of the ranks below it, by their rank among all of the job."""
        ranks = {pid: variable(pid, "RANK") for pid in descendants(self.pid)}
        return {int(rank): pid for pid, rank in sorted(ranks.items(), reverse=True) if rank is not None}

    def terminate(self) -> None:
        """Ask it, and so its ranks, to end; it then ends with 1, however its ranks do."""
        self.may_end.add(1)
        self._process.terminate()

    def die(self) -> float:
        """Kill all of it at once, as if its machine had gone; return the moment (UTC, seconds)."""
        self.may_end.add(-signal.SIGKILL)
        if self.code is None:
            for pid in (self.pid, *descendants(self.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(END_S)
        return time.time()


class Torchruns:
    """Owns the torchruns of one test: when it closes none is left, nor any rank."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._started: list[Torchrun] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *words: str, environment: Mapping[str, str] | None = None) -> Torchrun:
        """Start one; its log is a file of its own."""
        log = self._folder / f"torchrun-{len(self._started)}.log"
        self._started.append(Torchrun(log, *words, environment=environment))
        self._stack.callback(self._started[-1].die)
        return self._started[-1]

    def check(self) -> None:
        """Fail if one has ended by itself other than in order."""
        for one in self._started:
            ended = one.code is not None and one.code not in one.may_end
            assert not ended, f"torchrun ended with {one.code}:\n{one.said[-4000:]}"


def etcd_words(endpoint: str, name: str, *, nodes: str, ranks: int, conf: str = SHORT) -> list[str]:
    """What torchrun is told of a job and of its part of it, besides the program."""
    return [
        *("--nnodes", nodes, "--nproc-per-node", str(ranks), "--monitor-interval", "0.1"),
        *("--rdzv-backend", "etcd", "--rdzv-endpoint", endpoint, "--rdzv-id", name),
        *("--rdzv-conf", conf, "--local-addr", "127.0.0.1"),
    ]
