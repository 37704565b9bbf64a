"""How a site stands, as its agent tells everybody through the store: what `curtail status` shows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from curtail_dist.membership.records import decode, encode
from curtail_dist.units import GramsCO2PerKWh, Seconds


@dataclass(frozen=True, kw_only=True)
class AgentState:
    """One site's agent at one moment. All times are run times."""

    stage: str
    """`off`, `joining`, `on` or `draining`."""
    since: Seconds
    """When it came to this stage."""
    reason: str
    """Why, or why it stays: the newest decision's."""
    parked: bool = False
    """Whether its ranks wait in memory; only while off."""
    g_per_kwh: GramsCO2PerKWh | None = None
    """The reading; None where there is no fresh one."""
    measured_t: Seconds | None = None
    """When that holds from."""
    source: str = ""
    basis: str = "marginal"
    from_forecast: bool = False
    order: str = ""
    """What an operator ordered, in words; empty: nothing."""
    failures: int = 0
    """Failed starts in a row."""
    retry_at: Seconds | None = None
    """When the next start is tried; None: none has failed, or not before the next window."""
    troubles: Mapping[str, str] = field(default_factory=dict[str, str])
    """What does not work now and is tried again: part -> reason."""
    polled_t: Seconds = 0.0
    """When the agent last looked at its signal."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        return cls(**decode(value))
