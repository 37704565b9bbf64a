"""Documents as tokens, one after the other in one array: what an encoder hands to the packing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Each begins with bos, and bos comes after the last: so every token's target is the one after it."""

    tokens: NDArray[Any]
    """[N + 1] of an unsigned integer type."""
    starts: NDArray[np.int64]
    """[n + 1]: document i has the tokens from starts[i] to before starts[i + 1]; the last is N."""

    @property
    def sizes(self) -> list[int]:
        """Targets of each document: its tokens without bos, and the bos that ends it."""
        return np.diff(self.starts).tolist()

    @classmethod
    def of(cls, encoded: Iterable[Sequence[int]], bos_id: int) -> Self:
        """Put documents together of which each was encoded for itself, without bos."""
        tokens: list[int] = []
        starts = [0]
        for ids in encoded:
            tokens += (bos_id, *ids)
            starts.append(len(tokens))
        return cls(
            tokens=np.array([*tokens, bos_id], dtype=np.uint32), starts=np.array(starts, dtype=np.int64)
        )


class Encoder(Protocol):
    """What packing needs of a tokenizer."""

    @property
    def bos_id(self) -> int:
        """The token before each document."""
        ...

    def documents(self, texts: Sequence[str]) -> Documents:
        """Encode texts; what looks like a special token in them is plain text."""
        ...
