"""The order in which a run does its rows: shard after shard, so that a site needs few of them at a time.

Each pass has its own order, seeded by (seed, pass): the shards are shuffled; within a shard, blocks of rows;
within a block, its rows. So each row comes once in a pass, neighbours in the order are in one block of one
shard, and what is read next is known ahead. A data set whose rows are sorted by topic should be shuffled
before it is cut into shards, as those that nanochat trains on are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from curtail_dist.data.ledger import Range

BLOCK_ROWS = 1_024
"""Rows of a block: a row group of the data sets that nanochat trains on."""

_SAMPLE = (3 * BLOCK_ROWS, 5, 700)
"""Rows of the shards by which orders are compared."""


def order_name() -> str:
    """Name this order in a run's identity: sites with another one would do other rows for the same positions.

    A hash tells what comes of it here: a version of NumPy may draw other permutations from the same seed
    (NEP 19, on streams of `Generator`).
    """
    order = RowOrder(_SAMPLE, passes=1, seed=20)
    rows = np.array([order.row(position) for position in range(order.total)], dtype="<i8")
    drawn = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
    return f"shards, blocks of {BLOCK_ROWS}, rows: {drawn}"


class RowOrder:
    """Says which row stands at a position. Positions count on over the passes."""

    def __init__(self, shards: Sequence[int], *, passes: int, seed: int) -> None:
        """Order the rows of shards that hold so many, in the manifest's order, for `passes` passes."""
        self._sizes = np.array(shards, dtype=np.int64)
        self._firsts = np.concatenate(([0], np.cumsum(self._sizes)))
        self.rows = int(self._firsts[-1])
        """Rows of a pass."""
        self.total = self.rows * passes
        """Positions of all passes."""
        self._seed = seed
        self._pass = -1
        self._shards: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._places: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        """Where in the pass each of `_shards` begins, and where the last one ends."""
        self._open = (-1, -1)
        self._rows: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def row(self, position: int) -> int:
        """Return the row number at a position, in the manifest's order."""
        which, place = divmod(position, self.rows)
        index = self._index(which, place)
        shard = int(self._shards[index])
        if self._open != (which, shard):
            self._rows = self._shuffled(which, shard)
            self._open = (which, shard)
        return int(self._firsts[shard] + self._rows[place - int(self._places[index])])

    def shards_of(self, ranges: Iterable[Range]) -> Iterator[int]:
        """Yield the shards that hold these positions, each once, in the order in which they are come to."""
        seen: set[int] = set()
        for first, last in ranges:
            while first < last:
                which, place = divmod(first, self.rows)
                index = self._index(which, place)
                shard = int(self._shards[index])
                if shard not in seen:
                    seen.add(shard)
                    yield shard
                first = which * self.rows + int(self._places[index + 1])

    def _index(self, which: int, place: int) -> int:
        """Return which of the pass's shards, in its order, holds a place of it."""
        if which != self._pass:
            self._shards = np.random.default_rng([self._seed, which]).permutation(len(self._sizes))
            self._places = np.concatenate(([0], np.cumsum(self._sizes[self._shards])))
            self._pass = which
        return int(np.searchsorted(self._places, place, side="right")) - 1

    def _shuffled(self, which: int, shard: int) -> NDArray[np.int64]:
        """Return a shard's rows, counted from its first, in the order of a pass."""
        draw = np.random.default_rng([self._seed, which, shard])
        size = int(self._sizes[shard])
        edges = [*range(0, size, BLOCK_ROWS), size]
        blocks = [np.arange(first, last) for first, last in pairwise(edges)]
        return np.concatenate([draw.permutation(blocks[block]) for block in draw.permutation(len(blocks))])
