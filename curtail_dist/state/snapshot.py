"""Snapshots: a version of the state as files, complete or not there, named by number and hash.

    <number>-<hash8>/model.safetensors outer.safetensors ledger.json manifest.json

They stand below a directory, or below any URL that fsspec opens (s3://BUCKET/RUN). In a directory a snapshot
is written beside its place and renamed into it; in an object store, where its other files carry a prefix of
their writer's, its manifest is written last, and without one it does not count. Either way a reader sees all
of it or nothing, and it is never written over. The manifest holds the hash of each file and of the state, and
what is trained: a snapshot is enough to go on from where the store has lost the run.
"""

import errno
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from curtail_dist.errors import MembershipError, SnapshotCorrupt, SnapshotMissing, StateDiverged
from curtail_dist.membership.records import Commit
from curtail_dist.state.places import MANIFEST, finished, name, number_of
from curtail_dist.state.shelf import Create, Shelf, open_shelf
from curtail_dist.state.tensorfile import read_tensors, write_tensors
from curtail_dist.state.version import OPTIMIZER, PARAMETER, Version

SCHEMA = 4
MODEL, OUTER, LEDGER = "model.safetensors", "outer.safetensors", "ledger.json"
_PARTS = {MODEL: PARAMETER, OUTER: OPTIMIZER}
_TEXT_LIMIT = 256 * 2**20
_DAMAGED = (errno.EIO, errno.EBADMSG)
_GARBLED = (ValueError, KeyError, TypeError, AttributeError, IndexError, MembershipError)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot read back and verified."""

    version: Version
    commit: Commit
    """The record of this version, as it was committed or was about to be."""
    identity: Mapping[str, str] = field(default_factory=dict[str, str])
    """What was trained, as named hashes; empty where the writer did not say."""


def write(url: str, version: Version, commit: Commit, identity: Mapping[str, str] | None = None) -> None:
    """Write a snapshot durably, below `url`. Leaves an existing one of the same name alone if it is whole.

    `identity` says what is trained, by named hashes: who recovers a run from the snapshot alone knows it.

    When this returns, a reader anywhere finds it. Equal versions give equal files, so writers that do the
    same at once do not harm each other. One that is torn or was changed is read to find that out, and
    replaced. Raises OSError; then nothing new is to be found.
    """
    if (version.number, version.hash) != (commit.version, commit.hash):
        raise StateDiverged(
            f"version {version.number} with hash {version.hash[:8]} is not what the record of "
            f"version {commit.version} names, {commit.hash[:8]}; nothing is written"
        )
    shelf = open_shelf(url)
    place = name(version.number, commit.hash)
    _clear_corrupt(shelf, place, f"snapshot {place} below {url}")

    def save(create: Create) -> None:
        files: dict[str, list[str]] = {}
        for file, prefix in _PARTS.items():
            stored = shelf.stored_name(file)
            with create(stored) as opened:
                files[file] = [stored, write_tensors(opened, _part(version, prefix))]
        stored, text = shelf.stored_name(LEDGER), commit.encode()
        with create(stored) as opened:
            opened.write(text)
        files[LEDGER] = [stored, hashlib.sha256(text).hexdigest()]
        manifest = {
            "schema": SCHEMA,
            "version": version.number,
            "hash": commit.hash,
            "identity": dict(identity or {}),
            "files": files,
        }
        text = json.dumps(manifest).encode()
        with create(MANIFEST) as opened:
            opened.write(text)

    shelf.write(place, MANIFEST, save)


def readable(url: str, number: int, hash: str) -> bool:
    """Return whether the snapshot of this version is to be seen below `url`. Raises OSError."""
    return open_shelf(url).has(name(number, hash), MANIFEST)


def read(url: str, number: int, hash: str) -> Snapshot:
    """Read and verify the snapshot of a version, each tensor straight into its memory.

    Raises:
        SnapshotMissing: it is not there, or `url` cannot be reached from here.
        SnapshotCorrupt: it is there, and torn or changed.
    """
    place = name(number, hash)
    found = _read(open_shelf(url), place, f"snapshot {place} below {url}")
    if found.commit.hash != hash:
        raise SnapshotMissing(f"snapshot {place} below {url} is of {found.commit.hash}, not of {hash}")
    return found


def newest(url: str) -> Snapshot | None:
    """Return the newest snapshot below `url` that is whole, None if there is none. Raises OSError.

    Every rewind begins a later epoch, so of two chains the one with the later epoch lives; within a chain the
    higher version is the newer one. What is torn, or was changed, is passed over with a warning.
    """
    shelf = open_shelf(url)
    ages: list[tuple[int, int, str]] = []
    for place, number in finished(shelf).items():
        try:
            ages.append((_record(shelf, place).epoch, number, place))
        except (OSError, *_GARBLED) as error:
            _LOG.warning("snapshot %s below %s: its record cannot be read: %s", place, url, error)
    for _, _, place in sorted(ages, reverse=True):
        try:
            return _read(shelf, place, f"snapshot {place} below {url}")
        except SnapshotCorrupt as error:
            _LOG.warning("%s; looking for an older one", error)
        except SnapshotMissing:
            continue
    return None


def prune(url: str, *, committed: int, keep: int) -> None:
    """Delete what the chain no longer needs once version `committed` is: versions up to committed - keep.

    Newer ones are left alone, whatever is there: what a process of a dead chain writes must not push out the
    living one's. What a process that died left half-written goes with its version. Raises OSError.
    """
    shelf = open_shelf(url)
    for place in shelf.names():
        number = number_of(place)
        if number is not None and number <= committed - keep:
            shelf.remove(place, MANIFEST)


def _clear_corrupt(shelf: Shelf, place: str, shown: str) -> None:
    """Remove a snapshot whose bytes are not what its name says: else it would count as durable for ever."""
    if not shelf.has(place, MANIFEST):
        return
    try:
        _read(shelf, place, shown)
    except SnapshotCorrupt as error:
        _LOG.warning("%s; it is written anew", error)
        shelf.remove(place, MANIFEST)
    except SnapshotMissing as error:
        raise OSError(str(error)) from error


def _read(shelf: Shelf, place: str, shown: str) -> Snapshot:
    try:
        manifest = _manifest(shelf, place)
        return _contents(shelf, place, manifest)
    except FileNotFoundError as error:
        if _has_manifest(shelf, place):
            raise SnapshotCorrupt(f"{shown} lacks a file: {error}; delete it") from error
        raise SnapshotMissing(f"{shown} is not there; it was not finished, or is elsewhere") from error
    except OSError as error:
        if error.errno in _DAMAGED:
            raise SnapshotCorrupt(f"{shown} cannot be read: {error}") from error
        raise SnapshotMissing(f"{shown} cannot be reached from here: {error}") from error
    except _GARBLED as error:
        raise SnapshotCorrupt(f"{shown} is torn or was changed: {error}; delete it") from error


def _manifest(shelf: Shelf, place: str) -> Mapping[str, Any]:
    with shelf.open(place, MANIFEST) as file:
        manifest = json.loads(file.read(_TEXT_LIMIT))
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"its schema is {manifest['schema']}; this version reads {SCHEMA}")
    return manifest


def _contents(shelf: Shelf, place: str, manifest: Mapping[str, Any]) -> Snapshot:
    tensors: dict[str, torch.Tensor] = {}
    for file, prefix in _PARTS.items():
        stored, expected = manifest["files"][file]
        with shelf.open(place, stored) as opened:
            try:
                contents = read_tensors(opened)
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
        _compare(file, contents.sha256, expected)
        tensors |= {prefix + key: value for key, value in contents.tensors.items()}
    commit = _commit(shelf, place, manifest)
    version = Version(number=commit.version, tensors=tensors)
    named = (manifest["version"], manifest["hash"])
    if (version.number, version.hash) != named or commit.hash != version.hash:
        raise ValueError("it does not hold the state that its manifest and its record name")
    return Snapshot(version=version, commit=commit, identity=manifest.get("identity", {}))


def _record(shelf: Shelf, place: str) -> Commit:
    """Return the record of a snapshot alone, whose tensors are not read."""
    return _commit(shelf, place, _manifest(shelf, place))


def _commit(shelf: Shelf, place: str, manifest: Mapping[str, Any]) -> Commit:
    stored, expected = manifest["files"][LEDGER]
    with shelf.open(place, stored) as opened:
        text = opened.read(_TEXT_LIMIT)
    _compare(LEDGER, hashlib.sha256(text).hexdigest(), expected)
    return Commit.decode(text)


def _compare(file: str, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{file} does not have its hash")


def _has_manifest(shelf: Shelf, place: str) -> bool:
    try:
        return shelf.has(place, MANIFEST)
    except OSError:
        return False


def _part(version: Version, prefix: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix): tensor for key, tensor in version.tensors.items() if key.startswith(prefix)
    }


def like(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of names, types and shapes alone: what a model must match to take a version."""
    lines = (f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}" for key in sorted(tensors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
