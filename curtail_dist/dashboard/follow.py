"""Keeps a board current from a thread that follows the event files of a run."""

import logging
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

from curtail_dist.dashboard.board import Board
from curtail_dist.dashboard.log import Entry
from curtail_dist.errors import CurtailError
from curtail_dist.report.tail import EventTail
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
EVERY_S: Seconds = 0.25
"""Between two looks; longer where a look takes long."""
AGAIN_S: Seconds = 2.0
"""From a look that failed to the next, which reads again what that had read."""
BATCH = 1_000
"""Records taken in while the board is locked, so that nobody waits long for it."""
CLOSE_S: Seconds = 5.0


class Follower:
    """Follows the events of one run in some directories. Owns the board, its lock and the thread.

    Where a file of events is gone or shorter than before, another run began in its place: the board begins
    anew, as another `generation`.
    """

    def __init__(self, directories: Sequence[Path], *, every_s: Seconds = EVERY_S) -> None:
        """Follow `directories`, which may still be without events, from `__enter__` to `close`."""
        self._directories = tuple(directories)
        self._every_s = every_s
        self._lock = threading.Lock()
        self._board = Board()
        self._tail = EventTail(*self._directories)
        self._sizes: dict[Path, int] = {}
        self._anew = False
        self._generation = 0
        self._caught_up = threading.Event()
        self._problem = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard-follower", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End the thread; idempotent, bounded."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    @property
    def version(self) -> tuple[int, int, bool, str]:
        """Return (generation, revision, whether all there was is read, problem); equal ones: nothing new."""
        return self._generation, self._board.rev, self._caught_up.is_set(), self._problem

    def wait(self, timeout: Seconds) -> None:
        """Wait until all there was has been read once, or for so long."""
        self._caught_up.wait(timeout)

    def changes(self, generation: int, since: int) -> tuple[dict[str, Any], list[Entry]]:
        """Return what a page needs that has this revision of this generation; all of it for another one.

        The entries of the log are newest first; a line of one may be made from any thread.
        """
        with self._lock:
            since = since if generation == self._generation and since <= self._board.rev else 0
            told = self._board.changes(since)
            place = {"generation": self._generation, "problem": self._problem}
            return {**told, **place}, self._board.entries(since)

    def _run(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._look()
            except (CurtailError, OSError) as error:
                self._fail(" ".join(str(error).split()))
            except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
                # A line that is JSON and no event; which one, its reader does not say.
                self._fail(f"the event files hold a line that is no event ({type(error).__name__}: {error})")
            pause_s = AGAIN_S if self._problem else self._every_s
            self._closing.wait(max(pause_s, 2 * (time.monotonic() - began)))

    def _fail(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.warning("%s", problem)
        with self._lock:
            self._problem = problem
        self._caught_up.set()

    def _look(self) -> None:
        if self._replaced():
            self._anew = True
        tail = EventTail(*self._directories) if self._anew else self._tail
        records = tail.poll()
        if self._anew:
            with self._lock:
                self._board, self._generation = Board(), self._generation + 1
            self._tail, self._anew = tail, False
        if records:
            with self._lock:
                self._board.make_room(records[-1].t)
        waiting = iter(records)
        while (batch := list(islice(waiting, BATCH))) and not self._closing.is_set():
            with self._lock:
                self._board.add(batch)
                self._board.catch_up()
        with self._lock:
            self._problem = ""
        self._caught_up.set()

    def _replaced(self) -> bool:
        """Whether a file that was there is gone or shorter, so that what the board says is not this run."""
        sizes = {
            file: file.stat().st_size
            for directory in self._directories
            for file in (directory / "events").glob("*.jsonl")
        }
        gone = any(sizes.get(file, -1) < size for file, size in self._sizes.items())
        self._sizes = sizes
        return gone
