"""A run as its events tell it, kept compact: what is now, its course in columns, the newest lines."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from curtail_dist.dashboard.course import COLUMNS, PHASES, Column, Course, finite
from curtail_dist.dashboard.log import Entry, Log
from curtail_dist.report.lines import printable
from curtail_dist.report.palette import SITE_COLOURS
from curtail_dist.report.siteview import SiteView
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds

MOST_SITES = 200
MOST_EVALUATIONS = 1_000
MOST_OUTLOOK = 512
"""Points of an outlook that the page gets; of more, every so manieth."""


class Board:
    """The state of a run. Not thread-safe: its owner locks it.

    Every change belongs to a revision, so that a page which has one gets what came after it.
    """

    def __init__(self) -> None:
        """Nothing is known of the run."""
        self.rev = 0
        self.width: Seconds = 1.0
        """Of a column."""
        self.t: Seconds = 0.0
        """Run time of the newest event."""
        self.odd = 0
        """Events that could not be made sense of."""
        self.log = Log()
        self.views: dict[str, SiteView] = {}
        self.courses: dict[str, Course] = {}
        self.deadline_s: Seconds = 0.0
        self._run = ""
        self._start = ""
        self._rows_total = self._rows = self._tokens = self._version = self._epoch = 0
        self._place = (0, 0)  # epoch and version of the newest commit: a rewind makes versions smaller
        self._members: list[str] = []
        self._joins: Counter[str] = Counter()
        self._bytes = 0
        self._stall_s: Seconds = 0.0
        self._finished = False
        self._evaluated: dict[int, tuple[Seconds, float]] = {}
        # Site -> column and time of its newest steps, as far as their emissions are not reckoned yet.
        self._steps: dict[str, tuple[Column, Seconds]] = {}
        self._take: dict[str, Callable[[Record], None]] = {
            "run_started": self._run_started,
            "site_started": self._site_started,
            "reading": self._reading,
            "signal_lost": self._signal_lost,
            "energy": self._energy,
            "phase": self._phase,
            "ranks_died": self._ranks_died,
            "joined": self._joined,
            "store_lost": self._store_lost,
            "store_found": self._store_found,
            "epoch": self._epoch_formed,
            "round_started": self._round_started,
            "step": self._step,
            "commit": self._commit,
            "evaluated": self._was_evaluated,
            "run_finished": self._run_finished,
        }

    def add(self, records: Iterable[Record]) -> None:
        """Take in new records, sorted as `EventTail.poll` sorts them; they are one revision."""
        self.rev += 1
        for course in self.courses.values():
            course.rev = self.rev
        for record in records:
            try:
                self._add(record)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
                self.odd += 1  # a field is missing, or of another kind

    def _add(self, record: Record) -> None:
        if not math.isfinite(record.t):
            raise ValueError(f"an event at run time {record.t}; it must be finite")
        if record.t > self.t:
            self.t = record.t
            self.make_room(record.t)
        self.log.add(record, rev=self.rev)
        if record.epoch > self._epoch:
            self._epoch = int(record.epoch)
        if record.site in self.views:
            self.views[record.site].see(int(record.epoch))
        take = self._take.get(record.event)
        if take is not None and (record.site in self.views or len(self.views) < MOST_SITES):
            take(record)

    def catch_up(self) -> None:
        """Let what holds at every site hold up to the newest event; to be called after `add`."""
        for name, view in self.views.items():
            self._settle(name)
            self.courses[name].extend(self.t)
            view.advance(self.t)
            self.courses[name].at(self.t).kg = view.kg

    def make_room(self, t: Seconds) -> None:
        """Make columns wide enough for events up to `t`, at once rather than step by step as they come."""
        if not math.isfinite(t) or t < COLUMNS * self.width:
            return
        while t >= COLUMNS * self.width:
            self.width *= 2
        for name in self.views:
            self._settle(name)
        for course in self.courses.values():
            course.widen(self.width)

    def changes(self, since: int) -> dict[str, Any]:
        """Return what a page needs that has revision `since`, without log lines; 0: all."""
        return {
            "rev": self.rev,
            "whole": since == 0,
            "width": self.width,
            "facts": self._facts(),
            "evaluated": [
                [finite(t, 1), version, finite(bpb, 4)]
                for version, (t, bpb) in sorted(self._evaluated.items())
            ],
            "sites": [self._site(name, place, since) for place, name in enumerate(sorted(self.views))],
        }

    def entries(self, since: int) -> list[Entry]:
        """Return the log's entries that a page needs that has revision `since`, newest first."""
        return self.log.since(since)

    def _facts(self) -> dict[str, Any]:
        rates = [v.tokens_per_s() or 0.0 for v in self.views.values() if v.phase in ("train", "sync")]
        return {
            "run": self._run,
            "start": self._start,
            "t": finite(self.t, 3),
            "deadline_s": finite(self.deadline_s, 0),
            "finished": self._finished,
            "epoch": self._epoch,
            "members": self._members,
            "version": self._version,
            "rows": self._rows,
            "rows_total": self._rows_total,
            "tokens": self._tokens,
            "tokens_per_s": finite(sum(rates), 0) if rates else None,
            "kg": finite(sum(view.kg for view in self.views.values()), 4),
            "bytes_sent": self._bytes,
            "stall_s": finite(self._stall_s, 2),
            "events": self.log.count,
            "odd": self.odd,
        }

    def _site(self, name: str, place: int, since: int) -> dict[str, Any]:
        view, course = self.views[name], self.courses[name]
        window = view.next_window(self.t)
        step = -(-len(view.outlook) // MOST_OUTLOOK) or 1
        columns = [(i, column) for i, column in sorted(course.columns.items()) if column.rev > since]
        return {
            "name": printable(name),
            "colour": place % len(SITE_COLOURS),
            "phase": view.phase if view.phase in PHASES else "off",
            "g_per_kwh": None if view.g_per_kwh is None else finite(view.g_per_kwh, 1),
            "threshold": finite(course.threshold_g_per_kwh, 1),
            "window": None if window is None else [finite(window[0], 0), finite(window[1], 0)],
            "round": view.round,
            "loss": finite(view.loss, 4),
            "diverged": view.diverged,
            "tokens_per_s": finite(view.tokens_per_s(), 0) if view.phase in ("train", "sync") else None,
            "kg": finite(view.kg, 4),
            "deaths": view.deaths,
            "joins": self._joins[name],
            "storeless": view.storeless_since is not None,
            "outlook": [[finite(t, 0), finite(g, 1)] for t, g in view.outlook[::step]] if not since else None,
            "columns": [column.told(index, self.width) for index, column in columns],
        }

    def _found(self, name: str) -> tuple[SiteView, Course]:
        if name not in self.views:
            self.views[name], self.courses[name] = SiteView(), Course()
            self.courses[name].widen(self.width)
            self.courses[name].rev = self.rev
        return self.views[name], self.courses[name]

    def _of(self, record: Record) -> tuple[SiteView, Course]:
        view, course = self._found(record.site)
        column = course.at(record.t)
        self._settle(record.site, unless=column)
        view.advance(record.t)
        column.kg = view.kg
        return view, course

    def _settle(self, name: str, *, unless: Column | None = None) -> None:
        """Let a column that has steps, unless it is told anyway, say what was emitted at the last of them."""
        column, t = self._steps.pop(name, (unless, 0.0))
        if column is not unless and column is not None:
            self.views[name].advance(t)
            column.kg = self.views[name].kg

    def _run_started(self, record: Record) -> None:
        start = datetime.fromisoformat(record["start"]).isoformat()
        self._run, self._start = printable(record["run"]), start
        self._rows_total = int(record["rows"])

    def _site_started(self, record: Record) -> None:
        view, course = self._of(record)
        view.pue = float(record.fields.get("pue", 1.0))
        view.watts = {phase: float(record[f"{phase}_w"]) for phase in ("train", "idle", "join", "sync")}
        view.threshold_g_per_kwh = course.threshold_g_per_kwh = float(record["threshold_g_per_kwh"])
        view.outlook = tuple((float(t), float(value)) for t, value in record["outlook"])
        self.deadline_s = max(self.deadline_s, float(record["deadline_s"]))

    def _reading(self, record: Record) -> None:
        view, course = self._of(record)
        value, since = float(record["g_per_kwh"]), float(record["measured_t"])
        if not (math.isfinite(value) and math.isfinite(since)):
            raise ValueError(f"a reading of {value} from {since}; both must be finite")
        view.read(value)
        course.read(min(since, record.t), value)

    def _signal_lost(self, record: Record) -> None:
        view, course = self._of(record)
        view.read(None)
        course.read(record.t, None)

    def _energy(self, record: Record) -> None:
        self._of(record)[0].measured(record["since"], record["until"], record["joules"])

    def _phase(self, record: Record) -> None:
        view, course = self._of(record)
        view.enter(str(record["phase"]))
        course.enter(record.t, view.phase)

    def _ranks_died(self, record: Record) -> None:
        self._of(record)[0].deaths += 1

    def _joined(self, record: Record) -> None:
        view, _ = self._of(record)
        self._joins[record.site] += 1
        view.storeless_since = None

    def _store_lost(self, record: Record) -> None:
        self._of(record)[0].storeless_since = record.t

    def _store_found(self, record: Record) -> None:
        self._of(record)[0].storeless_since = None

    def _epoch_formed(self, record: Record) -> None:
        course = self._of(record)[1]
        course.at(record.t).epoch = record.epoch
        for name, view in self.views.items():
            if name not in record["members"] and view.missed(record.t, record.epoch):
                self.courses[name].enter(record.t, "off")
        if record.epoch >= self._epoch:
            self._members = [printable(name) for name in record["members"]]

    def _round_started(self, record: Record) -> None:
        self._of(record)[0].round = record.round

    def _step(self, record: Record) -> None:
        # Most events are steps, which change neither power nor intensity: to reckon once a column will do.
        view, course = self._found(record.site)
        column = course.at(record.t)
        if self._steps.get(record.site, (column, 0.0))[0] is not column:
            self._settle(record.site)
        self._steps[record.site] = column, record.t
        view.step(record.wall, int(record["tokens"]))
        loss = record["loss"]
        if loss is None:
            return
        view.loss = float(loss)
        if not view.diverged:
            column.loss += view.loss
            column.losses += 1

    def _commit(self, record: Record) -> None:
        column = self._of(record)[1].at(record.t)
        column.version = max(column.version, int(record["version"]))
        column.bytes_sent += int(record["bytes_sent"])
        column.stall_s += float(record["stall_s"])
        self._bytes += int(record["bytes_sent"])
        self._stall_s += float(record["stall_s"])
        place = (record.epoch, int(record["version"]))
        if place > self._place:
            self._place = place
            self._version, self._rows, self._tokens = place[1], int(record["rows"]), int(record["tokens"])

    def _was_evaluated(self, record: Record) -> None:
        self._evaluated[int(record["version"])] = (record.t, float(record["val_bpb"]))
        if len(self._evaluated) > MOST_EVALUATIONS:
            kept = sorted(self._evaluated)[-1:0:-2]  # every other, and the newest
            self._evaluated = {version: self._evaluated[version] for version in kept}

    def _run_finished(self, record: Record) -> None:
        self._of(record)
        self._finished = True
