"""report.html: the pictures, the figures, and what they do and do not count, in one file."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from pathlib import Path
from typing import Any

from curtail_dist.report.coursetables import decisions_section, incidents_section
from curtail_dist.report.footprinttables import footprint_section
from curtail_dist.report.paper.runtable import COLUMNS, Row
from curtail_dist.report.saving import saving_text
from curtail_dist.report.tables import number, table
from curtail_dist.report.whole import Whole

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.55 system-ui, sans-serif; color: #1c2430; margin: 2rem auto; max-width: 1400px;
  padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.facts { color: #667080; margin: 0 0 1rem; } img { max-width: 100%; height: auto; }
img.narrow { width: 60rem; }
.badge { background: #fff3d6; border: 1px solid #e69f00; border-radius: .4rem; color: #7a5200;
  font-size: .85rem; padding: .1rem .5rem; vertical-align: middle; }
table.words td { text-align: left; vertical-align: top; max-width: 26rem; }
table.words th { text-align: left; } span.facts { color: #667080; }
.bad { color: #a50f15; font-weight: 600; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #d9dee5; padding: .3rem .9rem .3rem 0; text-align: right; }
th { color: #667080; font-weight: 500; } th:first-child, td:first-child { text-align: left; }
div.wide { overflow-x: auto; } .notes { max-width: 52rem; }
"""

COUNTS = """
<p><b>Measured:</b> tokens, steps, rows, losses, bytes and waiting times, as the processes wrote them
down. Rows are counted from the commits' own ranges, without the ledger that handed them out. A site's join
time is real time: the sum over its causes of the median over the site's joins.</p>
<p><b>Energy</b> is what a site's meter said, where one was read, and the time in each phase times the power
that the run file gives for it elsewhere; the share that was measured stands beside it. Emissions are that
energy times the marginal intensity of the site's signal, and beside it times the grid's average, integrated
over training, idling, joining, exchanging and work thrown away. What the grid would have done with a load of
another size is not known. On a virtual clock the length of a step, an exchange and a join are modelled,
too. SCI is (energy x intensity + embodied) per million tokens in the chain.</p>
<p><b>Compared with:</b> always-on sites do the same work (the training that is in the chain) from run
time 0 without a pause, at the power that they drew in training, and pay for no joining. The offline bound
knew the whole day: no schedule that does this work by the deadline on the same slots emits less; the optimum
is the best schedule found. All assume the measured pair efficiency. The share of the possible saving is (mean
of the always-on sites - run) / (mean of the always-on sites - bound); the multiple is run / optimum.</p>
"""


def write_page(
    run: Whole,
    run_dir: Path,
    *,
    rows: Sequence[Row],
    notes: Sequence[str],
    paragraphs: Sequence[tuple[str, str]],
) -> Path:
    """Write the page of a run and return its path. The pictures are taken from report.png and courses.png.

    Args:
        run: The run.
        run_dir: Its directory.
        rows: The run, and those that it is compared with, in a table.
        notes: What that table's columns are.
        paragraphs: Its methods, each with a title.
    """
    file, summary, history = run_dir / "report.html", run.summary, run.history
    start = history.start.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    badge = ' <span class="badge">synthetic traces</span>' if history.synthetic else ""
    name = escape(history.run)
    sections = [
        f"<h1>{name}{badge}</h1><p class='facts'>from {start}</p>",
        _picture(run_dir / "report.png", f"Intensity, training, loss and emissions of {history.run}"),
        "<h2>The run</h2>" + table(["", ""], _facts(summary)),
        "<h2>Sites</h2>" + table(_SITE_TITLES, _site_rows(summary["sites"])),
        "<h2>Learning, power and emissions over time</h2>"
        + _picture(run_dir / "courses.png", f"Courses of {_named(rows)}", kind="narrow"),
        f"<h2>Run by run</h2>{_runs(rows)}<p class='notes facts'>{escape(' '.join(notes))}</p>",
        footprint_section(summary),
        incidents_section(history),
        decisions_section(history),
        "<h2>The same work elsewhere</h2>" + table(_ELSEWHERE_TITLES, _elsewhere(summary)),
        f"<h2>Methods</h2><div class='notes'>{_methods(paragraphs)}</div>",
    ]
    unknown = "".join(f"<li>{escape(note)}</li>" for note in summary["notes"])
    sections.append(f"<h2>What the figures count</h2><div class='notes'>{COUNTS}<ul>{unknown}</ul></div>")
    file.write_text(
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{name}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>\n"
        f"<body>{chr(10).join(sections)}</body></html>\n",
        encoding="utf-8",
    )
    return file


def _picture(file: Path, says: str, *, kind: str = "wide") -> str:
    image = base64.b64encode(file.read_bytes()).decode()
    return f'<img class="{kind}" src="data:image/png;base64,{image}" alt="{escape(says)}">'


