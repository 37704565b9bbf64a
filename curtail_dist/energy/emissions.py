"""What a site drew and emitted: the exact integral of power times intensity.

Power is what a meter said where one was read, and a model (watts for each phase) elsewhere. What is counted
besides, and what is not, stands in `footprint`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from curtail_dist.config import PowerConfig
from curtail_dist.energy.meters.draws import OFF, Draw, Stay, draws
from curtail_dist.energy.meters.spans import Span
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
    pue: float = 1.0
    """Power usage effectiveness. The watts above include it; what a meter says is multiplied by it."""

    @classmethod
    def from_config(cls, config: PowerConfig, *, pue: float = 1.0) -> Self:
        """Take the run file's watts; joining and exchanging draw idle power unless it says otherwise."""
        return cls(
            train_w=config.train_w * pue,
            idle_w=config.idle_w * pue,
            join_w=(config.idle_w if config.join_w is None else config.join_w) * pue,
            sync_w=(config.idle_w if config.sync_w is None else config.sync_w) * pue,
            capped_w=None if config.capped_w is None else config.capped_w * pue,
            capped_speed=1.0 if config.capped_speed is None else config.capped_speed,
            pue=pue,
        )

    @classmethod
    def mean(cls, models: Sequence[Self]) -> Self:
        """Return the mean site, for a grid where no site of the run stands."""

        def of(name: str) -> Watts:
            return math.fsum(getattr(model, name) for model in models) / len(models)

        return cls(train_w=of("train_w"), idle_w=of("idle_w"), join_w=of("join_w"), sync_w=of("sync_w"))

    @property
    def source(self) -> str:
        """Where modelled energy comes from, as `Meter.source` tells it of measured energy."""
        stated = [f"{name} {self.watts(name):g} W" for name in DRAWN]
        if self.capped_w is not None:
            stated.append(f"capped {self.capped_w:g} W")
        return f"power model, stated and not measured: {', '.join(stated)} (PUE {self.pue:g} included)"

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
    """A site's account, PUE included."""

    energy_kwh: Mapping[str, float]
    """By phase: train, idle (parked ranks included), join, sync. Their sum is all the site drew."""
    of_which_kwh: Mapping[str, float]
    """Parts of that sum, not further to it: `wasted` (training that was thrown away) and `leave_delay`
    (drawn while the intensity was at or above the threshold)."""
    emissions_kg: float
    """By marginal intensity."""
    by_phase_kg: Mapping[str, float]
    """The same by phase, as `energy_kwh`."""
    leave_delay_kg: float
    """Part of it that was emitted while the intensity was at or above the threshold."""
    wasted_kg: float
    """Part of it that work emitted which was thrown away."""
    average_kg: float | None
    """By the grid's average intensity (location-based); None where that is not known throughout."""
    share_in_window: float
    """Share of the energy drawn while the intensity was below the threshold; 0 where none was drawn."""
    train_s: Seconds
    """Time in phase train or capped."""
    on_s: Seconds
    """Time in any phase but off."""
    unknown_kwh: float
    """Part of the energy that was drawn where the trace says nothing. It counts as at or above the
    threshold, and its emissions at the highest value of the trace: unknown is not green."""
    modelled_kwh: float
    """Part of the energy that nothing measured: the power model's, and what a meter only states."""
    stated_kwh: float
    """Part of that which a meter states; the rest of it is the power model's."""
    apportioned_kwh: float
    """Part that was measured, but given to its phase by the power model: the reading spanned several."""
    off_kwh: float
    """What a meter saw while the site was off; in no other number here, for the hardware is not the run's
    then."""

    @property
    def total_kwh(self) -> float:
        """All the site drew."""
        return math.fsum(self.energy_kwh.values())

    @property
    def metered_share(self) -> float:
        """Share of its energy that a meter measured; 0 where none was drawn."""
        return measured_share(self.total_kwh, self.modelled_kwh)


