"""The batches of one inner step: what a rank takes through the model before its parameters move."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from nanochat.packing import Batch


@dataclass(frozen=True, kw_only=True)
class Step:
    """Batches of one shape, in their order; a forward pass each."""

    batches: tuple[Batch, ...]
    """At least one."""
    passes: int
    """How many there are in a whole step. Where the data end there may be fewer: such a step then weighs as
    much as it has tokens."""

    @property
    def num_tokens(self) -> int:
        """Number of targets that count."""
        return sum(batch.num_tokens for batch in self.batches)

    @property
    def open_tokens(self) -> int | None:
        """Where in its last row the step ends; see `Batch`."""
        return self.batches[-1].open_tokens

    @property
    def capacity(self) -> int:
        """Targets of a whole step at this rank."""
        return self.passes * self.batches[0].targets.numel()

    def to(self, device: torch.device | str) -> "Step":
        """The same on `device`; from pinned memory without waiting."""
        return replace(self, batches=tuple(batch.to(device) for batch in self.batches))

    def pinned(self) -> "Step":
        """The same in memory that a GPU can read on its own."""
        return replace(self, batches=tuple(batch.pinned() for batch in self.batches))


def steps_of(batches: Iterable[Batch], passes: int = 1) -> Iterator[Step]:
    """Put `passes` batches at a time together, fewer at the end; those of a step are pulled when it is."""
    source = iter(batches)
    while some := tuple(islice(source, passes)):
        yield Step(batches=some, passes=passes)
