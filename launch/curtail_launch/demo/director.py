"""Follows a demo run: shows it, breaks what was asked to be broken, notices when it is over or stuck."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live

from curtail_dist.errors import ConfigError, CurtailError
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry.events import FaultInjected
from curtail_dist.telemetry.record import EventLog, Record
from curtail_dist.units import Seconds
from curtail_launch.demo.day import START
from curtail_launch.demo.stage import Stage, kill

_LOOK_S = 0.02
_DRAW_S = 0.25
STUCK_S: Seconds = 120.0
"""Real time without any event after which the demo gives up."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """SIGKILL of a site's ranks inside the n-th round it takes part in."""

    site: str
    round: int

    @classmethod
    def parse(cls, text: str, sites: Sequence[str]) -> Self:
        """Read SITE@N. Raises ConfigError."""
        site, _, number = text.partition("@")
        if site not in sites or not number.isdecimal() or int(number) < 1:
            raise ConfigError(
                f"--kill is {text!r}; it must be SITE@N with N from 1 and a site of {', '.join(sites)}"
            )
        return cls(site=site, round=int(number))


class Executioner:
    """Watches one site's rounds and kills its ranks inside the wanted one, once."""

    def __init__(self, wanted: Kill, events: EventLog) -> None:
        """Write the fault to `events` when it has fired."""
        self._wanted = wanted
        self._events = events
        self._rounds = 0
        self.fired = False

    def look(self, records: Sequence[Record]) -> None:
        """Take new records in; kill when the wanted round has done its first inner step."""
        for record in records:
            if record.site != self._wanted.site or self.fired:
                continue
            if record.event == "round_started":
                self._rounds += 1
            elif record.event == "step" and self._rounds == self._wanted.round:
                kill(int(record.process.rpartition("-")[2]))
                self.fired = True
                self._events.emit(FaultInjected(kind="SIGKILL", target=self._wanted.site))


def follow(
    stage: Stage,
    directory: Path,
    *,
    horizon: Seconds,
    console: Console,
    executioner: Executioner | None = None,
) -> bool:
    """Show the run until its agents have ended; return whether it finished.

    Args:
        stage: Where the agents run.
        directory: The run directory.
        horizon: Run time at which the traces end: the run is over then, finished or not.
        console: Where to show it: a live table on a terminal, else a line for what is notable.
        executioner: Breaks something, if asked to.

    Raises:
        CurtailError: an agent failed, or nothing has happened for STUCK_S.
    """
    view = LiveView(directory, start=START)
    heard = drawn = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        if not console.is_terminal:
            live.stop()
        while True:
            over = not stage.running() or stage.clock.now() > horizon
            records = view.poll()
            if executioner is not None:
                executioner.look(records)
            now = time.monotonic()
            heard = now if records else heard
            if console.is_terminal:
                if over or now - drawn > _DRAW_S:
                    live.update(view.table(), refresh=True)
                    drawn = now
            else:
                for line in view.lines(records):
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
            if over:
                break
            _check(stage, directory, silent_s=now - heard)
            time.sleep(_LOOK_S)
    _check(stage, directory, silent_s=0.0)
    return view.finished


def _check(stage: Stage, directory: Path, *, silent_s: Seconds) -> None:
    failed = stage.failed()
    if failed:
        raise CurtailError(
            f"the agent of {', '.join(failed)} failed; read {directory}/logs/{failed[0]}.agent.log"
        )
    if silent_s > STUCK_S:
        raise CurtailError(f"nothing has happened for {STUCK_S:g} s; read the logs in {directory}/logs")
