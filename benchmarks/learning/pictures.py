"""Pictures of the learning runs: tuning, and the distance to synchronous training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""
_DPI = 110


def draw_tuning(
    losses: Mapping[str, Mapping[float, float]], panels: Mapping[str, Mapping[str, str]], place: Path
) -> None:
    """Draw the held-out loss over the inner rate.

    Args:
        losses: Nats a token by setup, then by factor of the inner rates.
        panels: By title, then by label of a line, the setup that it shows.
        place: PNG to write.
    """
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for panel, (title, lines) in zip(axes, panels.items(), strict=True):
        for colour, (label, setup) in zip(("black", *COLOURS), lines.items(), strict=False):
            curve = losses.get(setup, {})
            rates = sorted(curve)
            panel.plot(rates, [curve[rate] for rate in rates], "o-", color=colour, label=label, markersize=4)
        panel.set_title(title, fontsize=10)
        panel.set_xscale("log", base=2)
        ticks = sorted({rate for curve in losses.values() for rate in curve})
        panel.set_xticks(ticks, [f"{rate:g}" for rate in ticks])
        panel.set_xlabel("factor of the inner learning rates")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("held-out loss, nats a token")
    axes[-1].legend(frameon=False, fontsize=8)
    figure.savefig(place, dpi=_DPI)


def draw_distances(
    summary: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Mapping[str, str]],
    place: Path,
    *,
    aims: Sequence[float] = (),
) -> None:
    """Draw how far above synchronous training runs ended; each seed is a dot.

    Args:
        summary: As `bench_learning.summary` gives it.
        groups: By the group's name, then by label, the name of runs in the summary.
        place: PNG to write.
        aims: For each group, what was aimed at, in percent.
    """
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.subplots()
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    width = 0.85 / len(labels)
    for number, group in enumerate(groups.values()):
        for label, name in group.items():
            series = labels.index(label)
            each = [100 * one for one in summary.get(name, {}).get("over_sync_by_seed", ())]
            at = number + (series - (len(labels) - 1) / 2) * width
            if each:
                colour = COLOURS[series % len(COLOURS)]
                axes.bar(at, sum(each) / len(each), 0.9 * width, color=colour, alpha=0.5)
                axes.plot([at] * len(each), each, ".", color=colour)
    for series, label in enumerate(labels):
        axes.bar(0, 0, 0, color=COLOURS[series % len(COLOURS)], alpha=0.5, label=label)
    for number, aim in enumerate(aims):
        axes.hlines(aim, number - 0.47, number + 0.47, color="black", linestyle=":", linewidth=1)
    axes.axhline(0.0, color="black", linewidth=1)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylabel("held-out loss over synchronous, %" + ("\n(dotted: aimed at)" if aims else ""))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(place, dpi=_DPI)
