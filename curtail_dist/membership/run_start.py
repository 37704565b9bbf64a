"""Run time 0: written once, by whichever process of the run comes first."""

from datetime import UTC, datetime, timedelta

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import ConfigError
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import decode, encode

_APART = timedelta(minutes=1)
"""By which the clocks of two machines may differ: one's now is no time to come for the other."""


def run_start(config: RunConfig, store: CoordinationStore, now: datetime | None = None) -> datetime:
    """Return the run's start: what is written, else `run.start`, else now.

    Raises StoreUnavailable; ConfigError for a `run.start` that is to come: nothing would wait for it, and
    what is done before run time 0 is in no planned period.
    """
    key, given, now = Keys(config.run.name).start, config.run.start, now or datetime.now(UTC)
    if config.clock.kind == "real" and given is not None and given > now + _APART:
        raise ConfigError(
            f"run.start is {given.isoformat()}, which is to come; a run begins when its first site comes in, "
            "so it must be a time that has passed: start the sites then, or leave it out"
        )
    proposal = given or now
    result = store.compare_and_swap(key, encode({"start": proposal.isoformat()}), revision=0)
    if result.succeeded:
        return proposal
    entry = result.current[key]
    return datetime.fromisoformat(decode(entry.value)["start"]) if entry else proposal
