"""Energy and emissions of a run, beside what the same work would have emitted otherwise."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from curtail_dist.config import RunConfig
from curtail_dist.energy.baselines import Baseline, all_baselines, always_on, reference_kg
from curtail_dist.energy.emissions import Grid, PowerModel, SiteEnergy, account
from curtail_dist.energy.footprint import AVERAGE_READ, Footprint, by_site, footprint, not_counted
from curtail_dist.energy.oracle import Optimum, optimum
from curtail_dist.energy.saving import Saving
from curtail_dist.energy.signals import trace_of
from curtail_dist.errors import UserError
from curtail_dist.report.audit import gaps
from curtail_dist.report.history import History, SiteHistory
from curtail_dist.report.saving import multiple_tells
from curtail_dist.telemetry.events import MEMBER_PHASES
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

LOOSE = 0.02
"""A schedule that is further above the bound, and not known to be the best, is noted."""


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What a run emitted, and what to compare that with; by marginal intensity where it does not say."""

    sites: Mapping[str, SiteEnergy]
    emissions_kg: float
    footprint: Footprint
    """The same beside the location-based average, embodied carbon, and per million tokens."""
    not_counted: tuple[str, ...]
    """What these numbers leave out, in sentences; one that does not hold for all sites names its own."""
    work_s: Seconds
    """Site-seconds of training that are in the chain: the work which baselines and bound do, too."""
    pair_efficiency: float
    """Share of their common time in which sites trained; baselines and bound assume the same."""
    join_s: Seconds
    """Median time that a start took; the bound pays it, too."""
    deadline_s: Seconds
    baselines: Mapping[str, Baseline]
    """Always-on sites by name, pairs of them as `a+b`, and further grids that the run file names."""
    reference_kg: float | None
    """Mean of the always-on sites of the run; None where the outlooks are too short."""
    optimum: Optimum | None
    """The offline bound by the deadline, with a schedule; None where the work does not fit before it."""
    notes: tuple[str, ...]
    """What could not be reckoned, and why."""

    @property
    def oracle_kg(self) -> float | None:
        """The offline bound."""
        return None if self.optimum is None else self.optimum.emissions_kg

    @property
    def oracle_schedule_kg(self) -> float | None:
        """What the best known schedule emits: the bound, or a little more."""
        return None if self.optimum is None else self.optimum.schedule_kg

    @property
    def saving(self) -> Saving | None:
        """What the run saved of what could have been saved; None where there is no bound or no reference."""
        if self.reference_kg is None or self.optimum is None:
            return None
        return Saving(
            reference_kg=self.reference_kg,
            run_kg=self.emissions_kg,
            bound_kg=self.optimum.emissions_kg,
            work_s=self.work_s,
        )

    @property
    def oracle_multiple(self) -> float | None:
        """Emissions of the run over those of the best known schedule.

        None where that emits nothing, and where the reckoning's slots cannot resolve the two.
        """
        best, saving = self.oracle_schedule_kg, self.saving
        if not best or saving is None or not multiple_tells(saving):
            return None
        return self.emissions_kg / best


def reckon(history: History, *, further: Mapping[str, Grid] | None = None) -> Accounts:
    """Account for a run. `further` names grids where nothing trains, to compare with."""
    sites = {name: _account(site) for name, site in history.sites.items()}
    work_s, efficiency, join_s = useful_s(history), pair_efficiency(history), _join_s(history)
    grids = {name: site.grid for name, site in history.sites.items()}
    threshold = max((site.threshold_g_per_kwh for site in history.sites.values()), default=None)
    deadline_s = max((site.deadline_s for site in history.sites.values()), default=0.0)
    found, missing = all_baselines(grids, work_s, pair_efficiency=efficiency, threshold=threshold)
    reference = reference_kg(found)
    for name, grid in (further or {}).items():
        try:
            found[name] = always_on(name, grid, work_s, threshold=threshold)
        except UserError as error:
            missing[name] = str(error)
    best = optimum(grids, work_s=work_s, deadline_s=deadline_s, join_s=join_s, pair_efficiency=efficiency)
    return Accounts(
        sites=sites,
        emissions_kg=math.fsum(energy.emissions_kg for energy in sites.values()),
        footprint=footprint(
            sites,
            {name: site.metered.footprint for name, site in history.sites.items()},
            tokens=_tokens(history) - sum(history.absent.values()),
        ),
        not_counted=_not_counted(history, sites),
        work_s=work_s,
        pair_efficiency=efficiency,
        join_s=join_s,
        deadline_s=deadline_s,
        baselines=found,
        reference_kg=reference,
        optimum=best,
        notes=(
            *_notes(sites, missing, best),
            *(f"{n}: {AVERAGE_READ}" for n, site in history.sites.items() if site.average_read),
        ),
    )


