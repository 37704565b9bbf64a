r"""The manifest of a data set: what its shards are called, hold and hash to.

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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nanochat.files import write_text

SCHEMA = 1
COLUMN = "text"
MANIFEST = "manifest.json"
SPLITS = ("train", "val")
_BASE_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s?#@/]*(/[^\s?#]*)?")


class DataProblem(ValueError):
    """A manifest or shard is missing, corrupt, or not what it is said to be."""


def _is_below(file: object) -> bool:
    # A manifest may come from a network: no name of its may lead elsewhere, or to what is kept beside shards.
    if not isinstance(file, str) or "\0" in file:
        return False
    parts = file.split("/")
    return file != MANIFEST and not any(part == "" or part.startswith(".") for part in parts)


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _is_hash(digest: object) -> bool:
    return isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None


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

    def __post_init__(self) -> None:
        _require(_is_below(self.file), "file", self.file, "a path below the manifest's directory")
        _require(self.split in SPLITS, "split", self.split, f"one of {', '.join(SPLITS)}")
        for key in ("rows", "bytes"):
            _require(_is_count(getattr(self, key)), key, getattr(self, key), "a whole number from 0 on")
        _require(_is_hash(self.sha256), "sha256", self.sha256, "64 digits of 0-9 and a-f")


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
        _require(_is_hash(self.sha256), "tokenizer.sha256", self.sha256, "64 digits of 0-9 and a-f")


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
        for key in ("name", "source"):
            _require(isinstance(getattr(self, key), str), key, getattr(self, key), "text")
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


def check_splits(shards: Sequence[Shard]) -> None:
    """Raise DataProblem unless there are rows to train on and rows held out, and no file's bytes are both."""
    for split in SPLITS:
        chosen = [shard for shard in shards if shard.split == split]
        if not any(shard.rows for shard in chosen):
            named = ", ".join(shard.file for shard in chosen[:3]) or "of no file"
            raise DataProblem(
                f"split {split} ({named}) has 0 rows; it must have 1 or more: leave out what is empty, or "
                f"take another data set"
            )
    train = {shard.sha256: shard.file for shard in shards if shard.split == "train"}
    for shard in shards:
        if shard.split == "val" and shard.sha256 in train:
            raise DataProblem(
                f"{shard.file} has the bytes of {train[shard.sha256]}, which is trained on; what is held out "
                f"must not be: choose another held-out shard"
            )


def load(path: Path) -> Manifest:
    """Read a manifest. Raises DataProblem if it is missing or is not one; does not open the shards."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataProblem(
            f"manifest {path} is unreadable ({error.strerror}); it must exist: run python -m nanochat.dataset"
        ) from error
    return parse(content, where=str(path), directory=path.parent)


def parse(content: bytes, *, where: str, directory: Path) -> Manifest:
    """Read the content of a manifest.

    Args:
        content: JSON in UTF-8.
        where: What errors call it.
        directory: Where its shards lie, or shall lie.

    Raises:
        DataProblem: It is not a manifest, or its hash is not that of its shards.
    """
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"manifest {where} is not JSON ({error}): prepare the data set again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or raw.get("column") != COLUMN:
        raise DataProblem(f"manifest {where} must have schema {SCHEMA} and column {COLUMN}: prepare it again")
    try:
        manifest, recorded = _of_json(raw, directory), raw["hash"]
    except DataProblem as error:
        raise DataProblem(f"manifest {where}: {error}: prepare the data set again") from error
    except (KeyError, TypeError) as error:
        raise DataProblem(f"manifest {where} lacks or garbles {error}: prepare the data set again") from error
    if recorded != manifest.hash:
        raise DataProblem(
            f"manifest {where} has hash {recorded}, its shards give {manifest.hash}: prepare it again"
        )
    return manifest


def renew(manifest: Manifest) -> Path:
    """Save a manifest in the place of the one that is there; returns its path.

    Where that one is of the same shards, what it says and `manifest` does not (place, tokenizer) is kept.
    """
    try:
        old = load(manifest.directory / MANIFEST)
    except DataProblem:
        return manifest.save()
    if old.hash == manifest.hash:
        url, tokenizer = manifest.url or old.url, manifest.tokenizer or old.tokenizer
        manifest = replace(manifest, url=url, tokenizer=tokenizer)
    return manifest.save()


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
