"""How threads that wait for a network are told to end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Halted(Exception):
    """The work was called off while it waited."""


class Halt:
    """A flag that also ends the reads under way, since a thread in a read looks at no flag."""

    def __init__(self) -> None:
        """Begin not called off."""
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._interrupts: set[Callable[[], None]] = set()

    def call_off(self) -> None:
        """Set the flag and end every read under way. Callable from any thread, more than once."""
        with self._lock:
            self._event.set()
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def check(self) -> None:
        """Raise Halted once the work was called off."""
        if self._event.is_set():
            raise Halted

    def sleep(self, seconds: float) -> None:
        """Wait; raises Halted as soon as the work is called off."""
        if self._event.wait(seconds):
            raise Halted

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Have `call_off` call `interrupt`, from its thread, while the block runs."""
        with self._lock:
            self._interrupts.add(interrupt)
        try:
            self.check()  # called off before it was added: nobody else would say so
            yield
        finally:
            with self._lock:
                self._interrupts.discard(interrupt)
