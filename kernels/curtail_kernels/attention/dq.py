"""The first kernel of attention's backward: delta and dq, one block of queries a program."""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import triton
import triton.language as tl
from torch import Tensor

from curtail_kernels.attention.configs import Config, Path
from curtail_kernels.attention.forward import LOG2_E
from curtail_kernels.attention.operands import Compiled, Placing, operand, placing_arguments, precision
from curtail_kernels.attention.tiles import load_tile, runs_of_keys, seen, store_raw_gradient, store_tile


@triton.jit
def _take_keys(
    dq,
    q,
    do,
    lse,
    delta,
    k,
    v,
    batch,
    head,
    rows,
    begin,
    end,
    live,
    window,
    scale,
    k_b,
    k_t,
    k_h,
    v_b,
    v_t,
    v_h,
    D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WINDOWED: tl.constexpr,
    TMA: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Add ds k over the keys of [begin, end) to dq, where ds = p (do v^T - delta)."""
    for n in range(begin, end, BLOCK_N):
        keys = load_tile(k, batch, head, n, live, k_b, k_t, k_h, BLOCK_N, D, TMA, MASKED)
        values = load_tile(v, batch, head, n, live, v_b, v_t, v_h, BLOCK_N, D, TMA, MASKED)
        s = tl.dot(q, keys.T, input_precision=PRECISION) * scale - lse[:, None]
        if MASKED:
            back = rows[:, None] - (n + tl.arange(0, BLOCK_N))[None, :]
            s = tl.where(seen(back, window, WINDOWED), s, -float("inf"))
        dp = tl.dot(do, values.T, input_precision=PRECISION)
        ds = tl.exp2(s) * (dp - delta[:, None])
        dq = tl.dot(ds.to(keys.dtype), keys, dq, input_precision=PRECISION)
    return dq


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_dq_kernel(
    q,
    k,
    v,
    o,
    do,
    lse,
    delta,
    dq,
    lengths,
    q_rms,
    cos,
    sin,
    T,
    S,
    group,
    window,
    scale,
    dq_scale,
    gain,
    q_b,
    q_t,
    q_h,
    k_b,
    k_t,
    k_h,
    v_b,
    v_t,
    v_h,
    o_b,
    o_t,
    o_h,
    do_b,
    do_t,
    do_h,
    dq_b,
    dq_t,
    dq_h,
    table_t,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WINDOWED: tl.constexpr,
    RAGGED: tl.constexpr,
    RAW: tl.constexpr,
    TMA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (blocks of queries, H, B). `scale` has the factor log2(e) in it, `dq_scale` has not.

    RAW: dq is the gradient of what the rotation and the norm were given; q_rms, cos, sin and gain are theirs.
    """
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    head = tl.program_id(1)
    batch = tl.program_id(2)
    key_head = head // group
    shift = S - T
    live = S
    if RAGGED:
        live = tl.minimum(tl.load(lengths + batch), S)
    live_rows = tl.minimum(live - shift, T)
    start = block * BLOCK_M
    local = start + tl.arange(0, BLOCK_M)
    rows = local + shift

    low, left, right, high = runs_of_keys(start, shift, live, live_rows, window, BLOCK_M, BLOCK_N, WINDOWED)

    queries = load_tile(q, batch, head, start, live_rows, q_b, q_t, q_h, BLOCK_M, D, TMA, True)
    d_out = load_tile(do, batch, head, start, live_rows, do_b, do_t, do_h, BLOCK_M, D, TMA, True)
    out = load_tile(o, batch, head, start, live_rows, o_b, o_t, o_h, BLOCK_M, D, TMA, True)
    row = (batch.to(tl.int64) * tl.num_programs(1) + head) * T
    sums = tl.sum(out.to(tl.float32) * d_out.to(tl.float32), 1)
    tl.store(delta + row + local, sums, mask=local < T)
    # exp2(s - inf) = 0: rows behind the end, and padding, for which lse is inf, count for nothing.
    norms = tl.load(lse + row + local, mask=local < T, other=float("inf")) * 1.4426950408889634

    acc = tl.zeros([BLOCK_M, D], tl.float32)
    if WINDOWED:
        acc = _take_keys(
            acc, queries, d_out, norms, sums, k, v, batch, key_head, rows, low, tl.minimum(left, high), live,
            window, scale, k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, TMA, PRECISION, True,
        )  # fmt: skip
    acc = _take_keys(
        acc, queries, d_out, norms, sums, k, v, batch, key_head, rows, left, right, live,
        window, scale, k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, TMA, PRECISION, False,
    )  # fmt: skip
    acc = _take_keys(
        acc, queries, d_out, norms, sums, k, v, batch, key_head, rows, right, high, live,
        window, scale, k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, TMA, PRECISION, True,
    )  # fmt: skip
    acc *= dq_scale
    if RAW:
        store_raw_gradient(
            dq, acc, queries, q_rms, cos, sin, batch, head, tl.num_programs(1), start, T, gain,
            dq_b, dq_t, dq_h, table_t, BLOCK_M, D,
        )  # fmt: skip
    else:
        store_tile(dq, acc, batch, head, start, T, dq_b, dq_t, dq_h, BLOCK_M, D)


def launch_dq(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    do: Tensor,
    lse: Tensor,
    delta: Tensor,
    dq: Tensor,
    *,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    placing: Placing | None,
    path: Path,
    config: Config,
) -> Compiled:
    """Write delta = rowsum(do o), fp32 [B, H, T], and dq [B, T, H, D].

    q, k, v, o and lse are the forward's, do is like o. With `placing`, dq is the gradient of what the
    rotation and the norm were given.
    """
    B, T, H, D = q.shape
    S = k.size(1)
    windowed = window is not None and window < S - 1
    q_rms, cos, sin, gain, table_t = placing_arguments(placing, "q")
    return attention_dq_kernel[(triton.cdiv(T, config.block_m), H, B)](
        operand(q, config.block_m, path),
        operand(k, config.block_n, path),
        operand(v, config.block_n, path),
        operand(o, config.block_m, path),
        operand(do, config.block_m, path),
        lse,
        delta,
        dq,
        lengths,
        q_rms,
        cos,
        sin,
        T,
        S,
        H // k.size(2),
        window if windowed else 0,
        scale * LOG2_E,
        scale,
        gain,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *o.stride()[:3],
        *do.stride()[:3],
        *dq.stride()[:3],
        table_t,
        D=D,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        WINDOWED=windowed,
        RAGGED=lengths is not None,
        RAW=placing is not None,
        TMA=path == "tma",
        PRECISION=precision(q.dtype),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        enable_fp_fusion=True,
    )
