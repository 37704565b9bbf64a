"""What the run file says of a site's microgrid: production and storage between its grid and its GPUs."""

import math
from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.sections import require
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts


def _at_least_0(section: str, **values: float | None) -> None:
    for name, value in values.items():
        holds = value is None or (math.isfinite(value) and value >= 0)
        require(holds, f"{section}.{name}", value, "finite and at least 0")


@dataclass(frozen=True, kw_only=True)
class ProductionConfig:
    """What sun or wind gives at the site."""

    path: Path
    """CSV file of the power, in watts, at least 0. Relative paths start at the run file."""
    time_column: str = "time"
    """Column with UTC times (ISO 8601)."""
    value_column: str = "watts"
    """Column with the power in W; a row holds until the next one."""
    g_per_kwh: GramsCO2PerKWh = 0.0
    """Intensity of what is produced, or was stored, g CO2/kWh."""

    def __post_init__(self) -> None:
        _at_least_0("production", g_per_kwh=self.g_per_kwh)


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """A battery that is charged from surplus production alone and serves any shortfall first. No losses."""

    capacity_wh: float
    """Energy of the full battery, Wh."""
    initial_soc: float
    """State of charge where the scenario begins, a share of capacity_wh; taken for stored production."""
    min_soc: float = 0.0
    """State of charge below which it is not discharged."""
    max_soc: float = 1.0
    """State of charge above which it is not charged."""
    max_charge_w: Watts | None = None
    """Most power that it takes. Default: no limit."""
    max_discharge_w: Watts | None = None
    """Most power that it gives. Default: no limit."""
    sustain_s: Seconds = 3600.0
    """The surplus counts what the battery could give evenly for so long: a nearly empty one counts little."""

    def __post_init__(self) -> None:
        holds = math.isfinite(self.capacity_wh) and self.capacity_wh > 0
        require(holds, "storage.capacity_wh", self.capacity_wh, "finite and above 0")
        within = 0 <= self.min_soc <= self.initial_soc <= self.max_soc <= 1
        socs = (self.min_soc, self.initial_soc, self.max_soc)
        require(within, "storage.min_soc, initial_soc, max_soc", socs, "rising, in [0, 1]")
        _at_least_0("storage", max_charge_w=self.max_charge_w, max_discharge_w=self.max_discharge_w)
        holds = math.isfinite(self.sustain_s) and self.sustain_s > 0
        require(holds, "storage.sustain_s", self.sustain_s, "finite and above 0")


@dataclass(frozen=True, kw_only=True)
class MicrogridConfig:
    """A site's microgrid, played by Vessim. The grid's own intensity is the trace that the signal names."""

    train_w: Watts
    """Power of the GPU consumer while the site trains; that of `power.train_w`."""
    measure: str = "surplus"
    """`surplus`: how green the site's power would be, production first; `intensity`: the grid's alone."""
    mode: str = "simulated"
    """`simulated`: what the site draws is fed on each change and holds; `live`: it is fed at each poll and
    expires."""
    production: ProductionConfig | None = None
    """Sun or wind at the site. Default: none."""
    storage: StorageConfig | None = None
    """A battery. Default: none."""
    base_load_w: Watts = 0.0
    """What else the site draws, always; it is served before the GPUs."""
    step_s: int = 60
    """Length of Vessim's ticks; what is fed and the battery change at ticks only."""
    feed_max_age_s: Seconds = 900.0
    """Live mode: from so long after the last feed on, the site is taken to draw train_w."""

    def __post_init__(self) -> None:
        holds = math.isfinite(self.train_w) and self.train_w > 0
        require(holds, "microgrid.train_w", self.train_w, "finite and above 0")
        require(
            self.measure in ("surplus", "intensity"),
            "microgrid.measure",
            self.measure,
            "surplus or intensity",
        )
        require(self.mode in ("simulated", "live"), "microgrid.mode", self.mode, "simulated or live")
        for name, part in (("measure: surplus", self.measure == "surplus"), ("storage", self.storage)):
            holds = not part or self.production is not None
            require(holds, "microgrid.production", self.production, f"given with {name}")
        _at_least_0("microgrid", base_load_w=self.base_load_w)
        require(self.step_s >= 1, "microgrid.step_s", self.step_s, "at least 1")
        holds = math.isfinite(self.feed_max_age_s) and self.feed_max_age_s > 0
        require(holds, "microgrid.feed_max_age_s", self.feed_max_age_s, "finite and above 0")
