"""Makes up marginal carbon intensities of grids that curtail by sun, by wind, or hardly ever; seeded.

Nothing here was measured or fitted. A marginal intensity is that of the plant which gives the next watt: near
nothing while clean power is curtailed, that of gas or coal otherwise, with little in between. Each generator
decides which by a margin, what is available minus what is used, and adds what real feeds have: interruptions
of a few minutes inside a window, windows of a few minutes, days without any.

With h the solar hour, [T] a drift of mean 0 and variance 1 that forgets in T hours, and n the solar day:

    solar_heavy  sun = c_n cos(pi (h - 12) / daylight_h) (1 + a_n [.3]), within 0 and 1
                 margin = sun - surplus_at u_n (1 + .05 [2])
                 g = f_n + 40 exp(-margin / .05)                                             margin > 0
                     (380 + 140 exp(-((h - 19.5) / 2)^2)) (1 - .2 sun) + 14 [1]              else
    wind_heavy   margin = [weather_h] + .25 cos(2 pi (h - 2) / 24) - quantile(1 - windy_share)
                 g = 12 + 60 exp(-margin / .3) + 4 [1]                                       margin > 0
                     330 + 190 (1 - exp(margin / .8)) + 14 [1]                               else
    flat         g = level_g + 25 sin(2 pi (h - 14) / 24) + 10 [2]; 60 to 95 in a dip

c is .88 to 1 on clear days, .5 to .85 under clouds (where a is .12, else .01), .1 to .4 when overcast; in
half the cases a day is like the one before. u is 1 +- .05 and f 0 to 40.

Draws are made row by row in the order of time: a longer trace begins as a shorter one does. Take its first
weeks as the history that a policy learns from and what follows as the run: same seed, same climate.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist

from curtail_dist.energy.traces import Trace
from curtail_dist.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, GramsCO2PerKWh

VERSION = 1
"""Of the formulas: another one gives other values for the same seed."""


@dataclass(frozen=True, kw_only=True)
class SyntheticTrace(Trace):
    """A trace that was made up. Its `path` names it; there is a file after `write_trace`."""

    recipe: str
    """Generator, seed, version and climate."""

    def write_trace(self, path: Path) -> Path:
        """Write the trace so that `read_trace` gives the same rows, marked as synthetic; return `path`.

        Same arguments of the generator, same bytes.
        """
        lines = [f"# synthetic: made up, not measured; {self.recipe}", "time,g_per_kwh"]
        rows = zip(self.times, self.values, strict=True)
        lines += [f"{time.isoformat()},{value:.1f}" for time, value in rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path


@dataclass(frozen=True, kw_only=True)
class SolarClimate:
    """What decides when sun is curtailed."""

    noon_utc_h: float = 20.0
    """Hour of solar noon, UTC; 20 is that of California."""
    daylight_h: float = 12.0
    """From sunrise to sunset, hours."""
    surplus_at: float = 0.55
    """Share of the clear noon's sun from which on some is curtailed."""
    clear_share: float = 0.62
    """Share of clear days. A third of the others are overcast and have no window, the rest have clouds."""
    interruption_every_h: float = 5.0
    """Hours of a window from one interruption, of 5 to 15 minutes, to the next, on average."""


@dataclass(frozen=True, kw_only=True)
class WindClimate:
    """What decides when wind is curtailed."""

    noon_utc_h: float = 18.5
    """Hour of solar noon, UTC; 18.5 is that of Texas."""
    weather_h: float = 20.0
    """Time constant of the weather, hours: swings take one to two of it."""
    windy_share: float = 0.35
    """Share of time with wind to be curtailed, in the long run."""
    interruption_every_h: float = 6.0
    """Hours of a window from one interruption, of 5 to 15 minutes, to the next, on average."""


@dataclass(frozen=True, kw_only=True)
class FlatClimate:
    """How flat it is."""

    noon_utc_h: float = 11.0
    """Hour of solar noon, UTC; 11 is that of central Europe."""
    level_g: GramsCO2PerKWh = 380.0
    """Mean intensity outside of dips, g CO2/kWh."""
    dips_per_week: float = 1.0
    """Dips to 60 to 95 g CO2/kWh, of 30 to 90 minutes, a week, on average."""


