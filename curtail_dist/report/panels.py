"""Panels that pictures of runs and of simulations share: emissions by time, by cause, by finish time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from curtail_dist.energy.emissions import SiteEnergy
from curtail_dist.energy.pareto import Point
from curtail_dist.report.curves import Curve
from curtail_dist.report.palette import FAINT, INK, MUTED
from curtail_dist.units import hours

_CAUSES = {"train": "training", "idle": "idle", "join": "joining", "sync": "exchanging"}
_PARTS = {"leave_delay": "leave delay", "wasted": "thrown away"}
_ROOM_UP_TO = 0.62
"""Share of a panel's width up to which a label fits right of a mark."""
_LETTER = 0.0155
"""About what a letter takes of it."""
_LEADER = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.8, "shrinkB": 4}
_LOG_FROM = 5.0
"""Emissions that differ by more than this factor are drawn by their logarithm."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Kilograms so far of one way to do the work, and what is said of it at its end."""

    curve: Curve
    text: str
    colour: str
    width: float = 1.4
    dashes: tuple[float, ...] = ()
    bold: bool = False


def framed(axes: Axes, title: str) -> None:
    """Title a panel, and leave of its frame what data needs."""
    axes.set_title(title, fontsize=10.5, color=INK, loc="left")
    axes.tick_params(colors=MUTED, labelsize=8.5, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def beside(axes: Axes, title: str, colour: str, text: str) -> None:
    """What stands right of a panel. A pair of dollar signs in a name is no formula, here and elsewhere."""
    axes.text(
        1.012,
        0.98,
        title,
        color=colour,
        fontsize=13,
        weight="bold",
        va="top",
        transform=axes.transAxes,
        parse_math=False,
    )
    axes.annotate(
        text,
        (1.012, 0.98),
        xycoords="axes fraction",
        xytext=(0, -20),
        textcoords="offset points",
        color=INK,
        fontsize=9.5,
        linespacing=1.35,
        va="top",
        annotation_clip=False,
        parse_math=False,
    )


def cumulative_panel(axes: Axes, lines: Sequence[Line], *, distance: float = 0.1) -> None:
    """Draw kilograms so far by hours; each line is labelled at its end, `distance` (axes) apart at least."""
    for line in lines:
        times, kg = [hours(t) for t in line.curve.t], line.curve.kg
        (drawn,) = axes.plot(times, kg, color=line.colour, linewidth=line.width)
        if line.dashes:
            drawn.set_dashes(line.dashes)
        if line.bold:
            axes.fill_between(times, kg, color=line.colour, alpha=0.12, linewidth=0)
            axes.plot(times[-1:], kg[-1:], "o", color=line.colour, markersize=6, clip_on=False)
    top = max((line.curve.kg[-1] for line in lines), default=0.0) * 1.08 or 1.0
    axes.set_ylim(0, top)
    places = apart([line.curve.kg[-1] / top for line in lines], distance)
    for place, line in zip(places, lines, strict=True):
        axes.text(
            1.012,
            place,
            f"{line.curve.kg[-1]:.2f}  {line.text}",
            transform=axes.transAxes,
            va="center",
            color=line.colour,
            fontsize=9.5,
            weight="bold" if line.bold else "normal",
            parse_math=False,
        )
    axes.grid(axis="y", color=FAINT, linewidth=0.6)


def causes_panel(axes: Axes, sites: Mapping[str, SiteEnergy], colours: Mapping[str, str]) -> None:
    """Draw kilograms by cause, sites side by side in each bar; parts of other causes are hatched.

    What nothing was emitted for is left out.
    """
    found = {
        label: {name: energy.by_phase_kg[key] for name, energy in sites.items()}
        for key, label in _CAUSES.items()
    }
    found[_PARTS["leave_delay"]] = {name: energy.leave_delay_kg for name, energy in sites.items()}
    found[_PARTS["wasted"]] = {name: energy.wasted_kg for name, energy in sites.items()}
    bars = {label: parts for label, parts in found.items() if sum(parts.values()) > 0}
    most = max((sum(parts.values()) for parts in bars.values()), default=1.0)
    for place, (label, parts) in enumerate(bars.items()):
        part, left = label in _PARTS.values(), 0.0
        for name, mass in parts.items():
            axes.barh(
                place,
                mass,
                left=left,
                height=0.62,
                color="white" if part else colours[name],
                edgecolor=colours[name] if part else "white",
                hatch="/////" if part else None,
                linewidth=0.8,
            )
            left += mass
        axes.text(left + 0.015 * most, place, f"{left:.3f}", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_xlim(0, 1.14 * most)
    axes.invert_yaxis()
    framed(axes, "By cause, kg CO2")
    if any(label in bars for label in _PARTS.values()):
        axes.set_xlabel("hatched: part of the bars above", fontsize=8.5, color=MUTED)


def tradeoff_panel(
    axes: Axes,
    lines: Mapping[str, Sequence[Point]],
    marks: Mapping[str, Point],
    colours: Mapping[str, str],
) -> None:
    """Draw kilograms against the hour at which the work is done.

    Args:
        axes: Where to.
        lines: What one policy, or the optimum, comes to at several settings, by name.
        marks: Single runs, by name.
        colours: By name; muted for those not in it.
    """
    labels: list[tuple[Point, str]] = []
    for name, points in lines.items():
        ordered = sorted(points, key=lambda point: point.finished_h)
        if not ordered:
            continue
        axes.plot(
            [p.finished_h for p in ordered],
            [p.emissions_kg for p in ordered],
            "o-",
            color=colours.get(name, MUTED),
            markersize=4,
            linewidth=1.2,
        )
        labels.append((ordered[-1], name))
    for name, point in marks.items():
        axes.plot(point.finished_h, point.emissions_kg, "D", color=colours.get(name, MUTED), markersize=6)
        labels.append((point, name))
    framed(axes, "Against finish time, kg CO2")
    axes.set_xlabel("work done after, h", fontsize=8.5, color=MUTED)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    if labels:
        _scaled(axes, [p.emissions_kg for points in (*lines.values(), marks.values()) for p in points])
        _named(axes, labels, colours)


def _scaled(axes: Axes, masses: Sequence[float]) -> None:
    low, high = min(masses), max(masses)
    least, most = low / 1.3, high * 1.6
    if low > 0 and high > _LOG_FROM * low:
        axes.set_yscale("log")
        axes.set_ylim(least, most)
        steps = [mantissa * 10.0**exponent for exponent in range(-6, 7) for mantissa in (1, 2, 5)]
        axes.set_yticks([step for step in steps if least <= step <= most])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(0, 1.1 * high or 1.0)


def _named(axes: Axes, labels: Sequence[tuple[Point, str]], colours: Mapping[str, str]) -> None:
    """Name each line and mark: beside it, or where that would leave the panel, right of it.

    Labels of which one reaches to where another begins are kept apart in height.
    """
    spots = axes.transAxes.inverted().transform(
        axes.transData.transform([(point.finished_h, point.emissions_kg) for point, _ in labels])
    )
    for inside, members in _neighbours([float(x) for x, _ in spots], [len(name) for _, name in labels]):
        raised = 0.03 if inside else 0.0
        heights = apart([float(spots[index][1]) + raised for index in members], 0.085)
        for index, height in zip(members, heights, strict=True):
            point, name = labels[index]
            axes.annotate(
                f"{point.emissions_kg:.2f}  {name}",
                (point.finished_h, point.emissions_kg),
                xytext=(float(spots[index][0]) + 0.025 if inside else 1.03, height),
                textcoords=axes.transAxes,
                va="center",
                fontsize=8.5,
                color=colours.get(name, MUTED),
                arrowprops=None if inside else _LEADER,
                annotation_clip=False,
                parse_math=False,
            )


def _neighbours(places: Sequence[float], letters: Sequence[int]) -> list[tuple[bool, list[int]]]:
    """Return which labels must be kept apart: those inside of the panel that touch, and all right of it."""
    inside = sorted((x, index) for index, x in enumerate(places) if x <= _ROOM_UP_TO)
    groups: list[list[int]] = []
    reached = -1.0
    for x, index in inside:
        if x - 0.025 > reached:
            groups.append([])
        groups[-1].append(index)
        reached = max(reached, x + 0.025 + _LETTER * (letters[index] + len("0.00  ")))
    right = [index for index, x in enumerate(places) if x > _ROOM_UP_TO]
    return [*((True, group) for group in groups), *([(False, right)] if right else [])]


def apart(places: Sequence[float], distance: float) -> list[float]:
    """Move label heights until none is nearer than `distance` to the next: up, and down again from above 1.

    Their order is kept.
    """
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    below = -1.0
    for index in order:
        moved[index] = max(places[index], below + distance)
        below = moved[index]
    above = max(1.0, *places, -1.0) + distance
    for index in reversed(order):
        moved[index] = min(moved[index], above - distance)
        above = moved[index]
    return moved
