"""Colours and dashes of the pictures."""

INK, MUTED, FAINT = "#1c2430", "#667080", "#d9dee5"
SITE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d1f")
"""Okabe and Ito's palette, which people with any colour vision can tell apart, without its pale yellow."""
WINDOW, LOST, RUN, OPTIMUM = "#e2f2e8", "#a50f15", "#0b6e4f", "#6a3d9a"
PHASE_COLOURS = {"join": "#e69f00", "idle": "#b9c0c9", "parked": "#dfe3e8", "sync": "#1c2430"}
BASELINE_DASHES = ((1, 1.2), (4, 1.5), (4, 1.2, 1, 1.2), (8, 2), (2, 2), (6, 1, 1, 1, 1, 1))


def site_colours(names: list[str]) -> dict[str, str]:
    """Return a colour for each site; they repeat after six."""
    return {name: SITE_COLOURS[index % len(SITE_COLOURS)] for index, name in enumerate(names)}
