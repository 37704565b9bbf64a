"""The data set on disk: Parquet shards of texts, written, adopted, verified and read by their manifest."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nanochat.files import replacing
from nanochat.manifest import (
    COLUMN,
    MANIFEST,
    SPLITS,
    DataProblem,
    Manifest,
    Shard,
    TokenizerFile,
    check_splits,
    load,
    parse,
    renew,
)

__all__ = [
    "COLUMN",
    "MANIFEST",
    "SPLITS",
    "DataProblem",
    "Manifest",
    "Shard",
    "TokenizerFile",
    "adopt",
    "check_splits",
    "load",
    "measure",
    "parse",
    "read_groups",
    "read_texts",
    "renew",
    "sha256_of",
    "verify",
    "verify_shard",
    "write_dataset",
]

ROWS_PER_GROUP = 1_024
ROWS_PER_SHARD = 53_248


def write_dataset(
    directory: Path,
    *,
    name: str,
    source: str,
    texts: Mapping[str, Iterable[str]],
    rows_per_shard: int = ROWS_PER_SHARD,
) -> Path:
    """Write shards, then the manifest.

    Args:
        directory: Made if it is missing; files of the same names are replaced.
        name: Of the data set.
        source: What the texts were made from.
        texts: Split -> its texts, in order. The same texts give the same bytes, with the same pyarrow.
        rows_per_shard: At most so many texts a file.

    Returns:
        The path of the manifest.
    """
    shards: list[Shard] = []
    for split in SPLITS:
        source_texts = iter(texts.get(split, ()))
        number = 0
        while rows := list(islice(source_texts, rows_per_shard)):
            shards.append(_write_shard(directory, f"{split}-{number:05d}.parquet", split, rows))
            number += 1
    return renew(Manifest(directory=directory, name=name, source=source, shards=tuple(shards)))


def _write_shard(directory: Path, file: str, split: str, rows: list[str]) -> Shard:
    table = pa.table({COLUMN: pa.array(rows, type=pa.string())})
    with replacing(directory / file) as temporary:
        pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
        digest = sha256_of(temporary)
    return Shard(
        file=file, split=split, rows=len(rows), bytes=sum(len(row.encode()) for row in rows), sha256=digest
    )


def adopt(directory: Path, *, name: str, source: str, files: Mapping[str, str]) -> Path:
    """Write a manifest for Parquet files that are there already, such as FineWeb-EDU's.

    Args:
        directory: Where the files lie.
        name: Of the data set.
        source: Where the files came from.
        files: File name relative to `directory` -> split, in the order of the data set.

    Returns:
        The path of the manifest.

    Raises:
        DataProblem: A file is missing or has no column `text`, or `check_splits` refuses what they are.
    """
    shards = tuple(measure(directory / file, file=file, split=split) for file, split in files.items())
    check_splits(shards)
    return renew(Manifest(directory=directory, name=name, source=source, shards=shards))


def measure(path: Path, *, file: str, split: str) -> Shard:
    """Count and hash what a Parquet file holds, wherever it lies; `file` and `split` are as in its manifest.

    Raises:
        DataProblem: The file is missing, is not readable to its end, or has no column `text` of texts in
            UTF-8, one in each row.
    """
    rows = length = 0
    for first, batch in _batches(path):
        if not (pa.types.is_string(batch.type) or pa.types.is_large_string(batch.type)):
            raise DataProblem(f"shard {path} has column {COLUMN} of {batch.type}; it must be of strings")
        _check_texts(path, first, batch)
        rows += len(batch)
        length += pc.sum(pc.binary_length(batch)).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
    return Shard(file=file, split=split, rows=rows, bytes=length, sha256=sha256_of(path))


def verify(manifest: Manifest) -> None:
    """Compare every shard's bytes with its hash. Raises DataProblem for the first that differs or lacks."""
    for shard in manifest.shards:
        verify_shard(manifest, shard)


def verify_shard(manifest: Manifest, shard: Shard) -> None:
    """Compare one shard's bytes with its hash. Raises DataProblem that names file, hashes and what to do."""
    path = manifest.directory / shard.file
    found = sha256_of(path)
    if found != shard.sha256:
        raise DataProblem(
            f"shard {path} has SHA-256 {found}; it must be {shard.sha256}: prepare or fetch it again"
        )


def read_texts(manifest: Manifest, split: str, *, first_row: int = 0) -> Iterator[str]:
    """The texts of `read_groups`, one by one."""
    return chain.from_iterable(read_groups(manifest, split, first_row=first_row))


def read_groups(manifest: Manifest, split: str, *, first_row: int = 0) -> Iterator[list[str]]:
    """The texts of a split in order, some of them at a time, each shard verified before its first text.

    Args:
        manifest: Of the data set.
        split: `train` or `val`.
        first_row: Skip so many texts; whole shards are skipped unread.

    Raises:
        DataProblem: A shard is missing or corrupt, or the split is unknown.
    """
    if split not in SPLITS:
        raise DataProblem(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    skip = first_row
    for shard in manifest.of_split(split):
        if skip >= shard.rows:
            skip -= shard.rows
            continue
        verify_shard(manifest, shard)
        path = manifest.directory / shard.file
        for first, batch in _batches(path):
            if skip < len(batch):
                _check_texts(path, first, batch)  # a manifest may be older than the check in `measure`
                yield batch.slice(skip).to_pylist()
            skip = max(0, skip - len(batch))


def _batches(path: Path) -> Iterator[tuple[int, pa.Array]]:
    """The column, some rows at a time, with the number of the first of them."""
    first = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, columns=[COLUMN]):
                yield first, batch.column(COLUMN)
                first += batch.num_rows
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataProblem(
            f"shard {path} has no readable column {COLUMN} ({reason}): prepare or fetch it again"
        ) from error


def _check_texts(path: Path, first: int, batch: pa.Array) -> None:
    """Raise DataProblem for the first row of a batch that is no text; its first row is row `first`."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        row = first + next(i for i in range(len(batch)) if not _is_utf8(batch.slice(i, 1)))
        raise DataProblem(_no_text(path, row, "is not UTF-8")) from error
    if batch.null_count:
        raise DataProblem(_no_text(path, first + batch.is_null().to_pylist().index(True), "is null"))


def _is_utf8(one: pa.Array) -> bool:
    try:
        one.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _no_text(path: Path, row: int, what: str) -> str:
    return (
        f"shard {path}: {COLUMN} of row {row}, counted from 0, {what}; it must be text in UTF-8: write the "
        f"file without that row"
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises DataProblem if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataProblem(
            f"shard {path} is unreadable ({error.strerror}); it must exist: prepare or fetch it again"
        ) from error
