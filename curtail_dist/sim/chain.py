"""What the store's history says of the run: each head and epoch that ever stood, and how it came to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from curtail_dist.membership.records import Commit, Epoch
from curtail_dist.sim.history import History, Write
from curtail_dist.sim.setting import KEYS
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Headed:
    """A write of the head record."""

    index: int
    """Place among the happenings."""
    at: Seconds
    writer: str
    """Process it came from."""
    commit: Commit
    before: Commit | None
    """The head that it took the place of."""
    epoch: Epoch | None
    """The epoch that stood when it was written; if both were written at once, the new one."""
    moved: bool
    """Whether the epoch was written in the same transaction: founding, a rewind, or recovering."""


@dataclass(frozen=True, kw_only=True)
class Seated:
    """A write of the epoch record."""

    index: int
    at: Seconds
    writer: str
    epoch: Epoch
    before: Epoch | None


@dataclass(frozen=True, kw_only=True)
class Chain:
    """All heads and epochs, in order."""

    heads: Sequence[Headed]
    epochs: Sequence[Seated]

    @classmethod
    def of(cls, history: History) -> Self:
        """Read the writes."""
        heads: list[Headed] = []
        epochs: list[Seated] = []
        writes = [(index, one) for index, one in enumerate(history.happenings) if one.kind == "write"]
        stores = list(_stores(one.what for _, one in writes))
        by_revision: dict[tuple[int, int], Epoch] = {}
        for (index, one), store in zip(writes, stores, strict=True):
            write: Write = one.what
            if write.key == KEYS.epoch and write.value is not None:
                epoch = Epoch.decode(write.value)
                before = epochs[-1].epoch if epochs else None
                epochs.append(Seated(index=index, at=one.at, writer=one.who, epoch=epoch, before=before))
                by_revision[store, write.revision] = epoch
        stood = 0
        for (index, one), store in zip(writes, stores, strict=True):
            write = one.what
            if write.key != KEYS.head or write.value is None:
                continue
            while stood < len(epochs) and epochs[stood].index < index:
                stood += 1
            moved = (store, write.revision) in by_revision
            epoch = (
                by_revision[store, write.revision] if moved else (epochs[stood - 1].epoch if stood else None)
            )
            heads.append(
                Headed(
                    index=index,
                    at=one.at,
                    writer=one.who,
                    commit=Commit.decode(write.value),
                    before=heads[-1].commit if heads else None,
                    epoch=epoch,
                    moved=moved,
                )
            )
        return cls(heads=heads, epochs=epochs)


def _stores(writes: Iterable[Write]) -> Iterator[int]:
    """Number the stores that writes went to: one that lost all data begins to count revisions anew."""
    store = last = 0
    for write in writes:
        store += write.revision < last
        last = write.revision
        yield store
