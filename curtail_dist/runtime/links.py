"""What the process of a site's rank 0 holds open to the outside."""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from curtail_dist.clock import Clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.runtime.intrasite import OneRank, SiteRanks
from curtail_dist.runtime.prefetch import Prefetch
from curtail_dist.runtime.world import Probe
from curtail_dist.security.wire import Wire
from curtail_dist.telemetry.joining import JoinTimes
from curtail_dist.telemetry.record import EventLog


@dataclass(frozen=True, kw_only=True)
class Links:
    """Connections and logs of one process; owned by the Site."""

    config: RunConfig
    site: str
    store: CoordinationStore
    start: datetime
    """Run time 0."""
    clock: Clock
    events: EventLog
    wire: Wire
    """How other processes of the run are connected to."""
    leaving: threading.Event
    """Set when this process was told to leave (SIGTERM)."""
    ranks: SiteRanks = field(default_factory=OneRank)
    """The ranks of this site, of which this is rank 0."""
    prefetch: Prefetch | None = None
    """What gets the run's state before it is asked for."""
    times: JoinTimes = field(default_factory=JoinTimes)
    """Where the time of the join under way goes."""
    probe: Probe | None = None
