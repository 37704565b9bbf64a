"""What both variants are built of: norm, rotary positions, attention, MLP, block."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
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


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # x: [B, T, H, D]; cos, sin: [T, 1, D / 2]
    """Rotary embedding of the two halves: y1 = x1 cos + x2 sin, y2 = -x1 sin + x2 cos."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


def rotary_tables(length: int, head_dim: int, base: float) -> Rotary:
    """Tables [length, 1, head_dim / 2] in fp32, for wave lengths from 2 pi to 2 pi x `base`."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), base**-exponents)
    return Rotary(angles.cos()[:, None, :], angles.sin()[:, None, :])


def attend(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Causal attention of the newest queries over all keys, scores divided by sqrt(D).

    Args:
        q: [B, T, H, D], the last T of the S positions.
        k: [B, S, Hkv, D]; query head h uses key head h // (H / Hkv).
        v: [B, S, Hkv, D].
        window: A query sees its own position and so many before it; None: all before it.

    Returns:
        [B, T, H, D].
    """
    T, S = q.size(1), k.size(1)
    if window is not None and T == 1:
        k, v = k[:, -window - 1 :], v[:, -window - 1 :]
    full = window is None or window >= S - 1
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=None if T == 1 or (full and T == S) else _mask(T, S, window, q.device),
        is_causal=T > 1 and full and T == S,
        enable_gqa=q.size(2) != k.size(2),
    )  # [B, H, T, D]
    return y.transpose(1, 2)


def _mask(T: int, S: int, window: int | None, device: torch.device) -> Tensor:
    """[T, S], true where the query may look."""
    back = torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)
    return back >= 0 if window is None else (back >= 0) & (back <= window)


class Attention(nn.Module):
    """Causal self-attention; queries and keys are rotated, then normed, then multiplied by a gain."""

    def __init__(self, config: GPTConfig, *, window: int | None, qk_gain: float) -> None:
        super().__init__()
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
        q = self._placed(self.q(x).view(B, T, -1, self.head_dim), rotary)  # [B, T, H, D]
        k = self._placed(self.k(x).view(B, T, -1, self.head_dim), rotary)  # [B, T, Hkv, D]
        v = self.v(x).view(B, T, -1, self.head_dim)  # [B, T, Hkv, D]
        if added is not None:
            v = v + added
        if cache is not None:
            k, v = cache.append(k, v)  # [B, S, Hkv, D]
        return self.out(attend(q, k, v, self.window).reshape(B, T, C))

    def _placed(self, x: Tensor, rotary: Rotary) -> Tensor:  # x: [B, T, H, D]
        placed = norm(rotate(x, *rotary))
        return placed if self.qk_gain == 1 else placed * self.qk_gain


class MLP(nn.Module):
    """Two products with relu squared between them, four times as wide inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """x <- x + attention(norm(x)), then x <- x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig, *, window: int | None, qk_gain: float = 1.0) -> None:
        super().__init__()
        self.attention = Attention(config, window=window, qk_gain=qk_gain)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, rotary: Rotary, cache: LayerCache | None = None) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        x = x + self.attention(norm(x), rotary, cache=cache)
        return x + self.mlp(norm(x))
