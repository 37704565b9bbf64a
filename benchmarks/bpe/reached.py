"""A ratio beside what it is held against."""

from typing import Any


def reached(value: float, aim: tuple[float, float]) -> dict[str, Any]:
    """A ratio beside what it must be at least, and what was hoped for."""
    least, hoped = aim
    return {"value": value, "at_least": least, "hoped": hoped, "holds": value >= least}
