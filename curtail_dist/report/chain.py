"""The chain of versions as its members recorded it, and which of them a rewind took out of it.

A rewind goes to an ancestor, and every rewind has an epoch of its own. So whoever announces a dropped version
was in an earlier epoch than whoever announces what took its place; within one epoch there is one chain. Since
epochs need no clock, records are replayed in their order.

Whoever commits a version may die before it tells of it. If the others die with it, the site that comes in
next tells what it found, which counts as a member's word of that commit.

A founder that dies between the rewind and its word on it tells neither of the rewind nor of its epoch. A
version that takes the place of another is therefore no divergence where it names its parent, and where an
epoch lies between the two that nobody told of, or that began with a rewind. If all epochs in between were
told as ordinary ones, somebody committed who had no right to.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from curtail_dist.errors import StateDiverged
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds

_KEEP = "keep the run directory and do not resume it"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One version of the chain, as all members that recorded it agree on it."""

    version: int
    t: Seconds
    """Run time at which the first member swapped to it."""
    hash: str
    tokens: int
    """Tokens in the chain up to here."""
    rows: int
    """Rows done in the chain up to here."""
    work: tuple[Mapping[str, Any], ...]
    """What each contributor did: `site`, `tokens`, `steps`, `rows` [[first, last+1], ...] that it finished
    and, where there are any, `open` [[position, tokens], ...]."""
    returned: tuple[tuple[int, str], ...] = ()
    """(version, site) of work that was lost before every fragment had it."""

    @property
    def contributors(self) -> frozenset[str]:
        """Names of the sites whose training is in this version."""
        return frozenset(str(contribution["site"]) for contribution in self.work)


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A version that a rewind took out of the chain. Its rows went back to the pool."""

    commit: Commit
    t: Seconds
    """When that was first told of."""


@dataclass(frozen=True, kw_only=True)
class Returned:
    """A site's work in a version that was lost with its site before every fragment had it."""

    version: int
    work: Mapping[str, Any]
    t: Seconds
    """When the version that says so was committed."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What stands of a run's versions, and what does not."""

    commits: tuple[Commit, ...] = ()
    """Those that stand, in order."""
    dropped: tuple[Dropped, ...] = ()
    """Once for each time that a version was dropped: one that was done again may be there twice."""
    returned: tuple[Returned, ...] = ()
    """What does not count in the commits although some fragments have it; their `work` is without it."""
    ends: tuple[Seconds, ...] = ()
    """When members said that the run is complete, unless that was at a version that was dropped."""


def read_chain(records: Iterable[Record]) -> Chain:
    """Return the chain from the records of all members, sorted as `read_events` sorts them.

    Versions are dropped by a `rewound` event, by a site that resumes at an older version in a later epoch,
    and by a version in a later epoch that does not stand on them.

    Raises StateDiverged when members recorded different bytes, parents or work for one version and no rewind
    can lie between them.
    """
    records = [_told(record) for record in records]
    ordinary = frozenset(r.epoch for r in records if r.event == "epoch" and r["reason"] != "rewound")
    reader = _Reader(ordinary=ordinary)
    for record in _replayed(records):
        if record.event == "commit":
            reader.commit(record)
        else:
            reader.rewind(record["base" if record.event == "rewound" else "version"], record.t)
    finishes = [record for record in records if record.event == "run_finished"]
    commits = [reader.chain[version].commit for version in sorted(reader.chain)]
    returned = tuple(_returned(commits))
    gone = {(one.version, one.work["site"]) for one in returned}
    return Chain(
        commits=tuple(
            replace(one, work=tuple(each for each in one.work if (one.version, each["site"]) not in gone))
            for one in commits
        ),
        returned=returned,
        dropped=tuple(reader.dropped),
        ends=tuple(record.t for record in finishes if reader.stands(record)),
    )


def _told(record: Record) -> Record:
    """Return a head that was found as the commit that made it, in its epoch; any other record as it is."""
    if record.event != "head_found":
        return record
    return replace(record, event="commit", epoch=record["committed_in"])


def _returned(commits: Sequence[Commit]) -> Iterator[Returned]:
    """Yield the work that later versions of the same chain gave back."""
    work = {(one.version, each["site"]): each for one in commits for each in one.work}
    for commit in commits:
        for place in commit.returned:
            if place in work:
                yield Returned(version=place[0], work=work[place], t=commit.t)


