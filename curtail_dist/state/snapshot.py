"""Snapshots: a version of the state as files, complete or not there, named by number and hash.

    <number>-<hash8>/model.safetensors outer.safetensors ledger.json manifest.json

A snapshot is written beside its place and renamed into it, so a reader sees all of it or nothing; it is never
written over. Its manifest holds the hash of each file and of the state. Torn or corrupt ones are passed over.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from curtail_dist.errors import SnapshotCorrupt
from curtail_dist.state.version import OPTIMIZER, PARAMETER, Version

SCHEMA = 1
MODEL, OUTER, LEDGER, MANIFEST = "model.safetensors", "outer.safetensors", "ledger.json", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot read back and verified."""

    version: Version
    hash: str
    record: Mapping[str, Any]
    """The commit record of this version, as `write` was given it."""


def folder(root: Path, number: int, hash: str) -> Path:
    """Return where the snapshot of this version stands."""
    return root / f"{number:06d}-{hash[:8]}"


def write(root: Path, version: Version, hash: str, record: Mapping[str, Any]) -> Path:
    """Write a snapshot durably; returns its folder. Leaves an existing one of the same name alone.

    When this returns the files and the rename have reached the disk.
    """
    target = folder(root, version.number, hash)
    if target.exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    partial = root / f".{target.name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _save(version, PARAMETER, partial / MODEL)
    _save(version, OPTIMIZER, partial / OUTER)
    (partial / LEDGER).write_text(json.dumps(record), encoding="utf-8")
    files = {name: _hash_file(partial / name) for name in (MODEL, OUTER, LEDGER)}
    manifest = {"schema": SCHEMA, "version": version.number, "hash": hash, "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for name in (MODEL, OUTER, LEDGER, MANIFEST, ""):
        _sync(partial / name)
    try:
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            raise
    _sync(root)
    return target


def read(path: Path) -> Snapshot:
    """Read and verify one snapshot. Raises SnapshotCorrupt."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise SnapshotCorrupt(
                f"snapshot {path} has schema {manifest['schema']}; this version reads {SCHEMA}"
            )
        for name, expected in manifest["files"].items():
            if _hash_file(path / name) != expected:
                raise SnapshotCorrupt(
                    f"snapshot {path}: {name} does not have its hash; it is torn or was changed"
                )
        tensors = {PARAMETER + name: value for name, value in load_file(path / MODEL).items()}
        tensors |= {OPTIMIZER + name: value for name, value in load_file(path / OUTER).items()}
        record = json.loads((path / LEDGER).read_text(encoding="utf-8"))
    except (OSError, KeyError, ValueError) as error:
        raise SnapshotCorrupt(f"snapshot {path} cannot be read: {error}") from error
    version = Version(number=manifest["version"], tensors=tensors)
    if version.hash != manifest["hash"]:
        raise SnapshotCorrupt(f"snapshot {path} does not hold the state its manifest names; delete it")
    return Snapshot(version=version, hash=manifest["hash"], record=record)


def complete(root: Path) -> list[Path]:
    """Return the folders that carry a manifest, newest version first; their contents are not verified."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if _is_snapshot(path)), reverse=True)


def prune(root: Path, keep: int) -> None:
    """Delete all complete snapshots but those of the newest `keep` versions."""
    numbers = sorted({path.name.partition("-")[0] for path in complete(root)}, reverse=True)
    for path in complete(root):
        if path.name.partition("-")[0] in numbers[keep:]:
            shutil.rmtree(path, ignore_errors=True)


def _is_snapshot(path: Path) -> bool:
    return not path.name.startswith(".") and (path / MANIFEST).is_file()


def _save(version: Version, prefix: str, path: Path) -> None:
    part = {
        name.removeprefix(prefix): tensor.detach().contiguous()
        for name, tensor in version.tensors.items()
        if name.startswith(prefix)
    }
    save_file(part or {}, path)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def like(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a hash of names, types and shapes alone: what a model must match to take a version."""
    lines = (f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}" for name in sorted(tensors))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
