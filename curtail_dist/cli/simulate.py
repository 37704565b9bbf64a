"""`curtail simulate`: what the policy would do on known traces, in virtual time and without training."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from curtail_dist.cli.verb import Verb, add_json, add_run_file, finite
from curtail_dist.config import RunConfig
from curtail_dist.energy.footprint import AVERAGE_READ, footprint, not_counted
from curtail_dist.energy.pareto import Point, pareto
from curtail_dist.energy.provisioning import Provisioning
from curtail_dist.energy.scene import FORECASTS, Assumptions
from curtail_dist.energy.simulation import Simulation, simulate
from curtail_dist.errors import ConfigError, UserError
from curtail_dist.report.saving import saving_facts, saving_text
from curtail_dist.units import SECONDS_PER_HOUR, Seconds, hours

SWAYED = (
    "what its battery holds depends on what the site did before; the optimum takes each moment as green as "
    "it can be, so that no schedule may reach it, and an always-on site finds what training leaves"
)
"""Of a site with a battery."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="take this policy (policy.kind): threshold, work-price, always, or MODULE:NAME",
    )
    parser.add_argument(
        "--forecast",
        choices=FORECASTS,
        default=Assumptions.forecast,
        help="what work-price plans by: the trace itself, the trace before now (default), or what is now",
    )
    parser.add_argument(
        "--work-h",
        type=finite,
        metavar="H",
        help="site-hours of training that complete the run (default: policy.work_h, or else those of one "
        "site always on)",
    )
    parser.add_argument(
        "--tokens-per-second", type=finite, metavar="N", help="tokens a training site steps, to count tokens"
    )
    parser.add_argument(
        "--drain-s",
        type=finite,
        nargs="+",
        default=Assumptions.drains_s,
        metavar="S",
        help="what the first drains take; the last one holds for all further ones (default: 0)",
    )
    parser.add_argument(
        "--blocking",
        action="store_true",
        help="while a site joins no other is asked, as in the published prototype",
    )
    parser.add_argument(
        "--join-spread",
        type=finite,
        default=Provisioning.spread,
        metavar="X",
        help="standard deviation of the logarithm of what a start takes; its median is clock.join_s (0)",
    )
    parser.add_argument(
        "--start-fails",
        type=finite,
        default=Provisioning.fails,
        metavar="SHARE",
        help="share of the starts that fail, and are tried again as the agent would (0)",
    )
    parser.add_argument(
        "--seed", type=int, default=Provisioning.seed, metavar="N", help="of those two draws (1)"
    )
    parser.add_argument(
        "--outage-h",
        type=finite,
        nargs=2,
        metavar=("FROM", "TO"),
        help="no signal answers between these hours of run time",
    )
    parser.add_argument(
        "--pareto", action="store_true", help="also emissions against finish time, for policies and optimum"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw it")
    add_json(parser)


def _run(args: argparse.Namespace) -> int:
    overrides: list[str] = list(args.set)
    if args.policy is not None:
        overrides.append(f"policy.kind={args.policy}")
    for name, value in (("--work-h", args.work_h), ("--tokens-per-second", args.tokens_per_second)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value:g}; it must be above 0")
    config = RunConfig.from_yaml(args.config, overrides)
    result = simulate(config, _assumptions(args))
    points = pareto(result.scene) if args.pareto else {}
    facts = _facts(result, args.tokens_per_second)
    facts["pareto"] = {name: [asdict(point) for point in found] for name, found in points.items()}
    if args.picture is not None:
        _draw(result, points, args.picture)
    print(json.dumps(facts, indent=2) if args.json else _text(facts))
    return 0


def _draw(result: Simulation, points: Mapping[str, Sequence[Point]], file: Path) -> None:
    from curtail_dist.report.simulated import draw  # matplotlib is slow to import

    try:
        draw(result, points, file)
    except OSError as error:
        raise UserError(
            f"--picture {file} cannot be written ({error.strerror}); name another file"
        ) from error


def _assumptions(args: argparse.Namespace) -> Assumptions:
    outage: list[float] | None = args.outage_h
    if outage is not None and not 0 <= outage[0] < outage[1]:
        raise ConfigError(f"--outage-h is {outage[0]:g} {outage[1]:g}; it must rise, from 0 on")
    return Assumptions(
        work_s=None if args.work_h is None else args.work_h * SECONDS_PER_HOUR,
        drains_s=args.drain_s,
        blocking=args.blocking,
        forecast=args.forecast,
        provisioning=Provisioning(spread=args.join_spread, fails=args.start_fails, seed=args.seed),
        outage=None if outage is None else (outage[0] * SECONDS_PER_HOUR, outage[1] * SECONDS_PER_HOUR),
    )


def _facts(result: Simulation, tokens_per_s: float | None) -> dict[str, Any]:
    """Return everything as plain values; the keys that summary.json has, too, mean the same."""
    scene, played = result.scene, result.played
    config, policy = scene.config, scene.config.policy
    finished, oracle = played.finished_at, result.oracle
    step_s = config.clock.step_s
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
                "windows_utc": [
                    [_utc(result, start), _utc(result, stop)] for start, stop in result.windows[name]
                ],
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
    missing = [
        sentence
        for name, site in sites.items()
        for sentence in not_counted(
            site.footprint, covers="", metered=False, average_known=result.energy[name].average_kg is not None
        )
    ]
    return {
        **asdict(found),
        "marginal_g_per_mtok": found.marginal_g_per_mtok,
        "average_g_per_mtok": found.average_g_per_mtok,
        "lines": list(found.lines(no_tokens="give --tokens-per-second")),
        "not_counted": list(dict.fromkeys(missing)),
    }


def _utc(result: Simulation, at: Seconds) -> str:
    return (result.scene.start + timedelta(seconds=at)).strftime("%H:%M:%S").removesuffix(":00")


def _text(facts: dict[str, Any]) -> str:
    delay = facts["leave_delay_s"]
    rule = {
        "threshold": f"below {facts['threshold_g_per_kwh']:g} g/kWh, leave after {delay:g} s",
        "work-price": f"least emissions by the deadline, forecast: {facts['forecast']}",
        "always": "whatever the intensity",
    }.get(facts["policy"], "of one's own")
    lines = [
        f"{facts['run']}: policy {facts['policy']} ({rule}), "
        f"{facts['deadline_h']:g} h from {facts['start']}, no training",
    ]
    if facts["synthetic"]:
        lines.append("The traces are synthetic: made up, not measured.")
    lines += ["", f"{'site':<36}{'train h':>9}{'kWh':>9}{'kg CO2':>9}{'in window':>11}  windows (UTC)"]
    for name, site in facts["sites"].items():
        on = " ".join(f"[{begin}, {end})" for begin, end in site["windows_utc"]) or "never"
        energy = sum(site["energy_kwh"].values())
        row = (site["train_h"], energy, site["emissions_kg"], site["share_in_window"])
        lines.append(f"{_row(name, *row)}  {on}")
    state = "done" if facts["finished"] else "NOT done by the deadline"
    tokens = "" if facts["tokens"] is None else f", {facts['tokens']} tokens"
    lines += [
        "",
        f"{facts['work_h']:.2f} of {facts['asked_work_h']:.2f} site-hours of training{tokens}: "
        f"{state}, {facts['hours']:.2f} h, {facts['emissions_kg']:.3f} kg CO2",
        _causes(facts["emissions_by_cause_kg"]),
        *_costs(facts),
        "",
        f"{'the same work':<36}{'hours':>9}{'kWh':>9}{'kg CO2':>9}{'in window':>11}",
    ]
    for name, found in facts["baselines"].items():
        row = (found["hours"], found["energy_kwh"], found["emissions_kg"], found["share_in_window"])
        lines.append(_row(f"always on: {name}", *row))
    lines += [f"always on: {name}: {reason}" for name, reason in facts["missing_baselines"].items()]
    lines.append(_oracle(facts))
    lines += ["", *facts["footprint"]["lines"], "Not in these numbers:"]
    lines += [f"- {sentence}" for sentence in facts["footprint"]["not_counted"]]
    lines += [f"note: {note}" for note in facts["notes"]]
    if any(facts["pareto"].values()):
        lines += ["", f"{'emissions against finish time':<36}{'hours':>9}{'kg CO2':>9}"]
        lines += [
            f"{_setting(name, point['setting']):<36}{point['finished_h']:>9.2f}{point['emissions_kg']:>9.3f}"
            for name, found in facts["pareto"].items()
            for point in found
        ]
    return "\n".join(lines)


def _causes(causes: dict[str, float]) -> str:
    """Tell what it was emitted for; what was emitted above the threshold is part of that."""
    phases = ", ".join(f"{name} {mass:.3f}" for name, mass in causes.items() if name != "leave_delay")
    return f"of which {phases}; {causes['leave_delay']:.3f} of it at or above the threshold"


def _costs(facts: dict[str, Any]) -> list[str]:
    """Tell what electricity cost, and what starts failed, where there is something to tell."""
    lines: list[str] = []
    costs, unknown = facts["costs"], facts["unknown_costs"]
    if costs:
        parts = ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items())
        whole = "" if unknown else f" {sum(costs.values()):.2f}"
        lines.append(f"electricity cost{whole} in the currency of its prices: {parts}")
    lines += [f"electricity cost of {name} not known: {reason}" for name, reason in unknown.items()]
    if facts["failed_starts"]:
        lines.append(f"{facts['failed_starts']} starts failed")
    return lines


