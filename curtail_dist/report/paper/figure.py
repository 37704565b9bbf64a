"""courses.png: how the runs compared learned, drew and emitted, at the width of a paper's page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from curtail_dist.report.palette import FAINT, INK, MUTED, RunStyle, run_styles
from curtail_dist.report.paper.course import Course, Courses
from curtail_dist.report.paper.learned import perplexity
from curtail_dist.units import Seconds, hours

WIDTH_IN, DPI = 7.2, 200
_PANELS_IN, _ROW_IN, _BELOW_IN = 6.9, 0.17, 1.1
"""Height of all panels, of a line of the legend above them, and of what stands below them."""
_MOST_POINTS = 2000
"""Points of a line; of more, evenly spread ones are drawn."""
_HIGHEST = 1e12
"""Perplexities above this are drawn at it: a loss that went astray leaves the axis readable."""
_TEXT = 7.5
_MANY = ((", billions", 1e9), (", millions", 1e6), (", thousands", 1e3))
_IN_TITLE = 12
"""Letters of a name that a panel's title has room for."""
_SHORT, _LONGEST = 20, 56
"""Letters of a name with which four stand in a line of the legend, and at which it is cut."""
_ROOM = {"left": 0.085, "right": 0.985, "hspace": 0.52, "wspace": 0.22}


def compose_courses(courses: Courses) -> Figure:
    """Return the picture: perplexity, held-out bits per byte, power and emissions of all runs."""
    above_in = 0.35 + _ROW_IN * math.ceil(len(courses.runs) / _columns(courses.runs))
    height_in = round(above_in + _PANELS_IN + _BELOW_IN, 2)
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    place = {"top": 1 - above_in / height_in, "bottom": _BELOW_IN / height_in}
    grid = figure.add_gridspec(3, 2, **place, **_ROOM)
    styles, ways = run_styles(len(courses.runs)), (_HOURS, _tokens(courses.runs))
    panels = [[figure.add_subplot(grid[row, column]) for column in (0, 1)] for row in (0, 1, 2)]
    for axes, by in zip(panels[0], ways, strict=True):
        _perplexity(axes, courses, styles, by)
    for axes, by in zip(panels[1], ways, strict=True):
        _held_out(axes, courses, styles, by)
    _rates(panels[2][0], courses, styles, "Power, PUE included", "kW", lambda run: run.rates.kw)
    _rates(panels[2][1], courses, styles, "Emissions", "kg CO2 per h", lambda run: run.rates.kg_per_h)
    _legend(figure, courses.runs, styles)
    figure.text(_ROOM["left"], 0.012, notes(courses), fontsize=6.5, color=MUTED, va="bottom", linespacing=1.4)
    return figure


def notes(courses: Courses) -> str:
    """Return what the picture's quantities are, in lines."""
    return "\n".join(
        (
            "Training perplexity per token: e to the loss, in nats per token, on the rows being trained. "
            "Thick: of a mean loss in which a token's weight",
            f"halves with every {courses.half_life_tokens:,.0f} tokens trained since; faint: unsmoothed. "
            "Tokens: trained at all sites by then, those thrown away included.",
            "Held out: each evaluation on the held-out split; perplexity per byte is 2 to the bits per byte. "
            "Hours are run time, from each run's start.",
            f"Power and emissions: all sites, means over {span_text(courses.slice_s)}; "
            "emissions by marginal intensity.",
        )
    )


def span_text(seconds: Seconds) -> str:
    """Return a slice's length in words."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


@dataclass(frozen=True, kw_only=True)
class _By:
    """What a panel's x axis counts."""

    label: str
    place: Callable[[Seconds, int], float]
    """Of a moment and the tokens trained by then."""


_HOURS = _By(label="run time, h", place=lambda t, _: hours(t))


def _tokens(runs: Sequence[Course]) -> _By:
    most = max((run.steps[-1].by_then for run in runs if run.steps), default=0)
    word, unit = next((found for found in _MANY if most >= found[1]), ("", 1.0))
    return _By(label=f"tokens trained{word}", place=lambda _, tokens: tokens / unit)


