"""The ledger: which rows are done, and who does which rows next. Pure.

Rows are named by their *position* in the run's row order: passes follow each other, and within a pass the
rows stand in a seeded permutation (see loader.py). A position is done exactly once in a run; it is marked
done only by the commit that carries the pseudo-gradient of its last token. A row whose first tokens alone
are in the chain is open: it stands in the ledger with their number, is not done, and is planned like any
other row that is not.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Self

Range = tuple[int, int]
"""Positions [first, last+1)."""

Offset = tuple[int, int]
"""(position, tokens): a row of which the first `tokens` tokens are done, and not all."""


def normalize(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Sort ranges and join neighbours; raises ValueError where two overlap or one is empty."""
    merged: list[Range] = []
    for first, last in sorted((int(a), int(b)) for a, b in ranges):
        if first >= last:
            raise ValueError(f"range [{first}, {last}) is empty; it must hold at least one position")
        if merged and first < merged[-1][1]:
            raise ValueError(f"position {first} is in two ranges; a row is done once")
        if merged and first == merged[-1][1]:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return tuple(merged)


def count(ranges: Iterable[Range]) -> int:
    """Return how many positions the ranges hold."""
    return sum(last - first for first, last in ranges)


def holds(ranges: Sequence[Range], position: int) -> bool:
    """Whether a position is in sorted, disjoint ranges."""
    index = bisect_right(ranges, position, key=lambda span: span[0])
    return index > 0 and position < ranges[index - 1][1]


def take(ranges: Sequence[Range], amount: int) -> tuple[Range, ...]:
    """Return the first `amount` positions of `ranges`, all of them if there are fewer."""
    taken: list[Range] = []
    for first, last in ranges:
        if amount <= 0:
            break
        stop = min(last, first + amount)
        taken.append((first, stop))
        amount -= stop - first
    return tuple(taken)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Which of the run's `total` positions are done."""

    total: int
    done: tuple[Range, ...] = ()
    open: tuple[Offset, ...] = ()
    """Rows begun and not finished, by position."""

    def __post_init__(self) -> None:
        if self.done and (self.done[0][0] < 0 or self.done[-1][1] > self.total):
            raise ValueError(f"the ledger marks {self.done} of {self.total} rows; positions must be in range")
        if any(not 0 <= position < self.total or tokens < 1 for position, tokens in self.open):
            raise ValueError(
                f"the ledger has {self.open} open of {self.total} rows; positions must be in range, and at "
                "least 1 token of each done"
            )

    @property
    def rows_done(self) -> int:
        """Number of positions done."""
        return count(self.done)

    @property
    def complete(self) -> bool:
        """Whether every position is done."""
        return self.rows_done == self.total

    def with_done(self, ranges: Iterable[Range], open: Iterable[Offset] = ()) -> Self:
        """Return the ledger after a commit that finished `ranges` and left `open` rows begun.

        Raises ValueError if a row would be done twice, or an open row would have fewer tokens than before.
        """
        return self.with_all_done([(ranges, open)])

    def with_all_done(self, commits: Iterable[tuple[Iterable[Range], Iterable[Offset]]]) -> Self:
        """Return the ledger after several commits, oldest first: as `with_done` of each, but in one pass."""
        rows: list[tuple[int, int, int]] = [(first, last, -1) for first, last in self.done]
        offsets: list[tuple[int, int, int]] = []
        for number, (ranges, open) in enumerate(commits):
            rows += ((first, last, number) for first, last in ranges)
            offsets += ((position, tokens, number) for position, tokens in _once(open))
        done = normalize((first, last) for first, last, _ in rows)
        rows.sort()
        begun = dict(self.open)
        for position, tokens, number in offsets:
            index = bisect_right(rows, position, key=lambda span: span[0]) - 1
            if index >= 0 and position < rows[index][1] and rows[index][2] <= number:
                raise ValueError(f"position {position} is open and done; a row is done with its last token")
            if tokens < begun.get(position, 0):
                raise ValueError(
                    f"position {position} has {tokens} tokens done, {begun[position]} before; "
                    "a token is done once"
                )
            begun[position] = tokens
        kept = {position: tokens for position, tokens in begun.items() if not holds(done, position)}
        return type(self)(total=self.total, done=done, open=tuple(sorted(kept.items())))

    def free(self) -> tuple[Range, ...]:
        """Return the positions not done, open ones too, in order."""
        edges = [0, *(edge for span in self.done for edge in span), self.total]
        return tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)


