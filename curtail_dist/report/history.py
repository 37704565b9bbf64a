"""A run as its records tell it: what each site did when, the chain of versions, and how the loss went."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from curtail_dist.energy.emissions import DRAWN, Grid, Interval, PowerModel, drawn
from curtail_dist.energy.meters.draws import Draw
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import DataError
from curtail_dist.report.chain import Chain, Commit, read_chain
from curtail_dist.report.decisions import Decision, decisions_of
from curtail_dist.report.discards import Discard, discards_of
from curtail_dist.report.incidents import Incident, incidents_of
from curtail_dist.report.metering import Metered, as_drawn, metered
from curtail_dist.telemetry.events import MEMBER_PHASES
from curtail_dist.telemetry.record import Record
from curtail_dist.units import GramsCO2PerKWh, Seconds


@dataclass(frozen=True, kw_only=True)
class SiteHistory:
    """What one site did, in run time."""

    name: str
    power: PowerModel
    """As stated, PUE included."""
    metered: Metered
    threshold_g_per_kwh: GramsCO2PerKWh
    leave_delay_s: Seconds
    deadline_s: Seconds
    synthetic: bool
    intensity: StepFunction
    """As read during the run; before the first reading and after the run's end as the outlook has it."""
    average_read: bool
    """Whether a reading was of average intensity, in place of the marginal that its source does not know."""
    intervals: tuple[Interval, ...]
    """Its phases in order, without gaps but where it is off."""
    discards: tuple[Discard, ...]
    deaths: tuple[Seconds, ...]
    joins: tuple[Seconds, ...]
    join_causes: tuple[Mapping[str, Seconds], ...]
    """Of each join, where its real time went, by cause; empty where that was not recorded."""
    drains: tuple[Seconds, ...]
    decisions: tuple[Decision, ...]
    incidents: tuple[Incident, ...]
    losses: tuple[tuple[Seconds, float], ...]
    """Training loss of its steps, those that are no finite number left out."""
    astray: int
    """Steps told of with a loss that is no finite number."""

    @property
    def draws(self) -> list[Draw]:
        """What it drew, in order, PUE included: as its meter says where one was read, else by the model."""
        return drawn(self.intervals, self.power, self.metered.spans)

    @property
    def grid(self) -> Grid:
        """What a reckoning of other runs of the same work needs to know of the site."""
        stated = Grid(intensity=self.intensity, power=self.power)
        return as_drawn(stated, self.intervals, self.metered.spans)


@dataclass(frozen=True, kw_only=True)
class History:
    """One run, whole."""

    run: str
    start: datetime
    """Run time 0."""
    rows: int
    """Rows in all passes."""
    finished: bool
    stop: Seconds
    """When the last row was done; of an unfinished run, the newest event."""
    chain: tuple[Commit, ...]
    sites: Mapping[str, SiteHistory]
    evaluated: tuple[tuple[Seconds, int, float], ...]
    """(run time, version, bits per byte on the held-out split), in order of version; finite ones alone."""
    astray: tuple[int, ...]
    """Versions whose bits per byte are no finite number, in order."""

    @property
    def val_bpb(self) -> float | None:
        """Bits per byte of the newest version evaluated; None: there is none, or it is no finite number."""
        if not self.evaluated or (self.astray and self.astray[-1] > self.evaluated[-1][1]):
            return None
        return self.evaluated[-1][2]

    @property
    def absent(self) -> Mapping[str, int]:
        """Tokens in the chain by the sites that trained them and of which there are no events of an agent."""
        found: dict[str, int] = {}
        for commit in self.chain:
            for work in commit.work:
                if work["site"] not in self.sites:
                    found[work["site"]] = found.get(work["site"], 0) + work["tokens"]
        return dict(sorted(found.items()))

    @property
    def synthetic(self) -> bool:
        """Whether a trace says of itself that it was made up."""
        return any(site.synthetic for site in self.sites.values())


def build_history(records: Sequence[Record]) -> History:
    """Arrange the records of one run, sorted as `read_events` sorts them.

    Raises DataError where nothing founded the run, or where they are of several runs; StateDiverged where
    members disagree on a version.
    """
    founded = _founded(records)
    newest = max(record.t for record in records)
    evaluated = [(r.t, int(r["version"]), float(r["val_bpb"])) for r in records if r.event == "evaluated"]
    evaluated.sort(key=lambda entry: entry[1])
    planned = {r.site: r for r in reversed(records) if r.event == "site_started"}
    chain = read_chain(records)
    return History(
        run=founded["run"],
        start=_utc(founded["start"]),
        rows=founded["rows"],
        finished=bool(chain.ends),
        stop=max(chain.ends, default=newest),
        chain=chain.commits,
        sites={name: _site(planned[name], records, chain, newest) for name in sorted(planned)},
        evaluated=tuple(entry for entry in evaluated if math.isfinite(entry[2])),
        astray=tuple(version for _, version, bpb in evaluated if not math.isfinite(bpb)),
    )


