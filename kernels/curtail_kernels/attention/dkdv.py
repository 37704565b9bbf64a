"""The second kernel of attention's backward: dk and dv, one block of keys of one kv head a program."""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import triton
import triton.language as tl
from torch import Tensor

from curtail_kernels.attention.configs import Config, Path
from curtail_kernels.attention.forward import LOG2_E
from curtail_kernels.attention.operands import Compiled, Placing, operand, placing_arguments, precision
from curtail_kernels.attention.tiles import load_tile, seen, store_raw_gradient, store_tile


@triton.jit
def _take_queries(
    dk,
    dv,
    keys,
    values,
    q,
    do,
    lse,
    delta,
    batch,
    head,
    heads,
    columns,
    low,
    left,
    right,
    high,
    live_rows,
    T,
    shift,
    window,
    scale,
    q_b,
    q_t,
    q_h,
    do_b,
    do_t,
    do_h,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WINDOWED: tl.constexpr,
    TMA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add ds^T q to dk and p^T do to dv over the queries of [low, high) of one head.

    Blocks that begin in [left, right) see all keys. The products start from -lse / scale and -delta, which
    therefore need no registers beside them.
    """
    row = (batch.to(tl.int64) * heads + head) * T
    for start in range(low, high, BLOCK_M):
        local = start + tl.arange(0, BLOCK_M)
        queries = load_tile(q, batch, head, start, live_rows, q_b, q_t, q_h, BLOCK_M, D, TMA, True)
        # exp2(s - inf) = 0: rows behind the end, and padding, for which lse is inf, count for nothing.
        norms = tl.load(lse + row + local, mask=local < live_rows, other=float("inf")) * (
            -1.4426950408889634 / scale
        )
        s = tl.broadcast_to(norms[None, :], [BLOCK_N, BLOCK_M])
        s = tl.dot(keys, queries.T, s, input_precision=PRECISION) * scale
        if (start < left) | (start >= right):
            back = (local + shift)[None, :] - columns[:, None]
            s = tl.where(seen(back, window, WINDOWED), s, -float("inf"))
        p = tl.exp2(s)
        d_out = load_tile(do, batch, head, start, live_rows, do_b, do_t, do_h, BLOCK_M, D, TMA, True)
        dv = tl.dot(p.to(d_out.dtype), d_out, dv, input_precision=PRECISION)
        sums = -tl.load(delta + row + local, mask=local < live_rows, other=0.0)
        dp = tl.broadcast_to(sums[None, :], [BLOCK_N, BLOCK_M])
        dp = tl.dot(values, d_out.T, dp, input_precision=PRECISION)
        dk = tl.dot((p * dp).to(queries.dtype), queries, dk, input_precision=PRECISION)
    return dk, dv


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_dkdv_kernel(
    q,
    k,
    v,
    do,
    lse,
    delta,
    dk,
    dv,
    lengths,
    k_rms,
    cos,
    sin,
    T,
    S,
    group,
    window,
    scale,
    dk_scale,
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
    do_b,
    do_t,
    do_h,
    dk_b,
    dk_t,
    dk_h,
    dv_b,
    dv_t,
    dv_h,
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
    """Grid (blocks of keys, Hkv, B). `scale` has the factor log2(e) in it, `dk_scale` has not.

    RAW: dk is the gradient of what the rotation and the norm were given; k_rms, cos, sin and gain are theirs.
    """
    block = tl.program_id(0)
    key_head = tl.program_id(1)
    batch = tl.program_id(2)
    heads = tl.num_programs(1) * group
    shift = S - T
    live = S
    if RAGGED:
        live = tl.minimum(tl.load(lengths + batch), S)
    live_rows = tl.minimum(live - shift, T)
    start = block * BLOCK_N
    local = start + tl.arange(0, BLOCK_N)

    # Queries of [low, left) are cut by the diagonal, those of [right, high) by the window's edge. A live
    # query lies before `live`: a block of padding has none, and the diagonal hides what padding others hold.
    low = tl.maximum(start - shift, 0) // BLOCK_M * BLOCK_M
    left = start + BLOCK_N - 1 - shift
    high = tl.where(start < live, live_rows, 0)
    right = high
    if WINDOWED:
        high = tl.minimum(high, start + BLOCK_N + window - shift)
        right = start + window - shift - BLOCK_M + 2

    keys = load_tile(k, batch, key_head, start, live, k_b, k_t, k_h, BLOCK_N, D, TMA, True)
    values = load_tile(v, batch, key_head, start, live, v_b, v_t, v_h, BLOCK_N, D, TMA, True)
    dk_acc = tl.zeros([BLOCK_N, D], tl.float32)
    dv_acc = tl.zeros([BLOCK_N, D], tl.float32)
    for head in range(key_head * group, (key_head + 1) * group):
        dk_acc, dv_acc = _take_queries(
            dk_acc, dv_acc, keys, values, q, do, lse, delta, batch, head, heads, local, low, left, right,
            high, live_rows, T, shift, window, scale, q_b, q_t, q_h, do_b, do_t, do_h,
            D, BLOCK_M, BLOCK_N, WINDOWED, TMA, PRECISION,
        )  # fmt: skip
    dk_acc *= dk_scale
    store_tile(dv, dv_acc, batch, key_head, start, S, dv_b, dv_t, dv_h, BLOCK_N, D)
    if RAW:
        # The keys are read again: kept, they would hold registers through the loop.
        again = load_tile(k, batch, key_head, start, live, k_b, k_t, k_h, BLOCK_N, D, TMA, True)
        store_raw_gradient(
            dk, dk_acc, again, k_rms, cos, sin, batch, key_head, tl.num_programs(1), start, S, gain,
            dk_b, dk_t, dk_h, table_t, BLOCK_N, D,
        )  # fmt: skip
    else:
        store_tile(dk, dk_acc, batch, key_head, start, S, dk_b, dk_t, dk_h, BLOCK_N, D)


def launch_dkdv(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    do: Tensor,
    lse: Tensor,
    delta: Tensor,
    dk: Tensor,
    dv: Tensor,
    *,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    placing: Placing | None,
    path: Path,
    config: Config,
) -> Compiled:
    """Write dk and dv, [B, S, Hkv, D], the sums over the query heads of each group; delta is `launch_dq`'s.

    With `placing`, dk is the gradient of what the rotation and the norm were given.
    """
    B, T, H, D = q.shape
    S, kv_heads = k.size(1), k.size(2)
    windowed = window is not None and window < S - 1
    k_rms, cos, sin, gain, table_t = placing_arguments(placing, "k")
    return attention_dkdv_kernel[(triton.cdiv(S, config.block_n), kv_heads, B)](
        operand(q, config.block_m, path),
        operand(k, config.block_n, path),
        operand(v, config.block_n, path),
        operand(do, config.block_m, path),
        lse,
        delta,
        dk,
        dv,
        lengths,
        k_rms,
        cos,
        sin,
        T,
        S,
        H // kv_heads,
        window if windowed else 0,
        scale * LOG2_E,
        scale,
        gain,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *do.stride()[:3],
        *dk.stride()[:3],
        *dv.stride()[:3],
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
