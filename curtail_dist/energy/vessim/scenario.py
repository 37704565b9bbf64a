"""What a site's microgrid consists of, and Vessim's models of it.

Signs are Vessim's: the power of an actor is positive where it produces, that of a battery or the grid
connection is positive where it takes power, so that imports and discharging are negative.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import vessim  # pyright: ignore[reportMissingTypeStubs]  (it ships no types)

from curtail_dist.config.microgrid import MicrogridConfig, StorageConfig
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.vessim.trace import played
from curtail_dist.errors import TraceError
from curtail_dist.units import Seconds, kilograms

CONSUMER = "gpus"
"""Name of the site's own consumer in Vessim's records."""
CARBON = "carbon_intensity"
"""Name of the grid's intensity in Vessim's records; kg CO2/kWh, as Vessim's emissions metric wants it."""


class Battery(vessim.SimpleBattery):
    """Vessim's battery with an upper state of charge and a power limit for each direction."""

    def __init__(self, config: StorageConfig) -> None:
        """Take the run file's limits."""
        super().__init__(
            "battery",
            capacity=config.capacity_wh,
            initial_soc=config.initial_soc,
            min_soc=config.min_soc,
        )
        self._limits = config

    def feasible_range(self, duration: Seconds) -> tuple[float, float]:
        """Return the least (negative: discharging) and the most power, W, that it can hold for `duration`."""
        low, high = super().feasible_range(duration)
        limits = self._limits
        room = (limits.max_soc * limits.capacity_wh - self.charge_level) * 3600.0 / duration
        give = math.inf if limits.max_discharge_w is None else limits.max_discharge_w
        take = math.inf if limits.max_charge_w is None else limits.max_charge_w
        return max(low, -give), max(0.0, min(high, take, room))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A site's microgrid over run time; makes any number of fresh Vessim models of it.

    It begins at the first tick (a multiple of config.step_s) at or after run time 0 where the traces have
    begun, and ends with the first of them. Vessim's elapsed time 0 is that beginning. Dispatch is Vessim's
    default: a surplus goes to the battery and the rest to the grid, without a limit; a shortfall is taken
    from the battery and the rest from the grid.
    """

    site: str
    config: MicrogridConfig
    intensity: StepFunction
    """Of the grid, g CO2/kWh over run time, from `begin` to `end`."""
    production: StepFunction | None
    """Watts over run time, from `begin` to `end`."""

    @classmethod
    def between(
        cls, site: str, config: MicrogridConfig, intensity: StepFunction, production: StepFunction | None
    ) -> Self:
        """Cut the series to what they have in common. Raises TraceError where that is nothing."""
        parts = [intensity] if production is None else [intensity, production]
        begin = math.ceil(max(0.0, *(part.start for part in parts)) / config.step_s) * float(config.step_s)
        cut = [part.clipped(begin, min(part.end for part in parts)) for part in parts]
        if cut[0] is None or cut[-1] is None:
            known = " and ".join(f"{part.start:g} to {part.end:g} s" for part in parts)
            raise TraceError(
                f"the traces of {site}'s grid and production cover run time {known}; they must cover the "
                "run together: give longer traces, or set run.start"
            )
        return cls(
            site=site, config=config, intensity=cut[0], production=None if production is None else cut[-1]
        )

    @property
    def begin(self) -> Seconds:
        """Run time of Vessim's elapsed time 0."""
        return self.intensity.start

    @property
    def end(self) -> Seconds:
        """Run time from which on nothing is known."""
        return self.intensity.end

    def battery(self) -> Battery | None:
        """Return a battery in its initial state."""
        return None if self.config.storage is None else Battery(self.config.storage)

    def microgrid(self, consumer: vessim.Signal, battery: Battery | None) -> vessim.Microgrid:
        """Return a fresh microgrid, to be advanced by its caller from any tick on.

        Args:
            consumer: What the site draws, W, at least 0, by Vessim's elapsed time.
            battery: One of `battery()`, which no other microgrid has.
        """
        parts = self._parts(consumer, battery)
        return vessim.Microgrid(
            self.config.step_s, policy=vessim.DefaultDispatchPolicy(), name=self.site, **parts
        )

    def environment(self, consumer: vessim.Signal, *, start: datetime) -> vessim.Environment:
        """Return a Vessim study of the scenario, to be run once; `start` (aware) is run time 0.

        Add Vessim's recorder and metrics to it; `vessim.GridImportEmissions(site, CARBON)` is in kg. There
        is no live one: Vessim's count from the moment that they are run, not from the run's start, so that
        a live site is the matter of `MicrogridSignal`.
        """
        study = vessim.Environment(
            sim_start=start + timedelta(seconds=self.begin), step_size=self.config.step_s, name=self.site
        )
        study.add_microgrid(name=self.site, **self._parts(consumer, self.battery()))
        return study

    def _parts(self, consumer: vessim.Signal, battery: Battery | None) -> dict[str, Any]:
        actors: list[vessim.Actor] = [vessim.Consumer(CONSUMER, consumer)]
        if self.config.base_load_w > 0:
            actors.append(vessim.Consumer("base load", self.config.base_load_w))
        if self.production is not None:
            actors.append(vessim.Producer("production", played(self.production, label="production")))
        values = tuple(kilograms(value) for value in self.intensity.values)
        carbon = StepFunction(edges=self.intensity.edges, values=values)
        grid = vessim.GridConnection()
        return {
            "actors": actors,
            "dispatchables": [grid] if battery is None else [battery, grid],
            "grid_signals": {CARBON: played(carbon, label=CARBON)},
        }
