"""Rotary positions, norm, and causal, windowed, grouped attention by what torch has.

All attentions take q [B, T, H, D] and k, v [B, S, Hkv, D]: the queries are the last T of S positions, query
head h uses key head h // (H / Hkv), scores are divided by sqrt(D), and a query sees its own position and
`window` before it (None: all before it). All give [B, T, H, D].
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # x: [B, T, H, D]; cos, sin: [T, 1, D / 2]
    """Rotary embedding of the two halves: y1 = x1 cos + x2 sin, y2 = -x1 sin + x2 cos."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


class Place(NamedTuple):
    """What is done to queries and keys before attention: rotary positions, then the norm, then the gain."""

    cos: Tensor
    """[T, 1, D / 2], as is `sin`."""
    sin: Tensor
    gain: float
    """Factor of the normed queries and keys: no score exceeds gain^2 sqrt(D)."""
    eps: float
    """Added to the mean square before its root."""

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate x [B, T, H, D], divide by the root of the mean square over D, multiply by the gain."""
        placed = F.rms_norm(rotate(x, self.cos, self.sin), (x.size(-1),), eps=self.eps)
        return placed if self.gain == 1 else placed * self.gain


def plain(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """By whatever scaled dot product torch takes; a window is a mask, which costs as if there were none."""
    T, S = q.size(1), k.size(1)
    if window is not None and T == 1:
        k, v = k[:, -window - 1 :], v[:, -window - 1 :]
    full = is_full(S, window)
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=None if T == 1 or (full and T == S) else _mask(T, S, window, q.device),
        is_causal=T > 1 and full and T == S,
        enable_gqa=q.size(2) != k.size(2),
    )  # [B, H, T, D]
    return y.transpose(1, 2)


def cudnn(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """By cuDNN if it can; of itself torch takes FlashAttention 2 first, half as fast on Hopper.

    Raises:
        ValueError: There is a window, or there are more keys than queries: cuDNN is not given masks.
    """
    T, S = q.size(1), k.size(1)
    if T != S or not is_full(S, window):
        raise ValueError(
            f"cuDNN's attention was given {T} queries, {S} keys and window {window}; it must have as many "
            "queries as keys and no window: use flex or triton"
        )
    with sdpa_kernel(_CUDNN_FIRST, set_priority=True):
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            is_causal=True,
            enable_gqa=q.size(2) != k.size(2),
        )
    return y.transpose(1, 2)


def flex(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """By FlexAttention, which leaves out blocks that no query sees; compiled, in any case."""
    from torch.nn.attention.flex_attention import flex_attention

    blocks = _blocks(q.size(1), k.size(1), window, str(q.device))
    attention: Any = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    y = attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        block_mask=blocks,
        enable_gqa=q.size(2) != k.size(2),
    )
    return y.transpose(1, 2)


_CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def is_full(keys: int, window: int | None) -> bool:
    """Whether the window leaves nothing out."""
    return window is None or window >= keys - 1


def _mask(T: int, S: int, window: int | None, device: torch.device) -> Tensor:
    """[T, S], true where the query may look."""
    back = torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)
    return back >= 0 if window is None else (back >= 0) & (back <= window)


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


@cache
def _blocks(T: int, S: int, window: int | None, device: str) -> Any:
    """Which blocks of keys the blocks of queries see; a run has few shapes."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del b, h
        back = query + (S - T) - key
        return back >= 0 if window is None else (back >= 0) & (back <= window)

    return create_block_mask(seen, None, None, T, S, device=device)
