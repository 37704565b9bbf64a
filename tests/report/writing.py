"""What tests write events with: a clock that says what it was set to, and the start of a site."""

from curtail_dist.clock import SystemClock
from curtail_dist.telemetry.events import SiteStarted
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts


class SetClock(SystemClock):
    def __init__(self) -> None:
        super().__init__()
        self.t = 0.0

    def now(self) -> float:
        return self.t


def site_started(
    *,
    train_w: Watts = 2024.0,
    idle_w: Watts = 468.0,
    deadline_s: Seconds = 3600.0,
    outlook: list[tuple[Seconds, GramsCO2PerKWh]] | None = None,
    synthetic: bool = True,
) -> SiteStarted:
    return SiteStarted(
        train_w=train_w,
        idle_w=idle_w,
        join_w=idle_w,
        sync_w=idle_w,
        threshold_g_per_kwh=100.0,
        leave_delay_s=600.0,
        deadline_s=deadline_s,
        outlook=outlook or [],
        synthetic=synthetic,
    )
