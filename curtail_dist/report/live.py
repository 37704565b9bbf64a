"""What a terminal shows of a run while it goes on, from the event files alone."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from statistics import fmean

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from curtail_dist.report.joins import by_cause, cause_text
from curtail_dist.report.lines import Teller, clock_text
from curtail_dist.report.siteview import RATE_STEPS, SiteView
from curtail_dist.report.tail import EventTail
from curtail_dist.telemetry.record import Record

PHASE_STYLE = {
    "train": "bold green",
    "sync": "cyan",
    "join": "yellow",
    "idle": "blue",
    "parked": "magenta",
    "off": "dim",
}


class LiveView:
    """The state of a run as its event files tell it. Call `poll`, then `table` or `lines`."""

    def __init__(self, directory: Path, *, commit_every: int = 5, start: datetime | None = None) -> None:
        """Follow the run in `directory`; `lines` mentions every `commit_every`-th version.

        `start` is run time 0 where it is known before the run is founded.
        """
        self._tail = EventTail(directory)
        self._teller = Teller(commit_every=commit_every, start=start)
        self.sites: dict[str, SiteView] = {}
        self.run = ""
        self.start = start
        self.t = 0.0  # seconds of run time of the newest event
        self.rows = 0
        self.rows_total = 0
        self.rows_by = Counter[str]()
        """Rows finished by each site, wherever its events are; those of dropped versions count, too."""
        self.tokens = 0
        self.version = 0
        self.epoch = 0
        self._newest = (0, 0)  # epoch and version of the newest commit: a rewind makes versions smaller
        self._losses: deque[float] = deque(maxlen=RATE_STEPS)
        self.val_bpb: float | None = None
        self.deadline_s = 0.0  # seconds of run time
        self.finished = False
        self._take: dict[str, Callable[[Record], None]] = {
            "run_started": self._run_started,
            "site_started": self._site_started,
            "reading": self._reading,
            "energy": self._energy,
            "signal_lost": self._signal_lost,
            "phase": self._phase,
            "trouble": self._trouble,
            "trouble_over": self._trouble_over,
            "ranks_died": self._ranks_died,
            "joined": self._joined,
            "epoch": self._epoch_formed,
            "store_lost": self._store_lost,
            "store_found": self._store_found,
            "round_started": self._round_started,
            "step": self._step,
            "commit": self._commit,
            "evaluated": self._evaluated,
            "run_finished": self._run_finished,
        }

    @property
    def kg(self) -> float:
        """Kilograms of CO2 of all sites so far."""
        return sum(site.kg for site in self.sites.values())

    @property
    def loss(self) -> float | None:
        """Mean training loss of the last steps, all sites together; None where none said a finite one."""
        return fmean(self._losses) if self._losses else None

    def poll(self) -> list[Record]:
        """Take in what was appended to the event files and return it. Raises DataError for a broken file."""
        records = self._tail.poll()
        for record in records:
            self.t = max(self.t, record.t)
            self.epoch = max(self.epoch, record.epoch)
            if record.site in self.sites:
                self.sites[record.site].see(record.epoch)
            if record.event in self._take:
                self._take[record.event](record)
        for site in self.sites.values():
            site.advance(self.t)
        return records

    def lines(self, records: Iterable[Record]) -> list[str]:
        """Return one plain line a notable record; to be called once for each record, in poll's order."""
        return [line for record in records if (line := self.plain_line(record)) is not None]

    def plain_line(self, change: Record) -> str | None:
        """Return a line for a log, or None where the record is not notable or was told already."""
        return self._teller.line(change)

    def table(self) -> RenderableType:
        """Return the present state for rich: a headline, a row a site, a progress bar."""
        grid = Table(pad_edge=False, box=None, header_style="dim", padding=(0, 2, 0, 0))
        for title in ("site", "phase", "g/kWh", "round", "tokens/s", "loss", "kg CO2", "deaths"):
            grid.add_column(title, justify="left" if title in ("site", "phase") else "right", min_width=6)
        for name, site in sorted(self.sites.items()):
            grid.add_row(
                Text(name, style="bold"),
                _phase(site),
                _intensity(site),
                str(site.round) if site.round else "-",
                _number(site.tokens_per_s() if site.phase in ("train", "sync") else None, ",.0f"),
                _number(site.loss, ".3f"),
                f"{site.kg:.3f}",
                Text(str(site.deaths), style="bold red" if site.deaths else "dim"),
            )
        return Group(self._headline(), grid, *self._joins(), self._progress())

    render = table

    def _headline(self) -> Text:
        parts = [
            self.run or "waiting for the run",
            clock_text(self.t, self.start) + (" UTC" if self.start else ""),
        ]
        parts += [f"epoch {self.epoch}", f"version {self.version}", f"{self.kg:.3f} kg CO2"]
        if self.val_bpb is not None:
            parts.append(f"{self.val_bpb:.3f} bits/byte held out")
        return Text("   ".join(parts), style="bold")

    def _joins(self) -> list[RenderableType]:
        """Where the time of the joins went, the run's median; nothing until a join said so."""
        told = [causes for site in self.sites.values() for causes in site.joins if causes]
        if not told:
            return []
        return [Text(f"joins, median of {len(told)}: {cause_text(by_cause(told))}", style="dim")]

    def _progress(self) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        share = self.rows / self.rows_total if self.rows_total else 0.0
        line.add_row(
            ProgressBar(total=max(1, self.rows_total), completed=self.rows, width=40),
            f"{share:4.0%}  {self.rows:,} of {self.rows_total:,} rows  {self.tokens:,} tokens",
        )
        return line

    def _site(self, record: Record) -> SiteView:
        site = self.sites.setdefault(record.site, SiteView())
        site.advance(record.t)
        return site

    def _run_started(self, record: Record) -> None:
        self.run = record["run"]
        self.start = datetime.fromisoformat(record["start"])
        self.rows_total = record["rows"]

    def _site_started(self, record: Record) -> None:
        site = self._site(record)
        site.pue = record.fields.get("pue", 1.0)
        site.watts = {phase: record[f"{phase}_w"] for phase in ("train", "idle", "join", "sync")}
        site.threshold_g_per_kwh = record["threshold_g_per_kwh"]
        site.outlook = tuple((t, value) for t, value in record["outlook"])
        site.troubles.clear()  # They were another agent's.
        self.deadline_s = max(self.deadline_s, record["deadline_s"])

    def _energy(self, record: Record) -> None:
        self._site(record).measured(record["since"], record["until"], record["joules"])

    def _reading(self, record: Record) -> None:
        site = self._site(record)
        site.read(record["g_per_kwh"])
        site.lost, site.from_forecast = "", record.fields.get("from_forecast", False)

    def _signal_lost(self, record: Record) -> None:
        site = self._site(record)
        site.read(None)
        site.lost = record["reason"]

    def _trouble(self, record: Record) -> None:
        self._site(record).troubles[record["part"]] = record["reason"]

    def _trouble_over(self, record: Record) -> None:
        self._site(record).troubles.pop(record["part"], None)

    def _phase(self, record: Record) -> None:
        self._site(record).enter(record["phase"])

    def _ranks_died(self, record: Record) -> None:
        self._site(record).deaths += 1

    def _joined(self, record: Record) -> None:
        site = self._site(record)
        site.joins.append(record.fields.get("causes", {}))
        site.storeless_since = None

    def _epoch_formed(self, record: Record) -> None:
        for name, site in self.sites.items():
            if name not in record["members"]:
                site.missed(record.t, record.epoch)

    def _store_lost(self, record: Record) -> None:
        self._site(record).storeless_since = record.t

    def _store_found(self, record: Record) -> None:
        self._site(record).storeless_since = None

    def _round_started(self, record: Record) -> None:
        self._site(record).round = record.round

    def _step(self, record: Record) -> None:
        site = self._site(record)
        site.step(record.wall, record["tokens"])
        site.loss = record["loss"] if record["loss"] is not None else site.loss
        if site.loss is not None and not site.diverged:
            self._losses.append(site.loss)

    def _commit(self, record: Record) -> None:
        self._site(record).commit(record.wall, record["stall_s"])
        place = (record.epoch, record["version"])
        if place > self._newest:
            self._newest = place
            self.version, self.rows, self.tokens = record["version"], record["rows"], record["tokens"]
            for work in record["work"]:
                self.rows_by[work["site"]] += sum(stop - first for first, stop in work["rows"])

    def _evaluated(self, record: Record) -> None:
        self.val_bpb = record["val_bpb"]

    def _run_finished(self, record: Record) -> None:
        self.finished = True


def _phase(site: SiteView) -> Text:
    text = Text(site.phase, style=PHASE_STYLE.get(site.phase, ""))
    return text if site.storeless_since is None else text.append(" (no store)", style="yellow")


def _intensity(site: SiteView) -> Text:
    if site.g_per_kwh is None:
        return Text("unknown", style="yellow")
    green = site.threshold_g_per_kwh is not None and site.g_per_kwh < site.threshold_g_per_kwh
    return Text(f"{site.g_per_kwh:.0f}", style="green" if green else "")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