def _tokens(history: History) -> int:
    return history.chain[-1].tokens if history.chain else 0


def _account(site: SiteHistory) -> SiteEnergy:
    return account(
        site.intervals,
        site.power,
        site.intensity,
        threshold=site.threshold_g_per_kwh,
        wasted=[(discard.begun, discard.t) for discard in site.discards],
        metered=site.metered.spans,
        average=site.metered.average,
    )


def _not_counted(history: History, sites: Mapping[str, SiteEnergy]) -> tuple[str, ...]:
    said = {
        name: not_counted(
            site.metered.footprint,
            covers=site.metered.covers,
            metered=site.metered.measures,
            average_known=sites[name].average_kg is not None,
        )
        for name, site in history.sites.items()
    }
    absent = absent_text(history)
    return (*(() if absent is None else (absent,)), *by_site(said))


def absent_text(history: History) -> str | None:
    """Return a sentence where sites trained whose events are elsewhere, with what to do about it."""
    absent = history.absent
    if not absent:
        return None
    share = sum(absent.values()) / max(1, _tokens(history))
    least = "at least " if any(gaps(history.chain)) else ""
    return (
        f"{', '.join(absent)}: No events of an agent are here, so that nothing is counted of what it "
        f"drew, emitted and lost over {least}{share:.1%} of all tokens; give its run directory with --from."
    )


def further_grids(directory: Path, history: History) -> dict[str, Grid]:
    """Return the grids below `baselines` of the run's config.yaml, at the mean power of the run's sites.

    One whose trace is gone is left out, with a warning.
    """
    file = directory / "config.yaml"
    if not file.exists() or not history.sites:
        return {}
    power = PowerModel.mean([site.grid.power for site in history.sites.values()])
    found: dict[str, Grid] = {}
    for name, signal in RunConfig.from_yaml(file).baselines.items():
        if signal.path is None:
            continue
        try:
            trace = trace_of(signal)
        except UserError as error:
            log.warning("baseline %s is left out: %s", name, error)
            continue
        found[name] = Grid(intensity=trace.series(history.start), power=power)
    return found


def useful_s(history: History) -> Seconds:
    """Return the site-seconds of training that were not thrown away."""
    return math.fsum(
        interval.stop - interval.start - _lost(interval.start, interval.stop, spans)
        for site in history.sites.values()
        for spans in [[(discard.begun, discard.t) for discard in site.discards]]
        for interval in site.intervals
        if interval.phase == "train"
    )


def _lost(start: Seconds, stop: Seconds, spans: list[tuple[Seconds, Seconds]]) -> Seconds:
    return math.fsum(max(0.0, min(stop, high) - max(start, low)) for low, high in spans)


def pair_efficiency(history: History) -> float:
    """Return the share of training in the time of sites that were up together; 1 where none ever were."""
    changes: list[tuple[Seconds, str, str]] = []
    for name, site in history.sites.items():
        for interval in site.intervals:
            if interval.phase in MEMBER_PHASES:
                changes += [(interval.start, name, interval.phase), (interval.stop, name, "")]
    up: dict[str, str] = {}
    since = trained = shared = 0.0
    for t, name, phase in sorted(changes):
        if len(up) > 1:
            shared += (t - since) * len(up)
            trained += (t - since) * sum(now == "train" for now in up.values())
        since = t
        if phase:
            up[name] = phase
        else:
            up.pop(name, None)
    return trained / shared if trained > 0 else 1.0


def _join_s(history: History) -> Seconds:
    """Return the median time that a start took in this run."""
    spans = [i.stop - i.start for site in history.sites.values() for i in site.intervals if i.phase == "join"]
    return median(spans) if spans else 0.0


def _notes(
    sites: Mapping[str, SiteEnergy], missing: Mapping[str, str], best: Optimum | None
) -> tuple[str, ...]:
    notes = [f"baseline {name}: {reason}" for name, reason in missing.items()]
    notes += [
        f"{name} drew {energy.unknown_kwh:.3f} kWh at unknown intensity, reckoned at the highest known"
        for name, energy in sites.items()
        if energy.unknown_kwh > 0
    ]
    if best is None:
        notes.append("no offline bound: the work does not fit before the deadline")
    elif not best.exact and best.schedule_kg > (1 + LOOSE) * best.emissions_kg:
        above = best.schedule_kg / best.emissions_kg - 1 if best.emissions_kg > 0 else math.inf
        notes.append(f"the optimum's schedule may not be the best one: it is {above:.1%} above the bound")
    return tuple(notes)
