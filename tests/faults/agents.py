"""Stands in for the sites' agents in the record, so that a run without them has a full report."""

from contextlib import ExitStack

from nursery import Ranks

from curtail_dist.clock.base import SystemClock
from curtail_dist.membership.run_start import run_start
from curtail_dist.telemetry.events import (
    Event,
    FaultInjected,
    Phase,
    RanksDied,
    RanksExited,
    RanksStarted,
    ReadingSeen,
    SiteStarted,
)
from curtail_dist.telemetry.record import EventLog
from faults.lab import G_PER_KWH, POWER, Lab

THRESHOLD_G_PER_KWH = 100.0


class Agents:
    """Writes what each site's agent would have written. Owns their event files until `close`."""

    def __init__(self, lab: Lab, *, deadline_s: float) -> None:
        """Begin the record; the run's start is written to the store if nobody has."""
        clock = SystemClock(run_start(lab.config(), lab.store))
        self._now = clock.now
        self._stack = ExitStack()
        self._logs: dict[str, EventLog] = {}
        for site in lab.sites:
            log = EventLog(lab.directory, site=site, process="agent", clock=clock)
            self._logs[site] = self._stack.enter_context(log)
            self._begin(site, deadline_s)

    def _begin(self, site: str, deadline_s: float) -> None:
        started = SiteStarted(
            train_w=POWER["train_w"],
            idle_w=POWER["idle_w"],
            join_w=POWER["idle_w"],
            sync_w=POWER["idle_w"],
            threshold_g_per_kwh=THRESHOLD_G_PER_KWH,
            leave_delay_s=0.0,
            deadline_s=deadline_s,
            outlook=[(0.0, G_PER_KWH), (deadline_s, G_PER_KWH)],
            synthetic=True,
        )
        reading = ReadingSeen(g_per_kwh=G_PER_KWH, measured_t=self._now(), source="constant")
        self._tell(site, started, Phase(phase="off"), reading)

    def started(self, ranks: Ranks) -> None:
        """A site's ranks were started."""
        self._tell(ranks.site, RanksStarted(pid=ranks.pid), Phase(phase="join"))

    def broke(self, site: str, fault: str) -> None:
        """Something was done to a site."""
        self._tell(site, FaultInjected(kind=fault, target=site))

    def ended(self, ranks: Ranks) -> None:
        """A site's ranks are gone."""
        code = ranks.code or 0
        if code:
            self._tell(ranks.site, RanksDied(reason=f"the ranks ended with code {code}"))
        self._tell(ranks.site, RanksExited(code=code), Phase(phase="off"))

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def _tell(self, site: str, *events: Event) -> None:
        for event in events:
            self._logs[site].emit(event)
