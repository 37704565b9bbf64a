"""What the run file says of a site's carbon intensity: where it comes from."""

from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.microgrid import MicrogridConfig
from curtail_dist.config.sections import require
from curtail_dist.units import GramsCO2PerKWh


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Where a site's carbon intensity comes from."""

    kind: str
    """`trace` (CSV file), `vessim` (the same CSV played through Vessim) or `constant`."""
    path: Path | None = None
    """CSV file of a trace. Relative paths start at the run file."""
    time_column: str = "time"
    """Column with UTC times (ISO 8601)."""
    value_column: str = "g_per_kwh"
    """Column with the intensity in g CO2/kWh."""
    value: GramsCO2PerKWh | None = None
    """The value of a constant signal, g CO2/kWh."""
    microgrid: MicrogridConfig | None = None
    """With `vessim`: what stands between the grid and the site; `path` is the grid's intensity."""

    def __post_init__(self) -> None:
        require(
            self.kind in ("trace", "vessim", "constant"),
            "signal.kind",
            self.kind,
            "trace, vessim or constant",
        )
        require(
            (self.kind == "constant") == (self.value is not None),
            "signal.value",
            self.value,
            "given for a constant signal only",
        )
        require(
            (self.kind != "constant") == (self.path is not None),
            "signal.path",
            self.path,
            "given for a trace or vessim signal",
        )
        holds = self.microgrid is None or self.kind == "vessim"
        require(holds, "signal.kind", self.kind, "vessim where signal.microgrid is given")
