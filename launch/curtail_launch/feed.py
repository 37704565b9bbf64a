"""A site's rows as the steps of one rank, on its device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from nanochat.documents import Encoder
from nanochat.packing import Row, empty_batch, pack
from nanochat.steps import Step, steps_of


@dataclass(frozen=True, kw_only=True)
class Feed:
    """What `Site.batches` gives out: a step of several forward passes counts as one batch there.

    A step's batches are packed together, and the last of them says where in its last row it ends. So all rows
    that were taken for a step are in it, up to there, however many passes it has.
    """

    tokenizer: Encoder
    batch_size: int
    sequence_length: int
    passes: int
    """Forward passes of a step."""
    device: torch.device

    def pack(self, rows: Iterator[Row]) -> Iterator[Step]:
        """Pack rows into steps; as `nanochat.packing.pack` it takes no row before it needs it."""
        batches = pack(rows, self.tokenizer, self.batch_size, self.sequence_length, "cpu")
        return map(self._arriving, steps_of(batches, self.passes))

    def empty(self) -> Step:
        """A step without targets: its loss and gradients are 0."""
        batch = empty_batch(self.tokenizer, self.batch_size, self.sequence_length, self.device)
        return Step(batches=(batch,), passes=self.passes)

    def _arriving(self, step: Step) -> Step:
        # Pinned memory goes to the device while the host does something else, such as the step before.
        return step.pinned().to(self.device) if self.device.type == "cuda" else step.to(self.device)
