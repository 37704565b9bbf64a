"""Attention as torch operations with gradients: kernels on a GPU, the plain reference on CPU.

`torch.compile` sees `curtail::attention` and `curtail::rotary_norm_attention` as one node each. Kept for the
backward: q and k as they were multiplied, v, o, the logarithm of the softmax's sum, and 1 / rms.
"""
# ruff: noqa: PLR0913

from typing import Any

import torch
from torch import Tensor

from curtail_kernels.attention import checks
from curtail_kernels.attention.reference import (
    reference_attention,
    reference_attention_backward,
    reference_rotary_norm,
    reference_rotary_norm_backward,
)

NO_WINDOW = -1


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    window: int | None = None,
    lengths: Tensor | None = None,
    bound: float = float("inf"),
) -> Tensor:
    """softmax(scale q k^T) v, causal, over the last `window` keys before each query and its own.

    Args:
        q: [B, T, H, D], the last T of the S positions, any strides. On a GPU D is 64 or 128 and the dtype
            bf16, fp16 or fp32.
        k: [B, S, Hkv, D]; query head h uses key head h // (H / Hkv).
        v: [B, S, Hkv, D].
        scale: 1 / sqrt(D) if None.
        window: A query sees its own position and so many before it; None: all before it.
        lengths: int32 [B]; positions of row b at or after lengths[b] are padding: as keys they are not seen,
            as queries they give zeros.
        bound: No |scale q k^T| exceeds it. A small one, as normed q and k have, saves the running maximum; a
            wrong one gives infinities.

    Returns:
        [B, T, H, D], dense.

    Raises:
        ValueError: Shapes, dtypes or numbers do not fit.
    """
    factor: float = q.size(-1) ** -0.5 if scale is None else scale
    checks.check_attention(q, k, v, factor, window, lengths, bound)
    o, _ = _attention(q, k, v, factor, NO_WINDOW if window is None else window, lengths, bound)
    return o


def rotary_norm_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    gain: float = 1.0,
    eps: float = 1e-6,
    window: int | None = None,
    in_forward: bool | None = None,
) -> Tensor:
    """`attention` of gain norm(rotate(q)) and gain norm(rotate(k)), with the scale 1 / sqrt(D).

    Rotation and norm are computed in fp32 and rounded once.

    Args:
        q: [B, T, H, D], raw projections.
        k: [B, T, Hkv, D].
        v: [B, T, Hkv, D].
        cos: [T, 1, D / 2], fp32 or q's dtype; no gradient flows to it, nor to sin.
        sin: [T, 1, D / 2].
        gain: Factor of the normed q and k, not zero.
        eps: Added to the mean square before its root.
        window: See `attention`.
        in_forward: Whether the attention kernel itself rotates and norms the queries, which saves reading
            them once; None: as `configs.PLACES_QUERIES` says.

    Returns:
        [B, T, H, D], dense.

    Raises:
        ValueError: Shapes, dtypes or numbers do not fit.
    """
    checks.check_attention(q, k, v, q.size(-1) ** -0.5, window, None, 0.0)
    checks.check_placing(q, k, cos, sin, gain, eps)
    far = NO_WINDOW if window is None else window
    return _placed_attention(q, k, v, cos, sin, gain, eps, far, in_forward)[0]


def _window(window: int) -> int | None:
    return None if window == NO_WINDOW else window


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _dense_like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in tensors)


@torch.library.custom_op("curtail::attention", mutates_args=(), device_types="cpu")
def _attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, lengths: Tensor | None, bound: float
) -> tuple[Tensor, Tensor]:
    o, lse = reference_attention(q, k, v, scale=scale, window=_window(window), lengths=lengths)
    return o.contiguous(), lse.contiguous()


@_attention.register_kernel("cuda")
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, lengths: Tensor | None, bound: float
) -> tuple[Tensor, Tensor]:
    from curtail_kernels.attention import cuda

    return cuda.forward(q, k, v, scale=scale, window=_window(window), lengths=lengths, bound=bound)


@_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, window: int, lengths: Tensor | None, bound: float
) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    return q.new_empty(q.shape), q.new_empty((B, H, T), dtype=_wide(q))


