"""summary.json: a run in figures, from its events."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from curtail_dist.energy.emissions import SiteEnergy
from curtail_dist.energy.footprint import Footprint, embodied_share_kg
from curtail_dist.errors import DataError
from curtail_dist.report.accounts import Accounts
from curtail_dist.report.audit import count_rows, gaps
from curtail_dist.report.history import History, SiteHistory
from curtail_dist.report.joins import by_cause
from curtail_dist.report.saving import saving_facts
from curtail_dist.report.totals import gpu_hours, share_in_window
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds, hours

if TYPE_CHECKING:
    from datetime import datetime

SCHEMA = 1
LAST_STEPS = 10
"""`loss.last` is the mean of so many `step` events, since one batch says little."""
MOST_GAPS = 5
"""Stretches of versions that are not told of, up to which each is named."""


def build_summary(
    records: Sequence[Record],
    history: History,
    accounts: Accounts,
    *,
    baseline_val_bpb: float | None = None,
    ranks: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return what summary.json holds: `INTERFACE` fields, and `notes` on what could not be reckoned.

    `ranks` says how many each site has, as far as known. What cannot be known is None: losses without a
    step, the bound where the work does not fit before the deadline, GPU-hours without the ranks.
    """
    rows = count_rows(history.chain, total=history.rows, finished=history.finished)
    head = history.chain[-1] if history.chain else None
    stall_s = math.fsum(record["stall_s"] for record in records if record.event == "commit")
    member_s = member_seconds(records)
    return {
        "schema": SCHEMA,
        "run": history.run,
        "finished": history.finished,
        "wall_s": wall_seconds(records),
        "virtual_h": hours(history.stop),
        "gpu_hours": gpu_hours(accounts.sites, ranks or {}),
        "commits": head.version if head else 0,
        "epochs": len({record.epoch for record in records if record.epoch > 0}),
        "tokens": head.tokens if head else 0,
        "state_hash": head.hash if head else "",
        "rows": {
            "total": history.rows,
            "trained": rows.trained,
            "lost": rows.lost,
            "untold": rows.untold,
            "duplicated": rows.duplicated,
            "discarded": sum(d.rows for site in history.sites.values() for d in site.discards),
        },
        "loss": {**_losses(history), "baseline_val_bpb": baseline_val_bpb},
        "sync": {
            "bytes_sent": sum(record["bytes_sent"] for record in records if record.event == "commit"),
            "stall_s": stall_s,
            "stall_share": stall_s / member_s if member_s > 0 else 0.0,
        },
        "sites": {name: _site(site, accounts.sites[name], history) for name, site in history.sites.items()},
        "absent": list(history.absent),
        "emissions_kg": accounts.emissions_kg,
        "share_in_window": share_in_window(accounts.sites),
        "baselines": {name: asdict(baseline) for name, baseline in accounts.baselines.items()},
        "reference_kg": accounts.reference_kg,
        "oracle_kg": accounts.oracle_kg,
        **saving_facts(accounts.saving),
        "oracle_schedule_kg": accounts.oracle_schedule_kg,
        "oracle_exact": None if accounts.optimum is None else accounts.optimum.exact,
        "oracle_multiple": accounts.oracle_multiple,
        **_footprint(accounts.footprint),
        "not_counted": list(accounts.not_counted),
        "pair_efficiency": accounts.pair_efficiency,
        "synthetic": history.synthetic,
        "notes": [*_gaps(history), *accounts.notes, *_astray(history)],
    }


def _site(site: SiteHistory, energy: SiteEnergy, history: History) -> dict[str, Any]:
    metered = site.metered
    work = [entry for commit in history.chain for entry in commit.work if entry["site"] == site.name]
    return {
        "tokens": sum(entry["tokens"] for entry in work),
        "inner_steps": sum(entry["steps"] for entry in work),
        "lost_steps": sum(discard.steps for discard in site.discards),
        "joins": len(site.joins),
        "join_s": by_cause(site.join_causes),
        "drains": len(site.drains),
        "deaths": len(site.deaths),
        "energy_kwh": dict(energy.energy_kwh),
        "of_which_kwh": dict(energy.of_which_kwh),
        "emissions_kg": energy.emissions_kg,
        "emissions_by_phase_kg": dict(energy.by_phase_kg),
        "of_which_kg": {"wasted": energy.wasted_kg, "leave_delay": energy.leave_delay_kg},
        "average_kg": energy.average_kg,
        "embodied_kg": embodied_share_kg(metered.footprint, energy.on_s),
        "share_in_window": energy.share_in_window,
        "metered_share": energy.metered_share,
        "meter": metered.source if metered.spans else None,
        "covers": metered.covers,
        "pue": metered.footprint.pue,
    }


