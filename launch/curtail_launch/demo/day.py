"""Synthetic carbon-intensity traces with the windows of a published day.

The published run (arXiv 2602.22760) trained at three sites while their grids were below 100 g/kWh. Its
windows are kept to the minute; the intensities between are made up, smooth, and the same for the same seed.
Nothing here was measured.
"""

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

STEP_S = 300
"""Length of a row."""
START = datetime(2026, 3, 21, 17, 0, tzinfo=UTC)
"""Run time 0 of every day."""
THRESHOLD_G_PER_KWH = 100.0
"""Inside a window every value is below it, outside none is."""
MARGIN_S = 2 * 3600
"""What the traces cover beyond the day, for baselines that run longer."""

_LOW = (2.0, 58.0)
_HIGH = (150.0, 600.0)
_RAMP_S = {True: 5400.0, False: 1800.0}
"""How fast the intensity leaves the edge of a window, inside and outside."""

Window = tuple[str, str]
"""From, to (exclusive), as HH:MM UTC; a time before 17:00 is on the next day."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day's windows by site."""

    length_s: int
    grids: Mapping[str, str]
    """Site -> the grid whose windows it has."""
    windows: Mapping[str, tuple[Window, ...]]

    def open_s(self, sites: Iterable[str]) -> int:
        """Return the time that sites' windows hold, all together."""
        return sum(seconds(end) - seconds(begin) for site in sites for begin, end in self.windows[site])


DAYS: Mapping[str, Day] = {
    "published": Day(
        length_s=18 * 3600,
        grids={"california": "CAISO_NORTH", "texas": "SPP_TX", "south-australia": "NEM_SA"},
        windows={
            "california": (("17:05", "19:05"), ("19:20", "23:25")),
            "texas": (("03:05", "03:15"), ("03:20", "09:25"), ("09:30", "10:05")),
            "south-australia": (("21:40", "08:10"),),
        },
    ),
    "short": Day(
        length_s=6 * 3600,
        grids={"california": "made up", "texas": "made up", "south-australia": "made up"},
        windows={
            "california": (("17:05", "19:05"),),
            "texas": (("18:20", "18:40"), ("18:55", "21:30")),
            "south-australia": (("20:10", "22:40"),),
        },
    ),
}
"""Days by name: `published`, 18 h, and `short`, 6 h, with windows made up, too."""


def seconds(time: str) -> int:
    """Return the run time of a HH:MM of a day."""
    hour, minute = (int(part) for part in time.split(":"))
    return ((hour - START.hour) % 24) * 3600 + (minute - START.minute) * 60


def write_day(directory: Path, name: str = "published", seed: int = 1) -> dict[str, Path]:
    """Write a day's traces to `directory/<site>.csv`; return them by site. Same arguments, same bytes."""
    day = DAYS[name]
    directory.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for site, windows in day.windows.items():
        values = intensities(day, site, random.Random(f"{name}/{site}/{seed}"))
        spans = ", ".join(f"[{begin}, {end})" for begin, end in windows)
        lines = [
            f"# synthetic: made up, not measured; day {name}, seed {seed}.",
            f"# Below {THRESHOLD_G_PER_KWH:g} g/kWh in {spans} UTC,",
            f"# the windows of {day.grids[site]}. Marginal intensity, rows of {STEP_S} s.",
            "time,g_per_kwh",
        ]
        times = (START + timedelta(seconds=STEP_S * row) for row in range(len(values)))
        lines += [f"{time.isoformat()},{value:.1f}" for time, value in zip(times, values, strict=True)]
        written[site] = directory / f"{site}.csv"
        written[site].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def intensities(day: Day, site: str, chance: random.Random) -> list[float]:
    """Return one value for each row of a site's day and its margin."""
    spans = [(seconds(begin), seconds(end)) for begin, end in day.windows[site]]
    edges = [edge for span in spans for edge in span]
    wave = _wave(chance)
    values: list[float] = []
    for row in range((day.length_s + MARGIN_S) // STEP_S):
        middle = row * STEP_S + STEP_S / 2
        inside = any(begin <= row * STEP_S < end for begin, end in spans)
        depth = 1 - math.exp(-3 * min(abs(middle - edge) for edge in edges) / _RAMP_S[inside])
        level = depth * (0.6 + 0.4 * wave(middle))
        low, high = _LOW if inside else _HIGH
        values.append(high - (high - low) * level if inside else low + (high - low) * level)
    return values


def _wave(chance: random.Random) -> "_Wave":
    return _Wave(
        terms=tuple(
            (chance.uniform(0.2, 1.0), chance.uniform(1200.0, 18000.0), chance.uniform(0, math.tau))
            for _ in range(6)
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Wave:
    """A sum of sines, scaled to [-1, 1]."""

    terms: tuple[tuple[float, float, float], ...]
    """Amplitude, period in seconds, phase."""

    def __call__(self, at: float) -> float:
        total = sum(size * math.sin(math.tau * at / period + phase) for size, period, phase in self.terms)
        return total / sum(size for size, _, _ in self.terms)
