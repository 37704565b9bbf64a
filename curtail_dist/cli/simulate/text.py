"""A simulation's facts for people: sites, totals, baselines, optimum."""

from datetime import datetime
from typing import Any

from curtail_dist.cli.simulate.facts import time_of_day
from curtail_dist.energy.oracle import SLOT_S
from curtail_dist.report.saving import multiple_text, saving_text

HOURS_PER_DAY = 24


def text(facts: dict[str, Any]) -> str:
    """Return what `curtail simulate` prints."""
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
        on = _windows(site, dated=facts["deadline_h"] > HOURS_PER_DAY)
        energy = sum(site["energy_kwh"].values())
        row = (site["train_h"], energy, site["emissions_kg"], site["share_in_window"])
        lines.append(f"{_row(name, *row)}  {on}")
    lines += [
        f"{name}: nothing is known of its signal from {begin} to {end} UTC; it is off then"
        for name, site in facts["sites"].items()
        for begin, end in map(_dated, site["unknown_at"])
    ]
    state = "done" if facts["finished"] else "NOT done by the deadline"
    tokens = "" if facts["tokens"] is None else f", {facts['tokens']} tokens"
    lines += [
        "",
        f"{facts['work_h']:.2f} of {facts['asked_work_h']:.2f} site-hours of training{tokens}: "
        f"{state}, {facts['hours']:.2f} h, {facts['emissions_kg']:.3f} kg CO2",
        _causes(facts["emissions_by_cause_kg"], facts["threshold_g_per_kwh"]),
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


def _windows(site: dict[str, Any], *, dated: bool) -> str:
    """Return a site's windows; with each day at its first moment if they are to be `dated`."""
    if not site["windows_utc"]:
        return "never"
    if not dated:
        return " ".join(f"[{begin}, {end})" for begin, end in site["windows_utc"])
    said = ""
    parts: list[str] = []
    for window, times in zip(site["windows_at"], site["windows_utc"], strict=True):
        told: list[str] = []
        for at, time in zip(window, times, strict=True):
            day = _day(at)
            told.append(time if day == said else f"{day} {time}")
            said = day
        parts.append(f"[{told[0]}, {told[1]})")
    return " ".join(parts)


def _dated(span: list[str]) -> tuple[str, str]:
    begin, end = (f"{_day(at)} {time_of_day(datetime.fromisoformat(at))}" for at in span)
    return begin, end


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%m-%d}"


def _causes(causes: dict[str, float], threshold: float) -> str:
    """Tell what it was emitted for; what was emitted outside of windows is part of it.

    Whatever the policy, windows are what lies below the threshold: so it is told as a value.
    """
    phases = ", ".join(f"{name} {mass:.3f}" for name, mass in causes.items() if name != "leave_delay")
    above = f"{causes['leave_delay']:.3f} of it at or above {threshold:g} g/kWh, out of windows"
    return f"of which {phases}; {above}"


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
        *([] if multiple is None else [f"the policy emits {multiple_text(multiple, 'the optimum')}"]),
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
        f"none on slots of {SLOT_S:g} s emits less than {facts['oracle_kg']:.3f} kg{alone}"
    )
