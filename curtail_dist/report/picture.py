"""report.png: one picture of a run: grids and windows above, then loss, then emissions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from curtail_dist.energy.pareto import Point
from curtail_dist.report.accounts import Accounts
from curtail_dist.report.curves import cumulative, cumulative_baseline, cumulative_schedule
from curtail_dist.report.history import History, SiteHistory
from curtail_dist.report.losspanel import Evaluation, loss_panel
from curtail_dist.report.palette import (
    BASELINE_DASHES,
    FAINT,
    INK,
    LOST,
    MUTED,
    OPTIMUM,
    PHASE_COLOURS,
    RUN,
    SITE_COLOURS,
    WINDOW,
    site_colours,
)
from curtail_dist.report.panels import Line, beside, causes_panel, cumulative_panel, tradeoff_panel
from curtail_dist.report.saving import share_told
from curtail_dist.units import Seconds, hours

WIDTH_IN, DPI = 14.0, 100
_SITE_IN, _BELOW_IN, _ABOVE_IN = 1.283, 8.1, 1.45
"""Height of a site's strip, and of what stands below and above all strips."""
_MOST_COMPARED, _MOST_IN_PAIRS = 5, 3
"""Sites up to which each is drawn always on, and up to which their pairs are."""
_LEFT, _RIGHT = 0.085, 0.835
"""Of the panels over time; names and figures stand right of them."""


