"""One picture of a simulated run: what sites did beside the optimum, and emissions by time and cause."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from curtail_dist.energy.emissions import drawn
from curtail_dist.energy.pareto import Point
from curtail_dist.energy.simulation import Simulation
from curtail_dist.report.curves import cumulative, cumulative_baseline
from curtail_dist.report.picture import (
    BASELINE_DASHES,
    FAINT,
    INK,
    MUTED,
    PHASE_COLOURS,
    RUN,
    SITE_COLOURS,
    WINDOW,
)
from curtail_dist.units import hours

SIZE_IN, DPI = (14.0, 9.0), 100
OPTIMUM = "#8c6d1f"


def draw(result: Simulation, points: Mapping[str, Sequence[Point]], file: Path) -> Path:
    """Write the picture.

    Args:
        result: The run.
        points: Emissions against finish time by policy (`pareto`); may be empty.
        file: Where to write; its ending names the format.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=SIZE_IN, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    scene, policy = result.scene, result.scene.config.policy
    strips = figure.add_gridspec(
        len(scene.grids), 1, left=0.07, right=0.98, top=0.9, bottom=0.45, hspace=0.15
    )
    below = figure.add_gridspec(1, 3, left=0.07, right=0.98, top=0.38, bottom=0.08, wspace=0.25)
    for index, name in enumerate(scene.grids):
        axes = figure.add_subplot(strips[index])
        _strip(axes, name, result, SITE_COLOURS[index % len(SITE_COLOURS)])
        axes.tick_params(labelbottom=index == len(scene.grids) - 1)
    _cumulative(figure.add_subplot(below[0]), result)
    _causes(figure.add_subplot(below[1]), result)
    _pareto(figure.add_subplot(below[2]), points)
    made_up = "  ·  synthetic traces" if scene.synthetic else ""
    title = f"{scene.config.run.name}: {policy.kind}, {result.emissions_kg:.3f} kg CO2{made_up}"
    figure.text(0.07, 0.95, title, fontsize=15, color=INK)
    legend = (
        "line: intensity, g/kWh   shade: below the threshold   bar: what the site did   thin bar: the optimum"
    )
    figure.text(0.07, 0.92, legend, fontsize=9, color=MUTED)
    figure.savefig(file)
    return file


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("bottom", "left"))
        spine.set_color(FAINT)


def _strip(axes: Axes, name: str, result: Simulation, colour: str) -> None:
    scene = result.scene
    threshold = scene.config.policy.threshold_g_per_kwh
    pieces = list(scene.grids[name].intensity.pieces(0.0, scene.deadline_s))
    top = max((value for _, _, value in pieces), default=1.0) or 1.0
    for low, high, value in pieces:
        if value < threshold:
            axes.axvspan(hours(low), hours(high), color=WINDOW, linewidth=0)
    if pieces:
        edges = [hours(low) for low, _, _ in pieces] + [hours(pieces[-1][1])]
        axes.stairs([value for _, _, value in pieces], edges, color=MUTED, linewidth=1.2, baseline=None)
    colours = {**PHASE_COLOURS, "train": colour, "capped": colour}
    for interval in result.played.intervals[name]:
        span = [(hours(interval.start), hours(interval.stop - interval.start))]
        alpha = 0.45 if interval.phase == "capped" else 1.0
        axes.broken_barh(span, (-0.3 * top, 0.18 * top), color=colours[interval.phase], alpha=alpha)
    if result.oracle is not None:
        best = [(hours(low), hours(high - low)) for low, high in result.oracle.schedule.get(name, [])]
        axes.broken_barh(best, (-0.4 * top, 0.06 * top), color=OPTIMUM)
    axes.set_xlim(0, hours(scene.deadline_s))
    axes.set_ylim(-0.45 * top, 1.05 * top)
    axes.set_yticks([0, top])
    _plain(axes, "")
    axes.text(0.004, 0.9, name, transform=axes.transAxes, color=colour, fontsize=10, va="top")


def _cumulative(axes: Axes, result: Simulation) -> None:
    until, grids = result.scene.deadline_s, result.scene.grids
    drew = ((g.intensity, drawn(result.played.intervals[name], g.power)) for name, g in grids.items())
    run = cumulative(drew, until)
    axes.plot([hours(at) for at in run.t], run.kg, color=RUN, linewidth=2, label="this run")
    alone = [name for name in grids if name in result.baselines]
    for name, dashes in zip(alone, BASELINE_DASHES, strict=False):
        line = cumulative_baseline(grids[name], result.baselines[name], until)
        axes.plot(
            [hours(at) for at in line.t],
            line.kg,
            color=MUTED,
            linewidth=1,
            dashes=dashes,
            label=f"always on: {name}",
        )
    if result.oracle is not None:
        axes.axhline(result.oracle.schedule_kg, color=OPTIMUM, linewidth=1, label="optimum")
    axes.set_xlim(0, hours(until))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)
    _plain(axes, "kg CO2 so far, by hour")


def _causes(axes: Axes, result: Simulation) -> None:
    found = {name: mass for name, mass in result.by_cause_kg.items() if mass > 0}
    colours = {**PHASE_COLOURS, "train": RUN, "leave_delay": "#a50f15"}
    axes.barh(list(found), list(found.values()), color=[colours[name] for name in found])
    axes.invert_yaxis()
    _plain(axes, "kg CO2 by cause (leave_delay: the part above the threshold)")


def _pareto(axes: Axes, points: Mapping[str, Sequence[Point]]) -> None:
    colours = {"work-price": RUN, "optimum": OPTIMUM, "threshold": SITE_COLOURS[1]}
    for name, found in points.items():
        if found:
            ordered = sorted(found, key=lambda point: point.finished_h)
            times, masses = [p.finished_h for p in ordered], [p.emissions_kg for p in ordered]
            axes.plot(times, masses, "o-", color=colours[name], markersize=4, linewidth=1, label=name)
    if any(points.values()):
        axes.legend(fontsize=8, frameon=False)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("finished after, h", fontsize=8, color=MUTED)
        _plain(axes, "kg CO2 against finish time")
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "--pareto adds emissions\nagainst finish time", color=MUTED, ha="center")