def _named(rows: Sequence[Row]) -> str:
    return ", ".join(row.name for row in rows)


def _runs(rows: Sequence[Row]) -> str:
    titles = ["run", *(f"{column.title}, {column.unit}" for column in COLUMNS)]
    named = [escape(row.name) + ("" if row.finished else ", unfinished") for row in rows]
    return table(titles, [[name, *row.cells] for name, row in zip(named, rows, strict=True)])


def _methods(paragraphs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"<p><b>{escape(title)}.</b> {escape(text)}</p>" for title, text in paragraphs)


def _facts(summary: Mapping[str, Any]) -> list[list[str]]:
    rows, loss, sync = summary["rows"], summary["loss"], summary["sync"]
    wrong = rows["lost"] or rows["duplicated"] or rows["untold"]
    row_text = (
        f"{rows['trained']:,} of {rows['total']:,} done once, {rows['lost']:,} lost, "
        f"{rows['duplicated']:,} done twice; {rows['discarded']:,} went back to the pool"
    )
    if rows["untold"]:
        row_text += f"; {rows['untold']:,} in versions that no events here tell of"
    return [
        ["state", "finished" if summary["finished"] else "unfinished"],
        ["run time", f"{summary['virtual_h']:.2f} h, in {summary['wall_s']:,.0f} s of real time"],
        ["versions / epochs", f"{summary['commits']:,} / {summary['epochs']:,}"],
        ["tokens", f"{summary['tokens']:,}"],
        ["rows", f"<span class='bad'>{row_text}</span>" if wrong else row_text],
        ["training loss, nats", f"{number(loss['first'], '.3f')} to {number(loss['last'], '.3f')}"],
        ["held out, bits per byte", number(loss["val_bpb"], ".4f") + _beside(loss["baseline_val_bpb"])],
        ["sent between sites", f"{sync['bytes_sent'] / 1e6:,.1f} MB"],
        ["waiting", f"{sync['stall_s']:,.1f} s, {sync['stall_share']:.1%} of the sites' time as members"],
        ["emissions", f"{summary['emissions_kg']:.3f} kg CO2"],
        ["optimum", number(summary["oracle_schedule_kg"], ".3f") + " kg CO2"],
        ["multiple of the optimum", number(summary["oracle_multiple"], ".2f")],
        ["saved", saving_text(summary) or "unknown"],
        ["pair efficiency", f"{summary['pair_efficiency']:.3f}"],
        ["state hash", f"<code>{escape(summary['state_hash'])}</code>"],
    ]


def _beside(baseline: float | None) -> str:
    return "" if baseline is None else f" (uninterrupted: {baseline:.4f})"


_SITE_TITLES = [
    "site",
    "tokens",
    "steps",
    "lost steps",
    "joins",
    "join time, s",
    "drains",
    "deaths",
    "train kWh",
    "idle",
    "join",
    "sync",
    "of which wasted",
    "leave delay",
    "kg CO2",
    "in windows",
]


def _site_rows(sites: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            escape(name),
            *(f"{site[key]:,}" for key in ("tokens", "inner_steps", "lost_steps", "joins")),
            number(sum(site["join_s"].values()) if site["join_s"] else None, ".1f"),
            *(f"{site[key]:,}" for key in ("drains", "deaths")),
            *(f"{site['energy_kwh'][phase]:.3f}" for phase in ("train", "idle", "join", "sync")),
            *(f"{site['of_which_kwh'][part]:.3f}" for part in ("wasted", "leave_delay")),
            f"{site['emissions_kg']:.3f}",
            f"{site['share_in_window']:.1%}",
        ]
        for name, site in sites.items()
    ]


_ELSEWHERE_TITLES = ["", "kg CO2", "this run is", "hours", "kWh", "in windows"]


def _elsewhere(summary: Mapping[str, Any]) -> list[list[str]]:
    run = summary["emissions_kg"]
    rows = [
        [
            f"{escape(name)}, always on",
            f"{baseline['emissions_kg']:.3f}",
            f"{run / baseline['emissions_kg']:.1%}" if baseline["emissions_kg"] else "-",
            f"{baseline['hours']:.2f}",
            f"{baseline['energy_kwh']:.2f}",
            f"{baseline['share_in_window']:.1%}",
        ]
        for name, baseline in summary["baselines"].items()
    ]
    for label, mass in (
        ("optimum", summary["oracle_schedule_kg"]),
        ("offline bound", summary["oracle_kg"]),
    ):
        if mass is not None:
            rows.append([label, f"{mass:.3f}", f"{run / mass:.2f} x" if mass else "-", "", "", ""])
    return rows
