"""Snapshots: a version of the state as files, complete or not there, named by number and hash.

    <number>-<hash8>/model.safetensors outer.safetensors ledger.json manifest.json

They stand below a directory, or below any URL that fsspec opens (s3://BUCKET/RUN). In a directory a snapshot
is written beside its place and renamed into it; in an object store its manifest is written last, and without
one it does not count. Either way a reader sees all of it or nothing, and it is never written over. The
manifest holds the hash of each file and of the state. Torn or corrupt ones are passed over.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from curtail_dist.errors import SnapshotCorrupt, SnapshotMissing
from curtail_dist.membership.records import Commit
from curtail_dist.state.shelf import Shelf, open_shelf
from curtail_dist.state.version import OPTIMIZER, PARAMETER, Version

SCHEMA = 2
MODEL, OUTER, LEDGER, MANIFEST = "model.safetensors", "outer.safetensors", "ledger.json", "manifest.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot read back and verified."""

    version: Version
    commit: Commit
    """The record of this version."""


def name(number: int, hash: str) -> str:
    """Return the name of the snapshot of this version."""
    return f"{number:06d}-{hash[:8]}"


def write(url: str, version: Version, commit: Commit) -> None:
    """Write a snapshot durably, below `url`. Leaves an existing one of the same name alone. Raises OSError.

    When this returns, a reader anywhere finds it.
    """
    shelf = open_shelf(url)
    target = name(version.number, commit.hash)
    if shelf.exists(f"{target}/{MANIFEST}"):
        return
    with shelf.placing(target, last=MANIFEST) as folder:
        _save(version, PARAMETER, folder / MODEL)
        _save(version, OPTIMIZER, folder / OUTER)
        (folder / LEDGER).write_bytes(commit.encode())
        files = {file: _hash_file(folder / file) for file in (MODEL, OUTER, LEDGER)}
        manifest = {"schema": SCHEMA, "version": version.number, "hash": commit.hash, "files": files}
        (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def readable(url: str, number: int, hash: str) -> bool:
    """Return whether the snapshot of this version is to be seen below `url`."""
    return open_shelf(url).exists(f"{name(number, hash)}/{MANIFEST}")


def read(url: str, number: int, hash: str) -> Snapshot:
    """Read and verify the snapshot of a version. Raises SnapshotMissing, SnapshotCorrupt."""
    shelf, place = open_shelf(url), name(number, hash)
    if not shelf.exists(f"{place}/{MANIFEST}"):
        raise SnapshotMissing(
            f"there is no snapshot {place} below {url}; it was not finished, or is elsewhere"
        )
    snapshot = _read(shelf, place)
    if snapshot.commit.hash != hash:
        raise SnapshotCorrupt(f"snapshot {place} below {url} is of another version; delete it")
    return snapshot


def newest(url: str) -> Snapshot | None:
    """Return the newest snapshot below `url` that is whole, None if there is none."""
    shelf = open_shelf(url)
    for place in sorted(_placed(shelf), reverse=True):
        try:
            return _read(shelf, place)
        except SnapshotCorrupt as error:
            _LOG.warning("%s; looking for an older one", error)
    return None


def prune(url: str, *, committed: int, keep: int) -> None:
    """Delete what no chain needs once version `committed` is: snapshots of versions up to committed - keep.

    Newer ones are left alone, whatever is there: the one that a process of a dead chain writes must not push
    out those of the living. What a process that died left half-written goes with its version.
    """
    shelf = open_shelf(url)
    for place in shelf.names():
        number = _number(place)
        if number is not None and number <= committed - keep:
            shelf.remove(place)


def _read(shelf: Shelf, place: str) -> Snapshot:
    try:
        with shelf.fetched(place, (MODEL, OUTER, LEDGER, MANIFEST)) as folder:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["schema"] != SCHEMA:
                raise SnapshotCorrupt(
                    f"snapshot {place} has schema {manifest['schema']}; this version reads {SCHEMA}"
                )
            for file, expected in manifest["files"].items():
                if _hash_file(folder / file) != expected:
                    raise SnapshotCorrupt(
                        f"snapshot {place}: {file} does not have its hash; it is torn or was changed"
                    )
            tensors = {PARAMETER + key: value for key, value in load_file(folder / MODEL).items()}
            tensors |= {OPTIMIZER + key: value for key, value in load_file(folder / OUTER).items()}
            commit = Commit.decode((folder / LEDGER).read_bytes())
    except (OSError, KeyError, ValueError) as error:
        raise SnapshotCorrupt(f"snapshot {place} cannot be read: {error}") from error
    version = Version(number=manifest["version"], tensors=tensors)
    if version.hash != manifest["hash"]:
        raise SnapshotCorrupt(f"snapshot {place} does not hold the state its manifest names; delete it")
    return Snapshot(version=version, commit=commit)


def _placed(shelf: Shelf) -> Iterator[str]:
    for place in shelf.names():
        if not place.startswith(".") and shelf.exists(f"{place}/{MANIFEST}"):
            yield place


def _number(place: str) -> int | None:
    digits = place.removeprefix(".").partition("-")[0]
    return int(digits) if digits.isdigit() else None


def _save(version: Version, prefix: str, path: Path) -> None:
    part = {
        key.removeprefix(prefix): tensor.detach().contiguous()
        for key, tensor in version.tensors.items()
        if key.startswith(prefix)
    }
    save_file(part, path)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def like(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of names, types and shapes alone: what a model must match to take a version."""
    lines = (f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}" for key in sorted(tensors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
