"""Packing rows of text into batches, without losing or repeating a token."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanochat.documents import Encoder
from nanochat.model import IGNORE_INDEX
from nanochat.settings import require


class Row(Protocol):
    """A document, or the rest of one."""

    @property
    def text(self) -> str:
        """One document."""
        ...

    @property
    def start(self) -> int:
        """Targets of it that were trained before, by whomever; see `Packer`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token windows of one forward pass."""

    inputs: Tensor
    """[B, T] int64."""
    targets: Tensor
    """[B, T] int64, the token after each input; -1 where nothing is to be predicted."""
    num_tokens: int
    """Number of targets that are not -1."""
    open_tokens: int | None = None
    """Targets of the last row taken that are in this batch, in one before it, or in the row's `start`; None
    where all of them are."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same on `device`; from pinned memory without waiting."""
        inputs, targets = (one.to(device, non_blocking=True) for one in (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)

    def pinned(self) -> "Batch":
        """The same in memory that a GPU can read on its own."""
        return replace(self, inputs=self.inputs.pin_memory(), targets=self.targets.pin_memory())


class _Piece(NamedTuple):
    """Tokens in a row that were no input yet, and the one after them."""

    tokens: NDArray[Any]
    first: int
    last: int
    """Inputs are tokens[first:last], targets tokens[first + 1 : last + 1]."""


class Packer:
    """Owns the tokens that no batch has had yet.

    Documents, each begun by bos, lie one after the other in a stream; a batch is the next B x T tokens of it,
    and its targets the tokens after them. What comes after a document is bos, even where none follows. So a
    document of n tokens has n + 1 targets, its tokens and the bos that ends it. Each of them is trained in
    exactly one batch, whatever the batches' size and wherever the stream is cut.

    A document of which k targets were trained elsewhere comes in at its k-th token: as in a window's first
    column, what is before it is not seen.
    """

    def __init__(self, encoder: Encoder, *, batch_size: int, sequence_length: int) -> None:
        self._encoder = encoder
        self._shape = (batch_size, sequence_length)
        self._pieces: deque[_Piece] = deque()
        self.held = 0
        """Number of targets that are in no batch yet."""

    def add(self, texts: Sequence[str], *, start: int = 0) -> list[int]:
        """Append documents to the stream, the first of them without its first `start` targets.

        Returns how many targets each has. Raises ValueError if the first has no more than `start`.
        """
        if not texts:
            return []
        documents = self._encoder.documents(texts)
        sizes = documents.sizes
        require(0 <= start < sizes[0], "a row's start", start, f"in [0, {sizes[0] - 1}]")
        last = int(documents.starts[-1])
        self._pieces.append(_Piece(documents.tokens, start, last))
        self.held += last - start
        return sizes

    def full(self) -> bool:
        """Whether `take` gives a batch without padding."""
        return self.held >= math.prod(self._shape)

    def empty(self) -> bool:
        """Whether nothing is left to predict."""
        return not self.held

    def take(self, device: torch.device | str = "cpu") -> Batch:
        """The next batch, on `device`; what is missing is padded with bos inputs and ignored targets."""
        capacity = math.prod(self._shape)
        inputs = np.full(capacity, self._encoder.bos_id, dtype=np.int64)
        targets = np.full(capacity, IGNORE_INDEX, dtype=np.int64)
        count = 0
        while count < capacity and self._pieces:
            tokens, first, last = self._pieces.popleft()
            end = min(last, first + capacity - count)
            here = slice(count, count + end - first)
            inputs[here], targets[here] = tokens[first:end], tokens[first + 1 : end + 1]
            count = here.stop
            if end < last:
                self._pieces.appendleft(_Piece(tokens, end, last))
        self.held -= count
        return Batch(
            inputs=torch.from_numpy(inputs).view(self._shape).to(device),
            targets=torch.from_numpy(targets).view(self._shape).to(device),
            num_tokens=count,
        )


def empty_batch(
    tokenizer: Encoder, batch_size: int, sequence_length: int, device: torch.device | str
) -> Batch:
    """A batch [batch_size, sequence_length] without targets: its loss and gradients are 0."""
    return Packer(tokenizer, batch_size=batch_size, sequence_length=sequence_length).take(device)


def pack(
    rows: Iterator[Row], tokenizer: Encoder, batch_size: int, sequence_length: int, device: torch.device | str
) -> Iterator[Batch]:
    """Pack rows into batches of [batch_size, sequence_length].

    A row is pulled only when the tokens at hand do not fill the next batch, so that between two batches all
    that is held is the tail of the last row: `open_tokens` says where it begins, and who stops there hands
    it on as the row's `start`. When `rows` ends, for whatever reason, what is left comes in a last padded
    batch.
    """
    packer = Packer(tokenizer, batch_size=batch_size, sequence_length=sequence_length)
    for row in rows:
        [targets] = packer.add([row.text], start=row.start)
        while packer.full():
            batch = packer.take(device)
            yield batch if packer.empty() else replace(batch, open_tokens=targets - packer.held)
    if not packer.empty():
        yield packer.take(device)
