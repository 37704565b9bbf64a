"""What the run file says of a site: its grid, its power, what starts its ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.config.meter import FootprintConfig, MeterConfig
from curtail_dist.config.price import PriceConfig
from curtail_dist.config.sections import require
from curtail_dist.config.signals import SignalConfig
from curtail_dist.units import Seconds, Watts


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
    capped_w: Watts | None = None
    """While inner steps run under a power cap, where the site has one that a work price may choose."""
    capped_speed: float | None = None
    """Its speed then, as a share of that at train_w."""

    def __post_init__(self) -> None:
        for name in ("train_w", "idle_w", "join_w", "sync_w", "capped_w"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"power.{name}", value, "at least 0")
        speed = self.capped_speed
        given = (speed is None) == (self.capped_w is None)
        require(given, "power.capped_speed", speed, "given where power.capped_w is, and only there")
        require(speed is None or 0 < speed < 1, "power.capped_speed", speed, "above 0 and below 1")


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
    footprint: FootprintConfig = field(default_factory=FootprintConfig)
    """What counts besides the energy that its machines draw."""
    average: SignalConfig | None = None
    """Its grid's average (location-based) intensity, shown beside the marginal one."""
    price: PriceConfig | None = None
    """What its electricity costs. Default: not known, and not counted."""
    meter: MeterConfig = field(default_factory=MeterConfig)
    """What measures the energy that it draws. Default: nothing does, it is reckoned from `power`."""
    address: str = "127.0.0.1"
    """Address at which other sites reach this one."""
