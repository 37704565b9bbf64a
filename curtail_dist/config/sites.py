"""What the run file says of a site: its grid, its power, what starts its ranks, when it takes part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.config.sections import require
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts


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


@dataclass(frozen=True, kw_only=True)
class PowerConfig:
    """Electric power a site draws in each phase, in watts; a model, not a measurement."""

    train_w: Watts
    """While inner steps run."""
    idle_w: Watts
    """While its ranks are up and wait."""
    join_w: Watts | None = None
    """While its ranks start. Default: idle_w."""
    sync_w: Watts | None = None
    """While pseudo-gradients are exchanged. Default: idle_w."""

    def __post_init__(self) -> None:
        for name in ("train_w", "idle_w", "join_w", "sync_w"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"power.{name}", value, "at least 0")


@dataclass(frozen=True, kw_only=True)
class ProvisionerConfig:
    """What starts and stops a site's ranks."""

    kind: str = "process"
    """`process`: torchrun on this machine."""
    ranks: int = 1
    """Ranks of the site, one a GPU: they share its rows and its steps, and act as one towards other sites."""
    max_restarts: int = 3
    """How often torchrun restarts the site's ranks before it gives up."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the ranks' environment."""
    park_s: Seconds = 0.0
    """Real time that drained ranks stay in memory, at idle power, to be back at once; 0: they end. Not with a
    virtual clock, which would have to stand still for them."""
    compile_cache: Path | None = None
    """Directory on the site's disk for compiled kernels and graphs. Default: `cache/SITE` beside the run."""

    def __post_init__(self) -> None:
        require(self.park_s >= 0, "provisioner.park_s", self.park_s, "at least 0")
        require(self.kind == "process", "provisioner.kind", self.kind, "process")
        require(self.ranks >= 1, "provisioner.ranks", self.ranks, "at least 1")
        require(self.max_restarts >= 0, "provisioner.max_restarts", self.max_restarts, "at least 0")


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """One place with GPUs and a grid."""

    signal: SignalConfig
    """Its carbon intensity."""
    power: PowerConfig
    """What it draws."""
    provisioner: ProvisionerConfig = field(default_factory=ProvisionerConfig)
    """How its ranks are started."""
    address: str = "127.0.0.1"
    """Address at which other sites reach this one."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """When a site takes part."""

    kind: str = "threshold"
    """`threshold`: join below, leave after `leave_delay_s` above. `always`: never leave."""
    threshold_g_per_kwh: GramsCO2PerKWh = 100.0
    """A site joins when its intensity is below this, g CO2/kWh."""
    leave_delay_s: Seconds = 600.0
    """A site leaves when its intensity has been at or above the threshold for this long."""
    poll_s: Seconds = 60.0
    """Time between two readings."""
    max_age_s: Seconds = 900.0
    """A reading that has not been renewed for this long is unknown."""

    def __post_init__(self) -> None:
        require(self.kind in ("threshold", "always"), "policy.kind", self.kind, "threshold or always")
        require(self.leave_delay_s >= 0, "policy.leave_delay_s", self.leave_delay_s, "at least 0")
        for name in ("threshold_g_per_kwh", "poll_s", "max_age_s"):
            require(getattr(self, name) > 0, f"policy.{name}", getattr(self, name), "above 0")
