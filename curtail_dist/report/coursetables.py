"""The page's sections on how a run went: orders and troubles, and each start and drain with its reading."""

from datetime import datetime
from html import escape

from curtail_dist.report.decisions import Decision
from curtail_dist.report.history import History
from curtail_dist.report.lines import clock_text
from curtail_dist.report.tables import number, table
from curtail_dist.units import Seconds


def incidents_section(history: History) -> str:
    """Return what the operator ordered and what failed, with run time; empty where there is nothing."""
    found = sorted((one for site in history.sites.values() for one in site.incidents), key=lambda one: one.t)
    if not found:
        return ""
    lines = [
        f"<li>{_moment(one.t, history.start)} <b>{escape(one.site)}</b> {escape(one.text)} "
        f"<span class='facts'>({'no end recorded' if one.lasted_s is None else f'for {_span(one.lasted_s)}'})"
        "</span></li>"
        for one in found
    ]
    return f"<h2>Orders and troubles</h2><ul class='notes'>{''.join(lines)}</ul>"


_TITLES = ["run time", "site", "what", "by", "because", "reading, g/kWh", "read at", "source", "took"]


def decisions_section(history: History) -> str:
    """Return each start and drain of the run, with the reading that it rests on."""
    found = sorted((one for site in history.sites.values() for one in site.decisions), key=lambda one: one.t)
    rows = [
        [
            _moment(one.t, history.start),
            escape(one.site),
            one.action,
            escape(one.by),
            escape(one.reason),
            number(one.g_per_kwh, ".1f", unknown="none"),
            "-" if one.measured_t is None else _moment(one.measured_t, history.start),
            escape(one.source or "-") + (" (forecast)" if one.from_forecast else ""),
            _took(one),
        ]
        for one in found
    ]
    return "<h2>Decisions</h2>" + table(_TITLES, rows, kind="words") if rows else ""


def _took(decision: Decision) -> str:
    if decision.crossed_s is not None:
        return f"crossed after {_span(decision.crossed_s)}"
    return "not recorded" if decision.took_s is None else _span(decision.took_s)


def _moment(t: Seconds, start: datetime) -> str:
    return f"{t / 3600:.2f} h ({clock_text(t, start)})"


def _span(seconds: Seconds) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
