"""What the demo says at its end: the summary in ten lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curtail_dist.report.saving import multiple_text, saving_text


def ending_lines(summary: Mapping[str, Any], directory: Path) -> list[str]:
    """Return the lines for a finished or unfinished run's summary.json."""
    done = "finished" if summary["finished"] else "NOT finished"
    sites, hours, wall = summary["sites"], summary["virtual_h"], summary["wall_s"]
    return [
        f"Run {summary['run']} {done}: {hours:.1f} h of run time in {wall:.0f} s.",
        f"Learned    {_learned(summary['loss'])}",
        f"Rows       {_rows(summary['rows'])}",
        f"Run        {_course(summary)}",
        f"Exchange   {_exchange(summary['sync'])}",
        "Sites      " + "; ".join(f"{name} {site['emissions_kg']:.3f} kg" for name, site in sites.items()),
        f"Emissions  {summary['emissions_kg']:.3f} kg CO2, {_power(summary)} on synthetic traces",
        f"Beside it  {_baselines(summary)}",
        f"Optimum    {_optimum(summary)}",
        f"Report     {directory / 'report.html'}  (picture: {directory / 'report.png'})",
    ]


def _learned(loss: Mapping[str, Any]) -> str:
    always_on = loss["baseline_val_bpb"]
    beside = "" if always_on is None else f" (always-on site: {always_on:.3f})"
    return (
        f"training loss {_number(loss['first'])} -> {_number(loss['last'])}, "
        f"held out {_number(loss['val_bpb'])} bits per byte{beside}"
    )


def _rows(rows: Mapping[str, int]) -> str:
    return (
        f"{rows['trained']:,} of {rows['total']:,} trained once, {rows['lost']} lost, "
        f"{rows['duplicated']} twice, {rows['discarded']} returned to the pool"
    )


def _course(summary: Mapping[str, Any]) -> str:
    def total(key: str) -> int:
        return sum(site[key] for site in summary["sites"].values())

    return (
        f"{summary['tokens']:,} tokens, {summary['commits']} commits, {summary['epochs']} epochs; "
        f"{total('joins')} joins, {total('drains')} drains, {total('deaths')} deaths, "
        f"{total('lost_steps')} steps lost"
    )


def _exchange(sync: Mapping[str, Any]) -> str:
    return f"{sync['bytes_sent'] / 1e6:.1f} MB sent; {sync['stall_share']:.1%} of real time without a step"


def _power(summary: Mapping[str, Any]) -> str:
    share = summary["metered_share"]
    return "by a power model" if share == 0 else f"{share:.0%} of its energy measured,"


def _baselines(summary: Mapping[str, Any]) -> str:
    single = {name: one for name, one in summary["baselines"].items() if "+" not in name}
    found = [f"{name} {_kg(one['emissions_kg'])} kg" for name, one in single.items()]
    return f"always on: {', '.join(found)}" if found else "no baseline fits the traces"


def _optimum(summary: Mapping[str, Any]) -> str:
    best, multiple, saved = summary["oracle_schedule_kg"], summary["oracle_multiple"], saving_text(summary)
    if best is None or saved is None:
        return "unknown: the traces do not cover the work"
    if multiple is None:
        return f"{best:.3f} kg for the same work; {saved}"
    return f"{best:.3f} kg for the same work; the run emits {multiple_text(multiple, 'that')}; {saved}"


def _kg(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
