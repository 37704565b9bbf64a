"""What the arguments of an attention must be, said before anything is computed."""

import math

import torch
from torch import Tensor


def check_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    bound: float,
) -> None:
    """See `op.attention`.

    Raises:
        ValueError: What does not fit, what it must be, and what to do.
    """
    _check_shapes(q, k, v)
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"q, k and v are {q.dtype}, {k.dtype} and {v.dtype}; they must be of one dtype: cast them"
        )
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(
            f"scale is {scale}; it must be positive and finite: give 1 / sqrt(D), or None for it"
        )
    if window is not None and window < 0:
        raise ValueError(f"window is {window}; it must be 0 or more: give None for no window")
    if not bound >= 0:
        raise ValueError(f"bound is {bound}; it must be 0 or more: give inf if the scores have none")
    if lengths is not None and (lengths.shape != q.shape[:1] or lengths.dtype != torch.int32):
        raise ValueError(
            f"lengths is {lengths.dtype} {list(lengths.shape)}; it must be int32 [{q.size(0)}]: "
            "give one length for each row"
        )


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape:
        raise ValueError(
            f"q, k and v have shapes {list(q.shape)}, {list(k.shape)} and {list(v.shape)}; they must be "
            "[B, T, H, D], [B, S, Hkv, D] and like k: view the projections so"
        )
    if q.size(0) != k.size(0) or q.size(3) != k.size(3):
        raise ValueError(
            f"q is {list(q.shape)} and k {list(k.shape)}; the first and the last dimension must be the same: "
            "pass as many rows and as wide heads"
        )
    if k.size(2) == 0 or q.size(2) % k.size(2):
        raise ValueError(
            f"q has {q.size(2)} heads and k {k.size(2)}; the first must be a multiple of the second: "
            "change the groups"
        )
    if q.size(1) > k.size(1):
        raise ValueError(
            f"there are {q.size(1)} queries and {k.size(1)} keys; queries must be the last of the keys' "
            "positions: pass all keys"
        )


def check_placing(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, gain: float, eps: float) -> None:
    """See `op.rotary_norm_attention`.

    Raises:
        ValueError: What does not fit, what it must be, and what to do.
    """
    T, D = q.size(1), q.size(3)
    if k.size(1) != T:
        raise ValueError(
            f"there are {T} queries and {k.size(1)} keys; raw ones must be as many: with a cache, place them "
            "first and call `attention`"
        )
    if D % 2:
        raise ValueError(f"the head dim is {D}; halves are rotated, so it must be even: pad it")
    wanted = [T, 1, D // 2]
    if list(cos.shape) != wanted or list(sin.shape) != wanted:
        raise ValueError(
            f"cos and sin have shapes {list(cos.shape)} and {list(sin.shape)}; they must be {wanted}: "
            "cut the tables to T"
        )
    if gain == 0 or not math.isfinite(gain):
        raise ValueError(f"gain is {gain}; it must be finite and not 0: give 1 for none")
    if not eps >= 0:
        raise ValueError(f"eps is {eps}; it must be 0 or more: 1e-6 is usual")