@torch.library.custom_op("curtail::attention_backward", mutates_args=(), device_types="cpu")
def _attention_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    scale: float,
    window: int,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = reference_attention_backward(
        do, q, k, v, o, lse, scale=scale, window=_window(window), lengths=lengths
    )
    return dq.contiguous(), dk.contiguous(), dv.contiguous()


@_attention_backward.register_kernel("cuda")
def _(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    scale: float,
    window: int,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    from curtail_kernels.attention import cuda

    return cuda.backward(do, q, k, v, o, lse, scale=scale, window=_window(window), lengths=lengths)


@_attention_backward.register_fake
def _(do: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _dense_like(q, k, v)


def _keep_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.scale, ctx.window, lengths, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, *output, lengths)


def _attention_gradient(ctx: Any, do: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if do is None:
        return (None,) * 7
    q, k, v, o, lse, lengths = ctx.saved_tensors
    return *_attention_backward(do, q, k, v, o, lse, ctx.scale, ctx.window, lengths), None, None, None, None


_attention.register_autograd(_attention_gradient, setup_context=_keep_attention)


@torch.library.custom_op("curtail::rotary_norm_attention", mutates_args=(), device_types="cpu")
def _placed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    gain: float,
    eps: float,
    window: int,
    in_forward: bool | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    placed_q, q_rms = reference_rotary_norm(q, cos, sin, gain=gain, eps=eps)
    placed_k, k_rms = reference_rotary_norm(k, cos, sin, gain=gain, eps=eps)
    o, lse = reference_attention(placed_q, placed_k, v, window=_window(window))
    outs = (o, lse, placed_q, placed_k, q_rms, k_rms)
    return tuple(x.contiguous() for x in outs)  # pyright: ignore[reportReturnType]


@_placed_attention.register_kernel("cuda")
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    gain: float,
    eps: float,
    window: int,
    in_forward: bool | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    from curtail_kernels.attention import cuda

    return cuda.placed_forward(
        q, k, v, cos, sin, gain=gain, eps=eps, window=_window(window), in_forward=in_forward
    )


@_placed_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    B, T, H, _ = q.shape
    wide = _wide(q)
    lse = q.new_empty((B, H, T), dtype=wide)
    norms = (x.new_empty(x.shape[:-1], dtype=wide) for x in (q, k))
    return q.new_empty(q.shape), lse, *_dense_like(q, k), *norms


@torch.library.custom_op("curtail::rotary_norm_attention_backward", mutates_args=(), device_types="cpu")
def _placed_attention_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    q_rms: Tensor,
    k_rms: Tensor,
    cos: Tensor,
    sin: Tensor,
    gain: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = reference_attention_backward(do, q, k, v, o, lse, window=_window(window))
    dq = reference_rotary_norm_backward(dq, q, q_rms, cos, sin, gain=gain)
    dk = reference_rotary_norm_backward(dk, k, k_rms, cos, sin, gain=gain)
    return dq.contiguous(), dk.contiguous(), dv.contiguous()


@_placed_attention_backward.register_kernel("cuda")
def _(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    q_rms: Tensor,
    k_rms: Tensor,
    cos: Tensor,
    sin: Tensor,
    gain: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    from curtail_kernels.attention import cuda
    from curtail_kernels.attention.operands import Placing

    placing = Placing(q_rms, k_rms, cos.contiguous(), sin.contiguous(), gain)
    scale = q.size(-1) ** -0.5
    return cuda.backward(
        do, q, k, v, o, lse, scale=scale, window=_window(window), lengths=None, placing=placing
    )


@_placed_attention_backward.register_fake
def _(do: Tensor, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _dense_like(q, k, v)


def _keep_placed_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, v, cos, sin, ctx.gain, _, ctx.window, _ = inputs
    o, lse, q, k, q_rms, k_rms = output
    ctx.mark_non_differentiable(lse, q, k, q_rms, k_rms)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, o, lse, q_rms, k_rms, cos, sin)


def _placed_attention_gradient(ctx: Any, do: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if do is None:
        return (None,) * 9
    gradients = _placed_attention_backward(do, *ctx.saved_tensors, ctx.gain, ctx.window)
    return *gradients, None, None, None, None, None, None


_placed_attention.register_autograd(_placed_attention_gradient, setup_context=_keep_placed_attention)
