"""How a site stands, as its agent tells everybody through the store: what `curtail status` shows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import Standing
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
    failure: str = ""
    """Why the last of them failed."""
    retry_at: Seconds | None = None
    """When the next start is tried; None: none has failed, or not before the next window."""
    waiting: str = ""
    """Why its ranks have not begun, though they were started; empty: they have."""
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


def state_of(
    standing: Standing,
    reading: Reading | None,
    *,
    reason: str,
    source: str,
    order: str,
    troubles: Mapping[str, str],
    polled_t: Seconds,
) -> AgentState:
    """Return the state of an agent whose site stands so, by this reading; its ranks wait for nothing."""
    waits = standing.failures > 0 and not standing.gives_up
    return AgentState(
        stage=standing.stage.value,
        since=standing.since,
        reason=reason,
        parked=standing.parked,
        g_per_kwh=None if reading is None else reading.value,
        measured_t=None if reading is None else reading.measured_at,
        source=source,
        basis="marginal" if reading is None else reading.basis,
        from_forecast=reading is not None and reading.from_forecast,
        order=order,
        failures=standing.failures,
        retry_at=standing.retry_at if waits else None,
        troubles=troubles,
        polled_t=polled_t,
    )