def _setting(name: str, setting: float) -> str:
    return f"{name}, " + (
        f"below {setting:.0f} g/kWh" if name == "threshold" else f"deadline {setting:.1f} h"
    )


def _row(name: str, time_h: float, energy_kwh: float, mass_kg: float, share: float) -> str:
    return f"{name:<36}{time_h:>9.2f}{energy_kwh:>9.2f}{mass_kg:>9.3f}{share:>10.1%} "


def _oracle(facts: dict[str, Any]) -> str:
    if facts["oracle_kg"] is None:
        return "offline optimum: the work does not fit before the deadline"
    saving, multiple = saving_text(facts), facts["oracle_multiple"]
    parts = [
        *([] if multiple is None else [f"the policy emits {multiple:.2f} times the optimum"]),
        *([] if saving is None else [saving]),
    ]
    line = "; ".join([f"{'offline optimum':<36}{'':>9}{'':>9}{facts['oracle_schedule_kg']:>9.3f}", *parts])
    return line if facts["oracle_exact"] else f"{line}\n{_inexact(facts)}"


def _inexact(facts: dict[str, Any]) -> str:
    """Tell that the optimum is the best schedule found, and how much better one there could be."""
    assumed = facts["oracle_pair_efficiency"]
    alone = "" if assumed == facts["pair_efficiency"] else ", if no site ever waited for another"
    return (
        f"{'':<36}the best schedule found, not known to be the cheapest: "
        f"none emits less than {facts['oracle_kg']:.3f} kg{alone}"
    )


VERB = Verb(
    name="simulate",
    help="what the policy would do on the sites' traces: windows, hours, kWh, kg, baselines, optimum",
    add_arguments=_add_arguments,
    run=_run,
)
