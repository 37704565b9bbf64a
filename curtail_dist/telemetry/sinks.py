"""Where events go besides the run directory. Sinks are fed records; nothing reads them back."""

from collections.abc import Iterable
from typing import Protocol

from curtail_dist.telemetry.record import Record


class Sink(Protocol):
    """Takes records of one site in the order they were written."""

    def write(self, record: Record) -> None:
        """Take one record."""
        ...

    def caught_up(self) -> None:
        """Note that all that was on disk has been written, for a sink that shows only what is whole."""
        ...

    def cut_off(self) -> None:
        """Note that events cannot be read for now, so that what it shows may be old, up to `caught_up`."""
        ...

    def close(self) -> None:
        """Flush and end; idempotent."""
        ...


def feed(records: Iterable[Record], sink: Sink, *, site: str) -> None:
    """Hand the site's own records to its sink; `records` is all that is new."""
    for record in records:
        if record.site == site:
            sink.write(record)
    sink.caught_up()