def _perplexity(axes: Axes, courses: Courses, styles: Sequence[RunStyle], by: _By) -> None:
    for order, (run, style) in enumerate(zip(courses.runs, styles, strict=True)):
        known = [
            (by.place(step.t, step.by_then), min(perplexity(step.loss), _HIGHEST), min(value, _HIGHEST))
            for step, value in zip(run.steps, run.smoothed, strict=True)
            if step.loss is not None and value is not None
        ]
        shown = known[:: math.ceil(len(known) / _MOST_POINTS) or 1]
        places = [place for place, _, _ in shown]
        axes.plot(places, [raw for _, raw, _ in shown], color=style.colour, linewidth=0.5, alpha=0.3)
        smooth = [value for _, _, value in shown]
        axes.plot(places, smooth, color=style.colour, zorder=9 - order, **style.line)
    best = _least(courses, lambda run: run.best_perplexity)
    _frame(axes, "Training perplexity" + (f": down to {best[0]:.2f}{best[1]}" if best else ": unknown"))
    axes.set_ylabel("perplexity per token", fontsize=_TEXT, color=MUTED)
    _x_axis(axes, by)
    if best:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _held_out(axes: Axes, courses: Courses, styles: Sequence[RunStyle], by: _By) -> None:
    for order, (run, style) in enumerate(zip(courses.runs, styles, strict=True)):
        axes.plot(
            [by.place(one.t, one.tokens) for one in run.held_out],
            [one.bits_per_byte for one in run.held_out],
            marker=style.marker,
            markersize=3.5,
            markerfacecolor="white",
            color=style.colour,
            zorder=9 - order,
            clip_on=False,
            **style.line,
        )
    best = _least(courses, lambda run: run.best_held_out)
    _frame(
        axes,
        "Held out" + (f": down to {best[0]:.3f} bits per byte{best[1]}" if best else ": never evaluated"),
    )
    axes.set_ylabel("bits per byte", fontsize=_TEXT, color=MUTED)
    _x_axis(axes, by)


def _rates(
    axes: Axes,
    courses: Courses,
    styles: Sequence[RunStyle],
    title: str,
    unit: str,
    values: Callable[[Course], Sequence[float]],
) -> None:
    for order, (run, style) in enumerate(zip(courses.runs, styles, strict=True)):
        edges = [hours(edge) for edge in run.rates.edges]
        axes.stairs(
            values(run),
            edges,
            baseline=None,
            color=style.colour,
            alpha=0.9,
            zorder=9 - order,
            **{**style.line, "linewidth": 0.9},
        )
    peaks = [(float(f"{max(values(run), default=0.0):.3g}"), run.name) for run in courses.runs]
    most, name = max(peaks, key=lambda peak: peak[0])
    _frame(axes, f"{title}: up to {most:g} {unit}{_of(name, courses)}")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit, fontsize=_TEXT, color=MUTED)
    _x_axis(axes, _HOURS)


def _least(courses: Courses, value: Callable[[Course], float | None]) -> tuple[float, str] | None:
    found = [(best, run.name) for run in courses.runs for best in [value(run)] if best is not None]
    if not found:
        return None
    best, name = min(found)
    return best, _of(name, courses)


def _of(name: str, courses: Courses) -> str:
    """Return the run's name for a title; nothing where there is one run."""
    shown = name if len(name) <= _IN_TITLE else f"{name[: _IN_TITLE - 1]}…"
    return f" ({plain(shown)})" if len(courses.runs) > 1 else ""


def plain(text: str) -> str:
    """Return text that matplotlib draws as it stands: a pair of dollar signs would be a formula."""
    return text.replace("$", r"\$")


def _x_axis(axes: Axes, by: _By) -> None:
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(by.label, fontsize=_TEXT, color=MUTED, labelpad=2)


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=7.8, color=INK, loc="left")
    axes.tick_params(which="both", colors=MUTED, labelsize=7, length=0)
    axes.tick_params(axis="x", pad=6)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def _label(run: Course) -> str:
    name = run.name if len(run.name) <= _LONGEST else f"{run.name[: _LONGEST - 1]}…"
    return plain(name if run.finished else f"{name}, unfinished")


def _columns(runs: Sequence[Course]) -> int:
    longest = max(len(_label(run)) for run in runs)
    return 4 if longest <= _SHORT else 2 if longest <= 2 * _SHORT else 1


def _legend(figure: Figure, runs: Sequence[Course], styles: Sequence[RunStyle]) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            markersize=3.5,
            markerfacecolor="white",
            label=_label(run),
            **style.line,
        )
        for run, style in zip(runs, styles, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(_ROOM["left"] - 0.01, 1.0),
        ncol=_columns(runs),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=3.2,
    )
