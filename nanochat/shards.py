r"""The data set on disk: Parquet shards of texts, and a manifest that names and hashes them.

`manifest.json` lies beside its shards (`file` is relative to it):

    {"schema": 1, "name": str, "source": str, "column": "text",
     "shards": [{"file": str, "split": "train" | "val", "rows": int, "bytes": int, "sha256": hex}],
     "hash": hex,
     "url": str, "tokenizer": {"file": str, "sha256": hex}}

`bytes` counts the UTF-8 bytes of the texts, `sha256` is that of the file, and `hash` is the SHA-256 of the
lines "SPLIT SHA256\n" of all shards in order. `source` says what the texts were made from, with every
argument that matters. The last two may be absent and are no part of `hash`: `url` is where the shards can be
fetched from, a shard's address being its `file` relative to it; `tokenizer` is the one trained on them, its
`file` relative to the manifest as well.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nanochat.files import replacing, write_text

SCHEMA = 1
COLUMN = "text"
MANIFEST = "manifest.json"
ROWS_PER_GROUP = 1_024
ROWS_PER_SHARD = 53_248
SPLITS = ("train", "val")
_BASE_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s?#@]*")


class DataProblem(ValueError):
    """A manifest or shard is missing, corrupt, or not what it is said to be."""


def _require(holds: object, key: str, value: object, must: str) -> None:
    if not holds:
        raise DataProblem(f"{key} is {value!r}; it must be {must}")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet file."""

    file: str
    """Path relative to the manifest."""
    split: str
    """`train` or `val`."""
    rows: int
    """Number of texts."""
    bytes: int
    """UTF-8 bytes of the texts."""
    sha256: str
    """Hash of the file."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer that belongs to a data set."""

    file: str
    """Path relative to the manifest; it may lead out of the manifest's directory."""
    sha256: str
    """Hash of the file."""

    def __post_init__(self) -> None:
        held = isinstance(self.file, str) and self.file and not PurePosixPath(self.file).is_absolute()
        _require(held, "tokenizer.file", self.file, "a path relative to the manifest")
        hashed = isinstance(self.sha256, str) and re.fullmatch("[0-9a-f]{64}", self.sha256)
        _require(hashed, "tokenizer.sha256", self.sha256, "64 digits of 0-9 and a-f")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A data set whose shards lie in `directory`."""

    directory: Path
    name: str
    source: str
    shards: tuple[Shard, ...]
    url: str | None = None
    """Base address of the shards, for who has not got them; it holds no password and no query."""
    tokenizer: TokenizerFile | None = None
    """The tokenizer that was trained on them."""

    def __post_init__(self) -> None:
        plain = self.url is None or (isinstance(self.url, str) and _BASE_ADDRESS.fullmatch(self.url))
        _require(plain, "url", self.url, "SCHEME://..., without user, blanks, ? and #")

    @property
    def hash(self) -> str:
        """Identity of the data set: its shards' hashes and splits, in order."""
        lines = "".join(f"{shard.split} {shard.sha256}\n" for shard in self.shards)
        return hashlib.sha256(lines.encode()).hexdigest()

    def of_split(self, split: str) -> list[Shard]:
        """The shards of a split, in order."""
        return [shard for shard in self.shards if shard.split == split]

    def address(self, shard: Shard) -> str | None:
        """Where a shard can be fetched from; None where nothing says."""
        return None if self.url is None else f"{self.url.rstrip('/')}/{shard.file}"

    def save(self) -> Path:
        """Write `manifest.json`, atomically; returns its path."""
        path = self.directory / MANIFEST
        shards = [asdict(shard) for shard in self.shards]
        head = {"schema": SCHEMA, "name": self.name, "source": self.source, "column": COLUMN}
        rest: dict[str, object] = {} if self.url is None else {"url": self.url}
        if self.tokenizer is not None:
            rest["tokenizer"] = asdict(self.tokenizer)
        write_text(path, json.dumps({**head, "shards": shards, "hash": self.hash, **rest}, indent=1) + "\n")
        return path


