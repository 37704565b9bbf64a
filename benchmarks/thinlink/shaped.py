"""An exchange that takes as long as its bytes need on a thin link, where no such link can be made."""

import time
from collections.abc import Sequence

import torch

from curtail_dist.outer.exchange import Exchange


class Shaped:
    """Paces another exchange: a gather returns no sooner than a link of `rate_bit_s` could have done it.

    Payloads alone count, without headers; the two directions do not hinder each other.
    """

    def __init__(self, inner: Exchange, rate_bit_s: float) -> None:
        """Own `inner`."""
        self._inner = inner
        self._rate = rate_bit_s / 8
        self._free = 0.0
        self.rank = inner.rank
        self.size = inner.size

    @property
    def bytes_sent(self) -> int:
        """As the exchange inside counts."""
        return self._inner.bytes_sent

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Gather, then wait for what the link would still carry."""
        began = max(time.monotonic(), self._free)
        found = self._inner.gather(payload, sizes)
        self._wait(began, sizes[self.rank] * (self.size - 1), sum(sizes) - sizes[self.rank])
        return found

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Scatter, then wait as `gather` does."""
        began = max(time.monotonic(), self._free)
        found = self._inner.scatter(parts, sizes, giving)
        up = (sum(sizes) - sizes[self.rank]) * giving[self.rank]
        self._wait(began, up, sizes[self.rank] * (sum(giving) - giving[self.rank]))
        return found

    def _wait(self, began: float, up: int, down: int) -> None:
        """Wait until a link that was free at `began` would have carried so many bytes each way."""
        self._free = began + max(up, down) / self._rate
        time.sleep(max(0.0, self._free - time.monotonic()))

    def close(self) -> None:
        """Close the exchange inside."""
        self._inner.close()
