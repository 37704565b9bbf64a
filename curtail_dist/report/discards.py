"""Training that was thrown away: rounds that living sites discarded, and the open rounds of killed ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from curtail_dist.report.chain import Chain
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Discard:
    """One site's training that is in no version. Its rows went back to the pool."""

    begun: Seconds
    """When the first of the lost steps began."""
    t: Seconds
    """When they were lost."""
    steps: int
    rows: int
    killed: bool
    """Whether the process was killed; else the site lived and discarded its round."""


@dataclass(frozen=True, kw_only=True)
class _Open:
    """What a process has trained since its last version."""

    begun: Seconds
    t: Seconds
    version: int
    """The version that its parameters started from."""
    steps: int = 0
    rows: int = 0


def discards_of(site: str, records: Sequence[Record], chain: Chain) -> tuple[Discard, ...]:
    """Return what one site lost, from all records of the run in order, in order of process, then of time."""
    own = [record for record in records if record.site == site]
    found: list[Discard] = []
    for process in dict.fromkeys(record.process for record in own):
        written = [record for record in own if record.process == process]
        discards, left = _follow(site, written)
        found.extend(discards)
        if left is None or not left.steps or _contributed(site, left.version + 1, own, chain):
            continue
        gone = _gone(left, process, own)
        if gone is not None or chain.ends:
            stop = left.t if gone is None else gone
            found.append(Discard(begun=left.begun, t=stop, steps=left.steps, rows=left.rows, killed=True))
    return (*found, *_dropped(site, chain), *_returned(site, chain))


def _dropped(site: str, chain: Chain) -> Iterator[Discard]:
    """Yield what a site had contributed to versions that a rewind dropped, at the moment of the rewind."""
    for gone in chain.dropped:
        for entry in gone.commit.work:
            if entry["site"] == site:
                yield _given_back(entry, gone.t)


def _returned(site: str, chain: Chain) -> Iterator[Discard]:
    """Yield what a site had contributed and did not live to exchange in every fragment."""
    for gone in chain.returned:
        if gone.work["site"] == site:
            yield _given_back(gone.work, gone.t)


def _given_back(work: Mapping[str, Any], t: Seconds) -> Discard:
    """Work that was in a version, and is not in the chain any more."""
    rows = sum(last - first for first, last in work["rows"])
    return Discard(begun=t, t=t, steps=work["steps"], rows=rows, killed=False)


def _follow(site: str, written: Sequence[Record]) -> tuple[list[Discard], _Open | None]:
    """Return what one process discarded, and what it left open when its record ended."""
    discards: list[Discard] = []
    version = 0
    current: _Open | None = None
    for record in written:
        if record.event == "round_discarded":
            discards.append(_own_word(record, current))
            current = None
        elif record.event == "drained":
            current = None
        elif record.event == "step":
            current = current or _Open(begun=record.t, t=record.t, version=version)
            steps = current.steps + record["steps"]
            current = replace(current, t=record.t, steps=steps, rows=record["rows"])
        elif record.event in ("joined", "commit", "round_started"):
            if current is not None and current.steps and not _listed(site, record):
                discards.append(_silent(current, record))
            version = record["version"] if record.event != "round_started" else version
            current = _Open(begun=record.t, t=record.t, version=version)
    return discards, current


def _own_word(record: Record, current: _Open | None) -> Discard:
    begun = current.begun if current else record.t
    return Discard(begun=begun, t=record.t, steps=record["steps"], rows=record["rows"], killed=False)


def _silent(current: _Open, record: Record) -> Discard:
    """A round that made it into no version, as one whose pseudo-gradient was not finite."""
    return Discard(begun=current.begun, t=record.t, steps=current.steps, rows=current.rows, killed=False)


def _listed(site: str, record: Record) -> bool:
    """Whether a record is of a version that holds the site's training."""
    return record.event == "commit" and any(entry["site"] == site for entry in record["work"])


def _contributed(site: str, version: int, own: Sequence[Record], chain: Chain) -> bool:
    """Whether a version holds the open round although the site was killed before it could write that down.

    If a rewind dropped that version, the round is counted there.
    """
    told = {(record["version"], record["hash"]) for record in own if record.event == "commit"}
    versions = [*chain.commits, *(gone.commit for gone in chain.dropped)]
    return any(
        commit.version == version and site in commit.contributors and (version, commit.hash) not in told
        for commit in versions
    )


def _gone(left: _Open, process: str, own: Sequence[Record]) -> Seconds | None:
    """Return when the site's other records show that the process was gone; None: it may still be at work."""
    marks = ("ranks_died", "ranks_exited", "joined")
    return next(
        (r.t for r in own if r.process != process and r.t >= left.t and r.event in marks),
        None,
    )
