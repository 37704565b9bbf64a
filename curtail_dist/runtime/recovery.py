"""Recovering a run whose store is gone: a new chain from the newest snapshot that is whole.

A snapshot holds the record that it was committed with, and what is trained; the events say when run time
began. That is all a store knows of a run that lasts, but for operators' orders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import ConfigError, MembershipError, SnapshotMissing, UserError
from curtail_dist.membership.agreement import compare
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit
from curtail_dist.membership.recovering import Recovered
from curtail_dist.membership.view import View
from curtail_dist.runtime.identity import of_run_file
from curtail_dist.state import snapshot
from curtail_dist.state.places import claim
from curtail_dist.state.snapshot import Snapshot
from curtail_dist.telemetry.record import Record, read_events


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What was found, and what stands now."""

    run: Recovered
    replaced: Commit | None
    """The head that the store had; None if it had none."""
    told: int
    """The newest version that events here tell of; 0 if they tell of none."""
    written: bool
    """Whether anything was: not where the store's head is the snapshot's version."""
    ordered: bool
    """Whether an operator's order stands for the run or a site."""


def recover(config: RunConfig, store: CoordinationStore, *, url: str, replace: bool) -> Recovery:
    """Make the newest whole snapshot below `url` the run's head, for sites to resume.

    It is copied to where the sites look for it, if it is not there. A head that the store has is left alone
    unless `replace` says otherwise.

    Raises:
        UserError: A site takes part now, the store has another head, the run file trains something else,
            nothing says when the run began, or the place where the sites look is another run's.
        SnapshotMissing: There is no whole snapshot below `url`.
        MembershipError: Somebody wrote to the run meanwhile.
        StoreUnavailable: The store does not answer.
        OSError: `url`, or the place where the sites look, cannot be reached.
    """
    keys = Keys(config.run.name)
    entries = {entry.key: entry for entry in store.list(keys.root).entries}
    view = View(keys=keys, entries=entries)
    _refuse_living(config, view)
    found, head = _newest(config, url), view.head
    known = view.epoch.number if view.epoch is not None else 0
    records = _records(config)
    run = Recovered(
        head=found.commit,
        url=config.snapshot_url,
        identity=found.identity,
        start=_start(config, records),
        known_epoch=max([known, *(record.epoch for record in records)]),
    )
    stands = head is not None and head.hash == found.commit.hash
    if head is not None and not stands and not replace:
        raise UserError(_other_head(config, head, found.commit, url))
    if not stands:
        claim(config.snapshot_url, config.run.name)
        if url != config.snapshot_url:  # else it was just read there
            snapshot.write(config.snapshot_url, found.version, found.commit, found.identity)
        compared = (keys.epoch, keys.head, keys.start, keys.identity)
        result = store.transact(
            compare={key: entries[key].revision if key in entries else 0 for key in compared},
            puts=run.puts(keys),
        )
        if not result.succeeded:
            raise MembershipError(
                f"somebody wrote to run {config.run.name} meanwhile, and nothing was changed; have all its "
                "agents end, and try again"
            )
    return Recovery(
        run=run,
        replaced=None if stands else head,
        told=max((record["version"] for record in records if record.event == "commit"), default=0),
        written=not stands,
        ordered=any(key == keys.stop or key.startswith(keys.orders) for key in entries),
    )


def _refuse_living(config: RunConfig, view: View) -> None:
    """Raise UserError if a process or an agent of any site holds a lease."""
    agents = view.keys.agents
    alive = {*view.present, *(key.removeprefix(agents) for key in view.entries if key.startswith(agents))}
    if alive:
        raise UserError(
            f"agents or processes of run {config.run.name} are there: {', '.join(sorted(alive))}; a run is "
            "recovered while there are none: have them end (`curtail stop`, Ctrl-C), and try again when "
            "their leases are over"
        )


def _newest(config: RunConfig, url: str) -> Snapshot:
    """Return the newest snapshot. Raises SnapshotMissing, UserError if it is of another run."""
    found = snapshot.newest(url)
    if found is None:
        raise SnapshotMissing(
            f"there is no whole snapshot below {url}; give --from the directory or the URL that holds them: "
            "what state.url named, or `snapshots` in the run directory of a site"
        )
    if found.identity:
        mine = of_run_file(config)
        compare(mine, {key: value for key, value in found.identity.items() if key in mine})
    return found


def _other_head(config: RunConfig, head: Commit, found: Commit, url: str) -> str:
    return (
        f"etcd has a head of run {config.run.name}, version {head.version} of {head.tokens:,} tokens; the "
        f"newest snapshot below {url} is version {found.version} of {found.tokens:,}. Start the agents, and "
        "the run goes on from its head; or put the snapshot in its place with --replace"
    )


def _records(config: RunConfig) -> Sequence[Record]:
    """Return what the run directory of this machine tells. Raises DataError for what is no event."""
    if not any((config.run.directory / "events").glob("*.jsonl")):
        return []
    return read_events(config.run.directory)


def _start(config: RunConfig, records: Sequence[Record]) -> datetime:
    """Return run time 0: as its founder told, else as `run.start` says, else by any event and its run time.

    Raises ConfigError.
    """
    for record in records:
        if record.event == "run_started":
            return datetime.fromisoformat(record["start"])
    if config.run.start is not None:
        return config.run.start
    if records and config.clock.kind == "real":
        first = min(records, key=lambda record: record.wall)
        return first.wall - timedelta(seconds=first.t)
    raise ConfigError(
        f"run.start is not given, and no events in {config.run.directory} tell when the run began; say it, "
        "or its reports and plans would begin anew: --set run.start=2026-01-31T17:00:00Z"
    )