def solar_heavy(
    *, days: float, seed: int, start: datetime, step_s: int = 300, climate: SolarClimate | None = None
) -> SyntheticTrace:
    """Make up a grid with too much sun at midday: 0 to 80 g/kWh then, 350 to 550 at night.

    Args:
        days: Length.
        seed: Other seeds give other weather.
        start: First row, aware.
        step_s: Length of a row, seconds.
        climate: Its knobs.
    """
    climate = climate or SolarClimate()
    chance = random.Random(f"solar_heavy/{seed}")
    rows = _Rows(days=days, start=start, step_s=step_s, noon_utc_h=climate.noon_utc_h)
    return rows.trace(f"solar_heavy, seed {seed}", climate, _solar(chance, climate, rows))


def wind_heavy(
    *, days: float, seed: int, start: datetime, step_s: int = 300, climate: WindClimate | None = None
) -> SyntheticTrace:
    """Make up a grid that the weather drives: hours or days below 100 g/kWh, calm days above 400.

    Args are those of `solar_heavy`.
    """
    climate = climate or WindClimate()
    chance = random.Random(f"wind_heavy/{seed}")
    rows = _Rows(days=days, start=start, step_s=step_s, noon_utc_h=climate.noon_utc_h)
    return rows.trace(f"wind_heavy, seed {seed}", climate, _wind(chance, climate, rows))


def flat(
    *, days: float, seed: int, start: datetime, step_s: int = 300, climate: FlatClimate | None = None
) -> SyntheticTrace:
    """Make up a grid with hardly a window: around 380 g/kWh, and an hour below 100 about once a week.

    Args are those of `solar_heavy`.
    """
    climate = climate or FlatClimate()
    chance = random.Random(f"flat/{seed}")
    rows = _Rows(days=days, start=start, step_s=step_s, noon_utc_h=climate.noon_utc_h)
    return rows.trace(f"flat, seed {seed}", climate, _flat(chance, climate, rows))


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """When the rows of a trace are."""

    days: float
    start: datetime
    step_s: int
    noon_utc_h: float

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.step_s < 1 or self.count < 2:
            raise ValueError(
                f"a trace of {self.days} days from {self.start.isoformat()} in rows of {self.step_s} s is "
                "asked for; the start must be aware and there must be at least 2 rows"
            )

    @property
    def count(self) -> int:
        return round(self.days * SECONDS_PER_DAY / self.step_s)

    def hours(self) -> Iterator[tuple[int, float]]:
        """Yield the solar day and the solar hour in [0, 24) of each row."""
        midnight = self.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        first = (self.start - midnight).total_seconds() / SECONDS_PER_HOUR - self.noon_utc_h + 12.0
        for row in range(self.count):
            day, hour = divmod(first + row * self.step_s / SECONDS_PER_HOUR, 24.0)
            yield int(day), hour

    def trace(self, name: str, climate: object, values: Iterator[float]) -> SyntheticTrace:
        start = self.start.astimezone(UTC)
        return SyntheticTrace(
            path=Path(f"synthetic {name}"),
            times=tuple(start + timedelta(seconds=row * self.step_s) for row in range(self.count)),
            values=tuple(round(max(0.0, value), 1) for value in values),
            synthetic=True,
            recipe=f"{name}, version {VERSION}, rows of {self.step_s} s, {climate}",
        )


class _Drift:
    """A Gaussian of mean 0 and variance 1 that forgets itself in `hours`: an autoregression of order 1."""

    def __init__(self, chance: random.Random, hours: float, step_s: int) -> None:
        self._chance = chance
        self._keep = math.exp(-step_s / (hours * SECONDS_PER_HOUR))
        self._value = chance.gauss(0.0, 1.0)

    def next(self) -> float:
        new = self._chance.gauss(0.0, math.sqrt(1.0 - self._keep**2))
        self._value = self._keep * self._value + new
        return self._value


class _Spells:
    """Comes over a row now and then, and stays for some minutes."""

    def __init__(
        self, chance: random.Random, step_s: int, *, every_h: float, lasts_s: tuple[float, float]
    ) -> None:
        self._chance = chance
        self._step_s = step_s
        self._likelihood = step_s / (every_h * SECONDS_PER_HOUR) if every_h > 0 else 0.0
        self._lasts_s = lasts_s
        self._left = 0

    def next(self) -> bool:
        if self._left == 0 and self._chance.random() < self._likelihood:
            self._left = max(1, round(self._chance.uniform(*self._lasts_s) / self._step_s))
        hit = self._left > 0
        self._left -= hit
        return hit