def _once(open: Iterable[Offset]) -> tuple[Offset, ...]:
    offsets = tuple(open)
    if len(dict(offsets)) < len(offsets):
        raise ValueError(f"open rows {offsets} name a position twice; a row is planned for one member")
    return offsets


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One member's part of a round."""

    rows: tuple[Range, ...]
    """Reserved for it, to be taken in this order; those it does not take go back to the pool."""
    steps: int
    """Inner steps after which its round is due; 0 where no rows are left for it."""
    open: tuple[Offset, ...] = ()
    """Those of its rows that the chain has in part; they come first in `rows`."""


@dataclass(frozen=True, kw_only=True)
class Staying:
    """What members keep from the round before."""

    rows: Mapping[str, Sequence[Range]] = field(default_factory=dict[str, Sequence[Range]])
    """By member, in the order in which it takes them."""
    delay: int = 0
    """Steps that each may have done on them by now, beside those that are planned."""


RESERVE = 1.5
"""Rows reserved over the expected need, so that short rows do not end a round early."""

_ROUNDING = 0.4
"""Added before steps are cut to whole ones: rather a slower member waits than a faster one, which loses
more by it."""

SPARE_ROWS = 4
"""Rows reserved beside that: where rows are longer than a round the mean says little about the next ones."""


def plan(
    ledger: Ledger,
    members: Sequence[str],
    *,
    speeds: Mapping[str, float],
    steps: int,
    rows_per_step: float | None,
    step_tokens: Mapping[str, float] = MappingProxyType({}),
    staying: Staying | None = None,
) -> dict[str, Assignment]:
    """Assign the next round: the same at every member for the same record, without a message.

    Open rows come first, then the lowest positions not begun; no row goes to two members. Steps are in
    proportion to speed, so that unequal members finish together, as far as whole steps allow.

    Args:
        ledger: As of the head commit.
        members: Sites of the epoch, in its order.
        speeds: Inner steps per second as measured; unknown sites count as the mean of the known.
        steps: Inner steps of the fastest member; others do proportionally fewer, at least 1.
        rows_per_step: Rows of an inner step of mean size; None before the first commit, when all rows are
            shared out and the steps alone end the round.
        step_tokens: Tokens of an inner step by site, as last seen: a site of more ranks takes more in each.
            Unknown sites count as the mean of the known.
        staying: Rows that stay with a member: they come first in its assignment, in their order.
    """
    staying = staying or Staying()
    speed = _completed(speeds, members)
    size = _completed(step_tokens, members)
    fastest, mean_size = max(speed.values()), _mean(step_tokens)
    quota = {site: max(1, int(steps * speed[site] / fastest + _ROUNDING)) for site in members}
    wanted = {
        site: _rows_wanted(
            (quota[site] + staying.delay) * size[site] / mean_size, rows_per_step, ledger.total
        )
        for site in members
    }
    begun = dict(ledger.open)
    edges = sorted(begun)
    mine = {site: _apart(staying.rows.get(site, ()), edges) for site in members}
    queue = _queue(ledger.with_done(span for spans in mine.values() for span in spans))
    left = count(queue)
    wanted = {site: max(0, rows - count(mine[site])) for site, rows in wanted.items()}
    if sum(wanted.values()) > left:
        wanted = _share(left, {site: speed[site] * size[site] for site in members})
    assignments: dict[str, Assignment] = {}
    for site, given in zip(members, deal(queue, [wanted[site] for site in members]), strict=True):
        rows = (*mine[site], *given)
        assignments[site] = Assignment(
            rows=rows,
            steps=quota[site] if rows else 0,
            open=tuple((first, begun[first]) for first, _ in rows if first in begun),
        )
    return assignments


def ahead(rest: Sequence[Range], *, taken: int, steps: int, delay: int) -> tuple[Range, ...]:
    """Return what of the `rest` of an assignment is kept for `delay` more steps; the others go to the pool.

    `taken` rows were begun in `steps` steps. The row that is begun and not finished is the first of the rest.
    """
    return take(rest, int(delay * taken / steps * RESERVE) + SPARE_ROWS if steps else 0)


