"""SIGTERM and Ctrl-C, as an agent takes them: counted, and heard at once while it rests."""

import signal as signals
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class _Interrupted(Exception):
    """A signal came while the agent rested."""


class Interrupts:
    """How often one agent was told to stop."""

    def __init__(self) -> None:
        """Begin with never."""
        self.count = 0
        self.resting = False
        """Whether a signal ends what goes on now."""

    def add(self) -> None:
        """Do what a signal does, from any thread."""
        self.count += 1

    @contextmanager
    def taken(self) -> Generator[None]:
        """Take SIGTERM and Ctrl-C while the context is open, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self.add()
            if self.resting:
                self.resting = False
                raise _Interrupted

        before = {number: signals.signal(number, handle) for number in (signals.SIGTERM, signals.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signals.signal(number, handler)

    @contextmanager
    def rest(self) -> Generator[None]:
        """Let a signal end the context's body."""
        try:
            self.resting = True
            try:
                yield
            finally:
                self.resting = False
        except _Interrupted:
            return
