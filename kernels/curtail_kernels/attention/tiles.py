"""Pieces of the kernels: tiles of a tensor [B, T, H, D] in, out, placed, rounded; which keys a query sees."""
# ruff: noqa: ANN001, ANN201, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportArgumentType=false

import triton
import triton.language as tl


@triton.jit
def load_tile(
    x,
    batch,
    head,
    start,
    end,
    stride_b,
    stride_t,
    stride_h,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
    TMA: tl.constexpr,
    MASKED: tl.constexpr,
):
    """[BLOCK, D] of x from position `start` of one head on.

    With TMA, x is a descriptor of [B, H, T, D] and positions past T read 0. Else it is a pointer, and those
    at or after `end` read 0 if MASKED; if not, there must be none.
    """
    if TMA:
        return x.load([batch, head, start, 0]).reshape(BLOCK, D)
    else:
        local = tl.arange(0, BLOCK)
        base = x + (batch.to(tl.int64) * stride_b + head * stride_h + tl.cast(start, tl.int64) * stride_t)
        at = base + (local[:, None] * stride_t + tl.arange(0, D)[None, :])
        if MASKED:
            return tl.load(at, mask=(start + local < end)[:, None], other=0.0)
        else:
            return tl.load(at)


@triton.jit
def store_tile(
    x, value, batch, head, start, end, stride_b, stride_t, stride_h, BLOCK: tl.constexpr, D: tl.constexpr
):
    """Write [BLOCK, D] to x from position `start` of one head on, up to `end`."""
    local = tl.arange(0, BLOCK)
    base = x + (batch.to(tl.int64) * stride_b + head * stride_h + tl.cast(start, tl.int64) * stride_t)
    at = base + (local[:, None] * stride_t + tl.arange(0, D)[None, :])
    tl.store(at, value.to(x.dtype.element_ty), mask=(start + local < end)[:, None])


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """fp32 x in dtype, to nearest, ties to even.

    Two numbers an instruction where dtype has 16 bits. A cast whose result is used before a wait and after it
    becomes one instruction a number, by the unit that exponentiates too.
    """
    if dtype == tl.bfloat16:
        return tl.inline_asm_elementwise(
            "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,r,r", [x], dtype=tl.bfloat16, is_pure=True, pack=2
        )
    elif dtype == tl.float16:
        return tl.inline_asm_elementwise(
            "cvt.rn.f16x2.f32 $0, $2, $1;", "=r,r,r", [x], dtype=tl.float16, is_pure=True, pack=2
        )
    else:
        return x.to(dtype)


@triton.jit
def seen(back, window, WINDOWED: tl.constexpr):
    """Whether a query sees the key `back` positions before it."""
    if WINDOWED:
        return (back >= 0) & (back <= window)
    else:
        return back >= 0


@triton.jit
def runs_of_keys(
    start,
    shift,
    live,
    live_rows,
    window,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WINDOWED: tl.constexpr,
):
    """Where the keys begin and end that the queries of a block see: low, left, right, high.

    Keys of [low, left) are cut by the window's edge, those of [right, high) by the diagonal; all queries see
    those between. A live query lies before `live`, so the diagonal hides what lies behind that. The block
    begins with query `start`, at position `start` + `shift`.
    """
    first = start + shift
    high = tl.where(start < live_rows, tl.minimum(first + BLOCK_M, live), 0)
    low = 0
    left = 0
    right = (first + 1) // BLOCK_N * BLOCK_N
    if WINDOWED:
        low = tl.maximum(first - window, 0) // BLOCK_N * BLOCK_N
        left = tl.maximum(first + BLOCK_M - 1 - window + BLOCK_N - 1, 0) // BLOCK_N * BLOCK_N
        left = tl.maximum(left, low)
        right = tl.maximum(right, left)
    return low, left, tl.minimum(right, high), high


