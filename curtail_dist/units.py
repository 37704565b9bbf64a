"""Physical units as named types, and every conversion between them.

Signs: power drawn from the grid is positive. Emissions are positive when carbon dioxide is released.
"""

from typing import TypeAlias

Seconds: TypeAlias = float
"""A duration or a run time, in seconds."""
Watts: TypeAlias = float
"""Electric power drawn, in watts."""
Joules: TypeAlias = float
"""Energy drawn, in joules."""
GramsCO2PerKWh: TypeAlias = float
"""Carbon intensity of electricity, in grams of CO2 per kilowatt-hour; marginal unless said otherwise."""
Grams: TypeAlias = float
"""A mass of CO2, in grams."""

JOULES_PER_KWH = 3_600_000.0
GRAMS_PER_LB = 453.59237
GRAMS_PER_KG = 1000.0
SECONDS_PER_HOUR = 3600.0
SECONDS_PER_DAY = 86_400.0


def kwh(energy: Joules) -> float:
    """Convert joules to kilowatt-hours."""
    return energy / JOULES_PER_KWH


def hours(duration: Seconds) -> float:
    """Convert seconds to hours."""
    return duration / SECONDS_PER_HOUR


def kilograms(mass: Grams) -> float:
    """Convert grams to kilograms."""
    return mass / GRAMS_PER_KG
