"""The data set of a run: named shards of rows, with sizes and hashes, and where they can be fetched.

manifest.json holds {"schema": 1, "name", "column", "shards": [{"file", "split", "rows", "bytes",
"sha256"}]}, and may hold "url", the address below which its files are, and "tokenizer": {"file", "sha256"};
files are relative to it. Rows of the split `train` are trained on; no other split is. What a manifest says of
its own "hash" is not relied on: it stays as it was where somebody edits the shards.

A data set that the training script reads by itself, by row number, has {"schema": 1, "name", "rows"} alone.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from curtail_dist.errors import DataError

SCHEMA = 1
_LIMIT = 2**62
"""Of rows and bytes."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of rows."""

    path: Path
    file: str
    """Its name in the manifest, and below the manifest's `url`."""
    rows: int
    bytes: int
    """Of its rows' texts, as UTF-8."""
    sha256: str
    """Hash of the file."""


@dataclass(frozen=True, kw_only=True)
class NamedFile:
    """A file that goes with the data."""

    file: str
    """Relative to the manifest."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The rows of a data set."""

    name: str
    column: str
    """Column that holds a row's text."""
    shards: tuple[Shard, ...]
    """Of the split `train`, in order."""
    held_out: tuple[Shard, ...]
    """Of all other splits: never trained on."""
    hash: str
    """Identity of the data set: of its shards' hashes and splits, in their order."""
    url: str | None = None
    """Where the files are, too: a file's address is this, a slash, and its name."""
    tokenizer: NamedFile | None = None
    """The tokenizer that was trained on these rows."""
    numbered: int = 0
    """Rows that are in no shard: their numbers are all that a run knows of them."""

    @property
    def rows(self) -> int:
        """Number of training rows."""
        return self.numbered + sum(shard.rows for shard in self.shards)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; no shard is opened. Raises DataError if it is missing or is not one."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"manifest {path} cannot be read ({error.strerror}); prepare the data set first"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"manifest {path} is not JSON ({error}); prepare the data set again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise DataError(f"manifest {path} has no schema {SCHEMA}; prepare the data set again")
    try:
        manifest = _parsed(raw, path.parent)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"manifest {path} lacks or garbles {error}; prepare the data set again") from error
    if not manifest.rows:
        raise DataError(
            f"manifest {path} names no training rows; it must name at least one shard of split train"
        )
    return manifest


def _parsed(raw: dict[str, Any], directory: Path) -> Manifest:
    if "rows" in raw:
        return _numbered(str(raw["name"]), raw["rows"])
    entries = raw["shards"]
    split: dict[bool, list[Shard]] = {True: [], False: []}
    for entry in entries:
        split[entry["split"] == "train"].append(_shard(entry, directory))
    tokenizer, url = raw.get("tokenizer"), raw.get("url")
    lines = "".join(f"{entry['split']} {entry['sha256']}\n" for entry in entries)
    return Manifest(
        name=_text("name", raw["name"]),
        column=_text("column", raw["column"]),
        shards=tuple(split[True]),
        held_out=tuple(split[False]),
        hash=hashlib.sha256(lines.encode()).hexdigest(),
        url=None if url is None else _text("url", url),
        tokenizer=_named(tokenizer) if tokenizer else None,
    )


def _numbered(name: str, rows: object) -> Manifest:
    if type(rows) is not int or not 0 < rows < _LIMIT:
        raise ValueError(f"rows, {rows!r}, which must be a whole number above 0")
    identity = hashlib.sha256(f"{name}: {rows} rows".encode()).hexdigest()
    return Manifest(name=name, column="", shards=(), held_out=(), hash=identity, numbered=rows)


def _shard(entry: dict[str, Any], directory: Path) -> Shard:
    file = _text("file", entry["file"])
    place = PurePosixPath(file)
    # A file may be fetched, so that a manifest from elsewhere must not say that it lies anywhere.
    if place.is_absolute() or ".." in place.parts or not place.parts or "\0" in file:
        raise ValueError(f"the file {file!r}, which must lie below the manifest")
    return Shard(
        path=directory / file,
        file=file,
        rows=_count("rows", entry["rows"]),
        bytes=_count("bytes", entry["bytes"]),
        sha256=_digest(entry["sha256"]),
    )


def _named(entry: dict[str, Any]) -> NamedFile:
    return NamedFile(file=_text("file", entry["file"]), sha256=_digest(entry["sha256"]))


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{key}, {value!r}, which must be text")
    return value


def _count(key: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < _LIMIT:
        raise ValueError(f"{key}, {value!r}, which must be a whole number from 0 on")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"sha256, {value!r}, which must be 64 digits of 0-9 and a-f")
    return value


def sha256_of(path: Path) -> str:
    """Return the hash of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(shard: Shard) -> None:
    """Compare a shard's bytes with its hash. Raises DataError that names the file."""
    try:
        found = sha256_of(shard.path)
    except OSError as error:
        raise DataError(
            f"shard {shard.path} cannot be read ({error.strerror}); fetch or prepare it again"
        ) from error
    if found != shard.sha256:
        raise DataError(
            f"shard {shard.path} is corrupt: its hash is {found[:12]}, the manifest says "
            f"{shard.sha256[:12]}; delete it and prepare the data set again"
        )
