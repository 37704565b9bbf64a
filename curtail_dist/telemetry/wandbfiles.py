"""Reads the files in which wandb keeps a run on this disk: blocks of checked pieces, as in LevelDB's logs.

A file begins with `:W&B`, a magic number and a version, seven bytes, and is in blocks of 32 KiB. A piece in
one has a header of CRC-32, length and kind (whole, first, middle or last of a record), seven bytes, too. What
is put together from pieces is a protobuf message of wandb's own. The end of a file may be torn.
"""

import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32_768
_HEADER = 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


def newest_step(directory: Path, run_id: str) -> int:
    """Return the newest step of a wandb run in its files below `directory`/wandb; -1: it has none."""
    newest = -1
    for file in directory.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb"):
        for record in read_records(file):
            if record.WhichOneof("record_type") == "history":
                newest = max(newest, int(record.history.step.num))
    return newest


def read_records(file: Path) -> Iterator[Any]:
    """Yield wandb's records (its protobuf `Record`) up to the first that is not whole."""
    # By name, since the control plane's import contract forbids the static import.
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    for message in messages_in(file.read_bytes()):
        record = messages.Record()
        record.ParseFromString(message)
        yield record


def messages_in(data: bytes) -> Iterator[bytes]:
    """Yield the messages of a file, up to the first that is torn or has a wrong byte."""
    at, parts = _HEADER, list[bytes]()
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:  # no piece begins in what is left of the block
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece = data[at + _HEADER : at + _HEADER + length]
        told = int.from_bytes(data[at : at + 4], "little")
        if len(piece) < length or zlib.crc32(bytes((kind,)) + piece) != told:
            return
        at += _HEADER + length
        parts = [piece] if kind in (_WHOLE, _FIRST) else [*parts, piece]
        if kind in (_WHOLE, _LAST):
            yield b"".join(parts)
