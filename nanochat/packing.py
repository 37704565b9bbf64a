"""Packing rows of text into batches, without losing or repeating a token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nanochat.model import IGNORE_INDEX


class Row(Protocol):
    """Anything with a text."""

    @property
    def text(self) -> str:
        """One document."""
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


class Packer:
    """Owns the tokens that no batch has had yet.

    Documents, each begun by bos, lie one after the other in a stream; a batch is the next B x T tokens of it,
    and its targets the same moved on by one. So every pair (token, next token) of the stream is trained in
    exactly one batch. `pending` is the whole state: a packer given it goes on as this one would.
    """

    def __init__(
        self, encoder: Encoder, *, batch_size: int, sequence_length: int, pending: Sequence[int] = ()
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        self.pending = list(pending)

    def add(self, text: str) -> None:
        """Append one document to the stream."""
        self.pending.append(self.encoder.bos_id)
        self.pending.extend(self.encoder.encode(text))

    def full(self) -> bool:
        """Whether `take` gives a batch without padding."""
        return len(self.pending) > self.batch_size * self.sequence_length

    def empty(self) -> bool:
        """Whether nothing is left to predict."""
        return len(self.pending) < 2

    def take(self, device: torch.device | str = "cpu") -> Batch:
        """The next batch, on `device`; what is missing is padded with bos inputs and ignored targets."""
        capacity = self.batch_size * self.sequence_length
        window = torch.tensor(self.pending[: capacity + 1], dtype=torch.int64)  # [<= B T + 1]
        count = max(0, window.numel() - 1)
        inputs = torch.full((capacity,), self.encoder.bos_id, dtype=torch.int64)
        targets = torch.full((capacity,), IGNORE_INDEX, dtype=torch.int64)
        inputs[:count], targets[:count] = window[:-1], window[1:]
        # The last token of a full window is the first input of the next one.
        del self.pending[:count]
        shape = (self.batch_size, self.sequence_length)
        return Batch(
            inputs=inputs.view(shape).to(device), targets=targets.view(shape).to(device), num_tokens=count
        )


def pack(
    rows: Iterator[Row], tokenizer: Encoder, batch_size: int, sequence_length: int, device: torch.device | str
) -> Iterator[Batch]:
    """Pack rows into batches of [batch_size, sequence_length].

    A row is pulled only when the tokens at hand do not fill the next batch. When `rows` ends, for whatever
    reason, what is left comes in a last padded batch: then every token of every row pulled has been in
    exactly one batch.
    """
    packer = Packer(tokenizer, batch_size=batch_size, sequence_length=sequence_length)
    for row in rows:
        packer.add(row.text)
        while packer.full():
            yield packer.take(device)
    if not packer.empty():
        yield packer.take(device)
