"""The panel of losses: training loss by site, and bits per byte on the held-out split."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from matplotlib.axes import Axes

from curtail_dist.report.curves import smooth
from curtail_dist.report.history import History
from curtail_dist.report.palette import FAINT, INK, MUTED
from curtail_dist.report.panels import beside
from curtail_dist.units import SECONDS_PER_HOUR, Seconds, hours

Evaluation: TypeAlias = tuple[Seconds, int, float]
"""(run time, version, bits per byte), as in `History.evaluated`."""


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
    held_out.margins(y=0.2)
    beside(axes, "Loss", INK, "\n".join(side))


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
