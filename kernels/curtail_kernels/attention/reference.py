"""Attention and what comes before it in plain torch: what the kernels are held against, and the path on CPU.

Everything is computed in fp64 for fp64 inputs and in fp32 for all others, and rounded to the inputs' dtype at
the end.
"""
# ruff: noqa: PLR0913

import math

import torch
from torch import Tensor

from curtail_kernels.own import rotate


def reference_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute o = softmax(scale q k^T) v over the keys that each query sees.

    Args:
        q: [B, T, H, D], the last T of the S positions.
        k: [B, S, Hkv, D]; query head h uses key head h // (H / Hkv).
        v: [B, S, Hkv, D].
        scale: 1 / sqrt(D) if None.
        window: A query sees its own position and so many before it; None: all before it.
        lengths: int32 [B]; positions of row b at or after lengths[b] are padding: as keys they are not seen,
            as queries they give zeros, and whatever lies there is not read.

    Returns:
        o [B, T, H, D] in q's dtype, and lse [B, H, T], the logarithm of the sum of exp(scale q k^T): inf for
        padding, so that exp(scale q k^T - lse) is 0 there.
    """
    s, live = _scores(q, k, scale, window, lengths)
    lse = s.logsumexp(-1).masked_fill(~live, math.inf)  # [B, H, T]
    p = (s - lse[..., None]).exp()
    o = torch.einsum("bhts,bshd->bthd", p, _spread(_alive(v, lengths), q))
    return o.to(q.dtype), lse


def reference_attention_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v where `do` is that of o; o and lse as `reference_attention` gave them.

    p = exp(scale q k^T - lse), delta = rowsum(do o), ds = p (do v^T - delta); then dq = scale ds k,
    dk = scale ds^T q and dv = p^T do, the last two summed over the query heads of a group.
    """
    scale = _scale(q, scale)
    s, _ = _scores(q, k, scale, window, lengths)
    S = k.size(1)
    p = (s - lse[..., None]).exp()  # [B, H, T, S]
    wide_do, wide_q = _alive_queries(do, S, lengths), _alive_queries(q, S, lengths)
    delta = (wide_do * o.to(s.dtype)).sum(-1).transpose(1, 2)  # [B, H, T]
    dp = torch.einsum("bthd,bshd->bhts", wide_do, _spread(_alive(v, lengths), q))
    ds = p * (dp - delta[..., None])
    dq = torch.einsum("bhts,bshd->bthd", ds, _spread(_alive(k, lengths), q)) * scale
    dk = torch.einsum("bhts,bthd->bshd", ds, wide_q) * scale
    dv = torch.einsum("bhts,bthd->bshd", p, wide_do)
    return dq.to(q.dtype), _gather(dk, k).to(k.dtype), _gather(dv, v).to(v.dtype)


def reference_rotary_norm(
    x: Tensor, cos: Tensor, sin: Tensor, *, gain: float = 1.0, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Compute y = gain r z with z = rotate(x), the two halves turned, and r = 1 / sqrt(mean(z^2) + eps).

    Args:
        x: [B, T, H, D].
        cos: [T, 1, D / 2].
        sin: [T, 1, D / 2].
        gain: Not zero.
        eps: Added to the mean square.

    Returns:
        y [B, T, H, D] in x's dtype, and r [B, T, H] in fp32, fp64 for fp64.
    """
    wide = _wide(x)
    z = rotate(wide, cos.to(wide.dtype), sin.to(wide.dtype))
    r = (z.square().mean(-1) + eps).rsqrt()
    return (z * r[..., None] * gain).to(x.dtype), r


def reference_rotary_norm_backward(
    dy: Tensor, y: Tensor, r: Tensor, cos: Tensor, sin: Tensor, *, gain: float = 1.0
) -> Tensor:
    """Gradient of x from that of y: dz = r (gain dy - y mean(y dy) / gain), turned back. Shapes as above."""
    wide_y, wide_dy = _wide(y), _wide(dy)
    mean = (wide_y * wide_dy).mean(-1, keepdim=True)
    z1, z2 = (r[..., None] * (gain * wide_dy - wide_y * mean / gain)).chunk(2, dim=-1)
    c, s = cos.to(z1.dtype), sin.to(z1.dtype)
    return torch.cat((z1 * c - z2 * s, z1 * s + z2 * c), dim=-1).to(dy.dtype)


def _scores(
    q: Tensor, k: Tensor, scale: float | None, window: int | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Scale q k^T [B, H, T, S], -inf where unseen, 0 for padding, and which queries are live [B, 1, T]."""
    T, S = q.size(1), k.size(1)
    scale = _scale(q, scale)
    rows = torch.arange(S - T, S, device=q.device)
    back = rows[:, None] - torch.arange(S, device=q.device)
    seen = (back >= 0) if window is None else (back >= 0) & (back <= window)  # [T, S]
    live = torch.ones((1, 1, T), dtype=torch.bool, device=q.device)
    if lengths is not None:
        live = (rows < lengths[:, None])[:, None]
    s = torch.einsum("bthd,bshd->bhts", _alive_queries(q, S, lengths), _spread(_alive(k, lengths), q)) * scale
    s = s.masked_fill(~seen, -math.inf)
    return (s if lengths is None else s.masked_fill(~live[..., None], 0.0)), live


def _scale(q: Tensor, scale: float | None) -> float:
    return float(q.size(-1)) ** -0.5 if scale is None else scale


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _alive(x: Tensor, lengths: Tensor | None) -> Tensor:  # x: [B, S, Hkv, D]
    """Wide x with zeros in the padding, whatever lay there."""
    if lengths is None:
        return _wide(x)
    dead = torch.arange(x.size(1), device=x.device) >= lengths[:, None]
    return _wide(x).masked_fill(dead[..., None, None], 0.0)


def _alive_queries(q: Tensor, S: int, lengths: Tensor | None) -> Tensor:  # q: [B, T, H, D], the last T of S
    return _alive(q, None if lengths is None else lengths - (S - q.size(1)))


def _spread(x: Tensor, q: Tensor) -> Tensor:  # x: [B, S, Hkv, D] -> [B, S, H, D]
    return x.repeat_interleave(q.size(2) // x.size(2), dim=2)


def _gather(x: Tensor, like: Tensor) -> Tensor:  # x: [B, S, H, D] -> [B, S, Hkv, D], summed over each group
    return x.unflatten(2, (like.size(2), -1)).sum(3)
