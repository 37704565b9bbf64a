"""What the run file says of a site's price of electricity."""

import math
from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.sections import require


@dataclass(frozen=True, kw_only=True)
class PriceConfig:
    """What a kilowatt-hour costs at a site, in the one currency of all sites; it may be below 0."""

    per_kwh: float | None = None
    """A price that does not change."""
    path: Path | None = None
    """CSV file of one that does. Relative paths start at the run file."""
    time_column: str = "time"
    """Column with UTC times (ISO 8601)."""
    value_column: str = "price"
    """Column with the price."""
    per: str = "kWh"
    """What a price of the file is for: `kWh` or `MWh`."""

    def __post_init__(self) -> None:
        one = (self.per_kwh is None) != (self.path is None)
        require(one, "price.per_kwh", self.per_kwh, "given, or price.path, and not both")
        holds = self.per_kwh is None or math.isfinite(self.per_kwh)
        require(holds, "price.per_kwh", self.per_kwh, "finite")
        require(self.per in ("kWh", "MWh"), "price.per", self.per, "kWh or MWh")