def _founded(records: Iterable[Record]) -> Record:
    """Return the word of whoever founded the run. Raises DataError where there is none, or not one run."""
    found = {(record["run"], record["start"]): record for record in records if record.event == "run_started"}
    if not found:
        raise DataError(
            "the events hold no run_started, which the site that founded the run has in its own run "
            "directory; give that as well (--from DIR), or wait until a site has come in"
        )
    if len(found) > 1:
        runs = " and ".join(f"{run}, begun {start} ({one.site})" for (run, start), one in found.items())
        raise DataError(
            f"the events are of several runs: {runs}; they must be of one: give its directories alone, and "
            "move what an earlier run has left out of its events/"
        )
    return next(iter(found.values()))


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _site(plan: Record, records: Sequence[Record], chain: Chain, newest: Seconds) -> SiteHistory:
    own = [record for record in records if record.site == plan.site]
    intervals = _intervals(own, _last_there(own, records, newest))
    energy = metered(plan, own)
    told = [(r.t, float(r["loss"])) for r in own if r.event == "step" and r["loss"] is not None]
    losses = tuple((t, loss) for t, loss in told if math.isfinite(loss))
    watts = {f"{phase}_w": plan[f"{phase}_w"] for phase in DRAWN}
    return SiteHistory(
        name=plan.site,
        power=PowerModel(**watts, pue=energy.footprint.pue),
        metered=energy,
        threshold_g_per_kwh=plan["threshold_g_per_kwh"],
        leave_delay_s=plan["leave_delay_s"],
        deadline_s=plan["deadline_s"],
        synthetic=plan["synthetic"],
        intensity=_intensity(plan, own, newest, drew=bool(intervals)),
        average_read=any(r.event == "reading" and r.fields.get("basis") == "average" for r in own),
        intervals=intervals,
        discards=discards_of(plan.site, records, chain),
        deaths=_moments(own, "ranks_died"),
        joins=_moments(own, "joined"),
        join_causes=tuple(r.fields.get("causes", {}) for r in own if r.event == "joined"),
        drains=_moments(own, "drained"),
        decisions=decisions_of(own),
        incidents=incidents_of(own),
        losses=losses,
        astray=len(told) - len(losses),
    )


def _last_there(own: Sequence[Record], records: Sequence[Record], newest: Seconds) -> Seconds:
    """Return up to when a site's last phase may have lasted: the newest event, unless it was missed before.

    A host that has lost its power writes nothing of that. Once the others formed an epoch without a member
    that has seen nothing of it, that one was there until then, or until its own last word.
    """
    last = next((record for record in reversed(own) if record.event == "phase"), None)
    if last is None or last["phase"] not in MEMBER_PHASES:
        return newest  # no member: it may be joining, or parked, and have nothing to tell
    known = max(record.epoch for record in own)
    missed = next(
        (r.t for r in records if r.event == "epoch" and r.epoch > known and last.site not in r["members"]),
        newest,
    )
    return newest if not known else max(missed, *(record.t for record in own))


def _moments(own: Iterable[Record], event: str) -> tuple[Seconds, ...]:
    return tuple(record.t for record in own if record.event == event)


def _intervals(own: Iterable[Record], until: Seconds) -> tuple[Interval, ...]:
    """Join the phases that the agent and the ranks wrote; of several at one moment the last written wins.

    The last one lasts until `until`.
    """
    changes = {record.t: str(record["phase"]) for record in own if record.event == "phase"}
    merged: list[Interval] = []
    for (start, phase), (stop, _) in pairwise([*changes.items(), (max(until, *changes, 0.0), "")]):
        if phase == "off" or stop <= start:
            continue
        if merged and merged[-1].phase == phase and merged[-1].stop == start:
            merged[-1] = Interval(start=merged[-1].start, stop=stop, phase=phase)
        else:
            merged.append(Interval(start=start, stop=stop, phase=phase))
    return tuple(merged)


def _intensity(plan: Record, own: Iterable[Record], newest: Seconds, *, drew: bool) -> StepFunction:
    """Take the outlook, and over it, from the first reading to the run's end, what was read."""
    outlook = {float(t): float(value) for t, value in plan["outlook"]}
    read = {float(r["measured_t"]): float(r["g_per_kwh"]) for r in own if r.event == "reading"}
    if not read and not outlook and not drew:
        return StepFunction(edges=(-1.0, 0.0), values=(0.0,))  # unknown in all of the run
    if not read:
        return _step_function(plan.site, outlook, newest)
    first = min(read)
    later = {t: value for t, value in outlook.items() if t > newest}
    if later:
        known = [value for t, value in sorted(outlook.items()) if t <= newest]
        read.setdefault(newest, known[-1] if known else read[max(read)])
    before = {t: value for t, value in outlook.items() if t < first}
    return _step_function(plan.site, {**before, **read, **later}, newest)


def _step_function(site: str, values: Mapping[Seconds, float], newest: Seconds) -> StepFunction:
    """The last pair marks the end, which must not lie before the run's."""
    points = sorted(values.items())
    if not points:
        raise DataError(f"{site} has neither an outlook nor a reading; its emissions cannot be known")
    if points[-1][0] <= newest:
        points.append((math.nextafter(newest, math.inf), points[-1][1]))
    return StepFunction.from_points(points)
