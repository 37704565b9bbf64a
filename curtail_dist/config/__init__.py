"""The run file: one frozen value that says everything a run needs, checked when it is built."""

from curtail_dist.config.meter import FootprintConfig
from curtail_dist.config.policy import PolicyConfig
from curtail_dist.config.run import RunConfig
from curtail_dist.config.sections import (
    ClockConfig,
    CoordinationConfig,
    DataConfig,
    OuterConfig,
    RoundConfig,
    RunSection,
    SecurityConfig,
    StateConfig,
    TelemetryConfig,
    TrainConfig,
)
from curtail_dist.config.signals import SignalConfig
from curtail_dist.config.sites import PowerConfig, ProvisionerConfig, SiteConfig

__all__ = [
    "ClockConfig",
    "CoordinationConfig",
    "DataConfig",
    "FootprintConfig",
    "OuterConfig",
    "PolicyConfig",
    "PowerConfig",
    "ProvisionerConfig",
    "RoundConfig",
    "RunConfig",
    "RunSection",
    "SecurityConfig",
    "SignalConfig",
    "SiteConfig",
    "StateConfig",
    "TelemetryConfig",
    "TrainConfig",
]
