"""The panel of losses: training loss by site, and bits per byte on the held-out split."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from curtail_dist.report.curves import smooth
from curtail_dist.report.history import History
from curtail_dist.report.palette import FAINT, INK, MUTED
from curtail_dist.report.panels import beside
from curtail_dist.units import SECONDS_PER_HOUR, Seconds, hours

Evaluation: TypeAlias = tuple[Seconds, int, float]
"""(run time, version, bits per byte), as in `History.evaluated`."""
_ROOM = 0.035
"""What a label takes of the panel's width."""


def loss_panel(
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
    if history.astray:
        side.append("held out: not all are numbers")
    held_out.margins(y=0.2)
    beside(axes, "Loss", INK, "\n".join(side))


def _held_out(axes: Axes, points: Sequence[Evaluation], marker: str, *, own: bool) -> None:
    """Marks on a scale of their own, so they say their values."""
    times, values = [hours(t) for t, _, _ in points], [value for _, _, value in points]
    colour = INK if own else MUTED
    style = {"color": colour, "markersize": 5.5, "markerfacecolor": "white", "markeredgewidth": 1.4}
    axes.plot(times, values, marker, clip_on=False, **style)
    if not own or not points:
        return
    low, high = axes.get_xlim()
    for index in _labelled([(hour - low) / (high - low) for hour in times]):
        at_edge = times[index] - low < _ROOM * (high - low) / 2
        label = axes.annotate(
            f"{values[index]:.2f}",
            (times[index], values[index]),
            xytext=(-3 if at_edge else 0, 8),
            textcoords="offset points",
            ha="left" if at_edge else "center",
            fontsize=8,
            color=colour,
        )
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _labelled(places: Sequence[float]) -> list[int]:
    """Return which marks say their value: the newest, and before it those with room, at most twelve."""
    step = max(_ROOM, 1 / 12 if len(places) > 12 else 0.0)
    chosen: list[int] = []
    for index in reversed(range(len(places))):
        if not chosen or places[chosen[-1]] - places[index] >= step:
            chosen.append(index)
    return chosen[::-1]
