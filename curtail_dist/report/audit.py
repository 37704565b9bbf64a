"""Counts rows and versions from the commits alone, without trusting the ledger that made them."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curtail_dist.errors import DataError, StateDiverged
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds


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

    @property
    def contributors(self) -> frozenset[str]:
        """Names of the sites whose training is in this version."""
        return frozenset(str(contribution["site"]) for contribution in self.work)


@dataclass(frozen=True, kw_only=True)
class RowCount:
    """How often the rows of a run are in its chain; of a finished run the first three add up to its rows.

    A row counts in the commit that finishes it; one that was begun alone does not.
    """

    trained: int
    """Finished once, and no token of them was trained again."""
    duplicated: int
    """Finished more than once, or once after some of their tokens were trained again."""
    lost: int
    """Finished by nobody although the run is finished; 0 while it is not."""
    duplicated_tokens: int
    """Tokens of open rows that the chain had before: those of an offset that did not grow, counted from the
    row's beginning, since no record says from where they were trained again."""


@dataclass(kw_only=True)
class _Reader:
    """The chain as far as the records were read, in their order."""

    chain: dict[int, tuple[Commit, str]]
    """By version, with the site that recorded it first."""
    newest_epoch: int = 0
    """Of the commits read."""
    dropped: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(base, epoch) of each rewind: versions after `base` of epochs up to this one are dropped."""

    def read(self, record: Record) -> None:
        if record.event == "rewound":
            self._rewind(int(record["base"]))
        elif record.event == "run_finished" and not self._is_dropped(record):
            self._compare_hash(record)
        elif record.event == "commit" and not self._is_dropped(record):
            self._commit(record)

    def _rewind(self, base: int) -> None:
        self.dropped.append((base, self.newest_epoch))
        self.chain = {version: known for version, known in self.chain.items() if version <= base}

    def _is_dropped(self, record: Record) -> bool:
        # A member that slept through the rewind may write down a dropped version after it.
        return any(record["version"] > base and record.epoch <= epoch for base, epoch in self.dropped)

    def _commit(self, record: Record) -> None:
        self.newest_epoch = max(self.newest_epoch, record.epoch)
        version = record["version"]
        if version not in self.chain:
            self.chain[version] = (_commit(record), record.site)
            return
        self._compare_hash(record)
        known, author = self.chain[version]
        if _commit(record).work != known.work:
            raise StateDiverged(
                f"{author} and {record.site} recorded different work for version {version}; "
                "members of one run must agree: keep the run directory and do not resume it"
            )

    def _compare_hash(self, record: Record) -> None:
        if record["version"] not in self.chain:
            return
        known, author = self.chain[record["version"]]
        if record["hash"] != known.hash:
            raise StateDiverged(
                f"version {known.version} is {known.hash} at {author} and {record['hash']} at {record.site}; "
                "members of one run must hold the same bytes: keep the run directory and do not resume it"
            )


def commits(records: Iterable[Record]) -> tuple[Commit, ...]:
    """Return the chain, one entry a version, from the `commit` records of all members, in order.

    A `rewound` record drops the versions after its base from the chain: those recorded before it, and those
    of their epochs that are recorded later.

    Raises StateDiverged when two members recorded different bytes or different work for one version and no
    rewind lies between them.
    """
    reader = _Reader(chain={})
    for record in records:
        reader.read(record)
    return tuple(reader.chain[version][0] for version in sorted(reader.chain))


def _commit(record: Record) -> Commit:
    return Commit(
        version=record["version"],
        t=record.t,
        hash=record["hash"],
        tokens=record["tokens"],
        rows=record["rows"],
        work=tuple(record["work"]),
    )


def count_rows(chain: Sequence[Commit], *, total: int, finished: bool) -> RowCount:
    """Count positions 0 .. total-1 by how many contributions of the chain finish them.

    Raises DataError when a contribution lies outside of the run's rows.
    """
    edges: Counter[int] = Counter()
    for commit in chain:
        for first, last in _spans(commit, total):
            edges[first] += 1
            edges[last] -= 1
    again = _tokens_again(chain, total)
    once = more = depth = previous = 0
    for position in sorted({*edges, *again, *(position + 1 for position in again)}):
        # An open row that was trained again is alone between two edges: it is `previous` here.
        width, twice = position - previous, previous in again
        once += width * (depth == 1 and not twice)
        more += width * (depth > 1 or (depth == 1 and twice))
        depth += edges[position]
        previous = position
    return RowCount(
        trained=once,
        duplicated=more,
        lost=total - once - more if finished else 0,
        duplicated_tokens=again.total(),
    )


def _spans(commit: Commit, total: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of rows that a commit finishes. Raises DataError for one outside of the run."""
    for contribution in commit.work:
        for first, last in contribution["rows"]:
            if not 0 <= first <= last <= total:
                raise DataError(
                    f"version {commit.version} holds rows [{first}, {last}) of {contribution['site']}; "
                    f"they must lie in [0, {total})"
                )
            yield first, last


def _offsets(commit: Commit, total: int) -> Iterator[tuple[int, int]]:
    """Yield (position, tokens) of the rows that a commit leaves open. Raises DataError for an odd one."""
    for contribution in commit.work:
        for position, tokens in contribution.get("open", ()):
            if not 0 <= position < total or tokens < 1:
                raise DataError(
                    f"version {commit.version} holds {tokens} tokens of row {position} of "
                    f"{contribution['site']}; they must be at least 1 of a row in [0, {total})"
                )
            yield position, tokens


def _tokens_again(chain: Sequence[Commit], total: int) -> Counter[int]:
    """Count, by position, the tokens of open rows that the chain had when they were trained once more."""
    opened = sorted({position for commit in chain for position, _ in _offsets(commit, total)})
    reached: dict[int, float] = {}
    again: Counter[int] = Counter()
    for commit in chain:
        for first, last in _spans(commit, total):
            for position in opened[bisect_left(opened, first) : bisect_left(opened, last)]:
                reached[position] = math.inf
        here: set[int] = set()
        for position, tokens in _offsets(commit, total):
            before = reached.get(position, 0)
            if tokens <= before or position in here:
                again[position] += int(min(tokens, before))
            reached[position] = max(tokens, before)
            here.add(position)
    return again
