"""Packing rows of text into batches, without losing or repeating a token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

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


class Encoder(Protocol):
    """What packing needs of a tokenizer."""

    @property
    def bos_id(self) -> int:
        """The token before each document."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without specials."""
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


class Packer:
    """Owns the tokens that no batch has had yet.

    Documents, each begun by bos, lie one after the other in a stream; a batch is the next B x T tokens of it,
    and its targets the tokens after them. What comes after a document is bos, even where none follows. So a
    document of n tokens has n + 1 targets, its tokens and the bos that ends it. Each of them is trained in
    exactly one batch, whatever the batches' size and wherever the stream is cut.

    A document of which k targets were trained elsewhere comes in at its k-th token: as in a window's first
    column, what is before it is not seen. `pending`, the tokens that were no input yet, is then the whole
    state if all documents came in from their beginning: a packer given it goes on as this one would.
    """

    def __init__(
        self, encoder: Encoder, *, batch_size: int, sequence_length: int, pending: Sequence[int] = ()
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        self._inputs = list(pending)
        self._targets = [*self._inputs[1:], encoder.bos_id] if pending else []

    @property
    def pending(self) -> list[int]:
        """The tokens that were no input yet."""
        return list(self._inputs)

    @property
    def held(self) -> int:
        """Number of targets that are in no batch yet."""
        return len(self._inputs)

    def add(self, text: str, *, start: int = 0) -> int:
        """Append one document to the stream, without its first `start` targets; return how many it has.

        Raises ValueError if it has no more than `start`.
        """
        bos = self.encoder.bos_id
        tokens = self.encoder.encode(text)
        require(0 <= start <= len(tokens), "a row's start", start, f"in [0, {len(tokens)}]")
        self._inputs.extend([bos, *tokens][start:])
        self._targets.extend([*tokens, bos][start:])
        return len(tokens) + 1

    def full(self) -> bool:
        """Whether `take` gives a batch without padding."""
        return self.held >= self.batch_size * self.sequence_length

    def empty(self) -> bool:
        """Whether nothing is left to predict."""
        return not self.held

    def take(self, device: torch.device | str = "cpu") -> Batch:
        """The next batch, on `device`; what is missing is padded with bos inputs and ignored targets."""
        capacity = self.batch_size * self.sequence_length
        count = min(capacity, self.held)
        inputs = torch.full((capacity,), self.encoder.bos_id, dtype=torch.int64)
        targets = torch.full((capacity,), IGNORE_INDEX, dtype=torch.int64)
        inputs[:count] = torch.tensor(self._inputs[:count], dtype=torch.int64)
        targets[:count] = torch.tensor(self._targets[:count], dtype=torch.int64)
        del self._inputs[:count], self._targets[:count]
        shape = (self.batch_size, self.sequence_length)
        return Batch(
            inputs=inputs.view(shape).to(device), targets=targets.view(shape).to(device), num_tokens=count
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
        targets = packer.add(row.text, start=row.start)
        while packer.full():
            batch = packer.take(device)
            yield batch if packer.empty() else replace(batch, open_tokens=targets - packer.held)
    if not packer.empty():
        yield packer.take(device)
