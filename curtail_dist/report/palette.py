"""Colours and dashes of the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INK, MUTED, FAINT = "#1c2430", "#667080", "#d9dee5"
SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d1f")
"""Okabe and Ito's palette, which people with any colour vision can tell apart, without its pale yellow."""
WINDOW, LOST, RUN, OPTIMUM = "#e2f2e8", "#a50f15", "#0b6e4f", "#6a3d9a"
PHASE_COLOURS = {"join": "#e69f00", "idle": "#b9c0c9", "parked": "#dfe3e8", "sync": "#1c2430"}
BASELINE_DASHES = ((1, 1.2), (4, 1.5), (4, 1.2, 1, 1.2), (8, 2), (2, 2), (6, 1, 1, 1, 1, 1))


def site_colours(names: list[str]) -> dict[str, str]:
    """Return a colour for each site; they repeat after six."""
    return {name: SITE_COLOURS[index % len(SITE_COLOURS)] for index, name in enumerate(names)}


@dataclass(frozen=True, kw_only=True)
class RunStyle:
    """How one of several runs is drawn; dashes and marks tell runs apart without colour, too."""

    colour: str
    marker: str
    line: Mapping[str, Any]
    """`linestyle` and `linewidth`, as matplotlib takes them."""


def run_styles(count: int) -> list[RunStyle]:
    """Return a style for each of so many runs: the first solid and thickest; they repeat after seven."""
    others = [
        RunStyle(colour=colour, marker=marker, line={"linestyle": (0, dashes), "linewidth": 1.2})
        for colour, marker, dashes in zip(SITE_COLOURS, "sov^<>", BASELINE_DASHES, strict=True)
    ]
    first = RunStyle(colour=RUN, marker="D", line={"linestyle": "-", "linewidth": 1.6})
    return [[first, *others][index % (1 + len(others))] for index in range(count)]
