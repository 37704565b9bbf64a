"""What the operations of `op` do on a GPU: outputs, path and configs are chosen, kernels launched."""
# ruff: noqa: PLR0913

import torch
from torch import Tensor

from curtail_kernels.attention.configs import HEAD_DIMS, PLACES_QUERIES, TABLE, Kernel, Path, config_for
from curtail_kernels.attention.dkdv import launch_dkdv
from curtail_kernels.attention.dq import launch_dq
from curtail_kernels.attention.forward import launch_forward, may_leave_out_maximum
from curtail_kernels.attention.operands import Placing, Unplaced, describable
from curtail_kernels.attention.prologue import launch_rotary_norm

DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    bound: float,
    path: Path | None = None,
    unplaced: Unplaced | None = None,
) -> tuple[Tensor, Tensor]:
    """Give o [B, T, H, D] and lse, fp32 [B, H, T].

    Arguments are those of `op.attention`; `path` is how tensors reach the kernel, None: by descriptors where
    the table has a row for them and they can. With `unplaced` the queries are raw: see `launch_forward`.

    Raises:
        ValueError: D or the dtype is none of the kernels'.
    """
    _check(q)
    q, k, v = (_dense(x) for x in (q, k, v))
    B, T, H, D = q.shape
    o = torch.empty((B, T, H, D), dtype=q.dtype, device=q.device)
    lse = torch.empty((B, H, T), dtype=torch.float32, device=q.device)
    if q.numel() == 0:
        return o, lse
    capability = torch.cuda.get_device_capability(q.device)
    if path is None:
        path = _path("forward", capability, lengths, *((k, v) if unplaced else (q, k, v)))
    with torch.cuda.device(q.device):
        launch_forward(
            q,
            k,
            v,
            o,
            lse,
            scale=scale,
            window=window,
            lengths=lengths,
            bounded=may_leave_out_maximum(bound, q.dtype),
            path=path,
            config=config_for("forward", capability, D, path, q.element_size()),
            unplaced=unplaced,
        )
    return o, lse


def backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    *,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    placing: Placing | None = None,
    path: Path | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, dense; with `placing`, dq and dk are those of what was rotated and normed.

    Raises:
        ValueError: D or the dtype is none of the kernels'.
    """
    _check(q)
    do, q, k, v = (_dense(x) for x in (do, q, k, v))
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    if q.numel() == 0:
        return dq, dk.zero_(), dv.zero_()
    D, itemsize = q.size(-1), q.element_size()
    capability = torch.cuda.get_device_capability(q.device)
    path = _path("dq", capability, lengths, q, k, v, o, do) if path is None else path
    delta = torch.empty_like(lse)
    with torch.cuda.device(q.device):
        launch_dq(
            q,
            k,
            v,
            o,
            do,
            lse,
            delta,
            dq,
            scale=scale,
            window=window,
            lengths=lengths,
            placing=placing,
            path=path,
            config=config_for("dq", capability, D, path, itemsize),
        )
        launch_dkdv(
            q,
            k,
            v,
            do,
            lse,
            delta,
            dk,
            dv,
            scale=scale,
            window=window,
            lengths=lengths,
            placing=placing,
            path=path,
            config=config_for("dkdv", capability, D, path, itemsize),
        )
    return dq, dk, dv


def placed_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    gain: float,
    eps: float,
    window: int | None,
    in_forward: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give o and lse of raw queries and keys; both rotated, normed and times the gain; 1 / rms of both.

    Shapes are [B, T, H, D], fp32 [B, H, T]; [B, T, H, D], [B, T, Hkv, D]; fp32 [B, T, H], [B, T, Hkv].
    Arguments are those of `op.rotary_norm_attention`.

    Raises:
        ValueError: D or the dtype is none of the kernels'.
    """
    _check(q)
    q, k, cos, sin = _dense(q), _dense(k), cos.contiguous(), sin.contiguous()
    placed_q, placed_k = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k))
    q_rms, k_rms = (torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device) for x in (q, k))
    unplaced = None
    if q.numel() > 0:
        capability, D = torch.cuda.get_device_capability(q.device), q.size(-1)
        if PLACES_QUERIES.get((capability, D), False) if in_forward is None else in_forward:
            unplaced = Unplaced(placed_q, q_rms, cos, sin, gain, eps)
        with torch.cuda.device(q.device):
            launch_rotary_norm(
                None if unplaced else q,
                k,
                cos,
                sin,
                placed_q,
                placed_k,
                q_rms,
                k_rms,
                gain=gain,
                eps=eps,
                config=config_for("prologue", capability, D, "pointers", q.element_size()),
            )
    scale = q.size(-1) ** -0.5
    o, lse = forward(
        q if unplaced else placed_q,
        placed_k,
        v,
        scale=scale,
        window=window,
        lengths=None,
        bound=gain * gain / scale,  # |q^| and |k^| are at most |gain| sqrt(D)
        unplaced=unplaced,
    )
    return o, lse, placed_q, placed_k, q_rms, k_rms


def _path(kernel: Kernel, capability: tuple[int, int], lengths: Tensor | None, *tensors: Tensor) -> Path:
    """Descriptors read the padding of ragged rows too, and what lies there may be no number."""
    fits = (kernel, capability, tensors[0].size(-1), "tma") in TABLE
    return "tma" if fits and lengths is None and all(describable(x) for x in tensors) else "pointers"


def _dense(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _check(q: Tensor) -> None:
    if q.size(-1) not in HEAD_DIMS:
        raise ValueError(
            f"q has head dim {q.size(-1)}; on a GPU it must be one of {HEAD_DIMS}: "
            "pad it, or take another implementation"
        )
    if q.dtype not in DTYPES:
        raise ValueError(f"q is {q.dtype}; on a GPU it must be one of {DTYPES}: cast it")
