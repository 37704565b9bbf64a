"""The run file: one frozen value that says everything a run needs, checked when it is built."""

from curtail_dist.config.coordination import CoordinationConfig, TlsConfig
from curtail_dist.config.meter import FootprintConfig
from curtail_dist.config.policy import PolicyConfig
from curtail_dist.config.provisioner import ProvisionerConfig
from curtail_dist.config.run import RunConfig
from curtail_dist.config.sections import (
    ClockConfig,
    DataConfig,
    OuterConfig,
    RoundConfig,
    RunSection,
    StateConfig,
    TrainConfig,
)
from curtail_dist.config.security import SecurityConfig
from curtail_dist.config.signals import SignalConfig
from curtail_dist.config.sites import PowerConfig, SiteConfig
from curtail_dist.config.telemetry import TelemetryConfig

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
    "TlsConfig",
    "TrainConfig",
]
