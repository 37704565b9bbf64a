"""Many pieces of work by a few threads, which end when the caller does."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from nanochat.download.halt import Halt

J = TypeVar("J")
R = TypeVar("R")

LOOK_S = 0.2
"""How often the caller looks how it goes."""
JOIN_S = 0.5
"""How long threads are waited for that were told to end."""


def in_parallel(
    jobs: Sequence[J],
    work: Callable[[J], R],
    *,
    workers: int,
    halt: Halt,
    done: Callable[[J, R], None],
    look: Callable[[], None],
) -> None:
    """Do all jobs, begun in order; the first error calls off the others and is raised.

    Args:
        jobs: What is to be done.
        work: Does one, in a thread of its own; it must heed `halt`.
        workers: At most so many threads.
        halt: Called off when this returns, however it does, Ctrl-C included.
        done: Called with a job and its result, in the caller's thread, as they come.
        look: Called in the caller's thread, several times a second.
    """
    results: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    waiting = deque(jobs)

    def until_none_waits() -> None:
        try:
            for job in _taken(waiting):
                halt.check()
                results.put(partial(done, job, work(job)))
        except Exception as error:  # noqa: BLE001 - it is raised again, in the caller's thread
            results.put(partial(_raise, error))

    # A thread in a name look-up cannot be told to end: as daemons they do not keep the process.
    threads = [
        threading.Thread(target=until_none_waits, name=f"download-{i}", daemon=True)
        for i in range(min(workers, len(jobs)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            _next(results, look)()
    finally:
        halt.call_off()
        deadline = time.monotonic() + JOIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _taken(waiting: deque[J]) -> Iterator[J]:
    """What waits, each for one thread alone: taking from a deque is atomic."""
    while True:
        try:
            yield waiting.popleft()
        except IndexError:
            return


def _next(results: "queue.SimpleQueue[R]", look: Callable[[], None]) -> R:
    while True:
        look()
        try:
            return results.get(timeout=LOOK_S)
        except queue.Empty:
            continue


def _raise(error: Exception) -> None:
    raise error
