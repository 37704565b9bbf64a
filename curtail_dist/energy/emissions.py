"""What a site drew and emitted: the exact integral of modelled power times marginal intensity.

Power is a model (watts for each phase), not a measurement. Nothing here counts embodied emissions, cooling
beyond what the watts include, or the network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from curtail_dist.config import PowerConfig
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import GramsCO2PerKWh, Joules, Seconds, Watts, kilograms, kwh

PHASES = ("off", "join", "idle", "train", "capped", "sync", "parked")
DRAWN = ("train", "idle", "join", "sync")
"""What energy is accounted under."""


@dataclass(frozen=True, kw_only=True)
class PowerModel:
    """Watts that a site draws in each phase; off draws none, parked ranks draw idle power."""

    train_w: Watts
    idle_w: Watts
    join_w: Watts
    sync_w: Watts
    capped_w: Watts | None = None
    """While it trains under its power cap; None: it has none."""
    capped_speed: float = 1.0
    """Its speed then, as a share of that at train_w."""

    @classmethod
    def from_config(cls, config: PowerConfig) -> Self:
        """Take the run file's watts; joining and exchanging draw idle power unless it says otherwise."""
        return cls(
            train_w=config.train_w,
            idle_w=config.idle_w,
            join_w=config.idle_w if config.join_w is None else config.join_w,
            sync_w=config.idle_w if config.sync_w is None else config.sync_w,
            capped_w=config.capped_w,
            capped_speed=1.0 if config.capped_speed is None else config.capped_speed,
        )

    @classmethod
    def mean(cls, models: Sequence[Self]) -> Self:
        """Return the mean site, for a grid where no site of the run stands."""

        def of(name: str) -> Watts:
            return math.fsum(getattr(model, name) for model in models) / len(models)

        return cls(train_w=of("train_w"), idle_w=of("idle_w"), join_w=of("join_w"), sync_w=of("sync_w"))

    def watts(self, phase: str) -> Watts:
        """Return the power of a phase. Raises ValueError for a word that is none."""
        if phase not in PHASES:
            raise ValueError(f"phase is {phase!r}; it must be one of {', '.join(PHASES)}")
        if phase == "capped" and self.capped_w is not None:
            return self.capped_w
        return 0.0 if phase == "off" else getattr(self, f"{drawn_as(phase)}_w")


def drawn_as(phase: str) -> str:
    """Return what the energy of a phase counts as: parked ranks idle, capped ones train."""
    return {"parked": "idle", "capped": "train"}.get(phase, phase)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A site was in one phase on [start, stop), in run time."""

    start: Seconds
    stop: Seconds
    phase: str


@dataclass(frozen=True, kw_only=True)
class SiteEnergy:
    """A site's account."""

    energy_kwh: Mapping[str, float]
    """By phase: train, idle (parked ranks included), join, sync. Their sum is all the site drew."""
    of_which_kwh: Mapping[str, float]
    """Parts of that sum, not further to it: `wasted` (training that was thrown away) and `leave_delay`
    (drawn while the intensity was at or above the threshold)."""
    emissions_kg: float
    share_in_window: float
    """Share of the energy drawn while the intensity was below the threshold; 0 where none was drawn."""
    train_s: Seconds
    """Time in phase train or capped."""
    unknown_kwh: float
    """Part of the energy that was drawn where the trace says nothing. It counts as at or above the
    threshold, and its emissions at the highest value of the trace: unknown is not green."""

    @property
    def total_kwh(self) -> float:
        """All the site drew."""
        return math.fsum(self.energy_kwh.values())


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A stretch of constant power and intensity."""

    start: Seconds
    stop: Seconds
    phase: str
    watts: Watts
    value: GramsCO2PerKWh
    known: bool

    @property
    def energy(self) -> Joules:
        return self.watts * (self.stop - self.start)


def account(
    intervals: Sequence[Interval],
    power: PowerModel,
    intensity: StepFunction,
    *,
    threshold: GramsCO2PerKWh | None = None,
    wasted: Sequence[tuple[Seconds, Seconds]] = (),
) -> SiteEnergy:
    """Account for what a site did.

    Args:
        intervals: Its phases; gaps are off. They must not overlap (ValueError): energy would count twice.
        power: Its power model.
        intensity: Its marginal intensity over run time.
        threshold: What a window is; None: there are no windows, all energy counts as inside.
        wasted: Stretches of run time whose work was thrown away; they may overlap.
    """
    _refuse_overlap(intervals)
    limit = math.inf if threshold is None else threshold
    pieces = [piece for interval in intervals for piece in _pieces(interval, power, intensity)]
    total = math.fsum(piece.energy for piece in pieces)
    inside = math.fsum(piece.energy for piece in pieces if piece.value < limit and piece.known)
    if threshold is None:
        inside = total
    lost = _union(wasted)
    return SiteEnergy(
        energy_kwh={
            drawn: kwh(math.fsum(piece.energy for piece in pieces if drawn_as(piece.phase) == drawn))
            for drawn in DRAWN
        },
        of_which_kwh={
            "wasted": kwh(math.fsum(p.watts * _overlap(p.start, p.stop, lost) for p in pieces)),
            "leave_delay": kwh(
                math.fsum(
                    p.energy for p in pieces if threshold is not None and not (p.known and p.value < limit)
                )
            ),
        },
        emissions_kg=kilograms(math.fsum(kwh(piece.energy) * piece.value for piece in pieces)),
        share_in_window=inside / total if total > 0 else 0.0,
        train_s=math.fsum(
            i.stop - i.start for i in intervals if drawn_as(i.phase) == "train" and i.stop > i.start
        ),
        unknown_kwh=kwh(math.fsum(piece.energy for piece in pieces if not piece.known)),
    )


def _refuse_overlap(intervals: Sequence[Interval]) -> None:
    ordered = sorted((i for i in intervals if i.stop > i.start), key=lambda i: i.start)
    for earlier, later in pairwise(ordered):
        if later.start < earlier.stop - 1e-6:
            raise ValueError(f"{earlier} and {later} overlap; a site is in one phase at a time")


def _pieces(interval: Interval, power: PowerModel, intensity: StepFunction) -> list[_Piece]:
    watts = power.watts(interval.phase)

    def piece(start: Seconds, stop: Seconds, value: float, known: bool) -> _Piece:
        return _Piece(start=start, stop=stop, phase=interval.phase, watts=watts, value=value, known=known)

    found = [
        piece(low, high, value, True) for low, high, value in intensity.pieces(interval.start, interval.stop)
    ]
    before = (interval.start, min(interval.stop, intensity.start))
    after = (max(interval.start, intensity.end), interval.stop)
    highest = max(intensity.values)
    return found + [piece(low, high, highest, False) for low, high in (before, after) if high > low]


def _union(spans: Sequence[tuple[Seconds, Seconds]]) -> list[tuple[Seconds, Seconds]]:
    merged: list[tuple[Seconds, Seconds]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def _overlap(start: Seconds, stop: Seconds, spans: Sequence[tuple[Seconds, Seconds]]) -> Seconds:
    return math.fsum(max(0.0, min(stop, high) - max(start, low)) for low, high in spans)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a reckoning needs to know of a site: its intensity over run time, and its power."""

    intensity: StepFunction
    power: PowerModel
