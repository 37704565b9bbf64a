"""What generation remembers of the tokens before, so that each token goes through the model once."""

import torch
from torch import Tensor

from nanochat.model.config import GPTConfig
from nanochat.settings import require


class LayerCache:
    """Keys and values of one block, each [B, most, Hkv, D]; the first `length` tokens are there."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Begin empty, over memory that is given."""
        self._keys = keys
        self._values = values
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:  # k, v: [B, T, Hkv, D]
        """Keep T more tokens; returns keys and values of all so far, each [B, length, Hkv, D]."""
        end = self.length + k.size(1)
        self._keys[:, self.length : end] = k
        self._values[:, self.length : end] = v
        self.length = end
        return self._keys[:, :end], self._values[:, :end]


class Cache:
    """The state of B sequences of equal length that are being generated."""

    def __init__(
        self,
        config: GPTConfig,
        *,
        batch_size: int,
        most: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Reserve memory for `batch_size` sequences of at most `most` tokens; see `bytes_per_token`."""
        shape = (batch_size, most, config.n_kv_head, config.head_dim)

        def room() -> Tensor:
            return torch.zeros(shape, device=device, dtype=dtype)

        self.most = most
        self.layers = [LayerCache(room(), room()) for _ in range(config.n_layer)]
        self.last_entry: Tensor | None = None
        """Of variant 2026-07: the newest token's embedding, normed, [B, 1, C]."""

    @property
    def length(self) -> int:
        """Tokens seen so far, of each sequence."""
        return self.layers[0].length

    def make_room(self, tokens: int) -> None:
        """Raise ValueError unless `tokens` more fit."""
        needed = self.length + tokens
        require(needed <= self.most, "the length of the sequence", needed, f"at most the cache's {self.most}")


def bytes_per_token(config: GPTConfig, dtype: torch.dtype = torch.float32) -> int:
    """Memory of keys and values for a token of one sequence: 2 x layers x kv heads x head dim x item size."""
    return 2 * config.n_layer * config.n_kv_head * config.head_dim * dtype.itemsize
