"""How a payload is divided among lanes."""

from itertools import pairwise

_LANE_BYTES = 1 << 16
"""A lane is used for no less than this."""


def spans(size: int, lanes: int) -> list[slice]:
    """Divide a buffer among lanes, as many as are worth it: the same at all ranks for the same size."""
    used = min(lanes, -(-size // _LANE_BYTES))
    cuts = [size * lane // used for lane in range(used + 1)] if used else []
    return [slice(first, last) for first, last in pairwise(cuts)]
