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
from curtail_dist.energy.oracle import fraction, optimum
from curtail_dist.energy.signals import trace_of
from curtail_dist.errors import UserError
from curtail_dist.report.history import History
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

SHARED_PHASES = ("train", "sync", "idle")


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What a run emitted, and what to compare that with. Powers are modelled, intensities marginal."""

    sites: Mapping[str, SiteEnergy]
    emissions_kg: float
    work_s: Seconds
    """Site-seconds of training that are in the chain: the work which baselines and bound do, too."""
    pair_efficiency: float
    """Share of their common time in which sites trained; baselines and bound assume the same."""
    baselines: Mapping[str, Baseline]
    """Always-on sites by name, pairs of them as `a+b`, and further grids that the run file names."""
    reference_kg: float | None
    """Mean of the always-on sites of the run; None where the outlooks are too short."""
    oracle_kg: float | None
    """The offline bound by the deadline; None where the work does not fit before it."""
    oracle_fraction: float | None
    """(reference - run) / (reference - bound)."""
    notes: tuple[str, ...]
    """What could not be reckoned, and why."""


def reckon(history: History, *, further: Mapping[str, Grid] | None = None) -> Accounts:
    """Account for a run. `further` names grids where nothing trains, to compare with."""
    sites = {
        name: account(
            site.intervals,
            site.power,
            site.intensity,
            threshold=site.threshold_g_per_kwh,
            wasted=[(discard.begun, discard.t) for discard in site.discards],
        )
        for name, site in history.sites.items()
    }
    emitted = math.fsum(energy.emissions_kg for energy in sites.values())
    work_s = useful_s(history)
    efficiency = pair_efficiency(history)
    grids = {name: site.grid for name, site in history.sites.items()}
    threshold = max((site.threshold_g_per_kwh for site in history.sites.values()), default=None)
    found, missing = all_baselines(grids, work_s, pair_efficiency=efficiency, threshold=threshold)
    reference = reference_kg(found)
    for name, grid in (further or {}).items():
        try:
            found[name] = always_on(name, grid, work_s, threshold=threshold)
        except UserError as error:
            missing[name] = str(error)
    bound = optimum(
        grids,
        work_s=work_s,
        deadline_s=max((site.deadline_s for site in history.sites.values()), default=0.0),
        join_s=_join_s(history),
        pair_efficiency=efficiency,
    )
    oracle = None if bound is None else bound.emissions_kg
    share = None if reference is None or oracle is None else fraction(reference, emitted, oracle)
    return Accounts(
        sites=sites,
        emissions_kg=emitted,
        work_s=work_s,
        pair_efficiency=efficiency,
        baselines=found,
        reference_kg=reference,
        oracle_kg=oracle,
        oracle_fraction=share,
        notes=_notes(sites, missing, bound_found=bound is not None),
    )


def further_grids(directory: Path, history: History) -> dict[str, Grid]:
    """Return the grids below `baselines` of the run's config.yaml, at the mean power of the run's sites.

    One whose trace is gone is left out, with a warning.
    """
    file = directory / "config.yaml"
    if not file.exists() or not history.sites:
        return {}
    power = PowerModel.mean([site.power for site in history.sites.values()])
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
            if interval.phase in SHARED_PHASES:
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
    sites: Mapping[str, SiteEnergy], missing: Mapping[str, str], *, bound_found: bool
) -> tuple[str, ...]:
    notes = [f"baseline {name}: {reason}" for name, reason in missing.items()]
    notes += [
        f"{name} drew {energy.unknown_kwh:.3f} kWh at unknown intensity, reckoned at the highest known"
        for name, energy in sites.items()
        if energy.unknown_kwh > 0
    ]
    if not bound_found:
        notes.append("no offline bound: the work does not fit before the deadline")
    return tuple(notes)
