"""Feeds a sink with a site's events while the run goes on, from a thread that training never waits for."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from curtail_dist.errors import DataError
from curtail_dist.report.tail import EventTail
from curtail_dist.telemetry.sinks import Sink, feed
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_CLOSE_S: Seconds = 30.0


class Feeder:
    """Follows the event files of `directory`. Owns its thread, and the sink that `make` gives there."""

    def __init__(
        self, directory: Path, make: Callable[[], Sink], *, site: str, every_s: Seconds = 2.0
    ) -> None:
        """Look for new events every `every_s` seconds of real time, from `__enter__` to `close`.

        What earlier agents of the site have written comes first. Events that cannot be read, as while a
        network's disk is away, are looked for again.
        """
        self._tail = EventTail(directory)
        self._make = make
        self._site = site
        self._problem = ""
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sink-feeder", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def end(self) -> None:
        """Ask it to feed what is left and to end, without waiting; `close` waits."""
        self._closing.set()

    def close(self) -> None:
        """Feed what is left and end the sink; idempotent, bounded, whatever the sink does."""
        self.end()
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            _LOG.warning(
                "the sink of site %s does not end; its last events are in the run directory", self._site
            )

    def _look(self, sink: Sink) -> None:
        """Feed what is new. That it cannot be read is told once."""
        try:
            records = self._tail.poll()
        except (DataError, OSError) as error:
            if str(error) != self._problem:
                _LOG.warning("the sink of site %s waits, since events cannot be read: %s", self._site, error)
            self._problem = str(error)
            sink.cut_off()
            return
        self._problem = ""
        feed(records, sink, site=self._site)

    def _run(self) -> None:
        try:
            sink = self._make()
            try:
                while not self._closing.is_set():
                    self._look(sink)
                    self._closing.wait(self._every_s)
                self._look(sink)
            finally:
                sink.close()
        except Exception:  # noqa: BLE001 - a sink is foreign code; the run goes on without it
            _LOG.warning(
                "the sink of site %s failed; events are in the run directory", self._site, exc_info=True
            )
