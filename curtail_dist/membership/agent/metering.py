"""What an agent knows of its site's power: by a meter, read in a thread of its own, or by a model."""

import threading
from collections.abc import Callable

from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.meters.spans import Metering
from curtail_dist.energy.stages import Stage
from curtail_dist.membership.agent.troubles import Troubles
from curtail_dist.telemetry.events import Energy, MeterOpened
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds, Watts

_JOIN_S = 10.0


class MeterWatch:
    """Reads a meter at regular times and when asked to, and puts on record what was drawn in between.

    Owns its thread between `start` and `close`; `metering` stays its maker's.
    """

    def __init__(self, metering: Metering, *, every_s: Seconds, events: EventLog) -> None:
        """Read every `every_s` of real time, and once more at the end."""
        self._metering = metering
        self._every_s = every_s
        self._events = events
        self._wanted = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self.watts: Watts | None = None
        """Mean power over the newest stretch that was measured; None while nothing is known."""

    @property
    def trouble(self) -> str:
        """Why the newest reading failed; empty: it did not."""
        return self._metering.lost

    def start(self) -> None:
        """Begin; what measures, and what, goes on record first."""
        self._events.emit(MeterOpened(source=self._metering.source, covers=self._metering.covers))
        self._thread.start()

    def read_soon(self) -> None:
        """Have it read now, since the site's power is about to change; does not wait for it."""
        self._wanted.set()

    def close(self) -> None:
        """Read for the last time and end the thread; idempotent and bounded."""
        self._closing = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while True:
            closing = self._closing
            self._read()
            if closing:
                return
            self._wanted.wait(self._every_s)
            self._wanted.clear()

    def _read(self) -> None:
        span = self._metering.read()
        if span is None:
            self.watts = None if self._metering.lost else self.watts
            return
        self.watts = span.joules / (span.stop - span.start)
        self._events.emit(
            Energy(since=span.start, until=span.stop, joules=span.joules, stated_joules=span.stated)
        )


class PowerWatch:
    """One site's power, as its agent sees it: what its meter says, else what is stated for its stage."""

    def __init__(
        self,
        power: PowerModel,
        *,
        metering: Metering | None,
        every_s: Seconds,
        events: EventLog,
        troubles: Troubles,
        feed: Callable[[Watts], None],
    ) -> None:
        """Tell `feed` what the site draws, for signals that depend on it."""
        self._stated = {
            Stage.OFF: 0.0,
            Stage.JOINING: power.join_w,
            Stage.ON: power.train_w,
            Stage.DRAINING: power.train_w,
        }
        self._meter = None if metering is None else MeterWatch(metering, every_s=every_s, events=events)
        self._troubles = troubles
        self._feed = feed
        self._stage: Stage | None = None

    def start(self) -> None:
        """Begin to measure, where there is a meter."""
        if self._meter is not None:
            self._meter.start()

    def look(self, stage: Stage, *, polls: bool) -> None:
        """Take note of the site's stage; feed at each change of it, and before each poll."""
        changed, self._stage = stage is not self._stage, stage
        measured = None
        if self._meter is not None:
            self._troubles.note("meter", self._meter.trouble)
            measured = self._meter.watts
            if changed:
                self._meter.read_soon()
        if changed or polls:
            self._feed(self._stated[stage] if measured is None or changed else measured)

    def close(self) -> None:
        """Read the meter for the last time; idempotent."""
        if self._meter is not None:
            self._meter.close()
