"""The page's section on energy: marginal beside average, by cause, what was measured, what is not counted."""

from collections.abc import Mapping
from html import escape
from typing import Any

from curtail_dist.report.tables import number, table

STATED = "stated, not measured"
_CAUSES = ("train", "idle", "join", "sync")


def footprint_section(summary: Mapping[str, Any]) -> str:
    """Return the section for a summary.json."""
    left_out = "".join(f"<li>{escape(sentence)}</li>" for sentence in summary["not_counted"])
    return (
        "<h2>Emissions</h2>"
        + table(["", "by marginal intensity", "by location-based average"], _beside(summary))
        + "<h2>Emissions by cause, kg CO2 (marginal)</h2>"
        + table(["site", *_CAUSES, "sum", "of which leave delay", "of which wasted"], _causes(summary))
        + "<h2>Where the energy comes from</h2>"
        + table(_METER_TITLES, _meters(summary["sites"]), kind="words")
        + f"<h2>Not counted</h2><ul class='notes'>{left_out}</ul>"
    )


def _beside(summary: Mapping[str, Any]) -> list[list[str]]:
    sci, embodied = (
        summary["sci_g_per_million_tokens"],
        number(summary["embodied_kg"], ".3f", unknown="not counted"),
    )
    scope = "with embodied" if sci["embodied_counted"] else "operational only"
    return [
        [
            "operational, kg CO2",
            f"{summary['emissions_kg']:.3f}",
            number(summary["average_kg"], ".3f"),
        ],
        ["embodied, kg CO2e", embodied, embodied],
        [
            f"SCI ({scope}), g per million tokens",
            number(sci["marginal"], ",.2f"),
            number(sci["average"], ",.2f"),
        ],
    ]


def _causes(summary: Mapping[str, Any]) -> list[list[str]]:
    sites: Mapping[str, Mapping[str, Any]] = summary["sites"]
    whole = {
        "emissions_by_phase_kg": {
            cause: sum(s["emissions_by_phase_kg"][cause] for s in sites.values()) for cause in _CAUSES
        },
        "of_which_kg": {
            part: sum(site["of_which_kg"][part] for site in sites.values())
            for part in ("leave_delay", "wasted")
        },
        "emissions_kg": summary["emissions_kg"],
    }
    rows = {**sites, "all sites": whole} if len(sites) > 1 else sites
    return [
        [
            escape(name),
            *(f"{found['emissions_by_phase_kg'][cause]:.3f}" for cause in _CAUSES),
            f"{found['emissions_kg']:.3f}",
            *(f"{found['of_which_kg'][part]:.3f}" for part in ("leave_delay", "wasted")),
        ]
        for name, found in rows.items()
    ]


_METER_TITLES = ["site", "kWh, PUE included", "measured", "by", "covers", "PUE", "kg average", "kg embodied"]


def _meters(sites: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            escape(name),
            f"{sum(site['energy_kwh'].values()):.3f}",
            f"{site['metered_share']:.0%}",
            escape(site["meter"] or STATED),
            escape(site["covers"] or "not said"),
            f"{site['pue']:g}",
            number(site["average_kg"], ".3f"),
            number(site["embodied_kg"], ".3f", unknown="not counted"),
        ]
        for name, site in sites.items()
    ]
