"""A process that does job after job, and another in its place when a job has taken it along.

A kernel that writes where it must not takes the device away from its process, and one that waits for ever
never gives it back. Either costs the job that it was, not those that come after.
"""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, Self, TypeVar

from gpu_kernels.failures import FAILURES, failure

START_S = 120.0
"""What a process may need until it can take jobs."""
END_S = 10.0
"""What it may need to end once it is killed."""

R = TypeVar("R")
Call = Callable[[], object]


class Undone(NamedTuple):
    """What stands in place of a job's result."""

    why: str


class Child:
    """Owns one process at most, from a job on until it is closed.

    Args:
        setup: What each process does first, if anything. Like jobs and their results it is pickled.
        check: Asked after each job, if given; raises one of FAILURES where its process can do no more.
    """

    def __init__(self, setup: Call | None = None, check: Call | None = None) -> None:
        self._setup = setup
        self._check = check
        self._running: tuple[SpawnProcess, Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def do(self, job: Callable[[], R], limit_s: float) -> R | Undone:
        """What the job gives, or why it gives nothing: it failed, or took the process along.

        Args:
            job: Called in the process, without arguments.
            limit_s: After that it is given up, and its process with it.

        Raises:
            RuntimeError: A process does not start.
        """
        process, jobs = self._running = self._running or self._start()
        try:
            jobs.send(job)
            if not jobs.poll(limit_s):
                self.close()
                return Undone(f"was given up after {limit_s:.0f} s")
            result, is_fit = jobs.recv()
        except (EOFError, OSError):
            process.join(END_S)
            self.close()
            return Undone(f"ended its process, with exit code {process.exitcode}")
        if not is_fit:
            self.close()
        return result

    def close(self) -> None:
        """End the process, if there is one, whatever it does."""
        if self._running is None:
            return
        process, jobs = self._running
        self._running = None
        process.kill()
        process.join(END_S)
        jobs.close()

    def _start(self) -> tuple[SpawnProcess, Connection]:
        context = get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._setup, self._check), daemon=True)
        process.start()
        theirs.close()
        try:
            if mine.poll(START_S):
                mine.recv()
                return process, mine
        except EOFError:
            process.join(END_S)
        code = process.exitcode
        process.kill()
        raise RuntimeError(
            f"the process that measures does not start, its exit code is {code}: see above why"
        )


def _work(jobs: Connection, setup: Call | None, check: Call | None) -> None:
    if setup is not None:
        setup()
    jobs.send("ready")
    is_fit = True
    while is_fit:
        try:
            job: Callable[[], Any] = jobs.recv()
        except EOFError:  # nobody is there any more
            return
        try:
            result = job()
        except FAILURES as error:
            result = Undone(failure(error))
        try:
            if check is not None:
                check()
        except FAILURES as error:
            is_fit = False
            result = result if isinstance(result, Undone) else Undone(f"lost the device: {failure(error)}")
        jobs.send((result, is_fit))
