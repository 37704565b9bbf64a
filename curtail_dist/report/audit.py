"""Counts rows from the commits alone, without trusting the ledger that made them."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curtail_dist.errors import DataError
from curtail_dist.report.chain import Commit


@dataclass(frozen=True, kw_only=True)
class RowCount:
    """How often the rows of a run are in its chain; of a finished run the first four add up to its rows.

    A row counts in the commit that finishes it; one that was begun alone does not.
    """

    trained: int
    """Finished once, and no token of them was trained again."""
    duplicated: int
    """Finished more than once, or once after some of their tokens were trained again."""
    lost: int
    """Finished by nobody although the run is finished; 0 while it is not."""
    untold: int
    """Finished in versions of which no record is here, as those after them say: who was alone when it made
    them keeps its record elsewhere."""
    duplicated_tokens: int
    """Tokens of open rows that the chain had before: those of an offset that did not grow, counted from the
    row's beginning, since no record says from where they were trained again."""


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
    untold = sum(gap.rows for gap in gaps(chain))
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
        lost=max(0, total - once - more - untold) if finished else 0,
        untold=untold,
        duplicated_tokens=again.total(),
    )


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Versions in a row of which no record is here, and what the next one says was done in them."""

    first: int
    last: int
    rows: int
    tokens: int


def gaps(chain: Sequence[Commit]) -> Iterator[Gap]:
    """Yield what is missing of a chain that begins at version 1."""
    version = rows = tokens = 0
    for commit in chain:
        if commit.version > version + 1:
            own = sum(last - first for each in commit.work for first, last in each["rows"])
            yield Gap(
                first=version + 1,
                last=commit.version - 1,
                rows=max(0, commit.rows - rows - own),
                tokens=max(0, commit.tokens - tokens - sum(each["tokens"] for each in commit.work)),
            )
        version, rows, tokens = commit.version, commit.rows, commit.tokens


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