def _replayed(records: Sequence[Record]) -> list[Record]:
    """Sort by epoch, then by version: a member that slept may write down an old version late.

    A rewind follows all versions of the epochs before it. Of `rewound` events, which are written before the
    founder takes its new epoch, those are the epochs of the versions recorded so far.
    """
    newest = 0
    moments: list[tuple[tuple[int, float], Record]] = []
    for record in records:
        if record.event == "commit":
            newest = max(newest, record.epoch)
            moments.append(((record.epoch, record["version"]), record))
        elif record.event == "rewound":
            moments.append(((newest, math.inf), record))
        elif record.event == "joined" and record["how"] == "resumed":
            moments.append(((record.epoch - 1, math.inf), record))
    return [record for _, record in sorted(moments, key=lambda moment: moment[0])]


@dataclass(kw_only=True)
class _Held:
    """A version of the chain while it is read."""

    commit: Commit
    site: str
    """That recorded it first."""
    last: int
    """Newest epoch in which a member recorded it."""


@dataclass(kw_only=True)
class _Reader:
    """The chain as far as the records were replayed."""

    ordinary: frozenset[int]
    """Epochs that members told of and that began without a rewind."""
    chain: dict[int, _Held] = field(default_factory=dict[int, _Held])
    dropped: list[Dropped] = field(default_factory=list[Dropped])

    def rewind(self, base: int, t: Seconds) -> None:
        """Drop the versions after `base`."""
        for version in sorted(version for version in self.chain if version > base):
            self.dropped.append(Dropped(commit=self.chain.pop(version).commit, t=t))

    def commit(self, record: Record) -> None:
        """Take in what a member recorded of a version. Raises StateDiverged."""
        version = record["version"]
        if record.fields.get("parent"):
            self._make_way(record)
        known = self.chain.get(version)
        if known is None:
            self.chain[version] = _Held(commit=_commit(record), site=record.site, last=record.epoch)
            return
        if known.commit.hash != record["hash"]:
            raise _other_hash(known, record)
        _compare_work(known, record)
        known.last = record.epoch

    def stands(self, finish: Record) -> bool:
        """Whether a run that ended at this version is complete. Raises StateDiverged."""
        version, hash = finish["version"], finish["hash"]
        known = self.chain.get(version)
        if known is not None and known.commit.hash == hash:
            return True
        if any((one.commit.version, one.commit.hash) == (version, hash) for one in self.dropped):
            return False
        if known is not None:
            raise _other_hash(known, finish)
        return True  # who committed it did not live to record it

    def _make_way(self, record: Record) -> None:
        """Drop what a version that names its parent leaves no place for, if a rewind may lie between.

        That is what has its place or its parent's, and whatever follows. Of a version that stands already it
        is what follows: members announce a version before any that follows it, so this one was done again.
        Raises StateDiverged where another version has its parent's place by right.
        """
        version = record["version"]
        below, known = self.chain.get(version - 1), self.chain.get(version)
        same = known is not None and known.commit.hash == record["hash"]
        odd = below if below is not None and below.commit.hash != record["parent"] else None
        low = version - 1 if odd is not None else version + 1 if same else version
        last = max((held.last for number, held in self.chain.items() if number >= low), default=record.epoch)
        if self._may_be_rewound(last, record.epoch):
            self.rewind(low - 1, record.t)
        elif odd is not None:
            raise _other_parent(odd, record)

    def _may_be_rewound(self, last: int, epoch: int) -> bool:
        """Whether a rewind may lie between what was recorded in epoch `last` and in `epoch`."""
        return any(number not in self.ordinary for number in range(last + 1, epoch + 1))


def _compare_work(known: _Held, record: Record) -> None:
    if tuple(record["work"]) != known.commit.work:
        raise StateDiverged(
            f"{known.site} and {record.site} recorded different work for version {known.commit.version}; "
            f"members of one run must agree: {_KEEP}"
        )


def _other_hash(known: _Held, record: Record) -> StateDiverged:
    commit = known.commit
    return StateDiverged(
        f"version {commit.version} is {commit.hash} at {known.site} and {record['hash']} at {record.site}; "
        f"members of one run must hold the same bytes: {_KEEP}"
    )


def _other_parent(below: _Held, record: Record) -> StateDiverged:
    return StateDiverged(
        f"version {record['version']} stands on {record['parent']} at {record.site}, and version "
        f"{below.commit.version} is {below.commit.hash} at {below.site}; members of one run must hold one "
        f"chain: {_KEEP}"
    )


def _commit(record: Record) -> Commit:
    return Commit(
        version=record["version"],
        t=record.t,
        hash=record["hash"],
        tokens=record["tokens"],
        rows=record["rows"],
        work=tuple(record["work"]),
        returned=tuple((version, site) for version, site in record.fields.get("returned", ())),
    )
