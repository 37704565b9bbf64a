"""What the process of a site's rank 0 holds open to the outside."""

import logging
import os
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from curtail_dist.clock import Clock, open_clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.membership.run_start import run_start
from curtail_dist.runtime.address import check_listens, with_address
from curtail_dist.runtime.intrasite import OneRank, SiteRanks
from curtail_dist.runtime.prefetch import Prefetch
from curtail_dist.runtime.world import Probe
from curtail_dist.security import exposure
from curtail_dist.security.wire import Wire
from curtail_dist.telemetry.joining import JoinTimes
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


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


@contextmanager
def connected(
    config: RunConfig,
    site: str,
    *,
    wire: Wire,
    leaving: threading.Event,
    ranks: SiteRanks,
    times: JoinTimes,
    probe: Probe | None,
) -> Generator[Links]:
    """Hold open what rank 0 of `site` needs. Raises StoreUnavailable, ConfigError.

    Warns where what the ranks exchange can be read on its way.
    """
    config = with_address(config, site, os.environ)
    check_listens(config, site)
    exposed = exposure(config, wire)
    if exposed is not None:
        _LOG.warning("site %s: %s", site, exposed)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(config.coordination))
        start = run_start(config, store)
        clock = open_clock(config.clock, start=start, participant=f"rank:{site}", kind="work")
        stack.callback(clock.close)
        prefetch = Prefetch(store, config, site=site, wire=wire)
        stack.callback(prefetch.close)
        prefetch.start()
        log = EventLog(config.run.directory, site=site, process=f"rank-{os.getpid()}", clock=clock)
        yield Links(
            config=config,
            site=site,
            store=store,
            start=start,
            clock=clock,
            events=stack.enter_context(log),
            wire=wire,
            leaving=leaving,
            ranks=ranks,
            prefetch=prefetch,
            times=times,
            probe=probe,
        )