def _footprint(whole: Footprint) -> dict[str, Any]:
    return {
        "energy_kwh": whole.energy_kwh,
        "metered_share": whole.metered_share,
        "average_kg": whole.average_kg,
        "embodied_kg": whole.embodied_kg,
        "sci_g_per_million_tokens": {
            "marginal": whole.marginal_g_per_mtok,
            "average": whole.average_g_per_mtok,
            "embodied_counted": whole.embodied_kg is not None,
        },
    }


def _losses(history: History) -> dict[str, float | None]:
    """First and last training loss over all sites; bits per byte of the newest evaluation, and the least."""
    steps = sorted((entry for site in history.sites.values() for entry in site.losses), key=lambda e: e[0])
    return {
        "first": steps[0][1] if steps else None,
        "last": fmean(loss for _, loss in steps[-LAST_STEPS:]) if steps else None,
        "val_bpb": history.val_bpb,
        "best_val_bpb": min((bpb for _, _, bpb in history.evaluated), default=None),
    }


def _gaps(history: History) -> Iterator[str]:
    """Yield of which versions nothing is known here, and what to do about it."""
    found = list(gaps(history.chain))
    if found:
        versions = ", ".join(
            f"{gap.first:,}" if gap.first == gap.last else f"{gap.first:,} to {gap.last:,}"
            for gap in found[:MOST_GAPS]
        )
        more = f" and {len(found) - MOST_GAPS:,} stretches more" if len(found) > MOST_GAPS else ""
        yield (
            f"no events here tell of versions {versions}{more}: {sum(gap.rows for gap in found):,} rows and "
            f"{sum(gap.tokens for gap in found):,} tokens in them are no site's here; give the directory of "
            "the sites that made them with --from"
        )


def _astray(history: History) -> Iterator[str]:
    """Yield what the losses leave out, since it is no number."""
    for name, site in history.sites.items():
        if site.astray:
            yield (
                f"{name}: the loss is no finite number in {site.astray:,} of its "
                f"{site.astray + len(site.losses):,} events of inner steps; all losses here are without them"
            )
    if history.astray:
        versions = f"{len(history.astray):,} evaluations, the newest that of version {history.astray[-1]:,}"
        yield f"bits per byte on the held-out split are no finite number in {versions}; they are left out"


def wall_seconds(records: Sequence[Record]) -> Seconds:
    """Return the real time from the first to the last record, by the hosts' own clocks."""
    walls = [record.wall for record in records]
    return (max(walls) - min(walls)).total_seconds() if walls else 0.0


def member_seconds(records: Sequence[Record]) -> Seconds:
    """Return the real time that sites spent as members, added up over sites.

    From each `joined` to the same process's next `drained` or `run_finished`, or to its last record; a
    process that was parked in between was a member twice. Stall is a share of it.
    """
    total = 0.0
    since: dict[tuple[str, str], datetime] = {}
    newest: dict[tuple[str, str], datetime] = {}
    for record in sorted(records, key=lambda r: (r.site, r.process, r.seq)):
        process = (record.site, record.process)
        newest[process] = record.wall
        if record.event == "joined":
            since.setdefault(process, record.wall)
        elif record.event in ("drained", "run_finished") and process in since:
            total += (record.wall - since.pop(process)).total_seconds()
    open_s = (max(0.0, (newest[process] - begun).total_seconds()) for process, begun in since.items())
    return math.fsum([total, *open_s])


def write_summary(summary: Mapping[str, Any], directory: Path) -> Path:
    """Write summary.json into `directory` and return its path."""
    file = directory / "summary.json"
    file.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return file


def baseline_val_bpb(directory: Path) -> float | None:
    """Return the bits per byte of the uninterrupted run in `directory`/baseline, None where there is none.

    Raises DataError where its summary is none.
    """
    file = directory / "baseline" / "summary.json"
    if not file.exists():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))["loss"]["val_bpb"]
        return None if value is None else float(value)
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{file} is no summary of a run; write it anew (curtail report {file.parent}), or take it away"
        ) from error
