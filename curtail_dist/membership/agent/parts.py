"""What an agent works with: all that its maker opens for it, and closes after it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from curtail_dist.clock import Clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore
from curtail_dist.energy.meters.spans import Metering
from curtail_dist.energy.policy import Policy
from curtail_dist.energy.signals import Signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.membership.agent.foreseeing import Foreseer
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.membership.agent.planning import Plans
from curtail_dist.membership.provision import Provisioner
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the agent works with. All of it stays its maker's, who closes it after the agent."""

    clock: Clock
    """Attached as `agent:<site>`, of kind `poll`."""
    signal: Signal
    policy: Policy
    store: CoordinationStore
    provisioner: Provisioner
    events: EventLog
    start_s: Seconds = 0.0
    """Run time 0 in Unix time, the same for every site."""
    average: Signal | None = None
    """The grid's average intensity, for the record alone."""
    past: StepFunction | None = None
    """The site's intensity from before the run on, for a work price to plan by."""
    price: StepFunction | None = None
    """The price of its electricity per kWh, where it is known."""
    foresees: bool = False
    """Whether the signal's forecast is one, for a work price to plan by; a trace's would be the truth."""
    metering: Metering | None = None
    """What measures the site's energy; None: its power model tells it."""
    limits: Limits = field(default_factory=Limits)


def plans_of(config: RunConfig, site: str, parts: Parts, *, publish: Callable[[bytes], None]) -> Plans | None:
    """Return what plans for `site`, None where its policy follows no plan."""
    if config.policy.kind != "work-price":
        return None
    foreseer = Foreseer(
        config,
        site,
        forecast=parts.signal.forecast if parts.foresees else None,
        past=parts.past,
        price=parts.price,
    )
    return Plans(config, site, publish=publish, events=parts.events, foreseer=foreseer, start_s=parts.start_s)
