"""Reads a run's rows by number, from Parquet shards, a row group at a time."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curtail_dist.data.ledger import Range
from curtail_dist.data.manifest import Manifest, Shard, verify
from curtail_dist.errors import DataError

_GROUPS_HELD = 4
"""Row groups in memory: neighbours in the order of rows are in one block, which lies in two or three."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the data set."""

    index: int
    """Row number in the data set: in shard order, the same in every pass."""
    text: str
    start: int = 0
    """How many of its tokens the chain has already, in this pass: training goes on after them."""


class RowReader:
    """Random access to a data set's rows. Owned by one rank; opens a shard at its first use.

    Memory: the texts of the row groups last read, and the footers of the shards that were opened.
    """

    def __init__(self, manifest: Manifest, *, provide: Callable[[Shard], None] = verify) -> None:
        """Read the rows that `manifest` names; `provide` is called before a shard is opened.

        When it returns, the shard's file is there with its hash; else it raises DataError.
        """
        self._manifest = manifest
        self._provide = provide
        self._starts = np.cumsum([0, *(shard.rows for shard in manifest.shards)])
        self._files: dict[int, tuple[pq.ParquetFile, np.ndarray]] = {}
        """Each opened shard with the first row of each of its groups, and its number of rows."""
        self._groups: OrderedDict[tuple[int, int], pa.ChunkedArray] = OrderedDict()

    def __getitem__(self, index: int) -> Row:
        """Return one row. Raises DataError for a corrupt or missing shard, and for a row that is no text."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        if number not in self._files:
            self._files[number] = self._open(self._manifest.shards[number])
        firsts = self._files[number][1]
        row = index - int(self._starts[number])
        group = int(np.searchsorted(firsts, row, side="right")) - 1
        value = self._group(number, group)[row - int(firsts[group])]
        return Row(index, self._text(self._manifest.shards[number], row, value))

    def _text(self, shard: Shard, row: int, value: pa.Scalar) -> str:
        try:
            text = value.as_py()
        except UnicodeDecodeError:
            said = "is not UTF-8"
        else:
            if isinstance(text, str):
                return text
            said = "is null" if text is None else f"is {type(text).__name__}"
        raise DataError(
            f"shard {shard.path}: {self._manifest.column} of row {row}, counted from 0, {said}; it must be "
            "text in UTF-8: write the file anew and prepare the data set again"
        )

    def _group(self, number: int, group: int) -> pa.ChunkedArray:
        key = (number, group)
        column = self._groups.get(key)
        if column is None:
            column = self._groups[key] = self._read(number, group)
            if len(self._groups) > _GROUPS_HELD:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(key)
        return column

    def _open(self, shard: Shard) -> tuple[pq.ParquetFile, np.ndarray]:
        self._provide(shard)
        try:
            file = pq.ParquetFile(shard.path, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(shard, error) from error
        groups = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        firsts = np.cumsum([0, *groups])
        if firsts[-1] != shard.rows:
            raise DataError(
                f"shard {shard.path} has {firsts[-1]} rows; the manifest says {shard.rows}: prepare again"
            )
        return file, firsts

    def _read(self, number: int, group: int) -> pa.ChunkedArray:
        try:
            # pq.read_table would import pyarrow.dataset first: a second in which the other sites wait.
            table = self._files[number][0].read_row_group(group, columns=[self._manifest.column])
            return table.column(0)
        except (pa.ArrowException, OSError, IndexError) as error:
            raise self._unreadable(self._manifest.shards[number], error) from error

    def _unreadable(self, shard: Shard, error: Exception) -> DataError:
        return DataError(f"shard {shard.path} has no readable column {self._manifest.column!r}: {error}")


def positions(ranges: Iterable[Range]) -> Iterator[int]:
    """Iterate over all positions of the ranges, in order."""
    for first, last in ranges:
        yield from range(first, last)
