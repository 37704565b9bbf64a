"""The safetensors format as a stream: written from tensor memory, read into it, hashed on the way.

A file is the header's length (8 bytes, little endian), the header (JSON) and the tensors' bytes. The largest
elements come first, then names in order, so equal tensors give equal bytes, whoever writes them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from curtail_dist.state.raw import SLICE_BYTES, allocate, element_name, raw

_HEADER_LIMIT = 100 * 2**20
_FACTS = "__metadata__"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was read from a file."""

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, str]
    """Its text values by name."""
    sha256: str
    """Of the whole file."""


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str] | None = None
) -> str:
    """Write tensors and text values; returns the SHA-256 of the file. Copies no tensor that is contiguous."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {_FACTS: dict(facts)} if facts else {}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": element_name(tensor.dtype),
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    for part in (len(text).to_bytes(8, "little"), text):
        digest.update(part)
        file.write(part)
    for name in names:
        view = raw(tensors[name])
        for begin in range(0, len(view), SLICE_BYTES):
            part = view[begin : begin + SLICE_BYTES]
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def read_tensors(file: BinaryIO) -> Contents:
    """Read a file that can seek, each tensor straight into its memory.

    Raises ValueError when it is torn or something else. The caller compares the hash.
    """
    try:
        return _read(file)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is none: {error!r}") from error


def _read(file: BinaryIO) -> Contents:
    size = file.seek(0, 2)
    file.seek(0)
    digest = hashlib.sha256()
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(_HEADER_LIMIT, size - 8):
        raise ValueError("it has no whole header")
    text = file.read(length)
    digest.update(prefix + text)
    header: dict[str, Any] = json.loads(text)
    facts = header.pop(_FACTS, {})
    left = size - 8 - length
    tensors: dict[str, torch.Tensor] = {}
    place = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        tensor = allocate(entry["dtype"], entry["shape"], limit_bytes=left - place)
        view = raw(tensor)
        if entry["data_offsets"] != [place, place + len(view)]:
            raise ValueError(f"its tensor {name} does not stand where the one before it ends")
        place += len(view)
        _fill(file, view, digest.update)
        tensors[name] = tensor
    if place != left:
        raise ValueError(f"it has {left} bytes of tensors where its header names {place}")
    return Contents(tensors=tensors, facts=facts, sha256=digest.hexdigest())


def _fill(file: BinaryIO, view: memoryview, note: Any) -> None:
    while view:
        part = view[:SLICE_BYTES]
        read = file.readinto(part)  # pyright: ignore[reportAttributeAccessIssue] - every binary file has it
        if not read:
            raise ValueError(f"{len(view)} bytes are missing")
        note(part[:read])
        view = view[read:]
