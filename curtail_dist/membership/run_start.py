"""Run time 0: written once, by whichever process of the run comes first."""

from datetime import UTC, datetime

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import decode, encode


def run_start(config: RunConfig, store: CoordinationStore, now: datetime | None = None) -> datetime:
    """Return the run's start: what is written, else `run.start`, else now. Raises StoreUnavailable."""
    key = Keys(config.run.name).start
    proposal = config.run.start or now or datetime.now(UTC)
    result = store.compare_and_swap(key, encode({"start": proposal.isoformat()}), revision=0)
    if result.succeeded:
        return proposal
    entry = result.current[key]
    return datetime.fromisoformat(decode(entry.value)["start"]) if entry else proposal
