"""What a site has drawn and emitted so far, as counters: they never fall, and read anew they are the same.

A counter that comes back smaller after an agent's restart is taken for one that began at 0, and all of it
counted twice. So records are taken in order of run time, whichever process wrote them and whenever they were
read; and while a meter works, what was drawn is counted when it has told, not modelled and then corrected.
"""

import heapq
from collections import deque
from dataclasses import dataclass, replace

from curtail_dist.energy.emissions import DRAWN, drawn_as
from curtail_dist.telemetry.record import Record
from curtail_dist.units import GramsCO2PerKWh, Joules, Seconds, Watts, kwh

LAG_S: Seconds = 10.0
"""Run time for which a record waits for older ones: the files of several processes are read in turns."""


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A stretch of constant phase, modelled power and intensity."""

    start: Seconds
    stop: Seconds
    phase: str
    watts: Watts
    g_per_kwh: GramsCO2PerKWh | None

    @property
    def joules(self) -> Joules:
        """What the model says was drawn."""
        return self.watts * (self.stop - self.start)

    def goes_on_as(self, later: "_Stretch") -> bool:
        """Whether another one is the same, right after it."""
        return replace(later, start=self.start, stop=self.stop) == self and later.start == self.stop


class EnergyCounter:
    """Counts one site's energy, PUE included. Owned by whoever feeds it all the site's records."""

    def __init__(self) -> None:
        """Begin with nothing counted and nothing known."""
        self.joules: dict[str, Joules] = {}
        """By what it was drawn for, as `energy.emissions.DRAWN`; empty until an agent has said its watts."""
        self.grams: float | None = None
        """CO2 of it, at the newest intensity that was read by then, or at the first one for what was drawn
        before; None until one was."""
        self._waiting: list[tuple[Seconds, float, str, int, Record]] = []
        self._newest: Seconds = 0.0
        self._pending: deque[_Stretch] = deque()
        self._unpriced: Joules = 0.0
        self._at: Seconds = 0.0
        self._counted: Seconds = 0.0
        self._phase = "off"
        self._watts: dict[str, Watts] = {}
        self._pue = 1.0
        self._g_per_kwh: GramsCO2PerKWh | None = None
        self._measured = False
        """Whether a meter works, as far as the record says."""

    def take(self, record: Record) -> None:
        """Take a record of the site, whatever its event; it may be late by less than LAG_S."""
        self._newest = max(self._newest, record.t)
        key = (record.t, record.wall.timestamp(), record.process, record.seq)
        heapq.heappush(self._waiting, (*key, record))

    def count(self) -> None:
        """Count what can be counted by now: up to the newest record that nothing can come before any more."""
        while self._waiting and self._waiting[0][0] <= self._newest - LAG_S:
            record = heapq.heappop(self._waiting)[-1]
            # Record by record, so that the sums come out the same to the last bit whenever this is called.
            self._advance(record.t)
            self._apply(record)

    def _apply(self, record: Record) -> None:
        if record.event == "site_started":
            self._settle()  # what the agent before did not measure nobody will
            self._measured = False
            self._pue = float(record.fields.get("pue", 1.0))
            self._watts = {phase: float(record[f"{phase}_w"]) for phase in DRAWN}
            self.joules = self.joules or dict.fromkeys(DRAWN, 0.0)
        elif record.event == "phase":
            self._phase = str(record["phase"])
        elif record.event == "reading":
            self._read(float(record["g_per_kwh"]))
        elif record.event == "energy":
            self._measure(float(record["since"]), float(record["until"]), float(record["joules"]))
        elif record.event == "meter" or (record.event == "trouble_over" and record["part"] == "meter"):
            self._measured = True
        elif record.event == "trouble" and record["part"] == "meter":
            self._measured = False  # and the model counts all that is left, from the next record on

    def _read(self, g_per_kwh: GramsCO2PerKWh) -> None:
        if self._g_per_kwh is None:
            self.grams = kwh(self._unpriced) * g_per_kwh
            self._pending = deque(replace(stretch, g_per_kwh=g_per_kwh) for stretch in self._pending)
        self._g_per_kwh = g_per_kwh

    def _advance(self, t: Seconds) -> None:
        """Note what was drawn up to run time `t`; an earlier `t` adds nothing."""
        if t <= self._at:
            return
        if self._phase != "off":
            watts = self._watts.get(drawn_as(self._phase), 0.0)
            found = _Stretch(
                start=self._at, stop=t, phase=self._phase, watts=watts, g_per_kwh=self._g_per_kwh
            )
            if self._pending and self._pending[-1].goes_on_as(found):
                self._pending[-1] = replace(self._pending[-1], stop=t)
            else:
                self._pending.append(found)
        self._at = t
        if not self._measured:
            self._settle()

    def _measure(self, since: Seconds, until: Seconds, joules: Joules) -> None:
        """Count what a meter drew on [since, until), without PUE, divided by what the model states.

        What reaches into what is counted already is left out, since energy counts once; the model stands in.
        """
        if since < self._counted - 1e-6:
            return
        self._settle(since)
        within = self._cut(until)
        shares = [stretch.joules for stretch in within]
        if not any(shares):  # a model that states nothing cannot divide: time does
            shares = [stretch.stop - stretch.start for stretch in within]
        for stretch, share in zip(within, shares, strict=True):
            self._add(stretch, joules * self._pue * share / sum(shares))
        self._counted = until

    def _settle(self, until: Seconds | None = None) -> None:
        """Count what is not counted yet, up to `until`, by the model."""
        until = self._at if until is None else until
        for stretch in self._cut(until):
            self._add(stretch, stretch.joules)
        self._counted = max(self._counted, until)

    def _cut(self, until: Seconds) -> list[_Stretch]:
        """Take the stretches up to `until` away, the last one cut there."""
        taken: list[_Stretch] = []
        while self._pending and self._pending[0].start < until:
            first = self._pending.popleft()
            if first.stop > until:
                self._pending.appendleft(replace(first, start=until))
                first = replace(first, stop=until)
            taken.append(first)
        return taken

    def _add(self, stretch: _Stretch, joules: Joules) -> None:
        name = drawn_as(stretch.phase)
        self.joules[name] = self.joules.get(name, 0.0) + joules
        if stretch.g_per_kwh is None:
            self._unpriced += joules
        else:
            self.grams = (self.grams or 0.0) + kwh(joules) * stretch.g_per_kwh