def load(path: Path) -> Manifest:
    """Read a manifest. Raises DataProblem if it is missing or is not one; does not open the shards."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataProblem(
            f"manifest {path} is unreadable ({error.strerror}); it must exist: run python -m nanochat.dataset"
        ) from error
    except ValueError as error:
        raise DataProblem(f"manifest {path} is not JSON ({error}): prepare the data set again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or raw.get("column") != COLUMN:
        raise DataProblem(f"manifest {path} must have schema {SCHEMA} and column {COLUMN}: prepare it again")
    try:
        manifest, recorded = _of_json(raw, path.parent), raw["hash"]
    except DataProblem as error:
        raise DataProblem(f"manifest {path}: {error}: prepare the data set again") from error
    except (KeyError, TypeError) as error:
        raise DataProblem(f"manifest {path} lacks or garbles {error}: prepare the data set again") from error
    if recorded != manifest.hash:
        raise DataProblem(
            f"manifest {path} has hash {recorded}, its shards give {manifest.hash}: prepare it again"
        )
    return manifest


def _of_json(raw: Mapping[str, Any], directory: Path) -> Manifest:
    tokenizer = raw.get("tokenizer")
    return Manifest(
        directory=directory,
        name=raw["name"],
        source=raw["source"],
        shards=tuple(Shard(**entry) for entry in raw["shards"]),
        url=raw.get("url"),
        tokenizer=None if tokenizer is None else TokenizerFile(**tokenizer),
    )


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
    return Manifest(directory=directory, name=name, source=source, shards=tuple(shards)).save()


def _write_shard(directory: Path, file: str, split: str, rows: list[str]) -> Shard:
    table = pa.table({COLUMN: pa.array(rows, type=pa.string())})
    with replacing(directory / file) as temporary:
        pq.write_table(table, temporary, row_group_size=ROWS_PER_GROUP, compression="zstd")
        digest = _sha256(temporary)
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
        DataProblem: A file is missing or has no column `text`.
    """
    shards: list[Shard] = []
    for file, split in files.items():
        path = directory / file
        rows = length = 0
        for batch in _batches(path):
            rows += len(batch)
            length += pc.sum(pc.binary_length(batch)).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
        shards.append(Shard(file=file, split=split, rows=rows, bytes=length, sha256=_sha256(path)))
    return Manifest(directory=directory, name=name, source=source, shards=tuple(shards)).save()


def verify(manifest: Manifest) -> None:
    """Compare every shard's bytes with its hash. Raises DataProblem for the first that differs or lacks."""
    for shard in manifest.shards:
        verify_shard(manifest, shard)


def verify_shard(manifest: Manifest, shard: Shard) -> None:
    """Compare one shard's bytes with its hash. Raises DataProblem that names file, hashes and what to do."""
    path = manifest.directory / shard.file
    found = _sha256(path)
    if found != shard.sha256:
        raise DataProblem(
            f"shard {path} has SHA-256 {found}; it must be {shard.sha256}: prepare or fetch it again"
        )


def read_texts(manifest: Manifest, split: str, *, first_row: int = 0) -> Iterator[str]:
    """The texts of a split in order, each shard verified before its first text.

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
        for batch in _batches(manifest.directory / shard.file):
            texts = batch.slice(skip).to_pylist() if skip < len(batch) else []
            skip = max(0, skip - len(batch))
            yield from texts


def _batches(path: Path) -> Iterator[pa.Array]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, columns=[COLUMN]):
                yield batch.column(COLUMN)
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataProblem(
            f"shard {path} has no readable column {COLUMN} ({reason}): prepare or fetch it again"
        ) from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataProblem(
            f"shard {path} is unreadable ({error.strerror}); it must exist: prepare or fetch it again"
        ) from error
