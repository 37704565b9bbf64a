"""curtail_dist: train language models on power that would otherwise be thrown away.

Elastic, energy-aware DiLoCo on torch.distributed. The names below are the public interface; those that need
torch or a store are loaded when they are first used, so that what needs neither starts without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from curtail_dist.config import RunConfig
from curtail_dist.energy.policy import Policy
from curtail_dist.energy.signals import Reading, Signal
from curtail_dist.errors import (
    ConfigError,
    CoordinationError,
    CurtailError,
    DataError,
    ExchangeError,
    Expelled,
    IdentityMismatch,
    LeaseExpired,
    MembershipError,
    PeerLost,
    ProvisionError,
    SignalUnavailable,
    SnapshotCorrupt,
    StateDiverged,
    StateError,
    StoreUnavailable,
    TraceError,
    UserError,
)

if TYPE_CHECKING:
    from curtail_dist.coordination.store import CoordinationStore
    from curtail_dist.outer.exchange import Exchange, InProcess
    from curtail_dist.outer.nesterov import Average, Nesterov
    from curtail_dist.outer.optimizer import DiLoCo
    from curtail_dist.outer.rules import OuterRules
    from curtail_dist.runtime.arguments import arguments
    from curtail_dist.runtime.site import Site

__version__ = "0.1.0"

_LAZY = {
    "Average": "curtail_dist.outer.nesterov",
    "CoordinationStore": "curtail_dist.coordination.store",
    "DiLoCo": "curtail_dist.outer.optimizer",
    "Exchange": "curtail_dist.outer.exchange",
    "InProcess": "curtail_dist.outer.exchange",
    "Nesterov": "curtail_dist.outer.nesterov",
    "OuterRules": "curtail_dist.outer.rules",
    "Site": "curtail_dist.runtime.site",
    "arguments": "curtail_dist.runtime.arguments",
}

__all__ = [
    "Average",
    "ConfigError",
    "CoordinationError",
    "CoordinationStore",
    "CurtailError",
    "DataError",
    "DiLoCo",
    "Exchange",
    "ExchangeError",
    "Expelled",
    "IdentityMismatch",
    "InProcess",
    "LeaseExpired",
    "MembershipError",
    "Nesterov",
    "OuterRules",
    "PeerLost",
    "Policy",
    "ProvisionError",
    "Reading",
    "RunConfig",
    "Signal",
    "SignalUnavailable",
    "Site",
    "SnapshotCorrupt",
    "StateDiverged",
    "StateError",
    "StoreUnavailable",
    "TraceError",
    "UserError",
    "arguments",
]


def __getattr__(name: str) -> Any:
    """Load a public name that is not needed before it is used."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