@triton.jit
def load_tables(cos, sin, start, end, stride, BLOCK: tl.constexpr, HALF: tl.constexpr):
    """Cosines and sines of the positions from `start` on, fp32 [BLOCK, HALF]; from `end` on they are 0."""
    at = start + tl.arange(0, BLOCK)
    place = at[:, None] * stride + tl.arange(0, HALF)[None, :]
    inside = (at < end)[:, None]
    c = tl.load(cos + place, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(sin + place, mask=inside, other=0.0).to(tl.float32)
    return c, s


@triton.jit
def placed(x1, x2, cos, sin, gain, eps, D: tl.constexpr):
    """Both halves of y = gain r z, z = rotate(x), and r = 1 / sqrt(mean(z^2) + eps).

    x1, x2, cos, sin, and the halves of y: fp32 [BLOCK, D / 2]; r: [BLOCK].
    """
    z1 = x1 * cos + x2 * sin
    z2 = x2 * cos - x1 * sin
    r = tl.rsqrt((tl.sum(z1 * z1, 1) + tl.sum(z2 * z2, 1)) / D + eps)
    by = (r * gain)[:, None]
    return z1 * by, z2 * by, r


@triton.jit
def place_tile(
    x,
    y,
    rms,
    cos,
    sin,
    batch,
    head,
    heads,
    start,
    T,
    gain,
    eps,
    x_b,
    x_t,
    x_h,
    y_b,
    y_t,
    y_h,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
):
    """Write y and r, which is [B, T, heads], of `placed` for a tile of x; give both halves of y."""
    half: tl.constexpr = D // 2
    x1 = load_tile(x, batch, head, start, T, x_b, x_t, x_h, BLOCK, half, False, True).to(tl.float32)
    x2 = load_tile(x + half, batch, head, start, T, x_b, x_t, x_h, BLOCK, half, False, True).to(tl.float32)
    y1, y2, r = placed(x1, x2, cos, sin, gain, eps, D)
    store_tile(y, y1, batch, head, start, T, y_b, y_t, y_h, BLOCK, half)
    store_tile(y + half, y2, batch, head, start, T, y_b, y_t, y_h, BLOCK, half)
    local = start + tl.arange(0, BLOCK)
    tl.store(rms + (batch.to(tl.int64) * T + local) * heads + head, r, mask=local < T)
    return y1, y2


@triton.jit
def joined(x1, x2, BLOCK: tl.constexpr, D: tl.constexpr):
    """[BLOCK, D] of its two halves."""
    return tl.join(x1, x2).permute(0, 2, 1).reshape(BLOCK, D)


@triton.jit
def raw_gradient(dy, y, r, cos, sin, gain, BLOCK: tl.constexpr, D: tl.constexpr):
    """Both halves of the gradient of x, where y = gain r z, z = rotate(x) and r = 1 / rms(z).

    dz = r (gain dy - y mean(y dy) / gain), turned back. dy and y: fp32 [BLOCK, D]; r: [BLOCK]; cos and sin:
    [BLOCK, D / 2].
    """
    mean = tl.sum(y * dy, 1) / D
    dz = r[:, None] * (gain * dy - y * (mean / gain)[:, None])
    z1, z2 = dz.reshape(BLOCK, 2, D // 2).permute(0, 2, 1).split()
    return z1 * cos - z2 * sin, z1 * sin + z2 * cos


@triton.jit
def store_raw_gradient(
    dx,
    dy,
    y,
    r,
    cos,
    sin,
    batch,
    head,
    heads,
    start,
    end,
    gain,
    stride_b,
    stride_t,
    stride_h,
    stride_table,
    BLOCK: tl.constexpr,
    D: tl.constexpr,
):
    """Write the gradient of x, [BLOCK, D], from that of y; r is [B, T, heads], the tables [T, D / 2]."""
    at = start + tl.arange(0, BLOCK)
    inside = at < end
    rows = batch.to(tl.int64) * end + at
    c, s = load_tables(cos, sin, start, end, stride_table, BLOCK, D // 2)
    scale = tl.load(r + rows * heads + head, mask=inside, other=0.0)
    x1, x2 = raw_gradient(dy, y.to(tl.float32), scale, c, s, gain, BLOCK, D)
    store_tile(dx, x1, batch, head, start, end, stride_b, stride_t, stride_h, BLOCK, D // 2)
    store_tile(dx + D // 2, x2, batch, head, start, end, stride_b, stride_t, stride_h, BLOCK, D // 2)
