"""One file of tensors with facts, on this host's disk: whole and hashed, or refused."""

import glob
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from curtail_dist.state.shelf import sync
from curtail_dist.state.tensorfile import read_tensors, write_tensors
from curtail_dist.state.version import hash_of


def write_sealed(
    path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], *, schema: int
) -> None:
    """Write the file, and put it in the place of the one before it in one move.

    When this returns it has reached the disk. Raises OSError; then the file before it is as it was.
    What a process that was killed over it has left half-written goes: a file has one writer at a time.

    Args:
        path: Where it goes; folders are made.
        tensors: On any device.
        facts: JSON values.
        schema: Version of what `tensors` and `facts` mean.
    """
    text = json.dumps({**facts, "schema": schema}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}"):
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            write_tensors(file, tensors, {"facts": text, "seal": _seal(text, tensors)})
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def read_sealed(path: Path, *, schema: int) -> tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]:
    """Return the tensors, on the CPU, and the facts.

    Raises FileNotFoundError where there is none, OSError where it cannot be read, ValueError where it is
    torn, was changed, or has another schema.
    """
    try:
        with path.open("rb") as file:
            contents = read_tensors(file)
        text, seal = contents.facts["facts"], contents.facts["seal"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no such file: {error!r}") from error
    if seal != _seal(text, contents.tensors):
        raise ValueError("it does not have its hash")
    facts: Mapping[str, Any] = json.loads(text)
    if facts.get("schema") != schema:
        raise ValueError(f"its schema is {facts.get('schema')}; this version reads {schema}")
    return contents.tensors, facts


def _seal(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return hashlib.sha256(f"{hash_of(tensors)}\n{text}".encode()).hexdigest()
