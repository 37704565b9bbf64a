"""The training texts as batches, again and again, each with the place from which one can go on after it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from nanochat import shards
from nanochat.packing import Batch, Packer
from nanochat.settings import require
from nanochat.tokenizer import Tokenizer


class Place(NamedTuple):
    """Where a stream stands; all before it was trained."""

    row: int = 0
    """Number of the row, counted on over the passes."""
    start: int = 0
    """Targets of this row that were trained."""


class Placed(NamedTuple):
    """A batch of a rank."""

    batch: Batch
    place: Place
    """Where all ranks stand after it."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which batches of a stream are a rank's: of each `ranks` in a row, the one at `rank`.

    Every rank reads the whole stream, so that what is trained does not depend on how many there are.
    """

    rank: int = 0
    ranks: int = 1


class TokenStream:
    """The training split of a data set, packed into batches without end."""

    def __init__(
        self, manifest: shards.Manifest, tokenizer: Tokenizer, *, batch_size: int, sequence_length: int
    ) -> None:
        """Batches are [batch_size, sequence_length], on the CPU. Raises ValueError if the split is empty."""
        self._rows = sum(shard.rows for shard in manifest.of_split("train"))
        require(self._rows > 0, "the number of training rows", 0, "1 or more: prepare another data set")
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._sequence_length = sequence_length

    def batches(self, place: Place, share: Share = Share()) -> Iterator[Placed]:
        """Yield the batches of `share` from `place` on."""
        packer = Packer(self._tokenizer, batch_size=self._batch_size, sequence_length=self._sequence_length)
        window = _Window()
        taken: list[Batch] = []
        start = place.start
        for texts in self._texts(place.row):
            sizes = packer.add(texts, start=start)
            for size in sizes:
                window.add(size, start)
                start = 0
            while packer.full():
                batch = packer.take()
                window.drop(batch.num_tokens)
                taken.append(batch)
                if len(taken) == share.ranks:
                    yield Placed(taken[share.rank], window.place(place.row))
                    taken.clear()

    def _texts(self, row: int) -> Iterator[list[str]]:
        first = row % self._rows
        while True:
            yield from shards.read_groups(self._manifest, "train", first_row=first)
            first = 0


class _Window:
    """The rows of which a packer holds targets."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, int]] = deque()
        """Of each row: its targets, and how many of them are gone."""
        self._gone = 0

    def add(self, targets: int, start: int) -> None:
        self._held.append((targets, start))

    def drop(self, count: int) -> None:
        while count:
            targets, start = self._held.popleft()
            here = min(count, targets - start)
            count -= here
            if start + here < targets:
                self._held.appendleft((targets, start + here))
            else:
                self._gone += 1

    def place(self, first: int) -> Place:
        start = self._held[0][1] if self._held else 0
        return Place(first + self._gone, start)
