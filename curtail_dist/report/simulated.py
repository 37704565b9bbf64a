"""One picture of a simulated run: what sites did beside the optimum, and emissions by time and cause."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from curtail_dist.energy.emissions import drawn
from curtail_dist.energy.pareto import Point
from curtail_dist.energy.simulation import Simulation
from curtail_dist.report.curves import cumulative, cumulative_baseline, cumulative_schedule
from curtail_dist.report.palette import (
    BASELINE_DASHES,
    INK,
    MUTED,
    OPTIMUM,
    PHASE_COLOURS,
    RUN,
    SITE_COLOURS,
    WINDOW,
    site_colours,
)
from curtail_dist.report.panels import Line, beside, causes_panel, cumulative_panel, framed, tradeoff_panel
from curtail_dist.units import hours

SIZE_IN, DPI = (14.0, 9.0), 100


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
        len(scene.grids), 1, left=0.07, right=0.86, top=0.9, bottom=0.45, hspace=0.15
    )
    colours = site_colours(list(scene.grids))
    for index, name in enumerate(scene.grids):
        axes = figure.add_subplot(strips[index])
        _strip(axes, name, result, colours[name])
        axes.tick_params(labelbottom=index == len(scene.grids) - 1)
    _cumulative(figure.add_axes((0.07, 0.08, 0.22, 0.28)), result)
    causes_panel(figure.add_axes((0.485, 0.08, 0.19, 0.28)), result.energy, colours)
    _tradeoff(figure.add_axes((0.72, 0.08, 0.16, 0.28)), points)
    made_up = "  ·  synthetic traces" if scene.synthetic else ""
    title = f"{scene.config.run.name}: {policy.kind}, {result.emissions_kg:.3f} kg CO2{made_up}"
    figure.text(0.07, 0.95, title, fontsize=15, color=INK, parse_math=False)
    legend = (
        "line: intensity, g/kWh   shade: below the threshold   bar: what the site did "
        "(orange: joining, black: exchanging)   thin bar: the optimum"
    )
    figure.text(0.07, 0.92, legend, fontsize=9, color=MUTED)
    figure.savefig(file)
    return file


def _strip(axes: Axes, name: str, result: Simulation, colour: str) -> None:
    scene = result.scene
    threshold = scene.config.policy.threshold_g_per_kwh
    intensity = scene.as_done(result.played.intervals)[name].intensity
    pieces = list(intensity.pieces(0.0, scene.deadline_s))
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
    axes.set_yticks([0, top], ["0", f"{top:.0f}"])
    framed(axes, "")
    energy = result.energy[name]
    beside(axes, name, colour, f"{energy.emissions_kg:.3f} kg CO2\n{energy.total_kwh:.2f} kWh")


def _cumulative(axes: Axes, result: Simulation) -> None:
    until, grids = result.scene.deadline_s, result.scene.grids
    lines: list[Line] = []
    for index, name in enumerate(name for name in grids if name in result.baselines):
        curve = cumulative_baseline(grids[name], result.baselines[name], until)
        dashes = BASELINE_DASHES[index % len(BASELINE_DASHES)]
        lines.append(Line(curve=curve, text=f"{name} always on", colour=MUTED, dashes=dashes))
    if result.oracle is not None:
        join_s = result.scene.rhythm.join_s
        best = cumulative_schedule(result.oracle, result.scene.greenest, join_s=join_s, end=until)
        lines.append(Line(curve=best, text="optimum", colour=OPTIMUM, width=1.8))
    done = result.scene.as_done(result.played.intervals)
    drew = ((g.intensity, drawn(result.played.intervals[name], g.power)) for name, g in done.items())
    played = cumulative(drew, result.played.finished_at or until)
    lines.append(Line(curve=played, text="this run", colour=RUN, width=2.6, bold=True))
    cumulative_panel(axes, lines)
    framed(axes, "So far, kg CO2")
    axes.set_xlim(0, hours(until))
    axes.set_xlabel("run time, h", fontsize=8.5, color=MUTED)


def _tradeoff(axes: Axes, points: Mapping[str, Sequence[Point]]) -> None:
    if any(points.values()):
        colours = {"work-price": RUN, "optimum": OPTIMUM, "threshold": SITE_COLOURS[1]}
        tradeoff_panel(axes, points, {}, colours)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "--pareto adds emissions\nagainst finish time", color=MUTED, ha="center")