def split(assignment: Assignment, parts: int, kept: Sequence[Sequence[Range]] = ()) -> list[Assignment]:
    """Share a member's rows out to the `parts` ranks of its site, which take all steps together.

    Open rows go round; of the others each rank gets a block, so that what is left over is one piece a rank.
    Where the assignment begins with rows that were `kept`, given by rank, each rank begins with its own.
    """
    if parts == 1:
        return [assignment]
    opened = dict(assignment.open)
    edges = sorted(opened)
    rest = drop(assignment.rows, sum(count(one) for one in kept))
    begun = [span for span in rest if span[0] in opened]  # each is a range of its own
    fresh = [span for span in rest if span[0] not in opened]
    left = count(fresh)
    blocks = deal(fresh, [left * (rank + 1) // parts - left * rank // parts for rank in range(parts)])
    shares: list[Assignment] = []
    for rank, block in enumerate(blocks):
        own = _apart(kept[rank], edges) if kept else ()
        rows = (*own, *begun[rank::parts], *block)
        mine = tuple((first, opened[first]) for first, _ in rows if first in opened)
        shares.append(Assignment(rows=rows, steps=assignment.steps, open=mine))
    return shares


def _apart(ranges: Sequence[Range], begun: Sequence[int]) -> tuple[Range, ...]:
    """Return the same positions in the same order, each of the sorted `begun` as a range of its own."""
    apart: list[Range] = []
    for first, last in ranges:
        inside = begun[bisect_left(begun, first) : bisect_left(begun, last)]
        edges = [first, *(edge for position in inside for edge in (position, position + 1)), last]
        apart += [(low, high) for low, high in pairwise(edges) if low < high]
    return tuple(apart)


def _mean(known: Mapping[str, float]) -> float:
    """Return the mean of what is above 0, 1 if nothing is."""
    values = [value for value in known.values() if value > 0]
    return sum(values) / len(values) if values else 1.0


def _completed(known: Mapping[str, float], members: Sequence[str]) -> dict[str, float]:
    """Return each member's value; unknown ones are the mean of the known members', else of all known."""
    here = {site: known[site] for site in members if known.get(site, 0) > 0}
    mean = _mean(here or known)
    return {site: here.get(site, mean) for site in members}


def _queue(ledger: Ledger) -> tuple[Range, ...]:
    """Return the positions not done in the order of planning; each open one is a range of its own."""
    begun = tuple((position, position + 1) for position, _ in ledger.open)
    return begun + ledger.with_done(begun).free()


def _rows_wanted(steps: float, rows_per_step: float | None, total: int) -> int:
    if rows_per_step is None:
        return total
    return int(steps * rows_per_step * RESERVE) + SPARE_ROWS


def _share(rows: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Split `rows` in proportion to `weights`, by running totals, so that nothing is left over."""
    shares: dict[str, int] = {}
    whole, seen, given = sum(weights.values()), 0.0, 0
    for site, value in weights.items():
        seen += value
        shares[site] = round(rows * seen / whole) - given
        given += shares[site]
    return shares


def deal(ranges: Sequence[Range], amounts: Sequence[int]) -> list[tuple[Range, ...]]:
    """Return for each amount that many of the next positions, fewer once none are left."""
    dealt: list[tuple[Range, ...]] = []
    index, first = 0, ranges[0][0] if ranges else 0
    for amount in amounts:
        mine: list[Range] = []
        while amount > 0 and index < len(ranges):
            stop = min(ranges[index][1], first + amount)
            mine.append((first, stop))
            amount -= stop - first
            first = stop
            if stop == ranges[index][1]:
                index += 1
                first = ranges[index][0] if index < len(ranges) else stop
        dealt.append(tuple(mine))
    return dealt


def drop(ranges: Sequence[Range], amount: int) -> tuple[Range, ...]:
    """Return `ranges` without their first `amount` positions."""
    kept: list[Range] = []
    for first, last in ranges:
        cut = min(amount, last - first)
        amount -= cut
        if first + cut < last:
            kept.append((first + cut, last))
    return tuple(kept)
