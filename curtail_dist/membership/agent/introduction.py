"""What an agent puts on record first: by what its site's energy is reckoned."""

import logging

from curtail_dist.config import RunConfig
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.signals import Signal
from curtail_dist.errors import SignalUnavailable
from curtail_dist.membership.agent.troubles import Troubles
from curtail_dist.telemetry.events import SiteStarted
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, GramsCO2PerKWh, Seconds

log = logging.getLogger(__name__)


def introduce(
    config: RunConfig,
    site: str,
    signal: Signal,
    events: EventLog,
    troubles: Troubles,
    average: Signal | None = None,
) -> None:
    """Emit `SiteStarted`. A signal that says nothing ahead of time leaves its outlook empty."""
    own, policy = config.site(site), config.policy
    power = PowerModel.from_config(own.power, pue=own.footprint.pue)
    deadline = config.run.deadline_h * SECONDS_PER_HOUR

    def known(of: Signal) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        try:
            return of.outlook(2 * deadline)  # an always-on baseline may need longer
        except SignalUnavailable as error:
            log.warning("site %s: nothing is known ahead of time: %s", site, error)
            return []

    events.emit(
        SiteStarted(
            train_w=power.train_w,
            idle_w=power.idle_w,
            join_w=power.join_w,
            sync_w=power.sync_w,
            threshold_g_per_kwh=policy.threshold_g_per_kwh,
            leave_delay_s=policy.leave_delay_s,
            deadline_s=deadline,
            outlook=troubles.guard("signal", lambda: known(signal), []),
            synthetic=signal.synthetic,
            pue=own.footprint.pue,
            embodied_kg=own.footprint.embodied_kg,
            lifetime_h=own.footprint.lifetime_h,
            covers=own.meter.covers if own.meter.kind == "model" else "",
            average=[] if average is None else troubles.guard("signal", lambda: known(average), []),
        )
    )
