"""What the run file says of a site: its grid, its power, what counts besides."""

from dataclasses import dataclass, field

from curtail_dist.config.hosts import is_host
from curtail_dist.config.meter import FootprintConfig, MeterConfig
from curtail_dist.config.price import PriceConfig
from curtail_dist.config.provisioner import ProvisionerConfig
from curtail_dist.config.sections import require
from curtail_dist.config.signals import SignalConfig
from curtail_dist.units import Watts

AUTO_ADDRESS = "auto"
"""An address that each machine finds for itself."""
ENV_ADDRESS = "env:"
"""Begins an address that stands in a variable of the environment."""


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
    """Address at which other sites reach this one, and the only one at which it listens. `auto`: that of the
    interface by which its machine reaches the first of `coordination.endpoints`; `env:VARIABLE`: what that
    variable holds in the environment of its ranks, such as `env:POD_IP`."""

    def __post_init__(self) -> None:
        variable = self.address.removeprefix(ENV_ADDRESS)
        from_variable = self.address.startswith(ENV_ADDRESS)
        named = variable.isidentifier() if from_variable else is_host(self.address)
        must = "an address or a host name, without a scheme and a port; auto; or env: and a variable's name"
        require(named, "address", self.address, must)
