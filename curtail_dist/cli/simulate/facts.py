"""What a simulation is told as: plain values, which are its JSON, and of which its text is made."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from curtail_dist.energy.footprint import AVERAGE_READ, by_site, footprint, not_counted
from curtail_dist.energy.scene import Scene
from curtail_dist.energy.simulation import Simulation
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.report.saving import saving_facts
from curtail_dist.units import Seconds, hours

SWAYED = (
    "what its battery holds depends on what the site did before; the optimum takes each moment as green as "
    "it can be, so that no schedule may reach it, and an always-on site finds what training leaves"
)
"""Of a site with a battery."""
_GAPS_TOLD = 3


def facts_of(result: Simulation, tokens_per_s: float | None) -> dict[str, Any]:
    """Return everything as plain values; the keys that summary.json has, too, mean the same."""
    scene, played = result.scene, result.played
    config, policy = scene.config, scene.config.policy
    finished, oracle = played.finished_at, result.oracle
    step_s = config.clock.step_s
    unknown = {name: _unknown(grid.intensity, scene.deadline_s) for name, grid in scene.grids.items()}
    return {
        "run": config.run.name,
        "policy": policy.kind,
        "threshold_g_per_kwh": policy.threshold_g_per_kwh,
        "leave_delay_s": policy.leave_delay_s,
        "forecast": scene.given.forecast,
        "start": scene.start.isoformat(),
        "deadline_h": config.run.deadline_h,
        "synthetic": scene.synthetic,
        "finished": finished is not None,
        "hours": config.run.deadline_h if finished is None else hours(finished),
        "work_h": hours(played.work_s),
        "asked_work_h": hours(scene.asked_s),
        "inner_steps": round(played.work_s / step_s) if step_s > 0 else None,
        "tokens": None if tokens_per_s is None else round(tokens_per_s * played.work_s),
        "sites": {
            name: {
                "windows": [[start, stop] for start, stop in result.windows[name]],
                "windows_utc": _spans(result.windows[name], lambda at: _time_of_day(scene, at)),
                "windows_at": _spans(result.windows[name], lambda at: _moment(scene, at)),
                "unknown": [[start, stop] for start, stop in unknown[name]],
                "unknown_at": _spans(unknown[name], lambda at: _moment(scene, at)),
                "train_h": hours(energy.train_s),
                "joins": sum(1 for interval in played.intervals[name] if interval.phase == "join")
                if config.clock.join_s > 0
                else None,
                "energy_kwh": dict(energy.energy_kwh),
                "of_which_kwh": dict(energy.of_which_kwh),
                "unknown_kwh": energy.unknown_kwh,
                "basis": scene.bases[name],
                "emissions_kg": energy.emissions_kg,
                "share_in_window": energy.share_in_window,
            }
            for name, energy in result.energy.items()
        },
        "decisions": [
            {"t": event.t, "site": event.site, "what": event.what, "g_per_kwh": event.g_per_kwh}
            for event in result.events
        ],
        "failed_starts": sum(event.what == "failed" for event in result.events),
        "costs": dict(result.costs),
        "unknown_costs": dict(result.unknown_costs),
        "emissions_kg": result.emissions_kg,
        "emissions_by_cause_kg": dict(result.by_cause_kg),
        "footprint": _footprint(result, tokens_per_s),
        "notes": [
            *(f"{name}: {AVERAGE_READ}" for name, basis in scene.bases.items() if basis == "average"),
            *(f"{name}: {SWAYED}" for name in scene.swayed),
            *(f"{name}: {_gaps(scene, gaps)}" for name, gaps in scene.gaps.items() if gaps),
        ],
        "pair_efficiency": scene.rhythm.efficiency,
        "baselines": {name: asdict(baseline) for name, baseline in result.baselines.items()},
        "missing_baselines": dict(result.missing),
        "oracle_kg": None if oracle is None else oracle.emissions_kg,
        "oracle_schedule_kg": None if oracle is None else oracle.schedule_kg,
        "oracle_exact": None if oracle is None else oracle.exact,
        "oracle_pair_efficiency": None if oracle is None else oracle.pair_efficiency,
        **saving_facts(result.saving),
        "oracle_multiple": None
        if oracle is None or oracle.schedule_kg <= 0
        else result.emissions_kg / oracle.schedule_kg,
    }


def _footprint(result: Simulation, tokens_per_s: float | None) -> dict[str, Any]:
    """Return the run per million tokens, and in plain words what is not counted."""
    sites = result.scene.config.sites
    configs = {name: site.footprint for name, site in sites.items()}
    tokens = round((tokens_per_s or 0.0) * result.played.work_s)
    found = footprint(result.energy, configs, tokens=tokens)
    missing = {
        name: not_counted(
            site.footprint, covers="", metered=False, average_known=result.energy[name].average_kg is not None
        )
        for name, site in sites.items()
    }
    return {
        **asdict(found),
        "marginal_g_per_mtok": found.marginal_g_per_mtok,
        "average_g_per_mtok": found.average_g_per_mtok,
        "lines": list(found.lines(no_tokens="give --tokens-per-second")),
        "not_counted": list(by_site(missing)),
    }


def _unknown(intensity: StepFunction, deadline_s: Seconds) -> list[tuple[Seconds, Seconds]]:
    """Return where in the planned period nothing is known of an intensity."""
    ends = ((0.0, min(intensity.start, deadline_s)), (max(intensity.end, 0.0), deadline_s))
    return [(start, stop) for start, stop in ends if start < stop]


def _gaps(scene: Scene, gaps: Sequence[tuple[Seconds, Seconds]]) -> str:
    """Tell where rows of a trace are missing: where, for the longest few, and how often."""
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_GAPS_TOLD])
    told = ", ".join(f"from {_moment(scene, a)} to {_moment(scene, b)}" for a, b in longest)
    more = "" if len(gaps) == len(longest) else f" and {len(gaps) - len(longest)} times more for less long"
    return f"rows of its trace are missing {told}{more}; the value before is taken to hold until the next"


def _spans(spans: Iterable[tuple[Seconds, Seconds]], told: Callable[[Seconds], str]) -> list[list[str]]:
    return [[told(start), told(stop)] for start, stop in spans]


def _moment(scene: Scene, at: Seconds) -> str:
    return (scene.start + timedelta(seconds=at)).isoformat()


def _time_of_day(scene: Scene, at: Seconds) -> str:
    return time_of_day(scene.start + timedelta(seconds=at))


def time_of_day(moment: datetime) -> str:
    """Return HH:MM, with seconds where there are some."""
    return moment.strftime("%H:%M:%S").removesuffix(":00")