def _interruptions(chance: random.Random, every_h: float, rows: _Rows) -> _Spells:
    return _Spells(chance, rows.step_s, every_h=every_h, lasts_s=(300.0, 900.0))


@dataclass(frozen=True, kw_only=True)
class _SolarDay:
    kind: str
    clearness: float
    flicker: float
    used: float
    floor_g: GramsCO2PerKWh

    @classmethod
    def after(cls, before: "_SolarDay | None", chance: random.Random, clear_share: float) -> "_SolarDay":
        overcast_from = clear_share + (1.0 - clear_share) * 2.0 / 3.0
        draw = chance.random()
        kind = "clear" if draw < clear_share else "clouds" if draw < overcast_from else "overcast"
        if chance.random() < 0.5 and before is not None:
            kind = before.kind
        low, high = {"clear": (0.88, 1.0), "clouds": (0.5, 0.85), "overcast": (0.1, 0.4)}[kind]
        return cls(
            kind=kind,
            clearness=chance.uniform(low, high),
            flicker=0.12 if kind == "clouds" else 0.01,
            used=1.0 + chance.uniform(-0.05, 0.05),
            floor_g=chance.uniform(0.0, 40.0),
        )


def _solar(chance: random.Random, climate: SolarClimate, rows: _Rows) -> Iterator[float]:
    clouds, use, gas = (_Drift(chance, hours, rows.step_s) for hours in (0.3, 2.0, 1.0))
    interruptions = _interruptions(chance, climate.interruption_every_h, rows)
    day, number = _SolarDay.after(None, chance, climate.clear_share), None
    for row_day, hour in rows.hours():
        if row_day != number:
            day, number = _SolarDay.after(day, chance, climate.clear_share), row_day
        up = abs(hour - 12.0) < climate.daylight_h / 2
        height = math.cos(math.pi * (hour - 12.0) / climate.daylight_h) if up else 0.0
        sun = min(1.0, max(0.0, day.clearness * height * (1.0 + day.flicker * clouds.next())))
        margin = sun - climate.surplus_at * day.used * (1.0 + 0.05 * use.next())
        evening = 140.0 * math.exp(-(((hour - 19.5) / 2.0) ** 2))
        burning = (380.0 + evening) * (1.0 - 0.2 * sun) + 14.0 * gas.next()
        curtailed = margin > 0 and not interruptions.next()
        yield day.floor_g + 40.0 * math.exp(-margin / 0.05) if curtailed else burning


def _wind(chance: random.Random, climate: WindClimate, rows: _Rows) -> Iterator[float]:
    weather, noise = (_Drift(chance, hours, rows.step_s) for hours in (climate.weather_h, 1.0))
    interruptions = _interruptions(chance, climate.interruption_every_h, rows)
    needed = NormalDist().inv_cdf(1.0 - climate.windy_share)
    for _, hour in rows.hours():
        margin = weather.next() + 0.25 * math.cos(math.tau * (hour - 2.0) / 24.0) - needed
        drift = noise.next()
        if margin > 0 and not interruptions.next():
            yield 12.0 + 60.0 * math.exp(-margin / 0.3) + 4.0 * drift
        else:
            yield 330.0 + 190.0 * (1.0 - math.exp(min(margin, 0.0) / 0.8)) + 14.0 * drift


def _flat(chance: random.Random, climate: FlatClimate, rows: _Rows) -> Iterator[float]:
    noise = _Drift(chance, 2.0, rows.step_s)
    every_h = 7 * 24.0 / climate.dips_per_week if climate.dips_per_week > 0 else 0.0
    dips = _Spells(chance, rows.step_s, every_h=every_h, lasts_s=(1800.0, 5400.0))
    for _, hour in rows.hours():
        level = climate.level_g + 25.0 * math.sin(math.tau * (hour - 14.0) / 24.0) + 10.0 * noise.next()
        low = chance.uniform(60.0, 95.0)
        yield low if dips.next() else level
