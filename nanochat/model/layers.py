"""What both variants are built of: norm, rotary positions, attention, MLP, block."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from curtail_kernels.attend import attend, place_and_attend
from curtail_kernels.dispatch import PLAIN_MEANS, Means
from curtail_kernels.own import Place
from torch import Tensor, nn

from nanochat.model.cache import LayerCache
from nanochat.model.config import GPTConfig

NORM_EPS = 1e-6


def norm(x: Tensor) -> Tensor:  # x: [..., C]
    """RMS norm over the last dimension, without parameters."""
    return F.rms_norm(x, (x.size(-1),), eps=NORM_EPS)


class Rotary(NamedTuple):
    """Cosines and sines of the positions, each [T, 1, D / 2]."""

    cos: Tensor
    sin: Tensor


def rotary_tables(length: int, head_dim: int, base: float) -> Rotary:
    """Tables [length, 1, head_dim / 2] in fp32, for wave lengths from 2 pi to 2 pi x `base`."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), base**-exponents)
    return Rotary(angles.cos()[:, None, :], angles.sin()[:, None, :])


class Attention(nn.Module):
    """Causal self-attention; queries and keys are rotated, then normed, then multiplied by a gain."""

    def __init__(self, config: GPTConfig, *, window: int | None, qk_gain: float, means: Means) -> None:
        super().__init__()
        self.means = means
        self.head_dim = config.head_dim
        self.window = window
        self.qk_gain = qk_gain
        self.q = nn.Linear(config.n_embd, config.n_head * config.head_dim, bias=False)
        self.k = nn.Linear(config.n_embd, config.n_kv_head * config.head_dim, bias=False)
        self.v = nn.Linear(config.n_embd, config.n_kv_head * config.head_dim, bias=False)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(
        self, x: Tensor, rotary: Rotary, added: Tensor | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """[B, T, C] -> [B, T, C]; `added`, [B, T, Hkv, D], goes on top of the values."""
        B, T, C = x.shape
        q = self.q(x).view(B, T, -1, self.head_dim)  # [B, T, H, D]
        k = self.k(x).view(B, T, -1, self.head_dim)  # [B, T, Hkv, D]
        v = self.v(x).view(B, T, -1, self.head_dim)  # [B, T, Hkv, D]
        if added is not None:
            v = v + added
        place = Place(*rotary, gain=self.qk_gain, eps=NORM_EPS)
        if cache is None:
            y = place_and_attend(q, k, v, place, self.window, self.means.attention)
        else:
            keys, values = cache.append(place(k), v)  # [B, S, Hkv, D]
            y = attend(place(q), keys, values, self.window)
        return self.out(y.reshape(B, T, C))


class MLP(nn.Module):
    """Two products with relu squared between them, four times as wide inside."""

    def __init__(self, config: GPTConfig, means: Means) -> None:
        super().__init__()
        self.means = means
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        if self.means.fused:
            from curtail_kernels.mlp import mlp

            return mlp(x, self.up.weight, self.down.weight)
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """x <- x + attention(norm(x)), then x <- x + mlp(norm(x))."""

    def __init__(
        self,
        config: GPTConfig,
        *,
        window: int | None,
        qk_gain: float = 1.0,
        means: Means = PLAIN_MEANS,
    ) -> None:
        super().__init__()
        self.attention = Attention(config, window=window, qk_gain=qk_gain, means=means)
        self.mlp = MLP(config, means)

    def forward(self, x: Tensor, rotary: Rotary, cache: LayerCache | None = None) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        x = x + self.attention(norm(x), rotary, cache=cache)
        return x + self.mlp(norm(x))
