"""The forward kernel of attention: o and lse, one block of queries of one head a program."""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from curtail_kernels.attention.configs import Config, Path
from curtail_kernels.attention.operands import Compiled, Unplaced, operand, precision
from curtail_kernels.attention.tiles import (
    joined,
    load_tables,
    load_tile,
    place_tile,
    rounded,
    runs_of_keys,
    seen,
    store_tile,
)

LOG2_E = math.log2(math.e)


@triton.jit
def _attend(
    acc,
    norm,
    aside,
    q,
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
    BOUNDED: tl.constexpr,
    TMA: tl.constexpr,
    PRECISION: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Take the keys of [begin, end) into acc = sum p v and norm = sum p, where p is rounded as v is.

    `aside` is the highest score so far. BOUNDED, nobody needs that, and `aside` is the sum of p before it is
    rounded: with nothing subtracted the greatest p of a row is not 1, and the backward wants what p was.
    """
    for n in range(begin, end, BLOCK_N):
        keys = load_tile(k, batch, head, n, live, k_b, k_t, k_h, BLOCK_N, D, TMA, MASKED)
        s = tl.dot(q, keys.T, input_precision=PRECISION)
        if MASKED:
            back = rows[:, None] - (n + tl.arange(0, BLOCK_N))[None, :]
            s = tl.where(seen(back, window, WINDOWED), s, -float("inf"))
        if BOUNDED:
            p = tl.exp2(s * scale)
            aside += tl.sum(p, 1)
        else:
            highest = tl.maximum(aside, tl.max(s, 1) * scale)
            # A row that has seen nothing yet keeps -inf, and must not become inf - inf.
            base = tl.where(highest == -float("inf"), 0.0, highest) if MASKED else highest
            p = tl.exp2(s * scale - base[:, None])
            shrink = tl.exp2(aside - base)
            norm = norm * shrink
            acc = acc * shrink[:, None]
            aside = highest
        p = rounded(p, q.dtype)
        norm += tl.sum(p.to(tl.float32), 1)
        values = load_tile(v, batch, head, n, live, v_b, v_t, v_h, BLOCK_N, D, TMA, MASKED)
        acc = tl.dot(p, values, acc, input_precision=PRECISION)
    return acc, norm, aside


@triton.jit(do_not_specialize=["T", "S", "window"])
def attention_forward_kernel(
    q,
    k,
    v,
    o,
    lse,
    lengths,
    placed,
    rms,
    cos,
    sin,
    T,
    S,
    group,
    window,
    scale,
    gain,
    eps,
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
    placed_b,
    placed_t,
    placed_h,
    table_t,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WINDOWED: tl.constexpr,
    RAGGED: tl.constexpr,
    RAW: tl.constexpr,
    BOUNDED: tl.constexpr,
    TMA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (blocks of queries, H, B). `scale` has the factor log2(e) in it, lengths may be None.

    RAW: q is a pointer to raw queries; they are rotated and normed here, which writes placed and rms.
    """
    # The last queries see most: they start first.
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

    if RAW:
        c, s = load_tables(cos, sin, start, T, table_t, BLOCK_M, D // 2)
        y1, y2 = place_tile(
            q, placed, rms, c, s, batch, head, tl.num_programs(1), start, T, gain, eps,
            q_b, q_t, q_h, placed_b, placed_t, placed_h, BLOCK_M, D,
        )  # fmt: skip
        queries = joined(y1, y2, BLOCK_M, D).to(placed.dtype.element_ty)
    else:
        queries = load_tile(q, batch, head, start, live_rows, q_b, q_t, q_h, BLOCK_M, D, TMA, True)
    acc = tl.zeros([BLOCK_M, D], tl.float32)
    norm = tl.zeros([BLOCK_M], tl.float32)
    aside = tl.full([BLOCK_M], 0.0 if BOUNDED else -float("inf"), tl.float32)
    if WINDOWED:
        acc, norm, aside = _attend(
            acc, norm, aside, queries, k, v, batch, key_head, rows, low, tl.minimum(left, high), live,
            window, scale, k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, BOUNDED, TMA, PRECISION, True,
        )  # fmt: skip
    acc, norm, aside = _attend(
        acc, norm, aside, queries, k, v, batch, key_head, rows, left, right, live, window, scale,
        k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, BOUNDED, TMA, PRECISION, False,
    )  # fmt: skip
    acc, norm, aside = _attend(
        acc, norm, aside, queries, k, v, batch, key_head, rows, right, high, live, window, scale,
        k_b, k_t, k_h, v_b, v_t, v_h, D, BLOCK_N, WINDOWED, BOUNDED, TMA, PRECISION, True,
    )  # fmt: skip

    alive = local < live_rows
    norm = tl.where(alive, norm, 1.0)
    total = tl.log2(tl.where(alive, aside, 1.0)) if BOUNDED else aside + tl.log2(norm)
    total = tl.where(alive, total * 0.6931471805599453, float("inf"))
    acc = tl.where(alive[:, None], acc / norm[:, None], 0.0)
    store_tile(o, acc, batch, head, start, T, o_b, o_t, o_h, BLOCK_M, D)
    row = (batch.to(tl.int64) * tl.num_programs(1) + head) * T
    tl.store(lse + row + local, total, mask=local < T)


def launch_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    *,
    scale: float,
    window: int | None,
    lengths: Tensor | None,
    bounded: bool,
    path: Path,
    config: Config,
    unplaced: Unplaced | None = None,
) -> Compiled:
    """Write o [B, T, H, D] and lse, fp32 [B, H, T], contiguous; all else as in `reference_attention`.

    With `unplaced`, q is what the rotation and the norm are to be given: they are computed on the way, and
    what they give is written there; there may be no `lengths` then, and as many keys as queries.

    `bounded` leaves out the running maximum: exp(scale q k^T) must be a number in q's dtype, and its sum
    over a row in fp32.
    """
    B, T, H, D = q.shape
    S, group = k.size(1), H // k.size(2)
    windowed = window is not None and window < S - 1
    placed, rms, cos, sin, gain, eps = unplaced or (None, None, None, None, 1.0, 0.0)
    grid = (triton.cdiv(T, config.block_m), H, B)
    return attention_forward_kernel[grid](
        operand(q, config.block_m, "pointers" if unplaced else path),
        operand(k, config.block_n, path),
        operand(v, config.block_n, path),
        o,
        lse,
        lengths,
        placed,
        rms,
        cos,
        sin,
        T,
        S,
        group,
        window if windowed else 0,
        scale * LOG2_E,
        gain,
        eps,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *o.stride()[:3],
        *(o if placed is None else placed).stride()[:3],
        0 if cos is None else cos.stride(0),
        D=D,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        WINDOWED=windowed,
        RAGGED=lengths is not None,
        RAW=unplaced is not None,
        BOUNDED=bounded,
        TMA=path == "tma",
        PRECISION=precision(q.dtype),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        enable_fp_fusion=True,
    )


def may_leave_out_maximum(bound: float, dtype: torch.dtype) -> bool:
    """Whether |scale q k^T| <= bound keeps exp(scale q k^T) and its sums well inside the dtype's range."""
    return bound * LOG2_E <= (14 if dtype == torch.float16 else 100)
