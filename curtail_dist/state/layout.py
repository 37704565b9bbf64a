"""The bytes of a version as one row of chunks that lie in its tensors' own memory.

Tensors follow each other in the order of their names, so equal versions have equal chunks, whoever holds
them.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Self

import torch

from curtail_dist.state.raw import allocate, element_name, raw

CHUNK_BYTES = 8 * 2**20
LIMIT_BYTES = 2**44
"""Of a version, where nothing better is known."""
_MOST_CHUNKS = 2**20


class Layout:
    """Where each chunk of a version lies. Owns no memory but the copy of a tensor that is not contiguous."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], chunk_bytes: int) -> None:
        """Lay out these tensors; what is written to a chunk is written to them."""
        self.tensors = {name: tensors[name] for name in sorted(tensors)}
        self._chunk_bytes = chunk_bytes
        self._views = [view for tensor in self.tensors.values() if (view := raw(tensor))]
        self._ends = list(accumulate(len(view) for view in self._views))

    @classmethod
    def parse(cls, description: Any, *, limit_bytes: int = LIMIT_BYTES) -> Self:
        """Make room for what is described, at most `limit_bytes`. Raises ValueError for anything else."""
        tensors: dict[str, torch.Tensor] = {}
        left = limit_bytes
        for name, element, shape in description["tensors"]:
            if not isinstance(name, str) or name in tensors:
                raise ValueError(f"{name!r} is no name, or one given twice")
            tensors[name] = allocate(element, shape, limit_bytes=left)
            left -= tensors[name].nbytes
        chunk_bytes = description["chunk_bytes"]
        if type(chunk_bytes) is not int or not 0 < chunk_bytes <= LIMIT_BYTES:
            raise ValueError(f"a chunk has {chunk_bytes!r} bytes; it must have at least 1")
        laid = cls(tensors, chunk_bytes)
        if laid.chunks > _MOST_CHUNKS:
            raise ValueError(f"{laid.chunks} chunks are described; there may be {_MOST_CHUNKS}")
        return laid

    @property
    def description(self) -> dict[str, Any]:
        """Names, types and shapes of the tensors, and the length of a chunk, as JSON values."""
        tensors = [
            [name, element_name(one.dtype), list(one.shape)] for name, one in sorted(self.tensors.items())
        ]
        return {"chunk_bytes": self._chunk_bytes, "tensors": tensors}

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self._ends[-1] // self._chunk_bytes) if self._ends else 0

    def pieces(self, index: int) -> Iterator[memoryview]:
        """Yield the memory of one chunk, in order. Write to it to fill the tensors."""
        first, last = index * self._chunk_bytes, min((index + 1) * self._chunk_bytes, self._ends[-1])
        at = bisect_right(self._ends, first)
        while first < last:
            view, end = self._views[at], self._ends[at]
            begin = end - len(view)
            yield view[first - begin : last - begin]
            first, at = end, at + 1

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of one chunk as it is now."""
        return digest_of(list(self.pieces(index)))


def digest_of(pieces: Sequence[memoryview]) -> bytes:
    """Return the SHA-256 of pieces of memory, one after the other."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
