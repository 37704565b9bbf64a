"""The run file: one frozen value that says everything a run needs, checked when it is built."""

from curtail_dist.config.run import RunConfig
from curtail_dist.config.sections import (
    ClockConfig,
    CoordinationConfig,
    DataConfig,
    OuterConfig,
    PolicyConfig,
    PowerConfig,
    ProvisionerConfig,
    RoundConfig,
    RunSection,
    SecurityConfig,
    SignalConfig,
    SiteConfig,
    StateConfig,
    TelemetryConfig,
    TrainConfig,
)

__all__ = [
    "ClockConfig",
    "CoordinationConfig",
    "DataConfig",
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
