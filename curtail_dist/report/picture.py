"""report.png: one picture of a run: grids and windows above, loss in the middle, emissions below."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from curtail_dist.report.accounts import Accounts
from curtail_dist.report.curves import Curve, cumulative, cumulative_baseline, smooth
from curtail_dist.report.history import History, SiteHistory
from curtail_dist.units import SECONDS_PER_HOUR, Seconds, hours

SIZE_IN, DPI = (14.0, 10.0), 100
INK, MUTED, FAINT = "#1c2430", "#667080", "#d9dee5"
SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d1f")
"""Okabe and Ito's palette, which people with any colour vision can tell apart, without its pale yellow."""
WINDOW, LOST, RUN = "#e2f2e8", "#a50f15", "#0b6e4f"
PHASE_COLOURS = {"join": "#e69f00", "idle": "#b9c0c9", "parked": "#dfe3e8", "sync": "#1c2430"}
Evaluation: TypeAlias = tuple[Seconds, int, float]
"""(run time, version, bits per byte), as in `History.evaluated`."""
BASELINE_DASHES = ((1, 1.2), (4, 1.5), (4, 1.2, 1, 1.2), (8, 2), (2, 2), (6, 1, 1, 1, 1, 1))


def draw(
    history: History,
    accounts: Accounts,
    file: Path,
    *,
    others: Mapping[str, Sequence[Evaluation]] | None = None,
) -> Path:
    """Write the picture as PNG, 1400 x 1000 pixels.

    Args:
        history: The run.
        accounts: Its emissions.
        file: Where to write.
        others: Bits per byte of runs to compare with, by name, as `History.evaluated`.
    """
    figure = Figure(figsize=SIZE_IN, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    end = _end(history)
    count = max(1, len(history.sites))
    strips = figure.add_gridspec(count, 1, left=0.085, right=0.835, top=0.885, bottom=0.505, hspace=0.16)
    below = figure.add_gridspec(2, 1, left=0.085, right=0.835, top=0.455, bottom=0.06, hspace=0.2)
    colours = {name: SITE_COLOURS[i % len(SITE_COLOURS)] for i, name in enumerate(history.sites)}
    for index, (name, site) in enumerate(history.sites.items()):
        axes = figure.add_subplot(strips[index])
        _frame(axes, history.start, end, labels=index == count - 1)
        _strip(axes, site, history, accounts, colours[name])
    loss = figure.add_subplot(below[0])
    _frame(loss, history.start, end, labels=False)
    _loss(loss, history, colours, others or {})
    carbon = figure.add_subplot(below[1])
    _frame(carbon, history.start, end, labels=True)
    _carbon(carbon, history, accounts, end)
    _title(figure, history, accounts)
    _legend(figure)
    figure.savefig(file)
    return file


def _end(history: History) -> Seconds:
    deadline = max((site.deadline_s for site in history.sites.values()), default=0.0)
    return max(deadline, history.stop, 1.0)


def _frame(axes: Axes, start: datetime, end: Seconds, *, labels: bool) -> None:
    """Time axis in hours of run time, labelled with UTC; light, so that the data stands out."""
    span = hours(end)
    axes.set_xlim(0, span)
    axes.xaxis.set_major_locator(MultipleLocator(_tick_hours(span)))

    def utc(hour: float, _: int | None = None) -> str:
        return (start.astimezone(UTC) + timedelta(hours=hour)).strftime("%H:%M")

    axes.xaxis.set_major_formatter(FuncFormatter(utc))
    axes.tick_params(colors=MUTED, labelsize=9, length=0, labelbottom=labels, pad=4)
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
    axes.set_ylim(-0.36 * top, 1.08 * top)
    axes.set_yticks([0, site.threshold_g_per_kwh, *([most] if most > 2 * site.threshold_g_per_kwh else [])])
    for low, high in _windows(pieces, site.threshold_g_per_kwh):
        axes.axvspan(hours(low), hours(high), color=WINDOW, linewidth=0, zorder=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.axhline(site.threshold_g_per_kwh, color=MUTED, linewidth=0.8, dashes=(3, 3), zorder=1)
    if values:
        axes.stairs(values, edges, color=MUTED, linewidth=1.3, baseline=None, zorder=2)
    _phases(axes, site, colour, -0.3 * top, 0.2 * top)
    own = [hours(c.t) for c in history.chain if site.name in c.contributors]
    axes.vlines(own, -0.08 * top, -0.015 * top, color=colour, linewidth=0.9, zorder=3)
    deaths = [hours(t) for t in site.deaths]
    axes.plot(deaths, [-0.02 * top] * len(deaths), "X", color="white", markersize=15, zorder=5)
    axes.plot(deaths, [-0.02 * top] * len(deaths), "X", color=LOST, markersize=11, zorder=6)
    axes.set_ylabel("g/kWh", color=MUTED, fontsize=8, labelpad=2)
    energy = accounts.sites[site.name]
    drawn = f"{energy.total_kwh:.2f} kWh\n{energy.share_in_window:.0%} in windows"
    _beside(axes, site.name, colour, f"{energy.emissions_kg:.3f} kg CO2\n{drawn}")


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


def _loss(
    axes: Axes,
    history: History,
    colours: Mapping[str, str],
    others: Mapping[str, Sequence[Evaluation]],
) -> None:
    """Training loss in nats per token by site; bits per byte on the held-out split on the right scale."""
    seen: list[float] = []
    for name, site in history.sites.items():
        for part in smooth(site.losses, gap_s=0.5 * SECONDS_PER_HOUR):
            axes.plot([hours(t) for t, _ in part], [v for _, v in part], color=colours[name], linewidth=1.6)
            seen += [value for _, value in part]
    if seen:
        low, high = min(seen), max(seen)
        axes.set_ylim(low - 0.08 * (high - low + 0.1), high + 0.08 * (high - low + 0.1))
    axes.set_ylabel("training loss\nnats per token", color=MUTED, fontsize=9)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    side = ["lines: training, by site"]
    held_out = axes.twinx()
    held_out.set_frame_on(False)
    held_out.tick_params(right=False, labelright=False)
    for (name, points), marker in zip({"": history.evaluated, **others}.items(), "Dsov^<>", strict=False):
        _held_out(held_out, points, marker, own=not name)
        side += [f"{name or 'held out'}: {points[-1][2]:.3f} bits/byte"] if points else []
    held_out.margins(y=0.2)
    _beside(axes, "Loss", INK, "\n".join(side))


def _beside(axes: Axes, title: str, colour: str, text: str) -> None:
    """What stands right of a panel."""
    place = {"transform": axes.transAxes, "va": "top"}
    axes.text(1.012, 0.98, title, color=colour, fontsize=13, weight="bold", **place)
    axes.text(1.012, 0.76, text, color=INK, fontsize=9.5, linespacing=1.35, **place)


def _held_out(axes: Axes, points: Sequence[Evaluation], marker: str, *, own: bool) -> None:
    """Marks on a scale of their own, so each says its value; of many, the first and the last do."""
    times, values = [hours(t) for t, _, _ in points], [value for _, _, value in points]
    colour = INK if own else MUTED
    axes.plot(
        times, values, marker, color=colour, markersize=5.5, markerfacecolor="white", markeredgewidth=1.4
    )
    for index, (hour, value) in enumerate(zip(times, values, strict=True)):
        if own and (len(points) <= 12 or index in (0, len(points) - 1)):
            axes.annotate(
                f"{value:.2f}",
                (hour, value),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )


def _carbon(axes: Axes, history: History, accounts: Accounts, end: Seconds) -> None:
    """Kilograms so far: the run, each always-on site, and the offline bound."""
    labels: list[tuple[float, str, str]] = []
    names = [name for name in accounts.baselines if name in history.sites]
    for index, name in enumerate(names):
        curve = cumulative_baseline(history.sites[name].grid, accounts.baselines[name], end)
        dashes = BASELINE_DASHES[index % len(BASELINE_DASHES)]
        axes.plot(*_hours(curve), color=MUTED, linewidth=1.4, dashes=dashes)
        labels.append((curve.kg[-1], f"{curve.kg[-1]:.2f}  {name} always on", MUTED))
    run = cumulative(((site.intensity, site.draws) for site in history.sites.values()), history.stop)
    axes.fill_between(*_hours(run), color=RUN, alpha=0.12, linewidth=0)
    axes.plot(*_hours(run), color=RUN, linewidth=2.6)
    axes.plot([hours(run.t[-1])], [run.kg[-1]], "o", color=RUN, markersize=6)
    labels.append((run.kg[-1], f"{accounts.emissions_kg:.2f}  this run", RUN))
    if accounts.oracle_kg is not None:
        axes.axhline(accounts.oracle_kg, color=INK, linewidth=1.0, dashes=(1.5, 1.5))
        labels.append((accounts.oracle_kg, f"{accounts.oracle_kg:.2f}  offline bound", INK))
    top = max(value for value, _, _ in labels) * 1.08 or 1.0
    axes.set_ylim(0, top)
    for place, (_, text, colour) in zip(_apart([v / top for v, _, _ in labels], 0.1), labels, strict=True):
        weight = "bold" if text.endswith("this run") else "normal"
        axes.text(
            1.012,
            place,
            text,
            transform=axes.transAxes,
            va="center",
            color=colour,
            fontsize=9.5,
            weight=weight,
        )
    axes.set_ylabel("kg CO2 so far\nfor the same work", color=MUTED, fontsize=9)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)


def _hours(curve: Curve) -> tuple[list[float], Sequence[float]]:
    return [hours(t) for t in curve.t], curve.kg


def _apart(places: Sequence[float], distance: float) -> list[float]:
    """Move label heights up until none is nearer than `distance` to the next; order is kept."""
    moved = list(places)
    below = -1.0
    for index in sorted(range(len(places)), key=lambda i: places[i]):
        moved[index] = max(places[index], below + distance)
        below = moved[index]
    return moved


def _title(figure: Figure, history: History, accounts: Accounts) -> None:
    state = "finished" if history.finished else "unfinished"
    figure.text(0.085, 0.955, history.run, fontsize=21, weight="bold", color=INK, va="center")
    facts = [
        f"{state} after {hours(history.stop):.1f} h",
        f"{len(history.chain)} versions",
        f"{history.chain[-1].tokens:,} tokens" if history.chain else "no version",
        f"{accounts.emissions_kg:.2f} kg CO2",
    ]
    if accounts.reference_kg:
        facts.append(f"{accounts.emissions_kg / accounts.reference_kg:.0%} of always-on")
    if accounts.oracle_fraction is not None:
        facts.append(f"{accounts.oracle_fraction:.0%} of the possible saving")
    figure.text(0.085, 0.92, "   ·   ".join(facts), fontsize=11.5, color=INK, va="center")
    if history.synthetic:
        style = {"boxstyle": "round,pad=0.45", "facecolor": "#fff3d6", "edgecolor": "#e69f00"}
        figure.text(0.985, 0.957, "synthetic traces", fontsize=10.5, color="#7a5200", ha="right", bbox=style)


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=MUTED, linewidth=1.3, label="intensity, g CO2/kWh"),
        Patch(facecolor=WINDOW, label="below the threshold"),
        Patch(facecolor=SITE_COLOURS[0], label="training"),
        Patch(facecolor=PHASE_COLOURS["join"], label="joining"),
        Patch(facecolor=PHASE_COLOURS["idle"], label="idle"),
        Patch(facecolor=PHASE_COLOURS["sync"], label="exchanging"),
        Patch(facecolor="white", edgecolor=LOST, hatch="/////", label="thrown away"),
        Line2D([], [], color=LOST, marker="X", linestyle="", markersize=8, label="killed"),
        Line2D([], [], color=SITE_COLOURS[0], marker="|", linestyle="", markersize=7, label="version"),
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.08, 0.004),
        ncol=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=MUTED,
        handlelength=1.4,
        columnspacing=1.4,
    )
