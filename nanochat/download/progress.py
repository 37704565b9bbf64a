"""How a download goes, for people: bars on a terminal, a line now and then where there is none."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from nanochat.verb import say

RATE_S = 10.0
"""Speeds are means over so long."""
LINE_S = 10.0
"""Between two lines about files under way."""


@dataclass
class Meter:
    """What has come, told by the threads that fetch and read by the one that shows it."""

    files: int = 0
    """Files that are wanted."""
    done: int = 0
    """Files that are there."""
    came_bytes: int = 0
    """Bytes that came in this call."""
    under_way: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """File -> bytes that are there, bytes of the whole, for those that have begun."""
    notes: deque[str] = field(default_factory=deque)
    """What is to be said."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def came(self, file: str, new: int, size: int, length: int | None) -> None:
        """See Watcher."""
        with self.lock:
            self.came_bytes += new
            self.under_way[file] = (size, length)

    def note(self, line: str) -> None:
        """See Watcher."""
        self.notes.append(line)

    def finish(self, file: str) -> None:
        """A file is there."""
        with self.lock:
            self.done += 1
            self.under_way.pop(file, None)

    def seen(self) -> list[tuple[str, int, int | None]]:
        """Files under way, in the order of their names."""
        with self.lock:
            return sorted((file, *sizes) for file, sizes in self.under_way.items())


class Rate:
    """Bytes a second over the last while."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def of(self, now: float, total: int) -> float:
        """The mean since at most RATE_S ago, given what has come until `now`, in s; 0 at the first call."""
        self._seen.append((now, total))
        while now - self._seen[0][0] > RATE_S and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        return (total - before) / (now - since) if now > since else 0.0


class Display(Protocol):
    """Shows a meter."""

    def look(self, now: float) -> None:
        """Show what is new at `now`, in s; called several times a second."""
        ...


class Lines:
    """A line for each note and file, and one in LINE_S while nothing else is said."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._rate = Rate()
        self._done = 0
        self._said_at: float | None = None

    def look(self, now: float) -> None:
        """See Display."""
        meter = self._meter
        rate = self._rate.of(now, meter.came_bytes)
        while meter.notes:
            say(meter.notes.popleft())
        since = self._said_at if self._said_at is not None else now
        self._said_at = since
        if meter.done > self._done or now - since >= LINE_S:
            self._done, self._said_at = meter.done, now
            came = decimal(meter.came_bytes)
            say(f"{meter.done} of {meter.files} files, {came} came, {decimal(int(rate))}/s")


class Bars:
    """A bar for each file under way and one for all."""

    def __init__(self, meter: Meter, live: Live) -> None:
        self._meter = meter
        self._live = live
        self._rate = Rate()

    def look(self, now: float) -> None:
        """See Display."""
        meter = self._meter
        rate = self._rate.of(now, meter.came_bytes)
        while meter.notes:
            self._live.console.print(meter.notes.popleft(), markup=False, highlight=False)
        table = Table.grid(padding=(0, 1))
        for file, size, length in meter.seen():
            whole = decimal(length) if length is not None else "?"
            table.add_row(file, _bar(size, length), f"{decimal(size)} of {whole}")
        told = f"{meter.done} of {meter.files} files, {decimal(int(rate))}/s"
        table.add_row("all", _bar(meter.done, meter.files), told)
        self._live.update(table, refresh=True)


def _bar(size: int, whole: int | None) -> ProgressBar:
    return ProgressBar(total=whole, completed=size, width=30)


@contextmanager
def display(meter: Meter) -> Iterator[Display]:
    """Show a meter while the block runs: bars on standard error where both outputs are terminals."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield Lines(meter)
        return
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield Bars(meter, live)
