"""Counts rows and versions from the commits alone, without trusting the ledger that made them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """What each contributor did: `site`, `tokens`, `steps`, `rows` [[first, last+1], ...]."""

    @property
    def contributors(self) -> frozenset[str]:
        """Names of the sites whose training is in this version."""
        return frozenset(str(contribution["site"]) for contribution in self.work)


@dataclass(frozen=True, kw_only=True)
class RowCount:
    """How often the rows of a run are in its chain; of a finished run the three add up to its rows."""

    trained: int
    """Covered once."""
    duplicated: int
    """Covered more than once."""
    lost: int
    """Covered by nobody although the run is finished; 0 while it is not."""


def commits(records: Iterable[Record]) -> tuple[Commit, ...]:
    """Return the chain, one entry a version, from the `commit` records of all members.

    Raises StateDiverged when two members recorded different bytes or different work for one version.
    """
    chain: dict[int, tuple[Commit, str]] = {}
    for record in records:
        if record.event == "run_finished":
            _compare_hash(chain, record)
        if record.event != "commit":
            continue
        version = record["version"]
        if version not in chain:
            chain[version] = (_commit(record), record.site)
            continue
        _compare_hash(chain, record)
        known, author = chain[version]
        if _commit(record).work != known.work:
            raise StateDiverged(
                f"{author} and {record.site} recorded different work for version {version}; "
                "members of one run must agree: keep the run directory and do not resume it"
            )
    return tuple(chain[version][0] for version in sorted(chain))


def _commit(record: Record) -> Commit:
    return Commit(
        version=record["version"],
        t=record.t,
        hash=record["hash"],
        tokens=record["tokens"],
        rows=record["rows"],
        work=tuple(record["work"]),
    )


def _compare_hash(chain: Mapping[int, tuple[Commit, str]], record: Record) -> None:
    if record["version"] not in chain:
        return
    known, author = chain[record["version"]]
    if record["hash"] != known.hash:
        raise StateDiverged(
            f"version {known.version} is {known.hash} at {author} and {record['hash']} at {record.site}; "
            "members of one run must hold the same bytes: keep the run directory and do not resume it"
        )


def count_rows(chain: Sequence[Commit], *, total: int, finished: bool) -> RowCount:
    """Count positions 0 .. total-1 by how many contributions of the chain cover them.

    Raises DataError when a contribution lies outside of the run's rows.
    """
    edges: Counter[int] = Counter()
    for commit in chain:
        for contribution in commit.work:
            for first, last in contribution["rows"]:
                if not 0 <= first <= last <= total:
                    raise DataError(
                        f"version {commit.version} holds rows [{first}, {last}) of {contribution['site']}; "
                        f"they must lie in [0, {total})"
                    )
                edges[first] += 1
                edges[last] -= 1
    once = more = depth = previous = 0
    for position in sorted(edges):
        once += (position - previous) * (depth == 1)
        more += (position - previous) * (depth > 1)
        depth += edges[position]
        previous = position
    return RowCount(trained=once, duplicated=more, lost=total - once - more if finished else 0)