def compose(
    history: History,
    accounts: Accounts,
    *,
    others: Mapping[str, Sequence[Evaluation]] | None = None,
    best: Sequence[Point] = (),
) -> Figure:
    """Return the picture, 1400 pixels wide and with three sites 1340 high.

    Args:
        history: The run.
        accounts: Its emissions.
        others: Bits per byte of runs to compare with, by name, as `History.evaluated`.
        best: The optimum by finish time (`frontier`); may be empty.
    """
    count = max(1, len(history.sites))
    top = _BELOW_IN + _SITE_IN * count
    figure = Figure(figsize=(WIDTH_IN, round(top + _ABOVE_IN, 2)), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    end = _end(history)
    strips = figure.add_gridspec(count, 1, **_place(figure, top, _BELOW_IN), hspace=0.16)
    middle = figure.add_gridspec(2, 1, **_place(figure, 7.6, 3.6), hspace=0.2)
    below = figure.add_gridspec(1, 2, **_place(figure, 2.75, 0.6), wspace=0.42)
    colours = site_colours(list(history.sites))
    for index, (name, site) in enumerate(history.sites.items()):
        axes = figure.add_subplot(strips[index])
        _frame(axes, history.start, end, labels=index == count - 1)
        _strip(axes, site, history, accounts, colours[name])
    loss = figure.add_subplot(middle[0])
    _frame(loss, history.start, end, labels=False)
    loss_panel(loss, history, colours, others or {})
    carbon = figure.add_subplot(middle[1])
    _frame(carbon, history.start, end, labels=True)
    _carbon(carbon, history, accounts, end)
    causes_panel(figure.add_subplot(below[0]), accounts.sites, colours)
    _tradeoff(figure.add_subplot(below[1]), history, accounts, best)
    _title(figure, history, accounts)
    _legend(figure)
    return figure


def _place(figure: Figure, top_in: float, bottom_in: float) -> dict[str, float]:
    """Say where panels stand, by inches from the picture's lower edge."""
    height = figure.get_figheight()
    return {"left": _LEFT, "right": _RIGHT, "top": top_in / height, "bottom": bottom_in / height}


def _from_top(figure: Figure, inches: float) -> float:
    return 1.0 - inches / figure.get_figheight()


def _end(history: History) -> Seconds:
    deadline = max((site.deadline_s for site in history.sites.values()), default=0.0)
    return max(deadline, history.stop, 1.0)


def _frame(axes: Axes, start: datetime, end: Seconds, *, labels: bool) -> None:
    """Time axis in hours of run time, labelled with UTC; light, so that the data stands out."""
    span = hours(end)
    form = "%H:%M" if span <= 24.0 else "%d %b %H:%M"
    axes.set_xlim(0, span)
    axes.xaxis.set_major_locator(MultipleLocator(_tick_hours(span)))

    def utc(hour: float, _: int | None = None) -> str:
        return (start.astimezone(UTC) + timedelta(hours=hour)).strftime(form)

    axes.xaxis.set_major_formatter(FuncFormatter(utc))
    axes.tick_params(colors=MUTED, labelsize=9, length=0, labelbottom=labels, pad=4)
    axes.tick_params(axis="x", pad=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def _tick_hours(span: float) -> float:
    for candidate in (1 / 12, 0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 12.0):
        if span / candidate <= 10:
            return candidate
    return 24.0 * np.ceil(span / 240.0)


def _strip(axes: Axes, site: SiteHistory, history: History, accounts: Accounts, colour: str) -> None:
    """One site: intensity as a line, windows as shade, phases as a bar along the bottom."""
    pieces = list(site.intensity.pieces(0.0, _end(history)))
    edges = [hours(low) for low, _, _ in pieces] + ([hours(pieces[-1][1])] if pieces else [])
    values = [value for _, _, value in pieces]
    most = max(values, default=0.0)
    top = max(most, site.threshold_g_per_kwh * 1.5, 1.0)
    axes.set_ylim(-0.38 * top, 1.08 * top)
    axes.set_yticks([0, site.threshold_g_per_kwh, *([most] if most > 2 * site.threshold_g_per_kwh else [])])
    for low, high in _windows(pieces, site.threshold_g_per_kwh):
        axes.axvspan(hours(low), hours(high), color=WINDOW, linewidth=0, zorder=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.axhline(site.threshold_g_per_kwh, color=MUTED, linewidth=0.8, dashes=(3, 3), zorder=1)
    if values:
        axes.stairs(values, edges, color=MUTED, linewidth=1.3, baseline=None, zorder=2)
    _phases(axes, site, colour, -0.27 * top, 0.18 * top)
    if accounts.optimum is not None:
        best = [(hours(a), hours(b - a)) for a, b in accounts.optimum.schedule.get(site.name, [])]
        axes.broken_barh(best, (-0.35 * top, 0.05 * top), facecolor=OPTIMUM, linewidth=0, zorder=3)
    own = [hours(c.t) for c in history.chain if site.name in c.contributors]
    axes.vlines(own, -0.08 * top, -0.015 * top, color=colour, linewidth=0.9, zorder=3)
    deaths = [hours(t) for t in site.deaths]
    axes.plot(deaths, [-0.02 * top] * len(deaths), "X", color="white", markersize=15, zorder=5)
    axes.plot(deaths, [-0.02 * top] * len(deaths), "X", color=LOST, markersize=11, zorder=6)
    axes.set_ylabel("g/kWh", color=MUTED, fontsize=8, labelpad=2)
    energy = accounts.sites[site.name]
    measured = f", {energy.metered_share:.0%} measured" if site.metered.spans else ""
    drawn = f"{energy.total_kwh:.2f} kWh{measured}\n{energy.share_in_window:.0%} in windows"
    beside(axes, site.name, colour, f"{energy.emissions_kg:.3f} kg CO2\n{drawn}")


def _windows(pieces: Sequence[tuple[Seconds, Seconds, float]], threshold: float) -> list[list[Seconds]]:
    found: list[list[Seconds]] = []
    for low, high, value in pieces:
        if value < threshold and found and found[-1][1] == low:
            found[-1][1] = high
        elif value < threshold:
            found.append([low, high])
    return found


def _phases(axes: Axes, site: SiteHistory, colour: str, bottom: float, height: float) -> None:
    for phase in ("train", "idle", "parked", "join", "sync"):
        spans = [(hours(i.start), hours(i.stop - i.start)) for i in site.intervals if i.phase == phase]
        axes.broken_barh(
            spans,
            (bottom, height),
            facecolor=PHASE_COLOURS.get(phase, colour),
            linewidth=0,
            snap=False,  # else an exchange shorter than a pixel is drawn as one, or not at all
            zorder=3,
        )
    lost = [(hours(d.begun), hours(d.t - d.begun)) for d in site.discards]
    axes.broken_barh(
        lost, (bottom, height), facecolor="white", edgecolor=LOST, hatch="/////", linewidth=0.8, zorder=4
    )


def _carbon(axes: Axes, history: History, accounts: Accounts, end: Seconds) -> None:
    """Kilograms so far: the run, each always-on site, and the optimum."""
    lines: list[Line] = []
    for index, name in enumerate(_compared(history, accounts, pairs=False)):
        curve = cumulative_baseline(history.sites[name].grid, accounts.baselines[name], end)
        dashes = BASELINE_DASHES[index % len(BASELINE_DASHES)]
        lines.append(Line(curve=curve, text=f"{name} always on", colour=MUTED, dashes=dashes))
    if accounts.optimum is not None:
        grids = {name: site.grid for name, site in history.sites.items()}
        best = cumulative_schedule(accounts.optimum, grids, join_s=accounts.join_s, end=end)
        lines.append(Line(curve=best, text="optimum", colour=OPTIMUM, width=1.8))
    run = cumulative(((site.intensity, site.draws) for site in history.sites.values()), history.stop)
    lines.append(Line(curve=run, text="this run", colour=RUN, width=2.6, bold=True))
    cumulative_panel(axes, lines)
    axes.set_ylabel("kg CO2 so far\nfor the same work", color=MUTED, fontsize=9)


def _compared(history: History, accounts: Accounts, *, pairs: bool) -> list[str]:
    """Return the baselines to draw: all of few sites, else the least and the most."""
    alone = [name for name in accounts.baselines if name in history.sites]
    if len(alone) > _MOST_COMPARED:
        ordered = sorted(alone, key=lambda name: accounts.baselines[name].emissions_kg)
        return [ordered[0], ordered[-1]]
    return list(accounts.baselines) if pairs and len(alone) <= _MOST_IN_PAIRS else alone


def _tradeoff(axes: Axes, history: History, accounts: Accounts, best: Sequence[Point]) -> None:
    marks = {
        name.replace("+", " + "): Point(finished_h=found.hours, emissions_kg=found.emissions_kg, setting=0.0)
        for name in _compared(history, accounts, pairs=True)
        for found in (accounts.baselines[name],)
    }
    state = "this run" if history.finished else "this run, unfinished"
    marks[state] = Point(
        finished_h=hours(history.stop), emissions_kg=accounts.emissions_kg, setting=hours(accounts.deadline_s)
    )
    tradeoff_panel(axes, {"optimum": best}, marks, {"optimum": OPTIMUM, state: RUN})
    axes.set_title("grey: always on", fontsize=8.5, color=MUTED, loc="right")


def _title(figure: Figure, history: History, accounts: Accounts) -> None:
    state = "finished" if history.finished else "unfinished"
    figure.text(
        _LEFT,
        _from_top(figure, 0.42),
        history.run,
        fontsize=21,
        weight="bold",
        color=INK,
        va="center",
        parse_math=False,
    )
    facts = [
        f"{state} after {hours(history.stop):.1f} h",
        f"{history.chain[-1].version if history.chain else 0:,} versions",
        f"{history.chain[-1].tokens:,} tokens" if history.chain else "no version",
        f"{accounts.emissions_kg:.2f} kg CO2",
    ]
    if accounts.reference_kg:
        facts.append(f"{accounts.emissions_kg / accounts.reference_kg:.0%} of always-on")
    facts += _saved(accounts)
    if accounts.oracle_multiple is not None:
        facts.append(f"{accounts.oracle_multiple:.2f} x the optimum")
    figure.text(_LEFT, _from_top(figure, 0.85), "   ·   ".join(facts), fontsize=11.5, color=INK, va="center")
    if history.synthetic:
        style = {"boxstyle": "round,pad=0.45", "facecolor": "#fff3d6", "edgecolor": "#e69f00"}
        figure.text(
            0.985,
            _from_top(figure, 0.42),
            "synthetic traces",
            fontsize=10.5,
            color="#7a5200",
            ha="right",
            bbox=style,
        )


def _saved(accounts: Accounts) -> list[str]:
    """The share of the possible saving where it says something; the page has words where it does not."""
    share = share_told(accounts.saving)
    return [] if share is None else [f"{share:.0%} of the possible saving"]


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=MUTED, linewidth=1.3, label="intensity, g CO2/kWh"),
        Patch(facecolor=WINDOW, label="below the threshold"),
        Patch(facecolor=SITE_COLOURS[0], label="training"),
        Patch(facecolor=PHASE_COLOURS["join"], label="joining"),
        Patch(facecolor=PHASE_COLOURS["idle"], label="idle"),
        Patch(facecolor=PHASE_COLOURS["sync"], label="exchanging"),
        Patch(facecolor=OPTIMUM, label="optimum"),
        Patch(facecolor="white", edgecolor=LOST, hatch="/////", label="thrown away"),
        Line2D([], [], color=LOST, marker="X", linestyle="", markersize=8, label="killed"),
        Line2D([], [], color=SITE_COLOURS[0], marker="|", linestyle="", markersize=7, label="version"),
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.08, _from_top(figure, 1.38)),
        ncol=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=MUTED,
        handlelength=1.4,
        columnspacing=1.4,
    )
