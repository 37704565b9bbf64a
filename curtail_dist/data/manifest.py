"""The data set of a run: named shards of rows, with sizes and hashes.

manifest.json holds {"schema": 1, "name", "column", "shards": [{"file", "split", "rows", "bytes",
"sha256"}], "hash"};
files are relative to it. Rows of the split `train` are trained on, in the order of the shards; no other
split is.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from curtail_dist.errors import DataError

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of rows."""

    path: Path
    rows: int
    sha256: str
    """Hash of the file."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The training rows of a data set."""

    name: str
    column: str
    """Column that holds a row's text."""
    shards: tuple[Shard, ...]
    hash: str
    """Identity of the data set."""

    @property
    def rows(self) -> int:
        """Number of training rows."""
        return sum(shard.rows for shard in self.shards)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raises DataError if it is missing or is not one."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"manifest {path} cannot be read ({error.strerror}); prepare the data set first"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(f"manifest {path} is not JSON ({error}); prepare the data set again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise DataError(f"manifest {path} has no schema {SCHEMA}; prepare the data set again")
    try:
        shards = tuple(
            Shard(path=path.parent / entry["file"], rows=int(entry["rows"]), sha256=entry["sha256"])
            for entry in raw["shards"]
            if entry["split"] == "train"
        )
        manifest = Manifest(name=raw["name"], column=raw["column"], shards=shards, hash=raw["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"manifest {path} lacks or garbles {error}; prepare the data set again") from error
    if not manifest.rows:
        raise DataError(
            f"manifest {path} names no training rows; it must name at least one shard of split train"
        )
    return manifest


def verify(shard: Shard) -> None:
    """Compare a shard's bytes with its hash. Raises DataError that names the file."""
    digest = hashlib.sha256()
    try:
        with shard.path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise DataError(
            f"shard {shard.path} cannot be read ({error.strerror}); fetch or prepare it again"
        ) from error
    if digest.hexdigest() != shard.sha256:
        raise DataError(
            f"shard {shard.path} is corrupt: its hash is {digest.hexdigest()[:12]}, the manifest says "
            f"{shard.sha256[:12]}; delete it and prepare the data set again"
        )