def measured_share(total_kwh: float, modelled_kwh: float) -> float:
    """Return the share of energy that was not modelled; 0 where there is none."""
    # Both are sums, in another order: what differs in the last digits alone is the same.
    if total_kwh <= 0 or math.isclose(total_kwh, modelled_kwh, rel_tol=1e-12):
        return 0.0
    return max(0.0, 1.0 - modelled_kwh / total_kwh)


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A stretch of constant power and intensity."""

    start: Seconds
    stop: Seconds
    draw: Draw
    value: GramsCO2PerKWh
    known: bool

    @property
    def energy(self) -> Joules:
        return self.draw.watts * (self.stop - self.start)


def drawn(intervals: Sequence[Interval], power: PowerModel, metered: Sequence[Span] = ()) -> list[Draw]:
    """Return what a site drew, in order, PUE included: as metered where it was, else by the model.

    Raises ValueError for intervals or spans that overlap.
    """
    stays = [
        Stay(start=i.start, stop=i.stop, phase=i.phase, watts=power.watts(i.phase))
        for i in intervals
        if i.phase != OFF
    ]
    spans = [
        Span(start=s.start, stop=s.stop, joules=s.joules * power.pue, stated=s.stated * power.pue)
        for s in metered
    ]
    return draws(stays, spans)


def emitted_kg(drew: Iterable[Draw], intensity: StepFunction) -> float:
    """Return what was emitted by marginal intensity, as `account` counts it: while off, nothing."""
    return _emitted_kg(piece for draw in drew if draw.phase != OFF for piece in _pieces(draw, intensity))


def account(
    intervals: Sequence[Interval],
    power: PowerModel,
    intensity: StepFunction,
    *,
    threshold: GramsCO2PerKWh | None = None,
    wasted: Sequence[tuple[Seconds, Seconds]] = (),
    metered: Sequence[Span] = (),
    average: StepFunction | None = None,
) -> SiteEnergy:
    """Account for what a site did.

    Args:
        intervals: Its phases; gaps are off. They must not overlap (ValueError): energy would count twice.
        power: Its power model.
        intensity: Its marginal intensity over run time.
        threshold: What a window is; None: there are no windows, all energy counts as inside.
        wasted: Stretches of run time whose work was thrown away; they may overlap.
        metered: What its meter said, without PUE; must not overlap (ValueError). The model counts elsewhere.
        average: Its grid's average intensity over run time; None: unknown.
    """
    known_draws = drawn(intervals, power, metered)
    counted = [draw for draw in known_draws if draw.phase != OFF]
    pieces = [piece for draw in counted for piece in _pieces(draw, intensity)]
    limit = math.inf if threshold is None else threshold
    outside = [] if threshold is None else [p for p in pieces if not (p.known and p.value < limit)]
    total, above = _energy(pieces), _energy(outside)
    lost = _union(wasted)
    return SiteEnergy(
        energy_kwh={
            name: kwh(math.fsum(draw.energy for draw in counted if drawn_as(draw.phase) == name))
            for name in DRAWN
        },
        of_which_kwh={
            "wasted": kwh(math.fsum(p.draw.watts * _overlap(p.start, p.stop, lost) for p in pieces)),
            "leave_delay": kwh(above),
        },
        emissions_kg=_emitted_kg(pieces),
        by_phase_kg={
            name: _emitted_kg(p for p in pieces if drawn_as(p.draw.phase) == name) for name in DRAWN
        },
        leave_delay_kg=_emitted_kg(outside),
        wasted_kg=kilograms(
            math.fsum(kwh(p.draw.watts * _overlap(p.start, p.stop, lost)) * p.value for p in pieces)
        ),
        average_kg=_average_kg(counted, average),
        share_in_window=(total - above) / total if total > 0 else 0.0,
        train_s=_time(i for i in intervals if drawn_as(i.phase) == "train"),
        on_s=_time(i for i in intervals if i.phase != OFF),
        unknown_kwh=kwh(_energy(piece for piece in pieces if not piece.known)),
        modelled_kwh=kwh(math.fsum(draw.modelled_energy for draw in counted)),
        stated_kwh=kwh(math.fsum(draw.modelled_energy for draw in counted if draw.by_meter)),
        apportioned_kwh=kwh(math.fsum(draw.energy for draw in counted if draw.apportioned)),
        off_kwh=kwh(math.fsum(draw.energy for draw in known_draws if draw.phase == OFF)),
    )


def _energy(pieces: Iterable[_Piece]) -> Joules:
    return math.fsum(piece.energy for piece in pieces)


def _emitted_kg(pieces: Iterable[_Piece]) -> float:
    return kilograms(math.fsum(kwh(piece.energy) * piece.value for piece in pieces))


def _time(intervals: Iterable[Interval]) -> Seconds:
    return math.fsum(i.stop - i.start for i in intervals if i.stop > i.start)


def _average_kg(counted: Sequence[Draw], average: StepFunction | None) -> float | None:
    if average is None or not all(average.covers(d.start, d.stop) for d in counted if d.watts):
        return None
    grams = (kwh(draw.watts * average.integral(draw.start, draw.stop)) for draw in counted if draw.watts)
    return kilograms(math.fsum(grams))


def _pieces(draw: Draw, intensity: StepFunction) -> list[_Piece]:
    def piece(start: Seconds, stop: Seconds, value: float, known: bool) -> _Piece:
        return _Piece(start=start, stop=stop, draw=draw, value=value, known=known)

    found = [piece(low, high, value, True) for low, high, value in intensity.pieces(draw.start, draw.stop)]
    before = (draw.start, min(draw.stop, intensity.start))
    after = (max(draw.start, intensity.end), draw.stop)
    outside = [(low, high) for low, high in (before, after) if high > low]
    if not outside:
        return found  # not looking for the highest value: a curve asks for thousands of short draws
    highest = max(intensity.values)
    return found + [piece(low, high, highest, False) for low, high in outside]


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
