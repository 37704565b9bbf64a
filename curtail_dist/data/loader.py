"""Reads a run's rows by position: verified Parquet shards, in a seeded order for each pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curtail_dist.data.ledger import Range
from curtail_dist.data.manifest import Manifest, verify
from curtail_dist.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the data set."""

    index: int
    """Row number in the data set: in shard order, the same in every pass."""
    text: str
    start: int = 0
    """How many of its tokens the chain has already, in this pass: training goes on after them."""


class RowOrder:
    """The order in which a run does its rows: each pass a permutation seeded by (seed, pass)."""

    def __init__(self, *, rows: int, passes: int, seed: int) -> None:
        """Order `rows` rows for `passes` passes."""
        self.rows = rows
        self.total = rows * passes
        self._seed = seed
        self._pass = -1
        self._permutation = np.empty(0, dtype=np.int64)

    def row(self, position: int) -> int:
        """Return the row number at a position."""
        which, offset = divmod(position, self.rows)
        if which != self._pass:
            self._permutation = np.random.default_rng([self._seed, which]).permutation(self.rows)
            self._pass = which
        return int(self._permutation[offset])


class RowReader:
    """Random access to a data set's rows. Owned by one rank; opens and verifies a shard at its first use."""

    def __init__(self, manifest: Manifest) -> None:
        """Read the rows that `manifest` names."""
        self._manifest = manifest
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        self._tables: dict[int, pa.ChunkedArray] = {}

    def __getitem__(self, index: int) -> Row:
        """Return one row. Raises DataError for a corrupt or missing shard."""
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        column = self._tables.get(shard)
        if column is None:
            column = self._tables[shard] = self._open(shard)
        return Row(index, column[index - int(self._starts[shard])].as_py())

    def _open(self, number: int) -> pa.ChunkedArray:
        shard = self._manifest.shards[number]
        verify(shard)
        try:
            # pq.read_table would import pyarrow.dataset first: a second in which the other sites wait.
            column = (
                pq.ParquetFile(shard.path, memory_map=True).read(columns=[self._manifest.column]).column(0)
            )
        except (pa.ArrowException, OSError, IndexError) as error:
            raise DataError(
                f"shard {shard.path} has no readable column {self._manifest.column!r}: {error}"
            ) from error
        if len(column) != shard.rows:
            raise DataError(
                f"shard {shard.path} has {len(column)} rows; the manifest says {shard.rows}: prepare again"
            )
        return column


def positions(ranges: Iterable[Range]) -> Iterator[int]:
    """Iterate over all positions of the ranges, in order."""
    for first, last in ranges:
        yield from range(first, last)
